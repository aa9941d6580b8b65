//! A write: the value into L1 and then into every tier, inside the key's lane; and what a load or a promotion stores.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lease::{Leasehold, SHORT};
use super::read::not_judged;
use super::{Core, LARGEST_VALUE, Mark};
use crate::clock::{deadline, millis, signed};
use crate::entry::{Counted, Origin, Times};
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, round_grace};
use crate::l1::Content;
use crate::options::{Settings, Skipped};
use crate::random::Random;
use crate::stats::RemovalCause;
use crate::tier::shield::scale;
use crate::trust::Basis;
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
    /// Names it; copies of it in several tiers have the same name.
    pub(super) write_id: u64,
    pub(super) tags: Option<Arc<[u64]>>,
    pub(super) how: How,
    /// Indices of the tiers.
    pub(super) tiers: Range<usize>,
    pub(super) skipped: Skipped,
    pub(super) until: Duration,
}

/// What is written, as the shared tier has to know.
pub(super) enum How {
    /// A caller's own value; quiet if the other instances are not told.
    Set { quiet: bool },
    /// What a closure returned. Without a lease the shared tier does not get it.
    Load(Option<Leasehold>),
    /// What a tier below had: the shared tier does not get it.
    Promotion,
}

/// What the shared tier came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It holds the value, or has nothing to do with it.
    Stored,
    /// Something stands against it: the value is to be used by whoever has it, and kept nowhere.
    Refused,
    Failed,
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

