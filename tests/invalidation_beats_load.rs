//! An invalidation or a write during a load or a read: who joined before may have the old result, nobody later, and it is
//! kept nowhere.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bed::{Bed, Cache, Gate, Hand, MINUTE, Via, until};
use bytes::Bytes;
use tercel::{BoxFuture, CacheBackend, CacheManager, L2CacheBackend, MemoryTier, Operation, Result, TierConfig, Value};

both![
    a_change_during_a_load_beats_it,
    a_change_while_the_load_writes_below_beats_it,
    a_change_during_a_read_beats_it,
    a_late_remove_does_not_delete_a_newer_value,
    after_an_invalidation_nothing_older_is_read,
];

fn text(value: Value) -> String {
    value.decode().unwrap()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Change {
    Invalidate,
    Pattern,
    Set,
    Update,
    SetToNothing,
}

const CHANGES: [Change; 5] = [Change::Invalidate, Change::Pattern, Change::Set, Change::Update, Change::SetToNothing];

impl Change {
    /// Makes the change; what the key has then.
    fn make(self, cache: &Cache) -> Option<&'static str> {
        match self {
            Change::Invalidate => cache.invalidate("key").unwrap(),
            Change::Pattern => cache.invalidate_pattern("k[a-f]y*").unwrap(),
            Change::Set => cache.set("key", "newer", MINUTE).unwrap(),
            Change::Update => cache.update("key", "newer", Some(MINUTE)).unwrap(),
            Change::SetToNothing => cache.set("key", "newer", Duration::ZERO).unwrap(),
        }
        matches!(self, Change::Set | Change::Update).then_some("newer")
    }
}

fn a_change_during_a_load_beats_it(via: Via) {
    for change in CHANGES {
        for late_ends_first in [false, true] {
            for bed in [Bed::l1(via), Bed::two(via)] {
                let case = format!("{change:?}, late first: {late_ends_first}");
                let tasks = &bed.cache.tasks;
                let (old, anew) = (Gate::shut(), Gate::shut());
                let first = || async {
                    old.pass().await;
                    tercel::ok("old")
                };
                let mut leader = Hand::new(tasks.get_or_compute_with("key", MINUTE, first));
                until(|| leader.poll().is_some() || bed.stats().computations == 1);
                let follower = Hand::begun(tasks.get_or_compute_with("key", MINUTE, first));
                let there = change.make(&bed);
                assert_eq!(bed.text("key").as_deref(), there, "{case}");
                // A later caller never joins the old flight.
                let second = || async {
                    anew.pass().await;
                    tercel::ok("anew")
                };
                let mut late = Hand::new(tasks.get_or_compute_with("key", MINUTE, second));
                let expected = there.unwrap_or("anew");
                let mut ended = None;
                if there.is_none() {
                    until(|| late.poll().is_some() || bed.stats().computations == 2);
                }
                if late_ends_first {
                    anew.open();
                    ended = Some(late.end());
                    old.open();
                    assert_eq!(text(leader.end().unwrap()), "old", "{case}");
                } else {
                    old.open();
                    assert_eq!(text(leader.end().unwrap()), "old", "{case}");
                    assert_eq!(bed.peek("key").as_deref(), there, "the old result is not kept: {case}");
                    anew.open();
                    ended.get_or_insert(late.end());
                }
                assert_eq!(text(ended.unwrap().unwrap()), expected, "{case}");
                assert_eq!(text(follower.end().unwrap()), "old", "{case}");
                bed.made(3);
                assert_eq!(bed.text("key").as_deref(), Some(expected), "{case}");
                if bed.tasks.get_tier_stats().unwrap().len() == 2 {
                    assert_eq!(bed.sibling().text("key").as_deref(), Some(expected), "in the tier below: {case}");
                }
            }
        }
    }
}

