//! The queues of one shard: which entry goes when there is no room.
//!
//! There are two queues, small and main. A hit moves nothing, it only counts in the entry. A new entry enters the small queue,
//! a plain FIFO; at its end it moves to main if it was hit twice by then, else it leaves: what is asked for once never sees main.
//! Main is a clock: the entry at its end leaves if it was not hit since it was last there, else it goes round again and half of
//! its hits are used up. An entry that comes back while it is remembered as a ghost (`super::ghost`) may enter main directly,
//! and moves the balance between the queues (`super::balance`). What is dead leaves whatever its hits.
//!
//! Sources: the small queue, promotion by lazily counted hits and direct entry of ghosts: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO
//! queues are all you need for cache eviction", SOSP 2023; for what the ghosts decide, see there.
//!
//! # Invariants
//! - P1: every resident entry of the shard is in exactly one queue, the one that its entry names.
//! - P2: a queue's weight is the sum of what its entries were charged.
//!
//! # Cost
//! A turn costs the entry a hit at least, so that there are no more turns than hits and insertions; one call makes
//! [`MOST_TURNS`] at the most, whatever is hot.

#![expect(unsafe_code, reason = "the queues are linked through the entries")]

use super::balance::{Balance, Fate, Queue, Weights};
use super::ghost::Ghosts;
use super::list::List;
use crate::entry::Entry;

/// Entries that one eviction sends round at the most. After half of them it turns to the small queue, and at last takes what is
/// at the end, hit or not.
pub(super) const MOST_TURNS: usize = 32;
/// Entries of main that one arrival sends round at the most, to see how long the coldest has been idle.
pub(super) const MOST_LOOKS: usize = 8;

/// The queues of one shard, used under its lock.
pub(super) struct Policy {
    pub(super) small: List,
    main: List,
    pub(super) ghosts: Ghosts,
    pub(super) balance: Balance,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self { small: List::new(), main: List::new(), ghosts: Ghosts::default(), balance: Balance::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.small.weight() + self.main.weight()
    }

    pub(super) fn was_evicted(&self, hash: u64) -> bool {
        self.ghosts.has(hash)
    }

