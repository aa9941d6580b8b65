//! Caches in this process, one per rival, and the views of `tercel` on one engine.

mod engine;
mod predecessor;
mod rivals;

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use engine::Engine;
use predecessor::Predecessor;

/// A time to live that outlasts every measurement.
pub const TTL: Duration = Duration::from_secs(3600);

/// One way to read and write a cache. Many operations are one call, so that the call costs none of them anything.
pub trait Rival: Send + Sync {
    /// Unique within a run.
    fn name(&self) -> &'static str;

    /// Reads `keys` one after the other, and the first byte of each value; the sum of the lengths that were found, provided
    /// that every value begins with 0.
    fn read(&self, keys: &[&str]) -> usize;

    /// Writes a copy of `value` to each of `keys`, one after the other.
    fn write(&self, keys: &[&str], value: &Bytes);

    /// Of `keys`, each tenth is written and the others are read, in their order. The result is that of [`read`](Rival::read).
    fn mix(&self, keys: &[&str], value: &Bytes) -> usize {
        let mut sum = 0;
        for ten in keys.chunks(10) {
            let (reads, writes) = ten.split_at(ten.len().min(9));
            sum += self.read(reads);
            self.write(writes, value);
        }
        sum
    }

    /// Does what the rival has put off.
    fn settle(&self) {}
}

/// The rival of that name, with room for `capacity` entries.
pub fn rival(name: &str, capacity: usize) -> Option<Box<dyn Rival>> {
    Some(match name {
        BORROWED => Box::new(engine::Borrowed(Engine::new(capacity))),
        BARE => Box::new(engine::Bare(Engine::new(capacity))),
        ASYNC => Box::new(engine::AsyncGet(Engine::new(capacity), executor())),
        FOREIGN => Box::new(engine::ForeignExecutorGet(Engine::new(capacity))),
        BLOCKING => Box::new(engine::BlockingGet(Engine::new(capacity))),
        WITH_CACHED => Box::new(engine::WithCached(Engine::new(capacity))),
        SHARED => Box::new(engine::GetShared(Engine::new(capacity))),
        PREDECESSOR => Box::new(Predecessor::over_moka(capacity)),
        PREDECESSOR_QUICK_CACHE => Box::new(Predecessor::over_quick_cache(capacity)),
        MOKA => Box::new(rivals::Moka::new(capacity)),
        QUICK_CACHE => Box::new(rivals::QuickCache::new(capacity)),
        QUICK_CACHE_TTL => Box::new(rivals::QuickCacheTtl::new(capacity)),
        FOYER => Box::new(rivals::Foyer::new(capacity)),
        PAPAYA => Box::new(rivals::Papaya::new(capacity)),
        _ => return None,
    })
}

/// The rivals of these names. Each has an engine of its own: none finds the processor's caches warmed by another.
pub fn rivals(names: &[&str], capacity: usize) -> Vec<Box<dyn Rival>> {
    names.iter().map(|name| rival(name, capacity).expect("a rival of that name")).collect()
}

/// Every rival: the bare L1 first, then what goes through `tercel`'s handles.
pub const READERS: [&str; 14] = [
    BORROWED,
    BARE,
    ASYNC,
    FOREIGN,
    BLOCKING,
    WITH_CACHED,
    SHARED,
    PREDECESSOR,
    PREDECESSOR_QUICK_CACHE,
    MOKA,
    QUICK_CACHE,
    QUICK_CACHE_TTL,
    FOYER,
    PAPAYA,
];

/// The rivals of others.
pub const PEERS: [&str; 7] = [PREDECESSOR, PREDECESSOR_QUICK_CACHE, MOKA, QUICK_CACHE, QUICK_CACHE_TTL, FOYER, PAPAYA];

/// Those that are bounded and write in a way of their own.
pub const WRITERS: [&str; 9] =
    [BORROWED, BARE, BLOCKING, PREDECESSOR, PREDECESSOR_QUICK_CACHE, MOKA, QUICK_CACHE, QUICK_CACHE_TTL, FOYER];

/// The name of the bare L1 whose values are borrowed.
pub const BORROWED: &str = "L1Cache::with_cached";
/// The name of the bare L1 whose values are owned.
pub const BARE: &str = "L1Cache::find";
/// The name of the async handle.
pub const ASYNC: &str = "tercel get().await";
/// The name of the async handle on another executor than tokio's.
pub const FOREIGN: &str = "tercel get().await (futures executor)";
/// The name of the blocking handle.
pub const BLOCKING: &str = "tercel blocking get";
/// The name of the handle's hit by reference.
pub const WITH_CACHED: &str = "tercel with_cached";
/// The name of the typed hit.
pub const SHARED: &str = "tercel get_shared";
/// The name of the predecessor as it comes.
pub const PREDECESSOR: &str = "predecessor get (Moka)";
/// The name of the predecessor over its other L1.
pub const PREDECESSOR_QUICK_CACHE: &str = "predecessor get (QuickCache)";
/// The name of moka.
pub const MOKA: &str = "moka (sync, TTL)";
/// The name of quick_cache as it comes.
pub const QUICK_CACHE: &str = "quick_cache (no TTL)";
/// The name of quick_cache whose values carry a deadline.
pub const QUICK_CACHE_TTL: &str = "quick_cache + TTL";
/// The name of foyer.
pub const FOYER: &str = "foyer S3-FIFO (no TTL)";
/// The name of papaya.
pub const PAPAYA: &str = "papaya (unbounded map)";

/// A runtime that polls on the calling thread.
pub fn executor() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A value that is looked at: its length, and its first byte, which is 0.
fn seen(value: &[u8]) -> usize {
    value.len() + value.first().map_or(0, |&first| usize::from(first))
}

#[inline]
fn reads(keys: &[&str], get: impl Fn(&str) -> usize) -> usize {
    keys.iter().fold(0, |sum, key| sum + get(key))
}

async fn reads_async(keys: &[&str], get: impl AsyncFn(&str) -> usize) -> usize {
    let mut sum = 0;
    for key in keys {
        sum += get(key).await;
    }
    sum
}

/// [`Rival::mix`] inside one future.
async fn mix_async(keys: &[&str], get: impl AsyncFn(&str) -> usize, set: impl AsyncFn(&str)) -> usize {
    let mut sum = 0;
    for (at, key) in keys.iter().enumerate() {
        if at % 10 == 9 { set(key).await } else { sum += get(key).await }
    }
    sum
}
