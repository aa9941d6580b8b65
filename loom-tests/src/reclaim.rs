//! What is retired against who still reads it: `epoch`, with two pairs of barriers.
//!
//! [`Fences`] are those of a machine without `membarrier`. [`Lent`] promises what `membarrier` does and no more: a mutex for
//! each thread, which the light barrier of that thread locks for a moment and the heavy barrier one after the other. Two
//! light barriers have no lock in common. Where one fails to hold back a fault the other may, so most models have both.

use std::cell::Cell;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release, Ordering::SeqCst, fence};
use loom::thread;

use crate::epoch::domain::{Barrier, Domain};
use crate::epoch::limbo::Limbo;
use crate::harness::models;
use crate::sync::{Arc, Mutex, planted};

/// Fences on both sides.
#[derive(Default)]
pub(crate) struct Fences;

impl Barrier for Fences {
    fn light(&self) {
        fence(SeqCst);
    }

    fn heavy(&self) -> bool {
        fence(SeqCst);
        true
    }
}

const THREADS: usize = 3;

loom::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

/// Says that this is the `number`th thread, for [`Lent`].
pub(crate) fn in_thread(number: usize) {
    ME.with(|me| me.set(number));
}

/// A barrier that orders each light one with each heavy one, and no two light ones. Each thread has its point at a time of
/// its own, the reader's before the writer's.
pub(crate) struct Lent([Mutex<()>; THREADS]);

impl Default for Lent {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Barrier for Lent {
    fn light(&self) {
        drop(self.0[ME.with(Cell::get)].lock());
    }

    fn heavy(&self) -> bool {
        for point in &self.0 {
            drop(point.lock());
        }
        true
    }
}

/// The barrier that never works.
#[derive(Default)]
struct Refused(Fences);

impl Barrier for Refused {
    fn light(&self) {}

    fn heavy(&self) -> bool {
        false
    }
}

const LIVE: u32 = 7;
const POISON: u32 = 0;

/// A table of one place, whose objects are numbers of payloads.
struct World<B> {
    domain: Domain<B, 1>,
    place: AtomicUsize,
    payloads: [UnsafeCell<u32>; 2],
    limbo: Mutex<Limbo<usize>>,
}

impl<B: Barrier + Default + Send + Sync + 'static> World<B> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            domain: Domain::new(B::default()),
            place: AtomicUsize::new(0),
            payloads: [UnsafeCell::new(LIVE), UnsafeCell::new(LIVE)],
            limbo: Mutex::new(Limbo::new(1)),
        })
    }

    /// Starts a thread, the `number`th of this world; that which makes the world is the 0th.
    fn start(world: &Arc<Self>, number: usize, work: impl FnOnce(&Self) + 'static) -> thread::JoinHandle<()> {
        let world = world.clone();
        thread::spawn(move || {
            in_thread(number);
            work(&world);
        })
    }

    fn payload(&self, object: usize) {
        self.payloads[object].with(|payload| {
            // SAFETY: loom checks that nobody writes meanwhile.
            assert_eq!(unsafe { *payload }, LIVE, "freed under a reader");
        });
    }

    /// Looks once, pinned. One participant may look several times.
    fn read(&self, times: usize) {
        let me = self.domain.join();
        for _ in 0..times {
            let early = planted("found_before_pin").then(|| self.place.load(Acquire));
            me.pin(|_| self.payload(early.unwrap_or_else(|| self.place.load(Acquire))));
        }
    }

    /// Looks with a pin in a pin, before and after the inner one.
    fn read_nested(&self) {
        let me = self.domain.join();
        me.pin(|_| {
            let object = self.place.load(Acquire);
            me.pin(|_| self.payload(object));
            self.payload(object);
        });
    }

    /// Takes object 0 out of its place.
    fn replace(&self) {
        let mut limbo = self.limbo.lock();
        let early = planted("tag_before_unlink").then(|| self.domain.tag());
        self.place.store(1, Release);
        let tag = early.unwrap_or_else(|| self.domain.tag());
        limbo.retire(tag, 0);
    }

    /// Frees what is safe by `safe`; how much that was.
    fn free(&self, safe: crate::epoch::domain::Safe) -> usize {
        let mut freed = Vec::new();
        self.limbo.lock().reclaim(usize::MAX, safe, &mut freed);
        for &object in &freed {
            self.payloads[object].with_mut(|payload| {
                // SAFETY: loom checks that nobody reads meanwhile.
                unsafe { *payload = POISON };
            });
        }
        freed.len()
    }

    fn advance(&self) -> usize {
        let safe = self.domain.advance();
        self.free(safe)
    }

    /// A reader, a writer that frees what others have proven, and this thread that advances.
    fn run(times: usize) {
        let world = Self::new();
        let reader = World::start(&world, 1, move |world| world.read(times));
        let writer = World::start(&world, 2, |world| {
            world.replace();
            world.free(world.domain.safe());
        });
        world.domain.advance();
        world.domain.advance();
        reader.join().unwrap();
        writer.join().unwrap();
    }

    /// A reader, and this thread that writes and advances.
    fn run_alone(read: impl FnOnce(&Self) + 'static) {
        let world = Self::new();
        let reader = World::start(&world, 1, read);
        world.replace();
        let freed = (0..3).map(|_| world.advance()).sum::<usize>();
        reader.join().unwrap();
        assert_eq!(freed + world.advance(), 1, "kept from everybody");
    }
}

models! {
    /// A reader, a writer that frees, and one that advances: what is read is not freed.
    fenced finds
        found_before_pin, tag_before_unlink, bare_tag, no_light_barrier, no_heavy_barrier, relaxed_proof, relaxed_safe
    {
        World::<Fences>::run(1);
    }

    /// The same, where two light barriers have no order.
    lent finds
        found_before_pin, tag_before_unlink, bare_tag, no_light_barrier, no_heavy_barrier, early_barrier,
        one_epoch, one_round, relaxed_epoch, relaxed_step
    {
        World::<Lent>::run(1);
    }

    /// A free comes after the reads of every pin that ended, also when the scan sees only the next one.
    pins_in_a_row finds relaxed_pin, relaxed_unpin, relaxed_scan {
        World::<Fences>::run_alone(|world| world.read(2));
    }

    /// An inner pin neither renews nor ends the outer one.
    nested finds inner_unpin_ends, inner_pin_renews {
        World::<Fences>::run_alone(World::read_nested);
    }

    /// A slot that changes hands tells of its last owner's reads.
    a_slot_handed_on finds relaxed_claim, relaxed_give_back {
        let world = World::<Fences>::new();
        let reader = World::start(&world, 1, |world| world.read(1));
        world.replace();
        world.domain.join().pin(|_| ());
        world.domain.advance();
        let safe = world.domain.advance();
        world.free(safe);
        reader.join().unwrap();
    }

    /// Rounds follow each other: the epoch does not go back.
    rounds finds relaxed_begin, relaxed_end {
        let domain = Arc::new(Domain::<_, 1>::new(Lent::default()));
        let other = domain.clone();
        let other = thread::spawn(move || {
            in_thread(1);
            other.advance();
            other.advance();
            other.tag()
        });
        domain.advance();
        assert!(other.join().unwrap() <= domain.tag(), "an epoch came again");
    }

    /// A barrier that the kernel refuses proves nothing.
    a_refused_barrier finds no_heavy_barrier {
        let world = World::<Refused>::new();
        let reader = World::start(&world, 1, |world| world.read(1));
        world.replace();
        assert_eq!(world.advance() + world.advance(), 0, "freed without a barrier");
        reader.join().unwrap();
    }
}
