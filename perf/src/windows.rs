//! Two threads truly at once: short windows behind a spin barrier, kept only where both threads were there.
//!
//! A plain loop on two threads of a shared machine is time-sliced: one runs while the other waits for a processor, and nothing
//! is ever contended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::rounds::quantile;

/// How much of the longer span of a window both threads must share.
const OVERLAP: f64 = 0.9;
/// With fewer kept windows nothing is said.
const FEWEST: usize = 20;
/// Rounds that one pair of threads runs.
const BATCH: usize = 50;
/// Where so many times the wanted windows were tried, the machine has no two processors to give.
const PATIENCE: usize = 20;

/// A window that was kept: what each thread did.
pub(crate) struct Window<T>(pub(crate) [Span<T>; 2]);

/// What a thread did in a window.
pub(crate) struct Span<T> {
    which: usize,
    start: Instant,
    end: Instant,
    pub(crate) result: T,
}

impl<T> Window<T> {
    /// The longer of both spans.
    fn longer(&self) -> Duration {
        let [mine, theirs] = &self.0;
        (mine.end - mine.start).max(theirs.end - theirs.start)
    }

    /// Whether both threads ran for nine tenths of the longer span: for windows of so many operations.
    pub(crate) fn overlaps(&self) -> bool {
        let [mine, theirs] = &self.0;
        let shared = mine.end.min(theirs.end).saturating_duration_since(mine.start.max(theirs.start));
        shared.as_secs_f64() >= OVERLAP * self.longer().as_secs_f64()
    }

    /// Whether both threads began within a tenth of the longer span: for windows that last so long. The end says nothing
    /// there, and a window is not to be dropped for a slow operation at its end.
    pub(crate) fn began_together(&self) -> bool {
        let [mine, theirs] = &self.0;
        let gap = mine.start.max(theirs.start) - mine.start.min(theirs.start);
        gap.as_secs_f64() <= (1.0 - OVERLAP) * self.longer().as_secs_f64()
    }
}

/// The windows of all contenders.
pub(crate) struct Windows<T> {
    /// Those that were kept, by contender.
    pub(crate) kept: Vec<Vec<Window<T>>>,
    /// How many each contender had.
    pub(crate) tried: usize,
}

/// Runs `go(contender, thread, round)` on two threads at once, every contender in every round, until each contender has
/// `wanted` windows that are to be kept, or `PATIENCE` is at its end. `go` must not panic: the other thread
/// would wait for ever.
pub(crate) fn at_once<T: Send>(
    wanted: usize,
    contenders: usize,
    keep: fn(&Window<T>) -> bool,
    go: impl Fn(usize, usize, usize) -> T + Sync,
) -> Windows<T> {
    let mut windows = Windows { kept: (0..contenders).map(|_| Vec::new()).collect(), tried: 0 };
    while windows.tried < PATIENCE * wanted && windows.kept.iter().any(|kept| kept.len() < wanted) {
        // Threads of their own each time: where the two share a processor, the next two may not.
        windows.batch(contenders, keep, &go);
    }
    windows
}

impl<T: Send> Windows<T> {
    fn batch(
        &mut self,
        contenders: usize,
        keep: fn(&Window<T>) -> bool,
        go: &(impl Fn(usize, usize, usize) -> T + Sync),
    ) {
        let arrived = AtomicUsize::new(0);
        let first = self.tried;
        let run = |thread: usize| {
            let mut spans = Vec::with_capacity((BATCH + 1) * contenders);
            // The first round warms up and is dropped.
            for round in first..=first + BATCH {
                for turn in 0..contenders {
                    let which = (round + turn) % contenders;
                    meet(&arrived, 2 * (spans.len() + 1));
                    let start = Instant::now();
                    let result = go(which, thread, round);
                    spans.push(Span { which, start, end: Instant::now(), result });
                }
            }
            spans
        };
        let (mine, theirs) = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(1));
            (run(0), other.join().expect("no window panics"))
        });
        self.tried += BATCH;
        for (mine, theirs) in mine.into_iter().zip(theirs).skip(contenders) {
            let which = mine.which;
            self.kept[which].extend(Some(Window([mine, theirs])).filter(keep));
        }
    }
}

/// Waits until `all` have arrived, those of earlier meetings included.
fn meet(arrived: &AtomicUsize, all: usize) {
    // AcqRel and Acquire: what a thread did before the meeting happens before what the other does after it.
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut spins = 0;
    while arrived.load(Ordering::Acquire) < all {
        std::hint::spin_loop();
        spins += 1;
        if spins > 20_000 {
            // The other has no processor: it may get this one.
            std::thread::yield_now();
        }
    }
}

/// The time of an operation in nanoseconds, below which `share` of the windows lie; not a number if too few were kept.
pub(crate) fn nanoseconds<T>(windows: &[Window<T>], operations: usize, share: f64) -> f64 {
    if windows.len() < FEWEST {
        return f64::NAN;
    }
    quantile(windows.iter().map(|window| window.longer().as_nanos() as f64 / operations as f64).collect(), share)
}
