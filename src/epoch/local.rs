//! The process's domain, and each thread's slot in it.

use std::cell::Cell;

use super::barrier::Process;
use super::domain::{Domain, Pinned};
use super::slot::Slot;

static DOMAIN: Domain<Process> = Domain::new(Process::new());

thread_local! {
    /// The thread's slot. It has no destructor, so that it can be read at any time of the thread's life.
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// Gives the slot back when the thread ends.
    static STAY: Departure = const { Departure };
}

/// Gives the thread's slot back when it is dropped.
struct Departure;

impl Drop for Departure {
    fn drop(&mut self) {
        // A thread that calls `exit` under a pin runs its destructors there and never comes back: its slot stays pinned,
        // for what it has borrowed may be in use by threads it has spawned.
        if let Some(slot) = SLOT.get().filter(|slot| !slot.is_pinned()) {
            SLOT.set(None);
            slot.give_back();
        }
    }
}

/// The domain of all tables of the process.
pub(crate) fn domain() -> &'static Domain<Process> {
    &DOMAIN
}

/// Runs `read` pinned: what it finds in a table is not freed before it returns.
///
/// Pins may lie in each other; the outermost alone counts. `read` must not wait: while it runs nothing that is retired
/// anywhere in the process is freed.
///
/// # Cost
/// A few instructions, none of them locked where the kernel lends its barrier; the first pin of a thread claims a slot.
/// After the thread's own destructors have run each pin does, and gives it back.
#[inline(always)]
pub(crate) fn pin<R>(read: impl FnOnce(&Pinned<'_>) -> R) -> R {
    let (slot, visits) = match SLOT.get() {
        Some(slot) => (slot, false),
        None => arrive(),
    };
    let result = DOMAIN.enter(slot, read);
    if visits {
        // If `read` panics there, in a thread that has all but ended, the slot stays claimed: one of them, and not pinned.
        drop(Departure);
    }
    result
}

/// Whether the current thread is pinned.
#[inline]
pub(crate) fn pinned_here() -> bool {
    SLOT.get().is_some_and(Slot::is_pinned)
}

/// Claims a slot until the thread ends; or for one pin if its destructors have run, and says so.
#[cold]
fn arrive() -> (&'static Slot, bool) {
    let slot = DOMAIN.claim();
    SLOT.set(Some(slot));
    (slot, STAY.try_with(|_| ()).is_err())
}
