//! The table of a shard: `l1/table.rs`, read by one thread while another writes as the holder of the shard's lock would.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread;

use crate::epoch::domain::{Barrier, Domain};
use crate::epoch::limbo::Limbo;
use crate::harness::models;
use crate::l1::table::{Current, Table};
use crate::reclaim::{Fences, Lent, in_thread};
use crate::sync::{Arc, planted};

/// Home in the first bucket, whatever the table's size up to 2^32 buckets.
const fn hash(tag: u64) -> u64 {
    tag << 32
}

const NOTHING: u64 = u64::MAX;

/// An entry: its key, once it is written, and nothing after it is freed.
struct Entry(UnsafeCell<u64>);

impl Entry {
    fn key(&self) -> u64 {
        // SAFETY: loom checks that nobody writes meanwhile.
        self.0.with(|key| unsafe { *key })
    }

    fn write(&self, key: u64) {
        // SAFETY: loom checks that nobody reads or writes meanwhile.
        self.0.with_mut(|at| unsafe { *at = key });
    }

    fn pointer(&self) -> *mut Entry {
        std::ptr::from_ref(self).cast_mut()
    }
}

/// A table, and the entries that are put into it: they outlive it.
struct World {
    table: Table<Entry>,
    entries: Vec<Entry>,
}

impl World {
    /// A table of `buckets`, and `entries` that have no key yet.
    fn new(buckets: usize, entries: usize) -> Self {
        let table = Table::with_room(buckets * 6);
        Self { table, entries: (0..entries).map(|_| Entry(UnsafeCell::new(NOTHING))).collect() }
    }

    /// Writes the `entry`th entry.
    fn written(&self, entry: usize, key: u64) -> *mut Entry {
        self.entries[entry].write(key);
        self.entries[entry].pointer()
    }

    fn insert(&self, entry: usize, key: u64, hash: u64) {
        self.table.insert(hash, self.written(entry, key));
    }

    fn replace(&self, entry: usize, key: u64, hash: u64) {
        let (place, _) = self.table.locate(hash, |entry| is(entry, key)).expect("is there");
        self.table.replace(place, self.written(entry, key));
    }

    fn remove(&self, key: u64, hash: u64) {
        let (place, _) = self.table.locate(hash, |entry| is(entry, key)).expect("is there");
        self.table.remove(place, hash);
    }

    fn finds(&self, key: u64, hash: u64) -> bool {
        !find(&self.table, key, hash).is_null()
    }
}

fn is(entry: *const Entry, key: u64) -> bool {
    // SAFETY: entries outlive every table that has them.
    unsafe { (*entry).key() == key }
}

/// What a reader finds, which is of that key.
fn find(table: &Table<Entry>, key: u64, hash: u64) -> *const Entry {
    let found = table.find(hash, |entry| {
        // SAFETY: as above.
        assert_ne!(unsafe { (*entry).key() }, NOTHING, "found before it was written, or after it was freed");
        is(entry, key)
    });
    assert!(found.is_null() || is(found, key), "found by another's key");
    found
}

