//! A read of the tiers that overlaps a write leaves nothing older than the write behind, also where L1 does not take it.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "support/gated_tier.rs"]
mod gated_tier;

use std::sync::Arc;
use std::time::Duration;

use gated_tier::{At, GatedTier};
use tercel::{CacheManager, EntryOptions, ManualClock, MemoryTier, Operation, TierConfig, Value};

const MINUTE: Duration = Duration::from_secs(60);
const READ: At = At::After(Operation::Get);
const WRITE: At = At::Before(Operation::Set);

fn heavy() -> Value {
    Value::bytes(vec![7; 10_000])
}

async fn text(cache: &CacheManager, key: &str) -> String {
    format!("{:?}", cache.get(key).await.unwrap().and_then(|value| value.decode::<String>().ok()))
}

/// A cache over a gated tier that has `old` under `k`; L1 does not take what is heavy.
async fn with_old_below() -> (CacheManager, Arc<GatedTier>) {
    let clock = Arc::new(ManualClock::new());
    let below = MemoryTier::with_clock(clock.clone());
    let other = CacheManager::builder()
        .clock(clock.clone())
        .tier(Arc::new(below.clone()), TierConfig::as_l2())
        .build()
        .unwrap();
    other.set_with_strategy("k", "old", MINUTE).await.unwrap();
    let gated = Arc::new(GatedTier::over(below));
    let builder = CacheManager::builder().clock(clock).max_entry_size(1000);
    (builder.tier(gated.clone(), TierConfig::as_l2()).build().unwrap(), gated)
}

#[tokio::test]
async fn a_read_that_outlives_the_write_fills_nothing_older() {
    let (cache, gated) = with_old_below().await;
    gated.close(WRITE);
    gated.close(READ);
    let write = tokio::spawn({
        let cache = cache.clone();
        async move { cache.set_with_strategy("k", heavy(), MINUTE).await }
    });
    gated.wait_for(1).await;
    let read = tokio::spawn({
        let cache = cache.clone();
        async move { text(&cache, "k").await }
    });
    gated.wait_for(2).await;
    gated.open(WRITE);
    write.await.unwrap().unwrap();
    // The old value is on its way up: a caller that comes now must not be handed it.
    let later = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get("k").await.unwrap() }
    });
    gated.wait_for(2).await;
    gated.open(READ);
    assert_eq!(read.await.unwrap(), "Some(\"old\")");
    assert_eq!(later.await.unwrap(), Some(heavy()));
    assert_eq!(cache.get("k").await.unwrap(), Some(heavy()));
    cache.validate().unwrap();
}

#[tokio::test]
async fn a_read_inside_the_write_leaves_nothing_older() {
    let (cache, gated) = with_old_below().await;
    gated.close(WRITE);
    let write = tokio::spawn({
        let cache = cache.clone();
        async move { cache.set_with_strategy("k", "new", EntryOptions::from(MINUTE).skip_tier(1)).await }
    });
    gated.wait_for(1).await;
    assert_eq!(text(&cache, "k").await, "Some(\"old\")");
    gated.open(WRITE);
    write.await.unwrap().unwrap();
    assert_eq!(text(&cache, "k").await, "Some(\"new\")");
    cache.validate().unwrap();
}

#[tokio::test]
async fn a_promotion_does_not_overwrite_what_was_written_meanwhile() {
    let clock = Arc::new(ManualClock::new());
    let (second, third) = (MemoryTier::with_clock(clock.clone()), MemoryTier::with_clock(clock.clone()));
    let other = CacheManager::builder()
        .clock(clock.clone())
        .tier(Arc::new(third.clone()), TierConfig::as_l3())
        .build()
        .unwrap();
    other.set_with_strategy("k", "old", MINUTE).await.unwrap();
    let gated = Arc::new(GatedTier::over(third));
    let cache = CacheManager::builder()
        .clock(clock)
        .max_entry_size(1000)
        .tier(Arc::new(second), TierConfig::as_l2())
        .tier(gated.clone(), TierConfig::as_l3())
        .build()
        .unwrap();
    gated.close(READ);
    // The read has passed the second tier by the time the write begins, and comes back with the third one's old value.
    let read = tokio::spawn({
        let cache = cache.clone();
        async move { text(&cache, "k").await }
    });
    gated.wait_for(1).await;
    gated.close(WRITE);
    let write = tokio::spawn({
        let cache = cache.clone();
        async move { cache.set_with_strategy("k", heavy(), MINUTE).await }
    });
    gated.wait_for(2).await;
    gated.open(WRITE);
    write.await.unwrap().unwrap();
    gated.open(READ);
    assert_eq!(read.await.unwrap(), "Some(\"old\")");
    assert_eq!(cache.get("k").await.unwrap(), Some(heavy()));
    cache.validate().unwrap();
}
