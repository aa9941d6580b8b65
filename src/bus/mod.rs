//! Telling the other instances about changes.
//!
//! # Invariants
//! B1. A receiver touches this process only, never the tier that instances share.
//! B2. Whoever may have missed a message is told of the gap before the bus says that it is live.
//! B3. An instance does not hear itself.

mod config;
#[cfg(feature = "redis")]
mod message;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
#[cfg(feature = "redis")]
mod tests;

pub use config::{InvalidationConfig, InvalidationStats};
#[cfg(feature = "redis")]
pub(crate) use redis::RedisBus;

use crate::error::{Error, Result};
use crate::tier::BoxFuture;

/// What other instances have to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// These keys are gone.
    Remove(Vec<String>),
    /// These keys have other values now.
    Update(Vec<String>),
    /// Every key that the glob matches is gone.
    Pattern(String),
    /// Every key is gone.
    Clear,
}

/// Carries changes from this instance to the others.
pub(crate) trait Bus: Send + Sync {
    /// Sends `change`; `Ok` once the server has it, which is when every instance that listens will hear of it.
    ///
    /// # Cancel safety
    /// A future dropped after its first poll may have announced the change.
    fn announce(&self, change: Change) -> BoxFuture<'_, Result<()>>;

    /// What was sent and heard.
    fn stats(&self) -> InvalidationStats;

    /// Ends when this instance hears the others.
    fn ready(&self) -> BoxFuture<'_, Result<()>>;

    /// Why this instance does not hear the others at present; `None` while it does.
    fn deaf(&self) -> Option<Error>;
}

/// What the bus does in this process. Called on the background thread; must not block, and must hold the engine by weak
/// references only, or a bus and its engine keep each other alive.
#[cfg(feature = "redis")]
pub(crate) trait Receiver: Send + Sync {
    /// Another instance announced `change`.
    fn apply(&self, change: &Change);

    /// Messages may have been lost: nothing held in this process, and nothing that is being loaded, can be trusted to
    /// have heard of every change. Called whenever the bus starts to hear, the first time too.
    fn gap(&self);
}
