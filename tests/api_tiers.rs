//! Tiers and streams of the user's own, and how tiers are put together.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/hash_map_tier.rs"]
mod hash_map_tier;
#[path = "support/memory_streams.rs"]
mod memory_streams;

use std::sync::Arc;
use std::time::Duration;

use hash_map_tier::{HashMapCache, NoOpCache};
use memory_streams::MemoryStreams;
use tercel::{
    CacheBackend, CacheManager, CacheTier, EntryOptions, InvalidationConfig, L1Cache, L2CacheBackend, Lookup,
    ManualClock, MemoryTier, StreamingBackend, TierConfig,
};

const MINUTE: Duration = Duration::from_secs(60);

/// What any stack of tiers does, whoever wrote them.
async fn use_it(cache: &CacheManager) -> tercel::Result<()> {
    cache.set_with_strategy("user:1", "Ada", MINUTE).await?;
    assert_eq!(cache.get_typed::<String>("user:1").await?.as_deref(), Some("Ada"));
    assert_eq!(cache.get_shared::<String>("user:1").await?.unwrap().as_str(), "Ada");
    cache.invalidate("user:1").await?;
    assert_eq!(cache.get("user:1").await?, None);
    let load = || async { tercel::ok(7u64) };
    assert_eq!(cache.get_or_compute_typed("n", MINUTE, load).await?, 7);
    assert_eq!(cache.get_or_compute_typed("n", MINUTE, || async { tercel::ok(8u64) }).await?, 7);
    assert_eq!(*cache.get_or_compute_shared("n", MINUTE, || async { tercel::ok(8u64) }).await?, 7);
    let none = || async { tercel::ok(None::<String>) };
    assert_eq!(cache.get_or_compute_optional("none", MINUTE, none).await?, None);
    assert!(cache.get_or_compute_with("none", MINUTE, || async { tercel::ok(1) }).await.unwrap_err().is_absent());
    cache.update_cache("n", 9u64, None).await?;
    assert!(matches!(cache.lookup("n").await?, Lookup::Hit { stale: false, .. }));
    assert!(cache.health_check().await.is_healthy());
    cache.validate().unwrap();
    Ok(())
}

#[tokio::test]
async fn a_foreign_tier_1_serves_every_call_and_has_no_hot_path() -> tercel::Result<()> {
    let first = Arc::new(HashMapCache::new());
    let second = Arc::new(HashMapCache::new());
    let l1: Arc<dyn CacheBackend> = first.clone();
    let l2: Arc<dyn L2CacheBackend> = second.clone();
    let cache = CacheManager::new_with_backends(l1, l2, None).await?;
    use_it(&cache).await?;
    assert_eq!(first.keys(), second.keys());
    assert!(cache.get("n").await?.is_some());
    assert_eq!(cache.peek("n"), None);
    assert_eq!(cache.with_cached("n", |_| ()), None);
    let tiers = cache.get_tier_stats().unwrap();
    assert_eq!(tiers.iter().map(|tier| &*tier.backend_name).collect::<Vec<_>>(), ["HashMapCache"; 2]);
    assert!(tiers[0].hit_count() > 0);
    // Its copy is gone: the second tier has it, and hands it up.
    first.remove("n").await?;
    assert_eq!(cache.get_typed::<u64>("n").await?, Some(9));
    assert!(first.keys().contains(&"n".to_owned()), "promoted");
    assert_eq!(cache.get_stats().promotions, 1);
    Ok(())
}

