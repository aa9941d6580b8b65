//! I5, and how often a key is computed in a round.

use std::collections::HashMap;
use std::time::Duration;

use super::delays::{Delays, meets};
use super::{Grants, Invariant, Verdict, seconds};
use crate::coherence::history::{Change, Computation, Done, Events, Round, Span, What};
use crate::coherence::source::Keys;

/// Within this time a change, or the store of a loaded value, that Redis did not take at first was retried.
const RETRIED: Duration = Duration::from_secs(3);

pub(super) fn check(keys: &Keys, events: &Events, delays: &Delays<'_>, verdict: &mut Verdict) {
    let changes = changes_by_key(&events.changes);
    let refused = losses(events, RETRIED);
    let mut running: HashMap<(usize, usize), Vec<&Computation>> = HashMap::new();
    for later in &events.computations {
        let running = running.entry((later.instance, later.key)).or_default();
        running.retain(|earlier| earlier.end > later.begin);
        if let Some(earlier) = running.last() {
            let changes = changes.get(&later.key).map_or(&[][..], Vec::as_slice);
            let (instance, begin, end) = (later.instance, earlier.begin, later.begin);
            let changed = changes.iter().any(|change| change.begin <= end && begin <= seen(change, instance, delays));
            // An instance that doubts what it has heard begins anew, and so does one that is told of a store being settled.
            if !changed && !delays.disturbed(instance, begin, end) && !meets(&refused, begin, end) {
                verdict.broken(Invariant::I5, || {
                    format!(
                        "instance {instance} computed {} from {} and again from {}, before the first had ended at {}",
                        keys.name(later.key),
                        seconds(begin),
                        seconds(end),
                        seconds(earlier.end),
                    )
                });
            }
        }
        running.push(later);
    }
}

/// When leases and stores may have been lost, and for so long after.
fn losses(events: &Events, after: Duration) -> Vec<Span> {
    let lossy = events.strikes.iter().filter(|strike| strike.loses_leases);
    lossy.map(|strike| Span { end: strike.span.end + after, ..strike.span }).collect()
}

fn changes_by_key(changes: &[Change]) -> HashMap<usize, Vec<&Change>> {
    let mut by_key: HashMap<usize, Vec<&Change>> = HashMap::new();
    changes.iter().for_each(|change| by_key.entry(change.key).or_default().push(change));
    by_key
}

/// The latest that `change` ends a flight on `instance`.
fn seen(change: &Change, instance: usize, delays: &Delays<'_>) -> Duration {
    match change.done {
        Done::Unknown => delays.after(instance, change.end) + RETRIED,
        _ if change.instance == instance => change.end,
        Done::Acknowledged => delays.after(instance, change.end),
        Done::Here => delays.after(instance, change.end) + RETRIED,
    }
}

/// How often keys were computed in rounds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rounds {
    /// Rounds in which no lease could be lost.
    pub(crate) calm: usize,
    pub(crate) calm_computations: usize,
    pub(crate) all: usize,
    pub(crate) all_computations: usize,
    /// Calm rounds whose first computation was the death of its instance.
    pub(crate) dead: usize,
    /// What the others computed in them.
    pub(crate) dead_computations: usize,
}

impl Rounds {
    /// Not a number where there was no calm round.
    pub(crate) fn per_calm_round(&self) -> f64 {
        self.calm_computations as f64 / self.calm as f64
    }

    /// Not a number where nobody died.
    pub(crate) fn per_death(&self) -> f64 {
        self.dead_computations as f64 / self.dead as f64
    }

    pub(crate) fn per_round(&self) -> f64 {
        self.all_computations as f64 / self.all as f64
    }
}

/// Counts the computations of each round.
pub(super) fn rounds(events: &Events, grants: &Grants) -> Rounds {
    let mut computations: HashMap<usize, Vec<&Computation>> = HashMap::new();
    for computation in &events.computations {
        computations.entry(computation.key).or_default().push(computation);
    }
    let uncalm = Uncalm::new(events, grants);
    let mut rounds = Rounds::default();
    for round in &events.rounds {
        let of_key = computations.get(&round.key).map_or(&[][..], Vec::as_slice);
        let first = of_key.partition_point(|computation| computation.begin < round.begin);
        let within = of_key[first..].iter().take_while(|computation| computation.begin <= round.end);
        let ran = within.filter(|computation| Some(computation.instance) != round.dead).count();
        match (round.dead.is_some(), uncalm.has(round)) {
            (true, true) => {}
            (true, false) => {
                rounds.dead += 1;
                rounds.dead_computations += ran;
            }
            (false, uncalm) => {
                rounds.all += 1;
                rounds.all_computations += ran;
                if !uncalm {
                    rounds.calm += 1;
                    rounds.calm_computations += ran;
                }
            }
        }
    }
    rounds
}

/// What may make a round need more than one computation.
struct Uncalm<'a> {
    outages: &'a [Vec<Span>],
    lost: Vec<Span>,
    cleared: Vec<Span>,
    /// For so long before a round.
    before: Duration,
}

impl<'a> Uncalm<'a> {
    fn new(events: &'a Events, grants: &Grants) -> Self {
        let clears = events.changes.iter().filter(|change| change.what == What::Clear);
        let cleared = clears.map(|change| Span { begin: change.begin, end: change.end + grants.delta });
        Self {
            outages: &events.outages,
            lost: losses(events, Duration::ZERO),
            cleared: cleared.collect(),
            before: grants.delta + grants.link,
        }
    }

    fn has(&self, round: &Round) -> bool {
        let begin = round.begin.saturating_sub(self.before);
        let others = self.outages.iter().enumerate().filter(|(instance, _)| Some(*instance) != round.dead);
        others.into_iter().any(|(_, outages)| meets(outages, begin, round.end))
            || meets(&self.lost, begin, round.end)
            || meets(&self.cleared, begin, round.end)
    }
}
