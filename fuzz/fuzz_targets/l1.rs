//! Arbitrary operations on L1, alone and under a manager whose clock stands still, against a map: what is found is the newest
//! value of its key and fresh, what was removed is never found, and the bounds hold after every operation.
#![no_main]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use tercel::blocking::CacheManager;
use tercel::{CacheBackend, EntryOptions, L1Cache, L2CacheBackend, ManualClock, Value};

/// What an entry weighs beside key and payload, at the most.
const OVERHEAD: u64 = 96;

struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u64> {
        self.0.next().map(|byte| u64::from(*byte))
    }

    fn or_zero(&mut self) -> u64 {
        self.next().unwrap_or(0)
    }

    /// Short ones mostly, and some beyond what is copied into an entry.
    fn payload(&mut self) -> Vec<u8> {
        let (length, fill) = (self.or_zero(), self.or_zero());
        let length = match length {
            0..=159 => length,
            160..=229 => length * 8,
            _ => 4000 + (length - 230) * 40,
        };
        // It begins with what tells it from others, as far as there is room.
        let mut payload = vec![fill as u8; length as usize];
        if let Some(head) = payload.first_chunk_mut::<4>() {
            *head = (length as u32).to_le_bytes();
        }
        payload
    }
}

/// The bounds of one run.
#[derive(Clone, Copy)]
struct Bounds {
    entries: u64,
    weight: u64,
    max_entry: u64,
    keys: u64,
}

impl Bounds {
    fn of(shape: u64) -> Self {
        let weight = [700, 3_000, 20_000, 1 << 20][(shape >> 2 & 3) as usize];
        Self {
            entries: [1, 3, 20, 100_000][(shape & 3) as usize],
            weight,
            max_entry: if shape & 16 == 0 { weight } else { (weight / 4).max(OVERHEAD + 1) },
            keys: [2, 5, 40, 256][(shape >> 5 & 3) as usize],
        }
    }

    fn key(&self, bytes: &mut Bytes<'_>) -> String {
        let number = bytes.or_zero() % self.keys;
        // Of lengths that are compared in different ways, and two families for patterns.
        format!("{}{}{number}", ["a", "b"][(number & 1) as usize], "-".repeat(number as usize % 7 * 4))
    }

    fn takes(&self, key: &str, payload: &[u8]) -> bool {
        key.len() as u64 + payload.len() as u64 + OVERHEAD <= self.max_entry
    }
}

/// What a key has, as far as it was not evicted.
struct Expected {
    payload: Vec<u8>,
    fresh_until: u64,
    dead_at: u64,
    /// Nothing but an eviction lets it go before its time.
    stays: bool,
    /// It stood in for a load that failed: while it is stale no load is tried.
    stands_in: bool,
}

#[derive(Default)]
struct Model {
    entries: HashMap<String, Expected>,
    now: u64,
}

impl Model {
    fn set(&mut self, key: String, payload: Vec<u8>, ttl: u64, grace: u64, stays: bool) {
        if ttl + grace == 0 {
            self.entries.remove(&key);
            return;
        }
        let fresh_until = self.now.saturating_add(ttl);
        let dead_at = fresh_until.saturating_add(grace);
        self.entries.insert(key, Expected { payload, fresh_until, dead_at, stays, stands_in: false });
    }

    fn remove_where(&mut self, doomed: impl Fn(&str) -> bool) {
        self.entries.retain(|key, _| !doomed(key));
    }

    /// Checks what was found for a key; `evicts` says whether anything was let go for room so far.
    fn check(&self, key: &str, found: Option<&[u8]>, evicts: bool) {
        let expected = self.entries.get(key).filter(|expected| self.now < expected.fresh_until);
        match (expected, found) {
            (Some(expected), Some(found)) => assert!(expected.payload == found, "{key:?} has another value"),
            (Some(expected), None) => assert!(evicts || !expected.stays, "{key:?} is gone"),
            (None, Some(found)) => {
                let was = self.entries.get(key).map(|was| (was.fresh_until, was.payload == found));
                panic!("{key:?} is found at {}, and has no fresh value: {was:?}", self.now)
            }
            (None, None) => {}
        }
    }
}

