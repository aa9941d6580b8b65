//! I8: how much lay in L1.

use super::{Invariant, Verdict};
use crate::coherence::history::Events;
use crate::coherence::instance::Promises;

pub(super) fn check(events: &Events, promises: &Promises, verdict: &mut Verdict) {
    for sample in &events.samples {
        if sample.entries > promises.entries || sample.weight > promises.weight {
            verdict.broken(Invariant::I8, || {
                format!(
                    "instance {} held {} entries of at most {}, {} bytes of at most {}",
                    sample.instance, sample.entries, promises.entries, sample.weight, promises.weight
                )
            });
        }
    }
}
