//! The examples of `multi-tier-cache` 0.6.9, each as it is written here. Where a server is in them, a tier in memory takes
//! its place; what they printed is asserted.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/hash_map_tier.rs"]
mod hash_map_tier;
#[path = "support/memory_streams.rs"]
mod memory_streams;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hash_map_tier::{HashMapCache, NoOpCache};
use memory_streams::MemoryStreams;
use serde::{Deserialize, Serialize};
use tercel::{CacheBackend, CacheManager, CacheStrategy, L1Cache, L2CacheBackend, ManualClock, MemoryTier, TierConfig};

/// As the examples' `anyhow::Result`.
type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// `CacheSystem::new().await?`: L1 and the tier below.
fn cache_system() -> Result<(CacheManager, MemoryTier)> {
    let below = MemoryTier::new();
    Ok((CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build()?, below))
}

#[tokio::test]
async fn basic_usage() -> Result {
    let (cache, _) = cache_system()?;
    assert!(cache.health_check().await.is_healthy());
    let user_data =
        Bytes::from("{\"id\": 1, \"name\": \"Alice\", \"email\": \"alice@example.com\", \"role\": \"admin\"}");
    cache.set_with_strategy("user:1", user_data.clone(), CacheStrategy::ShortTerm).await?;
    if let Some(cached_user) = cache.get("user:1").await? {
        assert_eq!(cached_user.to_bytes(), Some(user_data));
    } else {
        panic!("it was just written");
    }
    let api_response =
        Bytes::from("{\"timestamp\": \"2025-01-01T00:00:00Z\", \"temperature\": 25.5, \"humidity\": 60}");
    cache.set_with_strategy("sensor:temp", api_response, CacheStrategy::RealTime).await?;
    let stats = cache.get_stats();
    assert_eq!((stats.total_requests, stats.l1_hits, stats.l2_hits, stats.misses), (1, 1, 0, 0));
    assert!(stats.hit_rate > 99.0);
    Ok(())
}

async fn fetch_from_database(id: u32) -> Result<Bytes> {
    tokio::task::yield_now().await;
    Ok(Bytes::from(format!("{{\"product_id\": {id}, \"name\": \"Product {id}\", \"price\": {}}}", 100 + id)))
}

#[tokio::test]
async fn advanced_usage_promotes_from_the_tier_below() -> Result {
    let (_, below) = cache_system()?;
    let writer = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build()?;
    let data = Bytes::from("{\"message\": \"This data starts in L2\"}");
    writer.set_with_strategy("promotion_test", data.clone(), CacheStrategy::MediumTerm).await?;
    // Another process: its L1 is empty.
    let reader = CacheManager::builder().tier(Arc::new(below), TierConfig::as_l2()).build()?;
    assert_eq!(reader.get("promotion_test").await?.unwrap().to_bytes(), Some(data.clone()));
    assert_eq!(reader.get("promotion_test").await?.unwrap().to_bytes(), Some(data));
    let stats = reader.get_stats();
    assert_eq!((stats.l2_hits, stats.l1_hits, stats.promotions), (1, 1, 1));
    Ok(())
}

#[tokio::test]
async fn advanced_usage_computes_once_and_writes_concurrently() -> Result {
    let (cache, _) = cache_system()?;
    // The predecessor's closures returned its own error type; here they return the source's.
    let product1 = cache
        .get_or_compute_with("product:42", CacheStrategy::MediumTerm, || async move { fetch_from_database(42).await });
    let product1 = product1.await?;
    let product2 =
        cache.get_or_compute_with("product:42", CacheStrategy::MediumTerm, || fetch_from_database(42)).await?;
    assert_eq!(product1, product2);
    assert_eq!(cache.get_stats().computations, 1);

    let mut handles = vec![];
    for i in 1..=5 {
        let cache_clone = cache.clone();
        let handle = tokio::spawn(async move {
            let data = Bytes::from(format!("{{\"worker_id\": {i}, \"data\": \"Concurrent data from worker {i}\"}}"));
            cache_clone.set_with_strategy(&format!("concurrent:{i}"), data, CacheStrategy::ShortTerm).await
        });
        handles.push(handle);
    }
    for handle in handles {
        handle.await??;
    }
    for i in 1..=5 {
        assert!(cache.get(&format!("concurrent:{i}")).await?.is_some());
    }
    Ok(())
}

