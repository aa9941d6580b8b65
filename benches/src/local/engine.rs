//! The views of `tercel` on one engine with L1 alone.

use std::sync::Arc;

use bytes::Bytes;
use tercel::{CacheTier, L1Cache, Value, blocking};
use tokio::runtime::Runtime;

use super::{
    ASYNC, BARE, BLOCKING, BORROWED, FOREIGN, Rival, SHARED, TTL, WITH_CACHED, mix_async, reads, reads_async, seen,
};

/// The manager drives the clock of the L1, as it does in use.
pub(super) struct Engine {
    l1: Arc<L1Cache>,
    tasks: tercel::CacheManager,
    threads: blocking::CacheManager,
}

impl Engine {
    pub(super) fn new(capacity: usize) -> Self {
        let l1 = Arc::new(L1Cache::builder().capacity(capacity).weight(4 << 30).build().expect("an L1"));
        let tier = CacheTier::new(l1.clone(), 1, false, 1.0);
        let tasks = tercel::CacheManager::new_with_tiers(vec![tier], None).expect("a cache");
        Self { l1, threads: tasks.clone().into_blocking(), tasks }
    }

    /// Into L1 directly, past the engine's write path.
    fn write_bare(&self, keys: &[&str], value: &Bytes) {
        for key in keys {
            self.l1.insert(key, Bytes::copy_from_slice(value), TTL);
        }
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        for key in keys {
            let value = Value::bytes(Bytes::copy_from_slice(value));
            self.threads.set_with_strategy(key, value, TTL).expect("a write");
        }
    }
}

fn owned(value: Option<Value>) -> usize {
    value.as_ref().and_then(Value::as_bytes).map_or(0, seen)
}

/// Read by reference, written directly.
pub(super) struct Borrowed(pub(super) Engine);

impl Rival for Borrowed {
    fn name(&self) -> &'static str {
        BORROWED
    }

    fn read(&self, keys: &[&str]) -> usize {
        let get = |key: &str| self.0.l1.with_cached(key, |value| value.as_bytes().map_or(0, seen));
        reads(keys, |key| get(key).unwrap_or(0))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write_bare(keys, value);
    }
}

/// Read by value, written directly.
pub(super) struct Bare(pub(super) Engine);

impl Rival for Bare {
    fn name(&self) -> &'static str {
        BARE
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| owned(self.0.l1.find(key)))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write_bare(keys, value);
    }
}

pub(super) struct AsyncGet(pub(super) Engine, pub(super) Runtime);

impl Rival for AsyncGet {
    fn name(&self) -> &'static str {
        ASYNC
    }

    fn read(&self, keys: &[&str]) -> usize {
        self.1.block_on(reads_async(keys, async |key| owned(self.0.tasks.get(key).await.expect("a read"))))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.1.block_on(async {
            for key in keys {
                let value = Value::bytes(Bytes::copy_from_slice(value));
                self.0.tasks.set_with_strategy(key, value, TTL).await.expect("a write");
            }
        });
    }

    fn mix(&self, keys: &[&str], value: &Bytes) -> usize {
        let get = async |key: &str| owned(self.0.tasks.get(key).await.expect("a read"));
        let set = async |key: &str| {
            let value = Value::bytes(Bytes::copy_from_slice(value));
            self.0.tasks.set_with_strategy(key, value, TTL).await.expect("a write");
        };
        self.1.block_on(mix_async(keys, get, set))
    }
}

pub(super) struct ForeignExecutorGet(pub(super) Engine);

impl Rival for ForeignExecutorGet {
    fn name(&self) -> &'static str {
        FOREIGN
    }

    fn read(&self, keys: &[&str]) -> usize {
        let get = async |key: &str| owned(self.0.tasks.get(key).await.expect("a read"));
        futures::executor::block_on(reads_async(keys, get))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write(keys, value);
    }
}

pub(super) struct BlockingGet(pub(super) Engine);

impl Rival for BlockingGet {
    fn name(&self) -> &'static str {
        BLOCKING
    }

    fn read(&self, keys: &[&str]) -> usize {
        reads(keys, |key| owned(self.0.threads.get(key).expect("a read")))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write(keys, value);
    }
}

pub(super) struct WithCached(pub(super) Engine);

impl Rival for WithCached {
    fn name(&self) -> &'static str {
        WITH_CACHED
    }

    fn read(&self, keys: &[&str]) -> usize {
        let get = |key: &str| self.0.threads.with_cached(key, |value| value.as_bytes().map_or(0, seen));
        reads(keys, |key| get(key).unwrap_or(0))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write(keys, value);
    }
}

pub(super) struct GetShared(pub(super) Engine);

impl Rival for GetShared {
    fn name(&self) -> &'static str {
        SHARED
    }

    fn read(&self, keys: &[&str]) -> usize {
        let get =
            |key: &str| self.0.threads.get_shared::<Vec<u8>>(key).expect("a read").map_or(0, |bytes| seen(&bytes));
        reads(keys, get)
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.0.write(keys, value);
    }
}
