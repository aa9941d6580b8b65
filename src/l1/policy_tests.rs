//! The queues of one shard against requests of known shapes.

#![allow(clippy::unwrap_used, reason = "a test")]
#![expect(unsafe_code, reason = "whoever calls the policy keeps its entries alive")]

use std::collections::HashMap;

use super::policy::{MOST_LOOKS, MOST_TURNS, Policy};
use crate::entry::{Body, Counted, Entry, Kind, Label, Times};

/// SplitMix64, and with it hashes and chances.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Small numbers far more often than great ones: the density falls with the number, as in Zipf's law.
    fn zipf(&mut self, n: u64) -> u64 {
        let chance = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64).powf(chance) - 1.0) as u64
    }
}

fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn entry(key: u64, weight: u32) -> Counted {
    let times = Times { written: 0, fresh_until: u64::MAX, dead_at: u64::MAX };
    let label = Label { hash: mix(key + 1), key: &key.to_string(), times, weight: Some(weight), ..Label::default() };
    Counted::new(Kind::Raw, Body::Copied(b""), label)
}

fn insert(policy: &mut Policy, entry: &Counted) {
    // SAFETY: the tests insert what is in no queue, and keep it until it is removed.
    unsafe { policy.insert(entry.entry()) }
}

fn remove(policy: &mut Policy, entry: Entry<'_>) {
    // SAFETY: the tests remove what is in a queue.
    unsafe { policy.remove(entry) }
}

/// What goes for room, if anything is there.
fn victim(policy: &mut Policy) -> Option<Counted> {
    policy.victim(|_| false).map(Entry::count)
}

fn number(entry: &Counted) -> u64 {
    entry.entry().key().parse().unwrap()
}

/// A cache of so many entries, as a shard uses its policy.
struct Cache {
    policy: Policy,
    resident: HashMap<u64, Counted>,
    capacity: usize,
    hits: u64,
    asked: u64,
}

impl Cache {
    fn new(capacity: usize) -> Self {
        Self { policy: Policy::new(), resident: HashMap::new(), capacity, hits: 0, asked: 0 }
    }

    fn ask(&mut self, key: u64) {
        self.asked += 1;
        if let Some(entry) = self.resident.get(&key) {
            self.hits += 1;
            entry.entry().touch();
            return;
        }
        while self.policy.len() >= self.capacity {
            self.evict();
        }
        let entry = entry(key, 1);
        insert(&mut self.policy, &entry);
        self.resident.insert(key, entry);
    }

    fn evict(&mut self) -> Counted {
        let victim = victim(&mut self.policy).unwrap();
        remove(&mut self.policy, victim.entry());
        self.resident.remove(&number(&victim)).unwrap();
        victim
    }

    fn touch_all(&self) {
        self.resident.values().for_each(|entry| entry.entry().touch());
    }

    /// The hit ratio since the last call.
    fn ratio(&mut self) -> f64 {
        let ratio = self.hits as f64 / self.asked as f64;
        (self.hits, self.asked) = (0, 0);
        self.policy.validate().unwrap();
        ratio
    }
}

#[test]
fn in_a_loop_nearly_all_that_is_resident_is_hit() {
    for (length, capacity) in
        [(30, 5), (11, 10), (100, 10), (5000, 10), (1000, 100), (1000, 500), (1000, 950), (1000, 990), (20_000, 1000)]
    {
        let mut cache = Cache::new(capacity);
        (0..length).for_each(|key| cache.ask(key));
        cache.ratio();
        (0..length * 10).for_each(|n| cache.ask(n % length));
        let (ratio, best) = (cache.ratio(), (capacity - 1) as f64 / (length - 1) as f64);
        assert!(ratio >= 0.9 * best, "{capacity} of {length}: {ratio} where {best} is the best");
    }
}

#[test]
fn a_scan_takes_nothing_that_is_in_use() {
    let mut cache = Cache::new(1000);
    let mut random = Random(1);
    for _ in 0..100_000 {
        let key = random.zipf(10_000);
        cache.ask(key);
    }
    cache.ratio();
    (0..50_000).for_each(|n| {
        let key = random.zipf(10_000);
        cache.ask(key);
        if n % 2 == 0 {
            cache.asked -= 1;
            cache.ask(1_000_000 + n);
        }
    });
    let ratio = cache.ratio();
    assert!(ratio > 0.68, "{ratio}");
}

#[test]
fn a_new_working_set_displaces_the_old_one() {
    let mut cache = Cache::new(1000);
    let mut random = Random(2);
    for phase in 0..6 {
        for n in 0..20_000 {
            if n == 10_000 {
                cache.ratio();
            }
            cache.ask(phase * 1_000_000 + random.below(800));
        }
        let ratio = cache.ratio();
        assert!(ratio > 0.99, "all of it fits: {ratio} in phase {phase}");
    }
}