#[tokio::test]
async fn stampede_protection() -> Result {
    let (cache, _) = cache_system()?;
    let cache = Arc::new(cache);
    let computations = Arc::new(AtomicUsize::new(0));
    let mut handles = vec![];
    for i in 1..=10 {
        let cache_clone = cache.clone();
        let computations = computations.clone();
        let handle = tokio::spawn(async move {
            cache_clone
                .get_or_compute_with("stampede_test_key", CacheStrategy::ShortTerm, || async move {
                    computations.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    fetch_from_database(i).await
                })
                .await
        });
        handles.push(handle);
    }
    for handle in handles {
        handle.await??;
    }
    assert_eq!(computations.load(Ordering::Relaxed), 1);
    assert_eq!(cache.get_stats().in_flight_requests, 0);
    Ok(())
}

#[tokio::test]
async fn cache_strategies() -> Result {
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).build()?;
    let rows = [
        ("live_price", CacheStrategy::RealTime, 10),
        ("session:123", CacheStrategy::ShortTerm, 300),
        ("catalog:electronics", CacheStrategy::MediumTerm, 3600),
        ("app_config", CacheStrategy::LongTerm, 10800),
        ("metrics:cpu", CacheStrategy::Custom(Duration::from_secs(30)), 30),
        ("generic_key", CacheStrategy::Default, 300),
    ];
    for (key, strategy, _) in rows {
        cache.set_with_strategy(key, Bytes::from("{\"key\": \"value\"}"), strategy).await?;
    }
    for (key, strategy, seconds) in rows {
        assert_eq!(strategy.to_duration(), Duration::from_secs(seconds));
        assert!(cache.get(key).await?.is_some());
    }
    clock.advance(Duration::from_secs(299));
    for (key, _, seconds) in rows {
        assert_eq!(cache.get(key).await?.is_some(), seconds >= 300, "{key}");
    }
    Ok(())
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
struct User {
    id: i64,
    name: String,
    email: String,
    created_at: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
struct Product {
    id: i64,
    title: String,
    price: f64,
    stock: i32,
}

async fn fetch_user_from_db(user_id: i64) -> Result<User> {
    tokio::task::yield_now().await;
    Ok(User {
        id: user_id,
        name: format!("User {user_id}"),
        email: format!("user{user_id}@example.com"),
        created_at: 1_704_326_400,
    })
}

async fn fetch_product_from_db(product_id: i64) -> Result<Product> {
    tokio::task::yield_now().await;
    let stock = i32::try_from(product_id * 10).unwrap_or(0);
    Ok(Product { id: product_id, title: format!("Product #{product_id}"), price: 99.99, stock })
}

#[tokio::test]
async fn database_caching() -> Result {
    let (cache, _) = cache_system()?;
    let user: User = cache
        .get_or_compute_typed("user:123", CacheStrategy::MediumTerm, || async { fetch_user_from_db(123).await })
        .await?;
    let again: User = cache
        .get_or_compute_typed("user:123", CacheStrategy::MediumTerm, || async { fetch_user_from_db(0).await })
        .await?;
    assert_eq!(user, again);
    let product: Product = cache
        .get_or_compute_typed("product:456", CacheStrategy::LongTerm, || async {
            fetch_product_from_db(456).await.map_err(|e| e.to_string())
        })
        .await?;
    assert_eq!(product.stock, 4560);

    let handles: Vec<_> = (0..5)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let user: User = cache
                    .get_or_compute_typed("user:999", CacheStrategy::ShortTerm, || async move {
                        fetch_user_from_db(999).await
                    })
                    .await
                    .unwrap_or_else(|_| panic!("Failed to get user"));
                user
            })
        })
        .collect();
    for handle in handles {
        assert_eq!(handle.await?.id, 999);
    }
    assert_eq!(cache.get_stats().computations, 3);
    Ok(())
}

