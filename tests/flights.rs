//! One computation per key: who runs it, who waits, and who does not.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bed::{Bed, Gate, Hand, MINUTE, SECOND, Via, until};
use tercel::{EntryOptions, Error, Operation, Value};

both![
    a_hit_runs_nothing,
    an_error_is_never_cached,
    an_error_keeps_its_source_and_an_error_of_ours_passes_through,
    a_value_of_another_type_is_loaded_and_overwritten,
    a_typed_read_of_another_type_is_a_codec_error,
    a_leader_gets_its_own_value,
    a_value_that_may_not_be_stored_is_computed_each_time,
];

/// What a test fails with.
#[derive(Debug, PartialEq)]
struct Down(u32);

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "down {}", self.0)
    }
}

impl std::error::Error for Down {}

fn text(value: Value) -> String {
    value.decode().unwrap()
}

#[test]
fn two_thousand_tasks_and_a_hundred_threads_compute_once() {
    const TASKS: usize = 2000;
    const THREADS: usize = 100;
    let bed = Bed::two(Via::Tasks);
    let gate = Gate::shut();
    let (asked, computed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (cache, gate) = (bed.cache.threads.clone(), gate.clone());
            let (asked, computed) = (asked.clone(), computed.clone());
            thread::spawn(move || {
                asked.fetch_add(1, Ordering::SeqCst);
                let load = || {
                    computed.fetch_add(1, Ordering::SeqCst);
                    gate.pass_blocking();
                    tercel::ok("v")
                };
                text(cache.get_or_compute_with("k", MINUTE, load).unwrap())
            })
        })
        .collect();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (cache, gate) = (bed.cache.tasks.clone(), gate.clone());
            let (asked, computed) = (asked.clone(), computed.clone());
            runtime.spawn(async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let load = || async {
                    computed.fetch_add(1, Ordering::SeqCst);
                    gate.pass().await;
                    tercel::ok("v".to_owned())
                };
                text(cache.get_or_compute_with("k", MINUTE, load).await.unwrap())
            })
        })
        .collect();
    until(|| asked.load(Ordering::SeqCst) == TASKS + THREADS && computed.load(Ordering::SeqCst) > 0);
    gate.open();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), "v");
    }
    for task in tasks {
        assert_eq!(runtime.block_on(task).unwrap(), "v");
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    bed.made((TASKS + THREADS) as u64);
    let stats = bed.stats();
    assert_eq!((stats.computations, stats.lone_computations, stats.misses), (1, 0, 1), "{stats:?}");
    assert_eq!(bed.below.calls(Operation::Set), 1);
}

fn a_hit_runs_nothing(via: Via) {
    let bed = Bed::two(via);
    assert_eq!(bed.text_or("k", MINUTE, "1"), "1");
    assert_eq!(bed.text_or("k", MINUTE, "2"), "1");
    assert_eq!(bed.sibling().text_or("k", MINUTE, "3"), "1", "a hit below runs nothing either");
    let typed: String = bed.load_typed("k", MINUTE, || tercel::ok("4".to_owned())).unwrap();
    let shared = bed.load_shared("k", MINUTE, || tercel::ok("5".to_owned())).unwrap();
    assert_eq!((typed.as_str(), shared.as_str()), ("1", "1"));
    assert_eq!(bed.stats().computations, 1);
}

fn an_error_is_never_cached(via: Via) {
    let bed = Bed::two(via);
    for n in 0..3 {
        let error = bed.load("k", MINUTE, || Err::<String, _>(Down(n))).unwrap_err();
        assert!(error.is_compute() && !error.is_absent());
    }
    assert_eq!(bed.text("k"), None);
    assert!(bed.below.keys().is_empty());
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
    assert_eq!(bed.stats().computations, 4);
}

