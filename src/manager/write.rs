//! A write: the value into L1 and then into every tier, inside the key's lane; and what a load or a promotion stores.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, LARGEST_VALUE, Mark};
use crate::bus::Change;
use crate::clock::{deadline, signed};
use crate::entry::{Counted, Origin, Times};
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, round_grace};
use crate::l1::Content;
use crate::options::{Settings, Skipped};
use crate::random::Random;
use crate::stats::RemovalCause;
use crate::tier::shield::{scale, timeout};
use crate::value::Value;

/// What is to be written to the lower tiers.
pub(super) struct Write {
    pub(super) key: Arc<str>,
    pub(super) value: Option<Value>,
    /// The base time to live, before any tier's scale.
    pub(super) ttl: Duration,
    pub(super) grace: Duration,
    /// What no tier's copy may outlive: the rest of the life that was found, for promotions.
    pub(super) most: Duration,
    /// When the value was made, since the epoch: what a tier that cannot tell remaining times goes by.
    pub(super) created: Duration,
    /// What was known when it began to be loaded, or written.
    pub(super) clock: u64,
    pub(super) tags: Option<Arc<[u64]>>,
    /// Indices of the tiers.
    pub(super) tiers: Range<usize>,
    pub(super) skipped: Skipped,
    pub(super) until: Duration,
}

/// A value that is made or written now, as L1 is to have it.
pub(super) struct New<'a> {
    /// `None`: the source has none.
    pub(super) value: Option<&'a Value>,
    pub(super) ttl: Duration,
    pub(super) grace: Duration,
    pub(super) l1_ttl: Option<Duration>,
    /// The weight that the caller gave, instead of the encoded length.
    pub(super) weight: Option<u32>,
    pub(super) origin: Origin<'a>,
}

/// A tier, or the bus, that did not take a change.
pub(super) struct Untaken {
    pub(super) by: String,
    pub(super) error: Error,
}

impl Core {
    /// Writes `value` under `key` into every tier, and tells the other instances if `announce`.
    pub(crate) async fn set(
        self: &Arc<Self>,
        key: &str,
        value: Value,
        settings: &Settings,
        announce: bool,
    ) -> Result<()> {
        self.admit(key)?;
        admit_value(&value)?;
        let ttl = jittered(settings.ttl, settings.jitter, &*self.random);
        let announce = announce || self.announces_every_write;
        if ttl.is_zero() {
            return self.invalidate(key).await;
        }
        let grace = round_grace(settings.grace);
        let (tags, basis) = (settings.tags_and(&[]), self.basis());
        let origin = Origin { stamp: basis.stamp, write_id: 0, tags: tags.as_ref() };
        let entry =
            self.entry(key, New { value: Some(&value), ttl, grace, l1_ttl: settings.l1_ttl, weight: None, origin });
        if self.tiers.is_empty() && self.bus.is_none() {
            self.put(entry, settings.skipped);
            return Ok(());
        }
        let write = Write {
            key: key.into(),
            value: Value::of(entry.entry()),
            ttl,
            grace,
            most: Duration::MAX,
            created: self.clock.wall(),
            clock: basis.clock,
            tags,
            tiers: 0..self.tiers.len(),
            skipped: settings.skipped,
            until: self.now().saturating_add(self.deadlines.hard),
        };
        let core = self.clone();
        self.to_the_end(async move { core.set_through(write, entry, announce).await }).await?
    }

    async fn set_through(self: Arc<Self>, write: Write, entry: Counted, announce: bool) -> Result<()> {
        let _lane = self.lane(&write.key).await;
        self.put(entry.clone(), write.skipped);
        let mut untaken = self.write_tiers(&write).await;
        self.outlast(&entry);
        if announce && let Some(failed) = self.announce(Change::Update(vec![write.key.to_string()]), write.until).await
        {
            untaken.push(failed);
        }
        settle(&format!("the write of `{}`", shown(&write.key)), untaken)
    }

    /// Puts an entry into L1 (E4's first half for writes): loads that run neither store nor take followers any more.
    fn put(&self, entry: Counted, skipped: Skipped) {
        if self.reads_l1(skipped) {
            self.l1.insert(entry.clone());
        } else {
            self.l1.kill(entry.entry().key(), RemovalCause::Replaced);
        }
        self.unlink(entry.entry().key());
    }

    /// Lets nothing outlive the write that was read while a tier still had the older value. L1 alone does not prevent it:
    /// it may be skipped, not take the value, or have let it go.
    fn outlast(&self, written: &Counted) {
        let key = written.entry().key();
        self.l1.keep_only(key, Some(written));
        self.unlink(key);
    }

    /// The L1 entry of a value that is written now.
    pub(super) fn entry(&self, key: &str, new: New<'_>) -> Counted {
        let New { value, ttl, grace, l1_ttl, weight, origin } = new;
        let now = self.now();
        let own = l1_ttl.map_or_else(|| scale(ttl, self.l1_scale), |most| most.min(ttl));
        let fresh_until = deadline(now, own);
        let dead_at = deadline(now, own.saturating_add(grace));
        let times = Times { written: signed(crate::clock::millis(now)), fresh_until, dead_at };
        self.l1.entry(key, Content { value, times, weight, origin })
    }

