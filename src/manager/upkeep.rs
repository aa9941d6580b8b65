//! What the engine does unasked: the coarse tick, the sweep of dead entries; and health, statistics, start and end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Core, Count};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::shared::InvalidationStats;
use crate::stats::{CacheManagerStats, Health, RemovalCause, TierHealth, TierStats};
use crate::sync::atomic::Ordering;
use crate::tier::shield::timeout;
use crate::trust::Trust;

const TICK: Duration = Duration::from_millis(4);
/// One sweep in this many ticks.
const SWEEP_EVERY: u32 = 8;

/// Drives the tick and the sweep until the engine is gone.
pub(super) async fn tick(core: Weak<Core>, clock: Arc<dyn Clock>, trust: Arc<Trust>) {
    let tick = clock.tick();
    let mut ticks = 0u32;
    loop {
        tick.set(clock.now());
        trust.expire(clock.now());
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(SWEEP_EVERY) {
            let Some(core) = core.upgrade() else { return };
            // A value whose drop panics must not stop the time; nor what it panics with.
            if let Err(panicked) = catch_unwind(AssertUnwindSafe(|| core.l1.sweep())) {
                std::mem::forget(panicked);
            }
        }
        clock.sleep_until(clock.now().saturating_add(TICK)).await;
    }
}

/// What to do about a reader that keeps all that is retired from being freed, if there is one.
fn held_back() -> Option<String> {
    /// About a second's worth, where little is written.
    const LONG: u64 = 256;
    let rounds = crate::epoch::domain().held_back();
    (rounds > LONG).then(|| {
        format!(
            "a reader has held what it looks at for {rounds} rounds of reclamation, and memory grows: find the closure of \
             with_cached that blocks"
        )
    })
}

impl Core {
    pub(crate) fn stats(&self) -> CacheManagerStats {
        let n = |which: Count| self.counters.sum(which as usize);
        let l1_hits = n(Count::L1Hit);
        let total_hits = l1_hits + n(Count::SecondHit) + n(Count::LowerHit) + n(Count::FlightHit);
        let (misses, stale, absent) = (n(Count::Miss), n(Count::Stale), n(Count::Absent) + n(Count::L1Absent));
        let total_requests = total_hits + misses + stale + absent;
        let percent = |part: u64| if total_requests == 0 { 0.0 } else { part as f64 * 100.0 / total_requests as f64 };
        CacheManagerStats {
            total_requests,
            l1_hits,
            l2_hits: n(Count::SecondHit),
            total_hits,
            misses,
            stale,
            absent,
            hit_rate: percent(total_hits),
            l1_hit_rate: percent(l1_hits),
            promotions: usize::try_from(n(Count::Promotion)).unwrap_or(usize::MAX),
            in_flight_requests: self.loads.len() + self.lone.len(),
            computations: n(Count::Computation),
            lone_computations: n(Count::LoneComputation),
            codec_misses: n(Count::CodecMiss),
            pending_repairs: self.repairs.len(),
            resident_entries: self.l1.len(),
            resident_weight: self.l1.weight(),
            reclamation_held_back: crate::epoch::domain().held_back(),
            inserted: self.l1.inserted(),
            replaced: self.l1.removed(RemovalCause::Replaced),
            invalidated: self.l1.removed(RemovalCause::Invalidated),
            expired: self.l1.removed(RemovalCause::Expired),
            evicted: self.l1.removed(RemovalCause::Evicted),
            rejected: self.l1.removed(RemovalCause::Rejected),
        }
    }

    pub(crate) fn tier_stats(&self) -> Vec<TierStats> {
        let n = |which: Count| self.counters.sum(which as usize);
        let l1 = self.hot.then(|| {
            let (hits, skipped) = (n(Count::L1Hit) + n(Count::L1Absent), n(Count::L1Skipped));
            // A snapshot taken while requests end need not add up.
            let misses = self.stats().total_requests.saturating_sub(hits + skipped);
            TierStats { tier_level: 1, backend_name: "l1".into(), hits, misses, errors: 0, skipped }
        });
        l1.into_iter().chain(self.tiers.iter().map(|tier| tier.stats())).collect()
    }

    pub(crate) fn invalidation_stats(&self) -> Option<InvalidationStats> {
        self.shared.as_ref().map(|shared| shared.stats())
    }

    pub(crate) async fn health(&self) -> Health {
        let problem = self.admit_any().err().map(|error| error.to_string());
        let l1 = TierHealth { tier_level: 1, backend_name: "l1".into(), problem };
        let mut tiers: Vec<_> = self.hot.then_some(l1).into_iter().collect();
        for tier in &self.tiers {
            tiers.push(tier.health(self.now().saturating_add(self.deadlines.hard)).await);
        }
        let deaf = self.shared.as_ref().and_then(|shared| shared.watch.deaf()).map(|error| error.to_string());
        Health { tiers, invalidation: deaf, reclamation: held_back() }
    }

    /// Changes how much L1 holds.
    pub(crate) fn resize(&self, entries: usize, weight: u64) -> Result<()> {
        self.admit_any()?;
        match &self.l1_cache {
            Some(l1) => l1.resize(entries, weight),
            None => Err(Error::config("tier 1 is not an L1Cache: its bounds are its own")),
        }
    }

    /// Waits until every server has been reached and this instance hears the others.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.admit_any()?;
        #[cfg(feature = "redis")]
        for tier in &self.tiers {
            if let Some(redis) = tier.redis() {
                redis.ready().await?;
            }
        }
        if let Some(shared) = &self.shared {
            shared.watch.ready().await?;
            let mut knows = shared.knows_bumps.subscribe();
            let _ =
                timeout(&*self.clock, Duration::MAX, knows.wait_for(|knows| *knows || self.admit_any().is_err())).await;
        }
        self.admit_any()
    }

    /// Ends the flights, waits for the writes that have begun, and stops. Twice is no error.
    pub(crate) async fn close(&self) {
        // Release, edge `close`: flights that start after this see it, those before are ended below.
        self.closed.store(true, Ordering::Release);
        if let Some(shared) = &self.shared {
            // Whoever waits for it looks again.
            shared.knows_bumps.send_modify(|_| {});
        }
        self.loads.end_all(Err(Error::closed()));
        self.lone.end_all(Err(Error::closed()));
        self.reads.end_all(super::read::Read::closed());
        for key in self.lanes.keys_where(|_| true) {
            drop(self.lane(&key).await);
        }
        self.kill_where(|_| true);
        if let Some(shared) = &self.shared {
            // What was made invalid is freed, if that does not take long.
            let until = self.now().saturating_add(self.deadlines.hard);
            let mut left = shared.to_reclaim.subscribe();
            let _ = timeout(&*self.clock, until, left.wait_for(|left| *left == 0)).await;
        }
        // With it end the timers of whoever still waits. The thread of foreign tiers stays until the last handle is gone: an
        // operation of theirs may be polled by its caller right now, and tokio's timers panic where their runtime is gone.
        self.io.stop().await;
    }

    /// What a request came to, where the end of the cache is what ended its wait.
    pub(super) fn unless_closed<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.is_timeout() || error.is_tier() => self.admit_any().and(Err(error)),
            outcome => outcome,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), String> {
        self.l1.validate()?;
        for (what, len) in
            [("load", self.loads.len() + self.lone.len()), ("read", self.reads.len()), ("lane", self.lanes.len())]
        {
            if len != 0 {
                return Err(format!("{len} {what} flights were left behind"));
            }
        }
        Ok(())
    }
}
