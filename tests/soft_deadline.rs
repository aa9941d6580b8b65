//! A plain read that joins a read of less patience keeps its own.

use std::sync::Arc;
use std::time::Duration;

use tercel::{CacheManager, EntryOptions, ManualClock, MemoryTier, TierConfig};
use tokio::task::yield_now;

#[tokio::test]
async fn a_read_is_not_late_before_its_own_deadline() {
    let clock = Arc::new(ManualClock::new());
    let below = MemoryTier::with_clock(clock.clone());
    let builder = CacheManager::builder().clock(clock.clone()).tier(Arc::new(below.clone()), TierConfig::as_l2());
    let cache = builder.tier_deadline(Duration::from_millis(50), Duration::from_millis(500)).build().unwrap();
    let options = EntryOptions::new().ttl(Duration::from_secs(10)).grace(Duration::from_secs(100));
    cache.set_with_strategy("k", "stale", options.clone()).await.unwrap();
    clock.advance(Duration::from_secs(11));
    below.hold();
    let load = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_compute_typed::<String>("k", options, || async { tercel::ok("new".into()) }).await }
    });
    while below.waiting() == 0 {
        yield_now().await;
    }
    let read = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get("k").await }
    });
    for _ in 0..10 {
        yield_now().await;
    }
    // The load has a stale value to fall back on and waits no longer; the read has none and does.
    clock.advance(Duration::from_millis(60));
    for _ in 0..10 {
        yield_now().await;
    }
    assert!(!read.is_finished());
    below.release();
    assert!(read.await.unwrap().is_ok());
    assert_eq!(load.await.unwrap().unwrap(), "new");
}
