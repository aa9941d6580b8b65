//! Putting an engine together from its parts, and refusing parts that do not fit.

use std::any::Any;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use super::invalidate::Sweeps;
use super::repair::{Repairs, repair};
#[cfg(feature = "redis")]
use super::shared::Ear;
use super::shared::Shared;
use super::upkeep::tick;
use super::{Core, Deadlines};
use crate::clock::{Clock, SystemClock};
use crate::counter::Counters;
use crate::error::{Error, Result};
use crate::flight::Flights;
use crate::l1::{L1, Limits, Removals};
use crate::listener::Listener;
use crate::random::SystemRandom;
use crate::runtime::{Runtime, Spawn};
#[cfg(feature = "redis")]
use crate::shared::Hear;
use crate::shared::InvalidationConfig;
use crate::stream::StreamingBackend;
use crate::sync::atomic::AtomicBool;
use crate::tier::L1Cache;
#[cfg(feature = "redis")]
use crate::tier::redis::{Link, PARTITIONS, RedisShared, Watch, WatchOptions};
use crate::tier::shield::Tier;
use crate::tier::{CacheTier, L2CacheBackend, MemoryTier};
#[cfg(feature = "redis")]
use crate::tier::{L2Cache, RedisOptions, RedisStreams, Wiring};
use crate::trust::Trust;

/// What an engine is made from.
#[derive(Default)]
pub(crate) struct Parts {
    /// Tier 1, where it is L1, and the scale of its times.
    pub(crate) l1: Option<(Arc<L1Cache>, f64)>,
    /// The other tiers in order; a foreign tier 1 is the first of them.
    pub(crate) tiers: Vec<CacheTier>,
    pub(crate) streams: Option<Arc<dyn StreamingBackend>>,
    /// The server for streams, where no backend was given.
    #[cfg(feature = "redis")]
    pub(crate) stream_server: Option<RedisOptions>,
    /// The server over which instances hear each other.
    #[cfg(feature = "redis")]
    pub(crate) word: Option<RedisOptions>,
    pub(crate) invalidation: Option<InvalidationConfig>,
    pub(crate) namespace: Option<String>,
    pub(crate) deadlines: Option<Deadlines>,
    pub(crate) load_budget: Option<usize>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
}

/// A tier as one of ours, where it is.
fn as_ours<T: Any>(backend: &Arc<dyn L2CacheBackend>) -> Option<&T> {
    let any: &dyn Any = &**backend;
    any.downcast_ref::<T>()
}

fn is_foreign(backend: &Arc<dyn L2CacheBackend>) -> bool {
    let ours = as_ours::<MemoryTier>(backend).is_some();
    #[cfg(feature = "redis")]
    let ours = ours || as_ours::<L2Cache>(backend).is_some();
    #[cfg(feature = "quick-cache")]
    let ours = ours || as_ours::<crate::tier::QuickCacheBackend>(backend).is_some();
    !ours
}

impl Parts {
    /// Tiers as given by level: tier 1 is taken out of them if it is an `L1Cache`.
    ///
    /// # Errors
    /// `is_config` for tiers that are unsorted, twice at one level, or an `L1Cache` anywhere but at level 1.
    pub(crate) fn with_tiers(tiers: Vec<CacheTier>) -> Result<Self> {
        check_levels(&tiers)?;
        Ok(Self { tiers, ..Self::default() })
    }

    fn check(&self) -> Result<()> {
        check_levels(&self.tiers)?;
        if let Some(misplaced) = self.tiers.iter().find(|tier| as_ours::<L1Cache>(&tier.backend).is_some()) {
            let level = misplaced.config.tier_level;
            return Err(Error::config(format!(
                "tier {level} is an L1Cache: an L1Cache can only be given as such at level 1"
            )));
        }
        if self.l1.is_some() && self.tiers.first().is_some_and(|tier| tier.config.tier_level == 1) {
            return Err(Error::config("there are two tiers of level 1: the L1 of its own, and one that was given"));
        }
        self.check_hearing()?;
        if let Some(namespace) = &self.namespace
            && (namespace.is_empty() || namespace.contains(['{', '}']))
        {
            let name = if self.invalidation.as_ref().is_some_and(|config| config.channel == *namespace) {
                "the channel of invalidation, which is the cluster_namespace,"
            } else {
                "cluster_namespace"
            };
            return Err(Error::config(format!("{name} is `{namespace}`: it needs a character and may have no braces")));
        }
        let Deadlines { soft, hard } = self.deadlines.unwrap_or_default();
        if hard.is_zero() || soft > hard {
            return Err(Error::config(format!(
                "tier_deadline: soft {soft:?} is longer than hard {hard:?}, or hard is zero"
            )));
        }
        if self.load_budget == Some(0) {
            return Err(Error::config("load_budget is 0: no closure could ever run"));
        }
        Ok(())
    }

