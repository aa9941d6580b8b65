//! One flight: its phases, its lease and its followers.
//!
//! Everything happens under the flight's mutex except what runs foreign code: wakers are called and dropped outside it,
//! after the state they announce is visible and after the flight has left its table.
//!
//! # Edges
//! Only the mutex: whoever finds a phase under it sees what led to that phase.

use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::waiters::{WaiterId, Waiters};
use crate::sync::{Arc, Mutex, MutexGuard, planted};

/// Where flights are found: told when one is over.
pub(crate) trait Home<T>: Sized {
    /// `flight`, which is over, must be found no more (F3); another flight of the same key stays (F4).
    /// May be called more than once. Called without a lock held, before the followers are woken.
    fn over(&self, flight: &Flight<T, Self>);

    /// The place where the caller polls.
    fn here() -> u64;

    /// The lead went to a follower that was last polled at `place`. Called under the flight's lock.
    fn granted_to(&self, place: u64);
}

/// One computation that many wait for.
pub(crate) struct Flight<T, H> {
    state: Mutex<State<T>>,
    home: H,
}

struct State<T> {
    phase: Phase<T>,
    /// Empty once the flight is over.
    waiters: Waiters,
}

enum Phase<T> {
    /// One lease is out.
    Led,
    /// The lead is this waiter's, which has not come for it yet. No lease is out.
    Granted(WaiterId),
    /// Over, with an outcome.
    Landed(T),
    /// Over, without one: the lead was given up and nobody waited.
    Closed,
}

impl<T> State<T> {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Landed(_) | Phase::Closed)
    }
}

impl<T: Clone, H: Home<T>> Flight<T, H> {
    /// A new flight that the caller leads.
    pub(crate) fn start(home: H) -> Lease<T, H> {
        let state = Mutex::new(State { phase: Phase::Led, waiters: Waiters::new() });
        Lease { flight: Arc::new(Self { state, home }), ended: false }
    }

    /// Follows `flight`. A follower counts as waiting from its first poll on.
    pub(crate) fn join(flight: Arc<Self>) -> Join<T, H> {
        Join { flight, waiter: None }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over()
    }

    /// Ends the flight with `outcome` unless it is over; whether it did.
    pub(crate) fn end(&self, outcome: T) -> bool {
        let mut state = self.state.lock();
        if state.is_over() && !planted("land_overwrites") {
            return false;
        }
        state.phase = Phase::Landed(outcome);
        let waiters = mem::replace(&mut state.waiters, Waiters::new());
        drop(state);
        self.home.over(self);
        waiters.wake_all();
        if planted("landing_forgets") {
            self.state.lock().phase = Phase::Closed;
        }
        true
    }

    /// Passes a lead that is in nobody's hands to the follower that waits longest (F1), or closes the flight.
    fn hand_over(&self, mut state: MutexGuard<'_, State<T>>) {
        match state.waiters.call() {
            Some((id, waker)) => {
                state.phase = Phase::Granted(id);
                self.home.granted_to(state.waiters.place(id));
                drop(state);
                if !planted("silent_grant") {
                    waker.wake();
                }
            }
            None => {
                state.phase = Phase::Closed;
                drop(state);
                self.home.over(self);
            }
        }
    }
}

impl<T, H> Flight<T, H> {
    pub(crate) fn home(&self) -> &H {
        &self.home
    }

    #[cfg(test)]
    pub(crate) fn waiters(&self) -> usize {
        self.state.lock().waiters.taken()
    }

    #[cfg(test)]
    pub(crate) fn waiter_memory(&self) -> usize {
        self.state.lock().waiters.capacity()
    }
}

/// The lead of a flight. Dropping it gives the lead up (F2).
#[must_use]
pub(crate) struct Lease<T: Clone, H: Home<T>> {
    flight: Arc<Flight<T, H>>,
    ended: bool,
}

impl<T: Clone, H: Home<T>> Lease<T, H> {
    pub(crate) fn flight(&self) -> &Arc<Flight<T, H>> {
        &self.flight
    }

    /// Ends the flight with `outcome`; false if it was ended from outside, and then its followers have that outcome.
    pub(crate) fn land(mut self, outcome: T) -> bool {
        self.ended = true;
        self.flight.end(outcome)
    }
}

impl<T: Clone, H: Home<T>> Drop for Lease<T, H> {
    fn drop(&mut self) {
        if self.ended || planted("lease_without_drop") {
            return;
        }
        let state = self.flight.state.lock();
        if !state.is_over() {
            self.flight.hand_over(state);
        }
    }
}

/// What came of following.
pub(crate) enum Joined<T: Clone, H: Home<T>> {
    /// The lead was given up and is the caller's now.
    Lead(Lease<T, H>),
    /// The flight landed.
    Landed(T),
    /// The flight closed before the first poll: look the key up again.
    Gone,
}

/// A follower.
///
/// # Cancel safety
/// Dropping it leaves the flight; a lead granted to it meanwhile goes to the next.
#[must_use]
pub(crate) struct Join<T: Clone, H: Home<T>> {
    flight: Arc<Flight<T, H>>,
    /// A place in the flight's list, valid until the flight is over.
    waiter: Option<WaiterId>,
}

impl<T: Clone, H: Home<T>> Join<T, H> {
    pub(crate) fn flight(&self) -> &Arc<Flight<T, H>> {
        &self.flight
    }

    /// Waits no more; a lead that was granted meanwhile goes to the next.
    pub(crate) fn leave(&mut self) {
        let Some(id) = self.waiter.take() else { return };
        let mut state = self.flight.state.lock();
        if state.is_over() && !planted("leaves_what_is_over") {
            return;
        }
        let granted = matches!(state.phase, Phase::Granted(to) if to == id);
        let waker = state.waiters.leave(id);
        if granted && !planted("dropped_baton") {
            self.flight.hand_over(state);
        } else {
            drop(state);
        }
        drop(waker);
    }
}

impl<T: Clone, H: Home<T>> Future for Join<T, H> {
    type Output = Joined<T, H>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Join { flight, waiter } = &mut *self;
        // Cloned before the lock is taken: cloning a waker runs foreign code.
        let waker = cx.waker().clone();
        let mut state = flight.state.lock();
        match state.phase {
            Phase::Landed(ref outcome) => Poll::Ready(Joined::Landed(outcome.clone())),
            Phase::Closed => Poll::Ready(Joined::Gone),
            Phase::Granted(to) if *waiter == Some(to) => {
                state.waiters.leave(to);
                *waiter = None;
                if !planted("grant_kept") {
                    state.phase = Phase::Led;
                }
                drop(state);
                Poll::Ready(Joined::Lead(Lease { flight: flight.clone(), ended: false }))
            }
            Phase::Led | Phase::Granted(_) => {
                if planted("late_registration") {
                    drop(state);
                    state = flight.state.lock();
                }
                let idle = state.waiters.wait(waiter, waker, H::here());
                drop(state);
                drop(idle);
                Poll::Pending
            }
        }
    }
}

impl<T: Clone, H: Home<T>> Drop for Join<T, H> {
    fn drop(&mut self) {
        self.leave();
    }
}
