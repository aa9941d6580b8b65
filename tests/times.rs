//! How long values live: in every tier, after promotion, at the ends of the range.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::time::Duration;

use bed::{Bed, Cache, MILLI, MINUTE, SECOND, Via};
use tercel::{EntryOptions, Loaded, Lookup, MemoryTier, TierConfig};

both![
    a_value_is_fresh_until_its_ttl_and_no_longer,
    a_value_below_is_fresh_until_its_ttl_and_no_longer,
    short_times_are_neither_for_ever_nor_nothing,
    a_sub_second_ttl_survives_promotion,
    zero_removes_what_is_there,
    a_load_with_zero_ttl_stores_nothing,
    a_load_with_zero_ttl_removes_a_stale_value,
    the_longest_times_are_clamped,
    jitter_shortens_and_is_the_same_in_all_tiers,
    jitter_of_a_load_shortens_and_is_the_same_in_all_tiers,
    a_jitter_longer_than_the_ttl_leaves_some_of_it,
    scales_apply_once_at_the_write,
    scales_do_not_compound_through_promotions,
    an_unknown_remaining_time_is_the_frames_own,
    promotion_never_lengthens_a_life,
    a_copy_of_a_long_lived_tier_lives_as_long_as_its_own_tier_says,
    the_l1_ttl_shortens_and_never_lengthens,
    the_l1_ttl_holds_for_promotions,
    grace_keeps_a_value_stale_and_then_it_is_gone,
    what_the_closure_says_of_the_ttl_wins,
    a_write_without_a_ttl_has_the_default,
];

fn a_value_is_fresh_until_its_ttl_and_no_longer(via: Via) {
    let bed = Bed::l1(via);
    bed.set("k", "v", 5 * SECOND).unwrap();
    bed.advance(5 * SECOND - MILLI);
    assert_eq!(bed.text("k").as_deref(), Some("v"));
    bed.advance(MILLI);
    assert_eq!(bed.text("k"), None);
    assert_eq!(bed.peek("k"), None);
}

fn a_value_below_is_fresh_until_its_ttl_and_no_longer(via: Via) {
    let bed = Bed::two(via);
    bed.set("a", "v", 5 * SECOND).unwrap();
    bed.set("b", "v", 5 * SECOND).unwrap();
    let other = bed.sibling();
    bed.advance(5 * SECOND - 2 * MILLI);
    assert_eq!(other.text("a").as_deref(), Some("v"));
    bed.advance(2 * MILLI);
    assert_eq!(other.text("a"), None);
    assert_eq!(other.text("b"), None);
    assert_eq!(bed.text("a"), None);
    other.settled();
}

fn short_times_are_neither_for_ever_nor_nothing(via: Via) {
    for ttl in [1, 999, 1_000, 1_001, 999_999, 1_000_001, 1_500_000, 250_000_000, 999_999_999].map(Duration::from_nanos)
    {
        let bed = Bed::two(via);
        bed.set("set", "v", ttl).unwrap();
        assert_eq!(bed.text_or("load", ttl, "v"), "v");
        assert_eq!(bed.text("set").as_deref(), Some("v"), "{ttl:?} is not nothing");
        assert_eq!(bed.peek("load").as_deref(), Some("v"), "{ttl:?} is not nothing");
        for key in ["set", "load"] {
            let left = bed.below.ttl(key).expect("a value with a time");
            assert!(left <= ttl.max(MILLI), "{ttl:?} became {left:?}");
        }
        bed.advance(ttl + 10 * MILLI);
        assert_eq!((bed.text("set"), bed.text("load")), (None, None), "{ttl:?}");
    }
}

fn a_sub_second_ttl_survives_promotion(via: Via) {
    let bed = Bed::two(via);
    let other = bed.sibling();
    bed.set("k", "v", 300 * MILLI).unwrap();
    bed.advance(100 * MILLI);
    assert_eq!(other.text("k").as_deref(), Some("v"));
    assert_eq!(other.peek("k").as_deref(), Some("v"), "it was promoted");
    bed.advance(199 * MILLI);
    assert_eq!(other.peek("k").as_deref(), Some("v"));
    bed.advance(MILLI);
    assert_eq!(other.peek("k"), None);
    other.settled();
}

