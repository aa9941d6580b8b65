//! I9: what is left when everything was closed and let go.

use super::{Invariant, Verdict};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leftovers {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Computations that the instances still had when nobody asked for anything.
    pub(crate) flights: usize,
    /// Changes that were still to be made then.
    pub(crate) retries: usize,
    /// Instances that did not close.
    pub(crate) open: usize,
}

impl Leftovers {
    pub(crate) fn check(self, verdict: &mut Verdict) {
        let left = [
            (self.threads, "threads"),
            (self.descriptors, "descriptors"),
            (self.flights, "flights"),
            (self.retries, "retries"),
            (self.open, "instances"),
        ];
        for (count, what) in left.into_iter().filter(|(count, _)| *count > 0) {
            verdict.broken(Invariant::I9, || format!("{count} {what} are left"));
        }
    }
}
