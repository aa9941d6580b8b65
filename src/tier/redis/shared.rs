//! Redis as the tier that instances share: every change is one script, in one partition.
//!
//! # Invariants
//! - R1: what is stored under a lease, or instead of another value, comes through a script that checks and announces it in the
//!   same step; payloads are staged beside it and renamed, since one that passes through a script costs a hundredfold.
//! - R2: a server's error is told or worked around, never taken for an answer; what lies under our names and is not ours is
//!   a miss, and goes with the next change.

#![cfg_attr(not(test), expect(dead_code, reason = "the engine does not stand on it yet"))]

use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;

use super::link::Link;
use super::names::Names;
use super::scripts::{COMMIT, CTL_BUMP, Denied, INVAL, LEASE, PUT, RELEASE, RENEW, Runner};
use super::{LARGEST_VALUE, fault, found, life, millis, too_large};
use crate::error::{Error, Result};
use crate::frame::{HEADER, Head, hold};
use crate::random::Random;
use crate::shared::{Bump, Control, Controlled, LeaseToken, Leased, Life, Place, SharedTier, Stored, Written};
use crate::sync::Arc;
use crate::tier::BoxFuture;

/// The layout of the keys and of what lies under them; instances of different layouts do not share a namespace.
const LAYOUT: u64 = 1;
/// How many entries a log keeps, about.
pub(super) const LOG: u64 = 4096;
/// How long a payload waits for its script, in milliseconds.
const STAGED: u64 = 10_000;
/// A value up to this size is handed out by the script that found it.
const INLINE: usize = 16 << 10;
/// How many keys one command touches at the most, and how many bytes of keys: it holds the server for that long.
const KEYS: usize = 512;
const KEY_BYTES: usize = 256 << 10;
/// More tags than this are forgotten, by a floor under all of them; more patterns become clears.
const MOST_TAGS: u64 = 100_000;
const MOST_RULES: u64 = 256;

