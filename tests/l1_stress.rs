//! L1 under everything at once: owned, borrowed and decoded reads, writes of all sizes, loads, removals, patterns, evictions,
//! growth, new bounds, expiry, values that are held for long, from four threads, through both handles and through `L1Cache` by itself.
//! What is read is always a value that was written under that key; at the end everything adds up, and what the users' types
//! own is dropped.
//!
//! `L1_STRESS_SECONDS` makes each test longer; the sanitizers run it too (`ci/sanitize`). How many operations were made is
//! printed (`--nocapture`).
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use serde::{Deserialize, Deserializer};
use tercel::blocking::CacheManager;
use tercel::{CacheBackend, EntryOptions, L1Cache, L2CacheBackend, Value};

/// A generator of its own for each thread, so that runs differ in their interleaving alone.
struct Random(u64);

impl Random {
    fn of(thread: u64) -> Self {
        Self((thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    /// Small numbers more often than great ones.
    fn skewed(&mut self, n: u64) -> u64 {
        self.below(n) * self.below(n) / n
    }

    /// Short ones mostly; some that are kept beside the entry, and a few that no entry takes.
    fn length(&mut self) -> usize {
        let most = [100, 300, 300, 6_000][self.below(4) as usize];
        if self.below(500) == 0 { 70_000 } else { self.below(most) as usize }
    }

    fn life(&mut self) -> Duration {
        Duration::from_micros(1 + self.below(50_000))
    }
}

fn seconds() -> Duration {
    let seconds = std::env::var("L1_STRESS_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// Values of a user's types that are alive in one test.
struct Alive {
    payloads: AtomicUsize,
    decoded: &'static AtomicUsize,
}

impl Alive {
    /// Whether all were dropped. The engine's thread may hold the last reference for a moment.
    fn none_is_left(&self) {
        let begun = Instant::now();
        loop {
            let left = (self.payloads.load(Ordering::Acquire), self.decoded.load(Ordering::Acquire));
            if left == (0, 0) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{left:?} payloads and decoded values were never dropped"
            );
            std::thread::yield_now();
        }
    }
}

/// Bytes that a user owns: each of them tells the key.
struct Payload {
    bytes: Vec<u8>,
    alive: &'static Alive,
}

impl Payload {
    fn bytes(alive: &'static Alive, key: u64, length: usize) -> Bytes {
        alive.payloads.fetch_add(1, Ordering::Relaxed);
        Bytes::from_owner(Self { bytes: vec![key as u8; length], alive })
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.bytes.fill(!0);
        self.alive.payloads.fetch_sub(1, Ordering::Release);
    }
}

/// A document that names its key, decoded.
#[derive(Debug)]
struct Decoded<const TEST: usize> {
    key: u64,
    text: Box<str>,
}

static DECODED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

impl<'de, const TEST: usize> Deserialize<'de> for Decoded<TEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, text) = Deserialize::deserialize(deserializer)?;
        DECODED[TEST].fetch_add(1, Ordering::Relaxed);
        Ok(Self { key, text })
    }
}

impl<const TEST: usize> Drop for Decoded<TEST> {
    fn drop(&mut self) {
        assert!(self.key != u64::MAX && self.text.bytes().all(|byte| byte == b'x'), "dropped twice");
        self.key = u64::MAX;
        DECODED[TEST].fetch_sub(1, Ordering::Release);
    }
}

fn document(key: u64, length: usize) -> (u64, String) {
    (key, "x".repeat(length))
}

fn of_key(payload: &[u8], key: u64) {
    assert!(payload.iter().all(|byte| *byte == key as u8), "another's payload, or a freed one, under {key}");
}

/// Runs `work` in four threads until the time is over, or one of them has failed; prints how often it was run.
fn four_threads(what: &str, work: impl Fn(&mut Random, &mut Vec<Value>) + Sync) {
    let stop = AtomicBool::new(false);
    let mut operations = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|thread| {
                let (work, stop) = (&work, &stop);
                scope.spawn(move || {
                    let (mut random, mut held, mut operations) = (Random::of(thread), Vec::new(), 0u64);
                    while !stop.load(Ordering::Relaxed) {
                        work(&mut random, &mut held);
                        operations += 1;
                    }
                    (operations, held)
                })
            })
            .collect();
        let end = Instant::now() + seconds();
        while Instant::now() < end && !workers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let (made, held) = worker.join().unwrap();
            operations += made;
            // Held values are whole to the end.
            held.iter().for_each(whole);
        }
    });
    println!("{what}: {operations} operations in {:?}", seconds());
    assert!(operations > 0, "nothing was ever done");
}

