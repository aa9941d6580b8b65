//! What a run of the model allows.

use crate::fix::Fix;
use crate::set::{Member, Set};

use super::state::{FLIGHTS, INSTANCES};

/// How often something may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Budget {
    /// `invalidate` after a change of the source.
    pub(crate) invalidations: u8,
    /// `set` after a change of the source.
    pub(crate) sets: u8,
    pub(crate) loads: u8,
    /// `invalidate` with a hold, while the source's replicas lag or not.
    pub(crate) holds: u8,
    /// Evictions from L1 to the disk.
    pub(crate) spills: u8,
    /// Invalidations of other keys, by others.
    pub(crate) others: u8,
    /// Commands without an answer in time.
    pub(crate) timeouts: u8,
    pub(crate) faults: u8,
}

impl Budget {
    pub(crate) const NOTHING: Self =
        Self { invalidations: 0, sets: 0, loads: 0, holds: 0, spills: 0, others: 0, timeouts: 0, faults: 0 };
}

/// What may happen beside the budget's events; those that are faults use it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum May {
    LoseLink,
    LoseMessage,
    TrimLog,
    EvictLog,
    EvictClock,
    LoseLease,
    EvictData,
    Restart,
    /// The server's wall clock steps back.
    StepClockBack,
    /// The bound on serving without a link passes.
    Expire,
    /// A future is dropped.
    Cancel,
    Renew,
    ResendLease,
    /// Reads ask for at least the last write.
    AskAtLeast,
    /// A lagging replica is promoted, another process.
    FailOver,
    /// The same process is demoted, follows a replica, is promoted again: its connections were closed.
    Demote,
    /// As `Demote`, between two heartbeats, and all connections stay.
    Swap,
    /// A process ends and starts again with its disk.
    Reopen,
    /// The old master lives on, and keeps its connections for a while.
    Split,
}

impl Member for May {
    fn place(self) -> u32 {
        self as u32
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) instances: usize,
    /// Reads at a time in an instance.
    pub(crate) flights: usize,
    pub(crate) budget: Budget,
    /// Where a lost clock starts again after the server's wall clock stepped back.
    pub(crate) stepped_back: u8,
    pub(crate) may: Set<May>,
    pub(crate) fixes: Set<Fix>,
}

impl Setting {
    /// Two instances, all fixes, nothing that happens.
    pub(crate) fn quiet() -> Self {
        Self {
            instances: INSTANCES - 1,
            flights: FLIGHTS,
            budget: Budget::default(),
            stepped_back: 5,
            may: Set::of(&[]),
            fixes: Set::ALL,
        }
    }

    pub(crate) fn has(&self, fix: Fix) -> bool {
        self.fixes.has(fix)
    }

    pub(crate) fn may(&self, may: May) -> bool {
        self.may.has(may)
    }
}
