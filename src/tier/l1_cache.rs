//! `L1Cache`: the public handle of L1, its settings, and L1 as a tier of opaque bytes.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{BoxFuture, CacheBackend, L2CacheBackend};
use crate::clock::{Tick, deadline, signed};
use crate::entry::{Entry, Times};
use crate::error::{Error, Result};
use crate::l1::{L1, Limits, Removals};
use crate::stats::RemovalCause;
use crate::trust::Trust;
use crate::value::{Value, ValueRef};

/// The tier in this process: bounded by entries and by bytes at once, read without locks.
///
/// It belongs to one manager; giving it to a second one is [`is_config`](Error::is_config). The manager drives its time, and
/// reclaims what has expired; without one, what has expired is never found, but stays until it is evicted.
///
/// # Examples
/// ```
/// use tercel::L1Cache;
///
/// let l1 = L1Cache::builder().capacity(10_000).weight(64 << 20).build()?;
/// # let _ = l1;
/// # Ok::<(), tercel::Error>(())
/// ```
pub struct L1Cache {
    limits: Limits,
    /// The greatest entry, as it was set.
    max_entry: Option<u64>,
    origin: Instant,
    table: OnceLock<Owned>,
}

struct Owned {
    l1: Arc<L1>,
    /// The tick that this handle drives itself while no manager does.
    own_tick: Option<Arc<Tick>>,
}

/// Settings of an [`L1Cache`].
#[derive(Debug, Clone)]
#[must_use]
pub struct L1Builder {
    entries: usize,
    weight: u64,
    max_entry: Option<u64>,
}

impl Default for L1Builder {
    fn default() -> Self {
        Self { entries: 100_000, weight: 256 << 20, max_entry: None }
    }
}

impl L1Builder {
    /// The most entries (default: 100,000).
    pub fn capacity(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// The most bytes of keys, values and bookkeeping (default: 256 MiB).
    pub fn weight(mut self, bytes: u64) -> Self {
        self.weight = bytes;
        self
    }

    /// The weight above which an entry skips L1 and is served from below (default: a 64th of `weight`, 64 KiB at the
    /// least where that fits).
    pub fn max_entry_size(mut self, bytes: u64) -> Self {
        self.max_entry = Some(bytes);
        self
    }

    /// # Errors
    /// [`is_config`](Error::is_config) if nothing could ever be resident.
    pub fn build(self) -> Result<L1Cache> {
        let (limits, max_entry) = (self.limits()?, self.max_entry);
        Ok(L1Cache { limits, max_entry, origin: Instant::now(), table: OnceLock::new() })
    }

    pub(crate) fn limits(&self) -> Result<Limits> {
        if self.entries == 0 {
            return Err(Error::config("l1_capacity is 0: L1 could hold nothing"));
        }
        let least = Entry::OVERHEAD as u64 + 1;
        if self.weight < least {
            return Err(Error::config(format!(
                "l1_weight is {} bytes, less than one entry needs ({least})",
                self.weight
            )));
        }
        let max_entry = match self.max_entry {
            Some(bytes) if bytes > self.weight => {
                return Err(Error::config(format!(
                    "max_entry_size is {bytes} bytes, more than the whole of l1_weight ({})",
                    self.weight
                )));
            }
            Some(bytes) if bytes < least => {
                return Err(Error::config(format!(
                    "max_entry_size is {bytes} bytes, less than one entry needs ({least})"
                )));
            }
            Some(bytes) => bytes,
            None => (self.weight / 64).max(least.max(self.weight.min(64 << 10))),
        };
        Ok(Limits { entries: self.entries, weight: self.weight, max_entry })
    }
}

impl L1Cache {
    /// L1 with default bounds: 100,000 entries and 256 MiB.
    ///
    /// # Errors
    /// None with the default bounds.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Settings of an L1.
    pub fn builder() -> L1Builder {
        L1Builder::default()
    }

    /// Hands the table to a manager.
    pub(crate) fn attach(&self, tick: Arc<Tick>, trust: Arc<Trust>, removals: Option<Removals>) -> Result<Arc<L1>> {
        let mut fresh = None;
        self.table.get_or_init(|| {
            let l1 = Arc::new(L1::new(self.limits, tick, trust, removals));
            fresh = Some(l1.clone());
            Owned { l1, own_tick: None }
        });
        fresh.ok_or_else(|| Error::config("this L1Cache is in use already: an L1Cache belongs to one manager"))
    }

    #[inline]
    fn table(&self) -> &L1 {
        match self.table.get() {
            Some(Owned { l1, own_tick: None }) => l1,
            _ => self.own_table(),
        }
    }