    /// Refuses a tier that lives in this process alone beside a shared one: the word of another instance takes a key out of
    /// L1, and the old value would come back from that tier, into L1 and into Redis.
    #[cfg(feature = "quick-cache")]
    fn check_hearing(&self) -> Result<()> {
        let deaf = |tier: &&CacheTier| as_ours::<crate::tier::QuickCacheBackend>(&tier.backend).is_some();
        match (&self.invalidation, self.tiers.iter().find(deaf)) {
            (Some(_), Some(tier)) => Err(Error::config(format!(
                "invalidation is set, and tier {} is a QuickCacheBackend: it lives in this process alone and does not hear \
                 the other instances",
                tier.config.tier_level
            ))),
            _ => Ok(()),
        }
    }

    #[cfg(not(feature = "quick-cache"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the other build can refuse")]
    fn check_hearing(&self) -> Result<()> {
        Ok(())
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// `is_config`, naming the setting.
    pub(crate) fn assemble(self) -> Result<Arc<Core>> {
        self.check()?;
        let io = Runtime::start()?;
        let foreign = self.tiers.iter().any(|tier| is_foreign(&tier.backend));
        let worker = if foreign { Some(Runtime::start_worker()?) } else { None };
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new(io.timers())));
        let trust = Arc::new(self.trust());
        let l1 = match &self.l1 {
            Some((cache, _)) => {
                let removals = self.listener.clone().map(Removals::start).transpose()?;
                cache.attach(clock.tick(), trust.clone(), removals)?
            }
            None => Arc::new(L1::new(Limits::NOTHING, clock.tick(), trust.clone(), None)),
        };
        let tiers = self.connect(&io, worker.as_ref(), &clock)?;
        let streams = self.streams(&io)?;
        #[cfg(feature = "redis")]
        let sharing = self.sharing(&io)?;
        let core = Arc::new_cyclic(|weak: &Weak<Core>| {
            #[cfg(feature = "redis")]
            let shared = sharing.map(|sharing| Arc::new(sharing.start(&clock, weak)));
            #[cfg(not(feature = "redis"))]
            let (shared, _): (Option<Arc<Shared>>, _) = (None, weak);
            Core {
                hot: self.l1.is_some(),
                l1_cache: self.l1.as_ref().map(|(cache, _)| cache.clone()),
                l1_scale: self.l1.as_ref().map_or(1.0, |(_, scale)| *scale),
                l1,
                trust,
                tiers,
                loads: Flights::new(),
                lone: Flights::new(),
                reads: Flights::new(),
                lanes: Flights::new(),
                repairs: Arc::new(Repairs::default()),
                sweeps: Sweeps::default(),
                shared,
                announces_every_write: self.invalidation.as_ref().is_some_and(|config| config.auto_broadcast_on_write),
                streams,
                load_budget: self.load_budget.map(|most| Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
                deadlines: self.deadlines.unwrap_or_default(),
                clock: clock.clone(),
                random: Arc::new(SystemRandom),
                tasks: worker.as_ref().unwrap_or(&io).spawner(),
                io,
                worker,
                counters: Counters::new(),
                closed: AtomicBool::new(false),
            }
        });
        // What the watch said before there was an engine to hear it.
        core.want_bumps();
        core.io.spawn(Box::pin(tick(Arc::downgrade(&core), clock, core.trust.clone())));
        core.tasks.spawn(Box::pin(repair(Arc::downgrade(&core))));
        Ok(core)
    }

