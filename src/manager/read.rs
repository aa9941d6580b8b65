//! A plain read: L1, then the key's read flight, then the tiers in order; what is found is promoted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::shared::Told;
use super::write::{How, Write};
use super::{Core, Count, Found, Mark};
use crate::clock::{deadline, signed};
use crate::entry::Times;
use crate::error::{Error, Kind, Result};
use crate::flight::{Entered, Followed};
use crate::frame::{Frame, Head, Refusal};
use crate::l1::{Content, L1, Standing};
use crate::options::Settings;
use crate::tier::shield::{Answer, Tier, scale};
use crate::value::{Value, ValueRef};

/// What the lower tiers said of a key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Read {
    /// The first fresh value, else the best stale one.
    pub(super) found: Option<Found>,
    /// A tier that could not be asked.
    pub(super) failed: Option<Error>,
    /// A tier had bytes that are no frame of ours.
    pub(super) garbled: bool,
    /// A tier had a value that was invalidated by a tag, a pattern or a clear.
    pub(super) outdated: bool,
    /// A tier's copy waits for repair and was passed over.
    pub(super) skipped: bool,
    /// The shared tier could not be asked.
    pub(super) alone: bool,
    /// The write id of what a tier had and was not found fit.
    pub(super) known: Option<u64>,
}

impl Core {
    /// The resident entries, for who reads them on his own.
    pub(crate) fn l1(&self) -> &Arc<L1> {
        &self.l1
    }

    #[inline]
    pub(crate) fn count_hit(&self, present: bool) {
        self.count(if present { Count::L1Hit } else { Count::L1Absent });
    }

    /// A value was there that is not of the type asked for: as good as missing.
    pub(crate) fn refuse(&self) -> bool {
        self.count(Count::CodecMiss);
        false
    }

    pub(crate) fn recharge(&self, key: &str) {
        self.l1.recharge(key);
    }

    /// Runs `read` on the fresh value of `key` in L1, and counts the hit. No request in the statistics.
    #[inline]
    pub(crate) fn borrow<R>(&self, key: &str, read: impl FnOnce(ValueRef<'_>) -> R) -> Option<R> {
        self.l1.hit(key, |entry| ValueRef::of(entry).map(read)).flatten()
    }

    /// The fresh value of `key` in L1; no hit is counted.
    pub(crate) fn peek(&self, key: &str) -> Option<Value> {
        self.l1.look(key, |entry, standing| (standing == Standing::Fresh).then(|| Value::of(entry))).flatten().flatten()
    }

    /// Reads `key` through all tiers. Counts the request.
    pub(crate) async fn read(self: &Arc<Self>, key: &str, settings: &Settings) -> Result<Option<Found>> {
        self.admit(key)?;
        let found = self.unless_closed(self.read_through(key, settings).await);
        let answer = match &found {
            Ok(Some(found)) => self.hit_at(found),
            Ok(None) | Err(_) => Count::Miss,
        };
        self.count_request(answer, settings.skipped);
        found
    }

    async fn read_through(self: &Arc<Self>, key: &str, settings: &Settings) -> Result<Option<Found>> {
        if let Some(found) = self.resident(key, settings) {
            return Ok(Some(found));
        }
        let read = self.read_below(key, settings, self.deadlines.hard).await;
        let now = self.now_millis();
        match (read.found.filter(|found| found.suits(settings, now)), read.failed) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// How a fresh value is counted.
    pub(super) fn hit_at(&self, found: &Found) -> Count {
        let second = self.tiers.get(usize::from(!self.hot)).map(Tier::level);
        match found {
            Found { value: None, level: 1, .. } if self.hot => Count::L1Absent,
            Found { value: None, .. } => Count::Absent,
            Found { level: 1, .. } => Count::L1Hit,
            Found { level, .. } if Some(*level) == second => Count::SecondHit,
            Found { .. } => Count::LowerHit,
        }
    }

    /// What L1 has for the caller, with the hit counted.
    pub(super) fn resident(&self, key: &str, settings: &Settings) -> Option<Found> {
        if !self.reads_l1(settings.skipped) {
            return None;
        }
        let found = self.l1.hit(key, Found::resident);
        found.filter(|found| found.suits(settings, self.l1.now()))
    }

    /// Asks the lower tiers, together with whoever asks for the same key.
    pub(super) async fn read_below(self: &Arc<Self>, key: &str, settings: &Settings, within: Duration) -> Read {
        if self.tiers.is_empty() {
            return Read::default();
        }
        let until = self.now().saturating_add(within);
        let since = self.trust.basis().stamp;
        if !settings.skipped.is_empty() {
            return Box::pin(self.ask(key, settings, until)).await;
        }
        loop {
            // The tiers' own deadlines end the flight long before this one does, unless its leader is polled no more.
            let overdue = until.saturating_add(Duration::from_secs(1));
            let lease = match self.reads.enter(key, overdue) {
                Entered::Lead(lease) => lease,
                Entered::Follow(follow) => match self.follow(follow, until, Read::late).await {
                    // Its leader may have had less time than this caller has.
                    Followed::Landed(read) if read.is_late() && self.now() < until && self.admit_any().is_ok() => {
                        continue;
                    }
                    // What it found may have been invalidated before this caller came.
                    Followed::Landed(read)
                        if read.found.as_ref().is_some_and(|found| !self.outlives(found, key, since)) =>
                    {
                        continue;
                    }
                    Followed::Landed(read) => return read,
                    Followed::Lead(lease) => {
                        lease.set_deadline(overdue);
                        lease
                    }
                    Followed::Gone => continue,
                    Followed::OwnThread => return Box::pin(self.ask(key, settings, until)).await,
                },
                Entered::Nested => return Box::pin(self.ask(key, settings, until)).await,
            };
            // Boxed, so that a follower's future has no room for all that a leader does.
            let read = lease.run(Box::pin(self.ask(key, settings, until))).await;
            lease.land(read.clone());
            return read;
        }
    }

    /// Asks the lower tiers in order, and promotes what is found.
    async fn ask(self: &Arc<Self>, key: &str, settings: &Settings, until: Duration) -> Read {
        let key: Arc<str> = key.into();
        let mark = self.mark(&key);
        let mut read = Read::default();
        for (index, tier) in self.tiers.iter().enumerate() {
            if settings.skipped.has(tier.level()) {
                continue;
            }
            if self.repairs.bypasses(index, &key) {
                tier.count(Answer::Skipped);
                read.skipped = true;
                continue;
            }
            if self.is_shared(index) && !self.can_judge(until).await {
                tier.count(Answer::Skipped);
                read.failed.get_or_insert_with(not_judged);
                read.alone = true;
                continue;
            }
            let failed = read.failed.is_some();
            if self.is_shared(index)
                && let Some(found) = self.confirm(tier, &mark, settings, until, &mut read).await
            {
                read.found = Some(found);
                break;
            }
            let answer = self.ask_one(tier, &mark, until, &mut read).await;
            read.alone |= self.is_shared(index) && !failed && read.failed.is_some();
            let Some((frame, mut found)) = answer else { continue };
            if found.is_fresh(self.now_millis()) {
                if tier.promotes(&*self.random) {
                    self.promote(index, &frame, &mut found, mark, settings, until).await;
                }
                read.found = Some(found);
                break;
            }
            read.found.get_or_insert(found);
        }
        read
    }

    async fn ask_one(&self, tier: &Tier, mark: &Mark, until: Duration, read: &mut Read) -> Option<(Frame, Found)> {
        let key = &*mark.key;
        let (bytes, left) = match tier.get(key, until).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                tier.count(Answer::Miss);
                return None;
            }
            Err(error) => {
                tier.count(Answer::Error);
                read.failed.get_or_insert(error);
                return None;
            }
        };
        let taken = self.take(mark, tier, &bytes, left, read);
        let is_fresh = taken.as_ref().is_some_and(|(_, found)| found.is_fresh(self.now_millis()));
        tier.count(if is_fresh { Answer::Hit } else { Answer::Miss });
        taken
    }

