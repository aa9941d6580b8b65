//! What is done to L1 now and then: sweeping, charging what has grown, changing its bounds, and recounting it for tests.

use super::shard::{Resident, Walk, Writer};
use super::{L1, Limits, UNDER_ONE_LOCK};
use crate::entry::Entry;
use crate::epoch;
use crate::stats::RemovalCause;
use crate::sync::atomic::Ordering;
use crate::trust::Verdict;

/// Sweeps in which every entry is looked at once.
const PASS: usize = 128;
/// The most that one sweep looks at.
const MOST_SWEPT: usize = 8192;
/// The most that one sweep frees of each shard.
const MOST_FREED: usize = 1024;

impl L1 {
    /// Changes how much may be resident. What is too much then goes, a few entries at a time.
    pub(crate) fn resize(&self, limits: Limits) {
        let _alone = self.resizing.lock();
        self.share.set(limits.share(self.shards.len()));
        for shard in &self.shards {
            while shard.write(|shard| self.make_some_room(shard)) {}
        }
    }

    /// A little of what is to be done now and then: reclaims dead entries among the next ones, more where many are dead,
    /// charges decoded memos, and frees what was retired. A pass over all entries takes [`PASS`] calls.
    ///
    /// # Cost
    /// Bounded whatever is dead: the thread that does it has other things to do.
    pub(crate) fn sweep(&self) {
        let most = (self.len() / PASS).clamp(UNDER_ONE_LOCK, MOST_SWEPT);
        let (mut seen, mut dead) = (0, 0);
        while seen < most || dead * 8 > seen && seen < MOST_SWEPT {
            // Relaxed: one thread sweeps.
            let shard = &self.shards[self.swept.fetch_add(1, Ordering::Relaxed) % self.shards.len()];
            dead += shard.write(|shard| self.sweep_some(shard));
            seen += UNDER_ONE_LOCK;
        }
        let mut left = false;
        for shard in &self.shards {
            left |= shard.reclaim(MOST_FREED);
        }
        if left {
            epoch::domain().advance();
        }
    }

    /// Sweeps so many entries as are looked at under one lock; how many were dead, or had not outlived some event.
    fn sweep_some(&self, shard: &mut Writer<'_>) -> usize {
        let (now, mut dead) = (self.tick.millis(), 0);
        for entry in shard.next(UNDER_ONE_LOCK) {
            if entry.is_dead(now) {
                dead += 1;
                self.remove(shard, entry, RemovalCause::Expired);
            } else if self.is_gone(*entry) {
                dead += 1;
                self.remove(shard, entry, RemovalCause::Invalidated);
            } else {
                self.charge(shard, entry);
            }
        }
        shard.fit();
        dead
    }

    /// Whether an entry has not outlived some event. One that has is not asked again until the next.
    fn is_gone(&self, entry: Entry<'_>) -> bool {
        if self.trust.is_word(entry.until().stamp()) {
            return false;
        }
        match self.verdict(entry) {
            Verdict::Gone(_) => true,
            Verdict::Valid(event) => {
                entry.set_stamp(event);
                false
            }
            Verdict::Suspect => false,
        }
    }

    /// Stamps what has outlived all events, and removes what has not and what is suspect: stamps hold the number of an event
    /// by its low bits only, so none may stay that is too old. Rare: once in millions of events.
    pub(crate) fn stamp_all(&self) {
        let begun = self.trust.basis().stamp;
        for shard in &self.shards {
            // Nor may a load that began before bring one.
            shard.write(|shard| shard.markers().kill_where(|_| true));
            let mut walk = Walk::default();
            while shard.write(|shard| {
                let met = shard.walk(&mut walk, UNDER_ONE_LOCK);
                for entry in &met {
                    match self.verdict(**entry) {
                        Verdict::Valid(event) => entry.set_stamp(event),
                        _ => drop(self.remove(shard, *entry, RemovalCause::Invalidated)),
                    }
                }
                !met.is_empty()
            }) {}
        }
        self.trust.stamped(begun);
    }

    /// Charges the entry of `key` for a memo that was decoded since.
    pub(crate) fn recharge(&self, key: &str) {
        let name = self.name(key);
        self.shard(name.hash).write(|shard| {
            if let Some(entry) = shard.get(name) {
                self.charge(shard, entry);
            }
        });
    }

    /// Charges an entry for what it weighs by now. What has become heavier than a whole shard may be goes, alone.
    fn charge<'w>(&self, shard: &mut Writer<'w>, entry: Resident<'w>) {
        let weight = entry.weight();
        if entry.charged() == weight {
            return;
        }
        if u64::from(weight) > self.share.get().weight {
            self.remove(shard, entry, RemovalCause::Evicted);
        } else {
            shard.recharge(entry);
            self.make_room(shard, 0, 0);
        }
    }

    /// Makes room for what is resident, for so many entries as go under one lock; whether more must go.
    fn make_some_room(&self, shard: &mut Writer<'_>) -> bool {
        (0..UNDER_ONE_LOCK).all(|_| self.is_short(shard, 0, 0) && self.evict(shard))
    }

    /// Recounts everything; for tests, when nobody but the sweep runs.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let removed = || RemovalCause::ALL.iter().map(|cause| self.removed(*cause)).sum::<u64>();
        loop {
            let before = (self.inserted(), removed());
            let (len, markers) = self.recount()?;
            // What was swept meanwhile may be in both figures, or in none.
            if before != (self.inserted(), removed()) {
                continue;
            }
            let (inserted, removed) = before;
            if markers != 0 {
                return Err(format!("{markers} loading markers were left behind"));
            }
            if inserted != len as u64 + removed {
                return Err(format!("inserted {inserted}, resident {len}, removed {removed}"));
            }
            return Ok(());
        }
    }

    /// Entries and markers, each shard checked by itself.
    fn recount(&self) -> Result<(usize, usize), String> {
        let (mut len, mut markers) = (0, 0);
        for shard in &self.shards {
            shard.read(|shard| {
                shard.validate()?;
                len += shard.len();
                markers += shard.marked();
                if self.is_short(shard, 0, 0) {
                    return Err(format!("a shard is over its share: {} / {}", shard.len(), shard.weight()));
                }
                Ok(())
            })?;
        }
        Ok((len, markers))
    }
}