fn whole(value: &Value) {
    match value.as_bytes() {
        Some(payload) => assert!(payload.iter().all(|byte| *byte == payload[0]), "a held payload was freed"),
        None => assert!(value.decode_borrowed::<(u64, &str)>().unwrap().1.bytes().all(|byte| byte == b'x')),
    }
}

/// Keeps some of what was found for a while.
fn hold(random: &mut Random, held: &mut Vec<Value>, value: Value) {
    match random.below(40) {
        0 if held.len() < 64 => held.push(value),
        1 if !held.is_empty() => drop(held.swap_remove(random.below(held.len() as u64) as usize)),
        2 => held.clear(),
        _ => {}
    }
}

/// Documents under `key:`, through one handle or the other.
fn documents<const TEST: usize>(cache: &CacheManager, random: &mut Random, held: &mut Vec<Value>) {
    let key = random.skewed(4096);
    let name = format!("key:{key}");
    let (tasks, ttl) = (cache.as_async(), EntryOptions::from(random.life()));
    match random.below(16) {
        0 => cache.invalidate(&name).unwrap(),
        1 => {
            let value = Value::encode(&document(key, random.length())).unwrap();
            // A decoded form that comes with the value.
            if random.below(2) == 0 {
                value.shared::<Decoded<TEST>>().unwrap();
            }
            cache.set_with_strategy(&name, value, ttl).unwrap();
        }
        2 => {
            let length = random.length();
            let load = || tercel::ok(document(key, length));
            match cache.get_or_compute_typed::<(u64, String)>(&name, ttl, load) {
                Ok(found) => assert_eq!(found.0, key),
                // The outcome of a load that fails below, which this one followed.
                Err(error) => assert!(error.is_compute(), "{error}"),
            }
        }
        3 | 4 => {
            let shared = cache.get_shared::<Decoded<TEST>>(&name).unwrap();
            assert!(shared.is_none_or(|shared| shared.key == key));
        }
        5 => {
            let shared = block_on(tasks.get_shared::<Decoded<TEST>>(&name)).unwrap();
            assert!(shared.is_none_or(|shared| shared.key == key));
        }
        6 => {
            let found = cache.with_cached(&name, |value| value.decode_borrowed::<(u64, &str)>().unwrap().0);
            assert!(found.is_none_or(|found| found == key));
        }
        7 if random.below(100) == 0 => cache.invalidate_pattern("key:1*").unwrap(),
        8 => {
            let graced = ttl.grace(Duration::from_millis(5));
            let load = || async { Err::<Value, _>(std::io::Error::other("the source is down")) };
            match block_on(tasks.get_or_compute_with(&name, graced, load)) {
                Ok(found) => assert_eq!(found.decode_borrowed::<(u64, &str)>().unwrap().0, key),
                Err(error) => assert!(error.is_compute(), "{error}"),
            }
        }
        9 => {
            let value = Value::encode(&document(key, random.length())).unwrap();
            let graced = ttl.grace(random.life());
            block_on(tasks.set_with_strategy(&name, value, graced)).unwrap();
        }
        10..13 => {
            if let Some(value) = block_on(tasks.get(&name)).unwrap() {
                assert_eq!(value.decode_borrowed::<(u64, &str)>().unwrap().0, key);
                hold(random, held, value);
            }
        }
        _ => {
            if let Some(value) = cache.get(&name).unwrap() {
                assert_eq!(value.decode_borrowed::<(u64, &str)>().unwrap().0, key);
                hold(random, held, value);
            }
        }
    }
}

/// A user's own bytes under `raw:`.
fn payloads(cache: &CacheManager, alive: &'static Alive, random: &mut Random, held: &mut Vec<Value>) {
    let key = random.skewed(512);
    let name = format!("raw:{key}");
    match random.below(8) {
        0 => {
            let value = Value::bytes(Payload::bytes(alive, key, random.length() + 1));
            cache.set_with_strategy(&name, value, random.life()).unwrap();
        }
        1 => cache.invalidate(&name).unwrap(),
        2 => {
            cache.with_cached(&name, |value| of_key(value.as_bytes().unwrap(), key));
        }
        3 => {
            // The very bytes, not the value.
            let bytes = cache.get(&name).unwrap().and_then(|value| value.to_bytes());
            bytes.iter().for_each(|bytes| of_key(bytes, key));
        }
        _ => {
            if let Some(value) = cache.get(&name).unwrap() {
                of_key(value.as_bytes().unwrap(), key);
                hold(random, held, value);
            }
        }
    }
}

