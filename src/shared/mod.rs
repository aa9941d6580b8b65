//! The tier that instances share: what they ask of it, and what it tells them unasked.
//!
//! Every change of shared data takes effect in one step at the tier: the data changes, the key's lease goes, the next
//! number of the partition's sequence is taken, and everybody is told under that number.
//!
//! # Invariants
//! - H1: an instance that is told of a change touches what is its own, never the tier.
//! - H2: whoever may have missed a change is told that its entries are suspect before anything else of that partition.
//! - H3: a load is stored only under the lease that it was given before it read the source; every change takes the lease.

#![cfg_attr(
    not(all(test, feature = "redis")),
    expect(dead_code, reason = "bulk reads and the tier in one process are not built on it yet")
)]

mod change;
mod config;
#[cfg(test)]
#[path = "contract_tests.rs"]
pub(crate) mod contract;
pub(crate) mod follow;
#[cfg(test)]
#[path = "law_tests.rs"]
mod law;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod replay;

pub(crate) use change::{Bumps, Change, Control, Controlled};

pub use config::{InvalidationConfig, InvalidationStats};

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::runtime::BoxFuture;

/// The bytes of a frame as the tier has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) frame: Bytes,
    pub(crate) life: Life,
}

impl Stored {
    /// The time until the tier forgets it, if it says so.
    pub(crate) fn left(&self) -> Option<Duration> {
        match self.life {
            Life::Left(left) => Some(left),
            Life::Age(_) | Life::Unknown => None,
        }
    }
}

/// What the tier says of how long it keeps a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// The time until it forgets it.
    Left(Duration),
    /// How long ago it has stored it, on its own clock: the frame knows for how long that was.
    Age(Duration),
    /// Nothing.
    Unknown,
}

/// Names one attempt to load. Random; one whose answer was not seen is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseToken(pub(crate) [u8; 16]);

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leased {
    /// The caller computes, and may commit.
    Granted,
    /// Somebody has stored another value than the one that the caller knows.
    Stored(Stored),
    /// Somebody else computes, for at most this long unless the lease is renewed.
    Waits(Duration),
    /// The key is under a hold for this long: the caller computes, and nothing is stored.
    Held(Duration),
}

/// Where a change stands in its partition's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) partition: u16,
    /// 0 if the tier had no number to give: everybody was told to suspect all of the partition instead.
    pub(crate) sequence: u64,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whether the value is there: a write under a hold stores nothing, and is announced all the same.
    pub(crate) stored: bool,
    pub(crate) place: Place,
}

/// Stands for the control partition where [`Hear`] names partitions; no partition of data has this number.
pub(crate) const CONTROL: u16 = u16::MAX;

/// A change of many entries at once, by a number of the control clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bump {
    Tag(String),
    /// Every key that the glob matches.
    Pattern(String),
    Clear,
}

/// What the other instances, and the tier itself, tell. Called on the engine's background thread; must not block, and holds
/// the engine by weak references only.
pub(crate) trait Hear: Send + Sync {
    /// Another instance has changed these keys.
    fn changed(&self, keys: &[&str], how: Change);

    /// The lease of `key` has ended: its value is there, or nobody computes it any more.
    fn settled(&self, key: &str);

    /// Changes of `partition` may have been missed: what is held of it, or is being loaded, is to be asked for again
    /// before it is used.
    fn suspect(&self, partition: u16);

    /// Another instance has changed many entries at once.
    fn bumped(&self, bump: &Controlled);

    /// Bumps may have been missed: before anything is used, what is known of tags, patterns and clears is to be read anew.
    fn read_control(&self);

    /// Another server answers than before, or the same one with another history: what it acknowledged lately may be
    /// undone.
    fn replaced(&self, partition: u16);

    /// Until when what is held of `partition` may be used without asking, on the clock of the engine; earlier than before
    /// where the tier was lost. [`CONTROL`]: until when the control clock may be taken for the newest.
    fn trusted(&self, partition: u16, until: Duration);
}

