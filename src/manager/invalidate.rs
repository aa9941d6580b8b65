//! An invalidation: out of L1, out of every tier, and the word to the other instances.

use std::sync::Arc;
use std::time::Duration;

use super::write::{SHARED, Untaken, settle, shown};
use super::{Core, LONGEST_KEY, Mark};
use crate::error::{Error, Kind, Result};
use crate::glob;
use crate::shared::Bump;
use crate::stats::RemovalCause;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The patterns that are being removed from the tiers, one tier after the other. What is read from a lower tier meanwhile
/// may be what that tier is about to remove: it is stored in no other.
#[derive(Default)]
pub(super) struct Sweeps {
    patterns: Mutex<Vec<Arc<str>>>,
    count: AtomicUsize,
}

/// A pattern that is being removed.
#[must_use]
struct Sweep<'a> {
    sweeps: &'a Sweeps,
    pattern: Arc<str>,
}

impl Sweeps {
    fn begin(&self, pattern: &str) -> Sweep<'_> {
        let pattern: Arc<str> = pattern.into();
        let mut patterns = self.patterns.lock();
        patterns.push(pattern.clone());
        // Release, edge `sweep`: whoever stores after this count was seen finds the pattern.
        self.count.store(patterns.len(), Ordering::Release);
        Sweep { sweeps: self, pattern }
    }

    /// Whether `key` is being removed by a pattern.
    pub(super) fn covers(&self, key: &str) -> bool {
        // Acquire, edge `sweep`. A store that misses a count just set is in its lane, which the sweep waits for.
        self.count.load(Ordering::Acquire) > 0
            && self.patterns.lock().iter().any(|pattern| glob::matches(pattern.as_bytes(), key.as_bytes()))
    }
}

impl Drop for Sweep<'_> {
    fn drop(&mut self) {
        let mut patterns = self.sweeps.patterns.lock();
        if let Some(at) = patterns.iter().position(|pattern| Arc::ptr_eq(pattern, &self.pattern)) {
            patterns.swap_remove(at);
        }
        // Release, edge `sweep`: whoever sees the sweep over also sees the markers gone that it killed.
        self.sweeps.count.store(patterns.len(), Ordering::Release);
    }
}

impl Core {
    /// Removes `key` everywhere. Once this is `Ok`, no reader of this process gets an older value.
    pub(crate) async fn invalidate(self: &Arc<Self>, key: &str) -> Result<()> {
        self.admit(key)?;
        self.kill(key);
        if self.tiers.is_empty() && self.shared.is_none() {
            return Ok(());
        }
        // From here on: the wait for the lane counts, however many others wait for it.
        let until = self.now().saturating_add(self.deadlines.hard);
        let (core, key) = (self.clone(), Arc::<str>::from(key));
        self.to_the_end(async move { core.invalidate_through(&key, until).await }).await?
    }

    async fn invalidate_through(&self, key: &str, until: Duration) -> Result<()> {
        let _lane = self.lane(key).await;
        self.remove_everywhere(key, until).await
    }

    /// The caller holds the key's lane (E1).
    async fn remove_everywhere(&self, key: &str, until: Duration) -> Result<()> {
        self.kill(key);
        let untaken = self.remove_below(key, until).await;
        // Whatever was read while the tiers still had the old value goes (E4).
        self.kill(key);
        settle(&format!("the invalidation of `{}`", shown(key)), untaken)
    }

    /// Removes what is there in favour of a result that is not stored, unless something newer came since `mark` was placed
    /// (E2).
    pub(super) async fn take_away(self: &Arc<Self>, mark: Mark, until: Duration) {
        if self.tiers.is_empty() && self.shared.is_none() {
            return;
        }
        let core = self.clone();
        let work = async move {
            let _lane = core.lane(&mark.key).await;
            if mark.holds() {
                // What a tier did not take is retried; no caller fails for it.
                let _ = core.remove_everywhere(&mark.key, until).await;
            }
        };
        let _ = self.to_the_end(work).await;
    }

