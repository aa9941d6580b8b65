//! `new`, on both handles: an L1 and a Redis server make a cache whose values the next one finds, and whose streams go to
//! that server.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use redis_server::RedisServer;
use tercel::{CacheManager, L1Cache, L2Cache, RedisOptions, blocking};

const MINUTE: Duration = Duration::from_secs(60);

/// A server with a deadline that a busy machine keeps.
fn server(url: &str) -> Arc<L2Cache> {
    Arc::new(L2Cache::with_options(RedisOptions::new(url).response_timeout(MINUTE)).unwrap())
}

fn l1() -> Arc<L1Cache> {
    Arc::new(L1Cache::new().unwrap())
}

fn fields() -> Vec<(String, String)> {
    vec![("event".into(), "signup".into())]
}

#[test]
fn what_one_handle_wrote_the_other_finds_on_the_server() {
    let Some(redis) = RedisServer::start() else { return };
    let tasks = block_on(CacheManager::new(l1(), server(&redis.url()))).unwrap();
    let threads = blocking::CacheManager::new(l1(), server(&redis.url())).unwrap();
    block_on(tasks.ready()).unwrap();
    threads.ready().unwrap();

    block_on(tasks.set_with_strategy("by tasks", "1", MINUTE)).unwrap();
    threads.set_with_strategy("by threads", "2", MINUTE).unwrap();
    assert_eq!(threads.get_typed::<String>("by tasks").unwrap().as_deref(), Some("1"));
    assert_eq!(block_on(tasks.get_typed::<String>("by threads")).unwrap().as_deref(), Some("2"));
    assert_eq!((block_on(tasks.health_check()).is_healthy(), threads.health_check().is_healthy()), (true, true));
    assert_eq!((tasks.get_stats().l2_hits, threads.get_stats().l2_hits), (1, 1));
}

#[test]
fn streams_go_to_the_server_that_the_cache_was_given() {
    let Some(redis) = RedisServer::start() else { return };
    let tasks = block_on(CacheManager::new(l1(), server(&redis.url()))).unwrap();
    let threads = blocking::CacheManager::new(l1(), server(&redis.url())).unwrap();
    let first = block_on(tasks.publish_to_stream("events", fields(), None)).unwrap();
    let second = threads.publish_to_stream("events", fields(), Some(100)).unwrap();
    let both = [(second.clone(), fields()), (first.clone(), fields())];
    assert_eq!(threads.read_stream_latest("events", 10).unwrap(), both);
    assert_eq!(block_on(tasks.read_stream("events", &first, 10, None)).unwrap(), [(second, fields())]);
}

#[test]
fn an_l1_that_is_in_use_is_refused() {
    let used = l1();
    let url = "redis://127.0.0.1:1/";
    let first = block_on(CacheManager::new(used.clone(), server(url))).unwrap();
    assert!(block_on(CacheManager::new(used.clone(), server(url))).unwrap_err().is_config());
    assert!(blocking::CacheManager::new(used, server(url)).unwrap_err().is_config());
    drop(first);
}
