//! An L1 hit allocates nothing, through whichever call and handle. So no future is boxed on a hit either.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/allocations.rs"]
mod allocations;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocations::made_by_this_thread;
use tercel::{CacheManager, EntryOptions, MemoryTier, TierConfig, Value, blocking};

const MINUTE: Duration = Duration::from_secs(60);
const ROUNDS: u64 = 100;

/// Runs `call` often and panics if this thread allocated. The first call is for what is made once per thread.
fn without_allocation<R>(what: &str, mut call: impl FnMut() -> R) {
    drop(call());
    let before = made_by_this_thread();
    for _ in 0..ROUNDS {
        drop(call());
    }
    let allocations = made_by_this_thread() - before;
    assert_eq!(allocations, 0, "{what}: {allocations} allocations in {ROUNDS} hits");
}

/// The output of a future that is ready at its first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a hit waits for nothing"),
    }
}

/// A cache with a tier below, so that the way down exists and is not taken.
fn cache() -> CacheManager {
    CacheManager::builder().tier(Arc::new(MemoryTier::new()), TierConfig::as_l2()).build().unwrap()
}

/// One resident number, one text, one document and one absent key, each under a name that starts with `start`.
fn keys(cache: &blocking::CacheManager, start: &str) -> [String; 4] {
    let keys = ["number", "text", "document", "absent"].map(|key| format!("{start}{key}"));
    cache.set_with_strategy(&keys[0], 7u64, MINUTE).unwrap();
    cache.set_with_strategy(&keys[1], "hello", MINUTE).unwrap();
    cache.set_with_strategy(&keys[2], Value::encode(&vec![1u64, 2, 3]).unwrap(), MINUTE).unwrap();
    let absent = cache.get_or_compute_optional(&keys[3], MINUTE, || tercel::ok(None::<Value>)).unwrap();
    assert_eq!(absent, None);
    keys
}

/// The calls through the async handle, each polled once by hand.
fn tasks(cache: &CacheManager, keys: &[String; 4]) {
    let [number, text, document, absent] = keys;
    without_allocation("get", || at_once(cache.get(document)).unwrap().unwrap());
    without_allocation("get of an absent key", || assert_eq!(at_once(cache.get(absent)).unwrap(), None));
    without_allocation("get_typed", || at_once(cache.get_typed::<u64>(number)).unwrap().unwrap());
    without_allocation("get_shared", || at_once(cache.get_shared::<Vec<u64>>(document)).unwrap().unwrap());
    without_allocation("get_or_compute_with", || {
        at_once(cache.get_or_compute_with(document, MINUTE, || async { tercel::ok("unused") })).unwrap()
    });
    without_allocation("get_or_compute_with, a strategy", || {
        let strategy = tercel::CacheStrategy::MediumTerm;
        at_once(cache.get_or_compute_with(document, strategy, async || tercel::ok("unused"))).unwrap()
    });
    without_allocation("get_or_compute_with, plain options", || {
        let options = EntryOptions::new().ttl(MINUTE);
        at_once(cache.get_or_compute_with(document, &options, || async { tercel::ok("unused") })).unwrap()
    });
    without_allocation("get_or_compute_optional", || {
        at_once(cache.get_or_compute_optional(document, MINUTE, || async { tercel::ok("unused") })).unwrap()
    });
    without_allocation("get_or_compute_optional of an absent key", || {
        let found = at_once(cache.get_or_compute_optional(absent, MINUTE, || async { tercel::ok("unused") }));
        assert_eq!(found.unwrap(), None);
    });
    without_allocation("get_or_compute_with of an absent key", || {
        let found = at_once(cache.get_or_compute_with(absent, MINUTE, || async { tercel::ok("unused") }));
        assert!(found.unwrap_err().is_absent());
    });
    without_allocation("get_or_compute_typed", || {
        at_once(cache.get_or_compute_typed(number, MINUTE, || async { tercel::ok(0u64) })).unwrap()
    });
    without_allocation("get_or_compute_typed of an absent key", || {
        let found = at_once(cache.get_or_compute_typed(absent, MINUTE, || async { tercel::ok(0u64) }));
        assert!(found.unwrap_err().is_absent());
    });
    without_allocation("get_or_compute_shared", || {
        at_once(cache.get_or_compute_shared(text, MINUTE, || async { tercel::ok(String::new()) })).unwrap()
    });
    without_allocation("with_cached", || {
        cache.with_cached(text, |value| value.decode_borrowed::<&str>().unwrap().len()).unwrap()
    });
    without_allocation("peek", || cache.peek(document).unwrap());
    without_allocation("a clone of the handle", || cache.clone());
}

