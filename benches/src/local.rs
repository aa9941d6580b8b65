//! Caches in this process, one per rival, and the views of `tercel` on one engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use multi_tier_cache as predecessor;
use tercel::{CacheTier, L1Cache, Value, blocking};
use tokio::runtime::Runtime;

/// A time to live that outlasts every measurement.
pub const TTL: Duration = Duration::from_secs(3600);

/// One way to read and write a cache. Many operations are one call, so that the call costs none of them anything.
pub trait Rival {
    /// Unique within a run.
    fn name(&self) -> &'static str;

    /// Reads the keys at `picks`, one after the other; the sum of the lengths that were found.
    fn read(&self, keys: &[String], picks: &[u32]) -> usize;

    /// Writes `value` to the keys at `picks`, one after the other.
    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes);
}

/// Every rival with room for `capacity` entries; the bare L1 comes first, what goes through `tercel`'s handles next. Each has
/// an engine of its own: none finds the processor's caches warmed by another.
pub fn rivals(capacity: usize) -> Vec<Box<dyn Rival>> {
    vec![
        Box::new(BareL1(Engine::new(capacity))),
        Box::new(AsyncGet(Engine::new(capacity), executor())),
        Box::new(ForeignExecutorGet(Engine::new(capacity))),
        Box::new(BlockingGet(Engine::new(capacity))),
        Box::new(GetShared(Engine::new(capacity))),
        Box::new(WithCached(Engine::new(capacity))),
        Box::new(Predecessor::over_moka(capacity)),
        Box::new(Predecessor::over_quick_cache(capacity)),
        Box::new(Moka::new(capacity)),
        Box::new(QuickCache::new(capacity)),
    ]
}

/// Those of [`rivals`] that write in a way of their own.
pub fn writers(capacity: usize) -> Vec<Box<dyn Rival>> {
    vec![
        Box::new(AsyncGet(Engine::new(capacity), executor())),
        Box::new(BlockingGet(Engine::new(capacity))),
        Box::new(Predecessor::over_moka(capacity)),
        Box::new(Predecessor::over_quick_cache(capacity)),
        Box::new(Moka::new(capacity)),
        Box::new(QuickCache::new(capacity)),
    ]
}

/// The names that targets speak of.
pub const BARE: &str = "L1Cache::find";
/// See [`BARE`].
pub const ASYNC: &str = "tercel get().await";
/// See [`BARE`].
pub const BLOCKING: &str = "tercel blocking get";
/// See [`BARE`].
pub const PREDECESSOR: &str = "predecessor get (Moka)";

/// A runtime that polls on the calling thread.
pub fn executor() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn reads(keys: &[String], picks: &[u32], get: impl Fn(&str) -> usize) -> usize {
    picks.iter().fold(0, |sum, &pick| sum + get(&keys[pick as usize]))
}

async fn reads_async(keys: &[String], picks: &[u32], get: impl AsyncFn(&str) -> usize) -> usize {
    let mut sum = 0;
    for &pick in picks {
        sum += get(&keys[pick as usize]).await;
    }
    sum
}

fn length(value: Option<Value>) -> usize {
    value.as_ref().and_then(Value::as_bytes).map_or(0, <[u8]>::len)
}

/// One engine with L1 alone. The manager drives the clock of the L1, as it does in use.
struct Engine {
    l1: Arc<L1Cache>,
    tasks: tercel::CacheManager,
    threads: blocking::CacheManager,
}

impl Engine {
    fn new(capacity: usize) -> Self {
        let l1 = Arc::new(L1Cache::builder().capacity(capacity).weight(4 << 30).build().expect("an L1"));
        let tier = CacheTier::new(l1.clone(), 1, false, 1.0);
        let tasks = tercel::CacheManager::new_with_tiers(vec![tier], None).expect("a cache");
        Self { l1, threads: tasks.clone().into_blocking(), tasks }
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        for &pick in picks {
            let key = &keys[pick as usize];
            self.threads.set_with_strategy(key, Value::bytes(value.clone()), TTL).expect("a write");
        }
    }
}

struct BareL1(Engine);

impl Rival for BareL1 {
    fn name(&self) -> &'static str {
        BARE
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        reads(keys, picks, |key| length(self.0.l1.find(key)))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.0.write(keys, picks, value);
    }
}

struct AsyncGet(Engine, Runtime);

