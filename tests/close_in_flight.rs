//! `close` while a computation or a read waits: no panic, and whoever waits is told.

use std::sync::Arc;
use std::time::Duration;

use tercel::{CacheManager, MemoryTier, TierConfig};
use tokio::sync::oneshot;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_leader_whose_closure_waits_is_told_that_the_cache_is_closed() {
    let cache = CacheManager::default();
    let (started, running) = oneshot::channel();
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move {
            let compute = || async move {
                let _ = started.send(());
                std::future::pending::<()>().await;
                tercel::ok(String::new())
            };
            cache.get_or_compute_with("k", MINUTE, compute).await
        }
    });
    running.await.unwrap();
    cache.close().await.unwrap();
    assert!(leader.await.expect("no panic").unwrap_err().is_closed());
    cache.validate().unwrap();
}

#[tokio::test]
async fn a_read_that_waits_for_a_tier_ends() {
    let below = MemoryTier::new();
    let cache = CacheManager::builder()
        .tier(Arc::new(below.clone()), TierConfig::as_l2())
        .tier_deadline(MINUTE, MINUTE)
        .build()
        .unwrap();
    below.hold();
    let read = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get("k").await }
    });
    while below.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    cache.close().await.unwrap();
    assert!(read.await.expect("no panic").unwrap_err().is_closed());
    cache.validate().unwrap();
}
