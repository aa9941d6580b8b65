//! Who computes a key, and what is stored of it.

use std::time::Duration;

use ::redis::Value;
use bytes::Bytes;

use super::super::{fault, life};
use super::scripts::{COMMIT, Denied, LEASE, RELEASE, RENEW};
use super::{RedisShared, at_least_one, stage};
use crate::error::Result;
use crate::shared::{LeaseToken, Leased, Life, Stored};

/// A value up to this size is handed out by the script that found it.
const INLINE: usize = 4 << 10;

impl RedisShared {
    pub(super) async fn ask_lease(
        &self,
        key: &str,
        token: LeaseToken,
        lease: Duration,
        known: Option<u64>,
    ) -> Result<Leased> {
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

    pub(super) async fn keep_lease(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool> {
        let call = self.runner.call(&RENEW, &[&self.names.of(key).lease(key)]);
        match self.runner.run(call.arg(&token.0[..]).arg(at_least_one(lease))).await {
            Ok(Value::Int(kept)) => Ok(kept == 1),
            Err(Denied::Scripts(_)) => Ok(false),
            Ok(_) => Err(self.unexpected("RENEW")),
            Err(denied) => Err(denied.into()),
        }
    }

    pub(super) async fn store_leased(&self, key: &str, token: LeaseToken, frame: Bytes, ttl: Duration) -> Result<bool> {
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

    pub(super) async fn end_lease(&self, key: &str, token: LeaseToken) -> Result<()> {
        let names = self.names.of(key);
        let call = self.runner.call(&RELEASE, &[&names.lease(key)]);
        match self.runner.run(call.arg(&token.0[..]).arg(&names.channel).arg(key)).await {
            // There was none.
            Err(Denied::Scripts(_)) => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }
}
