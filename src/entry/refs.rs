//! How many counts of an entry there are.
//!
//! The invariants and edges named here are those of the module above.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::planted;

pub(crate) struct Refs(AtomicU32);

/// Counts that were forgotten by the billion, rather than dropped, must not come round to zero.
const MOST: u32 = u32::MAX / 2;

impl Refs {
    pub(crate) fn one() -> Self {
        Self(AtomicU32::new(1))
    }

    /// Adds a count. The caller knows of another one that lasts meanwhile.
    #[inline]
    pub(crate) fn up(&self) {
        // Relaxed: who adds a count has the entry already.
        if self.0.fetch_add(1, Ordering::Relaxed) > MOST {
            overflow();
        }
    }

    /// Takes a count away; whether it was the last.
    #[inline]
    pub(crate) fn down(&self) -> bool {
        // Release, edge `last`: what was done with the entry by this count comes before it is freed.
        let release = if planted("relaxed_down") { Ordering::Relaxed } else { Ordering::Release };
        if self.0.fetch_sub(1, release) != 1 {
            return false;
        }
        // Acquire, edge `last`: whoever frees the entry has seen all uses of it. A load of what was just written, and no
        // fence, so that race detectors follow it.
        self.0.load(if planted("last_not_acquired") { Ordering::Relaxed } else { Ordering::Acquire });
        true
    }
}

#[cold]
fn overflow() -> ! {
    // A panic would be caught, and the count stay where it is.
    std::process::abort()
}
