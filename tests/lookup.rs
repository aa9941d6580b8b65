//! A look that tells everything, and looks that count as none.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::time::Duration;

use bed::{Bed, Cache, MINUTE, SECOND, Via};
use tercel::{EntryOptions, Lookup, MemoryTier, MissReason, TierConfig, Value};

both![
    it_names_the_tier_and_the_age,
    it_tells_stale_from_fresh,
    it_names_the_reason_of_a_miss,
    bad_keys_are_refused,
    peek_and_with_cached_are_no_requests,
    with_cached_refuses_to_wait,
    max_age_refuses_older_values,
];

fn hit(cache: &Cache, key: &str) -> (String, usize, Duration, bool) {
    match cache.lookup(key).unwrap() {
        Lookup::Hit { value, tier, age, stale, .. } => (value.decode().unwrap(), tier, age, stale),
        other => panic!("{other:?}"),
    }
}

fn it_names_the_tier_and_the_age(via: Via) {
    let bed = Bed::l1(via);
    let third = MemoryTier::with_clock(bed.clock.clone());
    let cache = bed.another(|builder| {
        builder
            .tier(Arc::new(bed.below.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3().with_ttl_scale(1.0))
    });
    let writer = bed.another(|builder| builder.tier(Arc::new(third.clone()), TierConfig::as_l2()));
    writer.set("k", "v", MINUTE).unwrap();
    bed.advance(7 * SECOND);
    assert_eq!(hit(&cache, "k"), ("v".into(), 3, 7 * SECOND, false));
    bed.advance(SECOND);
    assert_eq!(hit(&cache, "k"), ("v".into(), 1, 8 * SECOND, false), "promotion makes nothing younger");
    let over_second = bed.sibling();
    assert_eq!(hit(&over_second, "k").1, 2);
    assert_eq!(cache.stats().total_hits, 2);
    for cache in [cache, writer, over_second] {
        cache.settled();
    }
}

fn it_tells_stale_from_fresh(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", EntryOptions::from(10 * SECOND).grace(MINUTE)).unwrap();
    bed.advance(9 * SECOND);
    assert_eq!(hit(&bed, "k"), ("v".into(), 1, 9 * SECOND, false));
    bed.advance(SECOND);
    assert_eq!(hit(&bed, "k"), ("v".into(), 1, 10 * SECOND, true));
    bed.advance(5 * SECOND);
    assert_eq!(hit(&bed.sibling(), "k"), ("v".into(), 2, 15 * SECOND, true), "from below as well");
    let stats = bed.stats();
    assert_eq!((stats.total_hits, stats.misses), (1, 1), "stale is a miss: {stats:?}");
}

fn it_names_the_reason_of_a_miss(via: Via) {
    let reason = |cache: &Cache, key: &str| match cache.lookup(key).unwrap() {
        Lookup::Miss(reason) => reason,
        other => panic!("{other:?}"),
    };
    let bed =
        Bed::with(via, |builder, below| builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).l1_capacity(4));
    assert_eq!(reason(&bed, "k"), MissReason::NeverSeen);
    bed.set("k", "v", SECOND).unwrap();
    bed.advance(SECOND);
    assert_eq!(reason(&bed, "k"), MissReason::Expired);
    let here = EntryOptions::from(MINUTE).skip_tier(2);
    for n in 0..8 {
        bed.set(&n.to_string(), "v", &here).unwrap();
    }
    let evicted = (0..8).filter(|n| bed.peek(&n.to_string()).is_none()).map(|n| n.to_string()).collect::<Vec<_>>();
    assert!(!evicted.is_empty());
    assert!(evicted.iter().all(|key| reason(&bed, key) == MissReason::Evicted));
    bed.below.fail(true);
    assert_eq!(reason(&bed, "other"), MissReason::TierFailed);
    bed.invalidate("gone").unwrap_err();
    assert_eq!(reason(&bed, "gone"), MissReason::Skipped);
    bed.below.fail(false);
    bed.advance_until(100 * bed::MILLI, || bed.stats().pending_repairs == 0);
}

