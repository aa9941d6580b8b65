//! Tiers as users write them: a `HashMap` behind a lock, with and without remaining times.

#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tercel::{BoxFuture, CacheBackend, L2CacheBackend, Result};

type Store = Arc<RwLock<HashMap<String, (Bytes, Instant)>>>;

/// A tier of the user's own. With a `latency` it sleeps on tokio's timer before each answer.
#[derive(Default)]
pub struct HashMapCache {
    store: Store,
    latency: Option<Duration>,
    waiting: AtomicUsize,
}

impl HashMapCache {
    pub fn new() -> Self {
        Self::default()
    }

    /// One that waits on tokio's timer, as tiers with a network behind them do.
    pub fn with_latency(latency: Duration) -> Self {
        Self { latency: Some(latency), ..Self::default() }
    }

    /// Operations that sleep, or were given up while they did.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.store.read().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    }

    async fn wait(&self) {
        if let Some(latency) = self.latency {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(latency).await;
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn look(&self, key: &str) -> Option<(Bytes, Duration)> {
        let store = self.store.read().unwrap();
        let (value, expiry) = store.get(key)?;
        let left = expiry.checked_duration_since(Instant::now())?;
        Some((value.clone(), left))
    }
}

impl CacheBackend for HashMapCache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            self.wait().await;
            Ok(self.look(key).map(|(value, _)| value))
        })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        let store = Arc::clone(&self.store);
        let key = key.to_string();
        Box::pin(async move {
            self.wait().await;
            store.write().unwrap().insert(key, (value, Instant::now() + ttl));
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.wait().await;
            self.store.write().unwrap().remove(key);
            Ok(())
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.store.read().is_ok() })
    }

    fn name(&self) -> &'static str {
        "HashMapCache"
    }
}

impl L2CacheBackend for HashMapCache {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move {
            self.wait().await;
            Ok(self.look(key).map(|(value, left)| (value, Some(left))))
        })
    }
}

/// A tier that keeps nothing; its futures are the `futures` crate's boxed ones.
pub struct NoOpCache;

impl CacheBackend for NoOpCache {
    fn get<'a>(&'a self, _key: &'a str) -> futures::future::BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async { Ok(None) })
    }

    fn set_with_ttl<'a>(&'a self, _: &'a str, _: Bytes, _: Duration) -> futures::future::BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, _key: &'a str) -> futures::future::BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn health_check(&self) -> futures::future::BoxFuture<'_, bool> {
        Box::pin(async { true })
    }

    fn name(&self) -> &str {
        "no-op"
    }
}

impl L2CacheBackend for NoOpCache {
    fn get_with_ttl<'a>(
        &'a self,
        _key: &'a str,
    ) -> futures::future::BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async { Ok(None) })
    }
}
