//! Faults of one instance's operations, on order.

/// An operation of the shared tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    GetMany,
    Header,
    Lease,
    Renew,
    Commit,
    Release,
    Put,
    Invalidate,
    Settle,
    Bump,
    ReadControl,
    LiftControl,
    Reclaim,
}

impl Operation {
    pub(crate) const ALL: [Self; 14] = [
        Self::Get,
        Self::GetMany,
        Self::Header,
        Self::Lease,
        Self::Renew,
        Self::Commit,
        Self::Release,
        Self::Put,
        Self::Invalidate,
        Self::Settle,
        Self::Bump,
        Self::ReadControl,
        Self::LiftControl,
        Self::Reclaim,
    ];
}

impl Operation {
    /// Whether a server without memory refuses it.
    pub(super) fn takes_memory(self) -> bool {
        matches!(self, Self::Lease | Self::Commit | Self::Put | Self::Bump | Self::LiftControl)
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has no effect.
    Refused,
    /// It takes effect, and its caller is not told.
    Unanswered,
}

/// What is ordered for one instance.
#[derive(Debug, Default)]
pub(super) struct Orders {
    faults: Vec<(Operation, Fault, usize)>,
    /// These wait before they take effect.
    held: Vec<Operation>,
    /// The answers of these wait.
    held_answers: Vec<Operation>,
    calls: [u64; Operation::ALL.len()],
}

impl Orders {
    /// The next so many of each of these operations fail.
    pub(super) fn order(&mut self, fault: Fault, on: &[Operation], times: usize) {
        self.faults.extend(on.iter().map(|&operation| (operation, fault, times)));
    }

    /// Takes back every fault that is still to come.
    pub(super) fn calm(&mut self) {
        self.faults.clear();
    }

    pub(super) fn hold(&mut self, on: &[Operation]) {
        self.held = on.to_vec();
    }

    pub(super) fn holds(&self, operation: Operation) -> bool {
        self.held.contains(&operation)
    }

    pub(super) fn hold_answers(&mut self, on: &[Operation]) {
        self.held_answers = on.to_vec();
    }

    pub(super) fn holds_answer(&self, operation: Operation) -> bool {
        self.held_answers.contains(&operation)
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        self.calls[operation as usize]
    }

    /// Counts a call, and says how it is to fail: by the order that was given first.
    pub(super) fn begin(&mut self, operation: Operation) -> Option<Fault> {
        self.calls[operation as usize] += 1;
        let at = self.faults.iter().position(|(on, ..)| *on == operation)?;
        let (_, fault, left) = &mut self.faults[at];
        let fault = *fault;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.faults.remove(at);
        }
        Some(fault)
    }
}
