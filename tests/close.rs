//! The end: waiters are told, later calls are refused, and nothing panics wherever the last handle goes.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::thread;

use bed::{Bed, Gate, Hand, MINUTE, Via, until};
use tercel::{CacheManager, MemoryTier, TierConfig};

both![
    every_later_call_is_refused,
    twice_is_no_error,
    a_closed_cache_holds_nothing,
    the_last_handle_may_go_with_a_closure_that_runs,
];

fn every_later_call_is_refused(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", MINUTE).unwrap();
    bed.close().unwrap();
    assert!(bed.get("k").unwrap_err().is_closed());
    assert!(bed.get_typed::<String>("k").unwrap_err().is_closed());
    assert!(bed.get_shared::<String>("k").unwrap_err().is_closed());
    assert!(bed.lookup("k").unwrap_err().is_closed());
    assert!(bed.load("k", MINUTE, || tercel::ok("v")).unwrap_err().is_closed());
    assert!(bed.load_typed("k", MINUTE, || tercel::ok(1u64)).unwrap_err().is_closed());
    assert!(bed.load_shared("k", MINUTE, || tercel::ok(1u64)).unwrap_err().is_closed());
    assert!(bed.load_optional("k", MINUTE, || tercel::ok("v")).unwrap_err().is_closed());
    assert!(bed.set("k", "v", MINUTE).unwrap_err().is_closed());
    assert!(bed.update("k", "v", None).unwrap_err().is_closed());
    assert!(bed.broadcast("k", "v", MINUTE).unwrap_err().is_closed());
    assert!(bed.invalidate("k").unwrap_err().is_closed());
    assert!(bed.invalidate_pattern("*").unwrap_err().is_closed());
    assert!(bed.threads.ready().unwrap_err().is_closed());
    assert!(bed.threads.read_stream_latest("s", 1).unwrap_err().is_closed());
    assert_eq!(bed.peek("k"), None);
    assert!(!bed.threads.health_check().is_healthy());
    assert_eq!(bed.stats().computations, 0);
    bed.cache.tasks.validate().unwrap();
    bed.unchecked();
}

fn twice_is_no_error(via: Via) {
    let bed = Bed::two(via);
    for _ in 0..3 {
        bed.close().unwrap();
    }
    thread::scope(|scope| {
        let bed = Bed::two(via);
        let cache = bed.cache.clone();
        (0..4).for_each(|_| {
            let cache = cache.clone();
            scope.spawn(move || cache.close().unwrap());
        });
    });
}

fn a_closed_cache_holds_nothing(via: Via) {
    let bed = Bed::l1(via);
    for n in 0..100 {
        bed.set(&n.to_string(), "v", MINUTE).unwrap();
    }
    bed.close().unwrap();
    assert_eq!((bed.stats().resident_entries, bed.stats().invalidated), (0, 100));
}

#[test]
fn waiters_are_told() {
    let bed = Bed::two(Via::Tasks);
    let tasks = &bed.cache.tasks;
    let (gate, begun) = (Gate::shut(), Gate::shut());
    let leader = thread::spawn({
        let (cache, gate, begun) = (bed.cache.threads.clone(), gate.clone(), begun.clone());
        move || {
            cache.get_or_compute_with("k", MINUTE, || {
                begun.open();
                gate.pass_blocking();
                tercel::ok("late")
            })
        }
    });
    begun.pass_blocking();
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let follower = Hand::begun(tasks.get_or_compute_with("k", MINUTE, never));
    bed.below.hold();
    let read = Hand::begun(tasks.get("other"));
    let joined = Hand::begun(tasks.get("other"));
    bed.close().unwrap();
    assert!(follower.end().unwrap_err().is_closed());
    assert!(joined.end().unwrap_err().is_closed());
    bed.below.release();
    drop(read);
    gate.open();
    let own = leader.join().unwrap();
    assert!(own.as_ref().is_ok() || own.is_err_and(|error| error.is_closed()));
    assert_eq!(bed.stats().resident_entries, 0, "a late result is kept nowhere");
    assert!(bed.below.keys().is_empty());
    bed.unchecked();
}

