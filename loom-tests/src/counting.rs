//! Striped counters: `counter/stripes.rs`, with a stripe for one thread at a time and one that is shared.

use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread;

use super::stripes::{Numbers, Stripes};
use crate::harness::models;
use crate::sync::{Arc, planted};

/// The numbers of the threads, what they count, and whether one has ended.
struct World(Numbers<1>, Stripes<1, 1>, AtomicBool);

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self(Numbers::new(), Stripes::new(), AtomicBool::new(false)))
    }

    /// Counts as a thread does from its first count to its end.
    fn count(&self, times: u64) {
        let number = self.0.take();
        if planted("counted_after_its_end") {
            self.0.give_back(number);
        }
        (0..times).for_each(|_| self.1.add(number, 0, 1));
        if !planted("counted_after_its_end") {
            self.0.give_back(number);
        }
    }
}

models! {
    /// Threads that end and begin hand a stripe on, and those that find none share one: no count is lost.
    no_count_is_lost finds given_twice, counted_after_its_end {
        let world = World::new();
        // A number that was given back is the first to be taken.
        world.count(1);
        let threads = [1, 2].map(|times| { let world = world.clone(); thread::spawn(move || world.count(times)) });
        let seen = world.1.sum(0);
        assert!((1..=4).contains(&seen), "{seen} of 4");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(world.1.sum(0), 4);
    }

    /// Threads that have no stripe of their own share one: no count is lost there either.
    a_shared_stripe_loses_nothing finds shared_stripe_stored {
        let world = World::new();
        let number = world.0.take();
        let threads = [1, 2].map(|times| { let world = world.clone(); thread::spawn(move || world.count(times)) });
        world.1.add(number, 0, 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.0.give_back(number);
        assert_eq!(world.1.sum(0), 4);
    }

    /// Whoever takes over a stripe goes on from what is there, although nothing but the number tells it of the last owner.
    a_stripe_is_taken_over_whole finds counted_after_its_end {
        let world = World::new();
        let first = { let world = world.clone(); thread::spawn(move || {
            world.count(2);
            world.2.store(true, Relaxed);
        }) };
        let second = { let world = world.clone(); thread::spawn(move || {
            let ended = world.2.load(Relaxed);
            if ended {
                world.count(1);
            }
            u64::from(ended)
        }) };
        first.join().unwrap();
        let more = second.join().unwrap();
        assert_eq!(world.1.sum(0), 2 + more);
    }
}