    /// What the bytes of a tier say, unless that is nothing, or is over.
    pub(super) fn take(
        &self,
        mark: &Mark,
        tier: &Tier,
        bytes: &Bytes,
        left: Option<Duration>,
        read: &mut Read,
    ) -> Option<(Frame, Found)> {
        let key = &*mark.key;
        read.known = write_id(bytes);
        let frame = match Frame::decode(key, bytes) {
            Ok(frame) => frame,
            Err(Refusal::Held) => return None,
            Err(_) => {
                self.count(Count::CodecMiss);
                read.garbled = true;
                return None;
            }
        };
        let outdated = self.trust.is_outdated(frame.cseq, key, &frame.tags).is_some();
        if outdated || self.repairs.refuses(&frame.tags) {
            read.outdated = true;
            return None;
        }
        let times = self.times_of(tier, &frame, left);
        let now = self.now_millis();
        let found = Found {
            value: frame.value.clone(),
            level: tier.level(),
            times,
            stamp: mark.basis.stamp,
            write_id: frame.wid,
            tags: (!frame.tags.is_empty()).then(|| Arc::from(&*frame.tags)),
        };
        if now >= times.dead_at { None } else { Some((frame, found)) }
    }

    /// Asks the shared tier whether a resident entry that is suspect is still what it has: 64 bytes, however large it is.
    async fn confirm(
        &self,
        tier: &Tier,
        mark: &Mark,
        settings: &Settings,
        until: Duration,
        read: &mut Read,
    ) -> Option<Found> {
        let suspect = self.reads_l1(settings.skipped).then(|| self.l1.suspect(&mark.key)).flatten()?;
        let (entry, shared) = (suspect.entry(), self.shared.as_ref()?);
        let head = match self.within(until, shared.tier.header(&mark.key)).await {
            Ok(Some(head)) if Head::decode(&head).is_ok() => Head::decode(&head).ok()?,
            Ok(_) => {
                self.l1.discard(entry);
                return None;
            }
            Err(error) => {
                tier.count(Answer::Error);
                read.failed.get_or_insert(error);
                return None;
            }
        };
        let tags = entry.tags().map_or(&[][..], |tags| tags);
        let outdated = self.trust.is_outdated(head.cseq, &mark.key, tags).is_some() || self.repairs.refuses(tags);
        if head.held || head.wid != entry.write_id() || outdated {
            self.l1.discard(entry);
            return None;
        }
        // As of before it was asked.
        entry.set_stamp(mark.basis.stamp);
        tier.count(Answer::Hit);
        self.count_told(Told::Confirmed);
        Some(Found { level: tier.level(), ..Found::resident(entry) })
    }