#[tokio::test]
async fn an_l1_cache_behind_either_trait_is_recognised() -> tercel::Result<()> {
    let l1 = Arc::new(L1Cache::builder().capacity(100).build()?);
    let pair =
        CacheManager::new_with_backends(l1.clone() as Arc<dyn CacheBackend>, Arc::new(HashMapCache::new()), None)
            .await?;
    use_it(&pair).await?;
    assert!(pair.peek("n").is_some());
    assert_eq!(pair.with_cached("n", |value| value.decode::<u64>()).transpose()?, Some(9));
    assert_eq!(l1.find("n"), pair.peek("n"), "it is the one that was given");

    let l1: Arc<dyn L2CacheBackend> = Arc::new(L1Cache::new()?);
    let below: Arc<dyn L2CacheBackend> = Arc::new(HashMapCache::new());
    let tiers = vec![
        CacheTier::new(l1, 1, false, 1.0),
        CacheTier::new(below, 2, true, 2.0).with_promotion_frequency(1),
        CacheTier::new(Arc::new(MemoryTier::new()), 4, true, 8.0),
    ];
    let listed = CacheManager::new_with_tiers(tiers, None)?;
    use_it(&listed).await?;
    assert!(listed.peek("n").is_some());
    assert_eq!(listed.get_tier_stats().unwrap().iter().map(|tier| tier.tier_level).collect::<Vec<_>>(), [1, 2, 4]);

    let built = CacheManager::builder()
        .tier(Arc::new(L1Cache::new()?), TierConfig::as_l1())
        .tier(Arc::new(HashMapCache::new()), TierConfig::as_l3())
        .build()?;
    use_it(&built).await?;
    assert!(built.peek("n").is_some());
    Ok(())
}

#[tokio::test]
async fn a_tier_that_keeps_nothing_is_a_tier() -> tercel::Result<()> {
    let cache = CacheManager::new_with_backends(Arc::new(NoOpCache), Arc::new(NoOpCache), None).await?;
    cache.set_with_strategy("k", 1, MINUTE).await?;
    assert_eq!(cache.get("k").await?, None);
    assert_eq!(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(2) }).await?, 2);
    assert_eq!(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(3) }).await?, 3);
    Ok(())
}

/// A tier whose futures need tokio's timer.
fn slow() -> Arc<HashMapCache> {
    Arc::new(HashMapCache::with_latency(Duration::from_millis(1)))
}

async fn slow_stacks() -> [CacheManager; 3] {
    let below = CacheManager::builder().tier(slow(), TierConfig::as_l2()).build().unwrap();
    let first = CacheManager::new_with_backends(slow(), slow(), None).await.unwrap();
    let tiers = vec![CacheTier::new(slow(), 1, false, 1.0), CacheTier::new(slow(), 3, true, 1.0)];
    [below, first, CacheManager::new_with_tiers(tiers, None).unwrap()]
}

#[test]
fn a_tier_that_uses_tokios_timer_works_where_there_is_no_tokio() {
    futures::executor::block_on(async {
        for cache in slow_stacks().await {
            use_it(&cache).await.unwrap();
        }
    });
}

#[test]
fn a_tier_that_uses_tokios_timer_works_through_the_blocking_handle() {
    for cache in futures::executor::block_on(slow_stacks()) {
        let cache = cache.into_blocking();
        cache.set_with_strategy("k", 1, MINUTE).unwrap();
        assert!(cache.get("k").unwrap().is_some());
        cache.invalidate("k").unwrap();
        assert_eq!(cache.get("k").unwrap(), None);
        assert_eq!(cache.get_or_compute_typed("k", MINUTE, || tercel::ok(2)).unwrap(), 2);
        assert!(cache.health_check().is_healthy());
        assert!(matches!(cache.lookup("k").unwrap(), Lookup::Hit { .. }));
    }
}