fn an_error_keeps_its_source_and_an_error_of_ours_passes_through(via: Via) {
    let bed = Bed::l1(via);
    let error = bed.load("k", MINUTE, || Err::<String, _>(Down(7))).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref(), Some(&Down(7)));
    let ours = bed.load("k", MINUTE, || Err::<String, _>(Error::unsupported("that"))).unwrap_err();
    assert!(ours.is_unsupported());
    // Through a box as well.
    let boxed = bed.load("k", MINUTE, || Err::<String, tercel::BoxError>(Error::absent().into())).unwrap_err();
    assert!(boxed.is_absent());
    assert_eq!(bed.text("k"), None);
}

fn a_value_of_another_type_is_loaded_and_overwritten(via: Via) {
    let bed = Bed::two(via);
    for (key, shared) in [("typed", false), ("shared", true)] {
        bed.set(key, "a string", MINUTE).unwrap();
        let load = |cache: &bed::Cache| match shared {
            true => *cache.load_shared(key, MINUTE, || tercel::ok(7u64)).unwrap(),
            false => cache.load_typed(key, MINUTE, || tercel::ok(7u64)).unwrap(),
        };
        // In L1, and in the tier below.
        let other = bed.sibling();
        assert_eq!(load(&other), 7);
        other.settled();
        assert_eq!(load(&bed), 7);
        assert_eq!(bed.get_typed::<u64>(key).unwrap(), Some(7), "it was overwritten");
        assert_eq!(bed.sibling().get_typed::<u64>(key).unwrap(), Some(7), "below too");
    }
    assert!(bed.stats().codec_misses >= 2);
}

fn a_typed_read_of_another_type_is_a_codec_error(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "a string", MINUTE).unwrap();
    assert!(bed.get_typed::<u64>("k").unwrap_err().is_codec());
    assert!(bed.get_shared::<u64>("k").unwrap_err().is_codec());
    assert_eq!(bed.text("k").as_deref(), Some("a string"), "it stays");
}

fn a_leader_gets_its_own_value(via: Via) {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Row {
        id: u32,
        #[serde(skip)]
        note: String,
    }
    let bed = Bed::l1(via);
    let row = || tercel::ok(Row { id: 1, note: "mine".into() });
    assert_eq!(bed.load_typed("k", MINUTE, row).unwrap().note, "mine");
    assert_eq!(bed.load_typed("k", MINUTE, row).unwrap(), Row { id: 1, note: String::new() });
}

fn a_value_that_may_not_be_stored_is_computed_each_time(via: Via) {
    let bed = Bed::two(via);
    for n in 1..4 {
        bed.load("k", MINUTE, || tercel::ok(tercel::Loaded::new("v").do_not_store())).unwrap();
        assert_eq!(bed.stats().computations, n);
    }
    assert_eq!(bed.stats().inserted, 0);
}

#[test]
fn followers_share_the_leaders_error() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let gate = Gate::shut();
    let load = || async {
        gate.pass().await;
        Err::<String, _>(Down(1))
    };
    let mut leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    let unused = || async { tercel::ok("never") };
    let followers: Vec<_> = (0..5).map(|_| Hand::begun(cache.get_or_compute_with("k", MINUTE, unused))).collect();
    let (blocking, begun) = (bed.cache.threads.clone(), Gate::shut());
    let thread = thread::spawn({
        let begun = begun.clone();
        move || {
            begun.open();
            blocking.get_or_compute_with("k", MINUTE, || tercel::ok("late"))
        }
    });
    begun.pass_blocking();
    gate.open();
    let error = leader.poll().unwrap().unwrap_err();
    assert!(error.is_compute());
    for follower in followers {
        let error = follower.end().unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().downcast_ref(), Some(&Down(1)), "the very same error");
    }
    // The thread came before the flight ended, or after.
    match thread.join().unwrap() {
        Ok(value) => assert_eq!(text(value), "late"),
        Err(error) => assert!(error.is_compute()),
    }
    bed.made(7);
}

