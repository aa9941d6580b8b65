//! S3-FIFO: which entry goes when there is no room.
//!
//! New entries enter a small queue (a tenth of the weight). At its end an entry that was hit at least twice moves to the
//! main queue, any other leaves and its hash is remembered as a ghost; an entry whose ghost is remembered enters the main
//! queue directly. The main queue gives every entry that was hit another round.
//!
//! Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! # Invariants
//! - P1: every resident entry of the shard is in exactly one queue, at the node that its `place` names.
//! - P2: a queue's weight is the sum of what its entries were charged.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::entry::Entry;
use crate::hash::Prehashed;

const NONE: u32 = u32::MAX;
/// Hits that carry an entry from the small queue to the main queue.
const PROMOTE_AT: u8 = 2;
/// The small queue's share of the resident weight: one part in this many.
const SMALL_SHARE: u64 = 10;

struct Link {
    entry: Option<Arc<Entry>>,
    prev: u32,
    next: u32,
    main: bool,
}

#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
    len: usize,
    weight: u64,
}

impl Queue {
    const EMPTY: Queue = Queue { head: NONE, tail: NONE, len: 0, weight: 0 };
}

/// The queues of one shard, used under its lock.
pub(super) struct Policy {
    links: Vec<Link>,
    free: Vec<u32>,
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
    hand: usize,
}

impl Policy {
    pub(super) fn new() -> Self {
        Self {
            links: Vec::new(),
            free: Vec::new(),
            small: Queue::EMPTY,
            main: Queue::EMPTY,
            ghosts: Ghosts::default(),
            hand: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.small.len + self.main.len
    }

    pub(super) fn weight(&self) -> u64 {
        self.small.weight + self.main.weight
    }

    pub(super) fn was_evicted(&self, hash: u64) -> bool {
        self.ghosts.has(hash)
    }

    fn queue(&mut self, main: bool) -> &mut Queue {
        if main { &mut self.main } else { &mut self.small }
    }

    /// Takes in a new entry.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let main = self.ghosts.take(entry.name().hash());
        self.push(entry, main);
    }

    /// Puts `new` where `old` is, with its frequency.
    pub(super) fn replace(&mut self, old: &Entry, new: Arc<Entry>) {
        let place = old.place();
        new.set_frequency(old.frequency());
        new.set_place(place);
        let (added, gone) = (u64::from(new.charged()), u64::from(old.charged()));
        let link = &mut self.links[place as usize];
        link.entry = Some(new);
        let main = link.main;
        let queue = self.queue(main);
        queue.weight = queue.weight + added - gone;
    }

    /// Charges an entry anew after its weight changed.
    pub(super) fn recharge(&mut self, entry: &Entry) {
        let (old, new) = (u64::from(entry.charged()), entry.weight());
        let main = self.links[entry.place() as usize].main;
        let queue = self.queue(main);
        queue.weight = queue.weight + u64::from(new) - old;
        entry.set_charged(new);
    }

    /// Lets an entry go.
    pub(super) fn remove(&mut self, entry: &Entry) -> Option<Arc<Entry>> {
        self.unlink(entry.place())
    }

    /// The entry that is to go for room; it stays in its queue until it is removed.
    pub(super) fn victim(&mut self) -> Option<Arc<Entry>> {
        loop {
            let from_small = self.main.len == 0 || self.small.weight * SMALL_SHARE > self.weight();
            let place = if from_small && self.small.len > 0 { self.small.tail } else { self.main.tail };
            let entry = self.links.get(place as usize)?.entry.clone()?;
            if self.links[place as usize].main {
                let frequency = entry.frequency();
                if frequency == 0 {
                    return Some(entry);
                }
                entry.set_frequency(frequency - 1);
                self.requeue(place);
            } else if entry.frequency() >= PROMOTE_AT {
                entry.set_frequency(0);
                self.requeue(place);
            } else {
                let room = self.len();
                self.ghosts.remember(entry.name().hash(), room);
                return Some(entry);
            }
        }
    }

    /// Calls `visit` for up to `most` entries, going round over all of them from call to call.
    pub(super) fn visit(&mut self, most: usize, mut visit: impl FnMut(&Arc<Entry>)) {
        let most = most.min(self.links.len());
        for _ in 0..most {
            self.hand = if self.hand + 1 >= self.links.len() { 0 } else { self.hand + 1 };
            if let Some(entry) = &self.links[self.hand].entry {
                visit(entry);
            }
        }
    }

    /// Every entry, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.links.iter().filter_map(|link| link.entry.as_ref())
    }

    fn push(&mut self, entry: Arc<Entry>, main: bool) {
        let weight = u64::from(entry.charged());
        let head = self.queue(main).head;
        let link = Link { entry: Some(entry.clone()), prev: NONE, next: head, main };
        let place = match self.free.pop() {
            Some(place) => {
                self.links[place as usize] = link;
                place
            }
            None => {
                self.links.push(link);
                (self.links.len() - 1) as u32
            }
        };
        entry.set_place(place);
        if head != NONE {
            self.links[head as usize].prev = place;
        }
        let queue = self.queue(main);
        queue.head = place;
        if queue.tail == NONE {
            queue.tail = place;
        }
        queue.len += 1;
        queue.weight += weight;
    }

    fn unlink(&mut self, place: u32) -> Option<Arc<Entry>> {
        let link = self.links.get_mut(place as usize)?;
        let entry = link.entry.take()?;
        let (prev, next, main) = (link.prev, link.next, link.main);
        if prev != NONE {
            self.links[prev as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        let queue = self.queue(main);
        if queue.head == place {
            queue.head = next;
        }
        if queue.tail == place {
            queue.tail = prev;
        }
        queue.len -= 1;
        queue.weight -= u64::from(entry.charged());
        self.free.push(place);
        if self.len() == 0 {
            // Nothing is left: the links of a crowd that has gone are not kept.
            self.links = Vec::new();
            self.free = Vec::new();
            self.hand = 0;
        }
        Some(entry)
    }

    /// Moves the entry at `place` to the head of the main queue.
    fn requeue(&mut self, place: u32) {
        if let Some(entry) = self.unlink(place) {
            self.push(entry, true);
        }
    }

    /// Recounts everything (P1, P2); for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        for (queue, main) in [(self.small, false), (self.main, true)] {
            let (mut place, mut len, mut weight) = (queue.head, 0, 0);
            while place != NONE {
                let link = &self.links[place as usize];
                let entry = link.entry.as_ref().ok_or("a queue leads over an empty link")?;
                if entry.place() != place || link.main != main {
                    return Err(format!("entry at {place} believes it is at {} (main {main})", entry.place()));
                }
                (place, len, weight) = (link.next, len + 1, weight + u64::from(entry.charged()));
            }
            if (len, weight) != (queue.len, queue.weight) {
                return Err(format!("counted {len} / {weight}, believed {} / {}", queue.len, queue.weight));
            }
        }
        match self.entries().count() == self.len() {
            true => Ok(()),
            false => Err("an entry is in no queue".into()),
        }
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
