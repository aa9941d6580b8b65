//! A promotion that overlaps `invalidate_pattern` brings nothing back.

#[path = "support/gated_tier.rs"]
mod gated_tier;

use std::sync::Arc;
use std::time::Duration;

use gated_tier::{At, GatedTier};
use tercel::{CacheManager, ManualClock, MemoryTier, Operation, TierConfig};

#[tokio::test]
async fn what_is_read_while_a_lower_tier_still_has_it_is_promoted_nowhere() {
    let clock = Arc::new(ManualClock::new());
    let (second, third) = (MemoryTier::with_clock(clock.clone()), MemoryTier::with_clock(clock.clone()));
    let gated = Arc::new(GatedTier::over(third));
    let cache = CacheManager::builder()
        .clock(clock)
        .tier(Arc::new(second.clone()), TierConfig::as_l2())
        .tier(gated.clone(), TierConfig::as_l3())
        .build()
        .unwrap();
    cache.set_with_strategy("k:1", "old", Duration::from_secs(60)).await.unwrap();
    gated.close(At::Before(Operation::RemovePattern));
    let invalidation = tokio::spawn({
        let cache = cache.clone();
        async move { cache.invalidate_pattern("k:*").await }
    });
    // The second tier has removed it, the third is about to.
    gated.wait_for(1).await;
    assert!(cache.get("k:1").await.unwrap().is_some());
    gated.open(At::Before(Operation::RemovePattern));
    invalidation.await.unwrap().unwrap();
    assert_eq!(cache.get("k:1").await.unwrap(), None);
    assert_eq!(second.keys(), Vec::<String>::new());
    // Afterwards everything is kept as ever.
    cache.set_with_strategy("k:1", "new", Duration::from_secs(60)).await.unwrap();
    assert_eq!(second.keys(), ["k:1"]);
    cache.validate().unwrap();
}
