//! What makes a resident entry invalid before its time although nobody has named its key: a tag, a pattern, everything, a
//! loss of messages, a link that has been silent for too long.
//!
//! Each of these is an *event* with a number of this instance. An entry carries as its *stamp* the number of the last event
//! that it is known to have outlived, and a hit compares it with one word: equal, nothing has happened. Else the events in
//! between are looked at, once for each entry, and the stamp is moved on.
//!
//! Tags, patterns and clears also have a number of the *control clock*, which all instances of a namespace share. Frames of
//! the shared tier carry the one that their writer knew when it began to load.
//!
//! # Invariants
//! - T1: what an event says is there before its number is in the word. So whoever sees the word sees the event.
//! - T2: a stamp is the number of an event that had happened when the entry's load began, or, of an entry that was checked
//!   since, when the check began.
//! - T4: entries hold the low [`STAMP_BITS`] of their stamp. Whoever makes events sees to it that none is older than they
//!   can tell: [`Trust::is_crowded`], `L1::stamp_all`.
//! - T3: numbers and clocks of tags, patterns and clears only grow. What is forgotten of them raises a floor first.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `event` | `Trust::happen`: the last number, the word | `Trust::basis`, `Trust::check` | what the event says |
//!
//! A hit reads the word relaxed: it compares, and orders nothing. An event that an operation has returned from happened
//! before every hit that follows the operation, which cannot read an older word then.

use std::time::Duration;

use papaya::HashMap;

use crate::clock::millis;
use crate::entry::STAMP_BITS;
use crate::glob;
use crate::hash::Prehashed;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// What was known when a load began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The number of the last event.
    pub(crate) stamp: u64,
    /// The control clock.
    pub(crate) clock: u64,
}

/// What is to be said of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has outlived every event up to this one.
    Valid(u64),
    /// It may be right: the shared tier is to be asked.
    Suspect,
    Gone(Cause),
}

/// Which event an entry has not outlived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Tag,
    Pattern,
    Clear,
}

/// A change of many entries at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweeping<'a> {
    /// By the stable hash of its name.
    Tag(u64),
    Pattern(&'a str),
    Clear,
    /// Every tag whose last change is not known: it may be as new as this.
    Tags,
}

/// The numbers of an event.
#[derive(Debug, Clone, Copy, Default)]
struct At {
    stamp: u64,
    clock: u64,
}

/// The same, read without a lock. The two are not read at one moment: either is a number that it had.
#[derive(Default)]
struct AtomicAt {
    stamp: AtomicU64,
    clock: AtomicU64,
}

impl AtomicAt {
    fn raise(&self, at: At) {
        // Relaxed: edge `event`, the number that follows releases them.
        self.stamp.fetch_max(at.stamp, Ordering::Relaxed);
        self.clock.fetch_max(at.clock, Ordering::Relaxed);
    }

    fn stamp(&self) -> u64 {
        // Relaxed: edge `event`, the number read before has acquired it.
        self.stamp.load(Ordering::Relaxed)
    }

    fn clock(&self) -> u64 {
        // Relaxed: see `stamp`.
        self.clock.load(Ordering::Relaxed)
    }
}

/// A pattern whose keys are gone if they are older.
struct Rule {
    at: At,
    pattern: Arc<str>,
}

/// Under the lock that events are numbered in.
#[derive(Default)]
struct Turn {
    last: u64,
    /// No entry has an older stamp.
    oldest: u64,
    /// Until when each link is trusted, in milliseconds of the engine's clock.
    until: Vec<u64>,
    trusted: bool,
}

/// See the module.
pub(crate) struct Trust {
    /// What stamps are compared with: the last event's number, or [`NONE`] while nothing is trusted.
    word: AtomicU64,
    last: AtomicU64,
    clock: AtomicU64,
    turn: Mutex<Turn>,
    /// The last loss of each partition.
    lost: Box<[AtomicU64]>,
    cleared: AtomicAt,
    /// No tag that `tags` lacks has changed since.
    tag_floor: AtomicAt,
    tags: HashMap<u64, At, Prehashed>,
    /// The newest of the rules.
    ruled: AtomicAt,
    rules: Mutex<Vec<Rule>>,
}

/// What an entry holds of a stamp.
const STAMP: u64 = (1 << STAMP_BITS) - 1;
/// No entry's stamp, nor its low bits any entry's.
const NONE: u64 = u64::MAX;
const FIRST: u64 = 1;

/// Tags that are remembered one by one.
const MOST_TAGS: usize = 100_000;
const MOST_RULES: usize = 256;

impl Trust {
    /// That of a process that shares nothing: it has no link to lose.
    pub(crate) fn alone() -> Self {
        Self::new(1, 0)
    }

