//! `multi-tier-cache` with one tier.

use std::sync::Arc;

use bytes::Bytes;
use multi_tier_cache as predecessor;
use tokio::runtime::Runtime;

use super::{PREDECESSOR, PREDECESSOR_QUICK_CACHE, Rival, TTL, executor, mix_async, reads_async, seen};

pub(super) struct Predecessor {
    name: &'static str,
    cache: predecessor::CacheManager,
    runtime: Runtime,
}

impl Predecessor {
    pub(super) fn over_moka(capacity: usize) -> Self {
        let config = predecessor::MokaCacheConfig { max_capacity: capacity as u64, ..Default::default() };
        Self::over(PREDECESSOR, Arc::new(predecessor::L1Cache::new(config).expect("a tier")))
    }

    pub(super) fn over_quick_cache(capacity: usize) -> Self {
        let tier = predecessor::QuickCacheBackend::new(capacity as u64).expect("a tier");
        Self::over(PREDECESSOR_QUICK_CACHE, Arc::new(tier))
    }

    fn over(name: &'static str, tier: Arc<dyn predecessor::L2CacheBackend>) -> Self {
        let tiers = vec![predecessor::CacheTier::new(tier, 1, false, 1, 1.0)];
        let cache = predecessor::CacheManager::new_with_tiers(tiers, None).expect("a cache");
        Self { name, cache, runtime: executor() }
    }

    async fn get(&self, key: &str) -> usize {
        self.cache.get(key).await.expect("a read").map_or(0, |value| seen(&value))
    }

    async fn set(&self, key: &str, value: &Bytes) {
        let strategy = predecessor::CacheStrategy::Custom(TTL);
        self.cache.set_with_strategy(key, Bytes::copy_from_slice(value), strategy).await.expect("a write");
    }
}

impl Rival for Predecessor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, keys: &[&str]) -> usize {
        self.runtime.block_on(reads_async(keys, async |key| self.get(key).await))
    }

    fn write(&self, keys: &[&str], value: &Bytes) {
        self.runtime.block_on(async {
            for key in keys {
                self.set(key, value).await;
            }
        });
    }

    fn mix(&self, keys: &[&str], value: &Bytes) -> usize {
        self.runtime.block_on(mix_async(keys, async |key| self.get(key).await, async |key| self.set(key, value).await))
    }
}
