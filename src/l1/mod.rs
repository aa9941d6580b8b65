//! L1: the resident entries of this process, read without locks.
//!
//! The table is cut into shards by the top bits of the hash. Readers pin the epoch (`crate::epoch`) and look into the shard's
//! table without a lock. Every change of a shard — insert, replace, remove, evict, and what happens to loading markers — runs
//! under that shard's one short lock, so that a kill and a fill of the same key exclude each other.
//!
//! # Invariants
//! - L1: a shard's table holds an entry if and only if its policy holds the same entry.
//! - L2: a fill lands only while the marker that its load placed is still there; every kill takes the marker away.
//! - L3: a shard is over its share of entries or weight for at most one insertion, under its lock.
//! - L4: no user type is dropped under a shard's lock: what is removed is retired, and freed later and outside.
//!
//! # Why not
//! A general concurrent map: a locked operation for each guard, tombstones that are rehashed under churn, and a copy of all
//! entries in one go when it grows.

mod balance;
mod bounds;
mod ghost;
mod list;
mod marker;
mod policy;
#[cfg(test)]
mod policy_tests;
mod removals;
mod shard;
#[cfg(test)]
mod shard_tests;
mod table;
#[cfg(test)]
mod table_tests;
mod upkeep;

pub(crate) use marker::Token;
pub(crate) use removals::Removals;

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_utils::CachePadded;

use crate::clock::Tick;
use crate::counter::Counters;
use crate::entry::{Body, Counted, Entry, Kind, Label, Origin, Times};
use crate::epoch;
use crate::hash::KeyHasher;
use crate::stats::RemovalCause;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicUsize;
use crate::trust::{Cause, Trust, Verdict};
use crate::value::Value;
use bounds::Bounds;
use shard::{Name, Resident, Shard, Walk, Writer};

/// What is to be made resident.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    /// `None`: the source has no value.
    pub(crate) value: Option<&'a Value>,
    pub(crate) times: Times,
    /// The weight that the caller gave, instead of the encoded length.
    pub(crate) weight: Option<u32>,
    pub(crate) origin: Origin<'a>,
}

/// How much may be resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) entries: usize,
    pub(crate) weight: u64,
    pub(crate) max_entry: u64,
}

impl Limits {
    /// Nothing is ever resident: the markers alone are used.
    pub(crate) const NOTHING: Limits = Limits { entries: 0, weight: 0, max_entry: 0 };

    /// The part of one of `shards`. Each has room for one entry at least, unless there is room for nothing.
    fn share(self, shards: usize) -> Self {
        let weight = self.weight / shards as u64;
        let entries = (self.entries / shards).max(self.entries.min(1));
        Limits { entries, weight, max_entry: self.max_entry.min(weight) }
    }
}

/// The table. See the module.
pub(crate) struct L1 {
    shards: Box<[CachePadded<Shard>]>,
    hasher: KeyHasher,
    tick: Arc<Tick>,
    trust: Arc<Trust>,
    share: Bounds,
    /// Held by whoever changes the bounds.
    resizing: Mutex<()>,
    /// The shard that is swept next.
    swept: AtomicUsize,
    counters: Counters<{ INSERTED + 1 }>,
    /// Where removals are told, if anybody listens.
    removals: Option<Removals>,
}

/// Entries that are looked at, or let go, under one lock, where all of them are: writers wait for no more.
const UNDER_ONE_LOCK: usize = 128;

/// The counter of insertions; the removal causes come before it.
const INSERTED: usize = RemovalCause::ALL.len();

impl L1 {
    /// Below this many entries one shard, since small shards cost hit ratio.
    const ENTRIES_PER_SHARD: usize = 4096;
    const MOST_SHARDS: usize = 16;

    pub(crate) fn new(limits: Limits, tick: Arc<Tick>, trust: Arc<Trust>, removals: Option<Removals>) -> Self {
        let mut count = (limits.entries / Self::ENTRIES_PER_SHARD).clamp(1, Self::MOST_SHARDS);
        while count > 1 && limits.weight / (count as u64) < limits.max_entry {
            count /= 2;
        }
        let count = 1 << count.ilog2();
        Self {
            shards: (0..count).map(|_| CachePadded::new(Shard::new())).collect(),
            hasher: KeyHasher::new(),
            tick,
            trust,
            share: Bounds::new(limits.share(count)),
            resizing: Mutex::new(()),
            swept: AtomicUsize::new(0),
            counters: Counters::new(),
            removals,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn now(&self) -> u64 {
        self.tick.millis()
    }

    #[inline]
    fn name<'a>(&self, key: &'a str) -> Name<'a> {
        Name { hash: self.hasher.hash(key), key }
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[(hash >> 48) as usize & (self.shards.len() - 1)]
    }

