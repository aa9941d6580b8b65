//! The handle for threads: the same engine, the same names, without `async`.
//!
//! A call that waits parks its thread on the engine's own parker; no runtime of the caller's is touched, so it also works
//! inside a task of somebody's runtime (it blocks that thread). Closures are plain `FnOnce() -> Result<_, _>` and run on the
//! calling thread; one that runs cannot be interrupted: `hard_timeout` frees the callers that wait for it, not its thread.
//!
//! On the engine's own thread, and inside [`with_cached`](CacheManager::with_cached), a call that would wait returns
//! [`is_would_deadlock`](Error::is_would_deadlock) at once.

use std::future::{Future, Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache_manager::{CacheManagerBuilder, Decoded};
use crate::error::{BoxError, Error, Result};
use crate::manager::Lookup;
use crate::options::{EntryOptions, Loaded};
use crate::park::{self, WouldWait};
use crate::shared::InvalidationStats;
use crate::stats::{CacheManagerStats, Health, TierHealth, TierStats};
use crate::stream::{StreamEntry, StreamingBackend};
#[cfg(feature = "redis")]
use crate::tier::L1Cache;
use crate::tier::{CacheBackend, CacheTier, L2CacheBackend};
use crate::value::{Value, ValueRef};

/// The cache, for threads. See the [module](self) and the [async handle](crate::CacheManager), which documents each call.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tercel::CacheManager;
///
/// let cache = CacheManager::builder().build_blocking()?;
/// let answer: u64 = cache.get_or_compute_typed("answer", Duration::from_secs(60), || "42".parse())?;
/// assert_eq!(answer, 42);
/// # Ok::<(), tercel::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CacheManager(crate::CacheManager);

/// A computation for the blocking handle: any `FnOnce()` that returns a `Result`.
pub trait BlockingLoad<T> {
    /// What the computation fails with.
    type Err;

    /// Runs the computation.
    ///
    /// # Errors
    /// The computation's own.
    fn load(self) -> Result<T, Self::Err>;
}

impl<T, E, F: FnOnce() -> Result<T, E>> BlockingLoad<T> for F {
    type Err = E;

    fn load(self) -> Result<T, E> {
        self()
    }
}

/// A blocking computation as one whose future is ready at once.
fn at_once<T, E>(f: impl BlockingLoad<T, Err = E>) -> impl FnOnce() -> Ready<Result<T, E>> {
    move || ready(f.load())
}

fn refused(reason: WouldWait) -> Error {
    Error::would_deadlock(match reason {
        WouldWait::IoThread => "this call would wait on the engine's own thread, which it waits for",
        WouldWait::Pinned => "this call would wait inside with_cached, which must not block",
    })
}

/// The output of `call`; this thread waits for it.
fn wait<T>(call: impl Future<Output = Result<T>>) -> Result<T> {
    park::block_on(call).unwrap_or_else(|reason| Err(refused(reason)))
}

impl From<crate::CacheManager> for CacheManager {
    fn from(cache: crate::CacheManager) -> Self {
        Self(cache)
    }
}

impl crate::CacheManager {
    /// The same engine for threads.
    #[must_use]
    pub fn into_blocking(self) -> CacheManager {
        self.into()
    }
}

impl CacheManagerBuilder {
    /// Starts the cache, for threads.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_blocking(self) -> Result<CacheManager> {
        self.build().map(Into::into)
    }
}

/// Making one.
impl CacheManager {
    /// The same engine for tasks.
    #[must_use]
    pub fn as_async(&self) -> &crate::CacheManager {
        &self.0
    }

    /// See [`CacheManager::builder`](crate::CacheManager::builder); end it with `build_blocking`.
    pub fn builder() -> CacheManagerBuilder {
        crate::CacheManager::builder()
    }

    /// See [`CacheManager::new`](crate::CacheManager::new).
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "redis")]
    pub fn new(l1: Arc<L1Cache>, l2: Arc<crate::L2Cache>) -> Result<Self> {
        wait(crate::CacheManager::new(l1, l2)).map(Self)
    }

    /// See [`CacheManager::new_with_backends`](crate::CacheManager::new_with_backends).
    ///
    /// # Errors
    /// As there.
    pub fn new_with_backends(
        l1: Arc<dyn CacheBackend>,
        l2: Arc<dyn L2CacheBackend>,
        streams: Option<Arc<dyn StreamingBackend>>,
    ) -> Result<Self> {
        wait(crate::CacheManager::new_with_backends(l1, l2, streams)).map(Self)
    }

    /// See [`CacheManager::new_with_invalidation`](crate::CacheManager::new_with_invalidation).
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "redis")]
    pub fn new_with_invalidation(
        l1: Arc<L1Cache>,
        l2: Arc<crate::L2Cache>,
        redis_url: &str,
        config: crate::InvalidationConfig,
    ) -> Result<Self> {
        wait(crate::CacheManager::new_with_invalidation(l1, l2, redis_url, config)).map(Self)
    }

    /// See [`CacheManager::new_with_tiers`](crate::CacheManager::new_with_tiers).
    ///
    /// # Errors
    /// As there.
    pub fn new_with_tiers(tiers: Vec<CacheTier>, streams: Option<Arc<dyn StreamingBackend>>) -> Result<Self> {
        crate::CacheManager::new_with_tiers(tiers, streams).map(Self)
    }

    /// See [`CacheManager::namespace`](crate::CacheManager::namespace).
    #[must_use]
    pub fn namespace(&self, prefix: &str) -> Self {
        Self(self.0.namespace(prefix))
    }

    /// See [`CacheManager::with_defaults`](crate::CacheManager::with_defaults).
    #[must_use]
    pub fn with_defaults(&self, options: impl Into<EntryOptions>) -> Self {
        Self(self.0.with_defaults(options))
    }
}

