//! How much a shard holds, which may change while it is used.

use super::Limits;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A shard's part of the limits.
///
/// Written by whoever resizes, before it takes the lock of each shard to make room; read under those locks. So a shard whose
/// lock it has had keeps to the new bounds.
pub(super) struct Bounds {
    entries: AtomicUsize,
    weight: AtomicU64,
    max_entry: AtomicU64,
}

impl Bounds {
    pub(super) fn new(share: Limits) -> Self {
        Self {
            entries: AtomicUsize::new(share.entries),
            weight: AtomicU64::new(share.weight),
            max_entry: AtomicU64::new(share.max_entry),
        }
    }

    pub(super) fn set(&self, share: Limits) {
        // Relaxed: the shards' locks order it, see above.
        self.entries.store(share.entries, Ordering::Relaxed);
        self.weight.store(share.weight, Ordering::Relaxed);
        self.max_entry.store(share.max_entry, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Limits {
        // Relaxed: see `set`.
        Limits {
            entries: self.entries.load(Ordering::Relaxed),
            weight: self.weight.load(Ordering::Relaxed),
            max_entry: self.max_entry.load(Ordering::Relaxed),
        }
    }
}