    /// The table where no manager drives the time.
    #[cold]
    #[inline(never)]
    fn own_table(&self) -> &L1 {
        let owned = self.table.get_or_init(|| {
            let tick = Arc::new(Tick::default());
            Owned {
                l1: Arc::new(L1::new(self.limits, tick.clone(), Arc::new(Trust::alone()), None)),
                own_tick: Some(tick),
            }
        });
        if let Some(tick) = &owned.own_tick {
            tick.set(self.origin.elapsed());
        }
        &owned.l1
    }

    /// The fresh value of `key`, or `None`; a plain function that counts the hit.
    ///
    /// # Cost
    /// The bare owned hit: one hash, one probe, one key compare and one reference count.
    #[must_use]
    #[inline]
    pub fn find(&self, key: &str) -> Option<Value> {
        self.table().hit(key, Value::of).flatten()
    }

    /// Runs `call` on the fresh value of `key`, borrowed; a plain function that counts the hit. The closure must not block,
    /// as [`CacheManager::with_cached`](crate::CacheManager::with_cached) says.
    ///
    /// # Cost
    /// The bare hit: one hash, one probe and one key compare. No reference count is touched.
    #[inline]
    pub fn with_cached<R>(&self, key: &str, call: impl FnOnce(&ValueRef<'_>) -> R) -> Option<R> {
        self.table().hit(key, |entry| ValueRef::of(entry).map(|value| call(&value))).flatten()
    }

    /// Makes a raw payload resident under `key`, whatever is there; a plain function.
    ///
    /// # Panics
    /// If the key has 1 GiB or more: keys are not checked here.
    ///
    /// # Cost
    /// One allocation, in which key and payload are copied (a payload above 4 KiB is kept as given), and the short lock of a
    /// shard. What is evicted is freed a little at a time.
    pub fn insert(&self, key: &str, payload: impl Into<Bytes>, ttl: Duration) {
        let l1 = self.table();
        let end = deadline(Duration::from_millis(l1.now()), ttl);
        let times = Times { written: signed(l1.now()), fresh_until: end, dead_at: end };
        l1.insert(l1.payload(key, payload.into(), times));
    }

    /// Changes the bounds while the cache is used. What is too much goes before this returns, by and by: writers wait for a
    /// few entries at the most. L1 keeps the shards that it was built with, 16 at the most, and an entry fits into one of
    /// them: what is heavier than a shard's part of `weight` skips L1, whatever bound was set on single entries.
    ///
    /// # Errors
    /// As [`L1Builder::build`]; and [`is_config`](Error::is_config) for bounds with which a shard could hold nothing.
    pub fn resize(&self, entries: usize, weight: u64) -> Result<()> {
        let limits = L1Builder { entries, weight, max_entry: self.max_entry }.limits()?;
        let shards = self.table().shards();
        if entries < shards || weight / (shards as u64) <= Entry::OVERHEAD as u64 {
            return Err(Error::config(format!(
                "l1_capacity is {entries} and l1_weight {weight}: this L1 has {shards} shards, and each must hold an entry"
            )));
        }
        self.table().resize(limits);
        Ok(())
    }

    /// Resident entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether nothing is resident.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the resident entries weigh, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.table().weight()
    }

    /// Recounts every queue, bound and counter; for tests, when nothing else runs.
    ///
    /// # Errors
    /// What does not add up, in words.
    pub fn validate(&self) -> Result<(), String> {
        self.table().validate()
    }

    fn bytes(&self, key: &str) -> Option<(Bytes, Duration)> {
        let l1 = self.table();
        l1.hit(key, |entry| {
            let left = Duration::from_millis(entry.times().dead_at.saturating_sub(l1.now()));
            Value::of(entry).and_then(|value| value.to_bytes()).map(|bytes| (bytes, left))
        })
        .flatten()
    }
}

impl std::fmt::Debug for L1Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1Cache").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// L1 outside a manager: a tier of opaque bytes. A manager that is given an `L1Cache` does not come this way.
impl CacheBackend for L1Cache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.bytes(key).map(|(bytes, _)| bytes)) })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.insert(key, value, ttl);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.table().kill(key, RemovalCause::Invalidated);
            Ok(())
        })
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let doomed = |key: &str| crate::glob::matches(pattern.as_bytes(), key.as_bytes());
            self.table().kill_where(RemovalCause::Invalidated, doomed);
            Ok(())
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    fn name(&self) -> &str {
        "l1"
    }
}

impl L2CacheBackend for L1Cache {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move { Ok(self.bytes(key).map(|(bytes, left)| (bytes, Some(left)))) })
    }
}
