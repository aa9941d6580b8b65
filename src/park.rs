//! A thread waits for a future: the parker under the blocking handle.
//!
//! It knows no runtime: a future is polled, the thread sleeps until its waker is called. It may be nested (a future that
//! blocks inside its own poll), and it refuses to sleep where sleeping could never end.
//!
//! # Invariants
//! - **P1** Each call that is under way on a thread has a signal of its own: an inner one consumes no wake-up of an outer.
//! - **P2** A thread that is pinned, or that drives the engine's I/O, never sleeps here.

mod signal;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::epoch;
use signal::Signal;

/// Why a thread may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WouldWait {
    /// The thread drives the engine's own I/O: nobody else could end the wait.
    IoThread,
    /// The thread holds a pin: memory could not be reclaimed while it sleeps.
    Pinned,
}

struct Thread {
    /// Distinguishes the thread from all others alive.
    token: u32,
    /// The innermost call of [`block_on`] that is under way, zero for none.
    session: Cell<u32>,
    /// The last session begun.
    sessions: Cell<u32>,
    /// Parkers at rest, one for each depth of nesting that the thread ever reached.
    idle: RefCell<Vec<Rc<Parker>>>,
    io: Cell<bool>,
}

thread_local! {
    static THREAD: Thread = Thread::new();
}

impl Thread {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self {
            // Relaxed: only distinctness matters, and a read-modify-write gives each thread its own number. After four
            // billion threads numbers repeat, which at worst mistakes another thread for this one.
            token: NEXT.fetch_add(1, Ordering::Relaxed),
            session: Cell::new(0),
            sessions: Cell::new(0),
            idle: RefCell::new(Vec::new()),
            io: Cell::new(false),
        }
    }

    fn refusal(&self) -> Option<WouldWait> {
        if self.io.get() {
            Some(WouldWait::IoThread)
        } else if epoch::pinned_here() {
            Some(WouldWait::Pinned)
        } else {
            None
        }
    }
}

/// Where something was last polled: a thread, and which call of [`block_on`] there, if any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Whereabouts(u64);

impl Whereabouts {
    pub(crate) const NOWHERE: Self = Self(0);

    /// This thread, now. `NOWHERE` while the thread's locals are being destroyed.
    pub(crate) fn here() -> Self {
        THREAD
            .try_with(|thread| Self(u64::from(thread.token) << 32 | u64::from(thread.session.get())))
            .unwrap_or(Self::NOWHERE)
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether a future last polled there cannot be polled again until the innermost [`block_on`] of this thread returns:
    /// it was polled on this thread, and not by that very call.
    pub(crate) fn is_stuck_here(self) -> bool {
        let here = Self::here();
        is_blocking() && self.0 >> 32 == here.0 >> 32 && self != here
    }
}

/// Whether this thread polls inside [`block_on`] and would be refused if it had to wait.
pub(crate) fn would_refuse() -> bool {
    is_blocking() && THREAD.try_with(|thread| thread.refusal().is_some()).unwrap_or(false)
}

/// Whether this thread polls inside [`block_on`].
pub(crate) fn is_blocking() -> bool {
    THREAD.try_with(|thread| thread.session.get() != 0).unwrap_or(false)
}

/// Declares that this thread drives the engine's I/O, for the rest of its life.
pub(crate) fn mark_io_thread() {
    THREAD.with(|thread| thread.io.set(true));
}

/// Runs `future` on this thread until it ends.
///
/// # Cost
/// One poll where the future is ready at once: no allocation (after the thread's first call), no system call.
///
/// # Errors
/// The future would wait and this thread may not; it has been dropped.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, WouldWait> {
    let session = Session::begin();
    let mut context = Context::from_waker(&session.parker.waker);
    // Declared after the session: the future is dropped inside it.
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Ok(output);
        }
        if let Ok(Some(refusal)) = THREAD.try_with(Thread::refusal) {
            return Err(refusal);
        }
        session.parker.wakeup.0.wait();
    }
}

/// One call of [`block_on`]; also its end, by unwinding too.
struct Session {
    parker: Rc<Parker>,
    outer: u32,
}

impl Session {
    fn begin() -> Self {
        let begun = THREAD.try_with(|thread| {
            let number = thread.sessions.get().wrapping_add(1).max(1);
            thread.sessions.set(number);
            (thread.idle.borrow_mut().pop(), thread.session.replace(number))
        });
        let (parker, outer) = begun.unwrap_or((None, 0));
        Self { parker: parker.unwrap_or_else(|| Rc::new(Parker::new())), outer }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A stale waker may still notify the parker that is put back: the next call then polls once more than it had to.
        let _ = THREAD.try_with(|thread| {
            thread.session.set(self.outer);
            thread.idle.borrow_mut().push(self.parker.clone());
        });
    }
}

struct Parker {
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

impl Parker {
    fn new() -> Self {
        let wakeup = Arc::new(Wakeup(Signal::here()));
        Self { waker: Waker::from(wakeup.clone()), wakeup }
    }
}

struct Wakeup(Signal);

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify();
    }
}

#[cfg(test)]
mod tests;
