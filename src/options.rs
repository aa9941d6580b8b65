//! Options of one write or load, and the settings they resolve to.

use std::sync::Arc;
use std::time::Duration;

use crate::hash;
use crate::value::Value;

/// Life times for common kinds of data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheStrategy {
    /// 10 seconds.
    RealTime,
    /// 5 minutes.
    ShortTerm,
    /// 1 hour.
    MediumTerm,
    /// 3 hours.
    LongTerm,
    /// As long as given.
    Custom(Duration),
    /// 5 minutes.
    #[default]
    Default,
}

impl CacheStrategy {
    /// The life time that the strategy stands for.
    #[must_use]
    pub fn to_duration(&self) -> Duration {
        match self {
            Self::RealTime => Duration::from_secs(10),
            Self::ShortTerm | Self::Default => Duration::from_secs(5 * 60),
            Self::MediumTerm => Duration::from_secs(60 * 60),
            Self::LongTerm => Duration::from_secs(3 * 60 * 60),
            Self::Custom(ttl) => *ttl,
        }
    }
}

/// How one write or load is to be done. What is not set comes from the handle's defaults
/// ([`with_defaults`](crate::CacheManager::with_defaults)), then from the engine's.
///
/// | option | default | `set_*`, `update_cache` | `get_or_compute_*` | plain reads (through `with_defaults`) |
/// |---|---|---|---|---|
/// | `ttl` | 5 min | yes | yes | – |
/// | `l1_ttl` | `ttl` | yes | yes | for what they promote |
/// | `grace` | 0 | yes | yes | – |
/// | `jitter` | 0 | yes | yes | – |
/// | `negative_ttl` | 10 s, at most `ttl` | – | yes | – |
/// | `hard_timeout` | 30 s | – | yes | – |
/// | `max_age` | none | – | yes | yes |
/// | `fallback` | none | – | yes | – |
/// | `tags` | none | yes | yes | – |
/// | `skip_tier` | none | yes | yes | yes |
///
/// # Cost
/// From a `Duration` or a [`CacheStrategy`] nothing is allocated; any other option takes one allocation in all.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tercel::{CacheStrategy, EntryOptions};
///
/// let plain: EntryOptions = Duration::from_secs(60).into();
/// let more = EntryOptions::from(CacheStrategy::MediumTerm).grace(Duration::from_secs(600)).jitter(Duration::from_secs(30));
/// # let _ = (plain, more);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct EntryOptions {
    ttl: Option<Duration>,
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, Default)]
struct More {
    l1_ttl: Option<Duration>,
    grace: Option<Duration>,
    jitter: Option<Duration>,
    hard_timeout: Option<Duration>,
    negative_ttl: Option<Duration>,
    max_age: Option<Duration>,
    fallback: Option<Value>,
    tags: Vec<Arc<str>>,
    skipped: Skipped,
}

/// A set of tier levels: 1 to 63.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Skipped(u64);

impl Skipped {
    pub(crate) fn has(self, level: usize) -> bool {
        level < 64 && self.0 & (1 << level) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl EntryOptions {
    /// Nothing set: everything comes from the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_with(Box::default)
    }

    /// How long the value is fresh. Zero: it is not stored, and what is there goes.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long the copy in L1 is fresh, where that is to be shorter than elsewhere.
    pub fn l1_ttl(mut self, ttl: Duration) -> Self {
        self.more().l1_ttl = Some(ttl);
        self
    }

    /// How long after its time to live a value may still stand in when a computation fails (fail-safe).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.more().grace = Some(grace);
        self
    }

