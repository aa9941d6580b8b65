//! The stripes of counters, and the numbers of threads that own them.
//!
//! # Invariants
//! - C1: a stripe other than the shared one is written by one thread at a time, the one that holds its number.
//! - C2: a number is given back when its thread ends, and the next holder continues from the value it finds.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `hand-on` | the mutex of the free numbers, unlocked by the ending thread | the same mutex, locked by the new thread | all counts of the old holder |
//!
//! Checked by `loom-tests/` (`counting.rs`).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, Own, constructor, planted};

extern crate alloc;

/// The numbers of threads: `OWNED` at one time, from 0 on. That one itself stands for all further threads.
pub(super) struct Numbers<const OWNED: usize>(Mutex<Free>);

struct Free {
    returned: Vec<usize>,
    next: usize,
}

impl<const OWNED: usize> Numbers<OWNED> {
    constructor! {
        pub(super) fn new() -> Self {
            Self(Mutex::new(Free { returned: Vec::new(), next: 0 }))
        }
    }

    /// A number for the caller.
    pub(super) fn take(&self) -> usize {
        let mut free = self.0.lock();
        if let Some(number) = free.returned.pop() {
            if planted("given_twice") {
                free.returned.push(number);
            }
            return number;
        }
        if free.next < OWNED {
            free.next += 1;
            return free.next - 1;
        }
        OWNED
    }

    /// Ends the caller's ownership (C2): it counts under this number no more.
    pub(super) fn give_back(&self, number: usize) {
        if number < OWNED {
            self.0.lock().returned.push(number);
        }
    }
}

/// One thread's counters, on lines of their own.
#[repr(align(128))]
struct Stripe<const N: usize>([AtomicU64; N]);

/// `N` counters for each number, and a shared stripe.
pub(super) struct Stripes<const OWNED: usize, const N: usize>(Box<[Stripe<N>]>);

impl<const OWNED: usize, const N: usize> Stripes<OWNED, N> {
    pub(super) fn new() -> Self {
        let stripe = || Stripe(core::array::from_fn(|_| AtomicU64::new(0)));
        Self((0..=OWNED).map(|_| stripe()).collect())
    }

    /// Adds `n` under the caller's number.
    #[inline]
    pub(super) fn add(&self, number: usize, which: usize, n: u64) {
        let counter = &self.0[number].0[which];
        if number < OWNED || planted("shared_stripe_stored") {
            // This thread alone writes the stripe (C1). Relaxed: readers want some recent value.
            counter.store(counter.own().wrapping_add(n), Ordering::Relaxed);
        } else {
            // Relaxed: several threads add here, and a sum needs no order.
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum over all numbers; exact when nobody counts.
    pub(super) fn sum(&self, which: usize) -> u64 {
        // Relaxed: a snapshot of independent counters.
        self.0.iter().map(|stripe| stripe.0[which].load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}
