//! Both handles of one engine behind the same calls, and waiting for what other threads bring about.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use tercel::{
    BoxError, CacheManager, CacheManagerBuilder, EntryOptions, Loaded, Lookup, RedisOptions, Result, StreamEntry,
    Value, blocking,
};

use crate::redis_server::{Answer, RedisServer};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);

/// One of the two handles. The futures of the async one run on this thread, without any runtime of the test's.
#[derive(Clone, Debug)]
pub enum Face {
    Tasks(CacheManager),
    Threads(blocking::CacheManager),
}

/// Each handle of `cache`.
pub fn faces(cache: &CacheManager) -> [Face; 2] {
    [Face::Tasks(cache.clone()), Face::Threads(cache.clone().into_blocking())]
}

impl Face {
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        match self {
            Face::Tasks(cache) => block_on(cache.get(key)),
            Face::Threads(cache) => cache.get(key),
        }
    }

    /// The value as text.
    pub fn text(&self, key: &str) -> Result<Option<String>> {
        match self {
            Face::Tasks(cache) => block_on(cache.get_typed(key)),
            Face::Threads(cache) => cache.get_typed(key),
        }
    }

    pub fn lookup(&self, key: &str) -> Result<Lookup> {
        match self {
            Face::Tasks(cache) => block_on(cache.lookup(key)),
            Face::Threads(cache) => cache.lookup(key),
        }
    }

    pub fn peek(&self, key: &str) -> Option<Value> {
        match self {
            Face::Tasks(cache) => cache.peek(key),
            Face::Threads(cache) => cache.peek(key),
        }
    }

    pub fn compute<R: Into<Loaded>>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl FnOnce() -> Result<R, BoxError>,
    ) -> Result<Option<Value>> {
        match self {
            Face::Tasks(cache) => block_on(cache.get_or_compute_optional(key, options, || async { f() })),
            Face::Threads(cache) => cache.get_or_compute_optional(key, options, f),
        }
    }

    pub fn set(&self, key: &str, value: impl Into<Value>, options: impl Into<EntryOptions>) -> Result<()> {
        match self {
            Face::Tasks(cache) => block_on(cache.set_with_strategy(key, value, options)),
            Face::Threads(cache) => cache.set_with_strategy(key, value, options),
        }
    }

    pub fn update(&self, key: &str, value: impl Into<Value>, ttl: Option<Duration>) -> Result<()> {
        match self {
            Face::Tasks(cache) => block_on(cache.update_cache(key, value, ttl)),
            Face::Threads(cache) => cache.update_cache(key, value, ttl),
        }
    }

    pub fn broadcast(&self, key: &str, value: impl Into<Value>, options: impl Into<EntryOptions>) -> Result<()> {
        match self {
            Face::Tasks(cache) => block_on(cache.set_with_broadcast(key, value, options)),
            Face::Threads(cache) => cache.set_with_broadcast(key, value, options),
        }
    }

    pub fn invalidate(&self, key: &str) -> Result<()> {
        match self {
            Face::Tasks(cache) => block_on(cache.invalidate(key)),
            Face::Threads(cache) => cache.invalidate(key),
        }
    }

    pub fn invalidate_pattern(&self, pattern: &str) -> Result<()> {
        match self {
            Face::Tasks(cache) => block_on(cache.invalidate_pattern(pattern)),
            Face::Threads(cache) => cache.invalidate_pattern(pattern),
        }
    }

    pub fn publish(&self, stream: &str, fields: &[(&str, &str)], maxlen: Option<usize>) -> Result<String> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match self {
            Face::Tasks(cache) => block_on(cache.publish_to_stream(stream, fields, maxlen)),
            Face::Threads(cache) => cache.publish_to_stream(stream, fields, maxlen),
        }
    }

    pub fn read_latest(&self, stream: &str, count: usize) -> Result<Vec<StreamEntry>> {
        match self {
            Face::Tasks(cache) => block_on(cache.read_stream_latest(stream, count)),
            Face::Threads(cache) => cache.read_stream_latest(stream, count),
        }
    }

    pub fn read(&self, stream: &str, after: &str, count: usize, block: Option<usize>) -> Result<Vec<StreamEntry>> {
        match self {
            Face::Tasks(cache) => block_on(cache.read_stream(stream, after, count, block)),
            Face::Threads(cache) => cache.read_stream(stream, after, count, block),
        }
    }
}

/// Waits until `holds`; the bound is generous, because only a test that fails ever reaches it.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < limit, "in 60 s it did not come true that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What commands the server has executed, but for those with which connections begin and are kept, and those of the tests.
pub fn executed(server: &RedisServer) -> BTreeMap<String, u64> {
    const UPKEEP: [&str; 7] = ["ping", "hello", "auth", "select", "client|setinfo", "subscribe", "info"];
    let Answer::Text(info) = server.command(&["INFO", "commandstats"]) else { panic!("INFO answers a text") };
    let rows = info.lines().filter_map(|line| {
        let (name, row) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = row.split_once(',')?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    rows.filter(|(name, _)| !UPKEEP.contains(&name.as_str())).collect()
}

/// What has been executed since `before`.
pub fn executed_since(server: &RedisServer, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut now = executed(server);
    for (name, calls) in before {
        now.entry(name.clone()).and_modify(|count| *count -= calls);
    }
    now.retain(|_, calls| *calls > 0);
    now
}

/// Longer than any pause of a loaded machine: tests in which no time is to run out have all the time there is.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a cache that waits for the server at `url` however long it takes to answer.
pub fn patient(url: &str) -> CacheManagerBuilder {
    let server = RedisOptions::new(url).connect_timeout(PATIENCE).response_timeout(PATIENCE);
    CacheManager::builder().redis(server).tier_deadline(PATIENCE, PATIENCE)
}

/// A patient cache over `server` that has reached it.
pub fn over(server: &RedisServer) -> CacheManager {
    let cache = patient(&server.url()).build().expect("the settings are valid");
    block_on(cache.ready()).expect("the server is up");
    cache
}

/// A cache over `server` that has reached it, with the deadlines that a cache has by default.
pub fn over_with_deadlines(server: &RedisServer) -> CacheManager {
    let cache = CacheManager::builder().redis(server.url()).build().expect("the settings are valid");
    block_on(cache.ready()).expect("the server is up");
    cache
}

/// The name of `key` in Redis, in the namespace that a cache has by default.
pub fn name(key: &str) -> String {
    format!("tc:{{tercel.p00}}:d:{key}")
}
