//! Many callers on one cold key.

use benches::stampede::{self, COMPUTATION, Crowd, Outcome, Stampede, TERCEL};

use crate::report::{Report, Row, Target};
use crate::rounds::{interleaved, quantile};

const TASKS: usize = 10_000;
const THREADS: usize = 200;

struct Contender {
    name: String,
    crowd: Crowd,
    run: Stampede,
}

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(15);
    let contenders = contenders();
    let mut computations = vec![Vec::new(); contenders.len()];
    let of = |name: &str| contenders.iter().position(|contender| contender.name == name).expect("a rival of that name");
    let samples = interleaved(rounds, &contenders, |contender, _| {
        let Outcome { computations: ran, last_waiter } = (contender.run)(contender.crowd);
        computations[of(&contender.name)].push(ran as f64);
        last_waiter.as_nanos() as f64 / 1e6
    });
    let most = |which: usize| quantile(computations[which].clone(), 1.0);
    let row = |which: usize| Row {
        name: contenders[which].name.clone(),
        figures: vec![
            ("computations", most(which)),
            ("last_ms_p20", samples[which].quantile(0.2)),
            ("last_ms", samples[which].quantile(0.5)),
            ("last_ms_max", samples[which].quantile(1.0)),
        ],
    };
    let all = of(&with_threads(TERCEL));
    Report {
        scenario: "stampede",
        about: format!(
            "{TASKS} tasks on two threads, and {THREADS} threads of their own where named, on one cold key whose \
             computation takes {} ms; from its end until the last caller is back; {rounds} interleaved rounds",
            COMPUTATION.as_millis()
        ),
        packages: &["multi-tier-cache", "moka", "tokio"],
        totals: None,
        rows: (0..contenders.len()).map(row).collect(),
        targets: vec![
            Target::at_most("computations, tasks and threads, in the worst round", most(all), 1.0),
            Target::at_most("the last of tasks and threads is back after ms, median", samples[all].quantile(0.5), 20.0),
        ],
    }
}

fn with_threads(name: &str) -> String {
    format!("{name}, tasks and threads")
}

fn contenders() -> Vec<Contender> {
    let mut contenders = Vec::new();
    for (name, takes_threads, run) in stampede::rivals() {
        if takes_threads {
            contenders.push(Contender {
                name: with_threads(name),
                crowd: Crowd { tasks: TASKS, threads: THREADS },
                run,
            });
        }
        contenders.push(Contender { name: format!("{name}, tasks"), crowd: Crowd { tasks: TASKS, threads: 0 }, run });
    }
    contenders
}