#[test]
fn what_comes_back_soon_and_only_once_is_caught() {
    // The small queue has to grow to most of the room: nothing is asked for a third time.
    let mut cache = Cache::new(1000);
    for n in 0..40_000u64 {
        if n == 20_000 {
            cache.ratio();
        }
        cache.ask(n);
        if n >= 300 {
            cache.ask(n - 300);
        }
    }
    let ratio = cache.ratio();
    assert!(ratio > 0.49, "half of the requests can hit: {ratio}");
}

#[test]
fn an_eviction_does_not_go_round_the_whole_cache() {
    let mut cache = Cache::new(10_000);
    (0..10_000).for_each(|key| cache.ask(key));
    for _ in 0..20 {
        (0..3).for_each(|_| cache.touch_all());
        let before: Vec<_> = cache.resident.values().map(|entry| (entry.clone(), entry.entry().frequency())).collect();
        cache.evict();
        cache.ask(1);
        cache.ask(10_001);
        let turned = before.iter().filter(|(entry, frequency)| entry.entry().frequency() < *frequency).count();
        assert!(turned <= 2 * MOST_TURNS + 2 * MOST_LOOKS, "{turned}");
    }
}

#[test]
fn while_all_of_main_is_in_use_what_is_new_goes() {
    let mut cache = Cache::new(1000);
    (0..1000).for_each(|key| cache.ask(key));
    while cache.policy.small.len() > 0 {
        cache.policy.balance.evicted();
        // SAFETY: what is in a queue is alive: the cache holds a count.
        let oldest = unsafe { Entry::at(cache.policy.small.oldest().unwrap()) };
        remove(&mut cache.policy, oldest);
    }
    (0..2).for_each(|_| cache.touch_all());
    let new = entry(2000, 1);
    insert(&mut cache.policy, &new);
    assert_eq!(cache.policy.small.len(), 1, "less than its share");
    assert!(victim(&mut cache.policy).unwrap().entry().is(new.entry()));
}

#[test]
fn what_is_dead_goes_however_often_it_was_hit_and_is_not_remembered() {
    let mut policy = Policy::new();
    let old = entry(1, 1);
    insert(&mut policy, &old);
    (0..3).for_each(|_| old.entry().touch());
    assert!(policy.victim(|_| true).unwrap().is(old.entry()));
    assert!(!policy.was_evicted(old.entry().hash()));
    remove(&mut policy, old.entry());
}

#[test]
fn a_ghost_tells_when_its_entry_was_last_known_to_be_used() {
    for (hits, distance) in [(0, 3), (1, 2)] {
        let mut policy = Policy::new();
        let entries = [1, 2, 3].map(|key| entry(key, 1));
        let [old, second, third] = &entries;
        insert(&mut policy, old);
        insert(&mut policy, second);
        (0..hits).for_each(|_| old.entry().touch());
        assert!(victim(&mut policy).unwrap().entry().is(old.entry()));
        remove(&mut policy, old.entry());
        insert(&mut policy, third);
        assert_eq!(policy.ghosts.take(old.entry().hash(), 4).unwrap().distance, distance, "after {hits} hits");
    }
}

#[test]
fn what_goes_for_room_is_remembered_and_what_is_removed_is_not() {
    let mut cache = Cache::new(100);
    (0..100).for_each(|key| cache.ask(key));
    let victim = cache.evict();
    assert!(cache.policy.was_evicted(victim.entry().hash()));
    let other = cache.resident.values().next().unwrap().clone();
    remove(&mut cache.policy, other.entry());
    assert!(!cache.policy.was_evicted(other.entry().hash()));
    insert(&mut cache.policy, &victim);
    assert!(!cache.policy.was_evicted(victim.entry().hash()));
}

#[test]
fn weights_and_numbers_add_up_whatever_is_done() {
    let mut random = Random(3);
    for most in [0, 1, 10, 1000] {
        let mut policy = Policy::new();
        let mut resident: HashMap<u64, Counted> = HashMap::new();
        for step in 0..5000 {
            let key = random.below(300);
            let new = entry(key, random.below(50) as u32);
            match (resident.get(&key).cloned(), random.below(8)) {
                (Some(old), 0) => {
                    remove(&mut policy, old.entry());
                    resident.remove(&key);
                }
                (Some(old), 1) => {
                    // SAFETY: the old one is in a queue; the new one is in none, and kept until it is removed.
                    unsafe { policy.replace(old.entry(), new.entry()) };
                    resident.insert(key, new);
                }
                (Some(old), 2) => policy.recharge(old.entry()),
                (Some(old), _) => old.entry().touch(),
                (None, _) => {
                    insert(&mut policy, &new);
                    resident.insert(key, new);
                }
            }
            while policy.weight() > most {
                let victim = victim(&mut policy).unwrap();
                remove(&mut policy, victim.entry());
                resident.remove(&number(&victim)).unwrap();
            }
            if step % 50 == 0 {
                policy.validate().unwrap();
            }
            assert_eq!(policy.len(), resident.len());
        }
        while let Some(victim) = victim(&mut policy) {
            remove(&mut policy, victim.entry());
        }
        assert_eq!((policy.len(), policy.weight()), (0, 0));
    }
}
