//! How long single operations take while two threads read and write a cache that is full.

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::local::{self, BARE, QUICK_CACHE, WRITERS};
use benches::workload::{self, Requests};

use crate::report::{Report, Row, Target};
use crate::rounds::quantile_of_sorted;
use crate::waits;
use crate::windows::{Window, at_once};

const CAPACITY: usize = 20_000;
const KEYS: usize = 1_000_000;
/// How long a window lasts.
const WINDOW: Duration = Duration::from_millis(2);

/// Nanoseconds of each operation in a window of one thread.
#[derive(Default)]
struct Times {
    reads: Vec<u32>,
    writes: Vec<u32>,
    /// Whether the machine took the processor away: a wait that is nobody's doing.
    interrupted: bool,
}

impl Times {
    fn reads(&self) -> &[u32] {
        &self.reads
    }

    fn writes(&self) -> &[u32] {
        &self.writes
    }
}

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(100);
    let value = workload::value(100);
    let requests = Requests::new(workload::zipf(KEYS, 0.99, 400_000));
    let keys = requests.keys();
    let rivals = local::rivals(&WRITERS, CAPACITY);
    for rival in &rivals {
        rival.write(&keys, &value);
        rival.mix(&keys, &value);
        rival.settle();
    }
    let windows = at_once(rounds, rivals.len(), undisturbed, |which, thread, round| {
        let rival = &rivals[which];
        let mut times = Times::default();
        let from = round * 4001 + thread * keys.len() / 2;
        let interruptions = waits::interruptions();
        let start = Instant::now();
        for at in from.. {
            let key = std::slice::from_ref(black_box(&keys[at % keys.len()]));
            let began = Instant::now();
            let kind = if at % 10 == 9 {
                rival.write(key, &value);
                &mut times.writes
            } else {
                black_box(rival.read(key));
                &mut times.reads
            };
            let ended = Instant::now();
            kind.push(u32::try_from((ended - began).as_nanos()).unwrap_or(u32::MAX));
            if ended - start > WINDOW {
                break;
            }
        }
        times.interrupted = waits::interruptions() != interruptions;
        times
    });
    let mut report = Report {
        scenario: "latency",
        about: format!(
            "single operations in nanoseconds, two threads at once, nine reads and a write in turn, Zipf 0.99 of {KEYS} keys, \
             room for {CAPACITY}; windows of {} ms in which both threads began together and kept their \
             processors; reading the clock is in every figure",
            WINDOW.as_millis()
        ),
        packages: &["moka", "quick_cache", "foyer-memory", "multi-tier-cache"],
        totals: None,
        rows: Vec::new(),
        targets: Vec::new(),
    };
    let mut tails = Vec::new();
    for (kind, of) in [("read", Times::reads as fn(&Times) -> &[u32]), ("write", Times::writes)] {
        for (rival, kept) in rivals.iter().zip(&windows.kept) {
            let times: Vec<f64> = kept
                .iter()
                .flat_map(|window| window.0.iter().flat_map(|span| of(&span.result)))
                .map(|&time| f64::from(time))
                .collect();
            let row = row(format!("{kind}: {}", rival.name()), times, kept.len());
            if kind == "write" {
                tails.push((rival.name(), row.figures[2].1));
            }
            report.rows.push(row);
        }
    }
    let tail = |name| tails.iter().find(|(other, _)| *other == name).map_or(f64::NAN, |(_, tail)| *tail);
    report.targets.push(Target::at_most("insert p99.9 / quick_cache's", tail(BARE) / tail(QUICK_CACHE), 1.5));
    report
}

fn undisturbed(window: &Window<Times>) -> bool {
    window.began_together() && window.0.iter().all(|span| !span.result.interrupted)
}

fn row(name: String, mut times: Vec<f64>, kept: usize) -> Row {
    times.sort_by(f64::total_cmp);
    // With nothing kept, nothing is said.
    let at = |share| if times.is_empty() { f64::NAN } else { quantile_of_sorted(&times, share) };
    let figures = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];
    let mut figures: Vec<_> = figures.into_iter().map(|(name, share)| (name, at(share))).collect();
    figures.extend([("operations", times.len() as f64), ("windows", kept as f64)]);
    Row { name, figures }
}
