//! I1, I2, I4, I6: what reads returned.

use std::collections::HashMap;
use std::time::Duration;

use super::delays::Delays;
use super::{Invariant, Verdict, seconds};
use crate::coherence::history::{Change, Done, Events, Read, What, Wrong};
use crate::coherence::source::Keys;

/// From `from` on a read of one key on one instance returns at least the version of `change`.
struct Floor<'a> {
    from: Duration,
    change: &'a Change,
}

/// Reads that returned less than was acknowledged when they began, whether that was granted or not.
#[derive(Debug, Default)]
pub(crate) struct Staleness {
    pub(crate) reads: u64,
    /// The longest time from an acknowledgement to a read that was older.
    pub(crate) longest: Duration,
    /// The same where nothing had happened to the connections of the instance.
    pub(crate) longest_calm: Duration,
}

/// How stale reads were.
pub(super) fn staleness(events: &Events, delays: &Delays<'_>) -> Staleness {
    let acknowledged = acknowledged(events);
    let mut staleness = Staleness::default();
    for read in &events.reads {
        let (Ok(version), Some(changes)) = (read.got, acknowledged.get(&read.key)) else { continue };
        let newer = changes.partition_point(|(changed, _)| *changed <= version);
        let Some(age) = changes.get(newer).and_then(|(_, since)| read.begin.checked_sub(*since)) else { continue };
        staleness.reads += 1;
        staleness.longest = staleness.longest.max(age);
        if age > staleness.longest_calm && !delays.disturbed(read.instance, read.begin - age, read.begin) {
            staleness.longest_calm = age;
        }
    }
    staleness
}

/// For each key the acknowledged versions in order, each with the time since which it or a newer one was.
fn acknowledged(events: &Events) -> HashMap<usize, Vec<(u64, Duration)>> {
    let mut changes: HashMap<_, Vec<_>> = HashMap::new();
    for change in events.changes.iter().filter(|change| change.done == Done::Acknowledged) {
        changes.entry(change.key).or_default().push((change.version, change.end));
    }
    for changes in changes.values_mut() {
        changes.sort_unstable();
        let mut earliest = Duration::MAX;
        for (_, since) in changes.iter_mut().rev() {
            earliest = earliest.min(*since);
            *since = earliest;
        }
    }
    changes
}

pub(super) fn check(keys: &Keys, events: &Events, delays: &Delays<'_>, verdict: &mut Verdict) {
    let floors = floors(events, delays);
    for read in &events.reads {
        let version = match read.got {
            Ok(version) => version,
            // A budget's matter.
            Err(Wrong::Failed) => continue,
            Err(wrong) => {
                verdict.broken(Invariant::I1, || format!("{}: {wrong:?}", told(keys, read)));
                continue;
            }
        };
        let Some(floors) = floors.get(&(read.instance, read.key)) else { continue };
        let due = floors.partition_point(|floor| floor.from <= read.begin);
        let Some(floor) = due.checked_sub(1).map(|last| &floors[last]) else { continue };
        if version < floor.change.version {
            let change = floor.change;
            verdict.broken(broken_by(read, change), || {
                format!(
                    "{} version {version}, {} after instance {}'s {} of version {} had returned ({}); due from {}",
                    told(keys, read),
                    seconds(read.begin - change.end),
                    change.instance,
                    change.what.name(),
                    change.version,
                    seconds(change.end),
                    seconds(floor.from),
                )
            });
        }
    }
}

fn broken_by(read: &Read, change: &Change) -> Invariant {
    match change.what {
        What::Set => Invariant::I6,
        _ if change.instance == read.instance => Invariant::I4,
        _ => Invariant::I2,
    }
}

fn told(keys: &Keys, read: &Read) -> String {
    format!("instance {} read {} at {} and got", read.instance, keys.name(read.key), seconds(read.begin))
}

/// For each instance and key the floors in order of time, each higher than the one before.
fn floors<'a>(events: &'a Events, delays: &Delays<'_>) -> HashMap<(usize, usize), Vec<Floor<'a>>> {
    let mut floors: HashMap<_, Vec<Floor<'_>>> = HashMap::new();
    for change in &events.changes {
        for instance in 0..events.outages.len() {
            let own = instance == change.instance;
            let from = if own { Delays::own(change) } else { delays.due(instance, change) };
            if let Some(from) = from {
                floors.entry((instance, change.key)).or_default().push(Floor { from, change });
            }
        }
    }
    for floors in floors.values_mut() {
        floors.sort_by_key(|floor| floor.from);
        let mut highest = 0;
        floors.retain(|floor| {
            let higher = floor.change.version > highest;
            highest = highest.max(floor.change.version);
            higher
        });
    }
    floors
}
