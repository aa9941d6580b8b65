//! The control partition: what tags, patterns and everything were last invalidated at.

use std::collections::BTreeMap;

use super::history::{Sequence, Step};
use crate::shared::message::{How, Origin, Said, What};
use crate::shared::{Bump, Bumps, Controlled};

/// More tags than this are forgotten, by a floor under all of them; more patterns become clears.
pub(super) const MOST_TAGS: usize = 100_000;
pub(super) const MOST_RULES: usize = 256;

/// The scripts take no number above this for one.
const EXACT: u64 = 9_000_000_000_000_000;

#[derive(Clone, Default)]
pub(super) struct Control {
    pub(super) sequence: Sequence,
    pub(super) stamps: Stamps,
    /// Patterns, and the number that each was invalidated at.
    pub(super) rules: BTreeMap<String, u64>,
}

/// What the numbers of bumps are kept in; any of them may be lost, but only all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    /// What a tag without a number was last bumped at.
    pub(super) base: Option<u64>,
    /// What everything was last cleared at; never falls.
    pub(super) clear: Option<u64>,
    /// The newest number given.
    pub(super) last: Option<u64>,
    /// The newest rule.
    pub(super) newest_rule: Option<u64>,
    pub(super) tags: BTreeMap<String, u64>,
}

impl Stamps {
    /// How many fields the hash at a server has: layout and partition count are there too.
    fn fields(&self) -> usize {
        let numbers = [self.base, self.clear, self.last, self.newest_rule];
        self.tags.len() + numbers.into_iter().flatten().count() + 2
    }
}

impl Control {
    /// Gives a bump its number. `known`: the newest that the caller knows; `most`: how many tags and rules are kept.
    pub(super) fn bump(
        &mut self,
        bump: &Bump,
        known: u64,
        most: (usize, usize),
        origin: Origin,
        step: &mut Step,
    ) -> Controlled {
        let clock = self.next(known, step);
        let (name, how) = match bump {
            Bump::Tag(tag) => (&**tag, self.tag(tag, clock, most.0)),
            Bump::Pattern(glob) => (&**glob, self.rule(glob, clock, most.1)),
            Bump::Clear => {
                self.clear_at(clock);
                self.rules.clear();
                self.stamps.newest_rule = None;
                ("", How::Clear)
            }
        };
        self.sequence.say(clock, Said { origin, what: What::Bump(how, name) }, step);
        Controlled { clock, what: how.control(name) }
    }

    /// The next number, above every one that was given; what was lost counts as bumped just before it.
    fn next(&mut self, known: u64, step: &Step) -> u64 {
        let clock = self.sequence.next(step).max(self.floor(known) + 1);
        self.sequence.number = Some(clock);
        self.mend(clock - 1);
        self.stamps.last = Some(clock);
        clock
    }

    /// Every number that was given is at most this, as far as is known.
    fn floor(&self, known: u64) -> u64 {
        let known = if known <= EXACT { known } else { 0 };
        known.max(self.stamps.last.unwrap_or(0))
    }

    /// What was lost counts as bumped at this number.
    fn mend(&mut self, clock: u64) {
        self.stamps.base.get_or_insert(clock);
        self.stamps.clear.get_or_insert(clock);
        if self.rules.is_empty()
            && let Some(newest) = self.stamps.newest_rule.take()
        {
            self.clear_at(newest);
        }
    }

    /// Goes above every number that was given, and above the server's time.
    pub(super) fn lift(&mut self, known: u64, step: &Step) -> u64 {
        let clock = self.sequence.next(step).max(step.micros()).max(self.floor(known) + 1);
        *self.sequence.number.insert(clock)
    }

    /// All that was bumped so far.
    pub(super) fn read(&mut self, step: &Step) -> Bumps {
        let clock = self.sequence.newest(step);
        self.mend(clock);
        let at = |number: Option<u64>| number.unwrap_or(clock).min(clock);
        let all = |numbers: &BTreeMap<String, u64>| {
            numbers.iter().map(|(name, number)| (name.clone(), (*number).min(clock))).collect()
        };
        let Stamps { base, clear, tags, .. } = &self.stamps;
        let mut rules: Vec<_> = all(&self.rules);
        rules.sort_by_key(|(_, number)| *number);
        Bumps { clock, cleared: at(*clear), tag_floor: at(*base), tags: all(tags), rules }
    }

    fn clear_at(&mut self, clock: u64) {
        self.stamps.clear = self.stamps.clear.max(Some(clock));
    }

    fn tag(&mut self, tag: &str, clock: u64, most: usize) -> How {
        self.stamps.tags.insert(tag.to_owned(), clock);
        // Beside the tags there are six fields at the most.
        if self.stamps.fields() <= most + 6 {
            return How::Tag;
        }
        self.stamps.tags.clear();
        self.stamps.base = Some(clock);
        How::TagFloor
    }

    fn rule(&mut self, glob: &str, clock: u64, most: usize) -> How {
        self.rules.insert(glob.to_owned(), clock);
        self.stamps.newest_rule = Some(clock);
        if self.rules.len() <= most {
            return How::Rule;
        }
        let oldest = self.rules.iter().min_by_key(|(_, number)| **number).map(|(glob, _)| glob.clone());
        let cleared = oldest.and_then(|oldest| self.rules.remove(&oldest)).unwrap_or(clock);
        self.clear_at(cleared);
        How::RuleAfter(cleared)
    }
}