#[test]
fn a_follower_that_cannot_use_the_leaders_value_computes() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let gate = Gate::shut();
    let load = || async {
        gate.pass().await;
        tercel::ok("a string".to_owned())
    };
    let mut leader = Hand::begun(cache.get_or_compute_typed("k", MINUTE, load));
    let follower = Hand::begun(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(7u64) }));
    gate.open();
    assert_eq!(leader.poll().unwrap().unwrap(), "a string");
    assert_eq!(follower.end().unwrap(), 7);
    bed.made(2);
    assert_eq!(bed.get_typed::<u64>("k").unwrap(), Some(7));
}

#[test]
fn a_read_waits_for_nobodys_closure() {
    for bed in [Bed::l1(Via::Tasks), Bed::two(Via::Tasks), Bed::two(Via::Threads)] {
        let gate = Gate::shut();
        let load = || async {
            gate.pass().await;
            Err::<String, _>(Down(1))
        };
        let mut leader = Hand::new(bed.cache.tasks.get_or_compute_with("k", MINUTE, load));
        until(|| leader.poll().is_some() || bed.stats().computations == 1);
        assert_eq!(bed.text("k"), None);
        assert_eq!(bed.lookup("k").unwrap(), tercel::Lookup::Miss(tercel::MissReason::NeverSeen));
        gate.open();
        assert!(leader.end().is_err());
        assert_eq!(bed.text("k"), None);
        bed.made(1);
    }
}

#[test]
fn reads_of_one_key_ask_the_tier_once_and_a_load_joins_them() {
    let bed = Bed::two(Via::Tasks);
    let cache = &bed.cache.tasks;
    bed.below.hold();
    let reads: Vec<_> = (0..10).map(|_| Hand::begun(cache.get("k"))).collect();
    let load = Hand::begun(cache.get_or_compute_with("k", MINUTE, || async { tercel::ok("v") }));
    assert_eq!(bed.below.waiting(), 1);
    bed.below.release();
    for read in reads {
        assert_eq!(read.end().unwrap(), None);
    }
    assert_eq!(text(load.end().unwrap()), "v");
    assert_eq!(bed.below.calls(Operation::Get), 1);
    bed.made(11);
}

#[test]
fn a_read_whose_leader_leaves_goes_on() {
    let bed = Bed::two(Via::Tasks);
    bed.sibling().set("k", "v", MINUTE).unwrap();
    let cache = &bed.cache.tasks;
    bed.below.hold();
    let leader = Hand::begun(cache.get("k"));
    let reads: Vec<_> = (0..10).map(|_| Hand::begun(cache.get("k"))).collect();
    drop(leader);
    bed.below.release();
    for read in reads {
        assert_eq!(text(read.end().unwrap().unwrap()), "v");
    }
    bed.made(10);
}

#[test]
fn different_keys_do_not_wait_for_each_other() {
    let bed = Bed::l1(Via::Tasks);
    let gate = Gate::shut();
    let load = || async {
        gate.pass().await;
        tercel::ok("v")
    };
    let leader = Hand::begun(bed.cache.tasks.get_or_compute_with("a", MINUTE, load));
    assert_eq!(bed.text_or("b", MINUTE, "b"), "b");
    gate.open();
    leader.end().unwrap();
    bed.made(1);
}

#[test]
fn a_thread_inside_a_task_computes_alone_where_its_leader_cannot_go_on() {
    let bed = Bed::two(Via::Tasks);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (gate, cache) = (Gate::shut(), bed.cache.clone());
    runtime.block_on(async {
        let leader = tokio::spawn({
            let (gate, tasks) = (gate.clone(), cache.tasks.clone());
            async move {
                let load = || async {
                    gate.pass().await;
                    tercel::ok("leader".to_owned())
                };
                text(tasks.get_or_compute_with("k", MINUTE, load).await.unwrap())
            }
        });
        while cache.stats().computations == 0 {
            tokio::task::yield_now().await;
        }
        let own = cache.threads.get_or_compute_with("k", MINUTE, || tercel::ok("own")).unwrap();
        assert_eq!(text(own), "own");
        gate.open();
        assert_eq!(leader.await.unwrap(), "leader");
    });
    assert_eq!(bed.stats().lone_computations, 1);
    assert_eq!(bed.stats().computations, 2);
    bed.made(2);
}

