//! Those who wait for a flight, in the order they came: a linked list over a slab.
//!
//! # Invariants
//! - **W1** A slot is free (on the free list), queued (on the waiting list) or called (on neither, its waiter was told).
//! - **W2** A slot that is not free belongs to one waiter, which alone gives it back: an id is never stale.
//! - **W3** The slab is as long as the most slots that were ever taken at once since it was last empty, and an empty one
//!   keeps no more than `KEPT` slots.

use core::mem;
use core::task::Waker;

/// The end of a list.
const NONE: u32 = u32::MAX;

/// Slots that an empty slab keeps for the next waiters.
const KEPT: usize = 8;

/// A waiter's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterId(u32);

/// The waiting list.
pub(crate) struct Waiters {
    slots: Vec<Slot>,
    head: u32,
    tail: u32,
    free: u32,
    taken: u32,
}

struct Slot {
    /// There is a waker exactly while the slot is queued.
    waker: Option<Waker>,
    /// Where the waiter was last polled, as its flight's home numbers places.
    place: u64,
    prev: u32,
    /// The next on the waiting list, or on the free list.
    next: u32,
}

impl Waiters {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), head: NONE, tail: NONE, free: NONE, taken: 0 }
    }

    /// Queues a waiter behind all others.
    ///
    /// # Cost
    /// O(1), amortised.
    fn push(&mut self, waker: Waker, place: u64) -> WaiterId {
        let slot = Slot { waker: Some(waker), place, prev: self.tail, next: NONE };
        let id = if self.free == NONE {
            // Four billion waiters would take 128 GiB: the cast keeps the value.
            let id = self.slots.len() as u32;
            self.slots.push(slot);
            id
        } else {
            let id = self.free;
            self.free = mem::replace(&mut self.slots[id as usize], slot).next;
            id
        };
        match self.tail {
            NONE => self.head = id,
            tail => self.slots[tail as usize].next = id,
        }
        self.tail = id;
        self.taken += 1;
        WaiterId(id)
    }

    /// Has the waiter woken through `waker` from now on, and queues it if it is not on the list yet. `place` is where it is
    /// polled. Returns the waker that is not needed, to be dropped outside the flight's lock.
    pub(crate) fn wait(&mut self, waiter: &mut Option<WaiterId>, waker: Waker, place: u64) -> Option<Waker> {
        let Some(id) = *waiter else {
            *waiter = Some(self.push(waker, place));
            return None;
        };
        let slot = &mut self.slots[id.0 as usize];
        slot.place = place;
        match &mut slot.waker {
            Some(known) if known.will_wake(&waker) => Some(waker),
            known => known.replace(waker),
        }
    }

    /// Where the waiter was last polled.
    pub(crate) fn place(&self, id: WaiterId) -> u64 {
        self.slots[id.0 as usize].place
    }

    /// Calls the waiter that waits longest: it leaves the waiting list and keeps its slot.
    pub(crate) fn call(&mut self) -> Option<(WaiterId, Waker)> {
        let id = self.head;
        let waker = self.slots.get_mut(id as usize)?.waker.take()?;
        self.unqueue(id);
        Some((WaiterId(id), waker))
    }

    /// Gives the slot back; returns the waker of a waiter that was still queued.
    pub(crate) fn leave(&mut self, id: WaiterId) -> Option<Waker> {
        let waker = self.slots[id.0 as usize].waker.take();
        if waker.is_some() {
            self.unqueue(id.0);
        }
        self.taken -= 1;
        if self.taken == 0 && self.slots.capacity() > KEPT {
            *self = Self::new();
        } else {
            self.slots[id.0 as usize].next = mem::replace(&mut self.free, id.0);
        }
        waker
    }

    /// Wakes all who are queued, first come first.
    pub(crate) fn wake_all(mut self) {
        while let Some((_, waker)) = self.call() {
            waker.wake();
        }
    }

    fn unqueue(&mut self, id: u32) {
        let Slot { prev, next, .. } = self.slots[id as usize];
        match prev {
            NONE => self.head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }

    /// Slots that are not free.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken as usize
    }

    /// Slots that have memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Named;

    impl Wake for Named {
        fn wake(self: Arc<Self>) {}
    }

    /// Counts the free list, the waiting list from both ends and the slots on neither; returns the waiting list.
    fn validate(waiters: &Waiters, called: usize) -> Vec<u32> {
        let walk = |from: u32, step: fn(&Slot) -> u32| {
            let mut ids = Vec::new();
            let mut id = from;
            while id != NONE {
                ids.push(id);
                id = step(&waiters.slots[id as usize]);
            }
            ids
        };
        let (queued, free) = (walk(waiters.head, |slot| slot.next), walk(waiters.free, |slot| slot.next));
        let mut backwards = walk(waiters.tail, |slot| slot.prev);
        backwards.reverse();
        assert_eq!(queued, backwards);
        assert_eq!(queued.len() + called, waiters.taken());
        assert_eq!(waiters.taken() + free.len(), waiters.slots.len());
        assert!(queued.iter().all(|&id| waiters.slots[id as usize].waker.is_some()));
        assert!(free.iter().all(|&id| waiters.slots[id as usize].waker.is_none()));
        queued
    }

    #[test]
    fn first_come_is_first_called_whoever_leaves() {
        // Knuth's linear congruential generator (MMIX): the models compile this file too, without the crate's dependencies.
        let mut seed = 1_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let (mut waiters, mut queue, mut called) = (Waiters::new(), VecDeque::new(), Vec::new());
        let mut peak = 0;
        for step in 0..20_000 {
            // Long phases of growth and of decline, so that the slab is emptied and filled again.
            match random(if step / 500 % 2 == 0 { 8 } else { 3 }) {
                0 => match waiters.call() {
                    Some((id, _)) => {
                        assert_eq!(Some(id), queue.pop_front());
                        called.push(id);
                    }
                    None => assert!(queue.is_empty()),
                },
                1 if !queue.is_empty() => {
                    let id = queue.remove(random(queue.len())).unwrap();
                    assert!(waiters.leave(id).is_some());
                }
                2 if !called.is_empty() => {
                    assert!(waiters.leave(called.swap_remove(random(called.len()))).is_none());
                }
                3.. => {
                    let mut waiter = None;
                    assert!(waiters.wait(&mut waiter, Waker::from(Arc::new(Named)), step).is_none());
                    assert_eq!(waiters.place(waiter.unwrap()), step);
                    queue.push_back(waiter.unwrap());
                }
                _ => {}
            }
            peak = if waiters.taken() == 0 { 0 } else { peak.max(waiters.taken()) };
            assert!(waiters.slots.len() <= peak.max(KEPT));
            if step % 64 == 0 {
                let listed = validate(&waiters, called.len());
                assert_eq!(listed, queue.iter().map(|id| id.0).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_waker_is_replaced_only_by_another() {
        let (one, other) = (Waker::from(Arc::new(Named)), Waker::from(Arc::new(Named)));
        let (mut waiters, mut waiter) = (Waiters::new(), None);
        assert!(waiters.wait(&mut waiter, one.clone(), 0).is_none());
        assert!(waiters.wait(&mut waiter, one.clone(), 1).is_some_and(|idle| idle.will_wake(&one)));
        assert!(waiters.wait(&mut waiter, other.clone(), 2).is_some_and(|idle| idle.will_wake(&one)));
        assert!(waiters.call().is_some_and(|(id, waker)| Some(id) == waiter && waker.will_wake(&other)));
        assert_eq!(waiters.place(waiter.unwrap()), 2);
    }
}
