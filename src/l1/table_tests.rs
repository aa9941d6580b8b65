//! The table against a map, one thread: entries are numbers in a pointer's clothes, which nobody follows.

use std::collections::HashMap;
use std::ptr;

use super::table::{Table, Tags};

struct Entry;

/// A table and what it should hold.
struct Checked {
    table: Box<Table<Entry>>,
    hash: fn(u64) -> u64,
    /// The key of each entry; the first is nobody's.
    keys: Vec<u64>,
    present: HashMap<u64, usize>,
    grown: usize,
}

impl Checked {
    fn new(hash: fn(u64) -> u64) -> Self {
        Self { table: Box::new(Table::with_room(1)), hash, keys: vec![0], present: HashMap::new(), grown: 0 }
    }

    fn entry(&mut self, key: u64) -> *mut Entry {
        self.keys.push(key);
        self.present.insert(key, self.keys.len() - 1);
        ptr::without_provenance_mut(self.keys.len() - 1)
    }

    fn set(&mut self, key: u64) {
        let hash = (self.hash)(key);
        match self.table.locate(hash, |entry| self.keys[entry.addr()] == key) {
            Some((place, old)) => {
                assert_eq!(Some(old.addr()), self.present.get(&key).copied());
                let new = self.entry(key);
                self.table.replace(place, new);
            }
            None => {
                assert!(!self.present.contains_key(&key), "{key} was not located");
                if self.present.len() >= self.table.room() {
                    self.table =
                        self.table.rebuilt(self.table.room() * 2, |_| (), |entry| (self.hash)(self.keys[entry.addr()]));
                    self.grown += 1;
                }
                let new = self.entry(key);
                self.table.insert(hash, new);
            }
        }
    }

    fn remove(&mut self, key: u64) {
        let hash = (self.hash)(key);
        let located = self.table.locate(hash, |entry| self.keys[entry.addr()] == key);
        assert_eq!(located.map(|(_, entry)| entry.addr()), self.present.remove(&key));
        if let Some((place, _)) = located {
            self.table.remove(place, hash);
        }
    }

    fn find(&self, key: u64) -> Option<usize> {
        let found = self.table.find((self.hash)(key), |entry| self.keys[entry.addr()] == key);
        (!found.is_null()).then(|| found.addr())
    }

    fn check(&self, keys: u64) {
        for key in 0..keys {
            assert_eq!(self.find(key), self.present.get(&key).copied(), "key {key}");
        }
        let mut held: Vec<_> = self.table.entries().map(|entry| entry.addr()).collect();
        let mut present: Vec<_> = self.present.values().copied().collect();
        held.sort_unstable();
        present.sort_unstable();
        assert_eq!(held, present);
        self.table.validate(|entry| (self.hash)(self.keys[entry.addr()])).unwrap();
    }
}

fn mixed(key: u64) -> u64 {
    let key = (key ^ key >> 30).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Well spread, one hash for all, one home, one tag, few homes of two neighbouring tags.
const HASHES: [fn(u64) -> u64; 5] = [
    mixed,
    |_| 0x1234_5678_9abc_def0,
    |key| mixed(key) << 32,
    |key| mixed(key) >> 40,
    |key| (key % 3) | ((key & 1) << 32),
];

#[test]
fn it_holds_what_a_map_holds_however_hashes_collide() {
    let steps = if cfg!(miri) { 400 } else { 20_000 };
    for (nth, hash) in HASHES.into_iter().enumerate() {
        let mut checked = Checked::new(hash);
        let keys = 300;
        for step in 0..steps {
            let random = mixed(step * 8 + nth as u64);
            // It fills and empties in turns.
            let removes = if step / 1000 % 2 == 0 { 3 } else { 11 };
            if random >> 32 & 0xf < removes {
                checked.remove(random % keys)
            } else {
                checked.set(random % keys)
            }
            if step % 500 == 0 {
                checked.check(keys);
            }
        }
        checked.check(keys);
        assert!(checked.grown > 0 || cfg!(miri), "it never grew");
        (0..keys).for_each(|key| checked.remove(key));
        checked.check(keys);
    }
}

#[test]
fn a_bucket_that_very_many_passed_still_leads_to_the_last_of_them() {
    let mut checked = Checked::new(|_| 0);
    *checked.table = Table::with_room(2000);
    let keys = 7 + 2 * 255;
    (0..keys).for_each(|key| checked.set(key));
    checked.check(keys);
    // All but the last go: what has saturated no longer counts, and must not reach zero.
    (0..keys - 1).for_each(|key| checked.remove(key));
    checked.check(keys);
    (0..keys - 1).for_each(|key| checked.set(key));
    checked.check(keys);
    checked.table = checked.table.rebuilt(checked.table.room() * 2, |_| (), |_| 0);
    checked.check(keys);
}

#[test]
fn a_full_table_is_searched_once_around() {
    let mut checked = Checked::new(|key| key % 8);
    *checked.table = Table::with_room(12);
    (0..12).for_each(|key| checked.set(key));
    let room = checked.table.room();
    (12..14).for_each(|key| {
        let entry = checked.entry(key);
        checked.table.insert(key % 8, entry);
    });
    assert!(checked.present.len() > room, "every slot is in use");
    checked.check(100);
}

#[test]
fn matching_names_every_slot_of_the_tag_and_beyond_them_only_what_the_tag_resembles() {
    let tag = |n: u64| Tags::of(n << 32);
    for round in 0..20_000 {
        let (mut tags, mut held) = (Tags(0).with_overflow(mixed(round) & 0xff), [0; 7]);
        let sought = tag(mixed(round) >> 8);
        for (slot, held) in held.iter_mut().enumerate() {
            let random = mixed(round * 7 + slot as u64);
            *held = match random % 4 {
                0 => 0,
                1 => sought,
                2 => sought ^ 1,
                _ => tag(random >> 8),
            };
            tags = tags.with(slot, *held);
        }
        let named: Vec<_> = tags.matching(sought).collect();
        let free: Vec<_> = tags.free().collect();
        let first = held.iter().position(|held| *held == sought);
        for (slot, held) in held.iter().enumerate() {
            assert_eq!(free.contains(&slot), *held == 0);
            if *held == sought {
                assert!(named.contains(&slot), "a slot of the tag is not named");
            } else if named.contains(&slot) {
                assert_eq!(*held, sought ^ 1, "named for a tag that is quite another");
                assert!(first.is_some_and(|first| first < slot), "named with none of the tag below it");
            }
        }
    }
}
