//! I7: how long calls took, and whether reads were served.

use std::time::Duration;

use super::delays::stalled;
use super::{Grants, Invariant, Verdict, seconds};
use crate::coherence::history::{Events, Span, Wrong};
use crate::coherence::instance::Promises;
use crate::coherence::source::Keys;

/// The longest calls, as they were seen, and their budgets.
#[derive(Debug, Default)]
pub(crate) struct Worst {
    pub(crate) read: Duration,
    pub(crate) read_budget: Duration,
    pub(crate) change: Duration,
    pub(crate) change_budget: Duration,
    /// Reads that came back without a value.
    pub(crate) failed: u64,
    pub(crate) longest_stall: Duration,
    /// How often Redis did not answer an instance, and for how long at most.
    pub(crate) outages: usize,
    pub(crate) longest_outage: Duration,
}

fn longest(spans: &[Span]) -> Duration {
    spans.iter().map(|span| span.end - span.begin).max().unwrap_or_default()
}

pub(super) fn check(
    keys: &Keys,
    events: &Events,
    promises: &Promises,
    grants: &Grants,
    verdict: &mut Verdict,
) -> Worst {
    let mut worst = Worst {
        // Whoever waits for a load may have to load himself when that one is given up.
        read_budget: promises.read + 2 * grants.load + grants.slack,
        change_budget: promises.change + grants.slack,
        longest_stall: longest(&events.stalls),
        outages: events.outages.iter().map(Vec::len).sum(),
        longest_outage: events.outages.iter().map(|outages| longest(outages)).max().unwrap_or_default(),
        ..Worst::default()
    };
    let late = |begin, end, budget| end - begin > budget + stalled(&events.stalls, begin, end);
    for _ in 0..events.hung {
        verdict.broken(Invariant::I7, || "a call did not come back at all".into());
    }
    for read in &events.reads {
        worst.read = worst.read.max(read.end - read.begin);
        if read.got == Err(Wrong::Failed) {
            worst.failed += 1;
            verdict.broken(Invariant::I7, || {
                let at = seconds(read.begin);
                format!("instance {} failed to read {} at {at}", read.instance, keys.name(read.key))
            });
        } else if late(read.begin, read.end, worst.read_budget) {
            verdict.broken(Invariant::I7, || {
                let (took, at) = (seconds(read.end - read.begin), seconds(read.begin));
                format!("instance {} took {took} to read {} at {at}", read.instance, keys.name(read.key))
            });
        }
    }
    // A change of a group is one call, put down for each of its keys.
    let calls = events.changes.chunk_by(|one, next| (one.instance, one.begin) == (next.instance, next.begin));
    for change in calls.filter_map(<[_]>::first) {
        worst.change = worst.change.max(change.end - change.begin);
        if late(change.begin, change.end, worst.change_budget) {
            verdict.broken(Invariant::I7, || {
                let (took, at) = (seconds(change.end - change.begin), seconds(change.begin));
                let (what, name) = (change.what.name(), keys.name(change.key));
                format!("instance {} took {took} to {what} {name} at {at}", change.instance)
            });
        }
    }
    worst
}
