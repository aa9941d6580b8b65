//! That the source has none is an answer, and is kept for a time of its own.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::time::Duration;

use bed::{Bed, Cache, MILLI, MINUTE, SECOND, Via};
use tercel::{EntryOptions, Error, Loaded, Lookup, Result};

both![
    none_and_the_absent_error_are_remembered,
    it_has_a_time_of_its_own,
    the_default_is_ten_seconds_and_at_most_the_ttl,
    zero_is_not_remembered,
    the_tiers_below_have_it_too,
    a_write_or_an_invalidation_ends_it,
    it_is_counted_as_absent,
];

fn none() -> Result<Option<String>> {
    Ok(None)
}

fn none_and_the_absent_error_are_remembered(via: Via) {
    let bed = Bed::l1(via);
    bed.load_optional("none", MINUTE, none).unwrap();
    assert!(bed.load("error", MINUTE, || Err::<String, _>(Error::absent())).unwrap_err().is_absent());
    let typed = bed.load_typed("typed", MINUTE, || Err::<u64, _>(Error::absent()));
    assert!(typed.unwrap_err().is_absent());
    bed.load_optional("loaded", MINUTE, || tercel::ok(Loaded::absent())).unwrap();
    assert_eq!(bed.stats().computations, 4);
    for key in ["none", "error", "typed", "loaded"] {
        assert_eq!(bed.get(key).unwrap(), None);
        assert_eq!(bed.get_typed::<u64>(key).unwrap(), None);
        assert_eq!(bed.get_shared::<u64>(key).unwrap(), None);
        assert_eq!(bed.lookup(key).unwrap(), Lookup::Absent);
        assert_eq!(bed.peek(key), None);
        assert!(bed.load(key, MINUTE, || tercel::ok("v")).unwrap_err().is_absent());
        assert!(bed.load_typed(key, MINUTE, || tercel::ok(1u64)).unwrap_err().is_absent());
        assert!(bed.load_shared(key, MINUTE, || tercel::ok(1u64)).unwrap_err().is_absent());
        assert_eq!(bed.load_optional(key, MINUTE, || tercel::ok("v")).unwrap(), None);
    }
    assert_eq!(bed.stats().computations, 4);
    assert_eq!(bed.lookup("never seen").unwrap(), Lookup::Miss(tercel::MissReason::NeverSeen));
}

/// How long `options` remember that there is none.
fn remembered(bed: &Bed, key: &str, options: &EntryOptions) -> Duration {
    let begun = tercel::Clock::now(&*bed.clock);
    bed.load_optional(key, options, none).unwrap();
    while bed.lookup(key).unwrap() == Lookup::Absent {
        bed.advance(500 * MILLI);
    }
    tercel::Clock::now(&*bed.clock) - begun
}

fn it_has_a_time_of_its_own(via: Via) {
    let bed = Bed::l1(via);
    let options = EntryOptions::from(MINUTE).negative_ttl(3 * SECOND);
    assert_eq!(remembered(&bed, "k", &options), 3 * SECOND);
    let longer = EntryOptions::from(SECOND).negative_ttl(MINUTE);
    assert_eq!(remembered(&bed, "l", &longer), MINUTE);
    assert_eq!(remembered(&bed, "g", &options.clone().grace(MINUTE)), 3 * SECOND, "it has no grace");
}

fn the_default_is_ten_seconds_and_at_most_the_ttl(via: Via) {
    let bed = Bed::l1(via);
    assert_eq!(remembered(&bed, "long", &MINUTE.into()), 10 * SECOND);
    assert_eq!(remembered(&bed, "short", &(2 * SECOND).into()), 2 * SECOND);
}

fn zero_is_not_remembered(via: Via) {
    let bed = Bed::two(via);
    let options = EntryOptions::from(MINUTE).negative_ttl(Duration::ZERO);
    for n in 1..4 {
        assert_eq!(bed.load_optional("k", &options, none).unwrap(), None);
        assert_eq!(bed.stats().computations, n);
    }
    assert!(matches!(bed.lookup("k").unwrap(), Lookup::Miss(_)));
    assert!(bed.below.keys().is_empty());
}

fn the_tiers_below_have_it_too(via: Via) {
    let bed = Bed::two(via);
    bed.load_optional("k", MINUTE, none).unwrap();
    assert_eq!(bed.below.ttl("k"), Some(10 * SECOND));
    let readers: [&dyn Fn(&Cache); 3] = [
        &|cache| assert_eq!(cache.get("k").unwrap(), None),
        &|cache| assert_eq!(cache.lookup("k").unwrap(), Lookup::Absent),
        &|cache| assert!(cache.load("k", MINUTE, || tercel::ok("v")).unwrap_err().is_absent()),
    ];
    for read in readers {
        let other = bed.sibling();
        read(&other);
        assert_eq!(other.stats().absent, 1);
        assert_eq!(other.tier(2), (1, 0, 0, 0), "a hit of that tier");
        assert_eq!(other.lookup("k").unwrap(), Lookup::Absent);
        assert_eq!(other.tier(2), (1, 0, 0, 0), "and L1 has it now");
        other.settled();
    }
    bed.advance(10 * SECOND);
    assert_eq!(bed.sibling().text_or("k", MINUTE, "v"), "v");
}

fn a_write_or_an_invalidation_ends_it(via: Via) {
    let bed = Bed::two(via);
    bed.load_optional("k", MINUTE, none).unwrap();
    bed.invalidate("k").unwrap();
    assert_eq!(bed.text_or("k", MINUTE, "v"), "v");
    bed.load_optional("w", MINUTE, none).unwrap();
    bed.set("w", "v", MINUTE).unwrap();
    assert_eq!(bed.text("w").as_deref(), Some("v"));
    assert_eq!(bed.sibling().text("w").as_deref(), Some("v"));
}

fn it_is_counted_as_absent(via: Via) {
    let bed = Bed::l1(via);
    bed.load_optional("k", MINUTE, none).unwrap();
    bed.get("k").unwrap();
    bed.load_optional("k", MINUTE, none).unwrap();
    bed.lookup("k").unwrap();
    let stats = bed.stats();
    assert_eq!((stats.misses, stats.absent, stats.total_hits), (1, 3, 0), "{stats:?}");
}
