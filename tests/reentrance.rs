//! A closure that asks for its own key is told so at once; a cycle that cannot be seen ends with the hard timeout.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::thread;

use bed::{Bed, Gate, Hand, MINUTE, SECOND, Via, block_on};
use tercel::{Error, Result, Value};

both![
    its_own_key_is_refused_at_once,
    its_own_key_is_refused_through_other_keys,
    its_own_key_is_refused_across_views,
    other_keys_may_be_asked_for,
    a_refusal_need_not_fail_the_load,
    reads_writes_and_invalidations_of_its_own_key_are_taken,
];

fn text(value: Value) -> String {
    value.decode().unwrap()
}

fn its_own_key_is_refused_at_once(via: Via) {
    let bed = Bed::two(via);
    let error = bed.load("a", MINUTE, || bed.load("a", MINUTE, || tercel::ok("inner"))).unwrap_err();
    assert!(error.is_would_deadlock(), "{error}");
    assert!(error.to_string().contains("`a`"), "it names the key: {error}");
    assert_eq!(bed.text("a"), None);
    assert_eq!(bed.stats().computations, 1);
}

fn its_own_key_is_refused_through_other_keys(via: Via) {
    let bed = Bed::l1(via);
    let a = || bed.load("a", MINUTE, || tercel::ok("again"));
    let b = || bed.load("b", MINUTE, || bed.load("c", MINUTE, a));
    let error = bed.load("a", MINUTE, b).unwrap_err();
    assert!(error.is_would_deadlock(), "{error}");
    assert_eq!(bed.stats().computations, 3);
    assert_eq!(bed.stats().resident_entries, 0);
}

fn its_own_key_is_refused_across_views(via: Via) {
    let bed = Bed::l1(via);
    let view = bed.view(|cache| cache.namespace("n:"));
    let error = bed.load("n:a", MINUTE, || view.load("a", MINUTE, || tercel::ok("inner"))).unwrap_err();
    assert!(error.is_would_deadlock(), "{error}");
    // The same key of another engine is another key.
    let other = bed.another(|builder| builder);
    let value = bed.load("x", MINUTE, || other.load("x", MINUTE, || tercel::ok("the other's"))).unwrap();
    assert_eq!(text(value), "the other's");
    other.settled();
}

fn other_keys_may_be_asked_for(via: Via) {
    let bed = Bed::two(via);
    let deep = |n: u32| -> Result<Value> {
        fn at(bed: &Bed, n: u32) -> Result<Value> {
            match n {
                0 => Ok("ground".into()),
                n => bed.load(&n.to_string(), MINUTE, || at(bed, n - 1)),
            }
        }
        at(&bed, n)
    };
    assert_eq!(text(deep(8).unwrap()), "ground");
    assert_eq!(bed.stats().computations, 8);
}

fn a_refusal_need_not_fail_the_load(via: Via) {
    let bed = Bed::l1(via);
    let value = bed
        .load("a", MINUTE, || {
            let refused = bed.load("a", MINUTE, || tercel::ok("inner")).unwrap_err();
            tercel::ok(if refused.is_would_deadlock() { "coped" } else { "?" })
        })
        .unwrap();
    assert_eq!(text(value), "coped");
    assert_eq!(bed.text("a").as_deref(), Some("coped"));
}

fn reads_writes_and_invalidations_of_its_own_key_are_taken(via: Via) {
    let bed = Bed::two(via);
    let value = bed.load("a", MINUTE, || {
        assert_eq!(bed.text("a"), None);
        bed.set("a", "written inside", MINUTE)?;
        assert_eq!(bed.text("a").as_deref(), Some("written inside"));
        tercel::ok("computed")
    });
    assert_eq!(text(value.unwrap()), "computed");
    assert_eq!(bed.text("a").as_deref(), Some("written inside"), "the write came after the load began");
    let value = bed.load("b", MINUTE, || {
        bed.invalidate("b")?;
        tercel::ok("computed")
    });
    assert_eq!(text(value.unwrap()), "computed");
    assert_eq!(bed.text("b"), None);
}

