//! What the shared tier does where a script cannot be run: values go and everybody is told, but no load is stored.
//!
//! Without scripts the number of a change is guessed, from the newest one, and takes effect in one transaction with the
//! change. If another instance was faster, the guess is a number that was told before: whoever hears it twice suspects all.
//! Without memory there is no number to be had.

use ::redis::{Cmd, ServerError, Value, cmd};

use super::super::fault;
use super::super::names::Partition;
use super::read::time;
use super::scripts::is_out_of_memory;
use super::{RedisShared, log_length, whole};
use crate::error::{Error, Result};
use crate::frame::{HEADER, Head};
use crate::shared::{Place, Written};

/// A sequence that is below this was lost and begins again.
const LOST: u64 = 1_000_000_000_000;

impl RedisShared {
    /// Removes keys of one partition, or puts a hold in their place: its frame, and how long it lasts in milliseconds.
    pub(super) async fn remove_without_scripts(
        &self,
        index: u16,
        keys: &[&str],
        hold: Option<(&[u8], i64)>,
    ) -> Result<Place> {
        let names = self.names.partition(index);
        let mut change = Vec::new();
        for (key, held) in keys.iter().zip(self.are_held(names, keys).await?) {
            match hold {
                Some((frame, lasts)) => {
                    let mut set = one("SET", names.data(key));
                    set.arg(frame).arg("PX").arg(lasts);
                    change.push(set);
                }
                None if held => {}
                None => change.push(one("UNLINK", names.data(key))),
            }
            change.push(one("DEL", names.lease(key)));
        }
        match self.transact(index, change, b'I', keys).await {
            Ok(place) => Ok(place),
            Err(Failed::Memory(error)) => {
                let place = self.remove_without_memory(index, keys).await?;
                if hold.is_some() { Err(error) } else { Ok(place) }
            }
            Err(Failed::Other(error)) => Err(error),
        }
    }

    /// Stores the frame that is staged; the server does not stamp it.
    pub(super) async fn store_without_scripts(
        &self,
        index: u16,
        key: &str,
        staged: &str,
        lives: i64,
    ) -> Result<Written> {
        let names = self.names.partition(index);
        let held = self.are_held(names, &[key]).await?.contains(&true);
        let mut change = vec![one("DEL", names.lease(key))];
        if held {
            change.push(one("UNLINK", staged.to_owned()));
        } else {
            let (mut expire, mut rename) = (one("PEXPIRE", staged.to_owned()), one("RENAME", staged.to_owned()));
            expire.arg(lives);
            rename.arg(names.data(key));
            change.extend([expire, one("UNLINK", names.data(key)), rename]);
        }
        match self.transact(index, change, b'P', &[key]).await {
            Ok(place) => Ok(Written { stored: !held, place }),
            Err(Failed::Memory(error) | Failed::Other(error)) => Err(error),
        }
    }

    /// Removes keys of one partition with commands that need no memory, then tells everybody to suspect all of it. A number
    /// cannot be taken; so the sequence and the log go with the keys, and who is not told notices by that.
    pub(super) async fn remove_without_memory(&self, index: u16, keys: &[&str]) -> Result<Place> {
        let names = self.names.partition(index);
        let mut unlink = cmd("UNLINK");
        keys.iter().for_each(|key| {
            unlink.arg(names.data(key)).arg(names.lease(key));
        });
        unlink.arg(&names.sequence).arg(&names.log);
        self.link().call(unlink).await?;
        let mut publish = cmd("PUBLISH");
        publish.arg(&names.channel).arg([b"S", &[0; 8][..], &self.origin].concat());
        self.link().call(publish).await?;
        Ok(Place { partition: index, sequence: 0 })
    }

    /// Which of the keys are under a hold.
    async fn are_held(&self, names: &Partition, keys: &[&str]) -> Result<Vec<bool>> {
        let ask = |key: &&str| {
            let mut range = cmd("GETRANGE");
            range.arg(names.data(key)).arg(0).arg(HEADER - 1);
            range
        };
        let answers = self.link().call_all(&keys.iter().map(ask).collect::<Vec<_>>()).await?;
        let held = |answer: Value| match answer {
            Value::BulkString(bytes) => Head::decode(&bytes).is_ok_and(|head| head.held),
            _ => false,
        };
        Ok(answers.into_iter().map(held).collect())
    }