/// The same through the blocking handle.
fn threads(cache: &blocking::CacheManager, keys: &[String; 4]) {
    let [number, text, document, absent] = keys;
    without_allocation("get", || cache.get(document).unwrap().unwrap());
    without_allocation("get of an absent key", || assert_eq!(cache.get(absent).unwrap(), None));
    without_allocation("get_typed", || cache.get_typed::<u64>(number).unwrap().unwrap());
    without_allocation("get_shared", || cache.get_shared::<Vec<u64>>(document).unwrap().unwrap());
    without_allocation("get_or_compute_with", || {
        cache.get_or_compute_with(document, MINUTE, || tercel::ok("unused")).unwrap()
    });
    without_allocation("get_or_compute_with of an absent key", || {
        cache.get_or_compute_with(absent, MINUTE, || tercel::ok("unused")).unwrap_err()
    });
    without_allocation("get_or_compute_optional", || {
        cache.get_or_compute_optional(document, MINUTE, || tercel::ok("unused")).unwrap()
    });
    without_allocation("get_or_compute_optional of an absent key", || {
        assert_eq!(cache.get_or_compute_optional(absent, MINUTE, || tercel::ok("unused")).unwrap(), None);
    });
    without_allocation("get_or_compute_typed", || {
        cache.get_or_compute_typed(number, MINUTE, || tercel::ok(0u64)).unwrap()
    });
    without_allocation("get_or_compute_shared", || {
        cache.get_or_compute_shared(text, MINUTE, || tercel::ok(String::new())).unwrap()
    });
    without_allocation("with_cached", || {
        cache.with_cached(text, |value| value.decode_borrowed::<&str>().unwrap().len()).unwrap()
    });
    without_allocation("peek", || cache.peek(document).unwrap());
}

/// Both handles.
fn both(cache: &CacheManager, start: &str) {
    let blocking = blocking::CacheManager::from(cache.clone());
    let keys = keys(&blocking, start);
    tasks(cache, &keys);
    threads(&blocking, &keys);
}

#[test]
fn the_counter_counts() {
    let before = made_by_this_thread();
    drop(Box::new([0u8; 32]));
    assert!(made_by_this_thread() > before);
}

#[test]
fn a_hit_allocates_nothing() {
    both(&cache(), "");
}

#[test]
fn a_hit_through_a_namespace_allocates_nothing_once_its_thread_has_had_the_longest_key() {
    let cache = cache().namespace("tenant:7:").namespace("users:");
    both(&cache, "");
    both(&cache, &"k".repeat(5 << 10));
    both(&cache, "short");
}

#[test]
fn a_hit_by_a_long_key_allocates_nothing() {
    both(&cache(), &"k".repeat(5 << 10));
}

#[test]
fn a_hit_under_own_defaults_allocates_nothing() {
    let options = EntryOptions::new().ttl(MINUTE).grace(MINUTE).jitter(Duration::from_secs(1));
    both(&cache().with_defaults(options), "");
}

#[test]
fn a_hit_inside_any_executor_allocates_nothing() {
    let cache = cache();
    let keys = keys(&blocking::CacheManager::from(cache.clone()), "");
    futures::executor::block_on(async { tasks(&cache, &keys) });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let blocking = cache.clone().into_blocking();
        drop(cache.get(&keys[0]).await.unwrap());
        let before = made_by_this_thread();
        for _ in 0..ROUNDS {
            drop(cache.get(&keys[0]).await.unwrap().unwrap());
            drop(cache.get_or_compute_with(&keys[0], MINUTE, async || tercel::ok(0u64)).await.unwrap());
            // A blocking call inside a task.
            drop(blocking.get(&keys[0]).unwrap().unwrap());
        }
        assert_eq!(made_by_this_thread(), before);
    });
}

#[test]
fn the_future_of_a_read_is_small_and_that_of_a_load_holds_little_but_the_closure() {
    let cache = cache();
    assert!(size_of_val(&cache.get("k")) <= 256, "get: {}", size_of_val(&cache.get("k")));
    let typed = cache.get_typed::<u64>("k");
    assert!(size_of_val(&typed) <= 256, "get_typed: {}", size_of_val(&typed));
    let load = cache.get_or_compute_with("k", MINUTE, || async { tercel::ok("v") });
    assert!(size_of_val(&load) <= 256, "get_or_compute_with: {}", size_of_val(&load));
    let typed = cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(1u64) });
    assert!(size_of_val(&typed) <= 256, "get_or_compute_typed: {}", size_of_val(&typed));
    let set = cache.set_with_strategy("k", "v", MINUTE);
    assert!(size_of_val(&set) <= 512, "set_with_strategy: {}", size_of_val(&set));
    // What the closure captures is held once, and only once again where it moves on to the miss.
    let captured = [0u8; 1024];
    let large = cache.get_or_compute_with("k", MINUTE, move || async move { tercel::ok(captured.to_vec()) });
    assert!(size_of_val(&large) <= 256 + 2 * 1024, "with 1 KiB captured: {}", size_of_val(&large));
}