    /// The times of a tier's copy on our clock. Where the tier cannot tell what is left, the frame's own deadline holds.
    fn times_of(&self, tier: &Tier, frame: &Frame, left: Option<Duration>) -> Times {
        let now = self.now();
        let whole = tier.scaled(frame.ttl);
        let all_left = match left {
            Some(left) => left,
            None => {
                let end = frame.created.saturating_add(whole).saturating_add(frame.grace);
                end.saturating_sub(self.clock.wall())
            }
        };
        let fresh_left = all_left.saturating_sub(frame.grace).min(whole);
        let stale_for = frame.grace.saturating_sub(all_left);
        let age = whole.saturating_sub(fresh_left).saturating_add(stale_for);
        // A life that has less than a millisecond left is over: rounding up would lengthen it.
        let fresh_until = deadline(now, fresh_left.saturating_sub(Duration::from_nanos(999_999)));
        Times {
            written: signed(self.now_millis()).saturating_sub(signed(crate::clock::millis(age))),
            fresh_until: if fresh_left.is_zero() { 0 } else { fresh_until },
            dead_at: deadline(now, all_left.min(whole.saturating_add(frame.grace))),
        }
    }

    /// Copies what tier `from` had to the tiers above it. No copy lives longer than its source, nor than its own tier keeps
    /// a value of that time to live.
    async fn promote(
        self: &Arc<Self>,
        from: usize,
        frame: &Frame,
        found: &mut Found,
        mark: Mark,
        settings: &Settings,
        until: Duration,
    ) {
        let left = Duration::from_millis(found.times.fresh_until).saturating_sub(self.now());
        let mut promoted = self.promote_to_l1(frame, found, &mark, settings);
        if from > 0 {
            let write = Write {
                key: mark.key.clone(),
                value: found.value.clone(),
                ttl: frame.ttl,
                grace: frame.grace,
                most: left,
                created: frame.created,
                clock: frame.cseq,
                write_id: frame.wid,
                tags: found.tags.clone(),
                how: How::Promotion,
                tiers: 0..from,
                skipped: settings.skipped,
                until,
            };
            // Boxed, so that a hit in the first tier below L1 has no room for it.
            promoted |= Box::pin(self.store(write, mark)).await;
        }
        if promoted {
            self.count(Count::Promotion);
        }
    }
}

impl Core {
    /// Copies what a tier had to L1, if the marker is still there.
    pub(super) fn promote_to_l1(&self, frame: &Frame, found: &mut Found, mark: &Mark, settings: &Settings) -> bool {
        if !self.reads_l1(settings.skipped) {
            return false;
        }
        let own = settings.l1_ttl.unwrap_or_else(|| scale(frame.ttl, self.l1_scale));
        let fresh_until = deadline(self.now(), own).min(found.times.fresh_until);
        let dead_at = fresh_until.saturating_add(crate::clock::millis(frame.grace)).min(found.times.dead_at);
        let times = Times { fresh_until, dead_at, ..found.times };
        let content = Content { value: found.value.as_ref(), times, weight: None, origin: found.origin() };
        let entry = self.l1.entry(&mark.key, content);
        // The entry's own from here on, so that it is decoded once for both.
        found.value = Value::of(entry.entry());
        self.l1.fill(mark.token, entry)
    }
}

pub(super) fn not_judged() -> Error {
    Error::new(Kind::TIER, "it is not known which tags, patterns and clears the instances have invalidated")
}

/// What names the write that these bytes are of, also where they are no frame of ours.
fn write_id(bytes: &[u8]) -> Option<u64> {
    bytes.get(8..16).and_then(|id| id.try_into().ok()).map(u64::from_le_bytes)
}

impl Read {
    /// Whether a tier has, or may have, a value that was not taken.
    pub(super) fn may_have(&self) -> bool {
        self.found.is_some() || self.failed.is_some() || self.garbled || self.outdated || self.skipped
    }

    pub(super) fn closed() -> Self {
        Self { failed: Some(Error::closed()), ..Self::default() }
    }

    /// Whether nothing was found, and time was what it lacked.
    fn is_late(&self) -> bool {
        self.found.is_none() && self.failed.as_ref().is_some_and(Error::is_timeout)
    }

    fn late() -> Self {
        let error = Error::new(Kind::TIER.and(Kind::TIMEOUT), "the tiers below L1 did not answer within the deadline");
        Self { failed: Some(error), ..Self::default() }
    }
}
