//! Redis Streams, on connections that no cache operation shares.

use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, Value, cmd};

use super::blocking::Blocking;
use super::connection::Wiring;
use super::endpoint::{Endpoint, RedisOptions};
use super::fault;
use super::link::Link;
use crate::error::Result;
use crate::runtime::Runtime;
use crate::stream::{StreamEntry, StreamingBackend};
use crate::sync::{Arc, Mutex};
use crate::tier::BoxFuture;

/// Event streams on a Redis server.
///
/// The stream keys are the caller's own, without a prefix. Reads that wait have a connection each, so that they delay
/// nothing. Making one only checks the settings; it connects when a cache takes it, or with its first operation.
///
/// # Cancel safety
/// An append whose future is dropped after its first poll still runs. A read that waits ends at the server when its future
/// is dropped; entries that a group was handed in that very moment stay pending for the consumer.
pub struct RedisStreams {
    options: RedisOptions,
    endpoint: Endpoint,
    attached: Mutex<Option<Arc<Attached>>>,
}

struct Attached {
    link: Link,
    blocking: Blocking,
    /// Keeps the thread of streams that no cache has taken.
    own: Option<Arc<Runtime>>,
}

impl Attached {
    fn start(wiring: Wiring, own: Option<Arc<Runtime>>) -> Arc<Self> {
        Arc::new(Self { link: Link::start(wiring.clone()), blocking: Blocking::new(wiring), own })
    }
}

impl RedisStreams {
    /// The server at `url`: `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path/of/the.sock`.
    ///
    /// # Errors
    /// [`is_config`](crate::Error::is_config) if the URL is not valid; a server that is not up is no error.
    pub async fn new(url: &str) -> Result<Self> {
        Self::with_options(url)
    }

    /// The server that `options` name.
    ///
    /// # Errors
    /// [`is_config`](crate::Error::is_config) if a setting is not valid; a server that is not up is no error.
    pub fn with_options(options: impl Into<RedisOptions>) -> Result<Self> {
        let options = options.into();
        let endpoint = options.endpoint()?;
        Ok(Self { options, endpoint, attached: Mutex::new(None) })
    }

    /// Starts the link on `runtime`; streams that another cache uses keep theirs.
    pub(crate) fn attach(&self, runtime: &Runtime) -> Result<()> {
        self.attach_over(Wiring::new(&self.options, runtime.spawner())?);
        Ok(())
    }

    /// The same over streams of bytes of the caller's making.
    pub(crate) fn attach_over(&self, wiring: Wiring) {
        let mut attached = self.attached.lock();
        if attached.as_deref().is_none_or(|running| running.own.is_some() || running.link.is_stopped()) {
            *attached = Some(Attached::start(wiring, None));
        }
    }

    fn attached(&self) -> Result<Arc<Attached>> {
        let mut attached = self.attached.lock();
        match &*attached {
            Some(running) if !running.link.is_stopped() => Ok(running.clone()),
            _ => {
                let runtime = Runtime::start()?;
                let wiring = Wiring::new(&self.options, runtime.spawner())?;
                let started = Attached::start(wiring, Some(runtime));
                *attached = Some(started.clone());
                Ok(started)
            }
        }
    }

    async fn call(&self, command: Cmd) -> Result<Value> {
        self.attached()?.link.call(command).await
    }

    /// A read of one stream, on a connection of its own if it waits.
    async fn read(&self, mut command: Cmd, read: Read<'_>) -> Result<Vec<StreamEntry>> {
        let attached = self.attached()?;
        // To the server a count of zero means no bound.
        if read.count == 0 {
            return Ok(Vec::new());
        }
        command.arg("COUNT").arg(read.count);
        if let Some(block) = read.block {
            command.arg("BLOCK").arg(block);
        }
        command.arg("STREAMS").arg(read.stream).arg(read.after);
        let answer = match read.block {
            None => attached.link.call(command).await?,
            Some(0) => attached.blocking.call(command, None).await?,
            Some(block) => {
                let block = Duration::from_millis(u64::try_from(block).unwrap_or(u64::MAX));
                attached.blocking.call(command, Some(block)).await?
            }
        };
        only_stream(answer).ok_or_else(|| fault::unexpected(&self.endpoint, "a read of a stream"))
    }
}

