//! Settings of a cache.

use std::sync::Arc;
use std::time::Duration;

use super::CacheManager;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::listener::Listener;
use crate::manager::{Deadlines, Parts, take_l1};
use crate::options::EntryOptions;
use crate::stream::StreamingBackend;
use crate::tier::L1Cache;
use crate::tier::{CacheTier, L2CacheBackend, TierConfig};

/// Settings of a cache; none has to be set. Nothing that is set is silently dropped: a setting that cannot take effect is an
/// error that names both sides.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tercel::{CacheManager, EntryOptions, MemoryTier, TierConfig};
///
/// let cache = CacheManager::builder()
///     .l1_capacity(50_000)
///     .l1_weight(64 << 20)
///     .tier(Arc::new(MemoryTier::new()), TierConfig::as_l2().with_ttl_scale(4.0))
///     .defaults(EntryOptions::new().ttl(Duration::from_secs(600)))
///     .load_budget(32)
///     .build()?;
/// # let _ = cache;
/// # Ok::<(), tercel::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct CacheManagerBuilder {
    capacity: Option<usize>,
    weight: Option<u64>,
    max_entry: Option<u64>,
    #[cfg(feature = "redis")]
    redis: Option<crate::RedisOptions>,
    tiers: Vec<CacheTier>,
    streams: Option<Arc<dyn StreamingBackend>>,
    invalidation: Option<crate::InvalidationConfig>,
    namespace: Option<String>,
    defaults: EntryOptions,
    deadlines: Option<Deadlines>,
    load_budget: Option<usize>,
    clock: Option<Arc<dyn Clock>>,
    listener: Option<Arc<dyn Listener>>,
}

impl CacheManagerBuilder {
    /// The most entries in L1 (default: 100,000).
    pub fn l1_capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// The most bytes of keys, values and bookkeeping in L1 (default: 256 MiB).
    pub fn l1_weight(mut self, bytes: u64) -> Self {
        self.weight = Some(bytes);
        self
    }

    /// The weight in bytes above which an entry skips L1 and is served from below (default: a 64th of `l1_weight`).
    pub fn max_entry_size(mut self, bytes: u64) -> Self {
        self.max_entry = Some(bytes);
        self
    }