impl Rival for AsyncGet {
    fn name(&self) -> &'static str {
        ASYNC
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        self.1.block_on(reads_async(keys, picks, async |key| length(self.0.tasks.get(key).await.expect("a read"))))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.1.block_on(async {
            for &pick in picks {
                let key = &keys[pick as usize];
                self.0.tasks.set_with_strategy(key, Value::bytes(value.clone()), TTL).await.expect("a write");
            }
        });
    }
}

struct ForeignExecutorGet(Engine);

impl Rival for ForeignExecutorGet {
    fn name(&self) -> &'static str {
        "tercel get().await (futures executor)"
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        let get = async |key: &str| length(self.0.tasks.get(key).await.expect("a read"));
        futures::executor::block_on(reads_async(keys, picks, get))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.0.write(keys, picks, value);
    }
}

struct BlockingGet(Engine);

impl Rival for BlockingGet {
    fn name(&self) -> &'static str {
        BLOCKING
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        reads(keys, picks, |key| length(self.0.threads.get(key).expect("a read")))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.0.write(keys, picks, value);
    }
}

struct GetShared(Engine);

impl Rival for GetShared {
    fn name(&self) -> &'static str {
        "tercel get_shared"
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        let get = |key: &str| self.0.threads.get_shared::<Vec<u8>>(key).expect("a read").map_or(0, |bytes| bytes.len());
        reads(keys, picks, get)
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.0.write(keys, picks, value);
    }
}

struct WithCached(Engine);

impl Rival for WithCached {
    fn name(&self) -> &'static str {
        "tercel with_cached"
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        let get = |key: &str| self.0.threads.with_cached(key, |value| value.as_bytes().map_or(0, <[u8]>::len));
        reads(keys, picks, |key| get(key).unwrap_or(0))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.0.write(keys, picks, value);
    }
}

/// `multi-tier-cache` with one tier.
struct Predecessor {
    name: &'static str,
    cache: predecessor::CacheManager,
    runtime: Runtime,
}

impl Predecessor {
    fn over_moka(capacity: usize) -> Self {
        let config = predecessor::MokaCacheConfig { max_capacity: capacity as u64, ..Default::default() };
        Self::over(PREDECESSOR, Arc::new(predecessor::L1Cache::new(config).expect("a tier")))
    }

    fn over_quick_cache(capacity: usize) -> Self {
        let tier = predecessor::QuickCacheBackend::new(capacity as u64).expect("a tier");
        Self::over("predecessor get (QuickCache)", Arc::new(tier))
    }

    fn over(name: &'static str, tier: Arc<dyn predecessor::L2CacheBackend>) -> Self {
        let tiers = vec![predecessor::CacheTier::new(tier, 1, false, 1, 1.0)];
        let cache = predecessor::CacheManager::new_with_tiers(tiers, None).expect("a cache");
        Self { name, cache, runtime: executor() }
    }
}

impl Rival for Predecessor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        let get = async |key: &str| self.cache.get(key).await.expect("a read").map_or(0, |value| value.len());
        self.runtime.block_on(reads_async(keys, picks, get))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        self.runtime.block_on(async {
            for &pick in picks {
                let strategy = predecessor::CacheStrategy::Custom(TTL);
                let key = &keys[pick as usize];
                self.cache.set_with_strategy(key, value.clone(), strategy).await.expect("a write");
            }
        });
    }
}

struct Moka(moka::sync::Cache<String, Bytes>);

impl Moka {
    fn new(capacity: usize) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(capacity as u64).time_to_live(TTL).build())
    }
}

impl Rival for Moka {
    fn name(&self) -> &'static str {
        "moka (sync, TTL)"
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        reads(keys, picks, |key| self.0.get(key).map_or(0, |value| value.len()))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        for &pick in picks {
            self.0.insert(keys[pick as usize].clone(), value.clone());
        }
    }
}

struct QuickCache(quick_cache::sync::Cache<String, Bytes>);

impl QuickCache {
    fn new(capacity: usize) -> Self {
        Self(quick_cache::sync::Cache::new(capacity))
    }
}

impl Rival for QuickCache {
    fn name(&self) -> &'static str {
        "quick_cache (no TTL)"
    }

    fn read(&self, keys: &[String], picks: &[u32]) -> usize {
        reads(keys, picks, |key| self.0.get(key).map_or(0, |value| value.len()))
    }

    fn write(&self, keys: &[String], picks: &[u32], value: &Bytes) {
        for &pick in picks {
            self.0.insert(keys[pick as usize].clone(), value.clone());
        }
    }
}
