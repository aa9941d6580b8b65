//! A stale value stands in for a computation that fails, for a while.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::cell::Cell;

use bed::{Bed, Cache, Gate, Hand, MILLI, MINUTE, SECOND, Via};
use tercel::{EntryOptions, Error, Lookup, Result};

both![
    a_stale_value_stands_in,
    without_grace_the_error_is_returned,
    after_the_grace_the_error_is_returned,
    the_failed_computation_is_not_tried_again_for_thirty_seconds,
    a_stale_value_below_stands_in_too,
    the_throttle_ends_with_a_write,
    a_success_replaces_the_stale_value,
    an_absent_source_replaces_the_stale_value,
    the_fallback_stands_in_where_nothing_else_does,
    a_stale_value_of_another_type_does_not_stand_in,
    an_invalidated_value_does_not_stand_in,
];

fn options() -> EntryOptions {
    EntryOptions::from(MINUTE).grace(10 * MINUTE)
}

fn down() -> Result<String, std::io::Error> {
    Err(std::io::Error::other("down"))
}

fn load(cache: &Cache, key: &str) -> Result<String> {
    cache.load(key, options(), down).map(|value| value.decode().unwrap())
}

fn aged(bed: &Bed) {
    bed.set("k", "old", options()).unwrap();
    bed.advance(MINUTE);
}