/// L1 by itself: its time is the machine's, so that a life is none or without an end.
fn bare(bounds: Bounds, bytes: &mut Bytes<'_>) {
    let Bounds { mut entries, mut weight, max_entry, .. } = bounds;
    let l1 = L1Cache::builder().capacity(entries as usize).weight(weight).max_entry_size(max_entry);
    let l1 = l1.build().expect("something has room");
    let (mut model, mut held) = (Model::default(), Vec::new());
    let mut room = true;
    while let Some(operation) = bytes.next() {
        let key = bounds.key(bytes);
        match operation % 8 {
            0..3 => {
                let payload = bytes.payload();
                let ttl = if operation & 64 != 0 { 0 } else { u64::MAX };
                let life = if ttl == 0 { Duration::ZERO } else { Duration::MAX };
                l1.insert(&key, payload.clone(), life);
                let stays = bounds.takes(&key, &payload);
                // What is not taken displaces what was there.
                model.set(key.clone(), payload, if stays { ttl } else { 0 }, 0, stays);
                // An upper bound of what the map would weigh; as long as it fits nothing is let go.
                let sum =
                    |(key, expected): (&String, &Expected)| (key.len() + expected.payload.len()) as u64 + OVERHEAD;
                let full: u64 = model.entries.iter().map(sum).sum();
                // One shard of many has less than the whole.
                room &= full <= weight / 16 && model.entries.len() as u64 <= entries;
            }
            3 => {
                let found = l1.find(&key);
                model.check(&key, found.as_ref().map(|found| found.as_bytes().expect("a raw payload")), !room);
                held.extend(found.filter(|_| operation & 64 != 0));
            }
            4 => {
                let found = l1.with_cached(&key, |value| value.as_bytes().expect("a raw payload").to_vec());
                model.check(&key, found.as_deref(), !room);
            }
            5 => {
                let found = block_on(l1.get_with_ttl(&key)).expect("L1 does not fail");
                model.check(&key, found.as_ref().map(|(found, _)| &found[..]), !room);
            }
            6 => {
                block_on(l1.remove(&key)).expect("L1 does not fail");
                model.entries.remove(&key);
            }
            _ if operation & 32 != 0 => {
                block_on(l1.remove_pattern("a*")).expect("L1 does not fail");
                model.remove_where(|key| key.starts_with('a'));
            }
            _ if operation & 64 != 0 => {
                let change = bytes.or_zero();
                let new = (bounds.entries * (change & 15) / 8, bounds.weight * (change >> 4) / 8);
                if l1.resize(new.0 as usize, new.1).is_ok() {
                    (entries, weight) = new;
                    room = false;
                }
            }
            _ => held.clear(),
        }
        assert!(l1.len() as u64 <= entries && l1.weight() <= weight, "{} entries of {}", l1.len(), l1.weight());
    }
    l1.validate().expect("everything adds up");
    drop(l1);
    // They outlive the cache.
    held.iter().for_each(|value: &Value| assert!(value.as_bytes().is_some()));
}

/// The engines, one for each shape: a thread that ends while leaks are looked for looks like one.
static ENGINES: [OnceLock<(CacheManager, Arc<ManualClock>)>; 32] = [const { OnceLock::new() }; 32];

