//! A write or an invalidation that a tier did not take: it is done here at once, the tier is not read for that key, and it
//! is repaired when the tier is back.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;

use bed::{Bed, Hand, MILLI, MINUTE, SECOND, Via, until};
use tercel::{Lookup, MissReason, Operation, TierConfig};

both![
    a_failed_invalidation_is_done_here_and_repaired_below,
    a_failed_write_is_done_here_and_the_older_value_below_goes,
    a_failed_pattern_is_done_here_and_repaired_below,
    a_newer_write_pays_the_debt,
    a_failed_write_of_a_load_is_repaired_too,
    more_debts_than_are_kept_become_one,
    a_tier_that_cannot_match_says_so_and_owes_nothing,
    one_key_is_owed_once,
];

/// Advances the clock until nothing is owed.
fn repaired(bed: &Bed) {
    bed.advance_until(100 * MILLI, || bed.stats().pending_repairs == 0);
}

fn a_failed_invalidation_is_done_here_and_repaired_below(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", MINUTE).unwrap();
    bed.set("other", "v", MINUTE).unwrap();
    bed.below.fail(true);
    let error = bed.invalidate("k").unwrap_err();
    assert!(error.is_partial_write(), "{error}");
    assert!(error.to_string().contains("`memory`"), "it names the tier: {error}");
    assert_eq!(bed.peek("k"), None);
    assert_eq!(bed.stats().pending_repairs, 1);
    // The tier answers again, but what it has of the key is not read.
    bed.below.fail_next(usize::MAX);
    bed.below.fail(false);
    let asked = bed.below.calls(Operation::Get);
    assert_eq!(bed.text("k"), None);
    assert_eq!(bed.lookup("k").unwrap(), Lookup::Miss(MissReason::Skipped));
    assert_eq!(bed.below.calls(Operation::Get), asked);
    assert_eq!(bed.tier(2).3, 2, "counted as skipped");
    assert_eq!(bed.below.keys().len(), 2);
    bed.below.fail_next(0);
    repaired(&bed);
    assert_eq!(bed.below.keys(), ["other"]);
    assert_eq!(bed.text("k"), None);
    assert_eq!(bed.tier(2).1, 1, "read again");
}

fn a_failed_write_is_done_here_and_the_older_value_below_goes(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", MINUTE).unwrap();
    bed.below.fail(true);
    assert!(bed.set("k", "new", MINUTE).unwrap_err().is_partial_write());
    assert_eq!(bed.text("k").as_deref(), Some("new"));
    bed.below.fail(false);
    repaired(&bed);
    assert_eq!(bed.text("k").as_deref(), Some("new"), "the repair takes nothing from here");
    assert_eq!(bed.sibling().text("k"), None, "the older value is not read by anyone");
}

fn a_failed_pattern_is_done_here_and_repaired_below(via: Via) {
    let bed = Bed::two(via);
    for key in ["a1", "a2", "b"] {
        bed.set(key, "old", MINUTE).unwrap();
    }
    bed.below.fail(true);
    assert!(bed.invalidate_pattern("a*").unwrap_err().is_partial_write());
    assert_eq!((bed.peek("a1"), bed.peek("b").as_deref()), (None, Some("old")));
    assert_eq!(bed.stats().pending_repairs, 1);
    let asked = bed.below.calls(Operation::Get);
    assert_eq!(bed.text("a2"), None);
    assert_eq!(bed.below.calls(Operation::Get), asked, "keys that match are not read there");
    assert!(bed.get("none").unwrap_err().is_tier(), "others are");
    bed.below.fail(false);
    repaired(&bed);
    assert_eq!(bed.below.keys(), ["b"]);
}

fn a_newer_write_pays_the_debt(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", MINUTE).unwrap();
    bed.below.fail(true);
    bed.invalidate("k").unwrap_err();
    bed.below.fail(false);
    bed.set("k", "newer", MINUTE).unwrap();
    assert_eq!(bed.stats().pending_repairs, 0);
    for _ in 0..50 {
        bed.advance(100 * MILLI);
    }
    assert_eq!(bed.sibling().text("k").as_deref(), Some("newer"), "a late repair does not remove it");
}

fn a_failed_write_of_a_load_is_repaired_too(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", SECOND).unwrap();
    bed.advance(SECOND);
    bed.below.fail(true);
    assert_eq!(bed.text_or("k", MINUTE, "new"), "new", "no caller fails for it");
    assert_eq!(bed.stats().pending_repairs, 1);
    bed.below.fail(false);
    repaired(&bed);
    assert_eq!(bed.text("k").as_deref(), Some("new"));
}

fn more_debts_than_are_kept_become_one(via: Via) {
    let bed = Bed::two(via);
    bed.set("below", "old", MINUTE).unwrap();
    bed.below.fail(true);
    for n in 0..65 {
        bed.invalidate_pattern(&format!("{n}:*")).unwrap_err();
    }
    assert!(bed.stats().pending_repairs <= 65, "debts are bounded");
    bed.below.fail(false);
    repaired(&bed);
    assert!(bed.below.keys().is_empty(), "everything went");
    assert_eq!(bed.text("below").as_deref(), Some("old"), "L1 was right all along");
}

fn a_tier_that_cannot_match_says_so_and_owes_nothing(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", MINUTE).unwrap();
    bed.below.refuse_patterns(true);
    let error = bed.invalidate_pattern("k*").unwrap_err();
    assert!(error.is_partial_write() && error.is_unsupported(), "{error}");
    assert_eq!((bed.peek("k"), bed.stats().pending_repairs), (None, 0));
}

fn one_key_is_owed_once(via: Via) {
    let bed = Bed::two(via);
    bed.below.fail(true);
    for _ in 0..10 {
        bed.invalidate("k").unwrap_err();
        bed.set("k", "v", MINUTE).unwrap_err();
    }
    assert_eq!(bed.stats().pending_repairs, 1);
    bed.below.fail(false);
    repaired(&bed);
}

#[test]
fn only_the_tier_that_failed_is_passed_over() {
    let bed = Bed::l1(Via::Tasks);
    let third = tercel::MemoryTier::with_clock(bed.clock.clone());
    let cache = bed.another(|builder| {
        builder
            .tier(Arc::new(bed.below.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3())
    });
    bed.below.fail(true);
    cache.set("k", "v", MINUTE).unwrap_err();
    let reader = cache.view(|cache| cache.with_defaults(tercel::EntryOptions::new().skip_tier(1)));
    assert_eq!(reader.text("k").as_deref(), Some("v"), "from tier 3");
    assert_eq!((cache.tier(2).3, cache.tier(3).0), (1, 1));
    bed.below.fail(false);
    bed.advance_until(100 * MILLI, || cache.stats().pending_repairs == 0);
    cache.settled();
}

#[test]
fn a_write_that_hangs_is_given_up_at_its_deadline_and_repaired() {
    let bed = Bed::two(Via::Tasks);
    bed.set("k", "old", MINUTE).unwrap();
    bed.below.hold();
    let mut write = Hand::begun(bed.cache.tasks.set_with_strategy("k", "new", MINUTE));
    until(|| bed.below.waiting() == 1);
    let mut answer = None;
    bed.advance_until(50 * MILLI, || {
        answer = answer.take().or_else(|| write.poll());
        answer.is_some()
    });
    let error = answer.unwrap().unwrap_err();
    assert!(error.is_partial_write() && error.is_timeout(), "{error}");
    assert_eq!(bed.text("k").as_deref(), Some("new"));
    bed.below.release();
    repaired(&bed);
    assert_eq!(bed.sibling().text("k"), None);
}
