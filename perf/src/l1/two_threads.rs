//! Two threads truly at once: see `windows`.

use std::hint::black_box;
use std::time::Instant;

use benches::local::{ASYNC, BORROWED, MOKA, QUICK_CACHE, Rival};
use benches::workload::Requests;

use super::rival_in_table;
use crate::report::{Report, Row, Target};
use crate::windows::{Window, Windows, at_once, nanoseconds};

/// How long a window is to be, were there no contention. Longer ones are interrupted more often, and shorter ones begin less
/// together.
const WINDOW_NS: f64 = 20_000.0;

/// Both threads read one key.
pub(crate) fn hot(report: &mut Report, rivals: &[Box<dyn Rival>], wanted: usize) {
    // The executors of the async handle take turns on two threads, which is not what is asked here.
    let rivals: Vec<&dyn Rival> =
        rivals.iter().map(|rival| &**rival).filter(|rival| !rival.name().starts_with(ASYNC)).collect();
    let requests = Requests::new(vec![0; 8192]);
    let keys = requests.keys();
    let lengths = lengths(&rivals, |rival| rival.read(&keys[..256]), keys.len());
    let windows = at_once(wanted, rivals.len(), Window::overlaps, |which, _, _| {
        black_box(rivals[which].read(black_box(&keys[..lengths[which]])));
    });
    let names: Vec<_> = rivals.iter().map(|rival| rival.name()).collect();
    let measured = TwoThreads { case: "hot key, 2 threads at once", names, lengths, windows };
    for (rival, bound) in [(QUICK_CACHE, 25.0), (MOKA, 50.0)] {
        let name = format!("hot key, 2 threads verified to overlap, borrow: v {}", rival_in_table(rival));
        report.targets.push(Target::at_least(name, measured.ratio(rival, BORROWED), bound));
    }
    report.rows.extend(measured.rows());
}

/// So many operations take about a window's time on one thread; `go` does 256.
pub(super) fn lengths(rivals: &[&dyn Rival], go: impl Fn(&dyn Rival) -> usize, most: usize) -> Vec<usize> {
    let length = |rival: &&dyn Rival| {
        let time = |_| {
            let start = Instant::now();
            black_box(go(*rival));
            start.elapsed()
        };
        let quickest = (0..10).map(time).min().expect("goes");
        ((WINDOW_NS * 256.0 / quickest.as_nanos() as f64) as usize).clamp(50, most)
    };
    rivals.iter().map(length).collect()
}

pub(super) struct TwoThreads {
    pub(super) case: &'static str,
    pub(super) names: Vec<&'static str>,
    /// Operations in a window of each contender.
    pub(super) lengths: Vec<usize>,
    pub(super) windows: Windows<()>,
}

impl TwoThreads {
    fn nanoseconds(&self, which: usize, share: f64) -> f64 {
        nanoseconds(&self.windows.kept[which], self.lengths[which], share)
    }

    /// The median time of `name` over that of `other`; not a number where too few windows overlap.
    pub(super) fn ratio(&self, name: &str, other: &str) -> f64 {
        let median = |name: &str| {
            let which = self.names.iter().position(|other| *other == name).expect("a contender of that name");
            self.nanoseconds(which, 0.5)
        };
        median(name) / median(other)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(which, name): (usize, &&str)| Row {
            name: format!("{}: {name}", self.case),
            figures: vec![
                ("p20_ns", self.nanoseconds(which, 0.2)),
                ("p50_ns", self.nanoseconds(which, 0.5)),
                ("windows", self.windows.tried as f64),
                ("kept", self.windows.kept[which].len() as f64),
            ],
        };
        self.names.iter().enumerate().map(row).collect()
    }
}
