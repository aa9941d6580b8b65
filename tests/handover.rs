//! A leader that goes away: exactly one follower takes over, with its own closure.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bed::{Bed, Gate, Hand, MINUTE, SECOND, Via, until};
use tercel::Value;

both![a_panic_reaches_its_caller_and_leaves_nothing];

fn text(value: Value) -> String {
    value.decode().unwrap()
}

fn quietly<T>(call: impl FnOnce() -> T) -> thread::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
}

fn a_panic_reaches_its_caller_and_leaves_nothing(via: Via) {
    let bed = Bed::two(via);
    for _ in 0..3 {
        let panic = quietly(|| bed.load("k", MINUTE, || -> Result<String, tercel::Error> { panic!("mine") }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "mine");
    }
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
    assert_eq!(bed.stats().in_flight_requests, 0);
}

/// How the leader leaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Leaves {
    Dropped,
    Panicked,
}

#[test]
fn exactly_one_task_takes_over() {
    for leaves in [Leaves::Dropped, Leaves::Panicked] {
        for bed in [Bed::l1(Via::Tasks), Bed::two(Via::Tasks)] {
            let cache = &bed.cache.tasks;
            let (gate, out) = (Gate::shut(), Gate::shut());
            let started = AtomicUsize::new(0);
            let mut leader = Hand::new(cache.get_or_compute_with("k", MINUTE, || async {
                out.pass().await;
                if leaves == Leaves::Panicked { panic!("the leader's own") } else { tercel::ok("leader".to_owned()) }
            }));
            until(|| leader.poll().is_some() || bed.stats().computations == 1);
            let mut followers: Vec<_> = (0..10)
                .map(|n| {
                    let (gate, started) = (&gate, &started);
                    Hand::begun(cache.get_or_compute_with("k", MINUTE, move || async move {
                        started.fetch_add(1, Ordering::SeqCst);
                        gate.pass().await;
                        tercel::ok(n.to_string())
                    }))
                })
                .collect();
            match leaves {
                Leaves::Dropped => drop(leader),
                Leaves::Panicked => {
                    out.open();
                    assert!(quietly(move || leader.poll()).is_err());
                }
            }
            until(|| {
                followers.iter_mut().for_each(|follower| assert!(follower.poll().is_none()));
                started.load(Ordering::SeqCst) > 0
            });
            followers.iter_mut().for_each(|follower| assert!(follower.poll().is_none()));
            assert_eq!(started.load(Ordering::SeqCst), 1, "one took over ({leaves:?})");
            gate.open();
            let mut values: Vec<_> = followers.into_iter().map(|follower| text(follower.end().unwrap())).collect();
            values.dedup();
            assert_eq!(values.len(), 1, "all have its value: {values:?}");
            assert_eq!(started.load(Ordering::SeqCst), 1);
            bed.made(10);
            assert_eq!(bed.text("k"), values.pop());
        }
    }
}

#[test]
fn a_granted_lead_that_is_dropped_goes_on_to_the_next() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, never));
    let mut followers: Vec<_> = (0..20).map(|_| Hand::begun(cache.get_or_compute_with("k", MINUTE, never))).collect();
    let last = Hand::begun(cache.get_or_compute_with("k", MINUTE, || async { tercel::ok("last") }));
    drop(leader);
    // From the front, where the lead is; some were polled and lead, some were only granted it.
    for n in 0..20 {
        let mut follower = followers.remove(0);
        if n % 2 == 0 {
            assert!(follower.poll().is_none());
        }
        drop(follower);
    }
    assert_eq!(text(last.end().unwrap()), "last");
    assert_eq!(bed.stats().computations, 1 + 10 + 1);
    bed.made(1);
}

#[test]
fn exactly_one_thread_takes_over() {
    let bed = Bed::two(Via::Threads);
    let (gate, begun) = (Gate::shut(), Gate::shut());
    let started = Arc::new(AtomicUsize::new(0));
    let leader = thread::spawn({
        let (cache, gate, begun) = (bed.cache.threads.clone(), gate.clone(), begun.clone());
        move || {
            cache.get_or_compute_with("k", MINUTE, || -> Result<String, tercel::Error> {
                begun.open();
                gate.pass_blocking();
                panic!("the leader's own")
            })
        }
    });
    begun.pass_blocking();
    let followers: Vec<_> = (0..20)
        .map(|n| {
            let (cache, started) = (bed.cache.threads.clone(), started.clone());
            thread::spawn(move || {
                let load = || {
                    started.fetch_add(1, Ordering::SeqCst);
                    tercel::ok(n.to_string())
                };
                text(cache.get_or_compute_with("k", MINUTE, load).unwrap())
            })
        })
        .collect();
    // One that certainly waits when the leader goes.
    let task = Hand::begun(bed.cache.tasks.get_or_compute_with("k", MINUTE, || async {
        started.fetch_add(1, Ordering::SeqCst);
        tercel::ok("task".to_owned())
    }));
    gate.open();
    assert!(leader.join().is_err(), "the panic is the leader's");
    // The task is polled at last; a thread may have the lead, or wait for the task's.
    let value = text(task.end().unwrap());
    for follower in followers {
        assert_eq!(follower.join().unwrap(), value);
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
    bed.made(21);
    assert_eq!(bed.text("k"), Some(value));
}

#[test]
fn whoever_takes_over_has_its_own_time() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let gate = Gate::shut();
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, never));
    bed.advance(29 * SECOND);
    let load = || async {
        gate.pass().await;
        tercel::ok("second")
    };
    let mut second = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    let mut third = Hand::begun(cache.get_or_compute_with("k", MINUTE, never));
    drop(leader);
    assert!(second.poll().is_none());
    bed.advance(2 * SECOND);
    assert!(second.poll().is_none() && third.poll().is_none(), "the first leader's time is not theirs");
    gate.open();
    assert_eq!(text(second.poll().unwrap().unwrap()), "second");
    assert_eq!(text(third.poll().unwrap().unwrap()), "second");
    bed.made(2);
}

#[test]
fn cancelled_calls_leave_nothing() {
    const CALLS: usize = 100_000;
    let bed = Bed::two(Via::Tasks);
    let cache = &bed.cache.tasks;
    bed.below.hold();
    let never = || std::future::pending::<Result<String, std::io::Error>>();
    let mut kept = std::collections::VecDeque::new();
    for n in 0..CALLS {
        // Leaders and followers, in the tier and in the closure, dropped in another order than they came.
        if n == CALLS / 2 {
            bed.below.release();
        }
        let key = (n % 61).to_string();
        let mut call = Hand::new(cache.get_or_compute_with(&key, MINUTE, never));
        let _ = call.poll();
        drop(call);
        if n % 16 == 0 {
            let key: &'static str = ["a", "b", "c", "d", "e"][n / 16 % 5];
            let mut call = Hand::new(cache.get_or_compute_with(key, MINUTE, never));
            let _ = call.poll();
            kept.push_back(call);
            if kept.len() > 300 {
                kept.pop_front();
                kept.swap_remove_back(n % 200);
            }
        }
    }
    drop(kept);
    assert_eq!(bed.stats().in_flight_requests, 0);
    assert_eq!(bed.stats().resident_entries, 0);
    bed.settled();
}
