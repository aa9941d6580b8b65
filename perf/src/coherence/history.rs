//! What happened in a run, as it was seen from outside: every time is counted from the run's beginning.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A read that came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) instance: usize,
    pub(super) key: usize,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) got: Result<u64, Wrong>,
}

/// What is wrong with a read, whatever its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not the bytes of any value.
    Altered,
    /// The value of another key.
    OtherKey,
    /// A version that nobody had committed when the read ended.
    NeverCommitted,
    /// No value at all, although the source has one.
    Failed,
}

/// A change of one key: the source had `version` before the call began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) instance: usize,
    pub(super) key: usize,
    pub(super) version: u64,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    pub(super) what: What,
    pub(super) done: Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Invalidate,
    Set,
    Tag,
    Pattern,
    Clear,
}

impl What {
    pub(super) const ALL: [Self; 5] = [Self::Invalidate, Self::Set, Self::Tag, Self::Pattern, Self::Clear];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invalidate => "invalidate",
            Self::Set => "set",
            Self::Tag => "invalidate_tag",
            Self::Pattern => "invalidate_pattern",
            Self::Clear => "clear",
        }
    }
}

/// What the call that made a change said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Done everywhere.
    Acknowledged,
    /// Done on the instance itself, to be retried elsewhere.
    Here,
    /// Nothing.
    Unknown,
}

/// A run of a loader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Computation {
    pub(super) instance: usize,
    pub(super) key: usize,
    pub(super) begin: Duration,
    pub(super) end: Duration,
}

/// All instances read one key, which had been invalidated, at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) key: usize,
    pub(super) begin: Duration,
    pub(super) end: Duration,
    /// The instance that computed first and died of it.
    pub(super) dead: Option<usize>,
}

/// A time in which something was so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: Duration,
    pub(super) end: Duration,
}

impl Span {
    pub(super) fn meets(&self, begin: Duration, end: Duration) -> bool {
        self.begin <= end && begin <= self.end
    }
}

/// A fault that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) fault: &'static str,
    pub(super) span: Span,
    /// The one instance that it strikes; all of them if there is none.
    pub(super) instance: Option<usize>,
    /// Whether connections that carry messages may have broken.
    pub(super) cuts: bool,
    /// Whether leases may be lost.
    pub(super) loses_leases: bool,
}

impl Strike {
    pub(super) fn hits(&self, instance: usize) -> bool {
        self.instance.is_none_or(|one| one == instance)
    }
}

/// How much an instance had in L1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) instance: usize,
    pub(super) entries: usize,
    pub(super) weight: u64,
}

/// All that happened.
#[derive(Default)]
pub(super) struct Events {
    pub(super) reads: Vec<Read>,
    pub(super) changes: Vec<Change>,
    pub(super) computations: Vec<Computation>,
    pub(super) rounds: Vec<Round>,
    pub(super) strikes: Vec<Strike>,
    /// For each instance, the times in which Redis did not answer it.
    pub(super) outages: Vec<Vec<Span>>,
    /// Times in which this process, or the machine, did not let a thread run that was ready.
    pub(super) stalls: Vec<Span>,
    pub(super) samples: Vec<Sample>,
    pub(super) cancelled: u64,
    /// Actors whose calls did not come back.
    pub(super) hung: usize,
}

/// Where events are put down while they happen.
pub(super) struct History {
    start: Instant,
    events: Mutex<Events>,
}

impl History {
    pub(super) fn new(instances: usize) -> Self {
        let events = Events { outages: vec![Vec::new(); instances], ..Events::default() };
        Self { start: Instant::now(), events: Mutex::new(events) }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Events)) {
        note(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was put down since the last time.
    pub(super) fn take(&self) -> Events {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut events)
    }

    /// How many reads, changes and faults there are.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        (events.reads.len(), events.changes.len(), events.strikes.len())
    }
}
