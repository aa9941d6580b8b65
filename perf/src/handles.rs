//! Hits in L1 through the handles.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use benches::local::{self, ASYNC, BARE, BLOCKING, PREDECESSOR, Rival};
use benches::workload;

use crate::allocations;
use crate::report::{Report, Row, Target};
use crate::rounds::{Samples, interleaved};

const KEYS: usize = 100_000;
/// Hits in one go: short, so that what else runs on the machine hits every contender alike.
const PICKS: usize = 8192;

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(300);
    let (keys, value) = (workload::keys(KEYS), workload::value(100));
    let all: Vec<u32> = (0..KEYS as u32).collect();
    let rivals = local::rivals(2 * KEYS);
    for rival in &rivals {
        rival.write(&keys, &all, &value);
    }
    let mut report = Report {
        scenario: "handles",
        about: format!(
            "hits in L1, 16-byte keys, 100-byte values, one thread; {rounds} interleaved rounds of {PICKS} hits"
        ),
        packages: &["multi-tier-cache", "moka", "quick_cache"],
        rows: Vec::new(),
        targets: Vec::new(),
    };
    let cases = [("one key", vec![0; PICKS]), ("Zipf 0.99 of 100k", workload::zipf(KEYS, 0.99, 32 * PICKS))];
    for (case, picks) in cases {
        let allocated: Vec<f64> =
            rivals.iter().map(|rival| allocations_per_hit(&**rival, &keys, &picks[..PICKS])).collect();
        let samples = interleaved(rounds, &rivals, |rival, round| {
            let picks = picks.chunks(PICKS).nth(round % (picks.len() / PICKS)).expect("picks");
            let start = Instant::now();
            let read = rival.read(&keys, black_box(picks));
            let time = start.elapsed();
            assert_eq!(read, picks.len() * value.len(), "{}: every read is a hit", rival.name());
            time.as_nanos() as f64 / picks.len() as f64
        });
        let of = |name: &str| rivals.iter().position(|rival| rival.name() == name).expect("a rival of that name");
        let (bare, predecessor) = (&samples[of(BARE)], &samples[of(PREDECESSOR)]);
        for ((rival, own), allocated) in rivals.iter().zip(&samples).zip(&allocated) {
            report.rows.push(row(format!("{case}: {}", rival.name()), own, bare, predecessor, *allocated));
        }
        for name in [ASYNC, BLOCKING] {
            let own = &samples[of(name)];
            report.targets.extend([
                Target::at_most(format!("{case}: {name} / bare L1"), own.ratio_to(bare), 1.5),
                Target::at_least(format!("{case}: predecessor / {name}"), predecessor.ratio_to(own), 4.0),
                Target::at_most(format!("{case}: {name}, allocations per hit"), allocated[of(name)], 0.0),
            ]);
        }
    }
    report
}

fn row(name: String, own: &Samples, bare: &Samples, predecessor: &Samples, allocated: f64) -> Row {
    Row {
        name,
        figures: vec![
            ("p20_ns", own.quantile(0.2)),
            ("p50_ns", own.quantile(0.5)),
            ("of_bare", own.ratio_to(bare)),
            ("v_predecessor", predecessor.ratio_to(own)),
            ("allocations", allocated),
        ],
    }
}

fn allocations_per_hit(rival: &dyn Rival, keys: &[String], picks: &[u32]) -> f64 {
    // What is allocated once, such as a runtime's own buffers, comes with the first reads.
    rival.read(keys, picks);
    let during = |picks: &[u32]| allocations::during(|| assert_ne!(rival.read(keys, picks), 0, "hits"));
    let (many, one) = (during(picks), during(&picks[..1]));
    many.saturating_sub(one) as f64 / (picks.len() - 1) as f64
}

/// Reads one key so many times through the rival of that name, and does nothing else.
pub(crate) fn spin(name: &str, hits: usize) -> ExitCode {
    let rivals = local::rivals(1024);
    let Some(rival) = rivals.iter().find(|rival| rival.name() == name) else {
        let names: Vec<_> = rivals.iter().map(|rival| rival.name()).collect();
        eprintln!("perf: no rival is called `{name}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let (keys, value) = (workload::keys(1), workload::value(100));
    let picks = vec![0; hits];
    rival.write(&keys, &[0], &value);
    assert_eq!(rival.read(&keys, black_box(&picks)), hits * value.len(), "every read is a hit");
    ExitCode::SUCCESS
}
