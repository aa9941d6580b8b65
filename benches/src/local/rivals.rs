//! Caches of others, each as its documentation has it.

use std::time::Instant;

use bytes::Bytes;
use foyer_memory::{CacheBuilder, S3FifoConfig};

use super::{FOYER, MOKA, PAPAYA, QUICK_CACHE, QUICK_CACHE_TTL, Rival, TTL, reads, seen};

/// moka's synchronous cache.
pub(super) struct Moka(moka::sync::Cache<Box<str>, Bytes>);

impl Moka {
    pub(super) fn new(capacity: usize) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(capacity as u64).time_to_live(TTL).build())
    }
}

impl Rival for Moka {
    fn name(&self) -> &'static str {
        MOKA
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| self.0.get(key).map_or(0, |value| seen(&value)))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for &key in keys {
            self.0.insert(key.into(), Bytes::copy_from_slice(value));
        }
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

/// quick_cache's synchronous cache.
pub(super) struct QuickCache(quick_cache::sync::Cache<Box<str>, Bytes>);

impl QuickCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self(quick_cache::sync::Cache::new(capacity))
    }
}

impl Rival for QuickCache {
    fn name(&self) -> &'static str {
        QUICK_CACHE
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| self.0.get(key).map_or(0, |value| seen(&value)))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for &key in keys {
            self.0.insert(key.into(), Bytes::copy_from_slice(value));
        }
    }
}

/// quick_cache with a deadline in the value, checked on each read: how it is given a time to live.
pub(super) struct QuickCacheTtl(quick_cache::sync::Cache<Box<str>, (Bytes, Instant)>);

impl QuickCacheTtl {
    pub(super) fn new(capacity: usize) -> Self {
        Self(quick_cache::sync::Cache::new(capacity))
    }
}

impl Rival for QuickCacheTtl {
    fn name(&self) -> &'static str {
        QUICK_CACHE_TTL
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| match self.0.get(key) {
            Some((value, deadline)) if Instant::now() < deadline => seen(&value),
            _ => 0,
        })
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for &key in keys {
            self.0.insert(key.into(), (Bytes::copy_from_slice(value), Instant::now() + TTL));
        }
    }
}

/// foyer's cache in memory. A hit is a handle on the entry; no value is cloned.
pub(super) struct Foyer(foyer_memory::Cache<Box<str>, Bytes>);

impl Foyer {
    pub(super) fn new(capacity: usize) -> Self {
        Self(CacheBuilder::new(capacity).with_eviction_config(S3FifoConfig::default()).build())
    }
}

impl Rival for Foyer {
    fn name(&self) -> &'static str {
        FOYER
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| self.0.get(key).map_or(0, |entry| seen(entry.value())))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for &key in keys {
            self.0.insert(key.into(), Bytes::copy_from_slice(value));
        }
    }
}

/// A lock-free map with no bound and no time to live: what a hit costs there by reference.
pub(super) struct Papaya(papaya::HashMap<Box<str>, Bytes, foldhash::fast::RandomState>);

impl Papaya {
    /// Room for `capacity` entries before it grows.
    pub(super) fn new(capacity: usize) -> Self {
        Self(papaya::HashMap::builder().capacity(capacity).hasher(Default::default()).build())
    }
}

impl Rival for Papaya {
    fn name(&self) -> &'static str {
        PAPAYA
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| self.0.pin().get(key).map_or(0, |value| seen(value)))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for &key in keys {
            self.0.pin().insert(key.into(), Bytes::copy_from_slice(value));
        }
    }
}
