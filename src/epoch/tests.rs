use std::cell::RefCell;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use super::barrier::Process;
use super::domain::Domain;
use super::*;

/// Domains of their own, as a kernel with `membarrier` and one without would have them.
fn domains() -> [Domain<Process, 2>; 2] {
    [Domain::new(Process::new()), Domain::new(Process::fences())]
}

fn number(pinned: &Pinned<'_>) -> usize {
    pinned.number()
}

fn reclaimed(limbo: &mut Limbo<usize>, safe: Safe) -> Vec<usize> {
    let mut out = Vec::new();
    limbo.reclaim(usize::MAX, safe, &mut out);
    out
}

#[test]
fn a_held_pin_keeps_what_others_retire_and_its_end_frees_it() {
    for domain in domains() {
        let mut limbo = Limbo::new(1000);
        let (pinned, is_pinned) = mpsc::channel();
        thread::scope(|scope| {
            let domain = &domain;
            let (end, ended) = mpsc::channel::<()>();
            let reader = scope.spawn(move || {
                domain.join().pin(|_| {
                    pinned.send(()).unwrap();
                    ended.recv().unwrap();
                });
            });
            is_pinned.recv().unwrap();
            for object in 0..100 {
                limbo.retire(domain.tag(), object);
                let safe = domain.advance();
                assert!(reclaimed(&mut limbo, safe).is_empty(), "freed under a pin");
                assert_eq!(domain.held_back(), object as u64 + 1);
            }
            end.send(()).unwrap();
            reader.join().unwrap();
        });
        let freed: Vec<_> = (0..3).flat_map(|_| reclaimed(&mut limbo, domain.advance())).collect();
        assert_eq!(freed, Vec::from_iter(0..100), "kept when nobody is pinned");
        assert_eq!(domain.held_back(), 0);
    }
}

#[test]
fn reclaim_hands_over_the_oldest_and_no_more_than_asked() {
    let [domain, _] = domains();
    let mut limbo = Limbo::new(4);
    let tag: Tag = domain.tag();
    (0..10).for_each(|object| limbo.retire(tag, object));
    domain.advance();
    let safe = domain.advance();
    limbo.retire(domain.tag(), 10);
    let mut out = Vec::new();
    assert_eq!(limbo.reclaim(3, safe, &mut out), 3);
    assert_eq!(limbo.reclaim(100, safe, &mut out), 7);
    assert_eq!(out, Vec::from_iter(0..10));
    assert_eq!((limbo.reclaim(100, safe, &mut out), limbo.len()), (0, 1), "younger than the proof");
}

#[test]
fn a_limbo_is_overdue_within_an_epoch_and_the_longer_it_is_the_more_seldom() {
    let [domain, _] = domains();
    let mut limbo = Limbo::new(8);
    let overdue = |limbo: &mut Limbo<usize>, count: usize| {
        (0..count)
            .filter(|&object| {
                limbo.retire(domain.tag(), object);
                limbo.is_overdue()
            })
            .count()
    };
    assert_eq!(overdue(&mut limbo, 32), 4, "at 8, 16, 24 and 32");
    assert_eq!(overdue(&mut limbo, 1000), 12, "each time a quarter of what is there");
    for _ in 0..100 {
        domain.advance();
        assert_eq!(overdue(&mut limbo, 7), 0, "few within each epoch");
    }
    domain.advance();
    let safe = domain.advance();
    assert_eq!(reclaimed(&mut limbo, safe).len(), 1732);
    assert_eq!(overdue(&mut limbo, 8), 1, "short again");
}

#[test]
fn a_pin_in_a_pin_ends_with_the_outer_one() {
    assert!(!pinned_here());
    let number = pin(|outer| {
        pin(|inner| assert_eq!(inner.number(), outer.number()));
        assert!(pinned_here());
        outer.number()
    });
    assert!(!pinned_here());
    let panicked = std::panic::catch_unwind(|| pin(|_| pin(|_| std::panic::resume_unwind(Box::new(())))));
    assert!(panicked.is_err());
    assert!(!pinned_here(), "a panic left the pin");
    assert_eq!(pin(|again| again.number()), number);
}

#[test]
fn a_pin_holds_back_the_process() {
    let tag = pin(|_| {
        let tag = domain().tag();
        (0..5).for_each(|_| assert!(!domain().advance().frees(tag), "freed under a pin of this thread"));
        tag
    });
    // Other tests pin too, for a moment.
    while !domain().advance().frees(tag) {
        thread::yield_now();
    }
}

#[test]
fn slots_of_ended_threads_are_used_again() {
    let numbers = Mutex::new(Vec::new());
    let most = AtomicUsize::new(0);
    for _ in 0..20 {
        let all = Barrier::new(10);
        numbers.lock().unwrap().clear();
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    pin(|pinned| numbers.lock().unwrap().push(pinned.number()));
                    all.wait();
                });
            }
        });
        let mut numbers = numbers.lock().unwrap();
        // Relaxed: one thread.
        most.fetch_max(*numbers.iter().max().unwrap(), Ordering::Relaxed);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 10, "two threads had one slot");
    }
    // Other tests of the process have threads too.
    assert!(most.into_inner() < 150, "ended threads kept their slots");
}