#[test]
fn a_leader_is_overdue_after_its_hard_timeout() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let never = || std::future::pending::<Result<String, Down>>();
    let mut leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, never));
    let mut follower = Hand::begun(cache.get_or_compute_with("k", MINUTE, never));
    bed.advance(30 * SECOND - bed::MILLI);
    assert!(leader.poll().is_none() && follower.poll().is_none(), "not before 30 seconds");
    bed.advance(bed::MILLI);
    let error = leader.poll().unwrap().unwrap_err();
    assert!(error.is_timeout() && error.is_compute());
    assert!(follower.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
    bed.made(2);
}

#[test]
fn a_followers_own_hard_timeout_is_its_own() {
    let bed = Bed::l1(Via::Tasks);
    let cache = &bed.cache.tasks;
    let gate = Gate::shut();
    let load = || async {
        gate.pass().await;
        tercel::ok("v")
    };
    let mut leader = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    let hurried = EntryOptions::from(MINUTE).hard_timeout(SECOND);
    let mut follower = Hand::begun(cache.get_or_compute_with("k", hurried, load));
    let mut patient = Hand::begun(cache.get_or_compute_with("k", MINUTE, load));
    bed.advance(SECOND);
    assert!(follower.poll().unwrap().unwrap_err().is_timeout());
    assert!(leader.poll().is_none() && patient.poll().is_none(), "the flight goes on");
    gate.open();
    assert_eq!(text(leader.poll().unwrap().unwrap()), "v");
    assert_eq!(text(patient.poll().unwrap().unwrap()), "v");
    assert_eq!(bed.stats().computations, 1);
    bed.made(3);
}

/// A thread whose closure hangs past its hard timeout, with a follower that was freed: then `meanwhile`, then the closure
/// returns "late" to its own caller.
fn late(bed: &Bed, meanwhile: impl FnOnce()) {
    let (begun, gate) = (Gate::shut(), Gate::shut());
    let thread = thread::spawn({
        let (cache, begun, gate) = (bed.cache.threads.clone(), begun.clone(), gate.clone());
        move || {
            cache.get_or_compute_with("k", MINUTE, || {
                begun.open();
                gate.pass_blocking();
                tercel::ok("late")
            })
        }
    });
    begun.pass_blocking();
    let never = || std::future::pending::<Result<String, Down>>();
    let mut follower = Hand::begun(bed.cache.tasks.get_or_compute_with("k", MINUTE, never));
    bed.advance(30 * SECOND);
    assert!(follower.poll().unwrap().unwrap_err().is_timeout(), "the follower is freed");
    meanwhile();
    gate.open();
    assert_eq!(text(thread.join().unwrap().unwrap()), "late", "its own caller has it");
    bed.made(2);
}

#[test]
fn a_late_result_is_stored() {
    let bed = Bed::two(Via::Tasks);
    late(&bed, || ());
    assert_eq!(bed.peek("k").as_deref(), Some("late"));
    assert_eq!(bed.below.keys(), ["k"]);
}

#[test]
fn a_late_result_is_not_stored_once_it_was_invalidated() {
    for how in 0..3 {
        let bed = Bed::two(Via::Tasks);
        late(&bed, || match how {
            0 => bed.invalidate("k").unwrap(),
            1 => bed.invalidate_pattern("?").unwrap(),
            _ => bed.set("k", "newer", MINUTE).unwrap(),
        });
        let expected = if how == 2 { Some("newer") } else { None };
        assert_eq!(bed.text("k").as_deref(), expected);
        assert_eq!(bed.sibling().text("k").as_deref(), expected, "below");
    }
}

#[test]
fn after_a_hung_closure_the_next_caller_starts_anew() {
    let bed = Bed::two(Via::Tasks);
    late(&bed, || assert_eq!(bed.text_or("k", MINUTE, "anew"), "anew"));
    assert_eq!(bed.stats().computations, 2);
}
