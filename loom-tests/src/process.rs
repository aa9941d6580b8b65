//! The process's domain of epochs, made anew for each execution.

use crate::epoch::domain::{Domain, Pinned};
use crate::reclaim::Fences;

loom::lazy_static! {
    static ref DOMAIN: Domain<Fences, 1> = Domain::new(Fences);
}

pub(crate) fn domain() -> &'static Domain<Fences, 1> {
    &DOMAIN
}

/// Takes part for this pin alone: the domain is gone before a thread's own values are.
pub(crate) fn pin<R>(read: impl FnOnce(&Pinned<'_>) -> R) -> R {
    domain().join().pin(read)
}