    /// A Redis server as tier 2, by URL or with options. Streams go to the same server unless
    /// [`streams`](Self::streams) says otherwise.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, server: impl Into<crate::RedisOptions>) -> Self {
        self.redis = Some(server.into());
        self
    }

    /// A further tier; give them from fast to slow.
    pub fn tier(mut self, backend: Arc<dyn L2CacheBackend>, config: TierConfig) -> Self {
        self.tiers.push(CacheTier { backend, config });
        self
    }

    /// Where streams are kept.
    pub fn streams(mut self, backend: Arc<dyn StreamingBackend>) -> Self {
        self.streams = Some(backend);
        self
    }

    /// Tells the other instances about invalidations, over the server of [`redis`](Self::redis). The configuration's channel
    /// is the namespace of the cluster.
    pub fn invalidation(mut self, config: crate::InvalidationConfig) -> Self {
        self.invalidation = Some(config);
        self
    }

    /// The name that instances of one cache share in Redis (default: `tercel`): its keys begin with it.
    pub fn cluster_namespace(mut self, name: &str) -> Self {
        self.namespace = Some(name.to_owned());
        self
    }

    /// Options for every call that does not set its own.
    pub fn defaults(mut self, options: impl Into<EntryOptions>) -> Self {
        self.defaults = options.into();
        self
    }

    /// The most that the tiers below L1 may take for one request, in all: `soft` where a stale value could stand in
    /// (default: 50 ms), `hard` otherwise (default: 500 ms).
    pub fn tier_deadline(mut self, soft: Duration, hard: Duration) -> Self {
        self.deadlines = Some(Deadlines { soft, hard });
        self
    }

    /// The most closures that run at once (default: unlimited); the rest wait in order, or get a stale value.
    pub fn load_budget(mut self, closures: usize) -> Self {
        self.load_budget = Some(closures);
        self
    }

    /// The time by which values age; for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Who hears of removals from L1, on a thread of its own.
    pub fn listener(mut self, listener: Arc<dyn Listener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Starts the cache. Servers need not be up: they are connected in the background, and
    /// [`ready`](CacheManager::ready) waits for them.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config), naming the setting.
    pub fn build(self) -> Result<CacheManager> {
        let defaults = self.defaults.clone();
        CacheManager::start(self.parts()?, defaults)
    }

    fn parts(mut self) -> Result<Parts> {
        let mut parts = Parts::with_tiers(std::mem::take(&mut self.tiers))?;
        parts.l1 = self.l1(&mut parts.tiers)?;
        parts.invalidation = self.invalidation.take();
        parts.namespace = self.namespace.take();
        self.connect(&mut parts)?;
        parts.streams = self.streams;
        parts.deadlines = self.deadlines;
        parts.load_budget = self.load_budget;
        parts.clock = self.clock;
        parts.listener = self.listener;
        Ok(parts)
    }

    /// L1: the one among the tiers, or one of its own unless another tier is at level 1.
    fn l1(&self, tiers: &mut Vec<CacheTier>) -> Result<Option<(Arc<L1Cache>, f64)>> {
        let given = tiers.first().filter(|tier| tier.config.tier_level == 1).map(|tier| tier.backend.name().to_owned());
        if let Some(given) = given {
            let set = [
                ("l1_capacity", self.capacity.is_some()),
                ("l1_weight", self.weight.is_some()),
                ("max_entry_size", self.max_entry.is_some()),
            ];
            if let Some((setting, _)) = set.iter().find(|(_, set)| *set) {
                let message = format!("{setting} is set, but tier 1 is `{given}`, which was given with its own bounds");
                return Err(Error::config(message));
            }
            return Ok(take_l1(tiers));
        }
        let mut l1 = L1Cache::builder();
        if let Some(entries) = self.capacity {
            l1 = l1.capacity(entries);
        }
        if let Some(bytes) = self.weight {
            l1 = l1.weight(bytes);
        }
        if let Some(bytes) = self.max_entry {
            l1 = l1.max_entry_size(bytes);
        }
        Ok(Some((Arc::new(l1.build()?), 1.0)))
    }

    #[cfg(feature = "redis")]
    fn connect(&mut self, parts: &mut Parts) -> Result<()> {
        let Some(server) = self.redis.take() else {
            if parts.invalidation.is_some() {
                return Err(Error::config("invalidation is set, but redis, which it goes over, is not"));
            }
            return without_redis(parts);
        };
        if let Some(config) = &parts.invalidation {
            let default = crate::InvalidationConfig::default().channel;
            match &parts.namespace {
                Some(name) if *name != config.channel && config.channel != default => {
                    return Err(Error::config(format!(
                        "cluster_namespace is `{name}` and the channel of invalidation is `{}`: they are one name",
                        config.channel
                    )));
                }
                Some(_) => {}
                None => parts.namespace = Some(config.channel.clone()),
            }
        }
        if let (Some(config), Some(name)) = (&mut parts.invalidation, &parts.namespace) {
            config.channel.clone_from(name);
            parts.word = Some(server.clone());
        }
        if let Some(second) = parts.tiers.iter().find(|tier| tier.config.tier_level == 2) {
            let message = format!("redis is tier 2, and so is `{}`, which was given with tier", second.backend.name());
            return Err(Error::config(message));
        }
        let backend = Arc::new(crate::L2Cache::with_options(server.clone())?);
        let at = parts.tiers.iter().position(|tier| tier.config.tier_level > 2).unwrap_or(parts.tiers.len());
        parts.tiers.insert(at, CacheTier { backend, config: TierConfig::as_l2() });
        parts.stream_server = Some(server);
        Ok(())
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, reason = "the other build reads it")]
    fn connect(&mut self, parts: &mut Parts) -> Result<()> {
        if parts.invalidation.is_some() {
            return Err(Error::config("invalidation is set, but it goes over redis, a feature that this build lacks"));
        }
        without_redis(parts)
    }
}

fn without_redis(parts: &Parts) -> Result<()> {
    let named = parts.namespace.is_some();
    #[cfg(feature = "redis")]
    let named = named && !parts.tiers.iter().any(|tier| tier.backend.name() == "redis");
    if named {
        return Err(Error::config("cluster_namespace is set, but there is no Redis in which it would name keys"));
    }
    Ok(())
}

impl std::fmt::Debug for CacheManagerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("CacheManagerBuilder");
        shown.field("l1_capacity", &self.capacity).field("l1_weight", &self.weight).field("tiers", &self.tiers);
        #[cfg(feature = "redis")]
        shown.field("redis", &self.redis);
        shown.finish_non_exhaustive()
    }
}