#[test]
fn writes_that_have_begun_are_waited_for() {
    let bed = Bed::two(Via::Tasks);
    bed.below.hold();
    let write = Hand::begun(bed.cache.tasks.set_with_strategy("k", "v", MINUTE));
    until(|| bed.below.waiting() == 1);
    let mut close = Hand::begun(bed.cache.tasks.close());
    assert!(close.poll().is_none());
    bed.below.release();
    close.end().unwrap();
    write.end().unwrap();
    assert_eq!(bed.below.keys(), ["k"]);
    bed.unchecked();
}

/// With the machine's own clock: its timers end with the engine.
#[test]
fn calls_in_flight_survive_the_end_of_the_timers() {
    let below = MemoryTier::new();
    let cache = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build().unwrap();
    let gate = Gate::shut();
    let load = || async {
        gate.pass().await;
        tercel::ok("v".to_owned())
    };
    let mut leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    let mut follower = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    below.hold();
    let mut read = Hand::begun(cache.get("other"));
    bed::block_on(cache.close()).unwrap();
    assert!(leader.poll().unwrap().unwrap_err().is_closed(), "its closure can be left");
    assert!(follower.poll().unwrap().unwrap_err().is_closed());
    let error = read.poll().unwrap().unwrap_err();
    assert!(error.is_closed() || error.is_tier(), "{error}");
    drop((leader, follower, read));
    cache.validate().unwrap();
}

#[test]
fn the_last_handle_may_go_inside_a_task() {
    for multi in [false, true] {
        let runtime = match multi {
            true => tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
            false => tokio::runtime::Builder::new_current_thread().build().unwrap(),
        };
        let task = async move {
            let below = MemoryTier::new();
            let cache = CacheManager::builder().tier(Arc::new(below), TierConfig::as_l2()).build().unwrap();
            cache.set_with_strategy("k", "v", MINUTE).await.unwrap();
            drop(cache);
            let blocking = CacheManager::builder().build_blocking().unwrap();
            blocking.get("k").unwrap();
            drop(blocking);
        };
        runtime.block_on(async move { tokio::spawn(task).await.unwrap() });
    }
}

fn the_last_handle_may_go_with_a_closure_that_runs(via: Via) {
    let cache = CacheManager::default();
    let (handle, seen) = (bed::Cache::new(cache.clone(), via), bed::Cache::new(cache, via));
    let value = seen.load("k", MINUTE, || {
        drop(handle);
        tercel::ok("v")
    });
    assert_eq!(value.unwrap().decode::<String>().unwrap(), "v");
}

#[test]
fn the_last_handle_may_go_with_work_in_flight() {
    let below = MemoryTier::new();
    let cache = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build().unwrap();
    below.hold();
    drop(Hand::begun(cache.set_with_strategy("k", "v", MINUTE)));
    until(|| below.waiting() == 1);
    // What runs on holds the engine until it is done, and then the engine ends on its own thread.
    drop(cache);
    below.release();
    until(|| below.keys() == ["k"]);
    until(|| below.waiting() == 0);
}

#[test]
fn the_callers_runtime_may_go_with_calls_in_flight() {
    let bed = Bed::two(Via::Tasks);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    bed.below.hold();
    for n in 0..50u64 {
        let cache = bed.cache.tasks.clone();
        runtime.spawn(async move {
            let key = (n % 5).to_string();
            let _ = cache.get_or_compute_with(&key, MINUTE, || async move { tercel::ok(n) }).await;
            let _ = cache.set_with_strategy(&key, n, MINUTE).await;
        });
    }
    until(|| bed.below.waiting() == 5);
    runtime.shutdown_background();
    bed.below.release();
    until(|| bed.cache.tasks.validate().is_ok());
    assert!(bed.get("k").is_ok());
    bed.unchecked();
}
