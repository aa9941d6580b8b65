//! The worst single insertion while a cache grows from nothing.

use std::hint::black_box;

use benches::local::{self, BARE, MOKA, PAPAYA, QUICK_CACHE};
use benches::workload::{self, Requests};

use crate::report::{Report, Row};
use crate::rounds::quantile;
use crate::waits::Stopwatch;

const KEYS: usize = 1_000_000;
/// Nothing is evicted.
const CAPACITY: usize = 1 << 21;
/// A stall of the cache's own comes every time; one that the machine makes does not.
const TIMES: usize = 3;

pub(crate) fn measure(report: &mut Report) {
    let (requests, value) = (Requests::new(0..KEYS as u32), workload::value(100));
    let keys = requests.keys();
    let contenders = [(BARE, CAPACITY), (QUICK_CACHE, CAPACITY), (MOKA, CAPACITY), (PAPAYA, 0)];
    let mut stalls: [Vec<[f64; 2]>; 4] = Default::default();
    for _ in 0..TIMES {
        for (stalls, (name, capacity)) in stalls.iter_mut().zip(contenders) {
            let rival = local::rival(name, capacity).expect("a rival of that name");
            let mut stopwatch = Stopwatch::new();
            let insert = |key| {
                let time = stopwatch.time(|| rival.write(std::slice::from_ref(black_box(key)), &value));
                time.as_nanos() as f64 / 1000.0
            };
            let times: Vec<f64> = keys.iter().map(insert).collect();
            stalls.push([quantile(times.clone(), 0.9999), quantile(times, 1.0)]);
        }
    }
    for ((name, _), stalls) in contenders.iter().zip(&stalls) {
        let least = |which: usize| stalls.iter().map(|stall| stall[which]).fold(f64::INFINITY, f64::min);
        report.rows.push(Row {
            name: format!("growth from 0 to 1M, the least of {TIMES} runs: {name}"),
            figures: vec![("p99.99_us", least(0)), ("worst_us", least(1))],
        });
    }
}