fn a_change_while_the_load_writes_below_beats_it(via: Via) {
    for change in CHANGES {
        let bed = Bed::two(via);
        let (tasks, begun) = (bed.cache.tasks.clone(), Gate::shut());
        let mut load = Hand::new(tasks.get_or_compute_with("key", MINUTE, || async {
            // What follows is the write of the result.
            bed.below.hold();
            begun.open();
            tercel::ok("old")
        }));
        until(|| load.poll().is_some() || bed.below.waiting() == 1);
        assert_eq!(bed.peek("key").as_deref(), Some("old"), "it is in L1, and on its way below");
        let there = thread::scope(|scope| {
            let changed = scope.spawn(|| change.make(&bed));
            // An invalidation has taken effect here, and waits below behind the load's write; a write waits as a whole.
            let waits = matches!(change, Change::Set | Change::Update);
            let began = waits || gone(|| bed.peek("key").is_none());
            bed.below.release();
            assert!(began, "{change:?} takes effect here at once");
            changed.join().unwrap()
        });
        assert_eq!(text(load.end().unwrap()), "old");
        bed.made(1);
        assert_eq!(bed.text("key").as_deref(), there, "{change:?}");
        assert_eq!(bed.sibling().text("key").as_deref(), there, "{change:?} below");
    }
}

/// Whether `done` came about, without a panic while others wait for a release.
fn gone(done: impl FnMut() -> bool) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until(done))).is_ok()
}

/// A tier whose readers already have the bytes when they wait.
struct SlowAnswers {
    tier: MemoryTier,
    gate: Gate,
    waiting: AtomicU64,
}

impl CacheBackend for SlowAnswers {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.tier.get(key)
    }
    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        self.tier.set_with_ttl(key, value, ttl)
    }
    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        self.tier.remove(key)
    }
    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        self.tier.remove_pattern(pattern)
    }
    fn health_check(&self) -> BoxFuture<'_, bool> {
        self.tier.health_check()
    }
    fn name(&self) -> &str {
        "slow answers"
    }
}

impl L2CacheBackend for SlowAnswers {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move {
            let answer = self.tier.get_with_ttl(key).await;
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.pass().await;
            answer
        })
    }
}

fn a_change_during_a_read_beats_it(via: Via) {
    for change in CHANGES {
        for loads in [false, true] {
            let bed = Bed::l1(via);
            let tier =
                Arc::new(SlowAnswers { tier: bed.below.clone(), gate: Gate::shut(), waiting: AtomicU64::new(0) });
            bed.sibling().set("key", "old", MINUTE).unwrap();
            let third = MemoryTier::with_clock(bed.clock.clone());
            let over = |builder: tercel::CacheManagerBuilder| {
                builder
                    .tier(Arc::new(third.clone()), TierConfig::as_l2())
                    .tier(tier.clone(), TierConfig::as_l3().with_ttl_scale(1.0))
            };
            let cache = bed.another(over);
            let seen = thread::scope(|scope| {
                let reader = scope.spawn(|| match loads {
                    false => cache.text("key"),
                    true => Some(cache.text_or("key", MINUTE, "computed")),
                });
                until(|| tier.waiting.load(Ordering::SeqCst) == 1);
                let there = change.make(&cache);
                assert_eq!(cache.peek("key").as_deref(), there, "{change:?}");
                tier.gate.open();
                let read = reader.join().unwrap();
                assert!(read.as_deref() == Some("old") || read.as_deref() == there || loads, "{change:?}: {read:?}");
                there
            });
            assert_eq!(cache.peek("key").as_deref(), seen, "what was read before is not put into L1: {change:?}");
            assert_eq!(cache.text("key").as_deref(), seen, "{change:?}");
            // Nor was it promoted to the tier between.
            let between = bed.another(|builder| builder.tier(Arc::new(third.clone()), TierConfig::as_l2()));
            assert_eq!(between.text("key").as_deref(), seen, "{change:?}");
            cache.settled();
        }
    }
}

