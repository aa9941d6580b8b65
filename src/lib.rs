//! A multi-tier cache engine: L1 in process, L2 Redis, any tier below; one computation per missing key; tasks and threads.
//!
//! - [`CacheManager`] is the async handle, [`blocking::CacheManager`] the one for threads; both stand on one engine.
//! - [`Value`] is what is cached: one immutable MessagePack document, shared by reference count.
//! - [`EntryOptions`] says how long and how; [`CacheManager::builder`] what the cache is made of.
//! - [`CacheBackend`] and [`L2CacheBackend`] are what a tier of your own implements.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use serde::{Deserialize, Serialize};
//! use tercel::CacheManager;
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let cache = CacheManager::builder().build()?;
//! // However many ask at once, the closure runs once.
//! let user: User = cache
//!     .get_or_compute_typed("user:7", Duration::from_secs(300), || async {
//!         tercel::ok(User { id: 7, name: "Grace".into() })
//!     })
//!     .await?;
//! assert_eq!(cache.get_typed::<User>("user:7").await?, Some(user));
//! # Ok::<(), tercel::Error>(()) }).unwrap();
//! ```
//!
//! # Features
//! `redis` and `json` are on by default, `quick-cache` is not. Without any the crate is the engine in process alone.

#![cfg_attr(docsrs, feature(doc_cfg))]

// Floor 0
mod error;
mod glob;
mod hash;
mod hint;
mod sync;
// Floor 1
mod clock;
mod counter;
mod entry;
mod epoch;
mod park;
mod random;
mod runtime;
// Floor 2
mod listener;
mod options;
mod stats;
mod trust;
mod value;
// Floor 3
mod flight;
mod frame;
mod l1;
mod shared;
// Floor 4
mod stream;
mod tier;
// Floor 5
mod manager;
// Floor 6
mod cache_manager;
// Floor 7
pub mod blocking;

pub use cache_manager::{CacheManager, CacheManagerBuilder, Load, LoadValue};
pub use clock::{Clock, ManualClock, Tick};
pub use error::{BoxError, Error, Result, ok};
pub use listener::Listener;
pub use manager::{Lookup, MissReason};
pub use options::{CacheStrategy, EntryOptions, Loaded};
pub use runtime::BoxFuture;
pub use shared::{InvalidationConfig, InvalidationStats};
pub use stats::{CacheManagerStats, Health, RemovalCause, TierHealth, TierStats};
pub use stream::{StreamEntry, StreamingBackend};
#[cfg(feature = "quick-cache")]
pub use tier::QuickCacheBackend;
pub use tier::{CacheBackend, CacheTier, L1Builder, L1Cache, L2CacheBackend, MemoryTier, Operation, TierConfig};
#[cfg(feature = "redis")]
pub use tier::{L2Cache, RedisOptions, RedisStreams};
pub use value::{Value, ValueRef};

/// The programs of the README compile and, where they need no server, run.
#[cfg(all(doctest, feature = "redis", feature = "json"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
