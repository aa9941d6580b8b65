//! The load budget: at most so many closures at once, in order, without deadlock.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bed::{Bed, Gate, Hand, MINUTE, SECOND, Via};
use tercel::EntryOptions;

both![nested_loads_take_no_second_place, a_place_comes_back_after_a_panic_and_an_error,];

fn budget(via: Via, n: usize) -> Bed {
    Bed::with(via, |builder, _| builder.load_budget(n))
}

#[test]
fn never_more_at_once_than_the_budget() {
    const BUDGET: usize = 3;
    let bed = budget(Via::Threads, BUDGET);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let enter = move |now: &AtomicUsize, most: &AtomicUsize| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let (cache, now, most) = (bed.cache.tasks.clone(), now.clone(), most.clone());
            runtime.spawn(async move {
                let load = || async {
                    enter(&now, &most);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    tercel::ok(1u64)
                };
                cache.get_or_compute_with(&format!("task {n}"), MINUTE, load).await.unwrap();
            })
        })
        .collect();
    thread::scope(|scope| {
        for thread in 0..8 {
            let (bed, now, most) = (&bed, &now, &most);
            scope.spawn(move || {
                for n in 0..40 {
                    let load = || {
                        enter(now, most);
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                        tercel::ok(1u64)
                    };
                    bed.load(&format!("thread {thread} {n}"), MINUTE, load).unwrap();
                }
            });
        }
    });
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    bed.made(300);
    assert_eq!(bed.stats().computations, 300 + 320);
    assert!(most.load(Ordering::SeqCst) <= BUDGET, "{most:?} at once");
}

#[test]
fn places_are_given_in_order() {
    let bed = budget(Via::Tasks, 1);
    let cache = &bed.cache.tasks;
    let (gate, order) = (Gate::shut(), Mutex::new(Vec::new()));
    let first = Hand::begun(cache.get_or_compute_with("first", MINUTE, || async {
        gate.pass().await;
        tercel::ok(0u64)
    }));
    let keys: Vec<_> = (0..10u64).map(|n| n.to_string()).collect();
    let waiting: Vec<_> = (0..10u64)
        .map(|n| {
            let order = &order;
            Hand::begun(cache.get_or_compute_with(&keys[n as usize], MINUTE, move || async move {
                order.lock().unwrap().push(n);
                tercel::ok(n)
            }))
        })
        .collect();
    assert_eq!(bed.stats().computations, 1, "the others wait");
    gate.open();
    first.end().unwrap();
    // Whoever is polled first: the place goes to whoever came first.
    let mut waiting: Vec<_> = waiting.into_iter().map(Some).collect();
    while waiting.iter().any(Option::is_some) {
        for slot in waiting.iter_mut().rev() {
            if slot.as_mut().and_then(Hand::poll).is_some() {
                *slot = None;
            }
        }
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    bed.made(11);
}

fn nested_loads_take_no_second_place(via: Via) {
    let bed = budget(via, 1);
    let c = || bed.load("c", MINUTE, || tercel::ok("deep"));
    let value = bed.load("a", MINUTE, || bed.load("b", MINUTE, c)).unwrap();
    assert_eq!(value.decode::<String>().unwrap(), "deep");
    assert_eq!(bed.stats().computations, 3);
    assert_eq!(bed.text_or("d", MINUTE, "v"), "v", "the place is free again");
}

fn a_place_comes_back_after_a_panic_and_an_error(via: Via) {
    let bed = budget(via, 1);
    for _ in 0..3 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            bed.load("k", MINUTE, || -> Result<String, tercel::Error> { panic!("mine") })
        }));
        assert!(panicked.is_err());
        bed.load("k", MINUTE, || Err::<String, _>(std::io::Error::other("down"))).unwrap_err();
    }
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
}

#[test]
fn a_caller_that_leaves_takes_no_place_with_it() {
    let bed = budget(Via::Tasks, 1);
    let cache = &bed.cache.tasks;
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let runs = Hand::begun(cache.get_or_compute_with("a", MINUTE, never));
    let waits = Hand::begun(cache.get_or_compute_with("b", MINUTE, never));
    let mut next = Hand::begun(cache.get_or_compute_with("c", MINUTE, || async { tercel::ok("v") }));
    drop(waits);
    assert!(next.poll().is_none());
    drop(runs);
    assert!(next.poll().unwrap().is_ok());
    bed.made(1);
}

#[test]
fn a_stale_value_is_served_while_there_is_no_place() {
    let bed = budget(Via::Tasks, 1);
    bed.set("k", "old", EntryOptions::from(SECOND).grace(MINUTE)).unwrap();
    bed.advance(SECOND);
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let runs = Hand::begun(bed.cache.tasks.get_or_compute_with("a", MINUTE, never));
    assert_eq!(bed.text_or("k", EntryOptions::from(SECOND).grace(MINUTE), "new"), "old");
    drop(runs);
    assert_eq!(bed.stats().stale, 1);
}

#[test]
fn no_place_before_the_hard_timeout_is_a_timeout() {
    let bed = budget(Via::Tasks, 1);
    let cache = &bed.cache.tasks;
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let runs = Hand::begun(cache.get_or_compute_with("a", EntryOptions::from(MINUTE).hard_timeout(10 * MINUTE), never));
    let mut waits = Hand::begun(cache.get_or_compute_with("b", MINUTE, never));
    bed.advance(30 * SECOND);
    assert!(waits.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(bed.stats().computations, 1);
    drop(runs);
    bed.made(1);
}