#[test]
fn a_tier_that_does_not_answer_is_the_reason() {
    let bed = Bed::two(Via::Tasks);
    bed.below.hold();
    let mut lookup = bed::Hand::begun(bed.cache.tasks.lookup("k"));
    bed.advance(500 * bed::MILLI);
    assert_eq!(lookup.poll().unwrap().unwrap(), Lookup::Miss(MissReason::Timeout));
    bed.made(1);
}

fn bad_keys_are_refused(via: Via) {
    let bed = Bed::two(via);
    let long = "k".repeat((64 << 10) + 1);
    for key in ["", &long] {
        assert!(bed.get(key).unwrap_err().is_key());
        assert!(bed.lookup(key).unwrap_err().is_key());
        assert!(bed.load(key, MINUTE, || tercel::ok("v")).unwrap_err().is_key());
        assert!(bed.set(key, "v", MINUTE).unwrap_err().is_key());
        assert!(bed.invalidate(key).unwrap_err().is_key());
    }
    let longest = &long[1..];
    bed.set(longest, "v", MINUTE).unwrap();
    for key in ["\0", "a\nb", "ключ", "{a}", "*", "?", "[a]", "\\"] {
        bed.set(key, key, MINUTE).unwrap();
        assert_eq!(bed.text(key).as_deref(), Some(key));
        assert_eq!(bed.sibling().text(key).as_deref(), Some(key));
    }
    for key in ["*", "?", "[a]"] {
        bed.invalidate(key).unwrap();
        assert_eq!(bed.text(key), None);
    }
    assert_eq!(bed.below.keys().len(), 6, "a key is never a pattern");
}

fn peek_and_with_cached_are_no_requests(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", MINUTE).unwrap();
    bed.sibling().set("below", "v", MINUTE).unwrap();
    let before = (bed.stats(), bed.tasks.get_tier_stats());
    assert_eq!(bed.peek("k").as_deref(), Some("v"));
    assert_eq!((bed.peek("none"), bed.peek("below"), bed.peek("")), (None, None, None));
    let length = |value: &tercel::ValueRef<'_>| value.decode_borrowed::<&str>().unwrap().len();
    let (tasks, threads) = (&bed.cache.tasks, &bed.cache.threads);
    assert_eq!((tasks.with_cached("k", length), threads.with_cached("k", length)), (Some(1), Some(1)));
    assert_eq!((tasks.with_cached("none", length), threads.with_cached("below", length)), (None, None));
    assert_eq!((bed.stats(), bed.tasks.get_tier_stats()), before);
}

fn with_cached_refuses_to_wait(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", MINUTE).unwrap();
    bed.below.hold();
    let threads = &bed.cache.threads;
    threads.with_cached("k", |_| {
        assert!(threads.get("k").unwrap().is_some(), "what does not wait is allowed");
        assert!(threads.with_cached("k", |_| ()).is_some());
        assert!(threads.get("other").unwrap_err().is_would_deadlock());
    });
    bed.made(1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bed.cache.tasks.with_cached("k", |_| panic!("inside"));
    }));
    assert!(panicked.is_err());
    bed.below.release();
    assert_eq!(threads.get("other").unwrap(), None, "a panic unpins");
    bed.made(1);
}

fn max_age_refuses_older_values(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", MINUTE).unwrap();
    bed.advance(10 * SECOND);
    let within = |seconds: u32| bed.view(|cache| cache.with_defaults(EntryOptions::new().max_age(seconds * SECOND)));
    assert_eq!(within(10).text("k").as_deref(), Some("old"));
    assert_eq!(within(9).text("k"), None, "neither from L1 nor from below");
    assert_eq!(bed.text("k").as_deref(), Some("old"), "others still take it");
    let patient = EntryOptions::from(MINUTE).max_age(10 * SECOND);
    assert_eq!(bed.text_or("k", patient, "new"), "old");
    let strict = EntryOptions::from(MINUTE).max_age(9 * SECOND);
    assert_eq!(bed.text_or("k", strict, "new"), "new");
    assert_eq!(within(0).text("k").as_deref(), Some("new"));
    let value: Option<Value> = bed.sibling().get("k").unwrap();
    assert_eq!(value.unwrap().decode::<String>().unwrap(), "new");
}
