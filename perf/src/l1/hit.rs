//! Hits on one thread.

use std::hint::black_box;
use std::time::Instant;

use benches::local::{BARE, Rival};
use benches::workload::{self, Requests};

use super::{position, times};
use crate::allocations;
use crate::report::Row;
use crate::rounds::{Samples, interleaved};

const KEYS: usize = 100_000;
/// Room for all keys, however unevenly they fall into shards.
pub(crate) const CAPACITY: usize = KEYS + KEYS / 4;
/// Hits in one go: short, so that what else runs on the machine hits every contender alike.
const SHORT: usize = 8192;
/// Hits in one go where it is to be seen what the processor's caches keep of a contender.
const LONG: usize = 32_768;

/// The requests of a case, and how many of them are one go.
pub(crate) struct Work {
    requests: Requests,
    go: usize,
}

/// One key over and over.
pub(crate) fn hot() -> Work {
    Work { requests: Requests::new(vec![0; SHORT]), go: SHORT }
}

/// Some keys far more often than others.
pub(crate) fn zipf() -> Work {
    Work { requests: Requests::new(workload::zipf(KEYS, 0.99, 8 * LONG)), go: LONG }
}

/// The same with every key resident.
pub(crate) fn filled(rivals: Vec<Box<dyn Rival>>) -> Vec<Box<dyn Rival>> {
    let (all, value) = (Requests::new(0..KEYS as u32), workload::value(100));
    for rival in &rivals {
        rival.write(&all.keys(), &value);
        rival.settle();
    }
    rivals
}

/// What one case found.
pub(crate) struct Hits<'a> {
    case: &'static str,
    rivals: &'a [Box<dyn Rival>],
    samples: Vec<Samples>,
    allocations: Vec<f64>,
}

impl<'a> Hits<'a> {
    pub(crate) fn measure(case: &'static str, rivals: &'a [Box<dyn Rival>], work: &Work, rounds: usize) -> Self {
        let keys = work.requests.keys();
        let goes: Vec<_> = keys.chunks(work.go).collect();
        let allocations = rivals.iter().map(|rival| allocations_per_hit(&**rival, goes[0])).collect();
        let samples = interleaved(rounds, rivals, |rival, round| {
            let keys = goes[round % goes.len()];
            let start = Instant::now();
            let read = rival.read(black_box(keys));
            let time = start.elapsed();
            assert_eq!(read, 100 * keys.len(), "{}: every read is a hit", rival.name());
            time.as_nanos() as f64 / keys.len() as f64
        });
        Self { case, rivals, samples, allocations }
    }

    /// The time of `name` over that of `other`.
    pub(crate) fn ratio(&self, name: &str, other: &str) -> f64 {
        times(self.rivals, &self.samples, name, other)
    }

    pub(crate) fn allocations(&self, name: &str) -> f64 {
        self.allocations[position(self.rivals, name)]
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let names = self.rivals.iter().map(|rival| rival.name());
        let row = |(which, name): (usize, &str)| Row {
            name: format!("{}: {name}", self.case),
            figures: vec![
                ("p20_ns", self.samples[which].quantile(0.2)),
                ("p50_ns", self.samples[which].quantile(0.5)),
                ("of_bare", self.ratio(name, BARE)),
                ("allocations", self.allocations[which]),
            ],
        };
        names.enumerate().map(row).collect()
    }
}

fn allocations_per_hit(rival: &dyn Rival, keys: &[&str]) -> f64 {
    // What is allocated once, such as a runtime's own buffers and the count of a value's references, comes with the first
    // reads.
    rival.read(keys);
    let during = |keys: &[&str]| allocations::during(|| assert_ne!(rival.read(keys), 0, "hits"));
    let (many, one) = (during(keys), during(&keys[..1]));
    many.saturating_sub(one) as f64 / (keys.len() - 1) as f64
}
