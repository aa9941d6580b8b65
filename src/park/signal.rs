//! One bit that a sleeping thread waits for.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `notify` | `Notified::raise` | `Notified::take` | what was written before the wake-up |
//!
//! Checked by `loom-tests/`.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{planted, thread};

/// Wakes one thread, the one that made it. A wake-up before the wait ends that wait at once.
pub(crate) struct Signal {
    notified: Notified,
    sleeper: thread::Thread,
}

/// Whether a wake-up has come that the sleeper has not seen yet.
struct Notified(AtomicBool);

impl Notified {
    /// Sets the bit; whether it was set already.
    fn raise(&self) -> bool {
        // Release, edge `notify`: whoever takes the bit sees what was written before. It is a read-modify-write also when
        // the bit is set, so that the taker synchronises with every one that raised it, by the release sequence.
        self.0.swap(true, if planted("relaxed_notify") { Ordering::Relaxed } else { Ordering::Release })
    }

    /// Clears the bit; whether it was set.
    fn take(&self) -> bool {
        // Acquire, edge `notify`: the poll that follows sees what the wake-up was about.
        self.0.swap(false, if planted("relaxed_take") { Ordering::Relaxed } else { Ordering::Acquire })
    }
}

impl Signal {
    /// A signal for the current thread.
    pub(crate) fn here() -> Self {
        Self { notified: Notified(AtomicBool::new(false)), sleeper: thread::current() }
    }

    /// Ends the wait, the one under way or the next.
    pub(crate) fn notify(&self) {
        // Who finds the bit set need not unpark: who set it does or did, and the sleeper has not looked since.
        if !self.notified.raise() {
            self.sleeper.unpark();
        }
    }

    /// Sleeps until a notification, and consumes it. Only for the thread that made the signal.
    ///
    /// The bit and not the thread's park token says whether it was notified: several signals share one thread's token, and
    /// so may other code on the thread. The token only bounds the sleep, and each of them looks at its own bit first.
    pub(crate) fn wait(&self) {
        if planted("park_first") {
            thread::park();
        }
        if planted("cleared_first") {
            self.notified.take();
        }
        while !self.notified.take() {
            thread::park();
        }
    }
}
