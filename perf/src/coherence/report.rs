//! What a run found, as a table and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Run;
use super::checks::Invariant;
use super::history::What;
use super::options::{Options, Which};
use crate::report::{Report, Row, Target};

pub(super) fn report(options: &Options, run: &Run) -> Report {
    for case in run.findings.verdict.cases.iter().chain(run.settled.cases.iter().take(10)).chain(&run.settled.unsettled)
    {
        eprintln!("coherence: {case}");
    }
    let left_out: Vec<_> = What::ALL.into_iter().filter(|what| !run.mode.offers(*what)).map(What::name).collect();
    let without = if left_out.is_empty() { String::new() } else { format!("; left out: {}", left_out.join(", ")) };
    Report {
        scenario: "coherence",
        about: format!(
            "{} instances of the {} cache on one redis-server for {} s, faults {}, seed {}{without}",
            options.instances,
            run.mode.name(),
            options.time.as_secs(),
            options.fault_names(),
            run.seed,
        ),
        packages: &["redis", "tokio"],
        rows: rows(run),
        targets: targets(options, run),
        totals: Some(totals(options, run, &left_out)),
    }
}

/// How often `invariant` was broken, I3 included.
fn broken(run: &Run, invariant: Invariant) -> u64 {
    let settled = if invariant == Invariant::I3 { run.settled.broken() as u64 } else { 0 };
    run.findings.verdict.count(invariant) + settled
}

fn rows(run: &Run) -> Vec<Row> {
    let mut rows = vec![Row {
        name: "done".into(),
        figures: vec![
            ("reads", run.reads as f64),
            ("cancelled", run.cancelled as f64),
            ("invalidations", run.changes.invalidations as f64),
            ("writes", run.changes.writes as f64),
            ("acknowledged", run.changes.acknowledged as f64),
            ("rounds", run.findings.rounds.all as f64),
            ("per_round", run.findings.rounds.per_round()),
            ("per_calm_round", run.findings.rounds.per_calm_round()),
            ("per_death", run.findings.rounds.per_death()),
        ],
    }];
    let worst = &run.findings.worst;
    rows.push(Row {
        name: "worst, ms".into(),
        figures: vec![
            ("read", millis(worst.read)),
            ("read_budget", millis(worst.read_budget)),
            ("change", millis(worst.change)),
            ("change_budget", millis(worst.change_budget)),
            ("stall", millis(worst.longest_stall)),
            ("outage", millis(worst.longest_outage)),
        ],
    });
    let staleness = &run.findings.staleness;
    rows.push(Row {
        name: "staleness, ms".into(),
        figures: vec![
            ("reads", staleness.reads as f64),
            ("longest", millis(staleness.longest)),
            ("longest_calm", millis(staleness.longest_calm)),
        ],
    });
    rows.push(Row {
        name: "settled".into(),
        figures: vec![
            ("in_l1", run.settled.in_l1 as f64),
            ("stale_l1", run.settled.stale_l1 as f64),
            ("in_l2", run.settled.in_l2 as f64),
            ("stale_l2", run.settled.stale_l2 as f64),
            ("old_in_redis", run.settled.old_in_redis as f64),
        ],
    });
    if !run.strikes.is_empty() {
        let figures = run.strikes.iter().map(|(fault, count)| (*fault, *count as f64)).collect();
        rows.push(Row { name: "faults".into(), figures });
    }
    rows.extend(Invariant::ALL.into_iter().map(|invariant| Row {
        name: format!("{} {}", invariant.name(), invariant.about()),
        figures: vec![("broken", broken(run, invariant) as f64)],
    }));
    rows
}

fn targets(options: &Options, run: &Run) -> Vec<Target> {
    // Where nothing happened nothing was seen.
    let mut targets = vec![
        Target::at_most("panics", run.panics as f64, 0.0),
        Target::at_least("reads", run.reads as f64, 1.0),
        Target::at_least("acknowledged changes", run.changes.acknowledged as f64, 1.0),
    ];
    if !options.faults.is_empty() {
        let struck: usize = run.strikes.iter().map(|(_, count)| count).sum();
        targets.push(Target::at_least("faults that struck", struck as f64, 1.0));
    }
    if options.mode == Which::Plain {
        let violations = run.findings.verdict.violations() as f64;
        targets.push(Target::at_least("violations that the checker sees", violations, 1.0));
        return targets;
    }
    let broken = |invariant: Invariant| Target::at_most(invariant.name(), broken(run, invariant) as f64, 0.0);
    targets.extend(Invariant::ALL.into_iter().map(broken));
    if run.findings.rounds.calm > 0 {
        targets.push(Target::at_most("computations per calm round", run.findings.rounds.per_calm_round(), 1.0));
    }
    if run.findings.rounds.dead > 0 {
        let ran = run.findings.rounds.per_death();
        targets.push(Target::at_most("computations by the others where the holder died", ran, 1.0));
    }
    targets
}

/// What stands beside the rows in JSON.
fn totals(options: &Options, run: &Run, left_out: &[&str]) -> Map<String, Value> {
    let rounds = &run.findings.rounds;
    // Rounds without a lease that could be lost, where there are any.
    let per_round = if rounds.calm > 0 { rounds.per_calm_round() } else { rounds.per_round() };
    let sum = |of: fn(&super::Figures) -> Option<u64>| run.figures.iter().map(of).sum::<Option<u64>>();
    let invariants: Map<_, _> =
        Invariant::ALL.into_iter().map(|one| (one.name().to_owned(), broken(run, one).into())).collect();
    let totals = json!({
        "mode": run.mode.name(),
        "faults": options.fault_names(),
        "seed": run.seed,
        "instances": options.instances,
        "seconds": options.time.as_secs(),
        "outages": run.findings.worst.outages,
        "older_reads": run.findings.staleness.reads,
        "longest_staleness_ms": rounded(millis(run.findings.staleness.longest)),
        "longest_calm_staleness_ms": rounded(millis(run.findings.staleness.longest_calm)),
        "delta_ms": options.delta.as_millis() as u64,
        "violations": run.findings.verdict.violations(),
        "stale_l1": run.settled.stale_l1,
        "stale_l2": run.settled.stale_l2,
        "old_in_redis": run.settled.old_in_redis,
        "reads": run.reads,
        "failed_reads": run.findings.worst.failed,
        "invalidations": run.changes.invalidations,
        "writes": run.changes.writes,
        "acknowledged": run.changes.acknowledged,
        "rounds": rounds.all,
        "calm_rounds": rounds.calm,
        "computations_per_round": rounded(per_round),
        "deaths": rounds.dead,
        "computations_per_death": rounded(rounds.per_death()),
        "computations_per_any_round": rounded(rounds.per_round()),
        "messages_replayed": sum(|figures| figures.replayed),
        "suspects_revalidated": sum(|figures| figures.revalidated),
        "invariants": invariants,
        "left_out": left_out,
        "strikes": run.strikes.iter().copied().collect::<BTreeMap<_, _>>(),
        "panics": run.panics,
        "cases": run.findings.verdict.cases.iter().chain(run.settled.cases.iter().take(10)).chain(&run.settled.unsettled).collect::<Vec<_>>(),
    });
    match totals {
        Value::Object(totals) => totals,
        _ => Map::new(),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn rounded(figure: f64) -> Value {
    json!((figure * 1000.0).round() / 1000.0)
}
