//! A load in flight against an invalidation: loading markers under a shard's lock.

use loom::sync::atomic::{AtomicU64, Ordering::SeqCst};
use loom::thread;

use crate::harness::models;
use crate::l1::marker::Markers;
use crate::sync::{Arc, Mutex, planted};

const HASH: u64 = 1;
const KEY: &str = "k";

struct World {
    shard: Mutex<(Markers, Option<u64>)>,
    source: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { shard: Mutex::new((Markers::new(), None)), source: AtomicU64::new(1) })
    }

    fn load(&self) {
        let early = planted("read_before_mark").then(|| self.source.load(SeqCst));
        let token = self.shard.lock().0.mark(HASH, KEY);
        let found = early.unwrap_or_else(|| self.source.load(SeqCst));
        let (markers, cached) = &mut *self.shard.lock();
        if markers.holds(HASH, token) || planted("store_without_mark") {
            *cached = Some(found);
        }
        markers.release(HASH, token);
    }

    fn invalidate(&self) {
        let (markers, cached) = &mut *self.shard.lock();
        if !planted("mark_survives") {
            markers.kill(HASH, KEY);
        }
        *cached = None;
    }

    fn cached(&self) -> Option<u64> {
        self.shard.lock().1
    }
}

models! {
    /// After `invalidate` has returned no read sees what was read before it, and it is never left behind.
    an_invalidation_beats_a_load finds mark_survives, store_without_mark, read_before_mark {
        let world = World::new();
        let loaders = [world.clone(), world.clone()].map(|world| thread::spawn(move || world.load()));
        world.source.store(2, SeqCst);
        world.invalidate();
        assert_ne!(world.cached(), Some(1), "stale after the invalidation returned");
        for thread in loaders {
            thread.join().unwrap();
        }
        assert_ne!(world.cached(), Some(1), "stale for ever");
        assert_eq!(world.shard.lock().0.len(), 0, "a mark is left behind");
    }
}
