//! Reads of a Redis server from a thread that drives no runtime.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use multi_tier_cache as predecessor;
use redis::aio::MultiplexedConnection;
use tercel::{EntryOptions, Value, blocking};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::local::{TTL, executor};
use crate::redis_server::RedisServer;

/// One way to read a key that is in Redis and, for the reader, nowhere above it.
pub trait Remote {
    /// Unique within a run.
    fn name(&self) -> &'static str;

    /// Reads the key; the length of what was found.
    fn read(&self, key: &str) -> usize {
        futures::executor::block_on(self.reading(key))
    }

    /// The same for a task.
    fn reading<'a>(&'a self, key: &'a str) -> BoxFuture<'a, usize>;

    /// Writes the key, so that [`read`](Remote::read) finds it.
    fn write(&self, key: &str, value: &Bytes);
}

/// The name of the bare multiplexed GET.
pub const BARE: &str = "bare GET";
/// The name of a read by `tercel` that passes L1 by.
pub const BYPASS: &str = "tercel blocking get, L1 skipped";
/// The name of a read by `tercel` that misses L1 and fills it.
pub const PROMOTE: &str = "tercel blocking get, promoting";

/// Every rival on `server`; the bare connection comes first.
pub fn remotes(server: &RedisServer) -> Vec<Box<dyn Remote>> {
    vec![
        Box::new(Bare::connect(server)),
        Box::new(Tercel::bypassing(server)),
        Box::new(Tercel::promoting(server)),
        Box::new(Predecessor::connect(server)),
    ]
}

/// Runs the work of so many callers, which take turns on this thread.
pub fn together(callers: usize, work: impl AsyncFn(usize)) {
    let mut all: FuturesUnordered<_> = (0..callers).map(|caller| work(caller)).collect();
    futures::executor::block_on(async { while all.next().await.is_some() {} });
}

/// A runtime on a thread of its own, until dropped.
struct Background {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    fn start() -> Self {
        let runtime = executor();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        Self { handle, stop: Some(stop), thread: Some(thread) }
    }

    /// Runs `work` over there to its end.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        futures::executor::block_on(self.handle.spawn(work)).expect("the work ends")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// GET on a multiplexed connection whose driver runs on a background thread, awaited on the calling thread.
struct Bare {
    connection: MultiplexedConnection,
    _background: Background,
}

impl Bare {
    fn connect(server: &RedisServer) -> Self {
        let background = Background::start();
        let client = redis::Client::open(server.url()).expect("a client");
        // No timeouts: the connection's own would need a runtime's timer on the calling thread.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connect = async move { client.get_multiplexed_async_connection_with_config(&config).await };
        let connection = background.run(connect).expect("a connection");
        Self { connection, _background: background }
    }
}

impl Remote for Bare {
    fn name(&self) -> &'static str {
        BARE
    }

    fn reading<'a>(&'a self, key: &'a str) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            let mut get = redis::cmd("GET");
            get.arg(key);
            let value: Vec<u8> = get.query_async(&mut connection).await.expect("an answer");
            value.len()
        })
    }

    fn write(&self, key: &str, value: &Bytes) {
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(&value[..]).arg("PX").arg(TTL.as_millis() as u64);
        futures::executor::block_on(set.query_async::<()>(&mut connection)).expect("an answer");
    }
}

struct Tercel {
    name: &'static str,
    cache: blocking::CacheManager,
}

impl Tercel {
    fn bypassing(server: &RedisServer) -> Self {
        let cache = tercel::CacheManager::builder().redis(server.url().as_str()).build_blocking().expect("a cache");
        cache.ready().expect("the server is up");
        Self { name: BYPASS, cache: cache.with_defaults(EntryOptions::new().skip_tier(1)) }
    }

    /// L1 has room for one entry: whoever alternates keys never finds one there.
    fn promoting(server: &RedisServer) -> Self {
        let builder = tercel::CacheManager::builder().l1_capacity(1).cluster_namespace("promoting");
        let cache = builder.redis(server.url().as_str()).build_blocking().expect("a cache");
        cache.ready().expect("the server is up");
        Self { name: PROMOTE, cache }
    }
}

impl Remote for Tercel {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, key: &str) -> usize {
        length(self.cache.get(key))
    }

    fn reading<'a>(&'a self, key: &'a str) -> BoxFuture<'a, usize> {
        Box::pin(async move { length(self.cache.as_async().get(key).await) })
    }

    fn write(&self, key: &str, value: &Bytes) {
        self.cache.set_with_strategy(key, Value::bytes(value.clone()), TTL).expect("a write");
    }
}

fn length(read: tercel::Result<Option<Value>>) -> usize {
    read.expect("a read").as_ref().and_then(Value::as_bytes).map_or(0, <[u8]>::len)
}

/// `multi-tier-cache` with Redis as its only tier, which is its shortest way to Redis.
struct Predecessor {
    cache: predecessor::CacheManager,
    background: Background,
}

impl Predecessor {
    fn connect(server: &RedisServer) -> Self {
        let background = Background::start();
        let url = server.url();
        let tier = background.run(async move { predecessor::L2Cache::with_url(&url).await }).expect("a connection");
        let tiers = vec![predecessor::CacheTier::new(Arc::new(tier), 1, false, 1, 1.0)];
        let cache = predecessor::CacheManager::new_with_tiers(tiers, None).expect("a cache");
        Self { cache, background }
    }
}

impl Remote for Predecessor {
    fn name(&self) -> &'static str {
        "predecessor get (Redis only)"
    }

    fn reading<'a>(&'a self, key: &'a str) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut get = pin!(self.cache.get(key));
            let value = poll_fn(|cx| {
                // Its connection arms timers wherever it is polled.
                let _entered = self.background.handle.enter();
                get.as_mut().poll(cx)
            })
            .await;
            value.expect("a read").map_or(0, |value| value.len())
        })
    }

    fn write(&self, key: &str, value: &Bytes) {
        let _entered = self.background.handle.enter();
        let strategy = predecessor::CacheStrategy::Custom(TTL);
        futures::executor::block_on(self.cache.set_with_strategy(key, value.clone(), strategy)).expect("a write");
    }
}
