//! The signal that a parked thread sleeps on.
//!
//! The sleeper never joins a notifier: in loom an unpark that comes late would end the join too. An execution ends when
//! all of its threads have.

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use crate::harness::models;
use crate::signal::Signal;
use crate::sync::Arc;

models! {
    /// A notification before the wait, or during it, ends it; what came before the notification is then seen.
    a_notification_is_not_lost finds cleared_first, relaxed_notify, relaxed_take {
        let written = Arc::new(AtomicUsize::new(0));
        let signal = Arc::new(Signal::here());
        for _ in 0..2 {
            let (written, signal) = (written.clone(), signal.clone());
            thread::spawn(move || {
                // Relaxed: the signal alone carries it.
                written.fetch_add(1, Relaxed);
                signal.notify();
            });
        }
        while written.load(Relaxed) < 2 {
            signal.wait();
        }
    }

    /// A wait on one signal consumes no notification of another of the same thread.
    nested_waits_keep_their_notifications finds park_first {
        let (outer, inner) = (Arc::new(Signal::here()), Arc::new(Signal::here()));
        for signal in [outer.clone(), inner.clone()] {
            thread::spawn(move || signal.notify());
        }
        inner.wait();
        outer.wait();
    }
}
