//! A place for one value that is made on demand: once, however many ask at the same time.
//!
//! The edges named here are those of the module above.
//!
//! # Invariants
//! - S1: a slot goes from empty to set, or from empty to busy and from there to set or back to empty. Only who made it busy
//!   ends that.
//! - S2: what is set stays as it is until the slot is dropped.

#![expect(unsafe_code, reason = "the slot is one word, in every entry")]

extern crate alloc;

use alloc::boxed::Box;
use core::ptr;

use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::{Condvar, Mutex, Own, constructor, planted};

/// See the module.
pub(crate) struct Slot<M>(AtomicPtr<M>);

/// Where threads wait for busy slots, few of them and seldom: one place serves all slots.
pub(crate) struct Waiting {
    turn: Mutex<()>,
    ended: Condvar,
}

impl Waiting {
    constructor! {
        pub(crate) fn new() -> Self {
            Self { turn: Mutex::new(()), ended: Condvar::new() }
        }
    }
}

/// The pointer in a busy slot. No box lies there.
fn busy<M>() -> *mut M {
    ptr::without_provenance_mut(1)
}

impl<M> Slot<M> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// What is set.
    #[inline]
    pub(crate) fn get(&self) -> Option<&M> {
        let at = self.read();
        // SAFETY: neither null nor busy, so it is a box that was set, and stays as it is for as long as the slot does (S2).
        if at.is_null() || at == busy() { None } else { Some(unsafe { &*at }) }
    }

    #[inline]
    fn read(&self) -> *mut M {
        // Acquire, edge `memo`: whoever sees the box sees what lies in it.
        self.0.load(if planted("relaxed_get") { Ordering::Relaxed } else { Ordering::Acquire })
    }

    /// Sets `made`, unless something is set or being made.
    pub(crate) fn set(&self, made: M) -> Result<(), M> {
        let made = Box::into_raw(Box::new(made));
        // Release, edge `memo`: what lies in the box comes before the box. Relaxed on failure: it is not looked at.
        let release = if planted("relaxed_set") { Ordering::Relaxed } else { Ordering::Release };
        match self.0.compare_exchange(ptr::null_mut(), made, release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: made two lines above, and given to nobody.
            Err(_) => Err(*unsafe { Box::from_raw(made) }),
        }
    }

    /// What is set, or what `make` makes now. Waits for whoever is making it.
    pub(crate) fn get_or_make<E>(&self, waiting: &Waiting, make: impl FnOnce() -> Result<M, E>) -> Result<&M, E> {
        while !self.begin() {
            if let Some(made) = self.get() {
                return Ok(made);
            }
            self.wait(waiting);
        }
        let busy = Busy { slot: self, waiting };
        let made = Box::into_raw(Box::new(make()?));
        busy.end(made);
        // SAFETY: set just now, and stays for as long as the slot does (S2).
        Ok(unsafe { &*made })
    }

    /// Makes the slot busy, if it is empty.
    fn begin(&self) -> bool {
        // Relaxed: the one who makes it busy takes nothing over from who did so in vain before; on failure `get` looks.
        self.0.compare_exchange(ptr::null_mut(), busy(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Waits while the slot is busy.
    fn wait(&self, waiting: &Waiting) {
        let mut turn = waiting.turn.lock();
        while self.read() == busy() {
            turn = waiting.ended.wait(turn);
        }
    }
}

impl<M> Drop for Slot<M> {
    fn drop(&mut self) {
        let at = self.0.own();
        if !at.is_null() && at != busy() {
            // SAFETY: a box that was set, once (S2), and nobody else has the slot any more.
            drop(unsafe { Box::from_raw(at) });
        }
    }
}

/// Whoever makes the value. Dropped before its end, it leaves the slot empty.
struct Busy<'a, M> {
    slot: &'a Slot<M>,
    waiting: &'a Waiting,
}

impl<M> Busy<'_, M> {
    fn end(self, made: *mut M) {
        self.leave(made);
        core::mem::forget(self);
    }

    fn leave(&self, made: *mut M) {
        // Release, edge `memo`: what lies in the box comes before the box.
        self.slot.0.store(made, if planted("relaxed_end") { Ordering::Relaxed } else { Ordering::Release });
        // Under the lock: whoever saw the slot busy there is waiting by now.
        if !planted("woken_without_lock") {
            drop(self.waiting.turn.lock());
        }
        if !planted("not_woken") {
            self.waiting.ended.notify_all();
        }
    }
}

impl<M> Drop for Busy<'_, M> {
    fn drop(&mut self) {
        self.leave(ptr::null_mut());
    }
}
