//! Frames and heads as they lie there.

use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;

use super::super::{fault, fetch, found, life};
use super::{KEYS, RedisShared, whole};
use crate::error::Result;
use crate::frame::{HEADER, Head};
use crate::shared::{Life, Stored};

impl RedisShared {
    pub(super) async fn fetch(&self, key: &str) -> Result<Option<Stored>> {
        let stored = fetch(self.link(), &self.names.of(key).data(key)).await?;
        Ok(stored.map(|(frame, left)| Stored { frame, life: left.map_or(Life::Unknown, Life::Left) }))
    }

    /// The server's time comes along: what it has stamped tells its age. For the rest the time left is asked for.
    pub(super) async fn fetch_many(&self, keys: &[&str]) -> Result<Vec<Option<Stored>>> {
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

    pub(super) async fn head(&self, key: &str) -> Result<Option<Bytes>> {
        let mut range = cmd("GETRANGE");
        range.arg(self.names.of(key).data(key)).arg(0).arg(HEADER - 1);
        let answer = self.link().call_all(&[range]).await?.pop().unwrap_or_default();
        Ok(found(self.link(), answer)?.filter(|head| !head.is_empty()))
    }
}

fn with(command: &str, names: Vec<String>) -> Cmd {
    let mut command = cmd(command);
    command.arg(names);
    command
}

/// The server's clock since the epoch.
pub(super) fn time(answer: &Value) -> Option<Duration> {
    let Value::Array(parts) = answer else { return None };
    let [seconds, micros] = &parts[..] else { return None };
    Some(Duration::from_secs(whole(seconds)?) + Duration::from_micros(whole(micros)?))
}