models! {
    /// A key that is present is found at every moment while it is replaced, and what is found is whole (T3).
    replaced finds replaced_in_two_steps, relaxed_slot, relaxed_slot_read {
        let world = World::new(1, 3);
        world.insert(0, 1, hash(5));
        let world = Arc::new(world);
        let writer = { let world = world.clone(); thread::spawn(move || {
            world.replace(1, 1, hash(5));
            world.replace(2, 1, hash(5));
        }) };
        assert!(world.finds(1, hash(5)), "missed while it was replaced");
        assert!(world.finds(1, hash(5)), "missed while it was replaced");
        writer.join().unwrap();
    }

    /// Two keys of one hash follow each other in one slot: neither is found as the other, nor before it is written.
    reused finds relaxed_slot, relaxed_slot_read {
        let world = World::new(1, 3);
        world.insert(0, 1, hash(5));
        let world = Arc::new(world);
        let writer = { let world = world.clone(); thread::spawn(move || {
            world.remove(1, hash(5));
            world.insert(1, 2, hash(5));
            world.remove(2, hash(5));
            world.insert(2, 1, hash(5));
        }) };
        world.finds(1, hash(5));
        world.finds(2, hash(5));
        writer.join().unwrap();
        assert!(world.finds(1, hash(5)) && !world.finds(2, hash(5)));
    }

    /// Who misses a key that was removed sees what came before the removal.
    missed finds relaxed_word, relaxed_word_read {
        let world = World::new(1, 1);
        world.insert(0, 1, hash(5));
        let world = Arc::new((world, AtomicBool::new(false)));
        let writer = { let world = world.clone(); thread::spawn(move || {
            world.1.store(true, Relaxed);
            world.0.remove(1, hash(5));
        }) };
        if !world.0.finds(1, hash(5)) {
            assert!(world.1.load(Relaxed), "missed, without what led to it");
        }
        writer.join().unwrap();
    }

    /// A key that lies past its home is found while others come to and go from its home and its bucket (T2).
    overflowed finds own_bucket_counted {
        let world = World::new(4, 10);
        for entry in 0..9 {
            world.insert(entry, entry as u64, hash(entry as u64 * 8));
        }
        let world = Arc::new(world);
        let writer = { let world = world.clone(); thread::spawn(move || {
            world.remove(3, hash(24));
            world.remove(7, hash(56));
            world.insert(9, 3, hash(24));
        }) };
        assert!(world.finds(8, hash(64)), "missed past its home");
        writer.join().unwrap();
        assert!(world.finds(8, hash(64)), "missed past its home");
    }

    /// A key that was never removed is found before, while and after the table grows, and so are all others then.
    grown finds relaxed_table, relaxed_table_read {
        let world = World::new(1, 3);
        world.insert(0, 1, hash(5));
        world.insert(1, 2, hash(9) + 1);
        let current = Current::new(Box::new(world.table));
        let world = Arc::new((current, world.entries));
        let writer = { let world = world.clone(); thread::spawn(move || {
            let (current, entries) = &*world;
            // SAFETY: the tables are freed at the end.
            let new = unsafe { &*current.own() }.rebuilt(12, |_| (), |entry| if is(entry, 2) { hash(9) + 1 } else { hash(5) });
            let old = current.put(new);
            entries[2].write(3);
            // SAFETY: as above.
            unsafe { &*current.own() }.insert(hash(5), entries[2].pointer());
            old
        }) };
        for _ in 0..2 {
            // SAFETY: as above.
            let table = unsafe { &*world.0.read() };
            assert!(!find(table, 1, hash(5)).is_null(), "missed while the table grew");
            assert!(!find(table, 2, hash(9) + 1).is_null(), "missed while the table grew");
        }
        let old = writer.join().unwrap();
        // SAFETY: nobody else is left.
        drop(unsafe { (Box::from_raw(old), Box::from_raw(world.0.own())) });
    }

    /// What is found under a pin is not freed, also by way of a table that has been replaced since (T4).
    reclaimed finds found_before_pin, tag_before_unlink, no_light_barrier {
        reclaim::<Fences>();
    }

    /// The same, where two light barriers have no order.
    reclaimed_lent finds found_before_pin, tag_before_unlink, no_heavy_barrier {
        reclaim::<Lent>();
    }
}

/// Finds key 1 under a pin, while the table grows and key 1 is removed and freed.
fn reclaim<B: Barrier + Default + Send + Sync + 'static>() {
    let world = World::new(1, 1);
    world.insert(0, 1, hash(5));
    let current = Current::new(Box::new(world.table));
    let world = Arc::new((current, world.entries, Domain::<B, 1>::new(B::default())));
    let reader = {
        let world = world.clone();
        thread::spawn(move || {
            in_thread(1);
            let (current, _, domain) = &*world;
            let early = planted("found_before_pin").then(|| current.read());
            domain.join().pin(|_| {
                // SAFETY: the tables are freed at the end.
                let table = unsafe { &*early.unwrap_or_else(|| current.read()) };
                find(table, 1, hash(5));
            });
        })
    };
    let writer = {
        let world = world.clone();
        thread::spawn(move || {
            in_thread(2);
            let (current, entries, domain) = &*world;
            let early = planted("tag_before_unlink").then(|| domain.tag());
            // SAFETY: as above.
            let old = current.put(unsafe { &*current.own() }.rebuilt(12, |_| (), |_| hash(5)));
            // SAFETY: as above.
            let table = unsafe { &*current.own() };
            let (place, _) = table.locate(hash(5), |entry| is(entry, 1)).expect("is there");
            table.remove(place, hash(5));
            let (mut limbo, mut freed) = (Limbo::new(1), Vec::new());
            limbo.retire(early.unwrap_or_else(|| domain.tag()), 0);
            limbo.reclaim(1, domain.safe(), &mut freed);
            freed.into_iter().for_each(|entry: usize| entries[entry].write(NOTHING));
            old
        })
    };
    world.2.advance();
    world.2.advance();
    reader.join().unwrap();
    let old = writer.join().unwrap();
    // SAFETY: nobody else is left.
    drop(unsafe { (Box::from_raw(old), Box::from_raw(world.0.own())) });
}