#[tokio::test]
async fn multi_tier_usage() -> Result {
    let l3_backend = Arc::new(HashMapCache::new());
    let l2_backend = MemoryTier::new();
    let cache = CacheManager::builder()
        .tier(Arc::new(l2_backend.clone()), TierConfig::as_l2())
        .tier(l3_backend.clone(), TierConfig::as_l3())
        .build()?;
    let data = Bytes::from("{\"id\": \"user_123\", \"name\": \"Alice\", \"role\": \"premium\"}");
    cache.set_with_strategy("user:123", data.clone(), CacheStrategy::ShortTerm).await?;
    let (_, left) = l3_backend.get_with_ttl("user:123").await?.unwrap();
    assert!(left.unwrap() > Duration::from_secs(500), "twice the 5 minutes");

    // Cold data that only the third tier has.
    l2_backend.remove("user:123").await?;
    let reader = CacheManager::builder()
        .tier(Arc::new(l2_backend.clone()), TierConfig::as_l2())
        .tier(l3_backend.clone(), TierConfig::as_l3())
        .build()?;
    assert_eq!(reader.get("user:123").await?.unwrap().to_bytes(), Some(data.clone()));
    assert_eq!(reader.peek("user:123").unwrap().to_bytes(), Some(data), "and now it is in L1");
    assert_eq!(l2_backend.keys(), ["user:123"], "and in the second");

    // Bytes that somebody else put there are no value of ours.
    l3_backend
        .set_with_ttl("archive:doc1", Bytes::from("{\"status\": \"archived\"}"), Duration::from_secs(3600))
        .await?;
    assert_eq!(reader.get("archive:doc1").await?, None);
    assert_eq!(reader.get_stats().codec_misses, 1);
    Ok(())
}

#[tokio::test]
async fn custom_backends() -> Result {
    let custom_l1 = Arc::new(HashMapCache::new());
    let custom_l2 = Arc::new(HashMapCache::new());
    let manager =
        CacheManager::new_with_backends(custom_l1 as Arc<dyn CacheBackend>, custom_l2 as Arc<dyn L2CacheBackend>, None)
            .await?;
    let test_data = Bytes::from("{\"user\": \"alice\", \"score\": 100, \"timestamp\": 1234567890}");
    manager.set_with_strategy("user:alice", test_data.clone(), CacheStrategy::ShortTerm).await?;
    assert_eq!(manager.get("user:alice").await?.unwrap().as_bytes(), Some(&test_data[..]));

    let noop_manager = CacheManager::new_with_backends(
        Arc::new(NoOpCache) as Arc<dyn CacheBackend>,
        Arc::new(NoOpCache) as Arc<dyn L2CacheBackend>,
        None,
    )
    .await?;
    noop_manager.set_with_strategy("test:key", Bytes::from("{\"value\": \"test\"}"), CacheStrategy::Default).await?;
    assert!(noop_manager.get("test:key").await?.is_none(), "a no-op tier always misses");

    let tier_config = TierConfig::as_l2().with_promotion(true).with_ttl_scale(1.5);
    let tiered_cache = CacheManager::builder()
        .tier(Arc::new(L1Cache::new()?), TierConfig::as_l1())
        .tier(Arc::new(HashMapCache::new()), tier_config)
        .build()?;
    tiered_cache.set_with_strategy("tiered:key", Bytes::from("\"value\""), CacheStrategy::ShortTerm).await?;
    assert!(tiered_cache.peek("tiered:key").is_some());
    Ok(())
}

