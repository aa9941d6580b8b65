//! The laws of the counters, on a mixture of everything.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::thread;

use bed::{Bed, Cache, MILLI, MINUTE, SECOND, Via};
use tercel::{EntryOptions, TierConfig, Value};

both![
    every_request_ends_in_one_counter,
    each_tier_counts_its_own_lookups,
    rates_are_in_percent,
    the_laws_hold_after_a_random_mixture,
];

fn every_request_ends_in_one_counter(via: Via) {
    let bed = Bed::two(via);
    bed.sibling().set("below", "v", MINUTE).unwrap();
    bed.set("here", "v", EntryOptions::from(SECOND).grace(MINUTE)).unwrap();
    let counted = || {
        let stats = bed.stats();
        (stats.l1_hits, stats.l2_hits, stats.misses, stats.stale, stats.absent)
    };
    bed.get("here").unwrap();
    assert_eq!(counted(), (1, 0, 0, 0, 0));
    bed.get("below").unwrap();
    assert_eq!(counted(), (1, 1, 0, 0, 0));
    bed.get("none").unwrap();
    bed.load("computed", MINUTE, || tercel::ok("v")).unwrap();
    bed.load("failed", MINUTE, || Err::<String, _>(std::io::Error::other("down"))).unwrap_err();
    assert_eq!(counted(), (1, 1, 3, 0, 0));
    bed.load_optional("absent", MINUTE, || tercel::ok(None::<String>)).unwrap();
    bed.get("absent").unwrap();
    assert_eq!(counted(), (1, 1, 4, 0, 1));
    bed.advance(SECOND);
    bed.load("here", MINUTE, || Err::<String, _>(std::io::Error::other("down"))).unwrap();
    assert_eq!(counted(), (1, 1, 4, 1, 1));
    assert_eq!(bed.stats().computations, 4);
}

fn each_tier_counts_its_own_lookups(via: Via) {
    let bed = Bed::two(via);
    bed.sibling().set("below", "v", MINUTE).unwrap();
    bed.get("below").unwrap();
    bed.get("below").unwrap();
    bed.get("none").unwrap();
    assert_eq!((bed.tier(1), bed.tier(2)), ((1, 2, 0, 0), (1, 1, 0, 0)));
    bed.below.fail_next(1);
    bed.get("none").unwrap_err();
    assert_eq!((bed.tier(1), bed.tier(2)), ((1, 3, 0, 0), (1, 1, 1, 0)));
    let lower = bed.view(|cache| cache.with_defaults(EntryOptions::new().skip_tier(1)));
    lower.get("below").unwrap();
    assert_eq!((bed.tier(1), bed.tier(2)), ((1, 3, 0, 1), (2, 1, 1, 0)));
    assert_eq!(bed.tasks.get_tier_stats().unwrap()[1].hit_count(), 2);
}

fn rates_are_in_percent(via: Via) {
    let bed = Bed::two(via);
    assert_eq!((bed.stats().hit_rate, bed.stats().l1_hit_rate), (0.0, 0.0));
    bed.sibling().set("below", "v", MINUTE).unwrap();
    for key in ["below", "below", "below", "none"] {
        bed.get(key).unwrap();
    }
    assert_eq!((bed.stats().hit_rate, bed.stats().l1_hit_rate), (75.0, 50.0));
}

/// Everything that a cache can be asked, as `random` says.
fn mix(cache: &Cache, mut random: u64, calls: usize) {
    let options = [
        EntryOptions::from(20 * MILLI),
        EntryOptions::from(20 * MILLI).grace(MINUTE).negative_ttl(30 * MILLI),
        EntryOptions::from(MINUTE).skip_tier(1),
        EntryOptions::from(MINUTE).jitter(MINUTE).l1_ttl(5 * MILLI),
        EntryOptions::from(MINUTE).max_age(10 * MILLI).fallback(7u64),
    ];
    for _ in 0..calls {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = (random >> 40 & 31).to_string();
        let options = &options[(random >> 50) as usize % options.len()];
        match random >> 56 & 15 {
            0 => drop(cache.set(&key, random, options)),
            1 => drop(cache.invalidate(&key)),
            2 => drop(cache.invalidate_pattern(&format!("{}*", &key[..1]))),
            3 => drop(cache.load(&key, options, || Err::<Value, _>(std::io::Error::other("down")))),
            4 => drop(cache.load_optional(&key, options, || tercel::ok(None::<String>))),
            5 => drop(cache.load_typed(&key, options, || tercel::ok("text".to_owned()))),
            6 => drop(cache.load_shared(&key, options, || tercel::ok(vec![random; 10]))),
            7 => drop(cache.get_shared::<u64>(&key)),
            8 => drop(cache.get_typed::<String>(&key)),
            9 => drop(cache.lookup(&key)),
            10 => drop(cache.view(|cache| cache.with_defaults(options)).get(&key)),
            11 => drop(cache.load(&key, options, || cache.load("nested", options, || tercel::ok(random)))),
            12 => drop(cache.tasks.peek(&key)),
            _ => drop(cache.load(&key, options, || tercel::ok(random))),
        }
    }
}

fn the_laws_hold_after_a_random_mixture(via: Via) {
    let bed = Bed::with(via, |builder, below| {
        builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).l1_capacity(20).load_budget(2)
    });
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|seed| {
                let cache = &bed.cache;
                scope.spawn(move || mix(cache, seed, 2000))
            })
            .collect();
        bed.advance_until(MILLI, || threads.iter().all(|thread| thread.is_finished()));
    });
    // A write that the running clock gave up is repaired before the books are checked.
    bed.advance_until(100 * MILLI, || bed.stats().pending_repairs == 0);
    assert!(bed.stats().total_requests > 4000);
}