    /// That of an instance with so many links, none of which is trusted yet.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn shared(partitions: u16, links: usize) -> Self {
        Self::new(partitions.into(), links)
    }

    fn new(partitions: usize, links: usize) -> Self {
        let trusted = links == 0;
        Self {
            word: AtomicU64::new(if trusted { FIRST } else { NONE }),
            last: AtomicU64::new(FIRST),
            clock: AtomicU64::new(0),
            turn: Mutex::new(Turn { last: FIRST, oldest: FIRST, until: vec![0; links], trusted }),
            lost: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            cleared: AtomicAt::default(),
            tag_floor: AtomicAt::default(),
            tags: HashMap::with_hasher(Prehashed::default()),
            ruled: AtomicAt::default(),
            rules: Mutex::new(Vec::new()),
        }
    }

    /// Whether an entry with this in the low bits of its stamp has outlived everything.
    #[inline(always)]
    pub(crate) fn is_word(&self, stamp: u64) -> bool {
        self.word() & STAMP == stamp
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        // Relaxed: see the module.
        self.word.load(Ordering::Relaxed)
    }

    /// The number of an event, from its low bits (T4).
    pub(crate) fn unfolded(&self, stamp: u64) -> u64 {
        // Acquire, edge `event`: no stamp is newer than this.
        let last = self.last.load(Ordering::Acquire);
        last - (last.wrapping_sub(stamp) & STAMP).min(last)
    }

    /// Whether so many events have happened that all entries are to be stamped anew.
    pub(crate) fn is_crowded(&self) -> bool {
        let turn = self.turn.lock();
        turn.last - turn.oldest > STAMP / 2
    }

    /// No entry has an older stamp than this.
    pub(crate) fn stamped(&self, oldest: u64) {
        let mut turn = self.turn.lock();
        turn.oldest = turn.oldest.max(oldest);
    }

    /// What is known now; to be asked for before a load places its marker (T2).
    pub(crate) fn basis(&self) -> Basis {
        // Acquire, edge `event`.
        let stamp = self.last.load(Ordering::Acquire);
        // Relaxed: an older clock only makes the frame older than it is.
        Basis { stamp, clock: self.clock.load(Ordering::Relaxed) }
    }

    /// Whether this link may be trusted at `now`.
    pub(crate) fn trusts(&self, link: usize, now: Duration) -> bool {
        self.turn.lock().until.get(link).is_some_and(|&until| millis(now) < until)
    }

    /// Whether what is resident may be used without asking.
    fn is_trusted(&self) -> bool {
        self.word() != NONE
    }

    /// What to say of an entry of `key` in `partition` with this in the low bits of its stamp, and these tags.
    #[cold]
    pub(crate) fn check(&self, stamp: u64, key: &str, tags: &[u64], partition: u16) -> Verdict {
        let stamp = self.unfolded(stamp);
        // Acquire, edge `event`: what is said is at least as new as the number that the stamp is moved to.
        let last = self.last.load(Ordering::Acquire);
        match self.gone(key, tags, |at| at.stamp > stamp) {
            Some(cause) => Verdict::Gone(cause),
            None if !self.is_trusted() || self.is_lost(stamp, partition) => Verdict::Suspect,
            None => Verdict::Valid(last),
        }
    }

    /// Whether a frame that began to be loaded at `clock` is gone, as far as is known now.
    pub(crate) fn is_outdated(&self, clock: u64, key: &str, tags: &[u64]) -> Option<Cause> {
        // Acquire, edge `event`.
        let _ = self.last.load(Ordering::Acquire);
        self.gone(key, tags, |at| at.clock > clock)
    }

    fn gone(&self, key: &str, tags: &[u64], newer: impl Fn(At) -> bool) -> Option<Cause> {
        let at = |floor: &AtomicAt| At { stamp: floor.stamp(), clock: floor.clock() };
        if newer(at(&self.cleared)) {
            return Some(Cause::Clear);
        }
        if !tags.is_empty() {
            let known = self.tags.pin();
            // The floor last: what is taken from the tags has raised it before.
            let changed = tags.iter().any(|tag| known.get(tag).is_some_and(|changed| newer(*changed)));
            if changed || newer(at(&self.tag_floor)) {
                return Some(Cause::Tag);
            }
        }
        if newer(at(&self.ruled)) {
            let rules = self.rules.lock();
            let matches = |rule: &Rule| newer(rule.at) && glob::matches(rule.pattern.as_bytes(), key.as_bytes());
            if rules.iter().any(matches) {
                return Some(Cause::Pattern);
            }
            // A rule that went meanwhile has become a clear before.
            drop(rules);
            if newer(at(&self.cleared)) {
                return Some(Cause::Clear);
            }
        }
        None
    }

    fn is_lost(&self, stamp: u64, partition: u16) -> bool {
        // Relaxed: edge `event`, the number read before has acquired it.
        self.lost.get(usize::from(partition)).is_none_or(|lost| lost.load(Ordering::Relaxed) > stamp)
    }

    /// Messages of `partition` may be missing: its entries are to be asked for before they are used again.
    pub(crate) fn lose(&self, partition: u16) {
        let mut turn = self.turn.lock();
        self.happen(&mut turn, |number| {
            if let Some(lost) = self.lost.get(usize::from(partition)) {
                // Relaxed: edge `event`, the number that follows releases it.
                lost.store(number, Ordering::Relaxed);
            }
        });
    }

    /// Many entries have changed at once, at `clock`. What is known already, or something newer of the kind, is no event.
    pub(crate) fn sweep(&self, what: Sweeping<'_>, clock: u64) {
        let mut turn = self.turn.lock();
        if !self.knows(what, clock) {
            self.happen(&mut turn, |stamp| self.note(what, At { stamp, clock }));
        }
    }

    /// The same where the shared tier has not been told yet, and has given no number: here it has happened.
    pub(crate) fn sweep_here(&self, what: Sweeping<'_>) {
        let mut turn = self.turn.lock();
        // Relaxed: only events write the clock, one at a time.
        let clock = self.clock.load(Ordering::Relaxed);
        self.happen(&mut turn, |stamp| self.note(what, At { stamp, clock }));
    }

    /// The same in a process that shares nothing, whose control clock is the time of day in microseconds.
    pub(crate) fn sweep_alone(&self, what: Sweeping<'_>, now: u64) {
        let mut turn = self.turn.lock();
        // Relaxed: see `sweep_here`.
        let clock = now.max(self.clock.load(Ordering::Relaxed)) + 1;
        self.happen(&mut turn, |stamp| self.note(what, At { stamp, clock }));
    }

    fn knows(&self, what: Sweeping<'_>, clock: u64) -> bool {
        let known = match what {
            Sweeping::Clear => self.cleared.clock(),
            Sweeping::Tags => self.tag_floor.clock(),
            Sweeping::Tag(tag) => self.tags.pin().get(&tag).map_or(0, |at| at.clock),
            Sweeping::Pattern(pattern) => {
                let rules = self.rules.lock();
                rules.iter().find(|rule| *rule.pattern == *pattern).map_or(0, |rule| rule.at.clock)
            }
        };
        known >= clock
    }

    fn note(&self, what: Sweeping<'_>, at: At) {
        match what {
            Sweeping::Clear => self.cleared.raise(at),
            Sweeping::Tags => self.tag_floor.raise(at),
            Sweeping::Tag(tag) => {
                let tags = self.tags.pin();
                if tags.len() >= MOST_TAGS && tags.get(&tag).is_none() {
                    self.tag_floor.raise(at);
                    tags.clear();
                }
                tags.update_or_insert(tag, |before| before.max(at), at);
            }
            Sweeping::Pattern(pattern) => self.rule(pattern, at),
        }
        // Release, edge `event`: whoever sends the clock on has seen what it counts.
        self.clock.fetch_max(at.clock, Ordering::Release);
    }

    fn rule(&self, pattern: &str, at: At) {
        let mut rules = self.rules.lock();
        match rules.iter_mut().find(|rule| *rule.pattern == *pattern) {
            Some(rule) => rule.at = rule.at.max(at),
            None => {
                if rules.len() >= MOST_RULES
                    && let Some(oldest) = (0..rules.len()).min_by_key(|&index| rules[index].at.stamp)
                {
                    self.cleared.raise(rules[oldest].at);
                    rules.swap_remove(oldest);
                }
                rules.push(Rule { at, pattern: pattern.into() });
            }
        }
        self.ruled.raise(at);
    }

    /// Gives an event its number, lets it say what it says, and then shows the number (T1).
    fn happen(&self, turn: &mut Turn, say: impl FnOnce(u64)) {
        turn.last += 1;
        // The low bits of `NONE` are no event's.
        turn.last += u64::from(turn.last & STAMP == STAMP);
        say(turn.last);
        self.show(turn);
    }

    fn show(&self, turn: &Turn) {
        // Release, edge `event`.
        self.last.store(turn.last, Ordering::Release);
        self.word.store(if turn.trusted { turn.last } else { NONE }, Ordering::Release);
    }

    /// A link may be trusted until then; earlier than before where it was lost.
    pub(crate) fn extend(&self, link: usize, until: Duration, now: Duration) {
        let mut turn = self.turn.lock();
        if let Some(trusted) = turn.until.get_mut(link) {
            *trusted = millis(until);
        }
        self.look_at_the_time(&mut turn, now);
    }

    /// Notices that a link's time is up. To be called now and then: nothing is trusted for longer than until the next call.
    pub(crate) fn expire(&self, now: Duration) {
        let mut turn = self.turn.lock();
        self.look_at_the_time(&mut turn, now);
    }

    fn look_at_the_time(&self, turn: &mut Turn, now: Duration) {
        let trusted = turn.until.iter().all(|&until| millis(now) < until);
        if trusted != turn.trusted {
            turn.trusted = trusted;
            self.show(turn);
        }
    }
}

impl At {
    /// Each of the two numbers for itself: they may come in another order than they were given.
    fn max(self, other: Self) -> Self {
        Self { stamp: self.stamp.max(other.stamp), clock: self.clock.max(other.clock) }
    }
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
