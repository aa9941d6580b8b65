//! What stands between the engine and a tier: the deadline of a request, and a place to run for foreign code.
//!
//! A tier of the crate's own drives itself on the engine's background thread. A foreign tier may expect a tokio runtime
//! around its futures; the shield enters the engine's own while it polls them. The caller's, if there is one, may have no
//! timers and no I/O, and may end before the engine does.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::{BoxFuture, L2CacheBackend, TierConfig};
use crate::clock::Clock;
use crate::counter::Counters;
use crate::error::{Error, Kind, Result};
use crate::random::Random;
use crate::stats::{TierHealth, TierStats};

const HITS: usize = 0;
const MISSES: usize = 1;
const ERRORS: usize = 2;
const SKIPPED: usize = 3;

/// The most that a removal by pattern may take.
const LONGEST_SCAN: Duration = Duration::from_secs(60);

/// Deadlines that are no further apart are the same: no timer is finer.
const GRAIN: Duration = Duration::from_millis(1);

/// What a tier answered to one lookup, as its counters see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Hit,
    Miss,
    Error,
    Skipped,
}

/// A lower tier as the engine sees it.
pub(crate) struct Tier {
    backend: Arc<dyn L2CacheBackend>,
    config: TierConfig,
    foreign: bool,
    /// The most that one operation takes, by the backend's own deadline. Without one, for ever.
    longest: Duration,
    clock: Arc<dyn Clock>,
    context: tokio::runtime::Handle,
    counters: Counters<4>,
}

impl Tier {
    pub(crate) fn new(
        backend: Arc<dyn L2CacheBackend>,
        config: TierConfig,
        foreign: bool,
        clock: Arc<dyn Clock>,
        context: tokio::runtime::Handle,
    ) -> Self {
        let tier = Self { backend, config, foreign, longest: Duration::MAX, clock, context, counters: Counters::new() };
        #[cfg(feature = "redis")]
        let tier = Self { longest: tier.redis().map_or(tier.longest, |redis| redis.options().longest()), ..tier };
        tier
    }

    pub(crate) fn level(&self) -> usize {
        self.config.tier_level
    }

    pub(crate) fn name(&self) -> &str {
        self.backend.name()
    }

    /// The tier as Redis, if it is.
    #[cfg(feature = "redis")]
    pub(crate) fn redis(&self) -> Option<&super::L2Cache> {
        let any: &dyn std::any::Any = &*self.backend;
        any.downcast_ref()
    }

    /// Whether this hit is one of those that are copied upwards.
    pub(crate) fn promotes(&self, random: &dyn Random) -> bool {
        let n = self.config.promotion_frequency;
        self.config.promotion_enabled && (n == 1 || random.below(n as u64) == 0)
    }

    /// How long this tier keeps what was given `ttl`.
    pub(crate) fn scaled(&self, ttl: Duration) -> Duration {
        scale(ttl, self.config.ttl_scale)
    }

    pub(crate) fn count(&self, answer: Answer) {
        self.counters.count(match answer {
            Answer::Hit => HITS,
            Answer::Miss => MISSES,
            Answer::Error => ERRORS,
            Answer::Skipped => SKIPPED,
        });
    }

    /// The bytes under `key` and their remaining time. The caller counts the answer.
    pub(crate) async fn get(&self, key: &str, until: Duration) -> Result<Option<(Bytes, Option<Duration>)>> {
        self.within(self.needed(until), async { self.backend.get_with_ttl(key).await }).await
    }

    pub(crate) async fn set(&self, key: &str, bytes: Bytes, ttl: Duration, until: Duration) -> Result<()> {
        self.within(self.needed(until), async { self.backend.set_with_ttl(key, bytes, ttl).await }).await
    }

    pub(crate) async fn remove(&self, key: &str, until: Duration) -> Result<()> {
        self.within(self.needed(until), async { self.backend.remove(key).await }).await
    }

    /// Removes by pattern, within [`LONGEST_SCAN`]: a tier may have to walk all of its keys.
    pub(crate) async fn remove_pattern(&self, pattern: &str) -> Result<()> {
        let until = self.clock.now().saturating_add(LONGEST_SCAN);
        self.within(until, async { self.backend.remove_pattern(pattern).await }).await
    }