/// The tier that instances share, over one link.
pub(crate) struct RedisShared {
    pub(super) runner: Runner,
    pub(super) names: Names,
    /// Tells what this instance says from what the others say.
    pub(super) origin: [u8; 8],
    random: Arc<dyn Random>,
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
            most_tags: MOST_TAGS,
            most_rules: MOST_RULES,
        }
    }

    /// What this instance's messages carry.
    pub(crate) fn origin(&self) -> [u8; 8] {
        self.origin
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
                let (said, server) = (String::from_utf8_lossy(&said), self.link().endpoint());
                return Err(Error::config(format!(
                    "Redis at {server}: the namespace is in use with the {what} {said}, and this release uses {own}"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn link(&self) -> &Link {
        &self.runner.link
    }

    pub(super) fn unexpected(&self, what: &str) -> Error {
        fault::unexpected(self.link().endpoint(), what)
    }

    /// A name for a payload that nobody else has.
    fn staged(&self, key: &str) -> String {
        self.names.of(key).staged((u128::from(self.random.bits()) << 64) | u128::from(self.random.bits()))
    }

    fn place(&self, index: u16, number: &Value) -> Result<Place> {
        let sequence = whole(number).ok_or_else(|| self.unexpected("a script"))?;
        Ok(Place { partition: index, sequence })
    }

    async fn fetch(&self, key: &str) -> Result<Option<Stored>> {
        let stored = super::fetch(self.link(), &self.names.of(key).data(key)).await?;
        Ok(stored.map(|(frame, left)| Stored { frame, life: left.map_or(Life::Unknown, Life::Left) }))
    }

    /// The server's time comes along: what it has stamped tells its age. For the rest the time left is asked for.
    async fn fetch_many(&self, keys: &[&str]) -> Result<Vec<Option<Stored>>> {
        let mut found = vec![None; keys.len()];
        for index in 0..self.names.partitions() {
            let own: Vec<usize> = (0..keys.len()).filter(|&at| self.names.index(keys[at]) == index).collect();
            if own.is_empty() {
                continue;
            }
            let names =
                |own: &[usize]| own.iter().map(|&at| self.names.of(keys[at]).data(keys[at])).collect::<Vec<_>>();
            let mut commands: Vec<Cmd> = own.chunks(KEYS).map(|own| with("MGET", names(own))).collect();
            commands.push(cmd("TIME"));
            let mut answers = self.link().call_all(&commands).await?;
            let now = answers.pop().unwrap_or_default();
            let now = time(&fault::accept(self.link().endpoint(), now)?).ok_or_else(|| self.unexpected("TIME"))?;
            let mut unstamped = Vec::new();
            for (own, answer) in own.chunks(KEYS).zip(answers) {
                let frames = match fault::accept(self.link().endpoint(), answer)? {
                    Value::Array(frames) if frames.len() == own.len() => frames,
                    _ => return Err(self.unexpected("MGET")),
                };
                for (&at, frame) in own.iter().zip(frames) {
                    let Value::BulkString(frame) = frame else { continue };
                    let life = match Head::decode(&frame) {
                        Ok(head) if head.version != 0 => Life::Age(now.saturating_sub(head.created)),
                        _ => {
                            unstamped.push(at);
                            Life::Unknown
                        }
                    };
                    found[at] = Some(Stored { frame: frame.into(), life });
                }
            }
            let commands: Vec<Cmd> = names(&unstamped).into_iter().map(|name| with("PTTL", vec![name])).collect();
            for (at, left) in unstamped.into_iter().zip(self.link().call_all(&commands).await?) {
                match fault::accept(self.link().endpoint(), left)? {
                    Value::Int(-2) => found[at] = None,
                    left => {
                        let life = life(self.link(), &left)?;
                        found[at].iter_mut().for_each(|stored| stored.life = life.map_or(Life::Unknown, Life::Left));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn head(&self, key: &str) -> Result<Option<Bytes>> {
        let mut range = cmd("GETRANGE");
        range.arg(self.names.of(key).data(key)).arg(0).arg(HEADER - 1);
        let answer = self.link().call_all(&[range]).await?.pop().unwrap_or_default();
        Ok(found(self.link(), answer)?.filter(|head| !head.is_empty()))
    }

    async fn ask_lease(&self, key: &str, token: LeaseToken, lease: Duration, known: Option<u64>) -> Result<Leased> {
        let names = self.names.of(key);
        let known = known.map(u64::to_le_bytes);
        // A large value that is gone when it is fetched leaves the key without one: asked again.
        for _ in 0..3 {
            let call = self.runner.call(&LEASE, &[&names.data(key), &names.lease(key)]);
            let call =
                call.arg(&token.0[..]).arg(at_least_one(lease)).arg(known.as_ref().map_or(&[][..], |wid| &wid[..]));
            let answer = match self.runner.run(call.arg(INLINE)).await {
                // Nobody can commit where there are no scripts.
                Err(Denied::Scripts(_)) => return Ok(Leased::Held(Duration::ZERO)),
                answer => answer?,
            };
            let Value::Array(parts) = answer else { return Err(self.unexpected("LEASE")) };
            return Ok(match <[Value; 3]>::try_from(parts) {
                Ok([_, Value::BulkString(frame), left]) => {
                    let life = life(self.link(), &left)?.map_or(Life::Unknown, Life::Left);
                    Leased::Stored(Stored { frame: frame.into(), life })
                }
                Ok(_) => return Err(self.unexpected("LEASE")),
                Err(parts) => match &parts[..] {
                    [Value::BulkString(how)] if how == b"L" => Leased::Granted,
                    [Value::BulkString(how)] if how == b"V" => match self.fetch(key).await? {
                        Some(stored) => Leased::Stored(stored),
                        None => continue,
                    },
                    [Value::BulkString(how), Value::Int(left)] => {
                        let left = Duration::from_millis(u64::try_from(*left).unwrap_or(0));
                        match &how[..] {
                            b"W" => Leased::Waits(left),
                            b"H" => Leased::Held(left),
                            _ => return Err(self.unexpected("LEASE")),
                        }
                    }
                    _ => return Err(self.unexpected("LEASE")),
                },
            });
        }
        Ok(Leased::Waits(Duration::ZERO))
    }

    async fn keep_lease(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool> {
        let call = self.runner.call(&RENEW, &[&self.names.of(key).lease(key)]);
        match self.runner.run(call.arg(&token.0[..]).arg(at_least_one(lease))).await {
            Ok(Value::Int(kept)) => Ok(kept == 1),
            Err(Denied::Scripts(_)) => Ok(false),
            Ok(_) => Err(self.unexpected("RENEW")),
            Err(denied) => Err(denied.into()),
        }
    }

    async fn store_leased(&self, key: &str, token: LeaseToken, frame: Bytes, ttl: Duration) -> Result<bool> {
        let names = self.names.of(key);
        let staged = self.staged(key);
        let keys = [&*names.data(key), &names.lease(key), &names.sequence, &names.log, &staged];
        let call = self.runner.call(&COMMIT, &keys).arg(&token.0[..]).arg(at_least_one(ttl));
        let call = call.arg(frame.len()).arg(&names.channel).arg(key);
        match self.runner.run_after(stage(&staged, &frame)?, call).await {
            Ok(Value::Int(stored @ 0..=1)) => Ok(stored == 1),
            Ok(Value::Int(-1)) => Err(fault::dropped(self.link().endpoint(), "the staged value was gone")),
            Err(Denied::Scripts(_)) => Ok(false),
            Ok(_) => Err(self.unexpected("COMMIT")),
            Err(denied) => Err(denied.into()),
        }
    }

    async fn end_lease(&self, key: &str, token: LeaseToken) -> Result<()> {
        let names = self.names.of(key);
        let call = self.runner.call(&RELEASE, &[&names.lease(key)]);
        match self.runner.run(call.arg(&token.0[..]).arg(&names.channel).arg(key)).await {
            // There was none.
            Err(Denied::Scripts(_)) => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    async fn store(&self, key: &str, frame: Bytes, ttl: Duration) -> Result<Written> {
        let index = self.names.index(key);
        let names = self.names.partition(index);
        let staged = self.staged(key);
        let keys = [&*names.sequence, &names.log, &names.data(key), &names.lease(key), &staged];
        let call = self.runner.call(&PUT, &keys).arg(&names.channel).arg(&self.origin[..]).arg(at_least_one(ttl));
        let call = call.arg(frame.len()).arg(LOG).arg(key);
        let answer = match self.runner.run_after(stage(&staged, &frame)?, call).await {
            Err(Denied::Scripts(_)) => return self.store_without_scripts(index, key, &frame, at_least_one(ttl)).await,
            answer => answer?,
        };
        let Value::Array(parts) = answer else { return Err(self.unexpected("PUT")) };
        match &parts[..] {
            [Value::Int(stored @ 1..=2), number] => {
                Ok(Written { stored: *stored == 1, place: self.place(index, number)? })
            }
            [Value::Int(-1)] => Err(fault::dropped(self.link().endpoint(), "the staged value was gone")),
            _ => Err(self.unexpected("PUT")),
        }
    }

    async fn remove(&self, keys: &[&str], hold: Duration) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for index in 0..self.names.partitions() {
            let own: Vec<&str> = keys.iter().copied().filter(|key| self.names.index(key) == index).collect();
            let mut last = None;
            for some in portions(&own) {
                last = Some(self.remove_some(index, some, hold).await?);
            }
            places.extend(last);
        }
        Ok(places)
    }

    async fn remove_some(&self, index: u16, some: &[&str], hold_for: Duration) -> Result<Place> {
        let names = self.names.partition(index);
        let under: Vec<String> = some.iter().flat_map(|key| [names.data(key), names.lease(key)]).collect();
        let mut keys = vec![&*names.sequence, &*names.log];
        keys.extend(under.iter().map(|name| &**name));
        let hold_ms = if hold_for.is_zero() { 0 } else { at_least_one(hold_for) };
        let tombstone = hold(self.random.bits());
        let call = self.runner.call(&INVAL, &keys).arg(&names.channel).arg(&self.origin[..]);
        let call = call.arg(hold_ms).arg(&tombstone[..]).arg(LOG).arg(some);
        match self.runner.run(call).await {
            Ok(number) => self.place(index, &number),
            Err(Denied::Scripts(_)) => {
                let tombstone = (hold_ms > 0).then_some((&tombstone[..], hold_ms));
                self.remove_without_scripts(index, some, tombstone).await
            }
            Err(Denied::Memory(error)) => {
                let place = self.remove_without_memory(index, some).await?;
                // What was there is gone, and that is all there was memory for.
                if hold_ms > 0 { Err(error) } else { Ok(place) }
            }
            Err(Denied::Other(error)) => Err(error),
        }
    }

    /// After every write of the key that this instance has sent, wherever that is stuck: see K4 of the link.
    async fn remove_for_certain(&self, key: &str) -> Result<Place> {
        let orderly = self.link().is_orderly();
        let place = self.remove_some(self.names.index(key), &[key], Duration::ZERO).await?;
        // Once more, since the connection may have changed before it was sent.
        if orderly && self.link().is_orderly() {
            return Ok(place);
        }
        Err(fault::dropped(self.link().endpoint(), "an earlier connection may not have ended there yet"))
    }

    async fn change_many(&self, bump: &Bump, known: u64) -> Result<Controlled> {
        let (how, name) = match bump {
            Bump::Tag(tag) => ("t", &**tag),
            Bump::Pattern(glob) => ("r", &**glob),
            Bump::Clear => ("c", ""),
        };
        let names = &self.names.control;
        let keys = [&*names.sequence, &names.log, &names.stamps, &names.rules];
        let call =
            self.runner.call(&CTL_BUMP, &keys).arg(&names.channel).arg(&self.origin[..]).arg(LOG).arg(how).arg(name);
        let call = call.arg(self.most_tags).arg(self.most_rules).arg(known).arg(LAYOUT).arg(self.names.partitions());
        let answer = match self.runner.run(call).await {
            Err(Denied::Scripts(error)) => {
                let message = format!("tags, patterns and clear need scripts at the server: {error}");
                return Err(Error::unsupported(message));
            }
            answer => answer?,
        };
        let Value::Array(parts) = answer else { return Err(self.unexpected("CTL_BUMP")) };
        let controlled = |clock: &Value, what: Control| {
            whole(clock).map(|clock| Controlled { clock, what }).ok_or_else(|| self.unexpected("CTL_BUMP"))
        };
        match (&parts[..], bump) {
            ([clock, Value::BulkString(how)], Bump::Tag(tag)) if how == b"t" => {
                controlled(clock, Control::Tag(tag.clone()))
            }
            ([clock, Value::BulkString(how)], Bump::Tag(_)) if how == b"b" => controlled(clock, Control::TagFloor),
            ([clock, Value::BulkString(how)], Bump::Clear) if how == b"c" => controlled(clock, Control::Clear),
            ([clock, Value::BulkString(how)], Bump::Pattern(glob)) if how == b"r" => {
                controlled(clock, Control::Pattern(glob.clone()))
            }
            ([clock, Value::BulkString(how), cleared], Bump::Pattern(glob)) if how == b"x" => {
                let cleared = whole(cleared).ok_or_else(|| self.unexpected("CTL_BUMP"))?;
                controlled(clock, Control::Rule { cleared, pattern: glob.clone() })
            }
            _ => Err(self.unexpected("CTL_BUMP")),
        }
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

    fn put<'a>(&'a self, key: &'a str, frame: Bytes, ttl: Duration) -> BoxFuture<'a, Result<Written>> {
        Box::pin(self.store(key, frame, ttl))
    }

    fn invalidate<'a>(&'a self, keys: &'a [&'a str], hold: Duration) -> BoxFuture<'a, Result<Vec<Place>>> {
        Box::pin(self.remove(keys, hold))
    }

    fn settle<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Place>> {
        Box::pin(self.remove_for_certain(key))
    }

    fn bump<'a>(&'a self, bump: &'a Bump, known: u64) -> BoxFuture<'a, Result<Controlled>> {
        Box::pin(self.change_many(bump, known))
    }

    fn partition(&self, key: &str) -> u16 {
        self.names.index(key)
    }

    fn partitions(&self) -> u16 {
        self.names.partitions()
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

fn with(command: &str, names: Vec<String>) -> Cmd {
    let mut command = cmd(command);
    command.arg(names);
    command
}

/// A time to live as the server takes it: none is none.
fn at_least_one(ttl: Duration) -> i64 {
    millis(ttl).max(1)
}

/// The keys in portions that do not hold the server for long.
fn portions<'k>(keys: &'k [&'k str]) -> impl Iterator<Item = &'k [&'k str]> {
    let mut rest = keys;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |key: &&&str| {
            bytes += key.len();
            bytes <= KEY_BYTES
        };
        let count = rest.iter().take(KEYS).take_while(fits).count().max(1).min(rest.len());
        let (some, more) = rest.split_at(count);
        rest = more;
        (!some.is_empty()).then_some(some)
    })
}

/// A number that a script has written out.
pub(super) fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The server's clock since the epoch.
pub(super) fn time(answer: &Value) -> Option<Duration> {
    let Value::Array(parts) = answer else { return None };
    let [seconds, micros] = &parts[..] else { return None };
    Some(Duration::from_secs(whole(seconds)?) + Duration::from_micros(whole(micros)?))
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