/// A tier, or the word to the other instances, that did not take a change.
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
        if self.tiers.is_empty() && self.shared.is_none() {
            let (entry, _) = self.written(key, &value, settings, ttl);
            self.put(entry, settings.skipped);
            return Ok(());
        }
        let (core, key, settings) = (self.clone(), key.to_owned(), settings.clone());
        let until = self.now().saturating_add(self.deadlines.hard);
        let work = async move {
            if core.shares_values(settings.skipped) {
                // A frame says which bumps its writer knew of: all, or it is not written.
                core.can_judge(until).await;
            }
            let (entry, basis) = core.written(&key, &value, &settings, ttl);
            let write = Write {
                key: key.into(),
                value: Value::of(entry.entry()),
                ttl,
                grace: round_grace(settings.grace),
                most: Duration::MAX,
                created: core.clock.wall(),
                clock: basis.clock,
                write_id: entry.entry().write_id(),
                tags: entry.entry().tags().cloned(),
                how: How::Set { quiet: !announce },
                tiers: 0..core.tiers.len(),
                skipped: settings.skipped,
                until,
            };
            core.set_through(write, entry, announce).await
        };
        self.to_the_end(work).await?
    }

    /// The entry of a caller's own value, and what was known before.
    fn written(&self, key: &str, value: &Value, settings: &Settings, ttl: Duration) -> (Counted, Basis) {
        let (tags, basis) = (settings.tags_and(&[]), self.basis());
        // Where nothing is written below there is no copy to name.
        let write_id = if self.tiers.is_empty() { 0 } else { self.write_id() };
        let origin = Origin { stamp: basis.stamp, write_id, tags: tags.as_ref() };
        let (grace, l1_ttl) = (round_grace(settings.grace), settings.l1_ttl);
        (self.entry(key, New { value: Some(value), ttl, grace, l1_ttl, weight: None, origin }), basis)
    }

    async fn set_through(self: Arc<Self>, mut write: Write, entry: Counted, announce: bool) -> Result<()> {
        let _lane = self.lane(&write.key).await;
        let mark = self.begin(&write, &entry);
        let (mut untaken, outcome) = self.write_tiers(&mut write).await;
        match mark {
            Some(mark) => self.end_shared(&mark, &entry, write.skipped, outcome),
            None => self.outlast(&entry),
        }
        // Where the shared tier has the value it has told the others.
        if announce
            && !self.shares_values(write.skipped)
            && let Err(error) = self.remove_shared(&write.key, write.until).await
        {
            untaken.push(Untaken { by: SHARED.into(), error });
        }
        if announce && !self.shares_values(write.skipped) {
            // What was read from the shared tier until it was told.
            self.outlast(&entry);
        }
        settle(&format!("the write of `{}`", shown(&write.key)), untaken)
    }

    /// Lets the written value take effect here; or where the shared tier has it, only what was there go: the value comes once
    /// that tier has acknowledged it, unless another instance's change came meanwhile.
    fn begin(&self, write: &Write, entry: &Counted) -> Option<Mark> {
        if !self.shares_values(write.skipped) {
            self.put(entry.clone(), write.skipped);
            return None;
        }
        self.l1.kill(&write.key, RemovalCause::Replaced);
        let mark = self.mark(&write.key);
        self.unlink(&write.key);
        Some(mark)
    }

    /// The second half of a write that the shared tier has answered, or not.
    fn end_shared(&self, mark: &Mark, entry: &Counted, skipped: Skipped, outcome: Outcome) {
        let kept = match outcome {
            Outcome::Stored => Some(entry.clone()),
            Outcome::Refused => None,
            // It takes effect here, and for a short time: what the shared tier has is not known.
            Outcome::Failed => {
                let times = entry.entry().times();
                let most = self.l1.now().saturating_add(millis(SHORT));
                let times =
                    Times { fresh_until: times.fresh_until.min(most), dead_at: times.dead_at.min(most), ..times };
                let (value, tags) = (Value::of(entry.entry()), entry.entry().tags());
                let origin = Origin { stamp: entry.entry().until().stamp(), write_id: 0, tags };
                Some(self.l1.entry(&mark.key, Content { value: value.as_ref(), times, weight: None, origin }))
            }
        };
        let kept = kept.filter(|kept| self.reads_l1(skipped) && self.l1.fill(mark.token, kept.clone()));
        // What was read meanwhile from the shared tier as it was goes, with its permission.
        self.l1.keep_only(&mark.key, kept.as_ref());
        self.unlink(&mark.key);
    }

    /// Whether a write with these tiers left out goes to the shared tier.
    fn shares_values(&self, skipped: Skipped) -> bool {
        let at = self.shared.as_ref().and_then(|shared| shared.at);
        at.is_some_and(|index| !skipped.has(self.tiers[index].level()))
    }

    /// A name for a write.
    pub(super) fn write_id(&self) -> u64 {
        self.random.bits().max(1)
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
            let mut write = write;
            let _lane = core.lane(&write.key).await;
            // In this order: a pattern that is removed no more has killed the marks that are too old.
            if core.sweeps.covers(&write.key) || !mark.holds() {
                return false;
            }
            let tried = write.tiers.clone().filter(|&index| !write.skipped.has(core.tiers[index].level())).count();
            let (untaken, outcome) = core.write_tiers(&mut write).await;
            if outcome == Outcome::Refused {
                // Somebody has changed the key since the lease was given: what L1 has of it is older.
                core.l1.retract(&write.key, mark.token);
                core.take_back(&write).await;
            }
            drop(mark);
            untaken.len() < tried && outcome != Outcome::Refused
        };
        self.to_the_end(work).await.unwrap_or(false)
    }

    /// Removes from the other tiers what the shared one has refused.
    async fn take_back(&self, write: &Write) {
        for index in write.tiers.clone().filter(|index| !self.is_shared(*index)) {
            let tier = &self.tiers[index];
            if !write.skipped.has(tier.level()) && tier.remove(&write.key, write.until).await.is_err() {
                self.repairs.owe(index, &write.key);
            }
        }
    }

    /// Writes to the tiers, fastest first, and last to the shared one, which tells the others. The caller holds the key's lane
    /// (E1).
    async fn write_tiers(&self, write: &mut Write) -> (Vec<Untaken>, Outcome) {
        let frame = Frame {
            value: write.value.clone(),
            ttl: write.ttl,
            grace: write.grace,
            created: write.created,
            wid: write.write_id,
            version: 0,
            cseq: write.clock,
            cost_us: 0,
            tags: write.tags.as_deref().map(Box::from).unwrap_or_default(),
        };
        let bytes = match frame.encode(&write.key) {
            Ok(bytes) => bytes,
            Err(error) => return (vec![Untaken { by: "every tier below L1".into(), error }], Outcome::Refused),
        };
        let (mut untaken, mut outcome) = (Vec::new(), Outcome::Stored);
        let last = write.tiers.clone().filter(|index| self.is_shared(*index));
        for index in write.tiers.clone().filter(|index| !self.is_shared(*index)).chain(last) {
            let tier = &self.tiers[index];
            if write.skipped.has(tier.level()) {
                continue;
            }
            let ttl = tier.scaled(write.ttl).min(write.most).saturating_add(write.grace);
            if self.is_shared(index) {
                let written = self.write_shared(write, bytes.clone(), ttl).await;
                outcome = written.unwrap_or_else(|error| {
                    untaken.push(Untaken { by: format!("tier `{}`", tier.name()), error });
                    Outcome::Failed
                });
                continue;
            }
            match tier.set(&write.key, bytes.clone(), ttl, write.until).await {
                Ok(()) => self.settled(index, &write.key),
                Err(error) => {
                    // The tier may hold an older value, or take this one late: it is removed there before it is read again.
                    self.repairs.owe(index, &write.key);
                    untaken.push(Untaken { by: format!("tier `{}`", tier.name()), error });
                }
            }
        }
        (untaken, outcome)
    }

    /// Writes to the tier that instances share. A write that is not acknowledged is owed a removal there: it may land late. A
    /// load's is owed nothing: it lands as long as nothing has changed, or never.
    async fn write_shared(&self, write: &mut Write, frame: Bytes, ttl: Duration) -> Result<Outcome> {
        let (Some(shared), Some(index)) = (&self.shared, self.shared_index()) else { return Ok(Outcome::Stored) };
        match &mut write.how {
            How::Promotion => Ok(Outcome::Stored),
            How::Load(held) => match held.take() {
                Some(held) => {
                    let committed = self.within(write.until, held.commit(frame, ttl)).await?;
                    Ok(if committed { Outcome::Stored } else { Outcome::Refused })
                }
                None => Ok(Outcome::Stored),
            },
            How::Set { .. } if !self.judges() => {
                self.repairs.owe(index, &write.key);
                Err(not_judged())
            }
            How::Set { quiet } => {
                // What was not acknowledged before may land after this: it is settled first.
                if self.repairs.owes(index, &write.key) {
                    self.remove_shared(&write.key, write.until).await?;
                }
                let server = shared.server();
                let put = self.within(write.until, shared.tier.put(&write.key, frame, ttl, *quiet)).await;
                let put = put.and_then(|written| {
                    self.done(shared, &write.key, *quiet);
                    shared.still(server).map(|()| written)
                });
                match put {
                    Ok(written) => Ok(if written.stored { Outcome::Stored } else { Outcome::Refused }),
                    Err(error) => {
                        self.repairs.owe(index, &write.key);
                        Err(error)
                    }
                }
            }
        }
    }

    pub(super) fn unlink(&self, key: &str) {
        // Always looked up: the number of flights is a sum that is not taken at one moment, and may be zero while one runs.
        self.loads.unlink(key);
        self.lone.unlink(key);
        self.reads.unlink(key);
    }
}

/// What did not take a change, where instances share no values.
pub(super) const SHARED: &str = "the word to the other instances";

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
