//! Nine reads and an evicting write in turn, on one thread and on two at once.

use std::hint::black_box;
use std::time::Instant;

use benches::local::{self, BORROWED, MOKA, QUICK_CACHE, Rival};
use benches::workload::{self, Requests};

use super::two_threads::{TwoThreads, lengths};
use super::{SMALL, rival_in_table, times};
use crate::report::{Report, Row, Target};
use crate::rounds::interleaved;
use crate::windows::{Window, at_once};

/// So many more than have room that half of the writes evict.
const KEYS: usize = 1_000_000;
const GO: usize = 10_000;
const GOES: usize = 32;

pub(crate) fn measure(report: &mut Report, rounds: usize) {
    let value = workload::value(100);
    let requests = Requests::new(workload::zipf(KEYS, 0.99, GO * GOES));
    let keys = requests.keys();
    let rivals = full(&keys);
    one_thread(report, &rivals, &keys, rounds);
    let rivals: Vec<&dyn Rival> = rivals.iter().map(|rival| &**rival).collect();
    let lengths = lengths(&rivals, |rival| rival.mix(&keys[..256], &value), GO);
    let windows = at_once(2 * rounds, rivals.len(), Window::overlaps, |which, thread, round| {
        // Each thread has a half of the requests, and goes on where it was.
        let (half, length) = (keys.len() / 2, lengths[which]);
        let start = half * thread + round * length % (half - length + 1);
        black_box(rivals[which].mix(black_box(&keys[start..start + length]), &value));
    });
    let names = rivals.iter().map(|rival| rival.name()).collect();
    let measured = TwoThreads { case: "90/10 evicting mix, 2 threads at once", names, lengths, windows };
    let ratio = measured.ratio(QUICK_CACHE, BORROWED);
    report.targets.push(Target::at_least("90/10 mix, 2 threads: v quick_cache", ratio, 1.2));
    report.rows.extend(measured.rows());
}

/// Writers that hold as much as they may, of what is asked for.
fn full(keys: &[&str]) -> Vec<Box<dyn Rival>> {
    let rivals = local::rivals(&local::WRITERS, SMALL);
    let value = workload::value(100);
    for rival in &rivals {
        rival.write(keys, &value);
        rival.mix(keys, &value);
        rival.settle();
    }
    rivals
}

fn one_thread(report: &mut Report, rivals: &[Box<dyn Rival>], keys: &[&str], rounds: usize) {
    let value = workload::value(100);
    let mut found = vec![0.0; rivals.len()];
    let samples = interleaved(rounds, rivals, |rival, round| {
        let keys = &keys[round % GOES * GO..][..GO];
        let start = Instant::now();
        let read = rival.mix(black_box(keys), &value);
        let time = start.elapsed();
        found[super::position(rivals, rival.name())] += read as f64 / value.len() as f64;
        time.as_nanos() as f64 / keys.len() as f64
    });
    let reads = ((rounds + 1) * GO / 10 * 9) as f64;
    for (which, rival) in rivals.iter().enumerate() {
        report.rows.push(Row {
            name: format!("90/10 evicting mix, 1 thread: {}", rival.name()),
            figures: vec![
                ("p20_ns", samples[which].quantile(0.2)),
                ("p50_ns", samples[which].quantile(0.5)),
                ("hits_percent", 100.0 * found[which] / reads),
            ],
        });
    }
    for (rival, bound) in [(MOKA, 10.0), (QUICK_CACHE, 1.3)] {
        let name = format!("90/10 evicting mix: v {}", rival_in_table(rival));
        report.targets.push(Target::at_least(name, times(rivals, &samples, rival, BORROWED), bound));
    }
}