    /// Last from the shared tier, which tells the others: they are to find nothing older in any.
    async fn remove_below(&self, key: &str, until: Duration) -> Vec<Untaken> {
        let mut untaken = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate().filter(|(index, _)| !self.is_shared(*index)) {
            match tier.remove(key, until).await {
                Ok(()) => self.settled(index, key),
                Err(error) => {
                    self.repairs.owe(index, key);
                    untaken.push(Untaken { by: format!("tier `{}`", tier.name()), error });
                }
            }
        }
        if let Err(error) = self.remove_shared(key, until).await {
            untaken.push(Untaken { by: self.shared_name(), error });
        }
        untaken
    }

    /// What the shared tier is called where it does not take a change.
    pub(super) fn shared_name(&self) -> String {
        match self.shared.as_ref().and_then(|shared| shared.at) {
            Some(index) => format!("tier `{}`", self.tiers[index].name()),
            None => SHARED.into(),
        }
    }

    /// Removes every key that `pattern` matches, everywhere.
    pub(crate) async fn invalidate_pattern(self: &Arc<Self>, pattern: &str) -> Result<()> {
        self.admit_any()?;
        if pattern.is_empty() || pattern.len() > LONGEST_KEY {
            return Err(Error::new(Kind::KEY, format!("a pattern has 1 byte to 64 KiB, this has {}", pattern.len())));
        }
        if self.shared.is_some() && self.has_no_other_tier() {
            let (core, bump) = (self.clone(), Bump::Pattern(pattern.to_owned()));
            let what = format!("the invalidation of the pattern `{}`", shown(pattern));
            return self.to_the_end(async move { core.bump_alone(bump, &what).await }).await?;
        }
        self.kill_pattern(pattern);
        if self.tiers.is_empty() {
            return Ok(());
        }
        let (core, pattern) = (self.clone(), pattern.to_owned());
        self.to_the_end(async move { core.invalidate_pattern_through(pattern).await }).await?
    }

    async fn invalidate_pattern_through(&self, pattern: String) -> Result<()> {
        let sweep = self.sweeps.begin(&pattern);
        self.drain_lanes(&pattern).await;
        self.kill_pattern(&pattern);
        let mut untaken = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate().filter(|(index, _)| !self.is_shared(*index)) {
            if let Err(error) = tier.remove_pattern(&pattern).await {
                if !error.is_unsupported() {
                    self.repairs.owe_pattern(index, &pattern);
                }
                untaken.push(Untaken { by: format!("tier `{}`", tier.name()), error });
            }
        }
        self.kill_pattern(&pattern);
        // After the kill: whoever finds the sweep over finds its marker gone if it is too old.
        drop(sweep);
        let what = format!("the invalidation of the pattern `{}`", shown(&pattern));
        if let Err(error) = self.bump(Bump::Pattern(pattern)).await {
            untaken.push(Untaken { by: self.shared_name(), error });
        }
        settle(&what, untaken)
    }

    /// Waits for the writes of matching keys that are under way: they may have passed their look at the marker. Those that
    /// come after find it gone.
    async fn drain_lanes(&self, pattern: &str) {
        for key in self.lanes.keys_where(|key| glob::matches(pattern.as_bytes(), key.as_bytes())) {
            drop(self.lane(&key).await);
        }
    }

    /// Out of L1, with every permission to store it; and nobody joins a flight of it any more.
    pub(super) fn kill(&self, key: &str) {
        self.l1.kill(key, RemovalCause::Invalidated);
        self.unlink(key);
    }

    fn kill_pattern(&self, pattern: &str) {
        let doomed = |key: &str| glob::matches(pattern.as_bytes(), key.as_bytes());
        self.kill_where(doomed);
    }

    pub(super) fn kill_where(&self, doomed: impl Fn(&str) -> bool) {
        self.l1.kill_where(RemovalCause::Invalidated, &doomed);
        self.unlink_where(doomed);
    }

    /// Nobody joins a flight of these keys any more.
    pub(super) fn unlink_where(&self, doomed: impl Fn(&str) -> bool) {
        self.loads.unlink_where(&doomed);
        self.lone.unlink_where(&doomed);
        self.reads.unlink_where(&doomed);
    }
}
