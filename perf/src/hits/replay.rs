//! Real caches that a trace is replayed through: a request that misses inserts.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use foyer_memory::{Cache as Foyer, CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig};
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};
use tercel::{CacheBackend, L1Cache};

use super::bounds;
use super::trace::Trace;

/// How many requests of a trace hit with room for so many entries.
pub(crate) type Replay = fn(&Trace, usize) -> usize;

/// Every contender by the name of its column. The first two are the bounds, the third is ours.
pub(crate) const CONTENDERS: [(&str, Replay); 7] = [
    ("OPT", bounds::opt),
    ("LRU", bounds::lru),
    ("tercel", tercel),
    ("moka", moka),
    ("quick_cache", quick_cache),
    ("foyer_s3fifo", |trace, capacity| foyer(trace, capacity, S3FifoConfig::default())),
    ("foyer_lfu", |trace, capacity| foyer(trace, capacity, LfuConfig::default())),
];

fn replay(trace: &Trace, mut is_hit: impl FnMut(u32) -> bool) -> usize {
    trace.requests.iter().filter(|&&key| is_hit(key)).count()
}

fn tercel(trace: &Trace, capacity: usize) -> usize {
    // The bound is the number of entries, as it is the rivals'.
    let cache = L1Cache::builder().capacity(capacity).weight(1 << 40).build().expect("an L1");
    let names: String = (0..trace.keys).map(|key| format!("{key:08x}")).collect();
    let value = Bytes::from_static(b"x");
    let hits = replay(trace, |key| {
        let name = &names[8 * key as usize..][..8];
        let hit = cache.find(name).is_some();
        if !hit {
            insert(&cache, name, &value);
        }
        hit
    });
    assert!(cache.len() <= capacity, "{} entries resident, {capacity} allowed", cache.len());
    hits
}

fn insert(cache: &L1Cache, key: &str, value: &Bytes) {
    let write = pin!(cache.set_with_ttl(key, value.clone(), Duration::from_secs(1 << 20)));
    let done = write.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(done, std::task::Poll::Ready(Ok(()))), "L1 writes without waiting");
}

fn moka(trace: &Trace, capacity: usize) -> usize {
    let cache = moka::sync::Cache::new(capacity as u64);
    replay(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
            // It evicts later on: without this it would hold more than it may.
            cache.run_pending_tasks();
        }
        hit
    })
}

/// With one shard: the most hits that it can have.
fn quick_cache(trace: &Trace, capacity: usize) -> usize {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .shards(1)
        .build()
        .expect("options that fit");
    let cache = quick_cache::sync::Cache::with_options(
        options,
        UnitWeighter,
        DefaultHashBuilder::default(),
        DefaultLifecycle::default(),
    );
    replay(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}

fn foyer(trace: &Trace, capacity: usize, policy: impl Into<EvictionConfig>) -> usize {
    // One shard: the most hits that it can have.
    let cache: Foyer<u32, ()> = CacheBuilder::new(capacity).with_shards(1).with_eviction_config(policy).build();
    replay(trace, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, ());
        }
        hit
    })
}