fn stress<const TEST: usize>(what: &str, alive: &'static Alive, capacity: usize, weight: u64) {
    let builder = CacheManager::builder().l1_capacity(capacity).l1_weight(weight);
    let cache = builder.max_entry_size(weight.min(64 << 10)).build_blocking().unwrap();
    four_threads(what, |random, held| match random.below(4) {
        0 => payloads(&cache, alive, random, held),
        _ => documents::<TEST>(&cache, random, held),
    });
    cache.validate().unwrap();
    let stats = cache.get_stats();
    assert!(stats.resident_entries <= capacity && stats.resident_weight <= weight, "{stats:?}");
    cache.close().unwrap();
    drop(cache);
    alive.none_is_left();
}

/// `L1Cache` by itself: lives are none or without an end.
fn alone(l1: &L1Cache, alive: &'static Alive, random: &mut Random, held: &mut Vec<Value>) {
    let key = random.skewed(4096);
    let name = format!("{}:{key}", if key & 1 == 0 { "even" } else { "an odd key, longer than others" });
    match random.below(16) {
        0..4 => {
            let life = if random.below(20) == 0 { Duration::ZERO } else { Duration::MAX };
            let length = random.length() + 1;
            if random.below(2) == 0 {
                l1.insert(&name, Payload::bytes(alive, key, length), life);
            } else {
                l1.insert(&name, vec![key as u8; length], life);
            }
        }
        4 => block_on(l1.remove(&name)).unwrap(),
        5 if random.below(500) == 0 => block_on(l1.remove_pattern("even:*")).unwrap(),
        6..9 => {
            l1.with_cached(&name, |value| of_key(value.as_bytes().unwrap(), key));
        }
        9 => {
            let found = block_on(l1.get_with_ttl(&name)).unwrap();
            found.iter().for_each(|(bytes, _)| of_key(bytes, key));
        }
        10 => {
            // A value in a value's closure, written there.
            l1.with_cached(&name, |value| {
                l1.insert(&name, vec![key as u8; 50], Duration::MAX);
                of_key(value.as_bytes().unwrap(), key);
            });
        }
        11 if random.below(1000) == 0 => {
            // Refused where it makes no sense.
            let entries = 10 + random.below(2000) as usize;
            l1.resize(entries, 100_000 + random.below(1 << 20)).ok();
        }
        _ => {
            if let Some(value) = l1.find(&name) {
                of_key(value.as_bytes().unwrap(), key);
                hold(random, held, value);
            }
        }
    }
}

fn stress_alone(what: &str, alive: &'static Alive, capacity: usize, weight: u64) {
    let l1 = L1Cache::builder().capacity(capacity).weight(weight).max_entry_size(weight.min(64 << 10)).build().unwrap();
    four_threads(what, |random, held| alone(&l1, alive, random, held));
    l1.validate().unwrap();
    l1.resize(capacity, weight).unwrap();
    l1.validate().unwrap();
    assert!(l1.len() <= capacity && l1.weight() <= weight, "{} entries of {}", l1.len(), l1.weight());
    drop(l1);
    alive.none_is_left();
}

static NONE: AtomicUsize = AtomicUsize::new(0);

#[test]
fn four_threads_on_one_crowded_shard_leave_everything_accounted_for() {
    static ALIVE: Alive = Alive { payloads: AtomicUsize::new(0), decoded: &DECODED[0] };
    stress::<0>("both handles, crowded", &ALIVE, 100, 300_000);
}

#[test]
fn four_threads_on_growing_shards_leave_everything_accounted_for() {
    static ALIVE: Alive = Alive { payloads: AtomicUsize::new(0), decoded: &DECODED[1] };
    stress::<1>("both handles, growing", &ALIVE, 100_000, 256 << 20);
}

#[test]
fn four_threads_on_a_crowded_table_alone_leave_everything_accounted_for() {
    static ALIVE: Alive = Alive { payloads: AtomicUsize::new(0), decoded: &NONE };
    stress_alone("L1Cache, crowded", &ALIVE, 100, 150_000);
}

#[test]
fn four_threads_on_a_growing_table_alone_leave_everything_accounted_for() {
    static ALIVE: Alive = Alive { payloads: AtomicUsize::new(0), decoded: &NONE };
    stress_alone("L1Cache, growing", &ALIVE, 100_000, 256 << 20);
}
