//! One history of what instances share: what the scripts of a server do, each in one step.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::control::Control;
use crate::clock::millis;
use crate::frame::{HEADER, hold};
use crate::glob;
use crate::shared::follow::Identity;
use crate::shared::message::{Keys, Message, Origin, Said, What};
use crate::shared::replay::Missing;
use crate::shared::{Change, LeaseToken, Leased, Life, Stored};

/// How many entries a log keeps at the most and, where they are large, at the least; and about how many bytes.
const LOG: usize = 4096;
const LEAST_LOG: usize = 16;
const LOG_BYTES: usize = 4 << 20;
/// No time to live is longer: what follows from it is still a time.
const LONGEST: u64 = 1 << 62;
/// The time that a server stamps lies behind the number, in the head of a frame.
const STAMPS: std::ops::Range<usize> = 16..32;

/// A server's data, and which server's they are.
#[derive(Clone)]
pub(super) struct History {
    pub(super) identity: Identity,
    pub(super) partitions: Vec<Partition>,
    pub(super) control: Control,
}

/// A step: when it is taken, and what it tells.
pub(super) struct Step {
    /// What times to live are counted on.
    pub(super) now: Duration,
    /// The server's own time since the epoch.
    pub(super) time: Duration,
    /// Messages for the channel of the partition that the step is taken in.
    pub(super) told: Vec<Vec<u8>>,
}

/// The numbers that were given in a partition, and what was said under them.
#[derive(Clone, Default)]
pub(super) struct Sequence {
    /// The newest; `None` before the first, and if it was lost.
    pub(super) number: Option<u64>,
    log: VecDeque<Entry>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) field: &'static str,
    pub(super) value: Vec<u8>,
}

/// The data of one partition.
#[derive(Clone, Default)]
pub(super) struct Partition {
    pub(super) sequence: Sequence,
    frames: HashMap<String, Kept>,
    leases: HashMap<String, Lease>,
}

#[derive(Clone)]
struct Kept {
    frame: Bytes,
    until: Duration,
}

#[derive(Clone)]
struct Lease {
    token: LeaseToken,
    until: Duration,
    /// Somebody waits for its end.
    awaited: bool,
}

impl History {
    /// One in which nothing has happened yet.
    pub(super) fn new(identity: Identity, partitions: u16) -> Self {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Self { identity, partitions, control: Control::default() }
    }
}

