//! A tier in memory, unbounded, with faults on order: for tests, examples and the docs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::{BoxFuture, CacheBackend, L2CacheBackend};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sync::Mutex;

/// An operation of a tier, for [`MemoryTier::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `get` and `get_with_ttl`.
    Get,
    /// `set_with_ttl`.
    Set,
    /// `remove`.
    Remove,
    /// `remove_pattern`.
    RemovePattern,
}

/// A tier in this process's memory that fails, hangs or garbles on order.
///
/// It has no bound: it is meant for tests and examples. Clones share one store, so that several managers can stand on it.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tercel::{CacheManager, MemoryTier, TierConfig};
///
/// let below = MemoryTier::new();
/// let cache = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build_blocking()?;
/// below.fail(true);
/// // The tier is down, and the closure serves the request.
/// let value = cache.get_or_compute_with("k", Duration::from_secs(60), || tercel::ok("v"))?;
/// assert_eq!(value.decode::<String>()?, "v");
/// # Ok::<(), tercel::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryTier(Arc<Inner>);

struct Inner {
    name: String,
    clock: Option<Arc<dyn Clock>>,
    origin: Instant,
    stored: Mutex<HashMap<String, Stored>>,
    failing: AtomicBool,
    failures_left: AtomicUsize,
    hides_ttl: AtomicBool,
    no_patterns: AtomicBool,
    held: watch::Sender<bool>,
    waiting: AtomicUsize,
    calls: [AtomicU64; 4],
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    /// `None`: for ever.
    until: Option<Duration>,
}

impl Default for MemoryTier {
    fn default() -> Self {
        Self::build("memory", None)
    }
}

impl MemoryTier {
    /// An empty tier.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty tier under a name of its own.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::build(name, None)
    }

    /// An empty tier whose values age by `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self::build("memory", Some(clock))
    }

    fn build(name: &str, clock: Option<Arc<dyn Clock>>) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            clock,
            origin: Instant::now(),
            stored: Mutex::default(),
            failing: AtomicBool::new(false),
            failures_left: AtomicUsize::new(0),
            hides_ttl: AtomicBool::new(false),
            no_patterns: AtomicBool::new(false),
            held: watch::Sender::new(false),
            waiting: AtomicUsize::new(0),
            calls: Default::default(),
        }))
    }

    /// From now on every operation fails, or none does.
    pub fn fail(&self, failing: bool) {
        // SeqCst throughout: switches of a test double, where the plainest order is the right one.
        self.0.failing.store(failing, Ordering::SeqCst);
    }

    /// The next `n` operations fail.
    pub fn fail_next(&self, n: usize) {
        self.0.failures_left.store(n, Ordering::SeqCst);
    }

    /// Operations that start from now on wait until [`release`](MemoryTier::release).
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Lets the operations that wait go on.
    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Operations that wait for [`release`](MemoryTier::release) now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    /// Whether remaining times are answered as unknown.
    pub fn hide_ttl(&self, hidden: bool) {
        self.0.hides_ttl.store(hidden, Ordering::SeqCst);
    }

    /// Whether `remove_pattern` is answered with [`is_unsupported`](Error::is_unsupported).
    pub fn refuse_patterns(&self, refused: bool) {
        self.0.no_patterns.store(refused, Ordering::SeqCst);
    }

    /// Changes the bytes stored under `key`; `false` if there are none.
    pub fn garble(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        match self.0.stored.lock().get_mut(key) {
            Some(stored) => {
                let mut bytes = stored.bytes.to_vec();
                change(&mut bytes);
                stored.bytes = bytes.into();
                true
            }
            None => false,
        }
    }

    /// The keys stored and not yet over, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let now = self.now();
        self.0.stored.lock().iter().filter(|(_, s)| s.lives(now)).map(|(key, _)| key.clone()).collect()
    }

    /// How long `key` has left here.
    #[must_use]
    pub fn ttl(&self, key: &str) -> Option<Duration> {
        let now = self.now();
        self.0.stored.lock().get(key).and_then(|stored| stored.until?.checked_sub(now))
    }

    /// How often an operation was asked for, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.0.calls[operation as usize].load(Ordering::SeqCst)
    }

    fn now(&self) -> Duration {
        self.0.clock.as_ref().map_or_else(|| self.0.origin.elapsed(), |clock| clock.now())
    }

    async fn enter(&self, operation: Operation) -> Result<()> {
        self.0.calls[operation as usize].fetch_add(1, Ordering::SeqCst);
        let mut held = self.0.held.subscribe();
        if *held.borrow() {
            let _waiting = Waiting::enter(&self.0.waiting);
            // The sender lives in `self`: the wait can only end by a release.
            let _ = held.wait_for(|held| !held).await;
        }
        let failures = self.0.failures_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if failures.is_ok() || self.0.failing.load(Ordering::SeqCst) {
            return Err(Error::tier(format!("`{}` was told to fail", self.0.name)));
        }
        Ok(())
    }

    fn look(&self, key: &str) -> Option<(Bytes, Option<Duration>)> {
        let now = self.now();
        let mut stored = self.0.stored.lock();
        let found = stored.get(key)?.clone();
        if !found.lives(now) {
            stored.remove(key);
            return None;
        }
        let left = found.until.map(|until| until.saturating_sub(now));
        Some((found.bytes, if self.0.hides_ttl.load(Ordering::SeqCst) { None } else { left }))
    }
}

impl Stored {
    fn lives(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryTier").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl CacheBackend for MemoryTier {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            self.enter(Operation::Get).await?;
            Ok(self.look(key).map(|(bytes, _)| bytes))
        })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.enter(Operation::Set).await?;
            let until = self.now().checked_add(ttl);
            self.0.stored.lock().insert(key.to_owned(), Stored { bytes: value, until });
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.enter(Operation::Remove).await?;
            self.0.stored.lock().remove(key);
            Ok(())
        })
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.enter(Operation::RemovePattern).await?;
            if self.0.no_patterns.load(Ordering::SeqCst) {
                return Err(Error::unsupported(format!("tier `{}` cannot remove by pattern", self.0.name)));
            }
            self.0.stored.lock().retain(|key, _| !crate::glob::matches(pattern.as_bytes(), key.as_bytes()));
            Ok(())
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { !self.0.failing.load(Ordering::SeqCst) })
    }

    fn name(&self) -> &str {
        &self.0.name
    }
}

impl L2CacheBackend for MemoryTier {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move {
            self.enter(Operation::Get).await?;
            Ok(self.look(key))
        })
    }
}
