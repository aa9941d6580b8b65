//! `QuickCacheBackend`: a bounded tier in memory over the `quick_cache` crate.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::{BoxFuture, CacheBackend, L2CacheBackend};
use crate::error::{Error, Result};

/// A tier over [`quick_cache`](https://docs.rs/quick_cache), bounded by entries, with a time to live per entry.
///
/// As tier 1 it has no hot path: [`L1Cache`](crate::L1Cache) is the faster choice there. Between L1 and a slow tier it can
/// hold more than L1 is given.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use tercel::{CacheManager, QuickCacheBackend, TierConfig};
///
/// let middle = Arc::new(QuickCacheBackend::new(100_000)?);
/// let cache = CacheManager::builder().l1_capacity(1_000).tier(middle, TierConfig::as_l2()).build()?;
/// # let _ = cache;
/// # Ok::<(), tercel::Error>(())
/// ```
pub struct QuickCacheBackend {
    cache: Cache<Box<str>, Stored>,
    origin: Instant,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    /// `None`: for ever.
    until: Option<Duration>,
}

impl QuickCacheBackend {
    /// A tier of at most `max_capacity` entries.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if `max_capacity` is 0.
    pub fn new(max_capacity: u64) -> Result<Self> {
        let capacity = usize::try_from(max_capacity).unwrap_or(usize::MAX);
        if capacity == 0 {
            return Err(Error::config("max_capacity of QuickCacheBackend is 0: it could hold nothing"));
        }
        Ok(Self { cache: Cache::new(capacity), origin: Instant::now() })
    }

    fn look(&self, key: &str) -> Option<(Bytes, Option<Duration>)> {
        let found = self.cache.get(key)?;
        let Some(until) = found.until else { return Some((found.bytes, None)) };
        match until.checked_sub(self.origin.elapsed()) {
            Some(left) if !left.is_zero() => Some((found.bytes, Some(left))),
            // Only the very value that is over goes: a newer one may have come since it was read.
            _ => {
                self.cache.remove_if(key, |stored| stored.until == Some(until));
                None
            }
        }
    }
}

impl std::fmt::Debug for QuickCacheBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuickCacheBackend").field("capacity", &self.cache.capacity()).finish_non_exhaustive()
    }
}

impl CacheBackend for QuickCacheBackend {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.look(key).map(|(bytes, _)| bytes)) })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let until = self.origin.elapsed().checked_add(ttl);
            self.cache.insert(key.into(), Stored { bytes: value, until });
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.cache.remove(key);
            Ok(())
        })
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.cache.retain(|key, _| !crate::glob::matches(pattern.as_bytes(), key.as_bytes()));
            Ok(())
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    fn name(&self) -> &str {
        "quick_cache"
    }
}

impl L2CacheBackend for QuickCacheBackend {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move { Ok(self.look(key)) })
    }
}
