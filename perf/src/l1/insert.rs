//! Insertions of keys that never were there, into a cache that is full: each evicts.

use std::hint::black_box;
use std::time::Instant;

use benches::local::{self, BARE, QUICK_CACHE};
use benches::workload::{self, Requests};

use super::{SMALL, position, times};
use crate::report::{Report, Row, Target};
use crate::rounds::{interleaved, quantile};
use crate::waits::Stopwatch;

/// Insertions in one go; as many again are timed one by one.
const GO: usize = 4096;

pub(crate) fn measure(report: &mut Report, rounds: usize) {
    let value = workload::value(100);
    let rivals = local::rivals(&local::WRITERS, SMALL);
    let first = Requests::new(0..2 * SMALL as u32);
    rivals.iter().for_each(|rival| rival.write(&first.keys(), &value));
    // The same fresh keys for everybody in a round.
    let fresh = |round: usize| {
        let from = 2 * SMALL + 2 * GO * round;
        Requests::new((from..from + 2 * GO).map(|key| key as u32))
    };
    let mut made = (usize::MAX, fresh(0));
    let mut single = vec![Vec::with_capacity((rounds + 1) * GO); rivals.len()];
    let samples = interleaved(rounds, &rivals, |rival, round| {
        if made.0 != round {
            made = (round, fresh(round));
        }
        let keys = made.1.keys();
        let (together, alone) = keys.split_at(GO);
        let start = Instant::now();
        rival.write(black_box(together), &value);
        let time = start.elapsed();
        let times = &mut single[position(&rivals, rival.name())];
        let mut stopwatch = Stopwatch::new();
        for key in alone {
            let time = stopwatch.time(|| rival.write(std::slice::from_ref(black_box(key)), &value));
            times.push(time.as_nanos() as f64);
        }
        time.as_nanos() as f64 / GO as f64
    });
    for (which, rival) in rivals.iter().enumerate() {
        let single = |share| quantile(single[which].clone(), share);
        report.rows.push(Row {
            name: format!("fresh inserts, evicting: {}", rival.name()),
            figures: vec![
                ("p20_ns", samples[which].quantile(0.2)),
                ("p50_ns", samples[which].quantile(0.5)),
                ("one_p50_ns", single(0.5)),
                ("one_p99_ns", single(0.99)),
                ("one_p99.9_ns", single(0.999)),
                ("one_max_ns", single(1.0)),
            ],
        });
    }
    let tail = |name| quantile(single[position(&rivals, name)].clone(), 0.999);
    report.targets.extend([
        Target::at_least("fresh inserts: v quick_cache", times(&rivals, &samples, QUICK_CACHE, BARE), 1.0),
        Target::at_most("fresh inserts, p99.9 / quick_cache's", tail(BARE) / tail(QUICK_CACHE), 1.5),
    ]);
}