fn zero_removes_what_is_there(via: Via) {
    let bed = Bed::two(via);
    for key in ["set", "update", "broadcast"] {
        bed.set(key, "old", MINUTE).unwrap();
    }
    bed.set("set", "new", Duration::ZERO).unwrap();
    bed.update("update", "new", Some(Duration::ZERO)).unwrap();
    bed.broadcast("broadcast", "new", Duration::ZERO).unwrap();
    for key in ["set", "update", "broadcast"] {
        assert_eq!(bed.text(key), None, "{key}");
    }
    assert!(bed.below.keys().is_empty());
    assert_eq!(bed.stats().invalidated, 3);
    assert_eq!(bed.stats().resident_entries, 0);
}

fn a_load_with_zero_ttl_stores_nothing(via: Via) {
    let bed = Bed::two(via);
    assert_eq!(bed.text_or("k", Duration::ZERO, "1"), "1");
    let told = bed.load("k", MINUTE, || tercel::ok(Loaded::new("2").ttl(Duration::ZERO))).unwrap();
    assert_eq!(told.decode::<String>().unwrap(), "2");
    assert_eq!(bed.text("k"), None);
    assert!(bed.below.keys().is_empty());
    assert_eq!(bed.stats().computations, 2);
}

fn a_load_with_zero_ttl_removes_a_stale_value(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "old", EntryOptions::from(SECOND).grace(MINUTE)).unwrap();
    bed.advance(SECOND);
    assert_eq!(bed.text_or("k", Duration::ZERO, "new"), "new");
    assert!(matches!(bed.lookup("k").unwrap(), Lookup::Miss(_)), "the old value is not a stand-in for a newer one");
    assert!(bed.below.keys().is_empty());
}

fn the_longest_times_are_clamped(via: Via) {
    let max = Duration::MAX;
    let bed = Bed::with(via, |builder, below| {
        let l2 = TierConfig::as_l2().with_ttl_scale(f64::MAX);
        builder.tier(Arc::new(below.clone()), l2).tier(Arc::new(MemoryTier::new()), TierConfig::as_l3())
    });
    bed.advance(SECOND);
    let longest = EntryOptions::from(max).grace(max).l1_ttl(max).negative_ttl(max).hard_timeout(max).max_age(max);
    bed.set("set", "v", &longest).unwrap();
    assert_eq!(bed.text_or("load", &longest, "v"), "v");
    assert_eq!(bed.load_optional("none", &longest, || tercel::ok(None::<String>)).unwrap(), None);
    bed.set("years", "v", Duration::from_secs(u64::MAX / 2)).unwrap();
    bed.set("jitter", "v", EntryOptions::from(max).jitter(SECOND)).unwrap();
    let other = bed.sibling();
    for _ in 0..3 {
        for key in ["set", "load", "years", "jitter"] {
            assert_eq!(bed.text(key).as_deref(), Some("v"), "{key}");
            assert_eq!(other.text(key).as_deref(), Some("v"), "{key} from below");
        }
        assert_eq!(bed.lookup("none").unwrap(), Lookup::Absent);
        bed.advance(Duration::from_secs(100 * 365 * 86_400));
    }
    other.settled();
}

