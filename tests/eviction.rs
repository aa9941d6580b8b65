//! L1 stays within its bounds, and lets go of the right entries.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bed::{Bed, MILLI, MINUTE, SECOND, Via};
use tercel::{CacheManager, EntryOptions, Loaded, TierConfig, Value};

both![
    never_above_the_entries_after_any_insertion,
    never_above_the_weight_after_any_insertion,
    an_entry_that_is_too_heavy_skips_l1,
    a_heavy_value_takes_the_place_of_a_light_one,
    expired_entries_go_unasked,
    a_decoded_value_is_charged,
    the_closure_may_say_the_weight,
    what_is_asked_for_once_goes_first,
    one_read_of_the_decoded_form_is_one_use,
    a_value_that_has_grown_too_heavy_goes_alone,
    what_is_heavier_than_can_be_counted_skips_l1,
    a_loop_longer_than_l1_is_hit_nearly_as_often_as_can_be,
    what_is_in_use_now_displaces_what_was_in_use,
    every_entry_has_one_cause_of_removal,
];

fn within(bed: &Bed, entries: usize, weight: u64) {
    let stats = bed.stats();
    assert!(stats.resident_entries <= entries, "{} entries of {entries}", stats.resident_entries);
    assert!(stats.resident_weight <= weight, "{} bytes of {weight}", stats.resident_weight);
}

fn never_above_the_entries_after_any_insertion(via: Via) {
    for capacity in [1, 2, 3, 10, 100] {
        let bed = Bed::with(via, |builder, below| {
            builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).l1_capacity(capacity)
        });
        for n in 0..400usize {
            let key = (n * 7 % 151).to_string();
            match n % 4 {
                0 => bed.set(&key, "v", MINUTE).unwrap(),
                1 => drop(bed.load(&key, MINUTE, || tercel::ok("v"))),
                2 => drop(bed.get(&key).unwrap()),
                _ => drop(bed.load_optional(&key, MINUTE, || tercel::ok(None::<String>)).unwrap()),
            }
            within(&bed, capacity, u64::MAX);
        }
        assert_eq!(bed.stats().resident_entries, capacity, "and the room is used");
    }
}

fn never_above_the_weight_after_any_insertion(via: Via) {
    const WEIGHT: u64 = 20_000;
    let bed = Bed::with(via, |builder, _| builder.l1_weight(WEIGHT).max_entry_size(WEIGHT));
    let mut random = 1u64;
    for n in 0..2000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = (random >> 33) as usize % if n % 10 == 0 { 25_000 } else { 1500 };
        bed.set(&(random >> 50 & 63).to_string(), Value::bytes(vec![7; size]), MINUTE).unwrap();
        within(&bed, usize::MAX, WEIGHT);
    }
    let stats = bed.stats();
    assert!(stats.evicted > 0 && stats.replaced > 0 && stats.rejected > 0, "{stats:?}");
}

#[test]
fn never_above_the_bounds_while_threads_write() {
    const ENTRIES: usize = 9000;
    const WEIGHT: u64 = 3 << 20;
    let bed = Bed::with(Via::Threads, |builder, _| builder.l1_capacity(ENTRIES).l1_weight(WEIGHT));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4usize)
            .map(|thread| {
                let cache = &bed.cache;
                scope.spawn(move || {
                    for n in 0..10_000usize {
                        let key = ((n * 31 + thread * 17) % 12_000).to_string();
                        match n % 5 {
                            0 => cache.invalidate(&key).unwrap(),
                            1 => drop(cache.get_shared::<String>(&key)),
                            _ => cache.set(&key, Value::encode(&"x".repeat(n % 700)).unwrap(), MINUTE).unwrap(),
                        }
                    }
                })
            })
            .collect();
        let watch = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                within(&bed, ENTRIES, WEIGHT);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        over.store(true, Ordering::SeqCst);
        watch.join().unwrap();
    });
    assert!(bed.stats().evicted > 0);
}

fn an_entry_that_is_too_heavy_skips_l1(via: Via) {
    let bed = Bed::with(via, |builder, below| {
        builder.tier(Arc::new(below.clone()), TierConfig::as_l2()).max_entry_size(1000)
    });
    let heavy = || Value::bytes(vec![1; 2000]);
    bed.set("k", "light", MINUTE).unwrap();
    bed.set("k", heavy(), MINUTE).unwrap();
    assert!(bed.tasks.peek("k").is_none(), "nor does the light one stay");
    for n in 1..4 {
        assert_eq!(bed.get("k").unwrap(), Some(heavy()), "served from below");
        assert_eq!(bed.tier(2).0, n);
    }
    assert_eq!(bed.load("l", MINUTE, || tercel::ok(heavy())).unwrap(), heavy());
    assert_eq!(bed.load("l", MINUTE, || tercel::ok("never")).unwrap(), heavy());
    let stats = bed.stats();
    assert_eq!((stats.resident_entries, stats.evicted, stats.replaced), (0, 0, 1), "{stats:?}");
    assert!(stats.rejected >= 2);
}

