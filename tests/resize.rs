//! The bounds of L1 change while it is used.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bed::{Bed, MINUTE, Via};
use tercel::{CacheManager, CacheTier, L1Cache, MemoryTier};

both![fewer_entries_and_less_weight_hold_at_once, more_room_is_used, what_makes_no_sense_is_refused];

fn fill(bed: &Bed, from: usize, count: usize) {
    for n in from..from + count {
        bed.set(&n.to_string(), "v", MINUTE).unwrap();
    }
}

fn fewer_entries_and_less_weight_hold_at_once(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(1000));
    fill(&bed, 0, 1000);
    assert_eq!(bed.stats().resident_entries, 1000);
    bed.cache.resize_l1(100, 1 << 20).unwrap();
    let stats = bed.stats();
    assert_eq!((stats.resident_entries, stats.evicted), (100, 900));
    bed.cache.resize_l1(100, 5_000).unwrap();
    assert!(bed.stats().resident_weight <= 5_000);
    fill(&bed, 1000, 1000);
    assert!(bed.stats().resident_weight <= 5_000 && bed.stats().resident_entries > 10);
}

fn more_room_is_used(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(10));
    fill(&bed, 0, 100);
    bed.cache.resize_l1(500, 1 << 20).unwrap();
    fill(&bed, 100, 490);
    assert_eq!(bed.stats().resident_entries, 500);
}

fn what_makes_no_sense_is_refused(via: Via) {
    let bed = Bed::with(via, |builder, _| builder.l1_capacity(100_000));
    for (entries, weight) in [(0, 1 << 20), (100, 10)] {
        assert!(bed.cache.resize_l1(entries, weight).unwrap_err().is_config());
    }
    for (entries, weight) in [(15, 1 << 20), (1000, 16 * 90)] {
        let error = bed.cache.resize_l1(entries, weight).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("16 shards"), "{error}");
    }
    bed.cache.resize_l1(16, 1 << 20).unwrap();
    bed.cache.close().unwrap();
    assert!(bed.cache.resize_l1(100, 1 << 20).unwrap_err().is_closed());
    let tier = CacheTier::new(Arc::new(MemoryTier::new()), 1, true, 1.0);
    let foreign = CacheManager::new_with_tiers(vec![tier], None).unwrap();
    assert!(foreign.resize_l1(100, 1 << 20).unwrap_err().is_config());
}

#[test]
fn writers_and_readers_go_on_meanwhile() {
    let l1 = Arc::new(L1Cache::builder().capacity(50_000).build().unwrap());
    let cache = CacheManager::new_with_tiers(vec![CacheTier::new(l1.clone(), 1, false, 1.0)], None).unwrap();
    thread::scope(|scope| {
        for thread in 0..3usize {
            let l1 = &l1;
            scope.spawn(move || {
                for n in 0..60_000usize {
                    let key = ((n * 31 + thread * 7919) % 40_000).to_string();
                    if l1.find(&key).is_none() {
                        l1.insert(&key, vec![7; n % 100], Duration::from_secs(60));
                    }
                }
            });
        }
        for (entries, weight) in
            [(1000, 1 << 20), (40_000, 64 << 20), (16, 1 << 20), (20_000, 1 << 20), (5_000, 8 << 20)]
        {
            cache.resize_l1(entries, weight).unwrap();
            thread::yield_now();
        }
    });
    assert!(l1.len() <= 5_000 && l1.weight() <= 8 << 20);
    l1.validate().unwrap();
}
