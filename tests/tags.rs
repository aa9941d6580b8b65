//! Entries of a tag, and all entries, are invalid at once: in every tier, for every look, and for what is being loaded.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use bed::{Bed, Cache, Gate, Hand, MINUTE, SECOND, Via, until};
use tercel::{EntryOptions, Loaded, Lookup, MissReason};

both![
    a_tag_takes_its_entries_in_every_tier_and_no_others,
    a_clear_takes_all_entries_in_every_tier,
    tags_come_from_the_options_the_closure_and_the_defaults,
    a_tag_of_a_view_is_its_own,
    a_clear_of_a_view_takes_its_own_keys,
    what_is_being_loaded_meanwhile_is_invalid_too,
    a_caller_that_comes_after_gets_no_older_value_from_a_flight,
    what_is_invalid_stands_in_for_nothing,
    what_is_invalid_is_reclaimed_unasked,
    names_that_are_none_are_refused_before_anything_is_done,
    a_later_engine_keeps_its_word_for_what_an_earlier_one_wrote,
];

fn tagged(tags: &[&'static str]) -> EntryOptions {
    EntryOptions::from(MINUTE).tags(tags.iter().copied())
}

fn miss(cache: &Cache, key: &str) -> MissReason {
    match cache.lookup(key).unwrap() {
        Lookup::Miss(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn a_tag_takes_its_entries_in_every_tier_and_no_others(via: Via) {
    for bed in [Bed::l1(via), Bed::two(via)] {
        bed.set("red", "1", tagged(&["red", "round"])).unwrap();
        bed.set("blue", "2", tagged(&["blue", "round"])).unwrap();
        bed.set("plain", "3", MINUTE).unwrap();
        bed.invalidate_tag("red").unwrap();
        assert_eq!(bed.text("red"), None);
        assert_eq!(bed.peek("red"), None);
        assert!(bed.tasks.with_cached("red", |_| ()).is_none());
        assert_eq!(bed.get_shared::<String>("red").unwrap(), None);
        assert_eq!((bed.text("blue").as_deref(), bed.text("plain").as_deref()), (Some("2"), Some("3")));
        assert_eq!(bed.text_or("red", tagged(&["red"]), "4"), "4");
        assert_eq!(bed.text("red").as_deref(), Some("4"), "what is written after it stays");
        bed.invalidate_tags(&["blue", "red"]).unwrap();
        assert_eq!((bed.text("red"), bed.text("blue")), (None, None));
        assert_eq!(bed.text("plain").as_deref(), Some("3"));
    }
    let bed = Bed::l1(via);
    bed.set("red", "1", tagged(&["red"])).unwrap();
    bed.invalidate_tag("red").unwrap();
    assert_eq!(miss(&bed, "red"), MissReason::Tag);
}

fn a_clear_takes_all_entries_in_every_tier(via: Via) {
    for bed in [Bed::l1(via), Bed::two(via)] {
        for key in ["a", "b", "c"] {
            bed.set(key, "v", MINUTE).unwrap();
        }
        bed.clear().unwrap();
        for key in ["a", "b", "c"] {
            assert_eq!((bed.text(key), bed.peek(key)), (None, None), "{key}");
        }
        bed.set("a", "w", MINUTE).unwrap();
        assert_eq!(bed.text("a").as_deref(), Some("w"));
    }
    let bed = Bed::l1(via);
    bed.set("a", "v", MINUTE).unwrap();
    bed.clear().unwrap();
    assert_eq!(miss(&bed, "a"), MissReason::Clear);
}

fn tags_come_from_the_options_the_closure_and_the_defaults(via: Via) {
    let bed = Bed::two(via);
    let view = bed.view(|cache| cache.with_defaults(EntryOptions::new().tags(["default"])));
    for tag in ["option", "closure", "default"] {
        let loaded = || tercel::ok(Loaded::new("v").tags(["closure".to_owned()]));
        view.load("k", tagged(&["option"]), loaded).unwrap();
        bed.invalidate_tag("another").unwrap();
        assert_eq!(bed.text("k").as_deref(), Some("v"));
        bed.invalidate_tag(tag).unwrap();
        assert_eq!(bed.text("k"), None, "{tag}");
    }
    // What a tier below had is tagged too when it is found there.
    bed.sibling().set("k", "v", tagged(&["far"])).unwrap();
    assert_eq!(bed.text("k").as_deref(), Some("v"));
    assert_eq!(bed.peek("k").as_deref(), Some("v"));
    bed.invalidate_tag("far").unwrap();
    assert_eq!((bed.peek("k"), bed.text("k")), (None, None));
}

fn a_tag_of_a_view_is_its_own(via: Via) {
    let bed = Bed::l1(via);
    let (users, teams) = (bed.view(|cache| cache.namespace("user:")), bed.view(|cache| cache.namespace("team:")));
    users.set("1", "u", tagged(&["new"])).unwrap();
    teams.set("1", "t", tagged(&["new"])).unwrap();
    bed.set("1", "r", tagged(&["new"])).unwrap();
    users.invalidate_tag("new").unwrap();
    assert_eq!((users.text("1"), teams.text("1").as_deref(), bed.text("1").as_deref()), (None, Some("t"), Some("r")));
    bed.invalidate_tag("team:new").unwrap();
    assert_eq!((teams.text("1"), bed.text("1").as_deref()), (None, Some("r")));
}

fn a_clear_of_a_view_takes_its_own_keys(via: Via) {
    for bed in [Bed::l1(via), Bed::two(via)] {
        let stars = bed.view(|cache| cache.namespace("*:"));
        stars.set("1", "s", MINUTE).unwrap();
        bed.set("a:1", "a", MINUTE).unwrap();
        stars.clear().unwrap();
        assert_eq!((stars.text("1"), bed.text("a:1").as_deref()), (None, Some("a")));
    }
}

/// What makes the key invalid while it is loaded.
const SWEEPS: [fn(&Cache); 2] = [|cache| cache.invalidate_tag("red").unwrap(), |cache| cache.clear().unwrap()];

fn what_is_being_loaded_meanwhile_is_invalid_too(via: Via) {
    for sweep in SWEEPS {
        for bed in [Bed::l1(via), Bed::two(via)] {
            let (tasks, gate) = (bed.cache.tasks.clone(), Gate::shut());
            let mut load = Hand::new(tasks.get_or_compute_with("k", tagged(&["red"]), || async {
                gate.pass().await;
                tercel::ok("old")
            }));
            until(|| load.poll().is_some() || bed.stats().computations == 1);
            sweep(&bed);
            gate.open();
            assert_eq!(load.end().unwrap().decode::<String>().unwrap(), "old", "its own caller began before");
            bed.made(1);
            assert_eq!((bed.peek("k"), bed.text("k")), (None, None));
            assert_eq!(bed.text_or("k", tagged(&["red"]), "new"), "new");
            assert_eq!(bed.text("k").as_deref(), Some("new"));
        }
    }
}

fn a_caller_that_comes_after_gets_no_older_value_from_a_flight(via: Via) {
    for sweep in SWEEPS {
        let bed = Bed::two(via);
        let (tasks, gate) = (bed.cache.tasks.clone(), Gate::shut());
        let old = || async {
            gate.pass().await;
            tercel::ok("old")
        };
        let mut leader = Hand::new(tasks.get_or_compute_with("k", tagged(&["red"]), old));
        until(|| leader.poll().is_some() || bed.stats().computations == 1);
        let follower = Hand::begun(tasks.get_or_compute_with("k", tagged(&["red"]), old));
        sweep(&bed);
        let mut late = Hand::new(tasks.get_or_compute_with("k", tagged(&["red"]), || async { tercel::ok("new") }));
        let early = late.poll();
        gate.open();
        let text = |value: tercel::Value| value.decode::<String>().unwrap();
        assert_eq!(text(leader.end().unwrap()), "old");
        assert_eq!(text(follower.end().unwrap()), "old");
        assert_eq!(text(early.unwrap_or_else(|| late.end()).unwrap()), "new");
        bed.made(3);
        assert_eq!(bed.text("k").as_deref(), Some("new"));
    }
}

fn what_is_invalid_stands_in_for_nothing(via: Via) {
    for sweep in SWEEPS {
        for bed in [Bed::l1(via), Bed::two(via)] {
            let options = || EntryOptions::from(SECOND).grace(MINUTE).tags(["red"]);
            bed.set("k", "old", options()).unwrap();
            bed.advance(2 * SECOND);
            let failing = || Err::<&str, _>(std::io::Error::other("down"));
            assert_eq!(bed.load("k", options(), failing).unwrap().decode::<String>().unwrap(), "old");
            sweep(&bed);
            assert!(bed.load("k", options(), failing).unwrap_err().is_compute());
        }
    }
}

fn what_is_invalid_is_reclaimed_unasked(via: Via) {
    let bed = Bed::l1(via);
    for key in 0..500 {
        bed.set(&key.to_string(), "v", tagged(if key % 5 == 0 { &["red"] } else { &["blue"] })).unwrap();
    }
    bed.invalidate_tag("blue").unwrap();
    bed.advance_until(bed::MILLI, || bed.stats().resident_entries == 100);
    bed.clear().unwrap();
    bed.advance_until(bed::MILLI, || bed.stats().resident_entries == 0);
    assert_eq!(bed.stats().invalidated, 500);
}

fn names_that_are_none_are_refused_before_anything_is_done(via: Via) {
    let bed = Bed::l1(via);
    bed.set("k", "v", tagged(&["red"])).unwrap();
    let view = bed.view(|cache| cache.namespace("user:"));
    assert!(bed.invalidate_tag("").unwrap_err().is_key());
    assert!(view.invalidate_tag("").unwrap_err().is_key());
    assert!(bed.invalidate_tags(&["red", &"x".repeat((64 << 10) + 1)]).unwrap_err().is_key());
    assert_eq!(bed.text("k").as_deref(), Some("v"));
    bed.invalidate_tags(&[]).unwrap();
    assert_eq!(bed.text("k").as_deref(), Some("v"));
}

fn a_later_engine_keeps_its_word_for_what_an_earlier_one_wrote(via: Via) {
    let bed = Bed::two(via);
    let earlier = bed.sibling();
    earlier.invalidate_tag("red").unwrap();
    earlier.set("k", "v", tagged(&["red"])).unwrap();
    earlier.close().unwrap();
    // Two engines that share nothing but a tier go by the time of day.
    bed.advance(bed::MILLI);
    assert_eq!(bed.text("k").as_deref(), Some("v"));
    bed.invalidate_tag("red").unwrap();
    assert_eq!(bed.text("k"), None);
    let later = bed.sibling();
    later.invalidate_tag("red").unwrap();
    assert_eq!(later.text("k"), None);
}
