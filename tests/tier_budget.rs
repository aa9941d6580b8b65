//! One request waits for the tiers below L1 once: what its read has used up its write does not get again, and whoever waits
//! for others' operations on the same key waits within the same bound.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::future::{Either, join_all, ready, select};
use tercel::{CacheManager, ManualClock, MemoryTier, Operation, TierConfig};

const HARD: Duration = Duration::from_millis(500);
const HOUR: Duration = Duration::from_secs(3600);

struct Bed {
    cache: CacheManager,
    clock: Arc<ManualClock>,
    below: MemoryTier,
}

fn bed() -> Bed {
    let clock = Arc::new(ManualClock::new());
    let below = MemoryTier::new();
    let tier = Arc::new(below.clone());
    let builder = CacheManager::builder().clock(clock.clone()).tier_deadline(HARD, HARD);
    Bed { cache: builder.tier(tier, TierConfig::as_l2()).build().unwrap(), clock, below }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < limit, "in 60 s it did not come true that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `call` on a thread of its own, which must end without the clock being advanced again.
fn started<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> impl FnOnce() -> T {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(call()));
    move || ended.recv_timeout(Duration::from_secs(20)).expect("it waits for the tiers no longer")
}

#[test]
fn a_load_waits_for_the_tiers_once() {
    for blocking in [false, true] {
        let bed = bed();
        bed.below.hold();
        let cache = bed.cache.clone();
        let load = started(move || match blocking {
            false => block_on(cache.get_or_compute_with("k", HOUR, || async { tercel::ok("v") })),
            true => cache.into_blocking().get_or_compute_with("k", HOUR, || tercel::ok("v")),
        });
        eventually("the read waits", || bed.below.waiting() == 1);
        bed.clock.advance(HARD);
        assert_eq!(load().unwrap(), "v".into());
        assert_eq!(bed.below.calls(Operation::Set), 1, "the write was tried all the same");
        assert_eq!(bed.cache.get_stats().pending_repairs, 1);
    }
}

#[test]
fn a_load_that_found_the_tiers_quick_has_the_whole_time_for_its_write() {
    let bed = bed();
    let (cache, below) = (bed.cache.clone(), bed.below.clone());
    let load = started(move || {
        let loaded = async || {
            below.hold();
            tercel::ok("v")
        };
        block_on(cache.get_or_compute_with("k", HOUR, loaded))
    });
    eventually("the write waits", || bed.below.waiting() == 1);
    bed.clock.advance(HARD - Duration::from_millis(1));
    bed.below.release();
    load().unwrap();
    assert_eq!((bed.cache.get_stats().pending_repairs, bed.below.keys()), (0, vec!["k".to_owned()]));
}

#[test]
fn changes_of_one_key_that_wait_for_each_other_wait_within_one_bound() {
    let bed = bed();
    bed.below.hold();
    let changes = (0..4).map(|n| {
        let cache = bed.cache.clone();
        async move {
            match n {
                0 | 2 => cache.invalidate("k").await,
                _ => cache.set_with_strategy("k", "v", HOUR).await,
            }
        }
    });
    let mut all = Box::pin(join_all(changes));
    // Every change has begun; the first of them waits for the tier, the others for the first.
    assert!(matches!(block_on(select(&mut all, ready(()))), Either::Right(_)));
    eventually("the first waits", || bed.below.waiting() == 1);
    bed.clock.advance(HARD);
    let outcomes = started(move || block_on(all))();
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap_err().is_partial_write()));
}