    /// Runs `read` on the valid and fresh entry of `key` and counts the hit.
    ///
    /// # Cost
    /// One hash, one pin, one probe, one key compare, one look at the tick and one at the last event. No lock, no allocation;
    /// the entry's frequency is written until it saturates.
    #[inline(always)]
    pub(crate) fn hit<R>(&self, key: &str, read: impl FnOnce(Entry<'_>) -> R) -> Option<R> {
        let name = self.name(key);
        epoch::pin(|pinned| {
            let entry = self.shard(name.hash).find(name, pinned)?;
            // In one branch: both are nearly always so.
            let until = entry.until();
            let as_before = (self.tick.millis() < until.fresh_until()) & self.trust.is_word(until.stamp());
            if !as_before && !self.is_usable(entry) {
                return None;
            }
            entry.touch();
            Some(read(entry))
        })
    }

    /// Whether an entry is fresh and valid.
    #[cold]
    #[inline(never)]
    fn is_usable(&self, entry: Entry<'_>) -> bool {
        entry.is_fresh(self.tick.millis()) && self.outlives(entry)
    }

    /// Whether an entry has outlived all events. One that has is not asked again until the next.
    fn outlives(&self, entry: Entry<'_>) -> bool {
        match self.verdict(entry) {
            Verdict::Valid(event) => {
                entry.set_stamp(event);
                true
            }
            Verdict::Suspect | Verdict::Gone(_) => false,
        }
    }

    fn verdict(&self, entry: Entry<'_>) -> Verdict {
        let tags = entry.tags().map_or(&[][..], |tags| tags);
        self.trust.check(entry.until().stamp(), entry.key(), tags, 0)
    }

    /// Runs `read` on the entry of `key`, and counts nothing. The entry may be stale, and it may be suspect.
    #[inline]
    pub(crate) fn look<R>(&self, key: &str, read: impl FnOnce(Entry<'_>, Standing) -> R) -> Option<R> {
        let name = self.name(key);
        epoch::pin(|pinned| {
            let entry = self.shard(name.hash).find(name, pinned)?;
            let now = self.tick.millis();
            if entry.is_dead(now) {
                return None;
            }
            let outlives = if self.trust.is_word(entry.until().stamp()) { None } else { Some(self.verdict(entry)) };
            let standing = match outlives {
                Some(Verdict::Gone(_)) => return None,
                Some(Verdict::Suspect) => Standing::Suspect,
                _ if entry.is_fresh(now) => Standing::Fresh,
                _ => Standing::Stale,
            };
            Some(read(entry, standing))
        })
    }

    /// The entry of `key` that the shared tier may confirm: it is fresh, there is a copy, and messages may be missing.
    pub(crate) fn suspect(&self, key: &str) -> Option<Counted> {
        let suspect = |entry: Entry<'_>, standing| {
            let can_be_confirmed = entry.is_fresh(self.tick.millis()) && entry.write_id() != 0;
            (standing == Standing::Suspect && can_be_confirmed).then(|| entry.count())
        };
        self.look(key, suspect).flatten()
    }

    /// Why `key` has no fresh entry, as far as is remembered.
    pub(crate) fn absence(&self, key: &str) -> Absence {
        let name = self.name(key);
        self.shard(name.hash).read(|shard| match shard.get(name) {
            Some(entry) if entry.is_fresh(self.tick.millis()) => match self.verdict(*entry) {
                Verdict::Gone(cause) => Absence::Gone(cause),
                Verdict::Suspect => Absence::Suspect,
                Verdict::Valid(_) => Absence::Unknown,
            },
            Some(_) => Absence::Expired,
            None if shard.was_evicted(name.hash) => Absence::Evicted,
            None => Absence::Unknown,
        })
    }

    /// An entry that is not resident yet. Made before the lock is taken: allocating is none of its business.
    pub(crate) fn entry(&self, key: &str, content: Content<'_>) -> Counted {
        let Content { value, times, weight, origin } = content;
        let label = Label { hash: self.soon(key), key, times, weight, origin };
        match value {
            Some(value) => Counted::relabelled(value.entry(), label),
            None => Counted::new(Kind::Absent, Body::Copied(&[]), label),
        }
    }

    /// As [`entry`](L1::entry), of a raw payload.
    pub(crate) fn payload(&self, key: &str, payload: Bytes, times: Times) -> Counted {
        let origin = Origin { stamp: self.trust.basis().stamp, ..Origin::default() };
        let label = Label { hash: self.soon(key), key, times, weight: None, origin };
        Counted::new(Kind::Raw, Body::Given(payload), label)
    }

    /// The hash of a key whose entry is being made: its place is fetched meanwhile.
    fn soon(&self, key: &str) -> u64 {
        let hash = self.hasher.hash(key);
        self.shard(hash).prefetch(hash);
        hash
    }

    /// Makes an entry resident, whatever is there. Loads of the key that run lose the permission to fill.
    pub(crate) fn insert(&self, entry: Counted) {
        let shard = self.shard(entry.entry().hash());
        let rejected = shard.write(|shard| {
            let new = entry.entry();
            shard.markers().kill(new.hash(), new.key());
            self.place(shard, entry)
        });
        // After the lock (L4).
        drop(rejected);
    }

    /// Places a loading marker for `key`, or joins the one that is there.
    pub(crate) fn mark(&self, key: &str) -> Token {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| shard.markers().mark(name.hash, key))
    }