fn a_heavy_value_takes_the_place_of_a_light_one(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_weight(10_000).max_entry_size(10_000));
    for n in 0..20 {
        bed.set(&n.to_string(), "light", MINUTE).unwrap();
    }
    bed.set("0", Value::bytes(vec![0; 9000]), MINUTE).unwrap();
    within(&bed, usize::MAX, 10_000);
    assert!(bed.stats().evicted > 0);
}

fn expired_entries_go_unasked(via: Via) {
    let bed = Bed::l1(via);
    for n in 0..3000 {
        bed.set(&n.to_string(), "v", SECOND).unwrap();
    }
    bed.set("stale", "v", EntryOptions::from(SECOND).grace(MINUTE)).unwrap();
    bed.set("fresh", "v", 2 * MINUTE).unwrap();
    bed.advance(SECOND - MILLI);
    assert_eq!(bed.stats().resident_entries, 3002);
    let (began, step) = (tercel::Clock::now(&*bed.clock), 4 * MILLI);
    bed.advance_until(step, || {
        bed.stats().resident_entries == 2 || tercel::Clock::now(&*bed.clock) > began + MINUTE / 2
    });
    let stats = bed.stats();
    assert_eq!((stats.resident_entries, stats.expired), (2, 3000), "{stats:?}");
    assert!(stats.resident_weight < 1000);
    bed.advance(MINUTE);
    bed.advance_until(step, || bed.stats().resident_entries == 1);
    assert_eq!(bed.peek("fresh").as_deref(), Some("v"));
}

fn a_decoded_value_is_charged(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_weight(100_000));
    let value = Value::encode(&vec!["text"; 1000]).unwrap();
    let length = value.as_msgpack().len() as u64;
    bed.set("k", value, MINUTE).unwrap();
    let before = bed.stats().resident_weight;
    bed.get_typed::<Vec<String>>("k").unwrap();
    assert_eq!(bed.stats().resident_weight, before);
    let first = bed.get_shared::<Vec<String>>("k").unwrap().unwrap();
    assert_eq!(bed.stats().resident_weight, before + length);
    let second = bed.get_shared::<Vec<String>>("k").unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &second), "it is decoded once");
    assert_eq!(bed.stats().resident_weight, before + length);
    // What is computed shared is charged from the start, and memos make room as values do.
    for n in 0..100 {
        bed.load_shared(&n.to_string(), MINUTE, || tercel::ok(vec!["text".to_owned(); 1000])).unwrap();
        within(&bed, usize::MAX, 100_000);
        bed.set("again", Value::encode(&vec!["text"; 1000]).unwrap(), MINUTE).unwrap();
        bed.get_shared::<Vec<String>>("again").unwrap();
        within(&bed, usize::MAX, 100_000);
    }
}

fn the_closure_may_say_the_weight(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_weight(1000).max_entry_size(900));
    bed.load("a", MINUTE, || tercel::ok(Loaded::new("v").weight(700))).unwrap();
    assert_eq!(bed.stats().resident_weight, 700);
    bed.load("b", MINUTE, || tercel::ok(Loaded::new("v").weight(700))).unwrap();
    assert_eq!((bed.stats().resident_weight, bed.stats().resident_entries), (700, 1));
    bed.load("c", MINUTE, || tercel::ok(Loaded::new("v").weight(u32::MAX))).unwrap();
    assert_eq!(bed.peek("c"), None);
}

fn what_is_asked_for_once_goes_first(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(100));
    let hot: Vec<_> = (0..50).map(|n| format!("hot {n}")).collect();
    for key in &hot {
        bed.set(key, "v", MINUTE).unwrap();
    }
    for n in 0..5000 {
        if n % 50 == 0 {
            hot.iter().for_each(|key| drop(bed.get(key).unwrap()));
        }
        bed.set(&n.to_string(), "v", MINUTE).unwrap();
    }
    let kept = hot.iter().filter(|key| bed.peek(key).is_some()).count();
    assert_eq!(kept, 50, "a scan takes nothing that is in use");
}

