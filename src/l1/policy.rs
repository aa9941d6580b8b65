//! S3-FIFO: which entry goes when there is no room.
//!
//! New entries enter a small queue (a tenth of the weight). At its end an entry that was hit at least twice moves to the
//! main queue, any other leaves and its hash is remembered as a ghost; an entry whose ghost is remembered enters the main
//! queue directly. The main queue gives every entry that was hit another round.
//!
//! Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! # Invariants
//! - P1: every resident entry of the shard is in exactly one queue, the one that its record names.
//! - P2: a queue's weight is the sum of what its entries were charged.

#![expect(unsafe_code, reason = "the queues are linked through the records")]

use std::collections::{HashMap, VecDeque};

use super::queue::Queue;
use crate::hash::Prehashed;
use crate::record::Record;

/// Hits that carry an entry from the small queue to the main queue.
const PROMOTE_AT: u8 = 2;
/// The small queue's share of the resident weight: one part in this many.
const SMALL_SHARE: u64 = 10;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// The queues of one shard, used under its lock.
pub(super) struct Policy {
    queues: [Queue; 2],
    ghosts: Ghosts,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self { queues: [Queue::new(), Queue::new()], ghosts: Ghosts::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }

    pub(super) fn weight(&self) -> u64 {
        self.queues.iter().map(Queue::weight).sum()
    }

    pub(super) fn was_evicted(&self, hash: u64) -> bool {
        self.ghosts.has(hash)
    }

    fn queue_of(&mut self, record: Record<'_>) -> &mut Queue {
        &mut self.queues[usize::from(record.queue())]
    }

    /// Takes in a new entry.
    ///
    /// # Safety
    /// It is in no queue, and stays alive until it is [removed](Policy::remove).
    pub(super) unsafe fn insert(&mut self, record: Record<'_>) {
        let queue = if self.ghosts.take(record.hash()) { MAIN } else { SMALL };
        // SAFETY: as the caller says.
        unsafe { self.push(record, queue) };
    }

    /// # Safety
    /// As for [`insert`](Policy::insert).
    unsafe fn push(&mut self, record: Record<'_>, queue: usize) {
        record.set_queue(queue as u8);
        // SAFETY: as the caller says.
        unsafe { self.queues[queue].push(record) };
    }

    /// Puts `new` where `old` is, with its frequency.
    ///
    /// # Safety
    /// `old` is in a queue; for `new` as for [`insert`](Policy::insert).
    pub(super) unsafe fn replace(&mut self, old: Record<'_>, new: Record<'_>) {
        new.set_frequency(old.frequency());
        new.set_queue(old.queue());
        // SAFETY: the record names the queue that it is in (P1).
        unsafe { self.queue_of(old).replace(old, new) };
    }

    /// Charges an entry of a queue anew after its weight changed.
    pub(super) fn recharge(&mut self, record: Record<'_>) {
        self.queue_of(record).recharge(record, record.weight());
    }

    /// Lets an entry go.
    ///
    /// # Safety
    /// It is in a queue.
    pub(super) unsafe fn remove(&mut self, record: Record<'_>) {
        // SAFETY: the record names the queue that it is in (P1).
        unsafe { self.queue_of(record).take(record) };
    }

    /// The entry that is to go for room; it stays in its queue until it is removed.
    pub(super) fn victim(&mut self, is_dead: impl Fn(Record<'_>) -> bool) -> Option<Record<'_>> {
        loop {
            let [small, main] = &self.queues;
            let from_small = main.len() == 0 || small.weight() * SMALL_SHARE > self.weight();
            let queue = if from_small && small.len() > 0 { SMALL } else { MAIN };
            let oldest = self.queues[queue].oldest()?;
            // SAFETY: what is in a queue is alive, and is the shard's until the policy is used again.
            let record: Record<'_> = unsafe { Record::at(oldest) };
            if is_dead(record) {
                return Some(record);
            }
            let frequency = record.frequency();
            if queue == MAIN {
                if frequency == 0 {
                    return Some(record);
                }
                record.set_frequency(frequency - 1);
            } else if frequency >= PROMOTE_AT {
                record.set_frequency(0);
            } else {
                let room = self.len();
                self.ghosts.remember(record.hash(), room);
                return Some(record);
            }
            // SAFETY: it is in that queue, and goes from there to the main queue.
            unsafe {
                self.queues[queue].take(record);
                self.push(record, MAIN);
            }
        }
    }

    /// Recounts everything (P1, P2); for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (number, queue) in self.queues.iter().enumerate() {
            let (mut len, mut weight) = (0, 0);
            for record in queue.iter() {
                if usize::from(record.queue()) != number {
                    return Err(format!("{:?} believes it is in queue {}", record.key(), record.queue()));
                }
                len += 1;
                weight += u64::from(record.charged());
            }
            if (len, weight) != (queue.len(), queue.weight()) {
                return Err(format!("counted {len} / {weight}, believed {} / {}", queue.len(), queue.weight()));
            }
        }
        Ok(())
    }
}

/// Hashes of entries that left the small queue, the oldest forgotten first.
#[derive(Default)]
struct Ghosts {
    order: VecDeque<(u64, u64)>,
    tickets: HashMap<u64, u64, Prehashed>,
    next: u64,
}

impl Ghosts {
    /// Ghosts kept even when few entries are resident.
    const LEAST: usize = 16;

    fn has(&self, hash: u64) -> bool {
        self.tickets.contains_key(&hash)
    }

    fn remember(&mut self, hash: u64, room: usize) {
        self.next += 1;
        self.tickets.insert(hash, self.next);
        self.order.push_back((hash, self.next));
        while self.order.len() > room.max(Self::LEAST) {
            let Some((oldest, ticket)) = self.order.pop_front() else { break };
            if self.tickets.get(&oldest) == Some(&ticket) {
                self.tickets.remove(&oldest);
            }
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        self.tickets.remove(&hash).is_some()
    }
}
