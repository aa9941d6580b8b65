//! Redis as a tier: opaque bytes under `tc:{<namespace>.p00}:d:<key>`, each with its time to live.

mod blocking;
mod connection;
mod endpoint;
mod fault;
mod lane;
#[cfg(test)]
mod lane_tests;
mod link;
mod names;
mod replies;
mod request;
mod scan;
mod shared;
mod streams;
#[cfg(test)]
pub(crate) mod tests;
mod transport;
mod watch;

pub(crate) use connection::Wiring;
pub(crate) use endpoint::Endpoint;
pub use endpoint::RedisOptions;
pub(crate) use link::{Link, LinkState};
pub(crate) use shared::RedisShared;
pub use streams::RedisStreams;
pub(crate) use watch::{Watch, WatchOptions};

use std::fmt;
use std::time::Duration;

use ::redis::{Value, cmd};
use bytes::Bytes;

use super::{BoxFuture, CacheBackend, L2CacheBackend};
use crate::error::{Error, Kind, Result};
use crate::random::Random;
use crate::runtime::Runtime;
use crate::sync::{Arc, Mutex};

/// A Redis server as the tier that instances share.
///
/// It belongs to no runtime of the caller's: the connection lives on the engine's background thread. Making one only
/// checks the settings; it connects when a cache takes it, or with its first operation, and keeps reconnecting for as
/// long as it exists. While the server cannot be reached every operation fails at once and says why.
///
/// # Cost
/// One round trip per operation; operations that wait at the same time share one write and one read.
///
/// # Cancel safety
/// An operation whose future is dropped after its first poll still runs at the server.
pub struct L2Cache {
    options: RedisOptions,
    endpoint: Endpoint,
    attached: Mutex<Option<Arc<Attached>>>,
}

/// A running link and the names that are used on it.
struct Attached {
    link: Link,
    /// What precedes the caller's key.
    prefix: String,
    /// Keeps the thread of a tier that no cache has taken.
    own: Option<Arc<Runtime>>,
}

/// One server has one partition.
pub(crate) const PARTITIONS: u16 = 1;

/// The namespace of a tier that no cache has taken, and of a cache that is given none.
pub(crate) const DEFAULT_NAMESPACE: &str = "tercel";

/// The most bytes that a value may have at the server.
const LARGEST_VALUE: usize = 512 << 20;

impl L2Cache {
    /// The server that the variable `REDIS_URL` names, else the local one at the default port.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if the URL is not valid; a server that is not up is no error.
    pub async fn new() -> Result<Self> {
        Self::with_options(RedisOptions::from_env()?)
    }

    /// The server at `url`: `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path/of/the.sock`.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if the URL is not valid; a server that is not up is no error.
    pub async fn with_url(url: &str) -> Result<Self> {
        Self::with_options(RedisOptions::new(url))
    }

    /// The server that `options` name.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if a setting is not valid; a server that is not up is no error.
    pub fn with_options(options: impl Into<RedisOptions>) -> Result<Self> {
        let options = options.into();
        let endpoint = options.endpoint()?;
        Ok(Self { options, endpoint, attached: Mutex::new(None) })
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// Starts the link on `runtime`, with keys under `namespace`, in place of one that no cache has started.
    ///
    /// # Errors
    /// `is_config` if another cache uses it under another namespace; with the same one they share the link.
    pub(crate) fn attach(&self, runtime: &Runtime, namespace: &str) -> Result<()> {
        let wiring = self.wiring(runtime)?;
        self.attach_over(wiring, namespace)
    }

    /// The same over streams of the caller's making.
    pub(crate) fn attach_over(&self, wiring: Wiring, namespace: &str) -> Result<()> {
        let prefix = prefix(namespace);
        let mut attached = self.attached.lock();
        if let Some(running) = attached.as_deref().filter(|running| running.own.is_none() && !running.link.is_stopped())
        {
            if running.prefix == prefix {
                return Ok(());
            }
            return Err(Error::config(format!(
                "cluster_namespace `{namespace}`: this L2Cache is in use with the key prefix `{}` already",
                running.prefix
            )));
        }
        *attached = Some(Arc::new(Attached { link: Link::start(wiring), prefix, own: None }));
        Ok(())
    }

    /// Whether this is the server at `endpoint`.
    pub(crate) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.is_same_server(endpoint)
    }

    /// The same server as the tier that instances share, over the same link.
    pub(crate) fn share(&self, namespace: &str, random: Arc<dyn Random>) -> Result<RedisShared> {
        Ok(RedisShared::new(self.attached()?.link.clone(), namespace, PARTITIONS, random))
    }

    /// What a link to this server is made from.
    pub(crate) fn wiring(&self, runtime: &Runtime) -> Result<Wiring> {
        Wiring::new(&self.options, runtime.spawner())
    }

