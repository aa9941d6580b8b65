//! Changes that everybody is told of, under the next number of the partition.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use super::super::fault;
use super::scripts::{Denied, INVAL, PUT};
use super::{KEYS, RedisShared, at_least_one, log_length, stage};
use crate::error::Result;
use crate::frame::hold;
use crate::shared::{Place, Written};

/// How many bytes of keys one command touches at the most.
pub(super) const KEY_BYTES: usize = 256 << 10;

impl RedisShared {
    pub(super) async fn store(&self, key: &str, frame: Bytes, ttl: Duration, quiet: bool) -> Result<Written> {
        let index = self.names.index(key);
        let names = self.names.partition(index);
        let staged = self.staged(key);
        let keys = [&*names.sequence, &names.log, &names.data(key), &names.lease(key), &staged];
        let call = self.runner.call(&PUT, &keys).arg(&names.channel).arg(&self.origin[..]).arg(at_least_one(ttl));
        let call = call.arg(frame.len()).arg(log_length(key.len())).arg(key).arg(u8::from(quiet));
        let answer = match self.runner.run_after(stage(&staged, &frame)?, call).await {
            Err(Denied::Scripts(_)) => {
                return self.store_without_scripts(index, key, &staged, at_least_one(ttl)).await;
            }
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

    pub(super) async fn remove(&self, keys: &[&str], hold: Duration) -> Result<Vec<Place>> {
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
        let log = log_length(some.iter().map(|key| key.len()).sum());
        let call = call.arg(hold_ms).arg(&tombstone[..]).arg(log).arg(some);
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
    pub(super) async fn remove_for_certain(&self, key: &str) -> Result<Place> {
        let orderly = self.link().is_orderly();
        let place = self.remove_some(self.names.index(key), &[key], Duration::ZERO).await?;
        // Once more, since the connection may have changed before it was sent.
        if orderly && self.link().is_orderly() {
            return Ok(place);
        }
        Err(fault::dropped(self.link().endpoint(), "an earlier connection may not have ended there yet"))
    }
}

/// The keys in portions that do not hold the server for long.
pub(super) fn portions<'k>(keys: &'k [&'k str]) -> impl Iterator<Item = &'k [&'k str]> {
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
