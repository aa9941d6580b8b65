//! Redis as the tier that instances share: every change is one script, in one partition.
//!
//! # Invariants
//! - R1: what is stored under a lease, or instead of another value, comes through a script that checks and announces it in the
//!   same step; payloads are staged beside it and renamed, since one that passes through a script costs a hundredfold.
//! - R2: a server's error is told or worked around, never taken for an answer; what lies under our names and is not ours is
//!   a miss, and goes with the next change.

mod change;
mod control;
mod lease;
mod read;
mod scriptless;
mod scripts;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;

use self::scripts::Runner;
use super::link::Link;
use super::names::Names;
use super::watch::Watched;
use super::{LARGEST_VALUE, fault, millis, too_large};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::shared::{Bump, Bumps, Controlled, LeaseToken, Leased, Place, SharedTier, Stored, Written};
use crate::sync::Arc;
use crate::tier::BoxFuture;

/// The layout of the keys and of what lies under them; instances of different layouts do not share a namespace.
const LAYOUT: u64 = 1;
/// How many entries a log keeps, about, and the bytes of those that are large.
const LOG: usize = 4096;
const LOG_BYTES: usize = 4 << 20;
/// How long a payload waits for its script, in milliseconds.
const STAGED: u64 = 10_000;
/// How many keys one command touches at the most: it holds the server for that long.
const KEYS: usize = 512;
/// More tags than this are forgotten, by a floor under all of them; more patterns become clears.
const MOST_TAGS: u64 = 100_000;
const MOST_RULES: u64 = 256;

/// The stream in which people read what has changed.
struct Audit {
    stream: String,
    /// About how many entries it keeps.
    most: Option<usize>,
}

/// The tier that instances share, over one link.
pub(crate) struct RedisShared {
    runner: Runner,
    names: Names,
    /// Tells what this instance says from what the others say.
    origin: [u8; 8],
    random: Arc<dyn Random>,
    audit: Option<Audit>,
    most_tags: u64,
    most_rules: u64,
}

impl RedisShared {
    /// The tier of `namespace` over `link`, in `partitions` partitions.
    pub(crate) fn new(link: Link, namespace: &str, partitions: u16, random: Arc<dyn Random>) -> Self {
        Self {
            runner: Runner::new(link),
            names: Names::new(namespace, partitions),
            origin: random.bits().to_le_bytes(),
            random,
            audit: None,
            most_tags: MOST_TAGS,
            most_rules: MOST_RULES,
        }
    }

    /// Appends every change that the server has taken to a stream of its own, for people to read.
    pub(crate) fn audited(self, stream: &str, most: Option<usize>) -> Self {
        Self { audit: Some(Audit { stream: stream.to_owned(), most }), ..self }
    }

    /// As if the server were older than Redis 7.
    #[cfg(test)]
    pub(super) fn before_7(self) -> Self {
        Self { runner: self.runner.before_7(), ..self }
    }

    /// What this instance's messages carry.
    pub(crate) fn origin(&self) -> [u8; 8] {
        self.origin
    }

    /// Where all that it may change is announced: the partitions, and the control partition.
    pub(super) fn watched(&self) -> (Vec<Watched>, Watched) {
        let named = |channel: &String, sequence: &String, log: &String| Watched {
            channel: channel.clone(),
            sequence: sequence.clone(),
            log: log.clone(),
        };
        let names = (0..self.names.partitions()).map(|index| self.names.partition(index));
        let control = &self.names.control;
        let data = names.map(|names| named(&names.channel, &names.sequence, &names.log)).collect();
        (data, named(&control.channel, &control.sequence, &control.log))
    }

    /// Sees whether the namespace is laid out as this release does it; the first instance says how it is.
    ///
    /// # Errors
    /// `is_config` if not, naming both.
    pub(crate) async fn check_layout(&self) -> Result<()> {
        let (stamps, partitions) = (&self.names.control.stamps, u64::from(self.names.partitions()));
        let say = |field: &str, value: u64| {
            let mut say = cmd("HSETNX");
            say.arg(stamps).arg(field).arg(value);
            say
        };
        let mut ask = cmd("HMGET");
        ask.arg(stamps).arg("_layout").arg("_partitions");
        // Whether it could be said, where nobody had, does not matter to this instance.
        let answer = self.link().call_all(&[say("_layout", LAYOUT), say("_partitions", partitions), ask]).await?.pop();
        let said = match answer.unwrap_or_default() {
            Value::Array(said) => said,
            Value::ServerError(error) if error.code() == "WRONGTYPE" => return Ok(()),
            Value::ServerError(error) => return Err(fault::refused(self.link().endpoint(), &error)),
            _ => return Err(self.unexpected("HMGET")),
        };
        for ((what, own), said) in [("layout", LAYOUT), ("partition count", partitions)].into_iter().zip(said) {
            let Value::BulkString(said) = said else { continue };
            if said != own.to_string().as_bytes() {
                let said: String = String::from_utf8_lossy(&said).chars().take(20).collect();
                let server = self.link().endpoint();
                return Err(Error::config(format!(
                    "Redis at {server}: the namespace is in use with the {what} {said}, and this release uses {own}"
                )));
            }
        }
        Ok(())
    }