#[tokio::test]
async fn builtin_backends() -> Result {
    // `MokaCacheConfig` and `DashMapCache` become settings of `L1Cache`.
    let l1 = Arc::new(L1Cache::builder().capacity(1_000).weight(16 << 20).build()?);
    let manager =
        CacheManager::new_with_backends(l1 as Arc<dyn CacheBackend>, Arc::new(MemoryTier::new()), None).await?;
    let test_data = Bytes::from("{\"user\": \"bob\", \"role\": \"admin\"}");
    manager.set_with_strategy("user:bob", test_data.clone(), CacheStrategy::ShortTerm).await?;
    assert_eq!(manager.get("user:bob").await?.unwrap().to_bytes(), Some(test_data));
    let stats = manager.get_stats();
    assert_eq!((stats.l1_hits, stats.l2_hits, stats.misses), (1, 0, 0));
    Ok(())
}

#[cfg(feature = "quick-cache")]
#[tokio::test]
async fn builtin_backends_quick_cache() -> Result {
    let quick = Arc::new(tercel::QuickCacheBackend::new(1_000)?);
    let manager =
        CacheManager::new_with_backends(quick as Arc<dyn CacheBackend>, Arc::new(MemoryTier::new()), None).await?;
    let session = Bytes::from("{\"session_id\": \"abc123\", \"user_id\": 42}");
    manager.set_with_strategy("session:abc123", session.clone(), CacheStrategy::ShortTerm).await?;
    assert_eq!(manager.get("session:abc123").await?.unwrap().to_bytes(), Some(session));
    Ok(())
}

#[tokio::test]
async fn probabilistic_promotion() -> Result {
    let l2_concrete = MemoryTier::new();
    let writer = CacheManager::builder().tier(Arc::new(l2_concrete.clone()), TierConfig::as_l2()).build()?;
    let manager = CacheManager::builder()
        .tier(Arc::new(L1Cache::new()?) as Arc<dyn L2CacheBackend>, TierConfig::as_l1())
        .tier(Arc::new(l2_concrete) as Arc<dyn L2CacheBackend>, TierConfig::as_l2().with_promotion_frequency(10))
        .build()?;
    let mut promoted = 0;
    const KEYS: usize = 1_000;
    for n in 0..KEYS {
        let key = format!("key:{n}");
        writer.set_with_strategy(&key, Bytes::from("some_data"), CacheStrategy::ShortTerm).await?;
        assert!(manager.get(&key).await?.is_some());
        promoted += usize::from(manager.peek(&key).is_some());
    }
    assert_eq!(manager.get_stats().promotions, promoted);
    // About 1 in 10: the bounds are ten standard deviations away.
    assert!((20..200).contains(&promoted), "{promoted} of {KEYS}");
    Ok(())
}

#[tokio::test]
async fn redis_streams() -> Result {
    let cache = CacheManager::builder().streams(Arc::new(MemoryStreams::default())).build()?;
    for i in 1..=5 {
        let fields = vec![
            ("event_id".to_string(), i.to_string()),
            ("event_type".to_string(), "user_action".to_string()),
            ("user_id".to_string(), format!("user_{i}")),
        ];
        let _entry_id = cache.publish_to_stream("events_stream", fields, Some(1000)).await?;
    }
    let entries = cache.read_stream_latest("events_stream", 3).await?;
    assert_eq!(entries.len(), 3);
    for (_entry_id, fields) in &entries {
        for (field, value) in fields {
            assert!(!field.is_empty() && !value.is_empty());
        }
    }
    let all_entries = cache.read_stream("events_stream", "0", 10, None).await?;
    assert_eq!(all_entries.len(), 5);
    Ok(())
}

#[tokio::test]
async fn health_monitoring() -> Result {
    let (cache, below) = cache_system()?;
    cache.get("nothing").await?;
    for healthy in [true, false, true] {
        below.fail(!healthy);
        assert_eq!(cache.health_check().await.is_healthy(), healthy);
        let stats = cache.get_stats();
        assert!(stats.l1_hit_rate <= 50.0);
    }
    Ok(())
}
