//! The async handle: documentation and one-line calls into the engine.

mod builder;
mod load;
mod read;
mod write;

pub use builder::CacheManagerBuilder;
pub use load::{Load, LoadValue};
pub(crate) use read::Decoded;

use std::cell::RefCell;
use std::sync::Arc;

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::l1::L1;
use crate::manager::{Core, Parts, take_l1};
use crate::options::{EntryOptions, Settings};
use crate::shared::InvalidationStats;
use crate::stats::{CacheManagerStats, Health, TierStats};
use crate::stream::{StreamEntry, StreamingBackend};
use crate::tier::L1Cache;
use crate::tier::shield::WithoutTtl;
use crate::tier::{CacheBackend, CacheTier, L2CacheBackend, TierConfig};

/// The cache, for tasks of any executor.
///
/// Cloning is one reference count; all clones, [namespaces](CacheManager::namespace) and the
/// [blocking handle](crate::blocking::CacheManager) share one engine. No call needs a tokio runtime around it: I/O and
/// timers run on the engine's own thread.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use tercel::CacheManager;
///
/// let cache = CacheManager::builder().l1_capacity(10_000).build()?;
/// let name = cache
///     .get_or_compute_typed("user:1:name", Duration::from_secs(60), || async { tercel::ok("Ada".to_owned()) })
///     .await?;
/// assert_eq!(name, "Ada");
///
/// cache.invalidate("user:1:name").await?;
/// assert_eq!(cache.get("user:1:name").await?, None);
/// # Ok::<(), tercel::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct CacheManager(Arc<View>);

/// An engine seen through a prefix and defaults.
struct View {
    core: Arc<Core>,
    /// The engine's, nearer by.
    l1: Arc<L1>,
    /// Whether the defaults take whatever fresh value L1 has, and no prefix is to be put before a key.
    plain: bool,
    prefix: Arc<str>,
    defaults: EntryOptions,
}

/// The longest key that goes through a thread's buffer.
const LONGEST_KEPT: usize = 64 << 10;