    /// Leaves the server that it is connected to, where another has taken over.
    pub(crate) fn leave_server(&self) {
        self.link().leave();
    }

    fn link(&self) -> &Link {
        &self.runner.link
    }

    fn unexpected(&self, what: &str) -> Error {
        fault::unexpected(self.link().endpoint(), what)
    }

    /// A name for a payload that nobody else has.
    fn staged(&self, key: &str) -> String {
        self.names.of(key).staged((u128::from(self.random.bits()) << 64) | u128::from(self.random.bits()))
    }

    /// Writes a change into the audit stream, if there is one. The change has been made: that the stream lacks it is no reason
    /// to fail.
    async fn write_down(&self, what: &str, of: Option<&str>) {
        let Some(Audit { stream, most }) = &self.audit else { return };
        let origin = format!("{:016x}", u64::from_be_bytes(self.origin));
        let name = if what == "remove_bulk" { "count" } else { "key" };
        let of = of.map(|of| (name, of));
        let fields: Vec<_> = [Some(("type", what)), of, Some(("origin", &*origin))].into_iter().flatten().collect();
        let _ = self.link().call(super::streams::append(stream, &fields, *most)).await;
    }

    fn place(&self, index: u16, number: &Value) -> Result<Place> {
        let sequence = whole(number).ok_or_else(|| self.unexpected("a script"))?;
        Ok(Place { partition: index, sequence })
    }
}

impl SharedTier for RedisShared {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>>> {
        Box::pin(self.fetch(key))
    }

    fn get_many<'a>(&'a self, keys: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Option<Stored>>>> {
        Box::pin(self.fetch_many(keys))
    }

    fn header<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.head(key))
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        lease: Duration,
        known: Option<u64>,
    ) -> BoxFuture<'a, Result<Leased>> {
        Box::pin(self.ask_lease(key, token, lease, known))
    }

    fn renew<'a>(&'a self, key: &'a str, token: LeaseToken, lease: Duration) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.keep_lease(key, token, lease))
    }

    fn commit<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        frame: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.store_leased(key, token, frame, ttl))
    }

    fn release<'a>(&'a self, key: &'a str, token: LeaseToken) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.end_lease(key, token))
    }

    fn put<'a>(&'a self, key: &'a str, frame: Bytes, ttl: Duration, quiet: bool) -> BoxFuture<'a, Result<Written>> {
        Box::pin(async move {
            let written = self.store(key, frame, ttl, quiet).await?;
            if !quiet {
                self.write_down("update", Some(key)).await;
            }
            Ok(written)
        })
    }

    fn invalidate<'a>(&'a self, keys: &'a [&'a str], hold: Duration) -> BoxFuture<'a, Result<Vec<Place>>> {
        Box::pin(async move {
            let places = self.remove(keys, hold).await?;
            match keys {
                [key] => self.write_down("remove", Some(key)).await,
                keys => self.write_down("remove_bulk", Some(&keys.len().to_string())).await,
            }
            Ok(places)
        })
    }

    fn settle<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Place>> {
        Box::pin(self.remove_for_certain(key))
    }

    fn bump<'a>(&'a self, bump: &'a Bump, known: u64) -> BoxFuture<'a, Result<Controlled>> {
        Box::pin(async move {
            let bumped = self.change_many(bump, known).await?;
            match bump {
                Bump::Tag(tag) => self.write_down("remove_tag", Some(tag)).await,
                Bump::Pattern(pattern) => self.write_down("remove_pattern", Some(pattern)).await,
                Bump::Clear => self.write_down("clear", None).await,
            }
            Ok(bumped)
        })
    }

    fn bumps(&self) -> BoxFuture<'_, Result<Bumps>> {
        Box::pin(self.read_control())
    }

    fn lift(&self, known: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.lift_control(known))
    }

    fn reclaim<'a>(&'a self, pattern: &'a str, clock: u64) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.reclaim_matching(pattern, clock))
    }

    fn leave(&self) {
        self.leave_server();
    }

    fn check(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.check_layout())
    }

    fn partition(&self, key: &str) -> u16 {
        self.names.index(key)
    }

    fn partitions(&self) -> u16 {
        self.names.partitions()
    }
}

/// How many entries the log may keep together with one of this size.
fn log_length(entry: usize) -> usize {
    (LOG_BYTES / entry.max(1)).clamp(16, LOG)
}

/// A time to live as the server takes it: none is none.
fn at_least_one(ttl: Duration) -> i64 {
    millis(ttl).max(1)
}

/// A number that a script has written out.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Sets a payload aside.
fn stage(name: &str, frame: &Bytes) -> Result<Cmd> {
    if frame.len() > LARGEST_VALUE {
        return Err(too_large(frame.len()));
    }
    let mut set = cmd("SET");
    set.arg(name).arg(&frame[..]).arg("PX").arg(STAGED);
    Ok(set)
}