#[test]
fn a_task_and_a_thread_inside_each_other_are_one_stack() {
    let bed = Bed::l1(Via::Tasks);
    let (tasks, threads) = (&bed.cache.tasks, &bed.cache.threads);
    let inside = |key: &'static str| async move {
        // A task that calls the handle for threads, whose closure drives a task.
        threads.get_or_compute_with(key, MINUTE, || {
            block_on(tasks.get_or_compute_with("a", MINUTE, || async { tercel::ok("inner") }))
        })
    };
    for key in ["a", "b"] {
        let error = block_on(tasks.get_or_compute_with("a", MINUTE, || inside(key))).unwrap_err();
        assert!(error.is_would_deadlock(), "{key}: {error}");
    }
    bed.made(2 + 2 + 1);
}

#[test]
fn what_the_closure_polls_beside_itself_is_noticed_too() {
    let bed = Bed::l1(Via::Tasks);
    let tasks = &bed.cache.tasks;
    let both = || async {
        let (own, other) = futures::future::join(
            tasks.get_or_compute_with("a", MINUTE, || async { tercel::ok("own") }),
            tasks.get_or_compute_with("b", MINUTE, || async { tercel::ok("other") }),
        )
        .await;
        assert!(own.unwrap_err().is_would_deadlock());
        other
    };
    assert_eq!(text(block_on(tasks.get_or_compute_with("a", MINUTE, both)).unwrap()), "other");
    bed.made(3);
}

#[test]
fn a_cycle_of_tasks_ends_with_the_hard_timeout() {
    let bed = Bed::l1(Via::Tasks);
    let tasks = &bed.cache.tasks;
    let never = || async { tercel::ok("never") };
    let gate = Gate::shut();
    let wants = |key: &'static str| {
        let gate = gate.clone();
        move || async move {
            gate.pass().await;
            tasks.get_or_compute_with(key, MINUTE, never).await
        }
    };
    let mut a = Hand::begun(tasks.get_or_compute_with("a", MINUTE, wants("b")));
    let mut b = Hand::begun(tasks.get_or_compute_with("b", MINUTE, wants("a")));
    gate.open();
    assert!(a.poll().is_none() && b.poll().is_none());
    bed.advance(30 * SECOND);
    let (first, second) = (a.poll(), b.poll());
    let timed_out =
        |answer: &Option<Result<Value>>| answer.as_ref().is_some_and(|a| a.as_ref().is_err_and(Error::is_timeout));
    assert!(timed_out(&first), "{first:?}");
    assert!(second.is_some(), "and with it the other: {second:?}");
    bed.unchecked();
    assert_eq!(bed.stats().in_flight_requests, 0);
    bed.cache.tasks.validate().unwrap();
}

#[test]
fn a_cycle_of_threads_ends_with_the_hard_timeout() {
    let bed = Bed::l1(Via::Threads);
    let met = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        let wants = |own: &'static str, other: &'static str| {
            let (cache, met) = (&bed.cache, &met);
            move || {
                cache.load(own, MINUTE, || {
                    met.wait();
                    cache.load(other, MINUTE, || tercel::ok("never"))
                })
            }
        };
        let (a, b) = (scope.spawn(wants("a", "b")), scope.spawn(wants("b", "a")));
        bed.advance_until(SECOND, || a.is_finished() && b.is_finished());
        let (a, b) = (a.join().unwrap(), b.join().unwrap());
        assert!(a.is_err() || b.is_err());
    });
}

#[test]
fn a_cycle_through_spawn_ends_with_the_hard_timeout() {
    let bed = Bed::l1(Via::Tasks);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let tasks = bed.cache.tasks.clone();
    let outer = runtime.spawn(async move {
        let inner = tasks.clone();
        let load = || async move {
            tokio::spawn(async move { inner.get_or_compute_with("a", MINUTE, || async { tercel::ok(1u64) }).await })
                .await
                .map_err(Error::compute)?
        };
        tasks.get_or_compute_with("a", MINUTE, load).await
    });
    bed.advance_until(SECOND, || outer.is_finished());
    let error = runtime.block_on(outer).unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    bed.unchecked();
    bed::until(|| bed.cache.tasks.validate().is_ok());
}
