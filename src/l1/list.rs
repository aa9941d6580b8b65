//! A list of entries, linked through their entries.
//!
//! # Invariants
//! - K1: an entry is taken out of its list before the shard gives its count away: what is linked is alive.
//! - K2: links are read and written under the shard's lock. Whoever calls holds it.

#![expect(unsafe_code, reason = "the links are pointers in the entries themselves")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::entry::{Entry, Header};
use crate::sync::Own;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// First in, at the head; first out, at the tail.
pub(super) struct List {
    head: *mut Header,
    tail: *mut Header,
    len: usize,
    weight: u64,
}

// SAFETY: the pointers are to entries, which are `Send` and `Sync`.
unsafe impl Send for List {}

/// The entries before and behind a place in the list, null at its ends.
type Neighbours = (*mut Header, *mut Header);

/// As the holder of the shard's lock sees them (K2).
fn neighbours(entry: Entry<'_>) -> Neighbours {
    (entry.header().prev.own(), entry.header().next.own())
}

fn set(link: &AtomicPtr<Header>, to: *mut Header) {
    // Relaxed: the shard's lock orders every access (K2).
    link.store(to, Ordering::Relaxed);
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut(), len: 0, weight: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The sum of what the entries were charged.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Lets the neighbours of a place in the list, or its ends, lead to what is there now.
    ///
    /// # Safety
    /// Both neighbours are linked here, next to each other or around one entry, or null where the list ends.
    unsafe fn join(&mut self, (prev, next): Neighbours, (first, last): Neighbours) {
        match NonNull::new(prev) {
            // SAFETY: it is linked (K1).
            Some(prev) => set(unsafe { &prev.as_ref().next }, first),
            None => self.head = first,
        }
        match NonNull::new(next) {
            // SAFETY: it is linked (K1).
            Some(next) => set(unsafe { &next.as_ref().prev }, last),
            None => self.tail = last,
        }
    }

    /// Links an entry between two neighbours.
    ///
    /// # Safety
    /// As for [`join`](List::join); it is in no list, and stays alive until it is taken out of this one (K1).
    unsafe fn link(&mut self, entry: Entry<'_>, (prev, next): Neighbours) {
        let at = entry.pointer().as_ptr();
        set(&entry.header().prev, prev);
        set(&entry.header().next, next);
        // SAFETY: as the caller says.
        unsafe { self.join((prev, next), (at, at)) };
    }

    /// Puts an entry in at the head.
    ///
    /// # Safety
    /// It is in no list, and stays alive until it is taken out of this one (K1).
    pub(super) unsafe fn push(&mut self, entry: Entry<'_>) {
        // SAFETY: the head is linked, if there is one, and nothing is before it.
        unsafe { self.link(entry, (ptr::null_mut(), self.head)) };
        self.len += 1;
        self.weight += u64::from(entry.charged());
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// It is in this list.
    pub(super) unsafe fn take(&mut self, entry: Entry<'_>) {
        let (prev, next) = neighbours(entry);
        // SAFETY: they are the neighbours of one entry of the list.
        unsafe { self.join((prev, next), (next, prev)) };
        self.len -= 1;
        self.weight -= u64::from(entry.charged());
    }

    /// Puts `new` where `old` is.
    ///
    /// # Safety
    /// As for [`take`](List::take) and [`push`](List::push).
    pub(super) unsafe fn replace(&mut self, old: Entry<'_>, new: Entry<'_>) {
        // SAFETY: they are the neighbours of one entry of the list.
        unsafe { self.link(new, neighbours(old)) };
        self.weight = self.weight + u64::from(new.charged()) - u64::from(old.charged());
    }

    /// Charges an entry of this list anew.
    pub(super) fn recharge(&mut self, entry: Entry<'_>, weight: u32) {
        self.weight = self.weight + u64::from(weight) - u64::from(entry.charged());
        entry.set_charged(weight);
    }

    /// The entry that has been here longest.
    pub(super) fn oldest(&self) -> Option<NonNull<Header>> {
        NonNull::new(self.tail)
    }

    /// From the oldest on.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { at: NonNull::new(self.tail), list: PhantomData }
    }
}

pub(super) struct Iter<'a> {
    at: Option<NonNull<Header>>,
    list: PhantomData<&'a List>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        // SAFETY: it is linked, and stays so while the list is borrowed (K1).
        let entry = unsafe { Entry::at(self.at?) };
        self.at = NonNull::new(entry.header().prev.own());
        Some(entry)
    }
}