/// What to read, and how long to wait for it.
struct Read<'a> {
    stream: &'a str,
    after: &'a str,
    count: usize,
    block: Option<usize>,
}

impl StreamingBackend for RedisStreams {
    fn stream_add<'a>(
        &'a self,
        stream_key: &'a str,
        fields: Vec<(String, String)>,
        maxlen: Option<usize>,
    ) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            match self.call(append(stream_key, &fields, maxlen)).await? {
                Value::BulkString(id) => Ok(text(id)),
                _ => Err(fault::unexpected(&self.endpoint, "XADD")),
            }
        })
    }

    fn stream_read_latest<'a>(&'a self, stream_key: &'a str, count: usize) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(async move {
            let mut command = cmd("XREVRANGE");
            command.arg(stream_key).arg("+").arg("-").arg("COUNT").arg(count);
            let answer = self.call(command).await?;
            entries(answer).ok_or_else(|| fault::unexpected(&self.endpoint, "XREVRANGE"))
        })
    }

    fn stream_read<'a>(
        &'a self,
        stream_key: &'a str,
        last_id: &'a str,
        count: usize,
        block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        Box::pin(self.read(cmd("XREAD"), Read { stream: stream_key, after: last_id, count, block: block_ms }))
    }

    fn stream_create_group<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut command = cmd("XGROUP");
            command.arg("CREATE").arg(stream_key).arg(group_name).arg(id).arg("MKSTREAM");
            let answer = self.attached()?.link.call_all(&[command]).await?.pop().unwrap_or_default();
            match answer {
                // The group exists.
                Value::ServerError(error) if error.code() == "BUSYGROUP" => Ok(()),
                other => fault::accept(&self.endpoint, other).map(drop),
            }
        })
    }

    fn stream_read_group<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        consumer_name: &'a str,
        count: usize,
        block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(group_name).arg(consumer_name);
        Box::pin(self.read(command, Read { stream: stream_key, after: ">", count, block: block_ms }))
    }

    fn stream_ack<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(());
            }
            let mut command = cmd("XACK");
            command.arg(stream_key).arg(group_name).arg(ids);
            self.call(command).await.map(drop)
        })
    }
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreams").field("server", &self.endpoint).finish_non_exhaustive()
    }
}

/// `XADD` with an id of the server's choice.
pub(crate) fn append<N, V>(stream: &str, fields: &[(N, V)], maxlen: Option<usize>) -> Cmd
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let mut command = cmd("XADD");
    command.arg(stream);
    if let Some(maxlen) = maxlen {
        command.arg("MAXLEN").arg("~").arg(maxlen);
    }
    command.arg("*");
    for (name, value) in fields {
        command.arg(name.as_ref()).arg(value.as_ref());
    }
    command
}

/// The entries of the one stream that a read asked for; a read that found nothing is nil.
fn only_stream(answer: Value) -> Option<Vec<StreamEntry>> {
    match answer {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) => match streams.pop()? {
            Value::Array(mut named) => entries(named.pop()?),
            _ => None,
        },
        _ => None,
    }
}

fn entries(answer: Value) -> Option<Vec<StreamEntry>> {
    match answer {
        Value::Nil => Some(Vec::new()),
        Value::Array(entries) => entries.into_iter().map(entry).collect(),
        _ => None,
    }
}

fn entry(answer: Value) -> Option<StreamEntry> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(id), fields] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let fields = match fields {
        Value::Array(fields) => fields,
        // Deleted since it was handed to the group.
        Value::Nil => Vec::new(),
        _ => return None,
    };
    let mut texts = fields.into_iter().map(|field| match field {
        Value::BulkString(bytes) => Some(text(bytes)),
        _ => None,
    });
    let mut pairs = Vec::with_capacity(texts.len() / 2);
    while let Some(name) = texts.next() {
        pairs.push((name?, texts.next()??));
    }
    Some((text(id), pairs))
}

/// Bytes as text; what is not UTF-8 is replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