/// The whole engine with no tier below.
fn managed(shape: u64, bytes: &mut Bytes<'_>) {
    let bounds = Bounds::of(shape);
    let Bounds { entries, weight, max_entry, .. } = bounds;
    let (cache, clock) = ENGINES[(shape & 31) as usize].get_or_init(|| {
        let clock = Arc::new(ManualClock::new());
        let cache = CacheManager::builder().l1_capacity(entries as usize).l1_weight(weight).max_entry_size(max_entry);
        (cache.clock(clock.clone()).build_blocking().expect("something has room"), clock)
    });
    let evicted = cache.get_stats().evicted;
    let (mut model, mut held) = (Model::default(), Vec::<(Value, Vec<u8>)>::new());
    while let Some(operation) = bytes.next() {
        let key = bounds.key(bytes);
        let evicts = || cache.get_stats().evicted > evicted;
        match operation % 12 {
            0..3 => {
                let payload = bytes.payload();
                let (ttl, grace) = (bytes.or_zero(), if operation & 64 != 0 { 50 } else { 0 });
                let options = EntryOptions::new().ttl(Duration::from_millis(ttl)).grace(Duration::from_millis(grace));
                let value = Value::bytes(payload.clone());
                cache.set_with_strategy(&key, value, options).expect("L1 alone takes it or not");
                let stays = bounds.takes(&key, &payload);
                // Without a life there is nothing to be stale.
                let (ttl, grace) = if ttl > 0 && stays { (ttl, grace) } else { (0, 0) };
                model.set(key, payload, ttl, grace, stays);
            }
            3 => {
                // A value that was found before, decoded form and all.
                let Some((value, payload)) = held.last().cloned() else { continue };
                cache.set_with_strategy(&key, value, Duration::from_millis(20)).expect("L1 alone takes it or not");
                model.set(key, payload, 20, 0, false);
            }
            4 => {
                let found = cache.get(&key).expect("no tier can fail");
                let payload = found.as_ref().map(|found| found.as_bytes().expect("a raw payload"));
                model.check(&key, payload, evicts());
                if operation & 64 != 0 {
                    held.extend(found.map(|found| (found.clone(), found.as_bytes().expect("as above").to_vec())));
                }
            }
            5 => {
                let found = cache.with_cached(&key, |value| value.as_bytes().expect("a raw payload").to_vec());
                model.check(&key, found.as_deref(), evicts());
            }
            6 => {
                let found = cache.get_shared::<Vec<u8>>(&key).expect("a payload is bytes");
                model.check(&key, found.as_ref().map(|found| &found[..]), evicts());
            }
            7 => {
                cache.invalidate(&key).expect("no tier can fail");
                model.entries.remove(&key);
            }
            8 if operation & 32 != 0 => {
                let all = operation & 64 != 0;
                cache.invalidate_pattern(if all { "*" } else { "b*" }).expect("no tier can fail");
                model.remove_where(|key| all || key.starts_with('b'));
            }
            8 => held.clear(),
            9 => {
                let by = bytes.or_zero();
                clock.advance(Duration::from_millis(by));
                model.now += by;
            }
            10 => {
                let payload = bytes.payload();
                let runs = Cell::new(false);
                let load = || {
                    runs.set(true);
                    tercel::ok(Value::bytes(payload.clone()))
                };
                let found = cache.get_or_compute_with(&key, Duration::from_millis(30), load).expect("it has a value");
                let found = found.as_bytes().expect("a raw payload");
                if !runs.get() {
                    let stands_in = model.entries.get(&key).filter(|known| known.stands_in && model.now < known.dead_at);
                    match stands_in {
                        Some(known) => assert!(found == known.payload, "another value stands in"),
                        None => model.check(&key, Some(found), evicts()),
                    }
                    continue;
                }
                model.check(&key, None, evicts());
                assert!(found == payload, "not what was loaded");
                let stays = bounds.takes(&key, &payload);
                model.set(key, payload, if stays { 30 } else { 0 }, 0, stays);
            }
            _ => {
                let options = EntryOptions::from(Duration::from_millis(30)).grace(Duration::from_millis(50));
                let load = || Err::<Value, _>(std::io::Error::other("the source is down"));
                match cache.get_or_compute_with(&key, options, load) {
                    Ok(found) => {
                        let now = model.now;
                        let known = model.entries.get_mut(&key).filter(|known| now < known.dead_at);
                        let known = known.expect("what stands in was set, and is not dead");
                        known.stands_in |= now >= known.fresh_until;
                        assert!(found.as_bytes() == Some(&known.payload[..]), "an older value stands in");
                    }
                    Err(error) => {
                        assert!(error.is_compute(), "{error}");
                        model.check(&key, None, evicts());
                    }
                }
            }
        }
        let stats = cache.get_stats();
        assert!(stats.resident_entries as u64 <= entries && stats.resident_weight <= weight, "{stats:?}");
    }
    cache.validate().expect("everything adds up");
    cache.invalidate_pattern("*").expect("no tier can fail");
    let stats = cache.get_stats();
    assert!(stats.resident_entries == 0 && stats.resident_weight == 0, "{stats:?}");
    cache.validate().expect("everything adds up at the end too");
    // They outlive what was removed.
    held.iter().for_each(|(value, payload)| assert!(value.as_bytes() == Some(&payload[..])));
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data.iter());
    let (how, shape) = (bytes.or_zero(), bytes.or_zero());
    if how % 2 == 0 { bare(Bounds::of(shape), &mut bytes) } else { managed(shape, &mut bytes) }
});
