//! An invalidation that a tier took late holds on the other instances too, whatever they read from it meanwhile.

#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis_server::RedisServer;
use tercel::{
    BoxFuture, CacheBackend, CacheManager, Error, InvalidationConfig, L2CacheBackend, MemoryTier, Result, TierConfig,
};

/// A tier that does not remove for as long as it is told not to.
struct Keeps {
    inner: MemoryTier,
    keeps: AtomicBool,
}

impl Keeps {
    fn removed(&self) -> Result<()> {
        if self.keeps.load(Ordering::SeqCst) { Err(Error::tier("it keeps everything")) } else { Ok(()) }
    }
}

impl CacheBackend for Keeps {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.inner.get(key)
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.inner.set_with_ttl(key, value, ttl)
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.removed()?;
            self.inner.remove(key).await
        })
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.removed()?;
            self.inner.remove_pattern(pattern).await
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        self.inner.health_check()
    }

    fn name(&self) -> &str {
        "keeps"
    }
}

impl L2CacheBackend for Keeps {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        self.inner.get_with_ttl(key)
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::task::yield_now().await;
    }
}

async fn two_instances(server: &RedisServer) -> (CacheManager, CacheManager, Arc<Keeps>) {
    let third = MemoryTier::new();
    let keeps = Arc::new(Keeps { inner: third.clone(), keeps: AtomicBool::new(false) });
    let start = |third: Arc<dyn L2CacheBackend>| {
        let builder = CacheManager::builder().redis(server.url()).invalidation(InvalidationConfig::default());
        builder.tier(third, TierConfig::as_l3()).build().unwrap()
    };
    let (one, other) = (start(keeps.clone()), start(Arc::new(third)));
    one.ready().await.unwrap();
    other.ready().await.unwrap();
    one.set_with_strategy("k", "old", Duration::from_secs(60)).await.unwrap();
    (one, other, keeps)
}

#[tokio::test]
async fn a_key_that_was_removed_late_is_gone_everywhere() {
    let Some(server) = RedisServer::start() else { return println!("skipped: redis-server is not installed") };
    let (one, other, keeps) = two_instances(&server).await;
    keeps.keeps.store(true, Ordering::SeqCst);
    assert!(one.invalidate("k").await.unwrap_err().is_partial_write());
    // The other instance reads the copy that is still there, and promotes it into the server.
    eventually("the old copy is read", async || other.get("k").await.unwrap().is_some()).await;
    keeps.keeps.store(false, Ordering::SeqCst);
    eventually("the debt is paid", async || one.get_stats().pending_repairs == 0).await;
    eventually("the other instance forgets it", async || other.get("k").await.unwrap().is_none()).await;
    assert_eq!(one.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_pattern_that_was_removed_late_is_gone_everywhere() {
    let Some(server) = RedisServer::start() else { return println!("skipped: redis-server is not installed") };
    let (one, other, keeps) = two_instances(&server).await;
    keeps.keeps.store(true, Ordering::SeqCst);
    assert!(one.invalidate_pattern("k*").await.unwrap_err().is_partial_write());
    assert!(keeps.inner.get("k").await.unwrap().is_some(), "the old copy is still there");
    eventually("the other instance knows that it is old", async || other.get("k").await.unwrap().is_none()).await;
    keeps.keeps.store(false, Ordering::SeqCst);
    eventually("the debt is paid", async || one.get_stats().pending_repairs == 0).await;
    assert!(keeps.inner.get("k").await.unwrap().is_none());
    assert_eq!((one.get("k").await.unwrap(), other.get("k").await.unwrap()), (None, None));
}
