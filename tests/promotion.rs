//! What a lower tier has goes up; a tier that fails is not a tier that has nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;

use bed::{Bed, Cache, Hand, MILLI, MINUTE, Via, until};
use tercel::{EntryOptions, MemoryTier, Operation, TierConfig};

both![
    a_hit_below_is_copied_to_every_tier_above,
    promotion_can_be_turned_off,
    about_one_hit_in_n_is_promoted,
    a_failing_tier_is_an_error_and_no_miss,
    a_failing_tier_hides_nothing_that_another_has,
    a_failing_tier_fails_no_load,
    a_skipped_tier_is_neither_read_nor_written,
    damaged_bytes_are_a_miss_and_are_overwritten,
];

fn three(bed: &Bed) -> (Cache, MemoryTier) {
    let third = MemoryTier::with_clock(bed.clock.clone());
    let cache = bed.another(|builder| {
        builder
            .tier(Arc::new(bed.below.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3())
    });
    (cache, third)
}

fn only_third(bed: &Bed, third: &MemoryTier) -> Cache {
    bed.another(|builder| builder.tier(Arc::new(third.clone()), TierConfig::as_l2()))
}

fn a_hit_below_is_copied_to_every_tier_above(via: Via) {
    let bed = Bed::l1(via);
    let (cache, third) = three(&bed);
    only_third(&bed, &third).set("k", "v", MINUTE).unwrap();
    assert_eq!(cache.text("k").as_deref(), Some("v"));
    assert_eq!(cache.peek("k").as_deref(), Some("v"));
    assert_eq!(bed.below.keys(), ["k"]);
    assert_eq!(cache.stats().promotions, 1);
    assert_eq!(cache.text("k").as_deref(), Some("v"));
    assert_eq!((third.calls(Operation::Get), bed.below.calls(Operation::Get)), (1, 1));
    cache.settled();
}

fn promotion_can_be_turned_off(via: Via) {
    let bed = Bed::with(via, |builder, below| {
        builder.tier(Arc::new(below.clone()), TierConfig::as_l2().with_promotion(false))
    });
    bed.sibling().set("k", "v", MINUTE).unwrap();
    for _ in 0..3 {
        assert_eq!(bed.text("k").as_deref(), Some("v"));
        assert_eq!(bed.peek("k"), None);
    }
    assert_eq!((bed.stats().promotions, bed.below.calls(Operation::Get)), (0, 3));
}

fn about_one_hit_in_n_is_promoted(via: Via) {
    const HITS: usize = 4000;
    let bed = Bed::l1(via);
    let writer = bed.sibling();
    let keys: Vec<_> = (0..HITS).map(|n| n.to_string()).collect();
    for key in &keys {
        writer.set(key, "v", MINUTE).unwrap();
    }
    for (frequency, least, most) in [(1, HITS, HITS), (4, 700, 1300)] {
        let config = TierConfig::as_l2().with_promotion_frequency(frequency);
        let reader = bed.another(|builder| builder.tier(Arc::new(bed.below.clone()), config));
        keys.iter().for_each(|key| assert!(reader.get(key).unwrap().is_some()));
        // One in four of 4,000: a mean of 1,000 with a deviation of 27; eleven of them lie outside once in 10^27 runs.
        let promoted = reader.stats().promotions;
        assert!((least..=most).contains(&promoted), "{promoted} of {HITS} at one in {frequency}");
        assert_eq!(reader.stats().resident_entries, promoted);
        reader.settled();
    }
    writer.settled();
}

fn a_failing_tier_is_an_error_and_no_miss(via: Via) {
    let bed = Bed::two(via);
    bed.below.fail(true);
    let error = bed.get("k").unwrap_err();
    assert!(error.is_tier() && !error.is_timeout(), "{error}");
    assert!(bed.get_typed::<u64>("k").unwrap_err().is_tier());
    assert_eq!(bed.tier(2), (0, 0, 2, 0), "counted as errors, not as misses");
    bed.below.fail(false);
    assert_eq!(bed.text("k"), None);
    assert_eq!(bed.tier(2), (0, 1, 2, 0));
}

fn a_failing_tier_hides_nothing_that_another_has(via: Via) {
    let bed = Bed::l1(via);
    let (cache, third) = three(&bed);
    only_third(&bed, &third).set("k", "v", MINUTE).unwrap();
    bed.below.fail(true);
    assert_eq!(cache.text("k").as_deref(), Some("v"));
    assert!(cache.get("none").unwrap_err().is_tier());
    bed.below.fail(false);
    until(|| {
        cache.stats().pending_repairs == 0 || {
            bed.advance(100 * MILLI);
            false
        }
    });
    cache.settled();
}

fn a_failing_tier_fails_no_load(via: Via) {
    let bed = Bed::two(via);
    bed.below.fail(true);
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
    assert_eq!(bed.text("k").as_deref(), Some("v"), "L1 has it");
    assert_eq!(bed.load_typed("n", MINUTE, || tercel::ok(1u64)).unwrap(), 1);
    assert_eq!(bed.stats().computations, 2);
}

fn a_skipped_tier_is_neither_read_nor_written(via: Via) {
    let bed = Bed::two(via);
    bed.set("below", "v", EntryOptions::from(MINUTE).skip_tier(1)).unwrap();
    assert_eq!(bed.peek("below"), None);
    assert_eq!(bed.below.keys(), ["below"]);
    bed.set("here", "v", EntryOptions::from(MINUTE).skip_tier(2)).unwrap();
    assert_eq!((bed.peek("here").as_deref(), bed.below.ttl("here")), (Some("v"), None));
    let upper = bed.view(|cache| cache.with_defaults(EntryOptions::new().skip_tier(2)));
    assert_eq!(upper.text("below"), None);
    assert_eq!(bed.below.calls(Operation::Get), 0);
    let lower = bed.view(|cache| cache.with_defaults(EntryOptions::new().skip_tier(1)));
    assert_eq!((lower.text("here"), lower.text("below").as_deref()), (None, Some("v")));
    assert_eq!(bed.peek("below"), None, "nor is it promoted there");
    // A write that leaves L1 out takes away what L1 had.
    bed.set("here", "newer", EntryOptions::from(MINUTE).skip_tier(1)).unwrap();
    assert_eq!(bed.text("here").as_deref(), Some("newer"));
}

fn damaged_bytes_are_a_miss_and_are_overwritten(via: Via) {
    let bed = Bed::l1(via);
    for damage in 0..4 {
        let key = format!("k{damage}");
        bed.sibling().set(&key, "v", MINUTE).unwrap();
        assert!(bed.below.garble(&key, |bytes| match damage {
            0 => bytes.truncate(10),
            1 => *bytes.last_mut().unwrap() ^= 1,
            2 => bytes.clear(),
            _ => *bytes = b"{\"foreign\":1}".to_vec(),
        }));
        let reader = bed.sibling();
        assert_eq!(reader.text(&key), None);
        assert_eq!(reader.lookup(&key).unwrap(), tercel::Lookup::Miss(tercel::MissReason::Codec));
        assert_eq!(reader.stats().codec_misses, 2);
        assert_eq!(reader.text_or(&key, MINUTE, "new"), "new");
        assert_eq!(bed.sibling().text(&key).as_deref(), Some("new"));
        reader.settled();
    }
}

#[test]
fn a_tier_that_hangs_costs_its_deadline_and_no_more() {
    let bed = Bed::two(Via::Tasks);
    let cache = &bed.cache.tasks;
    bed.below.hold();
    let mut read = Hand::begun(cache.get("k"));
    bed.advance(499 * MILLI);
    assert!(read.poll().is_none(), "not before 500 ms");
    bed.advance(MILLI);
    let error = read.poll().unwrap().unwrap_err();
    assert!(error.is_tier() && error.is_timeout(), "{error}");
    // A load goes on with its closure, and its write is not waited for beyond a deadline either.
    let mut load = Hand::begun(cache.get_or_compute_with("k", MINUTE, || async { tercel::ok("v") }));
    assert_eq!(bed.stats().computations, 0);
    bed.advance(500 * MILLI);
    let mut answer = load.poll();
    assert_eq!(bed.stats().computations, 1);
    bed.advance_until(50 * MILLI, || {
        answer = answer.take().or_else(|| load.poll());
        answer.is_some()
    });
    assert_eq!(answer.unwrap().unwrap().decode::<String>().unwrap(), "v");
    assert!(tercel::Clock::now(&*bed.clock) < 10 * bed::SECOND);
    bed.made(2);
    assert_eq!(bed.tier(2).2, 2, "both were errors");
}

#[test]
fn all_tiers_share_one_deadline() {
    let bed = Bed::l1(Via::Tasks);
    let (cache, third) = three(&bed);
    bed.below.hold();
    third.hold();
    let mut read = Hand::begun(cache.tasks.get("k"));
    bed.advance(500 * MILLI);
    assert!(read.poll().unwrap().unwrap_err().is_timeout(), "not 500 ms for each");
    bed.below.release();
    third.release();
}

#[test]
fn the_soft_deadline_holds_where_a_stale_value_exists() {
    let bed = Bed::two(Via::Tasks);
    bed.set("k", "old", EntryOptions::from(MINUTE).grace(MINUTE)).unwrap();
    bed.advance(MINUTE);
    bed.below.hold();
    let mut load = Hand::begun(bed.cache.tasks.get_or_compute_with("k", MINUTE, || async { tercel::ok("new") }));
    bed.advance(49 * MILLI);
    assert!(load.poll().is_none());
    assert_eq!(bed.stats().computations, 0);
    bed.advance(MILLI);
    let _ = load.poll();
    assert_eq!(bed.stats().computations, 1, "the closure runs after 50 ms");
    bed.below.release();
    assert_eq!(load.end().unwrap().decode::<String>().unwrap(), "new");
    bed.made(1);
}

#[test]
fn deadlines_are_set_at_build() {
    let bed = Bed::with(Via::Tasks, |builder, below| {
        builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).tier_deadline(MILLI, 20 * MILLI)
    });
    bed.below.hold();
    let mut read = Hand::begun(bed.cache.tasks.get("k"));
    bed.advance(19 * MILLI);
    assert!(read.poll().is_none());
    bed.advance(MILLI);
    assert!(read.poll().unwrap().unwrap_err().is_timeout());
    bed.made(1);
}