    /// Writes what a load or a promotion found to lower tiers, unless something newer came since `mark` was placed (E2).
    /// Whether it was written anywhere. A tier that does not take it is left to repair: no caller fails for it.
    pub(super) async fn store(self: &Arc<Self>, write: Write, mark: Mark) -> bool {
        if write.tiers.is_empty() {
            return false;
        }
        let core = self.clone();
        let work = async move {
            let _lane = core.lane(&write.key).await;
            // In this order: a pattern that is removed no more has killed the marks that are too old.
            if core.sweeps.covers(&write.key) || !mark.holds() {
                return false;
            }
            let tried = write.tiers.clone().filter(|&index| !write.skipped.has(core.tiers[index].level())).count();
            let stored = core.write_tiers(&write).await.len() < tried;
            drop(mark);
            stored
        };
        self.to_the_end(work).await.unwrap_or(false)
    }

    /// Writes to the tiers, fastest first. The caller holds the key's lane (E1).
    async fn write_tiers(&self, write: &Write) -> Vec<Untaken> {
        let frame = Frame {
            value: write.value.clone(),
            ttl: write.ttl,
            grace: write.grace,
            created: write.created,
            wid: self.random.bits(),
            version: 0,
            cseq: write.clock,
            cost_us: 0,
            tags: write.tags.as_deref().map(Box::from).unwrap_or_default(),
        };
        let bytes = match frame.encode(&write.key) {
            Ok(bytes) => bytes,
            Err(error) => return vec![Untaken { by: "every tier below L1".into(), error }],
        };
        let mut untaken = Vec::new();
        for index in write.tiers.clone() {
            let tier = &self.tiers[index];
            if write.skipped.has(tier.level()) {
                continue;
            }
            let ttl = tier.scaled(write.ttl).min(write.most).saturating_add(write.grace);
            match tier.set(&write.key, bytes.clone(), ttl, write.until).await {
                Ok(()) => self.settled(index, &write.key),
                Err(error) => {
                    // The tier may hold an older value, or take this one late: it is removed there before it is read again.
                    self.repairs.owe(index, &write.key);
                    untaken.push(Untaken { by: format!("tier `{}`", tier.name()), error });
                }
            }
        }
        untaken
    }

    /// Tells the other instances; what they could not be told is owed to them.
    pub(super) async fn announce(&self, change: Change, until: Duration) -> Option<Untaken> {
        let bus = self.bus.as_ref()?;
        let late = || Error::new(Kind::TIER.and(Kind::TIMEOUT), "the server did not take the word within the deadline");
        let announced = timeout(&*self.clock, until, bus.announce(change.clone())).await;
        let error = announced.unwrap_or_else(|| Err(late())).err()?;
        self.repairs.owe_word(change);
        Some(Untaken { by: "the bus between instances".into(), error })
    }

    pub(super) fn unlink(&self, key: &str) {
        // Always looked up: the number of flights is a sum that is not taken at one moment, and may be zero while one runs.
        self.loads.unlink(key);
        self.lone.unlink(key);
        self.reads.unlink(key);
    }
}

/// Refuses values that no tier takes.
pub(super) fn admit_value(value: &Value) -> Result<()> {
    value.check()?;
    let size = value.body().len();
    if size > LARGEST_VALUE {
        return Err(Error::new(Kind::TOO_LARGE, format!("the value has {size} bytes, more than 512 MiB")));
    }
    Ok(())
}

/// `ttl`, shortened by up to `jitter` at random, but not to nothing.
pub(super) fn jittered(ttl: Duration, jitter: Duration, random: &dyn Random) -> Duration {
    let most = u64::try_from(jitter.min(ttl).as_nanos()).unwrap_or(u64::MAX);
    if most == 0 {
        return ttl;
    }
    ttl.saturating_sub(Duration::from_nanos(random.below(most.saturating_add(1))))
        .max(Duration::from_millis(1).min(ttl))
}

/// Ok if everybody took the change, else an error that names who did not, and why.
pub(super) fn settle(what: &str, untaken: Vec<Untaken>) -> Result<()> {
    let Some(first) = untaken.first() else { return Ok(()) };
    let unsupported = untaken.iter().all(|one| one.error.is_unsupported());
    let kind =
        if unsupported { Kind::PARTIAL_WRITE.and(Kind::UNSUPPORTED) } else { Kind::PARTIAL_WRITE.and(Kind::TIER) };
    let kind = if untaken.iter().any(|one| one.error.is_timeout()) { kind.and(Kind::TIMEOUT) } else { kind };
    let names: Vec<_> = untaken.iter().map(|one| one.by.as_str()).collect();
    let retried = if unsupported { "" } else { " (it is retried in the background)" };
    let message = format!("{what} took effect in this process, but not in {}{retried}", names.join(", "));
    Err(Error::with_source(kind, message, first.error.clone().into()))
}

/// A key as an error shows it: cut where it gets long.
pub(super) fn shown(key: &str) -> std::borrow::Cow<'_, str> {
    const MOST: usize = 80;
    match key.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &key[..end]).into(),
        None => key.into(),
    }
}