    /// Gives up a hold on a marker.
    pub(crate) fn release(&self, key: &str, token: Token) {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| shard.markers().release(name.hash, token));
    }

    /// Whether no kill has come since the marker was placed.
    pub(crate) fn holds(&self, key: &str, token: Token) -> bool {
        let name = self.name(key);
        self.shard(name.hash).read(|shard| shard.holds(name.hash, token))
    }

    /// Makes an entry resident if the marker is still there (L2). The marker stays.
    pub(crate) fn fill(&self, token: Token, entry: Counted) -> bool {
        self.fill_if(token, entry, |_, _| true)
    }

    /// As [`fill`](L1::fill), where nothing fresh is there: what another load has found since is newer.
    pub(crate) fn fill_vacant(&self, token: Token, entry: Counted) -> bool {
        self.fill_if(token, entry, |shard, name| !shard.get(name).is_some_and(|entry| self.is_usable(*entry)))
    }

    fn fill_if(&self, token: Token, entry: Counted, also: impl Fn(&Writer<'_>, Name<'_>) -> bool) -> bool {
        let shard = self.shard(entry.entry().hash());
        let (fills, unused) = shard.write(|shard| {
            let name = Name::of(entry.entry());
            let fills = shard.holds(name.hash, token) && also(shard, name);
            (fills, if fills { self.place(shard, entry) } else { Some(entry) })
        });
        // After the lock (L4).
        drop(unused);
        fills
    }

    /// Removes the entry of `key` if the marker is still there. The marker stays.
    pub(crate) fn retract(&self, key: &str, token: Token) {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| {
            if shard.holds(name.hash, token)
                && let Some(entry) = shard.get(name)
            {
                self.remove(shard, entry, RemovalCause::Invalidated);
            }
        });
    }

    /// Keeps a stale value as a stand-in until `retry_at`: the one that is resident, else `entry` if the marker is there.
    pub(crate) fn delay_retry(&self, token: Token, entry: Counted, retry_at: u64) {
        entry.entry().set_retry_at(retry_at);
        if self.look(entry.entry().key(), |resident, _| resident.set_retry_at(retry_at)).is_none() {
            self.fill(token, entry);
        }
    }

    /// Removes this very entry, if it is resident still.
    pub(crate) fn discard(&self, entry: Entry<'_>) {
        self.shard(entry.hash()).write(|shard| {
            if let Some(resident) = shard.get(Name::of(entry))
                && resident.is(entry)
            {
                self.remove(shard, resident, RemovalCause::Invalidated);
            }
        });
    }

    /// Removes the entry of `key` and its marker.
    pub(crate) fn kill(&self, key: &str, cause: RemovalCause) -> bool {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| {
            shard.markers().kill(name.hash, key);
            shard.get(name).is_some_and(|entry| self.remove(shard, entry, cause))
        })
    }

    /// Removes the marker of `key`, and its entry unless that is this very one.
    pub(crate) fn keep_only(&self, key: &str, kept: Option<&Counted>) {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| {
            shard.markers().kill(name.hash, key);
            if let Some(entry) = shard.get(name)
                && !kept.is_some_and(|kept| entry.is(kept.entry()))
            {
                self.remove(shard, entry, RemovalCause::Replaced);
            }
        });
    }

    /// Removes every entry and marker whose key `doomed` names. Walks all of them, some under each lock: what was there
    /// before is gone after.
    pub(crate) fn kill_where(&self, cause: RemovalCause, mut doomed: impl FnMut(&str) -> bool) {
        for shard in &self.shards {
            // The permissions first: nothing that was read before is filled while the entries are walked.
            shard.write(|shard| shard.markers().kill_where(&mut doomed));
            let mut walk = Walk::default();
            while shard.write(|shard| {
                let met = shard.walk(&mut walk, UNDER_ONE_LOCK);
                for entry in met.iter().filter(|entry| doomed(entry.key())) {
                    self.remove(shard, *entry, cause);
                }
                !met.is_empty()
            }) {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read(|shard| shard.len())).sum()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.shards.iter().map(|shard| shard.read(|shard| shard.weight())).sum()
    }

    pub(crate) fn inserted(&self) -> u64 {
        self.counters.sum(INSERTED)
    }

    pub(crate) fn removed(&self, cause: RemovalCause) -> u64 {
        self.counters.sum(cause as usize)
    }

    /// Gives an entry its place; or gives it back, since it has none here.
    fn place(&self, shard: &mut Writer<'_>, new: Counted) -> Option<Counted> {
        let (entry, share) = (new.entry(), self.share.get());
        if shard.len() >= share.entries {
            shard.prefetch(entry.hash());
        }
        let old = shard.get(Name::of(entry));
        self.counters.count(INSERTED);
        let weight = u64::from(entry.charged());
        // What weighs more than can be counted is too heavy for any bound.
        let heavy = weight > share.max_entry || entry.charged() == Entry::HEAVIEST;
        if heavy || entry.is_dead(self.tick.millis()) {
            if let Some(old) = old {
                self.remove(shard, old, RemovalCause::Replaced);
            }
            self.tell(entry, if heavy { RemovalCause::Rejected } else { RemovalCause::Expired });
            return Some(new);
        }
        match old {
            Some(old) => {
                shard.replace(old, new);
                self.tell(*old, RemovalCause::Replaced);
                self.make_room(shard, 0, 0);
            }
            None => {
                self.make_room(shard, 1, weight);
                shard.insert(new);
            }
        }
        None
    }

    fn make_room(&self, shard: &mut Writer<'_>, entries: usize, weight: u64) {
        while self.is_short(shard, entries, weight) && self.evict(shard) {}
    }

    fn is_short(&self, shard: &Writer<'_>, entries: usize, weight: u64) -> bool {
        let share = self.share.get();
        shard.len() + entries > share.entries || shard.weight() + weight > share.weight
    }

    /// Lets one entry go; whether there was one.
    fn evict(&self, shard: &mut Writer<'_>) -> bool {
        let now = self.tick.millis();
        let Some(victim) = shard.victim(|entry| entry.is_dead(now)) else { return false };
        let dead = victim.is_dead(now);
        self.remove(shard, victim, if dead { RemovalCause::Expired } else { RemovalCause::Evicted })
    }

    fn remove<'w>(&self, shard: &mut Writer<'w>, entry: Resident<'w>, cause: RemovalCause) -> bool {
        let removed = shard.remove(entry);
        if removed {
            self.tell(*entry, cause);
        }
        removed
    }

    /// Says why an entry is not resident any more, or has never been. The caller holds the lock of its shard.
    fn tell(&self, entry: Entry<'_>, cause: RemovalCause) {
        self.counters.count(cause as usize);
        if let Some(removals) = &self.removals {
            removals.tell(entry.count(), cause);
        }
    }
}

/// How an entry that is there may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Fresh,
    /// In place of nothing.
    Stale,
    /// The shared tier is to be asked first.
    Suspect,
}

/// What is known of a key that is not fresh in L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    Unknown,
    Expired,
    Evicted,
    Suspect,
    Gone(Cause),
}