    pub(crate) async fn health(&self, until: Duration) -> TierHealth {
        let problem = self.within(until, self.check()).await.err().map(|error| error.to_string());
        TierHealth { tier_level: self.level(), backend_name: self.name().to_owned(), problem }
    }

    /// Whether the backend can serve; one of the crate's own says why it cannot.
    async fn check(&self) -> Result<()> {
        #[cfg(feature = "redis")]
        if let Some(redis) = self.redis() {
            return redis.check().await;
        }
        if self.backend.health_check().await {
            Ok(())
        } else {
            Err(Error::new(Kind::TIER, "it says that it cannot serve"))
        }
    }

    pub(crate) fn stats(&self) -> TierStats {
        TierStats {
            tier_level: self.level(),
            backend_name: self.name().to_owned(),
            hits: self.counters.sum(HITS),
            misses: self.counters.sum(MISSES),
            errors: self.counters.sum(ERRORS),
            skipped: self.counters.sum(SKIPPED),
        }
    }

    /// `until`, or no deadline if the backend keeps one that is as good: a timer of its own for every operation costs more
    /// than all else that happens on the caller's side.
    fn needed(&self, until: Duration) -> Duration {
        let kept = self.clock.now().saturating_add(self.longest);
        if self.longest < Duration::MAX && kept <= until.saturating_add(GRAIN) { Duration::MAX } else { until }
    }

    async fn within<T>(&self, until: Duration, operation: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let operation = InContext { operation: pin!(operation), context: self.foreign.then_some(&self.context) };
        let answer = timeout(&*self.clock, until, operation).await;
        match answer.map(|answer| answer.unwrap_or_else(|Panicked| Err(self.panicked()))) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) if error.is_tier() || error.is_unsupported() || error.is_too_large() => Err(error),
            // Whatever a foreign tier fails with, it is the tier that failed.
            Some(Err(error)) => {
                Err(Error::with_source(Kind::TIER, format!("tier `{}` failed", self.name()), error.into()))
            }
            None => Err(Error::new(
                Kind::TIER.and(Kind::TIMEOUT),
                format!("tier `{}` did not answer within its deadline", self.name()),
            )),
        }
    }

    fn panicked(&self) -> Error {
        Error::tier(format!("tier `{}` panicked", self.name()))
    }
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("name", &self.name()).field("config", &self.config).finish_non_exhaustive()
    }
}

/// `ttl` times `scale`; what does not fit is the longest time there is.
pub(crate) fn scale(ttl: Duration, scale: f64) -> Duration {
    if scale == 1.0 {
        return ttl;
    }
    Duration::try_from_secs_f64(ttl.as_secs_f64() * scale).unwrap_or(Duration::MAX)
}

/// The output of `future`, or `None` once `clock` has reached `until`. A future that is ready at once needs no timer.
pub(crate) async fn timeout<F: Future>(clock: &dyn Clock, until: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer: Option<BoxFuture<'static, ()>> = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if until == Duration::MAX {
            return Poll::Pending;
        }
        timer.get_or_insert_with(|| clock.sleep_until(until)).as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// A foreign tier's operation panicked. It counts as a failure of the tier: what a panic would unwind is a write or an
/// invalidation on its way through the other tiers.
struct Panicked;

/// A future polled inside the context of the engine's own tokio runtime, with its panics caught, if it is foreign.
struct InContext<'a, F> {
    operation: Pin<&'a mut F>,
    context: Option<&'a tokio::runtime::Handle>,
}

impl<F: Future> Future for InContext<'_, F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(context) = self.context else { return self.operation.as_mut().poll(cx).map(Ok) };
        let _entered = context.enter();
        // A future that panicked is polled no more.
        match catch_unwind(AssertUnwindSafe(|| self.operation.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

/// A tier that cannot tell remaining times, as one that answers "unknown".
pub(crate) struct WithoutTtl(pub(crate) Arc<dyn super::CacheBackend>);

impl super::CacheBackend for WithoutTtl {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.0.get(key)
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.0.set_with_ttl(key, value, ttl)
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.remove(key)
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        self.0.remove_pattern(pattern)
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        self.0.health_check()
    }

    fn name(&self) -> &str {
        self.0.name()
    }
}

impl L2CacheBackend for WithoutTtl {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move { Ok(self.0.get(key).await?.map(|bytes| (bytes, None))) })
    }
}
