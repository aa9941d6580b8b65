//! Striped counters: exact when quiescent, one plain store to count.
//!
//! Each thread has a number, and every set of counters a stripe for it (`stripes`).

mod stripes;

use std::cell::Cell;

use stripes::{Numbers, Stripes};

/// Threads that own a stripe at one time; further ones share the last stripe.
const OWNED: usize = 63;

static NUMBERS: Numbers<OWNED> = Numbers::new();

/// A thread's number, given back when the thread ends.
struct Number(usize);

impl Drop for Number {
    fn drop(&mut self) {
        // Counting goes on in destructors that run later in this thread: they use the shared stripe (C1).
        MINE.set(OWNED);
        NUMBERS.give_back(self.0);
    }
}

const UNKNOWN: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static OWNER: Number = Number(NUMBERS.take());
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
pub(crate) struct Counters<const N: usize>(Stripes<OWNED, N>);

impl<const N: usize> Counters<N> {
    pub(crate) fn new() -> Self {
        Self(Stripes::new())
    }

    /// Adds one.
    #[inline]
    pub(crate) fn count(&self, which: usize) {
        self.add(which, 1);
    }

    #[inline]
    pub(crate) fn add(&self, which: usize, n: u64) {
        self.0.add(stripe(), which, n);
    }

    /// The sum over all threads; exact when nobody counts.
    pub(crate) fn sum(&self, which: usize) -> u64 {
        self.0.sum(which)
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
