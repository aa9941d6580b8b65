//! A tier of somebody else's may panic or come back into the cache: no call hangs for it, and no invalidation stops half way.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tercel::{BoxFuture, CacheBackend, CacheManager, L2CacheBackend, MemoryTier, Result, TierConfig, blocking};

const MINUTE: Duration = Duration::from_secs(60);

/// Panics on order, or writes through the cache that it serves, at each removal.
struct Foreign {
    inner: MemoryTier,
    panics: AtomicBool,
    cache: OnceLock<Mutex<(blocking::CacheManager, mpsc::Sender<Result<()>>)>>,
}

impl Foreign {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryTier::new(), panics: AtomicBool::new(false), cache: OnceLock::new() })
    }
}

impl CacheBackend for Foreign {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.inner.get(key)
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.inner.set_with_ttl(key, value, ttl)
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        assert!(!self.panics.load(Ordering::SeqCst), "on order");
        if let Some(cache) = self.cache.get() {
            let cache = cache.lock().unwrap();
            cache.1.send(cache.0.set_with_strategy("other", "value", MINUTE)).unwrap();
        }
        self.inner.remove(key)
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        self.inner.health_check()
    }

    fn name(&self) -> &str {
        "foreign"
    }
}

impl L2CacheBackend for Foreign {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        self.inner.get_with_ttl(key)
    }
}

#[test]
fn a_tier_that_panics_has_failed_and_the_tiers_below_it_are_still_told() {
    let (foreign, below) = (Foreign::new(), MemoryTier::new());
    let cache = CacheManager::builder()
        .tier(foreign.clone(), TierConfig::as_l2())
        .tier(Arc::new(below.clone()), TierConfig::as_l3())
        .build_blocking()
        .unwrap();
    cache.set_with_strategy("k", "old", MINUTE).unwrap();
    foreign.panics.store(true, Ordering::SeqCst);
    let error = cache.invalidate("k").unwrap_err();
    assert!(error.is_partial_write() && error.is_tier(), "{error}");
    assert!(error.to_string().contains("foreign"), "{error}");
    assert_eq!(below.keys(), Vec::<String>::new());
    assert_eq!(cache.get("k").unwrap(), None, "the copy that waits for repair is not read");
    // The repair survived the panic as well.
    foreign.panics.store(false, Ordering::SeqCst);
    while cache.get_stats().pending_repairs > 0 {
        std::thread::yield_now();
    }
    assert_eq!(foreign.inner.keys(), Vec::<String>::new());
}

#[test]
fn a_blocking_write_inside_a_tier_is_refused_where_it_would_wait_for_its_own_thread() {
    let foreign = Foreign::new();
    let cache = CacheManager::builder().tier(foreign.clone(), TierConfig::as_l2()).build_blocking().unwrap();
    let (tell, told) = mpsc::channel();
    assert!(foreign.cache.set(Mutex::new((cache.clone(), tell))).is_ok());
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || end.send(cache.invalidate("k")).unwrap());
    let inner = told.recv_timeout(Duration::from_secs(20)).expect("the call inside the tier returned");
    assert!(inner.unwrap_err().is_would_deadlock());
    ended.recv_timeout(Duration::from_secs(20)).expect("the call outside returned").unwrap();
}
