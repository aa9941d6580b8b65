//! A thread that watches a run: how long the machine keeps threads from running, how much lies in L1, how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::history::{History, Sample, Span};
use super::instance::Instance;

const EVERY: Duration = Duration::from_millis(5);
/// A sleep that is later than this is a stall.
const STALL: Duration = Duration::from_millis(10);
const SAMPLES_EVERY: u32 = 4;
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Watches until `stop`.
pub(super) fn watch(
    history: Arc<History>,
    instances: Vec<Arc<dyn Instance>>,
    stop: Arc<AtomicBool>,
    says: bool,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut told = Instant::now();
        let mut turn = 0u32;
        // SeqCst: a flag that is seen within a turn or two; order does not matter.
        while !stop.load(Ordering::SeqCst) {
            let begin = history.now();
            thread::sleep(EVERY);
            let late = (history.now() - begin).saturating_sub(EVERY);
            if late > STALL {
                let span = Span { begin, end: begin + EVERY + late };
                history.note(|events| events.stalls.push(span));
            }
            turn = turn.wrapping_add(1);
            if turn.is_multiple_of(SAMPLES_EVERY) {
                sample(&history, &instances);
            }
            if says && told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let (reads, changes, strikes) = history.counts();
                let time = history.now().as_secs_f64();
                eprintln!("coherence: {time:3.0} s, {reads} reads, {changes} changes, {strikes} faults");
            }
        }
    })
}

fn sample(history: &History, instances: &[Arc<dyn Instance>]) {
    for (instance, cache) in instances.iter().enumerate() {
        let figures = cache.figures();
        let sample = Sample { instance, entries: figures.entries, weight: figures.weight };
        history.note(|events| events.samples.push(sample));
    }
}
