//! What is done to Redis while the instances work, on a schedule that the seed draws.

mod kinds;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use benches::redis_server::RedisServer;
use fastrand::Rng;

use super::history::{History, Span, Strike};
use super::wire::Wire;
pub(crate) use kinds::Kind;

/// What faults are made with.
pub(super) struct Lab {
    pub(super) redis: RedisServer,
    /// One for each instance, if any kind of fault needs them.
    pub(super) wires: Arc<Vec<Wire>>,
    /// Where invalidations are published.
    pub(super) channel: &'static str,
}

/// Something that goes wrong, and is put right again.
pub(super) trait Fault: Send {
    fn start(&mut self, lab: &mut Lab);
    fn heal(&mut self, lab: &mut Lab);
    /// The one instance that it strikes; all of them if there is none.
    fn instance(&self) -> Option<usize> {
        None
    }
}

/// How a kind of fault comes and goes.
#[derive(Clone, Copy)]
struct Rhythm {
    /// Between its beginning and its healing, at least and at most.
    lasts: [Duration; 2],
    /// Between its healing and the next one.
    pauses: [Duration; 2],
    /// How often it comes in its turn, where several kinds take turns.
    repeats: usize,
}

impl Rhythm {
    const fn millis(lasts: [u64; 2], pauses: [u64; 2], repeats: usize) -> Self {
        const fn range(of: [u64; 2]) -> [Duration; 2] {
            [Duration::from_millis(of[0]), Duration::from_millis(of[1])]
        }
        Self { lasts: range(lasts), pauses: range(pauses), repeats }
    }
}

/// Makes faults of these kinds until `stop`, and gives everything back whole.
pub(super) fn make(
    kinds: Vec<Kind>,
    seed: u64,
    mut lab: Lab,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Lab> {
    thread::spawn(move || {
        let mut random = Rng::with_seed(seed);
        // SeqCst: a flag that is seen within a pause; order does not matter.
        let stopped = || stop.load(Ordering::SeqCst);
        wait(Duration::from_millis(500), &stopped);
        let kinds: Vec<_> = kinds.into_iter().filter_map(|kind| Some((kind, kind.rhythm()?))).collect();
        // Each kind has its turn before any has another one.
        let mut order = Vec::new();
        while !stopped() {
            if order.is_empty() {
                order.clone_from(&kinds);
                random.shuffle(&mut order);
            }
            let Some((kind, rhythm)) = order.pop() else { break };
            for _ in 0..rhythm.repeats {
                if stopped() {
                    break;
                }
                let Some(mut fault) = kind.fault(&mut random, lab.wires.len()) else { break };
                let begin = history.now();
                fault.start(&mut lab);
                // What is broken is healed although the run ends meanwhile.
                wait(between(&mut random, rhythm.lasts), &stopped);
                fault.heal(&mut lab);
                let span = Span { begin, end: history.now() };
                let (instance, cuts, loses_leases) = (fault.instance(), kind.cuts(), kind.loses_leases());
                let strike = Strike { fault: kind.name(), span, instance, cuts, loses_leases };
                history.note(|events| events.strikes.push(strike));
                wait(between(&mut random, rhythm.pauses), &stopped);
            }
        }
        lab
    })
}

fn between(random: &mut Rng, [least, most]: [Duration; 2]) -> Duration {
    least + Duration::from_micros(random.u64(0..=(most - least).as_micros() as u64))
}

/// Sleeps for `time`, or until `stopped`.
fn wait(time: Duration, stopped: &impl Fn() -> bool) {
    let until = Instant::now() + time;
    while !stopped() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