thread_local! {
    /// Where a view puts its prefix and a key together, so that a hit allocates nothing.
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Default for CacheManager {
    /// L1 alone, with default bounds: no server and no file.
    ///
    /// # Panics
    /// If the background thread cannot be started; [`builder`](CacheManager::builder) returns that as an error.
    fn default() -> Self {
        match Self::builder().build() {
            Ok(cache) => cache,
            Err(error) => panic!("the default cache cannot start: {error}"),
        }
    }
}

impl std::fmt::Debug for CacheManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheManager").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

/// Making one.
impl CacheManager {
    /// Settings of a cache. Nothing has to be set.
    pub fn builder() -> CacheManagerBuilder {
        CacheManagerBuilder::default()
    }

    fn start(parts: Parts, defaults: EntryOptions) -> Result<Self> {
        Ok(Self::of(parts.assemble()?, "".into(), defaults))
    }

    fn of(core: Arc<Core>, prefix: Arc<str>, defaults: EntryOptions) -> Self {
        let (l1, plain) = (core.l1().clone(), prefix.is_empty() && defaults.takes_any_hit());
        Self(Arc::new(View { core, l1, plain, prefix, defaults }))
    }

    /// L1 and a Redis server, which need not be up.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config), naming the setting.
    #[cfg(feature = "redis")]
    #[expect(clippy::unused_async, reason = "the signature is the contract's")]
    pub async fn new(l1: Arc<L1Cache>, l2: Arc<crate::L2Cache>) -> Result<Self> {
        let stream_server = Some(l2.options().clone());
        let tier = CacheTier { backend: l2, config: TierConfig::as_l2() };
        let parts = Parts { l1: Some((l1, 1.0)), stream_server, ..Parts::with_tiers(vec![tier])? };
        Self::start(parts, EntryOptions::new())
    }

    /// Two tiers of any kind. An [`L1Cache`] behind `l1` is recognised and served from the lock-free path; any other tier 1
    /// has no hot path.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config), naming the setting.
    #[expect(clippy::unused_async, reason = "the signature is the contract's")]
    pub async fn new_with_backends(
        l1: Arc<dyn CacheBackend>,
        l2: Arc<dyn L2CacheBackend>,
        streams: Option<Arc<dyn StreamingBackend>>,
    ) -> Result<Self> {
        let any: Arc<dyn std::any::Any + Send + Sync> = l1.clone();
        let lower = CacheTier { backend: l2, config: TierConfig::as_l2() };
        let parts = match any.downcast::<L1Cache>() {
            Ok(l1) => Parts { l1: Some((l1, 1.0)), ..Parts::with_tiers(vec![lower])? },
            Err(_) => {
                let first = CacheTier { backend: Arc::new(WithoutTtl(l1)), config: TierConfig::as_l1() };
                Parts::with_tiers(vec![first, lower])?
            }
        };
        Self::start(Parts { streams, ..parts }, EntryOptions::new())
    }

    /// L1, a Redis server, and the word of every invalidation to the other instances over the server at `redis_url`.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config), naming the setting.
    #[cfg(feature = "redis")]
    #[expect(clippy::unused_async, reason = "the signature is the contract's")]
    pub async fn new_with_invalidation(
        l1: Arc<L1Cache>,
        l2: Arc<crate::L2Cache>,
        redis_url: &str,
        config: crate::InvalidationConfig,
    ) -> Result<Self> {
        let stream_server = Some(l2.options().clone());
        let tier = CacheTier { backend: l2, config: TierConfig::as_l2() };
        let parts = Parts {
            l1: Some((l1, 1.0)),
            stream_server,
            word: Some(crate::RedisOptions::new(redis_url)),
            namespace: Some(config.channel.clone()),
            invalidation: Some(config),
            ..Parts::with_tiers(vec![tier])?
        };
        Self::start(parts, EntryOptions::new())
    }

    /// Any number of tiers, from fast to slow. An [`L1Cache`] at level 1 is served from the lock-free path.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if there is no tier, or if the levels are unsorted or occur twice.
    pub fn new_with_tiers(tiers: Vec<CacheTier>, streams: Option<Arc<dyn StreamingBackend>>) -> Result<Self> {
        if tiers.is_empty() {
            return Err(Error::config("new_with_tiers was given no tier"));
        }
        let mut parts = Parts::with_tiers(tiers)?;
        parts.l1 = take_l1(&mut parts.tiers);
        Self::start(Parts { streams, ..parts }, EntryOptions::new())
    }

    /// A view of the same engine in which every key is preceded by `prefix`; it nests. Patterns match within the view.
    /// Statistics and [`close`](CacheManager::close) are the engine's.
    ///
    /// # Examples
    /// ```
    /// let cache = tercel::CacheManager::default().into_blocking();
    /// let users = cache.namespace("user:");
    /// users.set_with_strategy("1", "Ada", std::time::Duration::from_secs(60))?;
    /// assert!(cache.get("user:1")?.is_some());
    /// # Ok::<(), tercel::Error>(())
    /// ```
    #[must_use]
    pub fn namespace(&self, prefix: &str) -> Self {
        let view = &*self.0;
        let prefix = format!("{}{prefix}", view.prefix).into();
        Self::of(view.core.clone(), prefix, view.defaults.clone())
    }

    /// A view of the same engine with defaults of its own, over those of this one.
    #[must_use]
    pub fn with_defaults(&self, options: impl Into<EntryOptions>) -> Self {
        let view = &*self.0;
        let defaults = options.into().over(&view.defaults);
        Self::of(view.core.clone(), view.prefix.clone(), defaults)
    }
}

impl View {
    /// Runs `read` on the fresh entry of `key` in L1, if the defaults take any.
    #[inline(always)]
    fn hit<R>(&self, key: &str, read: impl FnOnce(Entry<'_>) -> R) -> Option<R> {
        if self.plain { self.l1.hit(key, read) } else { self.hit_otherwise(key, read) }
    }

    #[inline(never)]
    fn hit_otherwise<R>(&self, key: &str, read: impl FnOnce(Entry<'_>) -> R) -> Option<R> {
        if self.defaults.takes_any_hit() { self.with_key(key, |key| self.l1.hit(key, read)) } else { None }
    }

    /// The key as the engine knows it.
    #[inline]
    fn with_key<R>(&self, key: &str, call: impl FnOnce(&str) -> R) -> R {
        if self.prefix.is_empty() { call(key) } else { self.with_prefixed(key, call) }
    }

    fn with_prefixed<R>(&self, key: &str, call: impl FnOnce(&str) -> R) -> R {
        if key.len() > LONGEST_KEPT {
            // Too long to be a key, or nearly: no thread keeps that much memory for it.
            return call(&format!("{}{key}", self.prefix));
        }
        // Taken out meanwhile: the call may come back here. A thread whose locals are gone has a buffer for each call.
        let mut buffer = KEY.try_with(RefCell::take).unwrap_or_default();
        buffer.clear();
        buffer.push_str(&self.prefix);
        // An empty key stays one, whatever precedes it.
        let whole = if key.is_empty() {
            key
        } else {
            buffer.push_str(key);
            &buffer
        };
        let result = call(whole);
        let _ = KEY.try_with(|kept| kept.replace(buffer));
        result
    }

    fn key(&self, key: &str) -> String {
        self.with_key(key, str::to_owned)
    }

    fn settings(&self, options: EntryOptions) -> Settings {
        options.over(&self.defaults).settings(&self.prefix)
    }

    fn streams(&self) -> Result<&Arc<dyn StreamingBackend>> {
        self.core.admit_any()?;
        self.core.streams().ok_or_else(|| Error::unsupported("this cache has no streaming backend"))
    }
}

/// Streams.
impl CacheManager {
    /// Appends an entry to a stream and returns its id; with `maxlen` the stream is trimmed to about that many entries.
    ///
    /// # Errors
    /// [`is_tier`](Error::is_tier) if the server does not take it; [`is_unsupported`](Error::is_unsupported) without a
    /// streaming backend.
    pub async fn publish_to_stream(
        &self,
        stream_key: &str,
        fields: Vec<(String, String)>,
        maxlen: Option<usize>,
    ) -> Result<String> {
        self.0.streams()?.stream_add(stream_key, fields, maxlen).await
    }

    /// The last `count` entries of a stream, newest first.
    ///
    /// # Errors
    /// As [`publish_to_stream`](CacheManager::publish_to_stream).
    pub async fn read_stream_latest(&self, stream_key: &str, count: usize) -> Result<Vec<StreamEntry>> {
        self.0.streams()?.stream_read_latest(stream_key, count).await
    }

    /// Up to `count` entries after `last_id` (`"0"`: from the start, `"$"`: only new ones), waiting up to `block_ms`
    /// milliseconds for the first one. The wait delays no other call: it has a connection of its own.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait.
    ///
    /// # Errors
    /// As [`publish_to_stream`](CacheManager::publish_to_stream).
    pub async fn read_stream(
        &self,
        stream_key: &str,
        last_id: &str,
        count: usize,
        block_ms: Option<usize>,
    ) -> Result<Vec<StreamEntry>> {
        self.0.streams()?.stream_read(stream_key, last_id, count, block_ms).await
    }
}

/// Looking at it, and its end.
impl CacheManager {
    /// A snapshot of the counters.
    #[must_use]
    pub fn get_stats(&self) -> CacheManagerStats {
        self.0.core.stats()
    }

    /// A snapshot of each tier's counters, fastest first. Always `Some`.
    #[must_use]
    pub fn get_tier_stats(&self) -> Option<Vec<TierStats>> {
        Some(self.0.core.tier_stats())
    }

    /// What this instance told the others and heard from them; `None` where it does neither.
    #[must_use]
    pub fn get_invalidation_stats(&self) -> Option<InvalidationStats> {
        self.0.core.invalidation_stats()
    }

    /// How each tier is, asked now.
    pub async fn health_check(&self) -> Health {
        self.0.core.health().await
    }

    /// Waits until every server has been reached once. Without one it is ready at once; while a server is down it waits.
    ///
    /// # Errors
    /// [`is_closed`](Error::is_closed).
    pub async fn ready(&self) -> Result<()> {
        self.0.core.ready().await
    }

    /// Ends the loads that run (their callers get [`is_closed`](Error::is_closed)), waits for the writes that have begun,
    /// and stops the engine's I/O. Every later call is refused. Twice is no error. A thread for tiers of your own ends with
    /// the last handle.
    ///
    /// # Errors
    /// None.
    pub async fn close(&self) -> Result<()> {
        self.0.core.close().await;
        Ok(())
    }

    /// Changes how much L1 holds, while it is used: [`L1Cache::resize`](crate::L1Cache::resize).
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) as there, and if tier 1 is a backend of one's own; [`is_closed`](Error::is_closed).
    pub fn resize_l1(&self, entries: usize, weight: u64) -> Result<()> {
        self.0.core.resize(entries, weight)
    }

    /// Recounts everything that the engine keeps account of; for tests, when nothing else runs.
    ///
    /// # Errors
    /// What does not add up, in words.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.0.core.validate()
    }
}
