//! The worst single insertion while a cache grows from nothing.

use std::hint::black_box;
use std::time::Instant;

use benches::local::{self, Moka, Papaya, QuickCache, Rival};
use benches::workload::{self, Requests};

use crate::report::{Report, Row};
use crate::rounds::quantile;

const KEYS: usize = 1_000_000;
/// Nothing is evicted.
const CAPACITY: usize = 1 << 21;
/// A stall of the cache's own comes every time; one that the machine makes, by giving the processor to somebody else, does not.
const TIMES: usize = 3;

pub(crate) fn measure(report: &mut Report) {
    let (requests, value) = (Requests::new(0..KEYS as u32), workload::value(100));
    let keys = requests.keys();
    let contenders: [fn() -> Box<dyn Rival>; 4] = [
        || local::bare(CAPACITY),
        || Box::new(QuickCache::new(CAPACITY)),
        || Box::new(Moka::new(CAPACITY)),
        || Box::new(Papaya::new(0)),
    ];
    let mut names = [""; 4];
    let mut stalls: [Vec<[f64; 2]>; 4] = Default::default();
    for _ in 0..TIMES {
        for (which, contender) in contenders.iter().enumerate() {
            let rival = contender();
            names[which] = rival.name();
            let insert = |key| {
                let start = Instant::now();
                rival.write(std::slice::from_ref(black_box(key)), &value);
                start.elapsed().as_nanos() as f64 / 1000.0
            };
            let times: Vec<f64> = keys.iter().map(insert).collect();
            stalls[which].push([quantile(times.clone(), 0.9999), quantile(times, 1.0)]);
        }
    }
    for (name, stalls) in names.iter().zip(&stalls) {
        let least = |which: usize| stalls.iter().map(|stall| stall[which]).fold(f64::INFINITY, f64::min);
        report.rows.push(Row {
            name: format!("growth from 0 to 1M, the least of {TIMES} runs: {name}"),
            figures: vec![("p99.99_us", least(0)), ("worst_us", least(1))],
        });
    }
}