    fn weights(&self) -> Weights {
        Weights { small: self.small.weight(), main: self.main.weight() }
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    fn list_of(&mut self, entry: Entry<'_>) -> &mut List {
        self.list(if entry.is_in_main() { Queue::Main } else { Queue::Small })
    }

    /// Says that an entry of this hash is soon taken in. What the hash at the end of the queue that gives way then is, if
    /// room will be needed for it.
    pub(super) fn prefetch(&mut self, hash: u64) -> Option<u64> {
        self.ghosts.prefetch(hash);
        let queue = if self.small.len() == 0 { Queue::Main } else { self.balance.gives_way(self.weights()) };
        // SAFETY: what is in a queue is alive.
        let oldest: Entry<'_> = unsafe { Entry::at(self.list(queue).oldest()?) };
        self.ghosts.prefetch(oldest.hash());
        Some(oldest.hash())
    }

    /// Takes in a new entry.
    ///
    /// # Safety
    /// It is in no queue, and stays alive until it is [removed](Policy::remove) or [replaced](Policy::replace).
    pub(super) unsafe fn insert(&mut self, entry: Entry<'_>) {
        let now = self.balance.arrival();
        let weight = u64::from(entry.charged());
        let queue = match self.ghosts.take(entry.hash(), now) {
            Some(ghost) => {
                let idle = self.idle_in_main();
                let (weights, resident, ghosts) = (self.weights(), self.len(), &self.ghosts);
                self.balance.place_ghost(ghost, idle, weights, weight, resident, |queue| ghosts.held(queue))
            }
            None => self.balance.place_new(self.weights(), weight),
        };
        // SAFETY: as the caller says.
        unsafe { self.push(entry, queue) };
    }

    /// # Safety
    /// As for [`insert`](Policy::insert).
    unsafe fn push(&mut self, entry: Entry<'_>, queue: Queue) {
        entry.set_used(self.balance.now());
        entry.set_in_main(queue == Queue::Main);
        // SAFETY: as the caller says.
        unsafe { self.list(queue).push(entry) };
    }

    /// Puts `new` where `old` is, with its frequency.
    ///
    /// # Safety
    /// `old` is in a queue; for `new` as for [`insert`](Policy::insert).
    pub(super) unsafe fn replace(&mut self, old: Entry<'_>, new: Entry<'_>) {
        new.set_frequency(old.frequency());
        // A write is a use.
        new.touch();
        new.set_used(old.used());
        new.set_in_main(old.is_in_main());
        // SAFETY: the entry names the queue that it is in (P1).
        unsafe { self.list_of(old).replace(old, new) };
    }

    /// Charges an entry of a queue anew after its weight changed.
    pub(super) fn recharge(&mut self, entry: Entry<'_>) {
        self.list_of(entry).recharge(entry, entry.weight());
    }

    /// Lets an entry go.
    ///
    /// # Safety
    /// It is in a queue.
    pub(super) unsafe fn remove(&mut self, entry: Entry<'_>) {
        // SAFETY: the entry names the queue that it is in (P1).
        unsafe { self.list_of(entry).take(entry) };
    }

    /// The entry that is to go for room; it stays in its queue until it is removed.
    pub(super) fn victim(&mut self, is_dead: impl Fn(Entry<'_>) -> bool) -> Option<Entry<'_>> {
        self.balance.evicted();
        let mut turns = 0;
        loop {
            let queue = match (self.small.len(), self.main.len()) {
                (0, _) => Queue::Main,
                (_, 0) => Queue::Small,
                // So many of main are in use: rather something new.
                _ if turns >= MOST_TURNS / 2 => Queue::Small,
                _ => self.balance.gives_way(self.weights()),
            };
            let oldest = self.list(queue).oldest()?;
            // SAFETY: what is in a queue is alive, and nobody takes it out while the policy is borrowed.
            let entry: Entry<'_> = unsafe { Entry::at(oldest) };
            if is_dead(entry) {
                return Some(entry);
            }
            match Balance::fate(queue, entry.frequency()) {
                Fate::Stay(frequency) if turns < MOST_TURNS => {
                    turns += 1;
                    // SAFETY: it is at the end of that queue.
                    unsafe { self.turn(queue, entry, frequency) };
                }
                _ => {
                    let (resident, now) = (self.len(), self.balance.now());
                    let used = if entry.frequency() == 0 { entry.used() } else { now };
                    self.ghosts.remember(entry.hash(), queue, used, now, resident);
                    return Some(entry);
                }
            }
        }
    }

    /// How long main's coldest entry has been idle; `None` while the ones at its end are in use.
    fn idle_in_main(&mut self) -> Option<u32> {
        for _ in 0..MOST_LOOKS {
            let Some(oldest) = self.main.oldest() else { return Some(u32::MAX) };
            // SAFETY: what is in a queue is alive.
            let entry: Entry<'_> = unsafe { Entry::at(oldest) };
            match Balance::fate(Queue::Main, entry.frequency()) {
                Fate::Leave => return Some(self.balance.now().wrapping_sub(entry.used())),
                // SAFETY: it is at the end of main.
                Fate::Stay(frequency) => unsafe { self.turn(Queue::Main, entry, frequency) },
            }
        }
        None
    }

    /// Moves an entry to the head of main, with this frequency left.
    ///
    /// # Safety
    /// It is in `queue`.
    unsafe fn turn(&mut self, queue: Queue, entry: Entry<'_>, frequency: u8) {
        entry.set_frequency(frequency);
        // SAFETY: as the caller says; taken out of one queue, and put into another.
        unsafe {
            self.list(queue).take(entry);
            self.push(entry, Queue::Main);
        }
    }

    /// Recounts everything (P1, P2); for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (list, main) in [(&self.small, false), (&self.main, true)] {
            let (mut len, mut weight) = (0, 0);
            for entry in list.iter() {
                if entry.is_in_main() != main {
                    return Err(format!("{:?} is in the other queue than it says", entry.key()));
                }
                len += 1;
                weight += u64::from(entry.charged());
            }
            if (len, weight) != (list.len(), list.weight()) {
                return Err(format!("counted {len} / {weight}, believed {} / {}", list.len(), list.weight()));
            }
        }
        self.ghosts.validate()
    }
}
