//! Hit ratios of real caches on traces, between the best there can be and LRU.

mod bounds;
mod replay;
mod trace;

use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::report::{Report, Row, Target};
use replay::CONTENDERS;
use trace::Trace;

/// Capacities in percent of a trace's keys.
const SIZES: [usize; 4] = [1, 5, 10, 20];
const OPT: usize = 0;
const LRU: usize = 1;
const OURS: usize = 2;

/// The hit ratios of all contenders in percent, on one trace at one capacity.
struct Replayed {
    name: String,
    capacity: usize,
    ratios: [f64; CONTENDERS.len()],
}

impl Replayed {
    fn over_lru(&self, which: usize) -> f64 {
        self.ratios[which] - self.ratios[LRU]
    }

    /// A row is a loop if what was asked for longest ago is what comes next: LRU has less than 1 % where more than 5 % can be
    /// had.
    fn is_loop(&self) -> bool {
        self.ratios[LRU] < 1.0 && self.ratios[OPT] > 5.0
    }
}

/// The traces at `path`, or generated ones.
pub(crate) fn traces(path: Option<&Path>) -> Result<Vec<Trace>, String> {
    path.map_or_else(|| Ok(trace::generated()), trace::load)
}

pub(crate) fn measure(traces: &[Trace], threads: Option<usize>) -> Report {
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let replayed = replay_all(traces, threads);
    let mut report = Report {
        scenario: "hits",
        about: format!(
            "hit ratios in percent of {} traces with room for {SIZES:?} % of their keys; OPT and LRU are simulated, the \
             others are the caches themselves",
            traces.len(),
        ),
        packages: &["moka", "quick_cache", "foyer-memory"],
        totals: None,
        rows: replayed.iter().map(|row| figures(&row.name, row.capacity as f64, |which| row.ratios[which])).collect(),
        targets: Vec::new(),
    };
    summarise(&mut report, &replayed);
    report
}

fn figures(name: &str, capacity: f64, of: impl Fn(usize) -> f64) -> Row {
    let ratios = CONTENDERS.iter().enumerate().map(|(which, (name, _))| (*name, of(which)));
    Row { name: name.to_owned(), figures: std::iter::once(("capacity", capacity)).chain(ratios).collect() }
}

fn summarise(report: &mut Report, replayed: &[Replayed]) {
    let mean = |which| replayed.iter().map(|row| row.over_lru(which)).sum::<f64>() / replayed.len() as f64;
    let worst = |which| replayed.iter().map(|row| row.over_lru(which)).fold(f64::INFINITY, f64::min);
    report.rows.push(figures("mean over LRU, pp", f64::NAN, mean));
    report.rows.push(figures("worst row over LRU, pp", f64::NAN, worst));
    report.targets.push(Target::at_least("mean over LRU, pp", mean(OURS), 4.5));
    report.targets.push(Target::at_least("worst row over LRU, pp", worst(OURS), -1.0));
    let loops: Vec<_> = replayed.iter().filter(|row| row.is_loop()).collect();
    if !loops.is_empty() {
        let of_opt = |which: usize| loops.iter().map(move |row| row.ratios[which] / row.ratios[OPT]);
        let worst = |which| of_opt(which).fold(f64::INFINITY, f64::min);
        report
            .rows
            .push(figures("loops, mean of OPT", f64::NAN, |which| of_opt(which).sum::<f64>() / loops.len() as f64));
        report.rows.push(figures("loops, worst of OPT", f64::NAN, worst));
        let name = format!("loops (LRU < 1 %, OPT > 5 %: {} rows), worst of OPT", loops.len());
        report.targets.push(Target::at_least(name, worst(OURS), 0.9));
    }
    for (which, (rival, _)) in CONTENDERS.iter().enumerate().skip(OURS + 1) {
        report.targets.push(Target::at_least(format!("mean, pp over {rival}'s"), mean(OURS) - mean(which), 0.0));
    }
}

/// Every contender on every trace at every capacity. Threads take the next replay each; the longest traces begin.
fn replay_all(traces: &[Trace], threads: usize) -> Vec<Replayed> {
    let mut replayed = Vec::new();
    let mut jobs = Vec::new();
    for trace in traces {
        for percent in SIZES {
            let capacity = (trace.keys * percent / 100).max(1);
            jobs.extend((0..CONTENDERS.len()).map(|which| (trace, replayed.len(), which, capacity)));
            let name = format!("{}, {percent} %", trace.name);
            replayed.push(Replayed { name, capacity, ratios: [0.0; CONTENDERS.len()] });
        }
    }
    jobs.sort_by_key(|(trace, ..)| std::cmp::Reverse(trace.requests.len()));
    let (next, all) = (AtomicUsize::new(0), Mutex::new(&mut replayed));
    let work = || {
        // Relaxed: the counter hands out numbers and nothing else.
        while let Some(&(trace, row, which, capacity)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let hits = CONTENDERS[which].1(trace, capacity);
            let ratio = 100.0 * hits as f64 / trace.requests.len() as f64;
            all.lock().unwrap_or_else(PoisonError::into_inner)[row].ratios[which] = ratio;
            progress(next.load(Ordering::Relaxed).min(jobs.len()), jobs.len(), &trace.name);
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    progress(0, 0, "");
    replayed
}

/// Tells a person who waits; a program that waits is told nothing.
fn progress(done: usize, of: usize, name: &str) {
    let mut out = stderr().lock();
    if out.is_terminal() {
        // The line is cleared to its end; one that says nothing only clears.
        let line = if of == 0 { String::new() } else { format!("perf hits: {done} of {of} replays, {name}") };
        let _ = write!(out, "\r{line}\x1b[K").and_then(|()| out.flush());
    }
}
