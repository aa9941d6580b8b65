//! A key's place in the table. The place is a mutex here and an entry of papaya's map in the crate, both one
//! linearizable register; the operations on it are those of `flight/table.rs`.

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;

use crate::flight::core::{Flight, Home, Join, Joined, Lease};
use crate::harness::models;
use crate::sync::{Arc, Mutex, planted};

#[derive(Clone)]
struct Place(Arc<Slot>);

struct Slot {
    flight: Mutex<Option<Arc<Flight<usize, Place>>>>,
    source: AtomicUsize,
}

enum Entered {
    Lead(Lease<usize, Place>),
    Follow(Join<usize, Place>),
}

impl Home<usize> for Place {
    fn over(&self, flight: &Flight<usize, Self>) {
        let mut slot = self.0.flight.lock();
        let found = slot.as_ref().is_some_and(|found| std::ptr::eq(&**found, flight));
        let removed = if found || planted("removed_by_key") { slot.take() } else { None };
        drop(slot);
        // Dropped outside the lock: it may be the last reference but the caller's.
        drop(removed);
    }

    fn here() -> u64 {
        0
    }

    fn granted_to(&self, _: u64) {}
}

impl Place {
    fn new() -> Self {
        Self(Arc::new(Slot { flight: Mutex::new(None), source: AtomicUsize::new(1) }))
    }

    fn enter(&self) -> Entered {
        if let Some(found) = self.0.flight.lock().clone() {
            return Entered::Follow(Flight::join(found));
        }
        let lease = Flight::start(self.clone());
        let mut slot = self.0.flight.lock();
        match slot.clone() {
            Some(earlier) if !planted("blind_insert") => {
                drop(slot);
                Entered::Follow(Flight::join(earlier))
            }
            displaced => {
                *slot = Some(lease.flight().clone());
                drop(slot);
                drop(displaced);
                Entered::Lead(lease)
            }
        }
    }

    fn unlink(&self) {
        if planted("no_unlink") {
            return;
        }
        let removed = self.0.flight.lock().take();
        drop(removed);
    }

    /// Loads the source through the key's flight.
    fn load(&self) -> usize {
        loop {
            let lease = match self.enter() {
                Entered::Lead(lease) => lease,
                Entered::Follow(join) => {
                    let flight = join.flight().clone();
                    match block_on(join) {
                        Joined::Lead(lease) => lease,
                        Joined::Landed(found) => return found,
                        Joined::Gone => {
                            self.over(&flight);
                            continue;
                        }
                    }
                }
            };
            let found = self.0.source.load(SeqCst);
            assert!(lease.land(found));
            return found;
        }
    }

    fn is_empty(&self) -> bool {
        self.0.flight.lock().is_none()
    }
}

models! {
    /// Who enters after `unlink` has returned never gets what the flight before it found.
    nobody_joins_after_unlink finds no_unlink {
        let place = Place::new();
        let loader = { let place = place.clone(); thread::spawn(move || place.load()) };
        place.0.source.store(2, SeqCst);
        place.unlink();
        assert_eq!(place.load(), 2, "a load after the invalidation returned what was read before");
        loader.join().unwrap();
        assert!(place.is_empty());
    }

    /// A flight that was unlinked leaves its key's next flight alone: one that is led is found.
    a_flight_removes_only_itself finds removed_by_key {
        let place = Place::new();
        let Entered::Lead(old) = place.enter() else { panic!("follows nobody") };
        place.unlink();
        let ender = thread::spawn(move || assert!(old.land(1)));
        let Entered::Lead(new) = place.enter() else { panic!("follows an unlinked flight") };
        assert!(matches!(place.enter(), Entered::Follow(_)), "a flight under way is not found");
        assert!(new.land(2));
        ender.join().unwrap();
        assert!(place.is_empty());
    }

    /// Of callers that find no flight one leads, and the flight that nobody saw disappears.
    one_of_two_newcomers_leads finds blind_insert {
        let place = Place::new();
        let led = Arc::new(AtomicUsize::new(0));
        let call = |place: Place, led: Arc<AtomicUsize>| move || match place.enter() {
            Entered::Lead(lease) => { led.fetch_add(1, SeqCst); Some(lease) }
            Entered::Follow(_) => None,
        };
        let other = thread::spawn(call(place.clone(), led.clone()));
        let mine = call(place.clone(), led.clone())();
        let theirs = other.join().unwrap();
        assert_eq!(led.load(SeqCst), 1, "two leaders of one key");
        for lease in [mine, theirs].into_iter().flatten() { assert!(lease.land(1)); }
        assert!(place.is_empty());
    }

    /// A lead that is dropped leaves nothing in the table, whoever looks the key up meanwhile.
    a_closed_flight_is_not_found_again finds lease_without_drop {
        let place = Place::new();
        let Entered::Lead(lease) = place.enter() else { panic!("follows nobody") };
        let leader = thread::spawn(move || drop(lease));
        assert_eq!(place.load(), 1);
        leader.join().unwrap();
        assert!(place.is_empty());
    }
}