    /// Ends when the server has been reached.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.attached()?.link.ready().await
    }

    /// Asks the server for an answer.
    ///
    /// # Errors
    /// Why it cannot serve: it cannot be reached, or answers with an error.
    pub(crate) async fn check(&self) -> Result<()> {
        self.attached()?.link.call(cmd("PING")).await.map(drop)
    }

    /// Where the link stands.
    pub(crate) fn state(&self) -> LinkState {
        match self.attached.lock().as_deref() {
            Some(attached) => attached.link.state(),
            None => LinkState::Connecting,
        }
    }

    /// The running link; one that no cache has started, or whose cache is closed, gets a thread of its own.
    fn attached(&self) -> Result<Arc<Attached>> {
        let mut attached = self.attached.lock();
        match &*attached {
            Some(running) if !running.link.is_stopped() => Ok(running.clone()),
            stopped => {
                let prefix = stopped.as_deref().map_or_else(|| prefix(DEFAULT_NAMESPACE), |old| old.prefix.clone());
                let runtime = Runtime::start()?;
                let link = Link::start(self.wiring(&runtime)?);
                let started = Arc::new(Attached { link, prefix, own: Some(runtime) });
                *attached = Some(started.clone());
                Ok(started)
            }
        }
    }

    /// Removes several keys in one command.
    pub(crate) async fn remove_many(&self, keys: &[&str]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let attached = self.attached()?;
        let mut unlink = cmd("UNLINK");
        for key in keys {
            unlink.arg(attached.key(key));
        }
        attached.link.call(unlink).await.map(drop)
    }

    async fn fetch(&self, key: &str) -> Result<Option<(Bytes, Option<Duration>)>> {
        let attached = self.attached()?;
        fetch(&attached.link, &attached.key(key)).await
    }

    async fn store(&self, key: &str, value: Bytes, ttl: Duration) -> Result<()> {
        if value.len() > LARGEST_VALUE {
            return Err(too_large(value.len()));
        }
        if ttl.is_zero() {
            return self.remove_many(&[key]).await;
        }
        let attached = self.attached()?;
        let mut set = cmd("SET");
        set.arg(attached.key(key)).arg(&value[..]).arg("PX").arg(millis(ttl));
        attached.link.call(set).await.map(drop)
    }
}

impl Attached {
    fn key(&self, key: &str) -> String {
        let mut name = String::with_capacity(self.prefix.len() + key.len());
        name.push_str(&self.prefix);
        name.push_str(key);
        name
    }
}

fn too_large(length: usize) -> Error {
    Error::new(Kind::TOO_LARGE, format!("a value of {length} bytes is larger than Redis takes (512 MiB)"))
}

/// What lies under `name`, and the time it has left there.
async fn fetch(link: &Link, name: &str) -> Result<Option<(Bytes, Option<Duration>)>> {
    let mut get = cmd("GET");
    get.arg(name);
    let mut pttl = cmd("PTTL");
    pttl.arg(name);
    // The time first: if the value is replaced between the two, the time left is the older, shorter one.
    let mut answers = link.call_all(&[pttl, get]).await?.into_iter();
    let (left, value) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
    let Some(bytes) = found(link, value)? else { return Ok(None) };
    match fault::accept(link.endpoint(), left)? {
        // It was stored between the two commands: not there when it was asked for.
        Value::Int(-2) => Ok(None),
        left => Ok(Some((bytes, life(link, &left)?))),
    }
}

/// The answer to PTTL for a key that is there.
fn life(link: &Link, left: &Value) -> Result<Option<Duration>> {
    match left {
        Value::Int(-1) => Ok(None),
        Value::Int(left) => Ok(Some(Duration::from_millis(u64::try_from(*left).unwrap_or(0)))),
        _ => Err(fault::unexpected(link.endpoint(), "PTTL")),
    }
}

/// The answer to GET. A key of another type under our name is not ours: a miss, which the next SET overwrites.
fn found(link: &Link, answer: Value) -> Result<Option<Bytes>> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(Bytes::from(bytes))),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(None),
        Value::ServerError(error) => Err(fault::refused(link.endpoint(), &error)),
        _ => Err(fault::unexpected(link.endpoint(), "GET")),
    }
}

/// The prefix of every data key: one partition, whose hash tag keeps its keys together in a cluster.
fn prefix(namespace: &str) -> String {
    format!("tc:{{{namespace}.p00}}:d:")
}

/// A TTL for `PX`: whole milliseconds, rounded up. Redis refuses an expiry beyond `i64::MAX` on its own clock, so the
/// greatest TTL leaves room for that clock.
fn millis(ttl: Duration) -> i64 {
    const GREATEST: i64 = i64::MAX - (1 << 53);
    i64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(GREATEST).min(GREATEST)
}

impl CacheBackend for L2Cache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            let attached = self.attached()?;
            let mut get = cmd("GET");
            get.arg(attached.key(key));
            let answer = attached.link.call_all(&[get]).await?.pop().unwrap_or_default();
            found(&attached.link, answer)
        })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.store(key, value, ttl))
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.remove_many(&[key]).await })
    }

    /// Finds the keys with `SCAN`, a bounded step at a time, and removes them.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the matching keys removed in part.
    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let attached = self.attached()?;
            scan::remove(&attached.link, &attached.prefix, pattern).await
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.check().await.is_ok() })
    }

    fn name(&self) -> &str {
        "redis"
    }
}

impl L2CacheBackend for L2Cache {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(self.fetch(key))
    }
}

impl fmt::Debug for L2Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("L2Cache").field("server", &self.endpoint).field("state", &self.state()).finish_non_exhaustive()
    }
}
