//! When an instance has to know of a change that another one made.

use std::time::Duration;

use super::Grants;
use crate::coherence::history::{Change, Done, Events, Span};
use crate::coherence::instance::Promises;

/// The stated delays, and what lengthens them.
pub(super) struct Delays<'a> {
    grants: &'a Grants,
    promises: &'a Promises,
    /// For each instance, when Redis did not answer it.
    outages: &'a [Vec<Span>],
    /// For each instance, when connections that carry messages may have broken.
    cuts: Vec<Vec<Span>>,
    stalls: &'a [Span],
}

impl<'a> Delays<'a> {
    pub(super) fn new(events: &'a Events, promises: &'a Promises, grants: &'a Grants) -> Self {
        let cuts = |instance| {
            let strikes = events.strikes.iter().filter(move |strike| strike.cuts && strike.hits(instance));
            strikes.map(|strike| strike.span).collect()
        };
        let cuts = (0..events.outages.len()).map(cuts).collect();
        Self { grants, promises, outages: &events.outages, cuts, stalls: &events.stalls }
    }

    /// When the instance that made a change has to know of it: at once, unless the call said nothing.
    pub(super) fn own(change: &Change) -> Option<Duration> {
        (change.done != Done::Unknown).then_some(change.end)
    }

    /// When `instance`, another one, has to know of `change`; never if it was not acknowledged.
    pub(super) fn due(&self, instance: usize, change: &Change) -> Option<Duration> {
        (change.done == Done::Acknowledged).then(|| self.after(instance, change.end))
    }

    /// When a message that Redis had at `since` has arrived at `instance`, or the instance has ceased to trust its L1.
    ///
    /// Calm: after `delta`. Where a connection broke about then: after `link` more. Where Redis did not answer the instance:
    /// once it answers again, after as long a time as it was silent (the pauses between attempts to connect double), `link`
    /// and `delta`; but not later than the promised time of trust after the silence began. Loads that had begun by then may
    /// still be joined until they end. What the machine stood still comes on top.
    pub(super) fn after(&self, instance: usize, since: Duration) -> Duration {
        let Grants { delta, link, .. } = *self.grants;
        let mut due = since + delta;
        if meets(&self.cuts[instance], since.saturating_sub(link), due) {
            due += link;
        }
        let outages = &self.outages[instance];
        let trust = self.promises.disconnected + self.promises.detection;
        // An attempt to connect may still be due some time after the silence.
        let first = outages.partition_point(|outage| outage.end + trust + delta <= since);
        for outage in &outages[first..] {
            if outage.begin >= due {
                break;
            }
            let connected = outage.end + (outage.end - outage.begin) + link + delta;
            due = due.max(connected.min(outage.begin + trust + delta));
            if outage.end > since {
                due = due.max(since + delta + self.grants.load + self.promises.flight);
            }
        }
        due + stalled(self.stalls, since, due)
    }

    /// Whether anything happened to the connections of `instance` in that time, or shortly before.
    pub(super) fn disturbed(&self, instance: usize, begin: Duration, end: Duration) -> bool {
        let calm = |span: &Span| self.after(instance, span.begin).max(span.end) + self.grants.link;
        let hits = |spans: &[Span]| spans.iter().any(|span| span.begin <= end && begin <= calm(span));
        hits(&self.cuts[instance]) || hits(&self.outages[instance])
    }
}

/// How much of that time lies within `spans`, which are in order.
pub(super) fn stalled(spans: &[Span], begin: Duration, end: Duration) -> Duration {
    let first = spans.partition_point(|span| span.end <= begin);
    let within = spans[first..].iter().take_while(|span| span.begin < end);
    within.map(|span| span.end.min(end) - span.begin.max(begin)).sum()
}

/// Whether one of `spans`, whose beginnings and ends are in order, meets that time.
pub(super) fn meets(spans: &[Span], begin: Duration, end: Duration) -> bool {
    let first = spans.partition_point(|span| span.end < begin);
    spans.get(first).is_some_and(|span| span.meets(begin, end))
}
