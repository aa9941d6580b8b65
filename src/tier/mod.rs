//! Tiers below L1: the traits a tier implements, and the tiers that come with the crate.

mod config;
mod l1_cache;
mod memory;
#[cfg(feature = "quick-cache")]
mod quick_cache;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod shield;

pub use config::{CacheTier, TierConfig};
pub use l1_cache::{L1Builder, L1Cache};
pub use memory::{MemoryTier, Operation};
#[cfg(feature = "quick-cache")]
pub use quick_cache::QuickCacheBackend;
#[cfg(feature = "redis")]
pub(crate) use redis::{DEFAULT_NAMESPACE, Wiring};
#[cfg(feature = "redis")]
pub use redis::{L2Cache, RedisOptions, RedisStreams};

use std::any::Any;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
pub(crate) use crate::runtime::BoxFuture;

/// A store of opaque bytes under string keys, each with a time to live.
///
/// The bytes are the engine's own frame: keep them as they are. A failed operation is an error, never a miss
/// ([`Error::tier`] makes one); "not there" is `Ok(None)`.
///
/// # Cancel safety
/// The engine drives every operation to its end or drops it at its deadline; a dropped `set_with_ttl` may or may not have
/// taken effect.
pub trait CacheBackend: Any + Send + Sync {
    /// The bytes stored under `key`, if they are there and their time has not passed.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Stores `value` under `key` for `ttl`, replacing what is there.
    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>>;

    /// Removes what is stored under `key`; nothing there is no error.
    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes every key that `pattern` matches, with the meaning of Redis `MATCH`.
    ///
    /// # Errors
    /// [`is_unsupported`](Error::is_unsupported) unless the tier implements it.
    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        let _ = pattern;
        let message = format!("tier `{}` cannot remove by pattern", self.name());
        Box::pin(async move { Err(Error::unsupported(message)) })
    }

    /// Whether the tier can serve requests now.
    fn health_check(&self) -> BoxFuture<'_, bool>;

    /// A short name for statistics, logs and errors.
    fn name(&self) -> &str;
}

/// A tier that knows how long its values have left.
pub trait L2CacheBackend: CacheBackend {
    /// The bytes stored under `key` and their remaining time to live; `None` for the time where the tier cannot tell.
    #[expect(clippy::type_complexity, reason = "the type says it all once, and users implement it as it stands")]
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>>;
}