    /// The most by which a life is shortened at random, so that values written together do not end together. Drawn once
    /// per write, the same for all tiers.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.more().jitter = Some(most);
        self
    }

    /// The most that a computation, or the wait for one, may take.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.more().hard_timeout = Some(timeout);
        self
    }

    /// How long "the source has none" is remembered. Zero: not at all.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.more().negative_ttl = Some(ttl);
        self
    }

    /// Values written longer ago than this are refused.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.more().max_age = Some(age);
        self
    }

    /// What to return when the computation fails and no stale value stands in. It is not stored.
    pub fn fallback(mut self, value: impl Into<Value>) -> Self {
        self.more().fallback = Some(value.into());
        self
    }

    /// Names groups that the value belongs to, for [`invalidate_tag`](crate::CacheManager::invalidate_tag); those of a handle's
    /// defaults and of [`Loaded::tags`] are added. A view's own tags are its prefix and the name, as its keys are.
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.more().tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Leaves a tier out, reading and writing; may be given several times. Levels start at 1; there are at most 63.
    pub fn skip_tier(mut self, level: usize) -> Self {
        if level < 64 {
            self.more().skipped.0 |= 1 << level;
        }
        self
    }

    /// These options, and where they say nothing those.
    pub(crate) fn over(self, base: &EntryOptions) -> EntryOptions {
        let ttl = self.ttl.or(base.ttl);
        let more = match (self.more, &base.more) {
            (None, None) => None,
            (Some(own), None) => Some(own),
            (None, Some(base)) => Some(base.clone()),
            (Some(own), Some(base)) => Some(Box::new(More {
                l1_ttl: own.l1_ttl.or(base.l1_ttl),
                grace: own.grace.or(base.grace),
                jitter: own.jitter.or(base.jitter),
                hard_timeout: own.hard_timeout.or(base.hard_timeout),
                negative_ttl: own.negative_ttl.or(base.negative_ttl),
                max_age: own.max_age.or(base.max_age),
                fallback: own.fallback.or_else(|| base.fallback.clone()),
                tags: own.tags.into_iter().chain(base.tags.iter().cloned()).collect(),
                skipped: Skipped(own.skipped.0 | base.skipped.0),
            })),
        };
        EntryOptions { ttl, more }
    }

    /// Whether every resident fresh value satisfies these options.
    #[inline]
    pub(crate) fn takes_any_hit(&self) -> bool {
        match &self.more {
            None => true,
            Some(more) => more.max_age.is_none() && more.skipped.is_empty(),
        }
    }

    /// As a view whose keys begin with `prefix` understands them.
    pub(crate) fn settings(self, prefix: &Arc<str>) -> Settings {
        let ttl = self.ttl.unwrap_or(DEFAULT_TTL);
        let more = self.more.map(|more| *more).unwrap_or_default();
        Settings {
            ttl,
            l1_ttl: more.l1_ttl,
            grace: more.grace.unwrap_or(Duration::ZERO),
            jitter: more.jitter.unwrap_or(Duration::ZERO),
            hard_timeout: more.hard_timeout.unwrap_or(DEFAULT_HARD_TIMEOUT),
            negative_ttl: more.negative_ttl.unwrap_or(DEFAULT_NEGATIVE_TTL.min(ttl)),
            max_age: more.max_age,
            fallback: more.fallback,
            tags: more.tags,
            prefix: prefix.clone(),
            skipped: more.skipped,
        }
    }
}

const DEFAULT_TTL: Duration = Duration::from_secs(5 * 60);
const DEFAULT_HARD_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(10);

impl From<Duration> for EntryOptions {
    fn from(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), more: None }
    }
}

impl From<CacheStrategy> for EntryOptions {
    fn from(strategy: CacheStrategy) -> Self {
        strategy.to_duration().into()
    }
}

impl From<&EntryOptions> for EntryOptions {
    fn from(options: &EntryOptions) -> Self {
        options.clone()
    }
}

/// Options with every default filled in.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) ttl: Duration,
    pub(crate) l1_ttl: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) jitter: Duration,
    pub(crate) hard_timeout: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) fallback: Option<Value>,
    pub(crate) tags: Vec<Arc<str>>,
    /// What precedes the names of tags.
    pub(crate) prefix: Arc<str>,
    pub(crate) skipped: Skipped,
}

impl Settings {
    /// The stable hashes of these tags and of `more`, each once, in order.
    pub(crate) fn tags_and(&self, more: &[Arc<str>]) -> Option<Arc<[u64]>> {
        if self.tags.is_empty() && more.is_empty() {
            return None;
        }
        let named = self.tags.iter().chain(more);
        let mut hashes: Vec<u64> = named.map(|tag| hash::stable_hash(&format!("{}{tag}", self.prefix))).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Some(hashes.into())
    }
}

/// What a computation returns: a value or the word that the source has none, and what to do with it.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use tercel::{CacheManager, Loaded};
///
/// let cache = CacheManager::default();
/// let page = cache
///     .get_or_compute_with("page", Duration::from_secs(60), || async {
///         // The source said how long it may be kept.
///         tercel::ok(Loaded::new("<html>").ttl(Duration::from_secs(5)))
///     })
///     .await?;
/// assert_eq!(page.decode::<String>()?, "<html>");
/// # Ok::<(), tercel::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Loaded {
    pub(crate) value: Option<Value>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) weight: Option<u32>,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) store: bool,
}

impl Loaded {
    /// A value, to be stored as the call's options say.
    pub fn new(value: impl Into<Value>) -> Self {
        Self { value: Some(value.into()), ttl: None, weight: None, tags: Vec::new(), store: true }
    }

    /// The source has no value for the key.
    pub fn absent() -> Self {
        Self { value: None, ttl: None, weight: None, tags: Vec::new(), store: true }
    }

    /// How long this value is fresh, instead of what the options say.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What this value weighs in L1, in bytes, instead of its encoded length.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Names groups that this value belongs to, besides those that the options name.
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Returns the value to the callers that wait for it and stores it nowhere.
    pub fn do_not_store(mut self) -> Self {
        self.store = false;
        self
    }
}

impl<V: Into<Value>> From<V> for Loaded {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl<V: Into<Value>> From<Option<V>> for Loaded {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::absent, Self::new)
    }
}
