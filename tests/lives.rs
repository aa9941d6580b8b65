//! No copy outlives what it is a copy of.

use std::sync::Arc;
use std::time::Duration;

use tercel::{CacheManager, EntryOptions, ManualClock, MemoryTier, TierConfig};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn a_promotion_into_a_tier_without_remaining_times_lengthens_no_life() {
    let clock = Arc::new(ManualClock::new());
    let (second, third) = (MemoryTier::with_clock(clock.clone()), MemoryTier::with_clock(clock.clone()));
    second.hide_ttl(true);
    let build = |second: &MemoryTier| {
        CacheManager::builder()
            .clock(clock.clone())
            .tier(Arc::new(second.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3().with_ttl_scale(1.0))
            .build()
            .unwrap()
    };
    // Written through another second tier: this one gets its copy by promotion.
    build(&MemoryTier::with_clock(clock.clone())).set_with_strategy("k", "v", seconds(10)).await.unwrap();
    clock.advance(seconds(8));
    assert!(build(&second).get("k").await.unwrap().is_some());
    assert_eq!(second.keys(), ["k"]);
    clock.advance(seconds(1));
    let late = build(&second);
    assert!(late.get("k").await.unwrap().is_some());
    clock.advance(seconds(1));
    assert_eq!(late.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn an_l1_ttl_above_the_ttl_lengthens_no_life() {
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).build().unwrap();
    let options = EntryOptions::new().ttl(seconds(10)).l1_ttl(seconds(100));
    cache.set_with_strategy("k", "v", options).await.unwrap();
    clock.advance(seconds(10));
    assert_eq!(cache.get("k").await.unwrap(), None);
}
