//! One shard: `l1/shard.rs` with its table, policy, queues, markers and limbo, changed under its lock and read without.

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Release, Ordering::SeqCst};
use loom::thread::{self, JoinHandle};

use super::shard::{Name, Shard, Writer};
use crate::entry::Counted;
use crate::epoch::{domain, pin};
use crate::harness::models;
use crate::sync::{Arc, planted};

/// The hash of every key here: they share a bucket and a tag, so that one is looked at where another is.
const HASH: u64 = 5 << 32;

fn name(key: &str) -> Name<'_> {
    Name { hash: HASH, key }
}

fn entry(key: &str, value: u64) -> Counted {
    Counted::new(HASH, key, value)
}

/// Makes room as `L1` does, for as many entries as `most`.
fn make_room(shard: &mut Writer<'_>, most: usize) {
    while shard.len() > most {
        let victim = shard.victim(|_| false).expect("something is there");
        assert!(shard.remove(victim), "a victim was not there any more");
    }
}

fn set(shard: &Shard, new: Counted, most: usize) {
    shard.write(|shard| {
        let entry = new.entry();
        shard.markers().kill(entry.hash(), entry.key());
        match shard.get(Name::of(entry)) {
            Some(old) => shard.replace(old, new),
            None => {
                make_room(shard, most - 1);
                shard.insert(new);
            }
        }
    });
}

fn remove(shard: &Shard, key: &str) {
    shard.write(|shard| {
        if !planted("mark_survives") {
            shard.markers().kill(HASH, key);
        }
        if let Some(entry) = shard.get(name(key)) {
            shard.remove(entry);
        }
    });
}

/// What a reader finds, without the lock.
fn find(shard: &Shard, key: &str) -> Option<u64> {
    pin(|pinned| shard.find(name(key), pinned).map(|found| found.value()))
}

/// What a reader takes a count of, and keeps.
fn take(shard: &Shard, key: &str) -> Option<Counted> {
    pin(|pinned| shard.find(name(key), pinned).map(|found| found.count()))
}

fn reclaim(shard: &Shard) {
    domain().advance();
    domain().advance();
    shard.reclaim(usize::MAX);
}

fn start<T: Sync + 'static>(world: &Arc<T>, work: impl FnOnce(&T) + 'static) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || work(&world))
}

fn valid(shard: &Shard) {
    shard.read(|shard| shard.validate()).expect("everything adds up");
}

/// A load of `k` as a leader does it: marks, asks the source, stores if it may.
fn load(shard: &Shard, source: &AtomicU64) {
    let early = planted("read_before_mark").then(|| source.load(SeqCst));
    let token = shard.write(|shard| shard.markers().mark(HASH, "k"));
    let found = entry("k", early.unwrap_or_else(|| source.load(SeqCst)));
    shard.write(|shard| {
        if shard.holds(HASH, token) || planted("store_without_mark") {
            match shard.get(name("k")) {
                Some(old) => shard.replace(old, found),
                None => shard.insert(found),
            }
        }
        shard.markers().release(HASH, token);
    });
}

models! {
    /// A key that is evicted while it is written anew: what goes is what was chosen, links and all, never what came since.
    evicted_and_inserted_again finds left_in_its_queue, freed_at_once {
        let shard = Arc::new(Shard::new());
        set(&shard, entry("k", 1), 2);
        set(&shard, entry("l", 2), 2);
        let writer = start(&shard, |shard| {
            remove(shard, "k");
            set(shard, entry("k", 3), 2);
        });
        let evicting = start(&shard, |shard| set(shard, entry("m", 4), 2));
        assert!(find(&shard, "k").is_none_or(|value| value == 1 || value == 3));
        writer.join().unwrap();
        evicting.join().unwrap();
        reclaim(&shard);
        valid(&shard);
        assert!(find(&shard, "k").is_none_or(|value| value == 3));
        shard.read(|shard| assert_eq!(shard.len(), 2));
    }

    /// What was chosen to go, and has gone since under the same lock, takes nothing of its name with it.
    a_victim_that_went_before finds removed_by_name {
        let shard = Arc::new(Shard::new());
        set(&shard, entry("k", 1), 2);
        let reader = start(&shard, |shard| assert!(find(shard, "k").is_some(), "missed while it was replaced"));
        shard.write(|shard| {
            let victim = shard.victim(|_| false).expect("something is there");
            shard.replace(victim, entry("k", 2));
            assert!(!shard.remove(victim), "removed twice");
        });
        reader.join().unwrap();
        assert_eq!(find(&shard, "k"), Some(2));
        reclaim(&shard);
        valid(&shard);
    }

    /// After an invalidation has returned no reader finds what was loaded before it, and no load leaves it behind.
    an_invalidation_beats_a_fill finds mark_survives, store_without_mark, read_before_mark {
        let world = Arc::new((Shard::new(), AtomicU64::new(1), AtomicBool::new(false)));
        set(&world.0, entry("k", 1), 2);
        let loader = start(&world, |world| load(&world.0, &world.1));
        let reader = start(&world, |world| {
            let invalidated = world.2.load(Acquire);
            let found = find(&world.0, "k");
            assert!(!invalidated || found != Some(1), "stale after the invalidation returned");
        });
        world.1.store(2, SeqCst);
        remove(&world.0, "k");
        world.2.store(true, Release);
        loader.join().unwrap();
        reader.join().unwrap();
        assert_ne!(find(&world.0, "k"), Some(1), "stale for ever");
        world.0.read(|shard| assert_eq!(shard.marked(), 0, "a mark is left behind"));
        valid(&world.0);
    }

    /// A value that is replaced and reclaimed while it is read: it is always found, whole, and whoever took a count has it
    /// for as long as it likes.
    replaced_under_a_reader finds replaced_in_two_steps, freed_at_once, taken_without_count {
        let shard = Arc::new(Shard::new());
        set(&shard, entry("k", 1), 2);
        let reader = start(&shard, |shard| {
            assert!(find(shard, "k").is_some(), "missed while it was replaced");
            let taken = take(shard, "k").expect("missed while it was replaced");
            assert!(taken.entry().value() <= 2);
        });
        set(&shard, entry("k", 2), 2);
        reclaim(&shard);
        reader.join().unwrap();
        reclaim(&shard);
        valid(&shard);
    }
}