/// Reads.
impl CacheManager {
    /// See [`CacheManager::get`](crate::CacheManager::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        self.0.hit(key).map_or_else(|| wait(self.0.read(key)), Ok)
    }

    /// See [`CacheManager::get_typed`](crate::CacheManager::get_typed).
    ///
    /// # Errors
    /// As there.
    pub fn get_typed<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get(key)?.map(|value| value.decode()).transpose()
    }

    /// See [`CacheManager::get_shared`](crate::CacheManager::get_shared).
    ///
    /// # Errors
    /// As there.
    pub fn get_shared<T: DeserializeOwned + Send + Sync + 'static>(&self, key: &str) -> Result<Option<Arc<T>>> {
        let value = match self.0.hit_decoded(key) {
            Some(Decoded::Before(decoded)) => return Ok(Some(decoded)),
            Some(Decoded::Not(value)) => value,
            None => wait(self.0.read(key))?,
        };
        value.map(|value| self.0.shared(key, &value)).transpose()
    }

    /// See [`CacheManager::peek`](crate::CacheManager::peek).
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Value> {
        self.0.peek(key)
    }

    /// See [`CacheManager::with_cached`](crate::CacheManager::with_cached).
    pub fn with_cached<R>(&self, key: &str, call: impl FnOnce(&ValueRef<'_>) -> R) -> Option<R> {
        self.0.with_cached(key, call)
    }

    /// See [`CacheManager::lookup`](crate::CacheManager::lookup).
    ///
    /// # Errors
    /// As there.
    pub fn lookup(&self, key: &str) -> Result<Lookup> {
        wait(self.0.lookup(key))
    }
}

/// One computation per missing key.
impl CacheManager {
    /// See [`CacheManager::get_or_compute_with`](crate::CacheManager::get_or_compute_with).
    ///
    /// # Errors
    /// As there.
    pub fn get_or_compute_with<R>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl BlockingLoad<R, Err: Into<BoxError>>,
    ) -> Result<Value>
    where
        R: Into<Loaded>,
    {
        self.get_or_compute_optional(key, options, f)?.ok_or_else(Error::absent)
    }

    /// See [`CacheManager::get_or_compute_optional`](crate::CacheManager::get_or_compute_optional).
    ///
    /// # Errors
    /// As there.
    pub fn get_or_compute_optional<R>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl BlockingLoad<R, Err: Into<BoxError>>,
    ) -> Result<Option<Value>>
    where
        R: Into<Loaded>,
    {
        let options = options.into();
        match self.0.hit_with(key, &options) {
            Some(value) => Ok(value),
            None => wait(Box::pin(self.0.load(key, options, at_once(f)))),
        }
    }

    /// See [`CacheManager::get_or_compute_typed`](crate::CacheManager::get_or_compute_typed).
    ///
    /// # Errors
    /// As there.
    pub fn get_or_compute_typed<T>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl BlockingLoad<T, Err: Into<BoxError>>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let options = options.into();
        match self.0.decoded(key, &options, |value| value.decode()) {
            Some(answer) => answer,
            None => wait(Box::pin(self.0.load_typed(key, options, at_once(f)))),
        }
    }

    /// See [`CacheManager::get_or_compute_shared`](crate::CacheManager::get_or_compute_shared).
    ///
    /// # Errors
    /// As there.
    pub fn get_or_compute_shared<T>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl BlockingLoad<T, Err: Into<BoxError>>,
    ) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let options = options.into();
        match self.0.decoded(key, &options, |value| self.0.shared(key, value)) {
            Some(answer) => answer,
            None => wait(Box::pin(self.0.load_shared(key, options, at_once(f)))),
        }
    }
}

/// Writes and invalidations.
impl CacheManager {
    /// See [`CacheManager::set_with_strategy`](crate::CacheManager::set_with_strategy).
    ///
    /// # Errors
    /// As there.
    pub fn set_with_strategy(
        &self,
        key: &str,
        value: impl Into<Value>,
        options: impl Into<EntryOptions>,
    ) -> Result<()> {
        wait(self.0.set_with_strategy(key, value, options))
    }

    /// See [`CacheManager::update_cache`](crate::CacheManager::update_cache).
    ///
    /// # Errors
    /// As there.
    pub fn update_cache(&self, key: &str, value: impl Into<Value>, ttl: Option<Duration>) -> Result<()> {
        wait(self.0.update_cache(key, value, ttl))
    }

