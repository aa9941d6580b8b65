//! Entries as far as `l1/shard.rs` and what it stands on look at them: stands in for the crate's, over loom's cells.
//!
//! Their counts are the crate's own (`entry/refs.rs`). What the shard's lock orders lies in a cell that loom watches, and so
//! does the value: an entry that is freed has none any more. Its memory is kept until the execution ends, so that a model
//! that is wrong finds that, and not whatever lies there next.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use loom::cell::UnsafeCell;

use crate::refs::Refs;
use crate::sync::atomic::AtomicPtr;
use crate::sync::planted;

/// What an entry has that is freed.
const NOTHING: u64 = u64::MAX;

pub(crate) struct Header {
    pub(crate) prev: AtomicPtr<Header>,
    pub(crate) next: AtomicPtr<Header>,
    refs: Refs,
    hash: u64,
    key: String,
    value: UnsafeCell<u64>,
    queued: UnsafeCell<Queued>,
    /// A hint.
    frequency: AtomicU8,
}

/// Under the shard's lock.
struct Queued {
    charged: u32,
    in_main: bool,
    used: u32,
}

/// The memory of freed entries.
struct Graves(Mutex<Vec<Grave>>);

struct Grave(NonNull<Header>);

// SAFETY: nobody looks at it any more.
unsafe impl Send for Grave {}

impl Drop for Grave {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, and dropped with the execution.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

loom::lazy_static! {
    static ref GRAVES: Graves = Graves(Mutex::new(Vec::new()));
}

#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    at: NonNull<Header>,
    life: PhantomData<&'a Header>,
}

impl<'a> Entry<'a> {
    pub(crate) fn prefetch(_: *const Header) {}

    /// # Safety
    /// Somebody holds a count of the entry for as long as `'a` lasts.
    pub(crate) unsafe fn at(at: NonNull<Header>) -> Self {
        Self { at, life: PhantomData }
    }

    pub(crate) fn pointer(self) -> NonNull<Header> {
        self.at
    }

    pub(crate) fn header(self) -> &'a Header {
        // SAFETY: the memory stays until the execution ends.
        unsafe { self.at.as_ref() }
    }

    /// The value, while the entry lives.
    pub(crate) fn value(self) -> u64 {
        // SAFETY: loom checks that nobody frees it meanwhile.
        let value = self.header().value.with(|value| unsafe { *value });
        assert_ne!(value, NOTHING, "looked at after it was freed");
        value
    }

    pub(crate) fn hash(self) -> u64 {
        self.value();
        self.header().hash
    }

    pub(crate) fn key(self) -> &'a str {
        self.value();
        &self.header().key
    }

    pub(crate) fn is_of(self, key: &str) -> bool {
        self.key() == key
    }

    pub(crate) fn is(self, other: Entry<'_>) -> bool {
        self.at == other.at
    }

    fn queued<R>(self, look: impl FnOnce(&mut Queued) -> R) -> R {
        // SAFETY: loom checks that nobody else looks meanwhile.
        self.header().queued.with_mut(|queued| look(unsafe { &mut *queued }))
    }

    pub(crate) fn charged(self) -> u32 {
        self.queued(|queued| queued.charged)
    }

    pub(crate) fn set_charged(self, weight: u32) {
        self.queued(|queued| queued.charged = weight);
    }

    pub(crate) fn weight(self) -> u32 {
        self.charged()
    }

    pub(crate) fn is_in_main(self) -> bool {
        self.queued(|queued| queued.in_main)
    }

    pub(crate) fn set_in_main(self, main: bool) {
        self.queued(|queued| queued.in_main = main);
    }

    pub(crate) fn used(self) -> u32 {
        self.queued(|queued| queued.used)
    }

    pub(crate) fn set_used(self, used: u32) {
        self.queued(|queued| queued.used = used);
    }

    pub(crate) fn frequency(self) -> u8 {
        self.header().frequency.load(Relaxed)
    }

    pub(crate) fn set_frequency(self, frequency: u8) {
        self.header().frequency.store(frequency, Relaxed);
    }

    pub(crate) fn touch(self) {
        self.set_frequency((self.frequency() + 1).min(2));
    }

    pub(crate) fn count(self) -> Counted {
        if !planted("taken_without_count") {
            self.header().refs.up();
        }
        Counted(self.at)
    }
}

pub(crate) struct Counted(NonNull<Header>);

// SAFETY: an entry is read by anyone; loom checks what changes in it.
unsafe impl Send for Counted {}

impl Counted {
    pub(crate) fn new(hash: u64, key: &str, value: u64) -> Self {
        let header = Header {
            prev: AtomicPtr::default(),
            next: AtomicPtr::default(),
            refs: Refs::one(),
            hash,
            key: key.into(),
            value: UnsafeCell::new(value),
            queued: UnsafeCell::new(Queued { charged: 1, in_main: false, used: 0 }),
            frequency: AtomicU8::new(0),
        };
        Self(NonNull::from(Box::leak(Box::new(header))))
    }

    pub(crate) fn entry(&self) -> Entry<'_> {
        // SAFETY: this is a count of it.
        unsafe { Entry::at(self.0) }
    }

    pub(crate) fn into_pointer(self) -> NonNull<Header> {
        let at = self.0;
        std::mem::forget(self);
        at
    }

    /// # Safety
    /// `at` came from [`into_pointer`](Counted::into_pointer), and is taken back once.
    pub(crate) unsafe fn from_pointer(at: NonNull<Header>) -> Self {
        Self(at)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let header = self.entry().header();
        if header.refs.down() {
            // SAFETY: loom checks that nobody looks meanwhile.
            header.value.with_mut(|value| unsafe { *value = NOTHING });
            GRAVES.0.lock().expect("nobody panics in between").push(Grave(self.0));
        }
    }
}