impl Step {
    pub(super) fn micros(&self) -> u64 {
        u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Sequence {
    /// Forgets all of it, the log too.
    pub(super) fn lose(&mut self) {
        *self = Self::default();
    }

    /// The next number. Those of a lost sequence begin above the server's time, and above the log.
    pub(super) fn next(&mut self, step: &Step) -> u64 {
        let next = match self.number {
            Some(number) => number + 1,
            None => step.micros().max(self.log.back().map_or(0, |last| last.number + 1)),
        };
        *self.number.insert(next)
    }

    /// The newest number; the next one if it is lost.
    pub(super) fn newest(&mut self, step: &Step) -> u64 {
        self.number.unwrap_or_else(|| self.next(step))
    }

    /// Says what has changed under a number: to the log, and to everybody.
    pub(super) fn say(&mut self, number: u64, said: Said<'_>, step: &mut Step) {
        if self.log.back().is_some_and(|last| last.number >= number) {
            // It takes only what is above the last: what is missing then shows as a gap.
            self.log.clear();
        }
        let value = said.write();
        let most = (LOG_BYTES / value.len()).clamp(LEAST_LOG, LOG);
        self.log.push_back(Entry { number, field: said.field(), value });
        self.trim(most);
        step.told.push(Message::Numbered(number, said).write());
    }

    /// Forgets all of the log but the last so many entries.
    pub(super) fn trim(&mut self, keep: usize) {
        self.log.drain(..self.log.len().saturating_sub(keep));
    }

    /// What there is in the log of what is missing.
    pub(super) fn read(&self, missing: Missing) -> Vec<Entry> {
        let within = |entry: &&Entry| entry.number > missing.after && entry.number <= missing.through;
        self.log.iter().filter(within).cloned().collect()
    }
}

impl Partition {
    pub(super) fn get(&self, key: &str, step: &Step) -> Option<Stored> {
        let kept = self.frames.get(key).filter(|kept| step.now < kept.until)?;
        Some(Stored { frame: kept.frame.clone(), life: Life::Left(kept.until - step.now) })
    }

    /// As [`get`](Partition::get), with the age of what a server has stamped.
    pub(super) fn get_aged(&self, key: &str, step: &Step) -> Option<Stored> {
        let mut stored = self.get(key, step)?;
        if let Some(head) = head(&stored.frame)
            && word(head, 16) != 0
        {
            stored.life = Life::Age(step.time.saturating_sub(Duration::from_millis(word(head, 24))));
        }
        Some(stored)
    }

    pub(super) fn header(&self, key: &str, step: &Step) -> Option<Bytes> {
        let stored = self.get(key, step)?.frame;
        Some(stored.slice(..HEADER.min(stored.len()))).filter(|head| !head.is_empty())
    }

    pub(super) fn lease(
        &mut self,
        key: &str,
        token: LeaseToken,
        lease: Duration,
        known: Option<u64>,
        step: &Step,
    ) -> Leased {
        match self.get(key, step) {
            Some(Stored { frame, life: Life::Left(left) }) if is_hold(&frame) => return Leased::Held(left),
            Some(stored) if head(&stored.frame).is_some_and(|head| known != Some(word(head, 8))) => {
                return Leased::Stored(stored);
            }
            _ => {}
        }
        match self.leases.get_mut(key).filter(|lease| step.now < lease.until) {
            Some(other) => {
                other.awaited = true;
                Leased::Waits(other.until - step.now)
            }
            None => {
                let lease = Lease { token, until: until(lease, step), awaited: false };
                self.leases.insert(key.to_owned(), lease);
                Leased::Granted
            }
        }
    }

    pub(super) fn renew(&mut self, key: &str, token: LeaseToken, lease: Duration, step: &Step) -> bool {
        let own = self.leases.get_mut(key).filter(|lease| lease.token == token && step.now < lease.until);
        own.map(|own| own.until = until(lease, step)).is_some()
    }

    /// Takes a lease away from whoever has it.
    fn take_lease(&mut self, key: &str, token: LeaseToken, step: &Step) -> Option<Lease> {
        self.leases.get(key).filter(|lease| lease.token == token && step.now < lease.until)?;
        self.leases.remove(key)
    }

    pub(super) fn commit(
        &mut self,
        key: &str,
        token: LeaseToken,
        frame: &Bytes,
        ttl: Duration,
        step: &mut Step,
    ) -> bool {
        let Some(lease) = self.take_lease(key, token, step) else { return false };
        let number = self.sequence.newest(step);
        self.keep(key, frame, number, ttl, step);
        lease.end(key, step);
        true
    }

    pub(super) fn release(&mut self, key: &str, token: LeaseToken, step: &mut Step) {
        if let Some(lease) = self.take_lease(key, token, step) {
            lease.end(key, step);
        }
    }

    /// The number, and whether the value is there. Without an origin nobody is told.
    pub(super) fn put(
        &mut self,
        key: &str,
        frame: &Bytes,
        ttl: Duration,
        by: Option<Origin>,
        step: &mut Step,
    ) -> (u64, bool) {
        let number = if by.is_some() { self.sequence.next(step) } else { self.sequence.newest(step) };
        let stored = self.held_until(key, step).is_none();
        if stored {
            self.keep(key, frame, number, ttl, step);
        }
        self.leases.remove(key);
        if let Some(origin) = by {
            self.tell(number, Change::Updated, &[key], origin, step);
        }
        (number, stored)
    }

    /// Removes keys, or puts a hold in their place unless one is there that lasts longer.
    pub(super) fn invalidate(
        &mut self,
        keys: &[&str],
        hold_for: Duration,
        wid: u64,
        origin: Origin,
        step: &mut Step,
    ) -> u64 {
        let number = self.sequence.next(step);
        let ends = (!hold_for.is_zero()).then(|| until(hold_for, step));
        for &key in keys {
            self.leases.remove(key);
            match (self.held_until(key, step), ends) {
                (Some(_), None) => {}
                (Some(other), Some(own)) if other >= own => {}
                (_, Some(until)) => {
                    let frame = Bytes::copy_from_slice(&hold(wid));
                    self.frames.insert(key.to_owned(), Kept { frame, until });
                }
                (None, None) => {
                    self.frames.remove(key);
                }
            }
        }
        self.tell(number, Change::Removed, keys, origin, step);
        number
    }

    /// Removes keys for want of memory, holds too; under no number, and so that whoever is not told will notice.
    pub(super) fn remove_unnumbered(&mut self, keys: &[&str], origin: Origin, step: &mut Step) {
        for &key in keys {
            self.frames.remove(key);
            self.leases.remove(key);
        }
        self.sequence.lose();
        step.told.push(Message::SuspectAll(origin).write());
    }

    /// Frees the frames under a pattern whose loads began before that number of the control clock.
    pub(super) fn reclaim(&mut self, pattern: &str, clock: u64) {
        let is_old = |frame: &[u8]| head(frame).is_some_and(|head| head[3] != 2 && word(head, 32) < clock);
        let matches = |key: &str| glob::matches(pattern.as_bytes(), key.as_bytes());
        self.frames.retain(|key, kept| !(is_old(&kept.frame) && matches(key)));
    }

    /// Forgets a lease, as a server that is short of memory may.
    pub(super) fn evict_lease(&mut self, key: &str) -> bool {
        self.leases.remove(key).is_some()
    }

    /// Forgets a frame, a hold too.
    pub(super) fn evict(&mut self, key: &str) -> bool {
        self.frames.remove(key).is_some()
    }

    /// Changes the bytes of a frame.
    pub(super) fn garble(&mut self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(kept) = self.frames.get_mut(key) else { return false };
        let mut bytes = kept.frame.to_vec();
        change(&mut bytes);
        kept.frame = bytes.into();
        true
    }

    fn held_until(&self, key: &str, step: &Step) -> Option<Duration> {
        let kept = self.frames.get(key).filter(|kept| step.now < kept.until)?;
        is_hold(&kept.frame).then_some(kept.until)
    }

    /// Stores a frame with the stamps of the server.
    fn keep(&mut self, key: &str, frame: &Bytes, number: u64, ttl: Duration, step: &Step) {
        let mut bytes = frame.to_vec();
        bytes.resize(bytes.len().max(STAMPS.end), 0);
        let (version, created) = bytes[STAMPS].split_at_mut(8);
        version.copy_from_slice(&number.to_le_bytes());
        created.copy_from_slice(&millis(step.time).to_le_bytes());
        self.frames.insert(key.to_owned(), Kept { frame: bytes.into(), until: until(ttl, step) });
    }

    fn tell(&mut self, number: u64, how: Change, keys: &[&str], origin: Origin, step: &mut Step) {
        // A key that is empty is nobody's, and none is too long to be packed.
        let keys: Vec<&str> = keys.iter().copied().filter(|key| !key.is_empty()).collect();
        let packed = Keys::pack(&keys).unwrap_or_default();
        if let Ok(keys) = Keys::read(&packed) {
            self.sequence.say(number, Said { origin, what: What::Changed(how, keys) }, step);
        }
    }
}

impl Lease {
    fn end(self, key: &str, step: &mut Step) {
        if self.awaited {
            step.told.push(Message::Settled(key).write());
        }
    }
}

/// The end of what lasts so long from now: whole milliseconds, rounded up, and one at least.
fn until(lasts: Duration, step: &Step) -> Duration {
    let millis = u64::try_from(lasts.as_nanos().div_ceil(1_000_000)).unwrap_or(LONGEST);
    step.now + Duration::from_millis(millis.clamp(1, LONGEST))
}

/// The head of a frame, if these are the bytes of one.
fn head(frame: &[u8]) -> Option<&[u8]> {
    frame.get(..HEADER).filter(|head| head.starts_with(b"TC\x01"))
}

fn is_hold(frame: &[u8]) -> bool {
    head(frame).is_some_and(|head| head[3] == 2)
}

fn word(head: &[u8], at: usize) -> u64 {
    head[at..at + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}
