//! A read that tells everything: which tier, how old, and if nothing, why.

use std::sync::Arc;
use std::time::Duration;

use super::{Core, Count, Found};
use crate::entry::Entry;
use crate::error::Result;
use crate::l1::{Absence, Standing};
use crate::options::Settings;
use crate::trust::Cause;
use crate::value::Value;

/// What the cache knows of a key.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Lookup {
    /// A value.
    #[non_exhaustive]
    Hit {
        /// The value.
        value: Value,
        /// The level of the tier that had it.
        tier: usize,
        /// How long ago it was written.
        age: Duration,
        /// Whether its time to live is over and only its grace keeps it.
        stale: bool,
    },
    /// The source is known to have none.
    Absent,
    /// Nothing is known.
    Miss(MissReason),
}

/// Why nothing is known of a key, as far as is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// Never seen, or so long ago that it is forgotten.
    NeverSeen,
    /// Its time passed.
    Expired,
    /// It went to make room in L1.
    Evicted,
    /// One of its tags was invalidated.
    Tag,
    /// A pattern that it matches was invalidated.
    Pattern,
    /// Everything was cleared.
    Clear,
    /// It may have been invalidated by another instance, and the shared tier does not have it any more.
    Suspect,
    /// A tier did not answer in time.
    Timeout,
    /// A tier failed.
    TierFailed,
    /// A tier had bytes that are no value of ours.
    Codec,
    /// A tier's copy waits for repair, or the tier was to be skipped.
    Skipped,
}

impl Core {
    /// Looks `key` up in all tiers. Counts the request. A stale value is told, and counted as a miss.
    pub(crate) async fn lookup(self: &Arc<Self>, key: &str, settings: &Settings) -> Result<Lookup> {
        self.admit(key)?;
        if let Some(found) = self.resident(key, settings) {
            self.count_request(self.hit_at(&found), settings.skipped);
            return Ok(self.told(found));
        }
        let read = self.read_below(key, settings, self.deadlines.hard).await;
        // What the shared tier was asked about, and has not confirmed, is not told.
        let here = |entry: Entry<'_>, standing| match standing {
            Standing::Suspect if !read.alone => None,
            standing => Found::standing(entry, standing),
        };
        let stale_here = if self.reads_l1(settings.skipped) { self.l1.look(key, here).flatten() } else { None };
        let now = self.now_millis();
        let fresh = |found: &Found| found.suits(settings, now);
        let best = match (read.found, stale_here) {
            (Some(below), _) if fresh(&below) => Some(below),
            (_, Some(here)) => Some(here),
            (below, None) => below,
        };
        if let Some(found) = best {
            let answer = if fresh(&found) { self.hit_at(&found) } else { Count::Miss };
            self.count_request(answer, settings.skipped);
            return Ok(self.told(found));
        }
        self.count_request(Count::Miss, settings.skipped);
        self.admit_any()?;
        Ok(Lookup::Miss(match (&read.failed, self.l1.absence(key)) {
            (Some(error), _) if error.is_timeout() => MissReason::Timeout,
            (Some(_), _) => MissReason::TierFailed,
            (None, _) if read.garbled => MissReason::Codec,
            (None, _) if read.skipped => MissReason::Skipped,
            (None, Absence::Expired) => MissReason::Expired,
            (None, Absence::Evicted) => MissReason::Evicted,
            (None, Absence::Suspect) => MissReason::Suspect,
            (None, Absence::Gone(Cause::Tag)) => MissReason::Tag,
            (None, Absence::Gone(Cause::Pattern)) => MissReason::Pattern,
            (None, Absence::Gone(Cause::Clear)) => MissReason::Clear,
            (None, Absence::Unknown) => MissReason::NeverSeen,
        }))
    }

    fn told(&self, found: Found) -> Lookup {
        let now = self.now_millis();
        let (tier, age, stale) = (found.level, found.age(now), !found.is_fresh(now));
        match found.value {
            Some(value) => Lookup::Hit { value, tier, age, stale },
            None => Lookup::Absent,
        }
    }
}
