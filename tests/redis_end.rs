//! The end of a cache, with commands under way: nothing panics, nothing hangs, no connection and no thread stays.
//!
//! The threads of the process are counted, so these tests take turns.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use faces::{Face, HOUR, eventually, faces};
use futures::executor::block_on;
use futures::future::{join_all, select};
use redis_server::{Answer, RedisServer};
use tercel::{CacheManager, InvalidationConfig, Result};

static TURNS: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("the test before has left no thread", || engine_threads() == 0);
    turn
}

/// The engine's threads in this process.
fn engine_threads() -> usize {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tercel-")).count()
}

/// Connections to the server, but for the one that asks.
fn connections(server: &RedisServer) -> usize {
    let Answer::Text(clients) = server.command(&["CLIENT", "LIST"]) else { panic!("CLIENT LIST answers a text") };
    clients.lines().filter(|line| !line.is_empty()).count() - 1
}

fn cache(server: &RedisServer) -> CacheManager {
    let config = InvalidationConfig::default();
    let cache = CacheManager::builder().redis(server.url()).invalidation(config).build().unwrap();
    block_on(cache.ready()).unwrap();
    if cfg!(target_os = "linux") {
        assert_ne!(engine_threads(), 0, "the engine's threads can be told by their names");
    }
    assert!(connections(server) >= 2);
    cache
}

fn assert_nothing_is_left(server: &RedisServer) {
    eventually("the threads have ended", || engine_threads() == 0);
    eventually("the connections are closed", || connections(server) == 0);
}

/// Polls many calls once, so that their commands are under way, and gives them up.
fn begin_and_drop(cache: &CacheManager) {
    let begun = async {
        let calls = (0..100).map(|n| {
            let (cache, key) = (cache.clone(), format!("k{n}"));
            async move {
                let read = Box::pin(cache.get(&key));
                let other = format!("{key}:written");
                let write = Box::pin(cache.set_with_strategy(&other, "v", HOUR));
                let _ = select(read, write).await;
            }
        });
        join_all(calls).await;
    };
    let _ = block_on(select(Box::pin(begun), std::future::ready(())));
}

#[test]
fn the_last_handle_takes_threads_and_connections_along() {
    let _turn = turn();
    let Some(server) = RedisServer::start() else { return };
    for n in 0..2 {
        let cache = cache(&server);
        let [tasks, threads] = faces(&cache);
        let view = cache.namespace("view:");
        tasks.set("k", "v", HOUR).unwrap();
        drop(cache);
        let (first, last) = if n == 0 { (tasks, threads) } else { (threads, tasks) };
        drop(first);
        assert_eq!(last.text("k").unwrap().as_deref(), Some("v"), "one handle is enough");
        drop(last);
        assert_eq!(block_on(view.get("k")).unwrap(), None);
        drop(view);
        assert_nothing_is_left(&server);
    }
}

#[test]
fn dropping_with_commands_under_way_leaves_nothing() {
    let _turn = turn();
    let Some(server) = RedisServer::start() else { return };
    for frozen in [false, true] {
        let cache = cache(&server);
        if frozen {
            server.stop();
        }
        begin_and_drop(&cache);
        drop(cache);
        eventually("the threads have ended", || engine_threads() == 0);
        if frozen {
            server.cont();
        }
        assert_nothing_is_left(&server);
    }
}

#[test]
fn the_last_handle_may_go_inside_a_task() {
    let _turn = turn();
    let Some(server) = RedisServer::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache = cache(&server);
    runtime.block_on(async move {
        cache.set_with_strategy("k", "v", HOUR).await.unwrap();
        let threads = cache.into_blocking();
        threads.get("nothing").unwrap();
        drop(threads);
    });
    drop(runtime);
    assert_nothing_is_left(&server);
}

#[test]
fn a_write_that_has_begun_reaches_the_server_although_its_caller_and_the_cache_go() {
    let _turn = turn();
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    {
        let write = Box::pin(cache.set_with_strategy("k", "v", HOUR));
        let _ = block_on(select(write, std::future::ready(())));
    }
    drop(cache);
    eventually("it is there", || server.command(&["EXISTS", "tc:{cache:invalidate.p00}:d:k"]) == Answer::Int(1));
    assert_nothing_is_left(&server);
}

#[test]
fn closing_ends_everything_and_everybody_is_told() {
    let _turn = turn();
    let Some(server) = RedisServer::start() else { return };
    for frozen in [false, true] {
        for n in 0..2 {
            let cache = cache(&server);
            let face = faces(&cache)[n].clone();
            if frozen {
                server.stop();
            }
            let callers: Vec<_> = (0..8)
                .map(|n| {
                    let face = face.clone();
                    thread::spawn(move || -> Vec<Result<()>> {
                        let key = |m| format!("k{n}:{m}");
                        (0..50)
                            .flat_map(|m| {
                                let read = face.get(&key(m)).map(drop);
                                let load = face.compute(&key(m), HOUR, || Ok("v")).map(drop);
                                let end = read.as_ref().is_err_and(tercel::Error::is_closed);
                                [read, load, if end { Ok(()) } else { face.invalidate(&key(m)) }]
                            })
                            .collect()
                    })
                })
                .collect();
            begin_and_drop(&cache);
            match &face {
                Face::Tasks(cache) => block_on(cache.close()).unwrap(),
                Face::Threads(cache) => cache.close().unwrap(),
            }
            for caller in callers {
                let outcomes = caller.join().expect("no call panics");
                for error in outcomes.into_iter().filter_map(Result::err) {
                    assert!(error.is_closed() || error.is_tier(), "{error:?}");
                }
            }
            eventually("the threads have ended while handles are held", || engine_threads() == 0);
            assert!(face.get("k").unwrap_err().is_closed());
            assert!(face.set("k", "v", HOUR).unwrap_err().is_closed());
            assert!(face.invalidate("k").unwrap_err().is_closed());
            assert!(face.compute("k", HOUR, || Ok("v")).unwrap_err().is_closed());
            assert!(block_on(cache.ready()).unwrap_err().is_closed());
            block_on(cache.close()).unwrap();
            if frozen {
                server.cont();
            }
            assert_nothing_is_left(&server);
            drop(cache);
        }
    }
}

#[test]
fn a_cache_whose_server_never_came_ends_as_well() {
    let _turn = turn();
    let port = redis_server::free_port();
    let cache = CacheManager::builder().redis(format!("redis://127.0.0.1:{port}")).build().unwrap();
    let waiting = Arc::new(cache.clone());
    let waiter = thread::spawn(move || block_on(waiting.ready()));
    assert!(faces(&cache)[0].set("k", "v", HOUR).unwrap_err().is_partial_write());
    block_on(cache.close()).unwrap();
    assert!(waiter.join().unwrap().unwrap_err().is_closed());
    eventually("the threads have ended", || engine_threads() == 0);
    let cache = CacheManager::builder().redis(format!("redis://127.0.0.1:{port}")).build().unwrap();
    assert!(faces(&cache)[1].invalidate("k").unwrap_err().is_partial_write());
    drop(cache);
    eventually("the threads have ended", || engine_threads() == 0);
}
