//! An entry's counts and its slot for the decoded value: `entry/refs.rs` and `entry/slot.rs`.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;

use crate::epoch::domain::Domain;
use crate::epoch::limbo::Limbo;
use crate::harness::models;
use crate::reclaim::{Fences, in_thread};
use crate::refs::Refs;
use crate::slot::{Slot, Waiting};
use crate::sync::{Arc, planted};

/// An entry as far as counts go: what it holds is written by who frees it.
struct Counted {
    refs: Refs,
    content: UnsafeCell<bool>,
    freed: AtomicUsize,
}

impl Counted {
    fn new() -> Arc<Self> {
        Arc::new(Self { refs: Refs::one(), content: UnsafeCell::new(true), freed: AtomicUsize::new(0) })
    }

    fn used(&self) {
        // SAFETY: loom checks that nobody writes meanwhile.
        assert!(self.content.with(|content| unsafe { *content }), "used after it was freed");
    }

    fn down(&self) {
        if self.refs.down() {
            // SAFETY: loom checks that nobody reads or writes meanwhile.
            self.content.with_mut(|content| unsafe { *content = false });
            self.freed.fetch_add(1, Relaxed);
        }
    }
}

/// Something that was decoded.
struct Decoded(UnsafeCell<u64>);

impl Decoded {
    fn new(content: u64) -> Self {
        let new = Self(UnsafeCell::new(0));
        // SAFETY: nobody else has it.
        new.0.with_mut(|at| unsafe { *at = content });
        new
    }

    fn read(&self) -> u64 {
        // SAFETY: loom checks that whoever wrote it did so before.
        self.0.with(|content| unsafe { *content })
    }
}

models! {
    /// An entry is freed once, by whoever takes the last count, after all uses by all others.
    counted finds relaxed_down, last_not_acquired {
        let entry = Counted::new();
        entry.refs.up();
        let other = { let entry = entry.clone(); thread::spawn(move || {
            entry.refs.up();
            entry.down();
            entry.used();
            entry.down();
        }) };
        entry.used();
        entry.down();
        other.join().unwrap();
        assert_eq!(entry.freed.load(Relaxed), 1);
    }

    /// A reader takes a count under its pin, while the table's count goes by way of the limbo: what it took, it may use
    /// after the pin.
    taken_under_a_pin finds counted_after_the_pin, relaxed_down {
        let world = Arc::new((Counted::new(), AtomicBool::new(true), Domain::<Fences, 1>::new(Fences)));
        let reader = { let world = world.clone(); thread::spawn(move || {
            in_thread(1);
            let (entry, linked, domain) = &*world;
            let late = planted("counted_after_the_pin");
            let found = domain.join().pin(|_| {
                let found = linked.load(loom::sync::atomic::Ordering::Acquire);
                if found && !late {
                    entry.refs.up();
                }
                found
            });
            if found {
                if late {
                    entry.refs.up();
                }
                entry.used();
                entry.down();
            }
        }) };
        let writer = { let world = world.clone(); thread::spawn(move || {
            in_thread(2);
            let (entry, linked, domain) = &*world;
            linked.store(false, loom::sync::atomic::Ordering::Release);
            let (mut limbo, mut freed) = (Limbo::new(1), Vec::new());
            limbo.retire(domain.tag(), ());
            domain.advance();
            domain.advance();
            limbo.reclaim(1, domain.safe(), &mut freed);
            freed.into_iter().for_each(|()| entry.down());
        }) };
        reader.join().unwrap();
        writer.join().unwrap();
    }

    /// What is found in a slot is whole, whether it was set or made.
    whole finds relaxed_set, relaxed_end, relaxed_get {
        let world = Arc::new((Slot::<Decoded>::new(), Waiting::new()));
        let maker = { let world = world.clone(); thread::spawn(move || {
            let (slot, waiting) = &*world;
            let made = slot.get_or_make(waiting, || Ok::<_, ()>(Decoded::new(1)));
            assert!(made.is_ok_and(|made| made.read() <= 2));
        }) };
        let setter = { let world = world.clone(); thread::spawn(move || drop(world.0.set(Decoded::new(2)))) };
        assert!(world.0.get().is_none_or(|found| found.read() > 0));
        maker.join().unwrap();
        setter.join().unwrap();
        assert!(world.0.get().is_some_and(|found| found.read() > 0));
    }

    /// Of two that ask for what is not there one makes it, and the other waits for it and is woken; after a failure the
    /// other makes it.
    made_once finds woken_without_lock, not_woken {
        let world = Arc::new((Slot::<Decoded>::new(), Waiting::new(), AtomicUsize::new(0)));
        let asks = |fails: bool| { let world = world.clone(); move || {
            let (slot, waiting, made) = &*world;
            let make = || {
                made.fetch_add(1, Relaxed);
                if fails { Err(()) } else { Ok(Decoded::new(1)) }
            };
            slot.get_or_make(waiting, make).map(Decoded::read)
        } };
        let failing = thread::spawn(asks(true));
        let got = asks(false)();
        let other = failing.join().unwrap();
        assert_eq!(got, Ok(1));
        let made = world.2.load(Relaxed);
        assert!(other.is_err() && made == 2 || other == Ok(1) && made == 1, "{other:?} of {made}");
    }
}