fn a_late_remove_does_not_delete_a_newer_value(via: Via) {
    let bed = Bed::two(via);
    bed.set("key", "old", MINUTE).unwrap();
    bed.below.hold();
    thread::scope(|scope| {
        let removed = scope.spawn(|| bed.invalidate("key").unwrap());
        until(|| bed.below.waiting() == 1);
        let written = scope.spawn(|| bed.set("key", "newer", MINUTE).unwrap());
        // The write is behind the removal, whichever the tier would take first.
        for _ in 0..20 {
            thread::yield_now();
        }
        bed.below.release();
        removed.join().unwrap();
        written.join().unwrap();
    });
    assert_eq!(bed.text("key").as_deref(), Some("newer"));
    assert_eq!(bed.sibling().text("key").as_deref(), Some("newer"));
    assert_eq!(bed.below.calls(Operation::Remove), 1);
}

/// The source counts up; once `invalidate` returned, no load or read may give an older count.
fn after_an_invalidation_nothing_older_is_read(via: Via) {
    const ROUNDS: u64 = 1500;
    for bed in [Bed::l1(via), Bed::two(via)] {
        let (source, known, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let load = |cache: &Cache| -> u64 {
            cache.load_typed("key", MINUTE, || tercel::ok(source.load(Ordering::SeqCst))).unwrap()
        };
        thread::scope(|scope| {
            for reads in [false, true, true] {
                let (cache, known, over, load) = (bed.cache.clone(), &known, &over, &load);
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let least = known.load(Ordering::SeqCst);
                        let seen = if reads { cache.get_typed::<u64>("key").unwrap() } else { Some(load(&cache)) };
                        assert!(seen.is_none_or(|seen| seen >= least), "{seen:?} after {least} was announced");
                    }
                });
            }
            for n in 1..=ROUNDS {
                source.store(n, Ordering::SeqCst);
                match n % 3 {
                    0 => bed.invalidate_pattern("k*").unwrap(),
                    _ => bed.invalidate("key").unwrap(),
                }
                known.store(n, Ordering::SeqCst);
                if n % 2 == 0 {
                    assert_eq!(load(&bed), n);
                }
            }
            over.store(true, Ordering::SeqCst);
        });
        assert_eq!(load(&bed), ROUNDS);
    }
}

#[test]
fn a_load_that_a_write_overtook_keeps_its_followers_and_stores_nothing_on_either_handle() {
    let bed = Bed::two(Via::Tasks);
    let (begun, gate) = (Gate::shut(), Gate::shut());
    let thread = thread::spawn({
        let (cache, begun, gate) = (bed.cache.threads.clone(), begun.clone(), gate.clone());
        move || {
            cache.get_or_compute_with("key", MINUTE, || {
                begun.open();
                gate.pass_blocking();
                tercel::ok("old")
            })
        }
    });
    begun.pass_blocking();
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let follower = Hand::begun(bed.cache.tasks.get_or_compute_with("key", MINUTE, never));
    bed.set("key", "newer", MINUTE).unwrap();
    gate.open();
    assert_eq!(text(thread.join().unwrap().unwrap()), "old");
    assert_eq!(text(follower.end().unwrap()), "old");
    assert_eq!(bed.text("key").as_deref(), Some("newer"));
    bed.made(2);
}

#[test]
fn a_change_goes_on_although_its_caller_leaves() {
    let bed = Bed::two(Via::Tasks);
    let cache: &CacheManager = &bed.cache.tasks;
    for key in ["a", "b"] {
        bed.set(key, "old", MINUTE).unwrap();
    }
    bed.below.hold();
    drop(Hand::begun(cache.invalidate("a")));
    drop(Hand::begun(cache.set_with_strategy("b", "newer", MINUTE)));
    until(|| bed.below.waiting() == 2);
    bed.below.release();
    bed.settled();
    assert_eq!(bed.sibling().text("a"), None);
    assert_eq!(bed.sibling().text("b").as_deref(), Some("newer"));
}