fn a_stale_value_stands_in(via: Via) {
    for bed in [Bed::l1(via), Bed::two(via)] {
        aged(&bed);
        assert_eq!(bed.text("k"), None, "for a plain read it is a miss");
        assert_eq!(load(&bed, "k").unwrap(), "old");
        let stats = bed.stats();
        assert_eq!((stats.stale, stats.computations), (1, 1), "{stats:?}");
        match bed.lookup("k").unwrap() {
            Lookup::Hit { stale: true, age, value, .. } => {
                assert_eq!((age, value.decode::<String>().unwrap().as_str()), (MINUTE, "old"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(bed.load_typed("k", options(), down).unwrap(), "old");
        assert_eq!(*bed.load_shared("k", options(), down).unwrap(), "old");
        assert!(bed.load_optional("k", options(), down).unwrap().is_some());
    }
}

fn without_grace_the_error_is_returned(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", MINUTE).unwrap();
    bed.advance(MINUTE);
    assert!(bed.load("k", MINUTE, down).unwrap_err().is_compute());
}

fn after_the_grace_the_error_is_returned(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    // Grace is kept to a thousandth.
    bed.advance(10 * MINUTE - SECOND);
    assert_eq!(load(&bed, "k").unwrap(), "old");
    bed.advance(SECOND);
    assert!(load(&bed, "k").unwrap_err().is_compute());
    assert!(matches!(bed.lookup("k").unwrap(), Lookup::Miss(_)));
}

fn the_failed_computation_is_not_tried_again_for_thirty_seconds(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    let runs = Cell::new(0);
    let attempt = || {
        bed.load("k", options(), || {
            runs.set(runs.get() + 1);
            down()
        })
    };
    for expected in 1..4 {
        for _ in 0..5 {
            assert_eq!(attempt().unwrap().decode::<String>().unwrap(), "old");
            assert_eq!(runs.get(), expected);
        }
        bed.advance(30 * SECOND - MILLI);
        assert_eq!(attempt().unwrap().decode::<String>().unwrap(), "old");
        assert_eq!(runs.get(), expected, "still throttled");
        bed.advance(MILLI);
    }
    // Throttled as it is, an answer asks no tier either.
    attempt().unwrap();
    let asked = bed.below.calls(tercel::Operation::Get);
    attempt().unwrap();
    assert_eq!(bed.below.calls(tercel::Operation::Get), asked);
}

fn a_stale_value_below_stands_in_too(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    let other = bed.sibling();
    for _ in 0..3 {
        assert_eq!(load(&other, "k").unwrap(), "old");
    }
    assert_eq!(other.stats().computations, 1, "the throttle holds for it too");
    assert_eq!(other.text("k"), None, "it is no fresh value by that");
    other.settled();
}

fn the_throttle_ends_with_a_write(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    load(&bed, "k").unwrap();
    bed.set("k", "newer", EntryOptions::from(SECOND).grace(MINUTE)).unwrap();
    bed.advance(SECOND);
    assert_eq!(bed.text_or("k", MINUTE, "computed"), "computed");
}

fn a_success_replaces_the_stale_value(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    load(&bed, "k").unwrap();
    bed.advance(30 * SECOND);
    assert_eq!(bed.text_or("k", options(), "new"), "new");
    assert_eq!(bed.text("k").as_deref(), Some("new"));
}

fn an_absent_source_replaces_the_stale_value(via: Via) {
    for bed in [Bed::l1(via), Bed::two(via)] {
        aged(&bed);
        assert_eq!(bed.load_optional("k", options(), || tercel::ok(None::<String>)).unwrap(), None);
        assert_eq!(bed.lookup("k").unwrap(), Lookup::Absent, "that there is none is no failure");
        aged(&bed);
        let nothing = options().negative_ttl(std::time::Duration::ZERO);
        assert_eq!(bed.load_optional("k", nothing, || tercel::ok(None::<String>)).unwrap(), None);
        assert!(matches!(bed.lookup("k").unwrap(), Lookup::Miss(_)), "what is gone does not stand in later");
        assert!(load(&bed, "k").unwrap_err().is_compute());
    }
}

fn the_fallback_stands_in_where_nothing_else_does(via: Via) {
    let bed = Bed::two(via);
    let cautious = options().fallback("fallback");
    let told = |key: &str| bed.load(key, &cautious, down).unwrap().decode::<String>().unwrap();
    assert_eq!(told("none"), "fallback");
    assert_eq!(told("none"), "fallback");
    assert_eq!((bed.text("none"), bed.stats().computations), (None, 2), "it is not stored");
    assert_eq!(bed.stats().stale, 2);
    aged(&bed);
    assert_eq!(told("k"), "old", "a stale value goes before it");
    let typed: String = bed.load_typed("none", &cautious, down).unwrap();
    assert_eq!(typed, "fallback");
}

fn a_stale_value_of_another_type_does_not_stand_in(via: Via) {
    let bed = Bed::two(via);
    aged(&bed);
    let failed = bed.load_typed("k", options(), || Err::<u64, _>(std::io::Error::other("down")));
    assert!(failed.unwrap_err().is_compute());
}

fn an_invalidated_value_does_not_stand_in(via: Via) {
    for pattern in [false, true] {
        let bed = Bed::two(via);
        aged(&bed);
        let failed = bed.load("k", options(), || {
            if pattern {
                bed.invalidate_pattern("*")?
            } else {
                bed.invalidate("k")?
            }
            Err::<String, Error>(Error::compute("down"))
        });
        // The caller came before the invalidation and may have either; nobody later has it.
        assert!(failed.is_err() || failed.unwrap().decode::<String>().unwrap() == "old");
        assert!(matches!(bed.lookup("k").unwrap(), Lookup::Miss(_)));
        assert!(load(&bed, "k").unwrap_err().is_compute());
        assert!(matches!(bed.sibling().lookup("k").unwrap(), Lookup::Miss(_)));
    }
}

#[test]
fn a_computation_that_takes_too_long_is_stood_in_for_and_followers_share_it() {
    let bed = Bed::l1(Via::Tasks);
    aged(&bed);
    let cache = &bed.cache.tasks;
    let gate = Gate::shut();
    let hang = || async {
        gate.pass().await;
        tercel::ok("late".to_owned())
    };
    let hurried = options().hard_timeout(SECOND);
    let mut leader = Hand::begun(cache.get_or_compute_with("k", hurried, hang));
    let mut follower = Hand::begun(cache.get_or_compute_with("k", options(), hang));
    bed.advance(SECOND);
    for call in [&mut leader, &mut follower] {
        assert_eq!(call.poll().unwrap().unwrap().decode::<String>().unwrap(), "old");
    }
    bed.made(2);
    assert_eq!(bed.stats().stale, 2);
}
