//! A list of entries, linked through their records.
//!
//! # Invariants
//! - K1: an entry is taken out of its list before the shard gives its count away: what is linked is alive.
//! - K2: links are read and written under the shard's lock. Whoever calls holds it.

#![expect(unsafe_code, reason = "the links are pointers in the records themselves")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::record::{Header, Record};
use crate::sync::Own;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// First in, at the head; first out, at the tail.
pub(super) struct List {
    head: *mut Header,
    tail: *mut Header,
    len: usize,
    weight: u64,
}

// SAFETY: the pointers are to records, which are `Send` and `Sync`.
unsafe impl Send for List {}

/// A link as the holder of the shard's lock sees it (K2).
fn link(at: *mut Header) -> Option<NonNull<Header>> {
    NonNull::new(at)
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

    /// Puts an entry in at the head.
    ///
    /// # Safety
    /// It is in no list, and stays alive until it is taken out of this one (K1).
    pub(super) unsafe fn push(&mut self, record: Record<'_>) {
        let at = record.pointer().as_ptr();
        set(&record.header().prev, ptr::null_mut());
        set(&record.header().next, self.head);
        match link(self.head) {
            // SAFETY: it is linked (K1).
            Some(head) => set(unsafe { &head.as_ref().prev }, at),
            None => self.tail = at,
        }
        self.head = at;
        self.len += 1;
        self.weight += u64::from(record.charged());
    }

    /// Takes an entry out.
    ///
    /// # Safety
    /// It is in this list.
    pub(super) unsafe fn take(&mut self, record: Record<'_>) {
        let (prev, next) = (record.header().prev.own(), record.header().next.own());
        match link(prev) {
            // SAFETY: it is linked (K1).
            Some(prev) => set(unsafe { &prev.as_ref().next }, next),
            None => self.head = next,
        }
        match link(next) {
            // SAFETY: it is linked (K1).
            Some(next) => set(unsafe { &next.as_ref().prev }, prev),
            None => self.tail = prev,
        }
        self.len -= 1;
        self.weight -= u64::from(record.charged());
    }

    /// Puts `new` where `old` is.
    ///
    /// # Safety
    /// As for [`take`](List::take) and [`push`](List::push).
    pub(super) unsafe fn replace(&mut self, old: Record<'_>, new: Record<'_>) {
        let (prev, next) = (old.header().prev.own(), old.header().next.own());
        let at = new.pointer().as_ptr();
        set(&new.header().prev, prev);
        set(&new.header().next, next);
        match link(prev) {
            // SAFETY: it is linked (K1).
            Some(prev) => set(unsafe { &prev.as_ref().next }, at),
            None => self.head = at,
        }
        match link(next) {
            // SAFETY: it is linked (K1).
            Some(next) => set(unsafe { &next.as_ref().prev }, at),
            None => self.tail = at,
        }
        self.weight = self.weight + u64::from(new.charged()) - u64::from(old.charged());
    }

    /// Charges an entry of this list anew.
    pub(super) fn recharge(&mut self, record: Record<'_>, weight: u32) {
        self.weight = self.weight + u64::from(weight) - u64::from(record.charged());
        record.set_charged(weight);
    }

    /// The entry that has been here longest.
    pub(super) fn oldest(&self) -> Option<NonNull<Header>> {
        link(self.tail)
    }

    /// From the oldest on.
    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { at: link(self.tail), list: PhantomData }
    }
}

pub(super) struct Iter<'a> {
    at: Option<NonNull<Header>>,
    list: PhantomData<&'a List>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        // SAFETY: it is linked, and stays so while the list is borrowed (K1).
        let record = unsafe { Record::at(self.at?) };
        self.at = link(record.header().prev.own());
        Some(record)
    }
}