/// The shared tier.
///
/// # Cancel safety
/// A future dropped after its first poll may have taken effect.
pub(crate) trait SharedTier: Send + Sync {
    /// The frame of `key`.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>>>;

    /// The frames of `keys`, in their order: one round trip for each partition, where a tier has stamped them all.
    fn get_many<'a>(&'a self, keys: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Option<Stored>>>>;

    /// The first 64 bytes of the frame of `key`, if there is one.
    fn header<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Asks to be the one who computes `key`, for `lease` at first. `known`: the write id of the frame that the caller has
    /// and does not want.
    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        lease: Duration,
        known: Option<u64>,
    ) -> BoxFuture<'a, Result<Leased>>;

    /// Holds a lease for longer; false if it is lost, and then nothing is to be committed.
    fn renew<'a>(&'a self, key: &'a str, token: LeaseToken, lease: Duration) -> BoxFuture<'a, Result<bool>>;

    /// Stores what was computed under a lease, and ends it; false if the lease was lost.
    fn commit<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        frame: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool>>;

    /// Ends a lease without a value.
    fn release<'a>(&'a self, key: &'a str, token: LeaseToken) -> BoxFuture<'a, Result<()>>;

    /// Stores a frame, and tells the others unless it is `quiet`: what they hold stays then.
    fn put<'a>(&'a self, key: &'a str, frame: Bytes, ttl: Duration, quiet: bool) -> BoxFuture<'a, Result<Written>>;

    /// Removes keys, and tells the others; with a `hold`, nothing is stored under them for so long. One place for each
    /// partition that has any of the keys.
    fn invalidate<'a>(&'a self, keys: &'a [&'a str], hold: Duration) -> BoxFuture<'a, Result<Vec<Place>>>;

    /// As [`invalidate`](SharedTier::invalidate) of one key, certain to take effect after every write of it that this
    /// instance has sent, also those that were not acknowledged.
    fn settle<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Place>>;

    /// Changes many entries at once; `known` is the newest number of the control clock that the caller has seen.
    fn bump<'a>(&'a self, bump: &'a Bump, known: u64) -> BoxFuture<'a, Result<Controlled>>;

    /// All that was bumped so far.
    fn bumps(&self) -> BoxFuture<'_, Result<Bumps>>;

    /// Lifts the control clock above all that was given, as far as is known here: a server that has taken over may lag behind.
    fn lift(&self, known: u64) -> BoxFuture<'_, Result<u64>>;

    /// Frees what a pattern has made invalid at `clock`, and nobody uses any more. Walks all keys, a bounded step at a time.
    fn reclaim<'a>(&'a self, pattern: &'a str, clock: u64) -> BoxFuture<'a, Result<()>>;

    /// Leaves the server that the tier is on for the one that answers now: what was sent and not acknowledged is lost, or may
    /// take effect on the old one alone.
    fn leave(&self);

    /// Sees whether this release and those that others run understand each other.
    ///
    /// # Errors
    /// `is_config` if not, naming both.
    fn check(&self) -> BoxFuture<'_, Result<()>>;

    /// The partition of `key`.
    fn partition(&self, key: &str) -> u16;

    /// How many partitions there are.
    fn partitions(&self) -> u16;
}

/// What hears the shared tier, until it is dropped.
pub(crate) trait Watching: Send + Sync {
    /// Ends when this instance hears the others.
    fn ready(&self) -> BoxFuture<'_, Result<()>>;

    /// Why this instance does not hear the others at present; `None` while it does.
    fn deaf(&self) -> Option<Error>;

    /// Whether the last attempt to hear them failed, and the next is not due yet.
    fn is_down(&self) -> bool;

    fn heard(&self) -> Heard;
}

/// What has been heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Messages, one's own too.
    pub(crate) messages: u64,
    /// Messages that said nothing.
    pub(crate) refused: u64,
    /// Losses that were noticed by a number.
    pub(crate) gaps: u64,
    /// Changes that were not heard, and read from the log.
    pub(crate) replayed: u64,
    /// How often everything became suspect.
    pub(crate) suspects: u64,
    /// Connections after the first.
    pub(crate) reconnects: u64,
}