    /// Makes a change, takes its number, writes the log and tells everybody, all at once or not at all.
    async fn transact(&self, index: u16, change: Vec<Cmd>, kind: u8, keys: &[&str]) -> Result<Place, Failed> {
        let names = self.names.partition(index);
        let number = self.newest(names).await? + 1;
        let mut body = self.origin.to_vec();
        for key in keys {
            body.extend_from_slice(&(key.len() as u32).to_le_bytes());
            body.extend_from_slice(key.as_bytes());
        }
        let mut append = cmd("XADD");
        append.arg(&names.log).arg("MAXLEN").arg("~").arg(log_length(body.len())).arg(format!("{number}-1"));
        append.arg(&[kind.to_ascii_lowercase()][..]).arg(&body);
        let mut publish = cmd("PUBLISH");
        publish.arg(&names.channel).arg([&[kind][..], &number.to_le_bytes(), &body].concat());
        let mut commands = vec![cmd("MULTI"), one("INCR", names.sequence.clone())];
        commands.extend(change);
        commands.extend([append, publish, cmd("EXEC")]);
        let mut answers = self.link().call_all(&commands).await?;
        let done = answers.pop().unwrap_or_default();
        // The first error says why; at the end there is only the news that there was one.
        let mut failed = answers.into_iter().chain([done.clone()]);
        if let Some(Value::ServerError(error)) = failed.find(|answer| matches!(answer, Value::ServerError(_))) {
            return Err(self.failed(&error));
        }
        let Value::Array(done) = done else { return Err(self.unexpected("EXEC").into()) };
        // All but the log has to have worked: where that has a gap, it shows.
        let log = done.len().saturating_sub(2);
        for (_, answer) in done.iter().enumerate().filter(|&(at, _)| at != log) {
            fault::accept(self.link().endpoint(), answer.clone())?;
        }
        let taken = done.first().and_then(whole).ok_or_else(|| self.unexpected("INCR"))?;
        Ok(Place { partition: index, sequence: taken })
    }

    fn failed(&self, error: &ServerError) -> Failed {
        let told = fault::refused(self.link().endpoint(), error);
        if is_out_of_memory(error) { Failed::Memory(told) } else { Failed::Other(told) }
    }

    /// The newest number; a lost sequence begins again above the server's time in microseconds and above the log.
    async fn newest(&self, names: &Partition) -> Result<u64, Failed> {
        let mut last = cmd("XREVRANGE");
        last.arg(&names.log).arg("+").arg("-").arg("COUNT").arg(1);
        let commands = [one("GET", names.sequence.clone()), last, cmd("TIME")];
        let answers = self.link().call_all(&commands).await?;
        let [sequence, last, now] = <[Value; 3]>::try_from(answers).map_err(|_| self.unexpected("TIME"))?;
        match sequence {
            Value::ServerError(error) if error.code() != "WRONGTYPE" => {
                return Err(fault::refused(self.link().endpoint(), &error).into());
            }
            sequence => {
                if let Some(sequence) = whole(&sequence).filter(|&sequence| sequence >= LOST) {
                    return Ok(sequence);
                }
            }
        }
        let now = time(&fault::accept(self.link().endpoint(), now)?);
        let now = now.ok_or_else(|| self.unexpected("TIME"))?.as_micros() as u64;
        let start = now.max(last_of(&last).map_or(0, |last| last.saturating_add(1)));
        // Where several find it lost at once, the last one says where it begins: a number that is told twice is suspect.
        let mut set = cmd("SET");
        set.arg(&names.sequence).arg(start);
        match self.link().call_all(&[set]).await?.pop().unwrap_or_default() {
            Value::ServerError(error) => Err(self.failed(&error)),
            _ => Ok(start),
        }
    }
}

/// The number of the entry that `XREVRANGE` found.
fn last_of(answer: &Value) -> Option<u64> {
    let Value::Array(entries) = answer else { return None };
    let Value::Array(entry) = entries.first()? else { return None };
    let Value::BulkString(id) = entry.first()? else { return None };
    std::str::from_utf8(id).ok()?.split_once('-')?.0.parse().ok()
}

enum Failed {
    Memory(Error),
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

fn one(command: &str, name: String) -> Cmd {
    let mut command = cmd(command);
    command.arg(name);
    command
}
