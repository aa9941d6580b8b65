//! Striped counters: exact when quiescent, one plain store to count.
//!
//! # Invariants
//! - C1: a stripe other than the shared one is written by one thread at a time, the one that holds its number.
//! - C2: a number is given back when its thread ends, and the next holder continues from the value it finds.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | hand-on | the mutex of the free numbers, unlocked by the ending thread | the same mutex, locked by the new thread | all counts of the old holder |

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Threads that own a stripe at one time; further ones share the last stripe.
const OWNED: usize = 63;

static FREE: Mutex<Numbers> = Mutex::new(Numbers { returned: Vec::new(), next: 0 });

struct Numbers {
    returned: Vec<usize>,
    next: usize,
}

/// A thread's number, given back when the thread ends.
struct Number(usize);

impl Number {
    fn take() -> Self {
        let mut free = FREE.lock();
        if let Some(number) = free.returned.pop() {
            return Number(number);
        }
        if free.next < OWNED {
            free.next += 1;
            return Number(free.next - 1);
        }
        Number(OWNED)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // Counting goes on in destructors that run later in this thread: they use the shared stripe (C1).
        MINE.set(OWNED);
        if self.0 < OWNED {
            FREE.lock().returned.push(self.0);
        }
    }
}

const UNKNOWN: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static OWNER: Number = Number::take();
}

#[inline]
fn stripe() -> usize {
    let mine = MINE.get();
    if mine == UNKNOWN { register() } else { mine }
}

#[cold]
fn register() -> usize {
    let number = OWNER.try_with(|number| number.0).unwrap_or(OWNED);
    MINE.set(number);
    number
}

/// `N` counters, striped by thread.
pub(crate) struct Counters<const N: usize> {
    stripes: Box<[CachePadded<[AtomicU64; N]>]>,
}

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Self {
        let stripe = || CachePadded::new([const { AtomicU64::new(0) }; N]);
        Self { stripes: (0..=OWNED).map(|_| stripe()).collect() }
    }

    /// Adds one.
    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.add(which, 1);
    }

    #[inline]
    pub(crate) fn add(&self, which: usize, n: u64) {
        let stripe = stripe();
        let counter = &self.stripes[stripe][which];
        if stripe < OWNED {
            // Relaxed: this thread alone writes the stripe (C1), readers want some recent value.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            // Relaxed: several threads add here, and a sum needs no order.
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum over all threads; exact when nobody counts.
    pub(crate) fn sum(&self, which: usize) -> u64 {
        // Relaxed: a snapshot of independent counters.
        self.stripes.iter().map(|stripe| stripe[which].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_ended_threads_are_kept_and_their_stripes_reused() {
        let counters = Counters::<2>::new();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(|| (0..1000).for_each(|_| counters.count(1)));
                }
            });
        }
        assert_eq!(counters.sum(1), 200_000);
        assert_eq!(counters.sum(0), 0);
    }

    #[test]
    fn more_threads_than_stripes_lose_no_count() {
        let counters = Counters::<1>::new();
        let all = std::sync::Barrier::new(OWNED + 40);
        std::thread::scope(|scope| {
            for _ in 0..OWNED + 40 {
                scope.spawn(|| {
                    counters.count(0);
                    all.wait();
                    (0..500).for_each(|_| counters.count(0));
                });
            }
        });
        assert_eq!(counters.sum(0), 501 * (OWNED as u64 + 40));
    }
}
