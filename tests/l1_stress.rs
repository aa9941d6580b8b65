//! L1 under everything at once: readers, writers, removals, evictions, growth, expiry and shared decoding from many threads.
//! What is read is always a value that was written under that key, and at the end everything adds up.
//!
//! `L1_STRESS_SECONDS` makes it longer; the sanitizers run it too (`ci/sanitize`).
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tercel::{CacheManager, EntryOptions};

/// A generator of its own for each thread, so that runs differ in their interleaving alone.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("L1_STRESS_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A document that names its key, of a length that depends on the round.
fn document(key: u64, round: u64) -> (u64, String) {
    (key, "x".repeat((round % 300) as usize))
}

fn one_thread(cache: &tercel::blocking::CacheManager, seed: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = random.below(64) * random.below(64);
        let name = format!("key:{key}");
        let ttl = EntryOptions::from(Duration::from_micros(1 + random.below(50_000)));
        match random.below(16) {
            0 => cache.invalidate(&name).unwrap(),
            1 => cache
                .set_with_strategy(&name, tercel::Value::encode(&document(key, random.below(1000))).unwrap(), ttl)
                .unwrap(),
            2 => {
                let round = random.below(1000);
                let load = || tercel::ok(document(key, round));
                let found: (u64, String) = cache.get_or_compute_typed(&name, ttl, load).unwrap();
                assert_eq!(found.0, key);
            }
            3 => {
                if let Some(shared) = cache.get_shared::<(u64, String)>(&name).unwrap() {
                    assert_eq!(shared.0, key);
                }
            }
            4 => {
                let found = cache.with_cached(&name, |value| value.decode_borrowed::<(u64, &str)>().unwrap().0);
                assert!(found.is_none_or(|found| found == key));
            }
            5 if random.below(200) == 0 => cache.invalidate_pattern("key:1*").unwrap(),
            _ => {
                if let Some(value) = cache.get(&name).unwrap() {
                    assert_eq!(value.decode::<(u64, String)>().unwrap().0, key);
                    reads += 1;
                }
            }
        }
    }
    reads
}

fn stress(capacity: usize, threads: u64) {
    let cache = CacheManager::builder().l1_capacity(capacity).build_blocking().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=threads)
            .map(|thread| {
                let (cache, stop) = (&cache, &stop);
                scope.spawn(move || one_thread(cache, thread.wrapping_mul(0x9e37_79b9_7f4a_7c15), stop))
            })
            .collect();
        let end = Instant::now() + seconds();
        while Instant::now() < end && !workers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        let reads: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert!(reads > 0, "nothing was ever read");
    });
    cache.validate().unwrap();
    let stats = cache.get_stats();
    assert!(stats.resident_entries <= capacity);
    cache.close().unwrap();
}

#[test]
fn four_threads_on_one_crowded_shard_leave_everything_accounted_for() {
    stress(100, 4);
}

#[test]
fn four_threads_on_growing_shards_leave_everything_accounted_for() {
    stress(100_000, 4);
}