    /// See [`CacheManager::set_with_broadcast`](crate::CacheManager::set_with_broadcast).
    ///
    /// # Errors
    /// As there.
    pub fn set_with_broadcast(
        &self,
        key: &str,
        value: impl Into<Value>,
        options: impl Into<EntryOptions>,
    ) -> Result<()> {
        wait(self.0.set_with_broadcast(key, value, options))
    }

    /// See [`CacheManager::invalidate`](crate::CacheManager::invalidate).
    ///
    /// # Errors
    /// As there.
    pub fn invalidate(&self, key: &str) -> Result<()> {
        wait(self.0.invalidate(key))
    }

    /// See [`CacheManager::invalidate_pattern`](crate::CacheManager::invalidate_pattern).
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_pattern(&self, pattern: &str) -> Result<()> {
        wait(self.0.invalidate_pattern(pattern))
    }

    /// See [`CacheManager::invalidate_tag`](crate::CacheManager::invalidate_tag).
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tag(&self, tag: &str) -> Result<()> {
        wait(self.0.invalidate_tag(tag))
    }

    /// See [`CacheManager::invalidate_tags`](crate::CacheManager::invalidate_tags).
    ///
    /// # Errors
    /// As there.
    pub fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        wait(self.0.invalidate_tags(tags))
    }

    /// See [`CacheManager::clear`](crate::CacheManager::clear).
    ///
    /// # Errors
    /// As there.
    pub fn clear(&self) -> Result<()> {
        wait(self.0.clear())
    }
}

/// Streams.
impl CacheManager {
    /// See [`CacheManager::publish_to_stream`](crate::CacheManager::publish_to_stream).
    ///
    /// # Errors
    /// As there.
    pub fn publish_to_stream(
        &self,
        stream_key: &str,
        fields: Vec<(String, String)>,
        maxlen: Option<usize>,
    ) -> Result<String> {
        wait(self.0.publish_to_stream(stream_key, fields, maxlen))
    }

    /// See [`CacheManager::read_stream_latest`](crate::CacheManager::read_stream_latest).
    ///
    /// # Errors
    /// As there.
    pub fn read_stream_latest(&self, stream_key: &str, count: usize) -> Result<Vec<StreamEntry>> {
        wait(self.0.read_stream_latest(stream_key, count))
    }

    /// See [`CacheManager::read_stream`](crate::CacheManager::read_stream).
    ///
    /// # Errors
    /// As there.
    pub fn read_stream(
        &self,
        stream_key: &str,
        last_id: &str,
        count: usize,
        block_ms: Option<usize>,
    ) -> Result<Vec<StreamEntry>> {
        wait(self.0.read_stream(stream_key, last_id, count, block_ms))
    }
}

/// Looking at it, and its end.
impl CacheManager {
    /// See [`CacheManager::get_stats`](crate::CacheManager::get_stats).
    #[must_use]
    pub fn get_stats(&self) -> CacheManagerStats {
        self.0.get_stats()
    }

    /// See [`CacheManager::get_tier_stats`](crate::CacheManager::get_tier_stats).
    #[must_use]
    pub fn get_tier_stats(&self) -> Option<Vec<TierStats>> {
        self.0.get_tier_stats()
    }

    /// See [`CacheManager::get_invalidation_stats`](crate::CacheManager::get_invalidation_stats).
    #[must_use]
    pub fn get_invalidation_stats(&self) -> Option<InvalidationStats> {
        self.0.get_invalidation_stats()
    }

    /// See [`CacheManager::health_check`](crate::CacheManager::health_check). Where this thread may not wait, every tier has
    /// that as its problem.
    pub fn health_check(&self) -> Health {
        park::block_on(self.0.health_check()).unwrap_or_else(|reason| self.unasked(&refused(reason)))
    }

    fn unasked(&self, reason: &Error) -> Health {
        let tier = |tier: TierStats| TierHealth {
            tier_level: tier.tier_level,
            backend_name: tier.backend_name,
            problem: Some(reason.to_string()),
        };
        Health {
            tiers: self.get_tier_stats().into_iter().flatten().map(tier).collect(),
            invalidation: None,
            reclamation: None,
        }
    }

    /// See [`CacheManager::ready`](crate::CacheManager::ready).
    ///
    /// # Errors
    /// As there.
    pub fn ready(&self) -> Result<()> {
        wait(self.0.ready())
    }

    /// See [`CacheManager::close`](crate::CacheManager::close).
    ///
    /// # Errors
    /// [`is_would_deadlock`](Error::is_would_deadlock) where this thread may not wait.
    pub fn close(&self) -> Result<()> {
        wait(self.0.close())
    }

    /// See [`CacheManager::resize_l1`](crate::CacheManager::resize_l1).
    ///
    /// # Errors
    /// As there.
    pub fn resize_l1(&self, entries: usize, weight: u64) -> Result<()> {
        self.0.resize_l1(entries, weight)
    }

    /// See [`CacheManager::validate`](crate::CacheManager::validate).
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.0.validate()
    }
}