fn one_read_of_the_decoded_form_is_one_use(via: Via) {
    let kept = |reads: usize| {
        let bed = Bed::with(via, |builder, _| builder.l1_capacity(1000));
        for n in 0..1000 {
            bed.set(&n.to_string(), n.to_string(), MINUTE).unwrap();
        }
        // They fill main; the next ones are new to a full L1.
        for n in 1000..1020 {
            bed.set(&n.to_string(), n.to_string(), MINUTE).unwrap();
            for _ in 0..reads {
                assert_eq!(*bed.get_shared::<String>(&n.to_string()).unwrap().unwrap(), n.to_string());
            }
        }
        for n in 2000..2200 {
            bed.set(&n.to_string(), n.to_string(), MINUTE).unwrap();
        }
        (1000..1020).filter(|n| bed.peek(&n.to_string()).is_some()).count()
    };
    assert_eq!((kept(1), kept(2)), (0, 20));
}

fn a_value_that_has_grown_too_heavy_goes_alone(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_weight(100_000).max_entry_size(90_000));
    for n in 0..20 {
        bed.set(&n.to_string(), "v", MINUTE).unwrap();
    }
    bed.set("large", "v".repeat(60_000), MINUTE).unwrap();
    assert_eq!(bed.get_shared::<String>("large").unwrap().unwrap().len(), 60_000);
    // With its decoded form it is heavier than all of L1.
    assert!(bed.peek("large").is_none());
    assert_eq!(bed.stats().resident_entries, 20);
}

fn what_is_heavier_than_can_be_counted_skips_l1(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_weight(100 << 30).max_entry_size(50 << 30));
    for n in 0..4 {
        bed.load(&n.to_string(), MINUTE, || tercel::ok(Loaded::new("v").weight(3_000_000_000))).unwrap();
    }
    assert_eq!((bed.stats().resident_entries, bed.stats().rejected), (0, 4));
}

fn a_loop_longer_than_l1_is_hit_nearly_as_often_as_can_be(via: Via) {
    const LENGTH: usize = 500;
    for capacity in [10, 50, 250, 450, 490] {
        let bed = Bed::with(via, |builder, _| builder.l1_capacity(capacity));
        let mut hits = 0;
        for n in 0..LENGTH * 11 {
            let key = (n % LENGTH).to_string();
            match bed.get(&key).unwrap() {
                Some(_) => hits += 1,
                None => bed.set(&key, "v", MINUTE).unwrap(),
            }
        }
        // Nobody can hit in the first round.
        let best = (capacity - 1) * LENGTH * 10 / (LENGTH - 1);
        assert!(hits * 10 >= best * 9, "{capacity} of {LENGTH}: {hits} hits where {best} are possible");
    }
}

fn what_is_in_use_now_displaces_what_was_in_use(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(100));
    for phase in 0..5 {
        let keys: Vec<_> = (0..80).map(|n| format!("{phase} {n}")).collect();
        for _ in 0..20 {
            for key in &keys {
                if bed.get(key).unwrap().is_none() {
                    bed.set(key, "v", MINUTE).unwrap();
                }
            }
        }
        let kept = keys.iter().filter(|key| bed.peek(key).is_some()).count();
        assert_eq!(kept, 80, "in phase {phase}");
    }
}

fn every_entry_has_one_cause_of_removal(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(2).max_entry_size(1000));
    bed.set("a", "1", MINUTE).unwrap();
    bed.set("a", "2", MINUTE).unwrap();
    bed.invalidate("a").unwrap();
    bed.invalidate("a").unwrap();
    bed.set("b", Value::bytes(vec![0; 5000]), MINUTE).unwrap();
    for key in ["c", "d", "e"] {
        bed.set(key, "v", SECOND).unwrap();
    }
    bed.advance(SECOND);
    bed.advance_until(4 * MILLI, || bed.stats().resident_entries == 0);
    let stats = bed.stats();
    let causes = (stats.replaced, stats.invalidated, stats.rejected, stats.evicted, stats.expired);
    assert_eq!((stats.inserted, causes), (6, (1, 1, 1, 1, 2)), "{stats:?}");
}

#[test]
fn sizes_that_hold_nothing_are_refused_by_name() {
    for (builder, setting) in [
        (CacheManager::builder().l1_capacity(0), "l1_capacity"),
        (CacheManager::builder().l1_weight(0), "l1_weight"),
        (CacheManager::builder().l1_weight(10), "l1_weight"),
        (CacheManager::builder().max_entry_size(0), "max_entry_size"),
        (CacheManager::builder().l1_weight(1000).max_entry_size(2000), "max_entry_size"),
        (CacheManager::builder().load_budget(0), "load_budget"),
        (CacheManager::builder().tier_deadline(SECOND, MILLI), "tier_deadline"),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.is_config() && error.to_string().contains(setting), "{error}");
    }
}