#[test]
fn a_tier_that_uses_tokios_timer_works_in_a_runtime_that_has_none() {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        for cache in slow_stacks().await {
            use_it(&cache).await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_that_uses_tokios_timer_works_in_tokio() {
    for cache in slow_stacks().await {
        tokio::spawn(async move { use_it(&cache).await }).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_tier_without_patterns_says_so_and_the_rest_is_done() -> tercel::Result<()> {
    let below = Arc::new(HashMapCache::new());
    let cache = CacheManager::builder().tier(below.clone(), TierConfig::as_l2()).build()?;
    cache.set_with_strategy("user:1", 1, MINUTE).await?;
    let error = cache.invalidate_pattern("user:*").await.unwrap_err();
    assert!(error.is_unsupported() && error.is_partial_write(), "{error:?}");
    assert!(error.to_string().contains("HashMapCache"), "{error}");
    assert_eq!(cache.peek("user:1"), None);
    Ok(())
}

#[test]
fn the_settings_of_a_tier_are_what_their_names_say() {
    let config = TierConfig::new(5);
    assert_eq!(
        (config.tier_level, config.promotion_enabled, config.promotion_frequency, config.ttl_scale),
        (5, true, 1, 1.0)
    );
    assert_eq!(TierConfig::as_l1(), TierConfig::new(1).with_promotion(false));
    assert_eq!(TierConfig::as_l2(), TierConfig::new(2));
    assert_eq!(TierConfig::as_l3(), TierConfig::new(3).with_ttl_scale(2.0));
    assert_eq!(TierConfig::as_l4(), TierConfig::as_l3().with_level(4).with_ttl_scale(8.0));
    assert_eq!(TierConfig::as_l2().with_promotion_frequency(10).promotion_frequency, 10);
    let tier = CacheTier::new(Arc::new(NoOpCache), 2, false, 0.5).with_promotion_frequency(3);
    let shown = format!("{tier:?}");
    assert!(shown.contains("no-op") && shown.contains("0.5"), "{shown}");
}

#[tokio::test]
async fn each_tier_keeps_a_value_for_its_own_share_of_the_time() -> tercel::Result<()> {
    let clock = Arc::new(ManualClock::new());
    let tiers = [(); 3].map(|()| MemoryTier::with_clock(clock.clone()));
    let [second, third, fourth] = tiers.clone().map(|tier| Arc::new(tier) as Arc<dyn L2CacheBackend>);
    let cache = CacheManager::builder()
        .clock(clock)
        .tier(second, TierConfig::as_l2())
        .tier(third, TierConfig::as_l3())
        .tier(fourth, TierConfig::as_l4().with_ttl_scale(0.5))
        .build()?;
    cache.set_with_strategy("k", 1, EntryOptions::new().ttl(MINUTE)).await?;
    assert_eq!(tiers.map(|tier| tier.ttl("k").unwrap()), [MINUTE, 2 * MINUTE, MINUTE / 2]);
    Ok(())
}

#[tokio::test]
async fn streams_of_the_users_own_go_with_any_tiers() -> tercel::Result<()> {
    let streams: Arc<dyn StreamingBackend> = Arc::new(MemoryStreams::default());
    let pair = CacheManager::new_with_backends(Arc::new(NoOpCache), Arc::new(NoOpCache), Some(streams.clone())).await?;
    let tiers = vec![CacheTier::new(Arc::new(NoOpCache), 1, true, 1.0)];
    let listed = CacheManager::new_with_tiers(tiers, Some(streams.clone()))?;
    let built = CacheManager::builder().streams(streams).build()?;
    for (n, cache) in [pair, listed, built].iter().enumerate() {
        cache.publish_to_stream("s", vec![("n".into(), n.to_string())], None).await?;
        assert_eq!(cache.read_stream("s", "0", 10, None).await?.len(), n + 1);
    }
    Ok(())
}

#[test]
fn the_configuration_of_invalidation_is_a_struct_of_five_fields() {
    let InvalidationConfig { channel, auto_broadcast_on_write, enable_audit_stream, audit_stream, audit_stream_maxlen } =
        InvalidationConfig {
            channel: "shop".to_string(),
            auto_broadcast_on_write: true,
            enable_audit_stream: true,
            audit_stream: "shop:audit".to_string(),
            audit_stream_maxlen: Some(10_000),
        };
    assert_eq!((&*channel, &*audit_stream, audit_stream_maxlen), ("shop", "shop:audit", Some(10_000)));
    assert!(auto_broadcast_on_write && enable_audit_stream);
    let rest = InvalidationConfig { enable_audit_stream: true, ..Default::default() };
    assert!(!rest.auto_broadcast_on_write);
}