    #[cfg(feature = "redis")]
    fn trust(&self) -> Trust {
        match self.word {
            // The links of the partitions, that of the control clock, and what stands for having read it.
            Some(_) => Trust::shared(PARTITIONS, usize::from(PARTITIONS) + 2),
            None => Trust::alone(),
        }
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, reason = "the other build reads it")]
    fn trust(&self) -> Trust {
        Trust::alone()
    }

    /// What instances share, if they do: the values of the Redis tier, where there is one at the server of the word.
    ///
    /// # Errors
    /// `is_config` if the tier and the word are at different servers: a change would not be told in the step that makes it.
    #[cfg(feature = "redis")]
    fn sharing(&self, io: &Arc<Runtime>) -> Result<Option<Sharing>> {
        let Some(options) = &self.word else { return Ok(None) };
        let namespace = self.namespace.clone().unwrap_or_else(|| crate::tier::DEFAULT_NAMESPACE.to_owned());
        let wiring = Wiring::new(options, io.spawner())?;
        let at = self.tiers.iter().position(|tier| as_ours::<L2Cache>(&tier.backend).is_some());
        let tier = match at.and_then(|index| as_ours::<L2Cache>(&self.tiers[index].backend)) {
            Some(redis) if !redis.is_at(&wiring.endpoint) => {
                return Err(Error::config(format!(
                    "invalidation goes over {}, and the Redis tier is {redis:?}: give both the same server, so that a change \
                     is told in the step that makes it",
                    wiring.endpoint
                )));
            }
            Some(redis) => redis.share(&namespace, wiring.random.clone())?,
            None => RedisShared::new(Link::start(wiring.clone()), &namespace, PARTITIONS, wiring.random.clone()),
        };
        let audit = self.invalidation.as_ref().filter(|config| config.enable_audit_stream);
        let tier = match audit {
            Some(config) => tier.audited(&config.audit_stream, config.audit_stream_maxlen),
            None => tier,
        };
        Ok(Some(Sharing { tier, at, wiring }))
    }

    fn connect(&self, io: &Arc<Runtime>, worker: Option<&Arc<Runtime>>, clock: &Arc<dyn Clock>) -> Result<Box<[Tier]>> {
        let tier = |tier: &CacheTier| {
            #[cfg(feature = "redis")]
            if let Some(redis) = as_ours::<L2Cache>(&tier.backend) {
                redis.attach(io, self.namespace.as_deref().unwrap_or(crate::tier::DEFAULT_NAMESPACE))?;
            }
            let context = worker.unwrap_or(io).handle().clone();
            let foreign = is_foreign(&tier.backend);
            Ok(Tier::new(tier.backend.clone(), tier.config.clone(), foreign, clock.clone(), context))
        };
        self.tiers.iter().map(tier).collect()
    }

    #[cfg(feature = "redis")]
    fn streams(&self, io: &Arc<Runtime>) -> Result<Option<Arc<dyn StreamingBackend>>> {
        match (&self.streams, &self.stream_server) {
            (Some(streams), _) => Ok(Some(streams.clone())),
            (None, Some(server)) => {
                let streams = RedisStreams::with_options(server.clone())?;
                streams.attach(io)?;
                Ok(Some(Arc::new(streams)))
            }
            (None, None) => Ok(None),
        }
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unnecessary_wraps, reason = "the other build can fail")]
    fn streams(&self, _: &Arc<Runtime>) -> Result<Option<Arc<dyn StreamingBackend>>> {
        Ok(self.streams.clone())
    }
}

fn check_levels(tiers: &[CacheTier]) -> Result<()> {
    for tier in tiers {
        tier.config.check()?;
    }
    for pair in tiers.windows(2) {
        let (upper, lower) = (pair[0].config.tier_level, pair[1].config.tier_level);
        if upper == lower {
            return Err(Error::config(format!("two tiers have level {upper}: each tier needs a level of its own")));
        }
        if upper > lower {
            return Err(Error::config(format!(
                "tier {lower} comes after tier {upper}: give the tiers from fast to slow"
            )));
        }
    }
    Ok(())
}

/// Takes tier 1 out of `tiers` if it is an `L1Cache`.
pub(crate) fn take_l1(tiers: &mut Vec<CacheTier>) -> Option<(Arc<L1Cache>, f64)> {
    let first = tiers.first()?;
    let any: Arc<dyn Any + Send + Sync> = first.backend.clone();
    let cache = any.downcast::<L1Cache>().ok().filter(|_| first.config.tier_level == 1)?;
    let scale = tiers.remove(0).config.ttl_scale;
    Some((cache, scale))
}

/// A shared tier that nobody hears yet.
#[cfg(feature = "redis")]
struct Sharing {
    tier: RedisShared,
    at: Option<usize>,
    wiring: Wiring,
}

#[cfg(feature = "redis")]
impl Sharing {
    fn start(self, clock: &Arc<dyn Clock>, core: &Weak<Core>) -> Shared {
        let ear: Arc<dyn Hear> = Arc::new(Ear(core.clone()));
        let watch = Watch::start(self.wiring, WatchOptions::of(&self.tier), clock.clone(), Arc::downgrade(&ear));
        Shared::new(Arc::new(self.tier), self.at, Arc::new(watch), ear)
    }
}