/// Two tiers of scale 1 below L1: the times that they were given for `keys` keys by `write`.
fn jittered(via: Via, keys: usize, write: impl Fn(&Cache, &str)) -> Vec<Duration> {
    let bed = Bed::l1(via);
    let third = MemoryTier::with_clock(bed.clock.clone());
    let cache = bed.another(|builder| {
        builder
            .tier(Arc::new(bed.below.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3().with_ttl_scale(1.0))
    });
    let names: Vec<_> = (0..keys).map(|n| n.to_string()).collect();
    names.iter().for_each(|key| write(&cache, key));
    let given: Vec<_> = names.iter().map(|key| bed.below.ttl(key).unwrap()).collect();
    for (key, given) in names.iter().zip(&given) {
        assert_eq!(third.ttl(key), Some(*given), "one draw for all tiers");
    }
    for second in 0..=101 {
        for (key, given) in names.iter().zip(&given) {
            assert_eq!(cache.peek(key).is_some(), second * SECOND < *given, "L1 and the tiers below agree: {given:?}");
        }
        bed.advance(SECOND);
    }
    cache.settled();
    given
}

fn check_jitter(given: &[Duration]) {
    let (least, most) = (given.iter().min().unwrap(), given.iter().max().unwrap());
    assert!(*most <= 100 * SECOND, "jitter never lengthens: {most:?}");
    assert!(*least >= 40 * SECOND, "nor shortens by more than it is: {least:?}");
    // Of 100 draws over 60 seconds, all within 20: less than one in 10^40.
    assert!(*most - *least > 20 * SECOND, "it is drawn: {least:?} to {most:?}");
}

fn jitter_shortens_and_is_the_same_in_all_tiers(via: Via) {
    let options = EntryOptions::from(100 * SECOND).jitter(MINUTE);
    check_jitter(&jittered(via, 100, |cache, key| cache.set(key, "v", &options).unwrap()));
}

fn jitter_of_a_load_shortens_and_is_the_same_in_all_tiers(via: Via) {
    let options = EntryOptions::from(100 * SECOND).jitter(MINUTE);
    check_jitter(&jittered(via, 100, |cache, key| drop(cache.text_or(key, &options, "v"))));
}

fn a_jitter_longer_than_the_ttl_leaves_some_of_it(via: Via) {
    let bed = Bed::two(via);
    for n in 0..200 {
        let key = n.to_string();
        bed.set(&key, "v", EntryOptions::from(2 * MILLI).jitter(Duration::MAX)).unwrap();
        assert_eq!(bed.text(&key).as_deref(), Some("v"));
        assert!(bed.below.ttl(&key).unwrap() <= 2 * MILLI);
    }
}

/// L2 of scale 1 and L3 of scale 2, both new, over a given L4 of scale 8.
fn four(bed: &Bed, fourth: &MemoryTier) -> (Cache, MemoryTier, MemoryTier) {
    let (second, third) = (MemoryTier::with_clock(bed.clock.clone()), MemoryTier::with_clock(bed.clock.clone()));
    let cache = bed.another(|builder| {
        builder
            .tier(Arc::new(second.clone()), TierConfig::as_l2())
            .tier(Arc::new(third.clone()), TierConfig::as_l3())
            .tier(Arc::new(fourth.clone()), TierConfig::as_l4())
    });
    (cache, second, third)
}

fn scales_apply_once_at_the_write(via: Via) {
    let bed = Bed::l1(via);
    let (cache, second, third) = four(&bed, &bed.below);
    cache.set("set", "v", 100 * SECOND).unwrap();
    assert_eq!(cache.text_or("load", 100 * SECOND, "v"), "v");
    for key in ["set", "load"] {
        assert_eq!(second.ttl(key), Some(100 * SECOND));
        assert_eq!(third.ttl(key), Some(200 * SECOND));
        assert_eq!(bed.below.ttl(key), Some(800 * SECOND));
    }
    cache.settled();
}

fn scales_do_not_compound_through_promotions(via: Via) {
    let bed = Bed::l1(via);
    let (writer, _, _) = four(&bed, &bed.below);
    writer.set("k", "v", 100 * SECOND).unwrap();
    // What is left in L4 at each time, and what its copies above may have.
    for (at, l3, l2) in [(0, 200, 100), (150, 200, 100), (650, 150, 100), (750, 50, 50)] {
        bed.advance(at * SECOND - tercel::Clock::now(&*bed.clock));
        let (cache, second, third) = four(&bed, &bed.below);
        assert_eq!(cache.text("k").as_deref(), Some("v"));
        assert_eq!((third.ttl("k"), second.ttl("k")), (Some(l3 * SECOND), Some(l2 * SECOND)), "at {at}");
        // Promoted again, from the promoted copy in L3.
        let (again, upper, _) = four(&bed, &bed.below);
        let above = bed.another(|builder| {
            builder
                .tier(Arc::new(upper.clone()), TierConfig::as_l2())
                .tier(Arc::new(third.clone()), TierConfig::as_l3())
        });
        assert_eq!(above.text("k").as_deref(), Some("v"));
        assert_eq!(upper.ttl("k"), Some(l2 * SECOND), "at {at}");
        bed.advance(MILLI);
        assert_eq!(above.peek("k").as_deref(), Some("v"));
        bed.advance(l2 * SECOND - MILLI);
        assert_eq!((above.peek("k"), cache.peek("k")), (None, None), "at {at} L1 kept it too long");
        cache.settled();
        above.settled();
        again.settled();
    }
    writer.settled();
}

fn an_unknown_remaining_time_is_the_frames_own(via: Via) {
    let bed = Bed::two(via);
    // A tier that forgets nothing by itself, since its clock hardly moves.
    let keeper = MemoryTier::new();
    keeper.hide_ttl(true);
    let over = || bed.another(|builder| builder.tier(Arc::new(keeper.clone()), TierConfig::as_l2()));
    let writer = over();
    writer.set("k", "v", 40 * SECOND).unwrap();
    writer.set("g", "v", EntryOptions::from(40 * SECOND).grace(MINUTE)).unwrap();
    bed.advance(30 * SECOND);
    let reader = over();
    for key in ["k", "g"] {
        assert_eq!(reader.text(key).as_deref(), Some("v"));
    }
    bed.advance(9 * SECOND);
    assert_eq!(reader.peek("k").as_deref(), Some("v"));
    bed.advance(SECOND);
    for key in ["k", "g"] {
        assert_eq!(reader.peek(key), None, "not five minutes: {key}");
        assert_eq!(reader.text(key), None, "{key}");
        assert_eq!(over().text(key), None, "{key}");
    }
    assert!(matches!(over().lookup("g").unwrap(), Lookup::Hit { stale: true, .. }));
    reader.settled();
    writer.settled();
}

fn promotion_never_lengthens_a_life(via: Via) {
    let bed = Bed::l1(via);
    let short = || bed.another(|b| b.tier(Arc::new(bed.below.clone()), TierConfig::as_l2().with_ttl_scale(0.1)));
    let writer = short();
    writer.set("k", "v", 100 * SECOND).unwrap();
    assert_eq!(bed.below.ttl("k"), Some(10 * SECOND));
    bed.advance(4 * SECOND);
    let reader = short();
    assert_eq!(reader.text("k").as_deref(), Some("v"));
    bed.advance(6 * SECOND - MILLI);
    assert_eq!(reader.peek("k").as_deref(), Some("v"));
    bed.advance(MILLI);
    assert_eq!(reader.peek("k"), None);
    // With less than a millisecond left there is nothing to copy; what is copied is over with its source.
    writer.set("late", "v", 100 * MILLI).unwrap();
    let left = bed.below.ttl("late").unwrap();
    bed.advance(left - Duration::from_micros(400));
    let _ = reader.get("late").unwrap();
    bed.advance(Duration::from_micros(400));
    assert_eq!(reader.text("late"), None);
    reader.settled();
    writer.settled();
}

fn a_copy_of_a_long_lived_tier_lives_as_long_as_its_own_tier_says(via: Via) {
    let bed = Bed::l1(via);
    let long = || bed.another(|b| b.tier(Arc::new(bed.below.clone()), TierConfig::as_l2().with_ttl_scale(8.0)));
    let writer = long();
    writer.set("k", "v", 10 * SECOND).unwrap();
    bed.advance(SECOND);
    let reader = long();
    assert_eq!(reader.text("k").as_deref(), Some("v"));
    bed.advance(10 * SECOND - MILLI);
    assert_eq!(reader.peek("k").as_deref(), Some("v"));
    bed.advance(MILLI);
    assert_eq!(reader.peek("k"), None);
    assert_eq!(reader.text("k").as_deref(), Some("v"), "the tier below has it for longer");
    reader.settled();
    writer.settled();
}

fn the_l1_ttl_shortens_and_never_lengthens(via: Via) {
    let bed = Bed::two(via);
    bed.set("short", "v", EntryOptions::from(MINUTE).l1_ttl(SECOND)).unwrap();
    bed.text_or("short load", EntryOptions::from(MINUTE).l1_ttl(SECOND), "v");
    bed.set("long", "v", EntryOptions::from(SECOND).l1_ttl(MINUTE)).unwrap();
    bed.text_or("long load", EntryOptions::from(SECOND).l1_ttl(MINUTE), "v");
    assert_eq!(bed.below.ttl("short"), Some(MINUTE));
    bed.advance(SECOND - MILLI);
    let keys = ["short", "short load", "long", "long load"];
    for key in keys {
        assert_eq!(bed.peek(key).as_deref(), Some("v"), "{key}");
    }
    bed.advance(MILLI);
    for key in keys {
        assert_eq!(bed.peek(key), None, "{key}");
    }
    assert_eq!(bed.text("short").as_deref(), Some("v"), "below it has its whole time");
    assert_eq!(bed.text("long"), None);
}

fn the_l1_ttl_holds_for_promotions(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", MINUTE).unwrap();
    let other = bed.sibling();
    let reader = other.view(|cache| cache.with_defaults(EntryOptions::new().l1_ttl(SECOND)));
    assert_eq!(reader.text("k").as_deref(), Some("v"));
    bed.advance(SECOND - MILLI);
    assert_eq!(reader.peek("k").as_deref(), Some("v"));
    bed.advance(MILLI);
    assert_eq!(reader.peek("k"), None);
    other.settled();
}

fn grace_keeps_a_value_stale_and_then_it_is_gone(via: Via) {
    let bed = Bed::two(via);
    bed.set("k", "v", EntryOptions::from(SECOND).grace(2 * SECOND)).unwrap();
    assert_eq!(bed.below.ttl("k"), Some(3 * SECOND), "a tier keeps it for the ttl and the grace");
    bed.advance(SECOND);
    for cache in [&bed.cache, &bed.sibling()] {
        assert_eq!(cache.text("k"), None, "a stale value is no hit");
        assert!(matches!(cache.lookup("k").unwrap(), Lookup::Hit { stale: true, .. }));
    }
    bed.advance(2 * SECOND);
    for cache in [&bed.cache, &bed.sibling()] {
        assert!(matches!(cache.lookup("k").unwrap(), Lookup::Miss(_)));
    }
}

fn what_the_closure_says_of_the_ttl_wins(via: Via) {
    let bed = Bed::two(via);
    bed.load("k", MINUTE, || tercel::ok(Loaded::new("v").ttl(SECOND))).unwrap();
    assert_eq!(bed.below.ttl("k"), Some(SECOND));
    bed.load("n", MINUTE, || tercel::ok(Loaded::new("v").do_not_store())).unwrap();
    assert_eq!((bed.peek("n"), bed.below.ttl("n")), (None, None));
    bed.advance(SECOND);
    assert_eq!(bed.peek("k"), None);
}

fn a_write_without_a_ttl_has_the_default(via: Via) {
    let bed = Bed::with(via, |builder, below| {
        builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).defaults(7 * SECOND)
    });
    bed.update("update", "v", None).unwrap();
    bed.set("set", "v", EntryOptions::new()).unwrap();
    assert_eq!((bed.below.ttl("update"), bed.below.ttl("set")), (Some(7 * SECOND), Some(7 * SECOND)));
    let plain = Bed::two(via);
    plain.update("k", "v", None).unwrap();
    assert_eq!(plain.below.ttl("k"), Some(5 * MINUTE));
}
