//! What a history has to be: the invariants, and which of them it breaks.
//!
//! # Invariants
//! I1. A value is of the key that was asked for, unaltered, and was committed before the read ended.
//! I2. A read that begins later than the stated delay after an acknowledged invalidation returns nothing older, on any instance.
//! I3. When the dust has settled L1 and Redis, each looked at by itself, agree with the source.
//! I4. An instance sees its own invalidation at once, also one that Redis did not take.
//! I5. No two computations of one key overlap in one instance without a change between their beginnings.
//! I6. A write that was acknowledged is visible or superseded: at once where it was made, after the stated delay elsewhere.
//! I7. Every call returns within its budget, and no read fails that its loader could have served.
//! I8. L1 is within its bounds at every sample.
//! I9. No task, descriptor, flight or retry is left at the end.

mod bounds;
mod calls;
mod computations;
mod delays;
mod leftovers;
mod reads;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::history::Events;
use super::instance::Promises;
use super::source::Keys;
pub(super) use calls::Worst;
pub(super) use computations::Rounds;
use delays::Delays;
pub(super) use leftovers::Leftovers;
pub(super) use reads::Staleness;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
}

impl Invariant {
    pub(super) const ALL: [Self; 9] =
        [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I8, Self::I9];

    pub(super) fn name(self) -> &'static str {
        ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9"][self as usize]
    }

    pub(super) fn about(self) -> &'static str {
        [
            "provenance and integrity",
            "bounded staleness",
            "no permanent staleness",
            "own invalidation seen at once",
            "no overlapping computations",
            "acknowledged writes are visible",
            "calls within their budget",
            "memory within its bound",
            "nothing is left",
        ][self as usize]
    }
}

/// How often each invariant was broken, with the first cases in words.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    counts: [u64; Invariant::ALL.len()],
    pub(super) cases: Vec<String>,
}

impl Verdict {
    /// So many cases of each invariant are told.
    const TOLD: u64 = 5;

    pub(super) fn count(&self, invariant: Invariant) -> u64 {
        self.counts[invariant as usize]
    }

    pub(super) fn broken(&mut self, invariant: Invariant, case: impl FnOnce() -> String) {
        let count = &mut self.counts[invariant as usize];
        *count += 1;
        if *count <= Self::TOLD {
            self.cases.push(format!("{}: {}", invariant.name(), case()));
        }
    }

    /// Reads that contradict what had returned before, or that are no value at all.
    pub(super) fn violations(&self) -> u64 {
        [Invariant::I1, Invariant::I2, Invariant::I4, Invariant::I6].into_iter().map(|one| self.count(one)).sum()
    }
}

/// The delays that a verdict grants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grants {
    /// From an acknowledged change until every instance that can reach Redis knows of it.
    pub(super) delta: Duration,
    /// More than that where a connection broke: to notice, to connect and to catch up.
    pub(super) link: Duration,
    /// The longest that a loader takes.
    pub(super) load: Duration,
    /// On top of every budget.
    pub(super) slack: Duration,
}

/// What the checks found.
pub(super) struct Findings {
    pub(super) verdict: Verdict,
    pub(super) rounds: Rounds,
    pub(super) worst: Worst,
    pub(super) staleness: Staleness,
}

/// Holds `events` against the invariants, all but I3 and I9, which are looked at when a run is over.
pub(super) fn check(keys: &Keys, mut events: Events, promises: &Promises, grants: &Grants) -> Findings {
    let mut verdict = Verdict::default();
    in_order(&mut events);
    let delays = Delays::new(&events, promises, grants);
    reads::check(keys, &events, &delays, &mut verdict);
    let staleness = reads::staleness(&events, &delays);
    computations::check(keys, &events, &delays, &mut verdict);
    let worst = calls::check(keys, &events, promises, grants, &mut verdict);
    bounds::check(&events, promises, &mut verdict);
    Findings { verdict, rounds: computations::rounds(&events, grants), worst, staleness }
}

/// Sorts what was put down by several threads.
fn in_order(events: &mut Events) {
    events.changes.sort_by_key(|change| change.begin);
    events.computations.sort_by_key(|computation| computation.begin);
    events.strikes.sort_by_key(|strike| strike.span.begin);
    events.stalls.sort_by_key(|stall| stall.begin);
    events.outages.iter_mut().for_each(|outages| outages.sort_by_key(|outage| outage.begin));
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