#[test]
fn a_domain_grows_with_its_threads() {
    for domain in domains() {
        let places: Vec<_> = (0..9).map(|_| domain.join()).collect();
        let numbers: Vec<_> = places.iter().map(|place| place.pin(number)).collect();
        assert_eq!(numbers, Vec::from_iter(0..9));
        let mut limbo = Limbo::new(1);
        places[8].pin(|_| {
            limbo.retire(domain.tag(), 0);
            (0..5).for_each(|_| assert!(reclaimed(&mut limbo, domain.advance()).is_empty(), "a block was not scanned"));
        });
    }
}

/// Pins when it is dropped, also after the thread's slot is gone.
struct Last(mpsc::Sender<(bool, bool)>);

impl Drop for Last {
    fn drop(&mut self) {
        let own = pin(|outer| {
            // Another thread meanwhile: it would take this one's slot if that had been given back.
            let other = thread::spawn(|| pin(number)).join().unwrap();
            pin(|inner| inner.number() == outer.number()) && pinned_here() && other != outer.number()
        });
        self.0.send((own, pinned_here())).unwrap();
    }
}

thread_local! {
    static FIRST: RefCell<Option<Last>> = const { RefCell::new(None) };
    static SECOND: RefCell<Option<Last>> = const { RefCell::new(None) };
}

#[test]
fn pins_work_in_destructors_of_thread_locals() {
    let (told, tell) = mpsc::channel();
    // One destructor registered before the slot's and one after: whatever the order, one of them comes after it.
    thread::spawn(move || {
        FIRST.set(Some(Last(told.clone())));
        pin(|_| ());
        SECOND.set(Some(Last(told)));
    })
    .join()
    .unwrap();
    assert_eq!(Vec::from_iter(tell), [(true, false), (true, false)]);
}

/// One place, whose object is taken out and freed while others read it.
fn stress(domain: &Domain<Process, 2>) {
    const LIVE: usize = 0x5eed;
    let new = || Box::into_raw(Box::new(AtomicUsize::new(LIVE)));
    let (place, reads) = (AtomicPtr::new(new()), AtomicUsize::new(0));
    let limbo = Mutex::new(Limbo::new(16));
    let free = |most: usize, safe: Safe| {
        let mut out = Vec::new();
        limbo.lock().unwrap().reclaim(most, safe, &mut out);
        for object in out {
            let Object(object) = object;
            #[expect(unsafe_code, reason = "an object is made and freed here as a table would")]
            // SAFETY: from `Box::into_raw`, taken out of its place once, and no reader is left (E3).
            let object = unsafe { Box::from_raw(object) };
            // Relaxed: the object is nobody else's.
            object.store(0, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let me = domain.join();
                for _ in 0..20_000 {
                    me.pin(|_| {
                        let object = place.load(Ordering::Acquire);
                        #[expect(unsafe_code, reason = "an object is looked at here as a table would")]
                        // SAFETY: found under a pin, so it is not freed before the pin ends (E3).
                        let object = unsafe { &*object };
                        assert_eq!(object.load(Ordering::Relaxed), LIVE, "freed under a reader");
                    });
                }
                reads.fetch_add(20_000, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while reads.load(Ordering::Relaxed) < 40_000 {
                    let overdue = {
                        let mut limbo = limbo.lock().unwrap();
                        let old = place.swap(new(), Ordering::AcqRel);
                        limbo.retire(domain.tag(), Object(old));
                        limbo.is_overdue()
                    };
                    free(4, if overdue { domain.advance() } else { domain.safe() });
                }
            });
        }
    });
    (0..3).for_each(|_| free(usize::MAX, domain.advance()));
    assert_eq!(limbo.lock().unwrap().len(), 0, "kept when nobody is pinned");
    limbo.lock().unwrap().retire(domain.tag(), Object(place.into_inner()));
    (0..3).for_each(|_| free(usize::MAX, domain.advance()));
}

struct Object(*mut AtomicUsize);

#[expect(unsafe_code, reason = "a pointer that goes from thread to thread")]
// SAFETY: what it points at is an atomic, and is freed by one thread.
unsafe impl Send for Object {}

#[test]
fn readers_never_see_what_was_freed() {
    domains().iter().for_each(stress);
}

#[test]
fn two_hundred_threads_pin_retire_and_end() {
    let [domain, _] = domains();
    let limbo = Mutex::new(Limbo::new(8));
    let alive = Arc::new(());
    for _ in 0..10 {
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let me = domain.join();
                    me.pin(|_| pin(|_| ()));
                    let mut limbo = limbo.lock().unwrap();
                    limbo.retire(domain.tag(), alive.clone());
                    let mut out = Vec::new();
                    let safe = if limbo.is_overdue() { domain.advance() } else { domain.safe() };
                    limbo.reclaim(4, safe, &mut out);
                });
            }
        });
    }
    let mut out = Vec::new();
    (0..3).for_each(|_| {
        limbo.lock().unwrap().reclaim(usize::MAX, domain.advance(), &mut out);
    });
    drop(out);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn the_kernels_barrier_is_found_or_done_without() {
    let process = Process::new();
    println!("membarrier: {}", process.is_asymmetric());
    assert!(!Process::fences().is_asymmetric());
}
