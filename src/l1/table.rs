//! The table of one shard: buckets of one cache line, written under the shard's lock, read without any.
//!
//! A bucket has seven slots and a word of eight bytes: a tag for each slot, zero where the slot is free, and in the top byte
//! how many entries probed past this bucket when they were placed. An entry lies in the first bucket from its home on that
//! had room. A reader goes from bucket to bucket until it finds its key or a bucket that nobody probed past.
//!
//! # Invariants
//! - T1: a slot's pointer is published before its tag, and the tag is taken away before the pointer.
//! - T2: the overflow count of every bucket between an entry's home and its own is at least one for as long as the entry is
//!   in the table; a count that has reached its greatest stays there until the table is rebuilt.
//! - T3: replacing an entry swaps the pointer in its slot: a key that is present is found at every moment.
//! - T4: an entry, and the table itself, is reclaimed only when no reader that could have found it is pinned.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | publish | the slot's store of the pointer | the reader's load of the slot | the entry |
//! | tag | the word's store after the slot's | the reader's load of the word | the slot's pointer |
//! | table | the shard's store of a new table | the reader's load of it | all buckets |
//!
//! Checked by `loom-tests/` (publish, replace, remove, reuse, grow).

extern crate alloc;

use alloc::boxed::Box;
use core::ptr;

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::planted;

const SLOTS: usize = 7;
/// One bit in each tag's byte.
const ONES: u64 = 0x0001_0101_0101_0101;
const TAG_BITS: u64 = ONES << 7;
const OVERFLOW: u32 = 56;
const MOST_OVERFLOW: u64 = 255;

#[repr(align(64))]
struct Bucket<E> {
    word: Word,
    slots: [AtomicPtr<E>; SLOTS],
}

impl<E> Bucket<E> {
    fn new() -> Self {
        Self { word: Word(AtomicU64::new(0)), slots: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }
}

/// The tags and the overflow count of a bucket.
struct Word(AtomicU64);

impl Word {
    /// As a reader sees it.
    #[inline]
    fn read(&self) -> Tags {
        // Acquire, edge `tag`: whoever sees a tag also sees the pointer that was stored before it.
        Tags(self.0.load(Ordering::Acquire))
    }

    /// As the writer knows it.
    fn own(&self) -> Tags {
        // Relaxed: the shard's lock orders all writers, and this is one.
        Tags(self.0.load(Ordering::Relaxed))
    }

    fn write(&self, tags: Tags) {
        // Release, edge `tag`: after the slot's pointer.
        self.0.store(tags.0, if planted("tag_relaxed") { Ordering::Relaxed } else { Ordering::Release });
    }
}

#[derive(Clone, Copy)]
struct Tags(u64);

impl Tags {
    /// The tag of a hash: never zero.
    #[inline]
    fn of(hash: u64) -> u64 {
        (hash >> 32) & 0x7f | 0x80
    }

    /// The slots that may have this tag, one bit in each byte. A slot above one that has it may be named wrongly.
    #[inline]
    fn matching(self, tag: u64) -> Slots {
        let differs = (self.0 ^ (tag * ONES)) | 0xff << OVERFLOW;
        Slots(differs.wrapping_sub(ONES | 1 << OVERFLOW) & !differs & TAG_BITS)
    }

    fn free(self) -> Slots {
        Slots(!self.0 & TAG_BITS)
    }

    #[inline]
    fn overflow(self) -> u64 {
        self.0 >> OVERFLOW
    }

    fn with(self, slot: usize, tag: u64) -> Self {
        Tags(self.0 & !(0xff << (slot * 8)) | tag << (slot * 8))
    }

    fn with_overflow(self, overflow: u64) -> Self {
        Tags(self.0 & !(0xff << OVERFLOW) | overflow << OVERFLOW)
    }
}

/// A set of slots, lowest first.
struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize / 8;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// Where an entry lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    bucket: usize,
    slot: usize,
}

/// See the module.
pub(crate) struct Table<E> {
    buckets: Box<[Bucket<E>]>,
}

impl<E> Table<E> {
    /// A table that has room for `entries` without being rebuilt.
    pub(crate) fn with_room(entries: usize) -> Self {
        // Six of seven slots in use on average keeps probes short.
        let buckets = entries.div_ceil(SLOTS - 1).max(1).next_power_of_two();
        Self { buckets: (0..buckets).map(|_| Bucket::new()).collect() }
    }

    /// Entries that it has room for.
    pub(crate) fn room(&self) -> usize {
        self.buckets.len() * (SLOTS - 1)
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        (bucket + 1) & (self.buckets.len() - 1)
    }

    /// The entry of this hash that `is` the one looked for, as a reader finds it: null if there is none.
    ///
    /// The pointer may be followed for as long as the reader stays pinned (T4).
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(*const E) -> bool) -> *const E {
        let tag = Tags::of(hash);
        let (mut bucket, mut probed) = (self.home(hash), 0);
        loop {
            let here = &self.buckets[bucket];
            let tags = here.word.read();
            for slot in tags.matching(tag) {
                // Acquire, edge `publish`: whoever sees the pointer sees the entry.
                let entry = here.slots[slot].load(Ordering::Acquire);
                if !entry.is_null() && is(entry) {
                    return entry;
                }
            }
            probed += 1;
            if tags.overflow() == 0 || probed == self.buckets.len() {
                return ptr::null();
            }
            bucket = self.next(bucket);
        }
    }

    /// Where the writer finds the entry that `is` the one looked for.
    pub(crate) fn locate(&self, hash: u64, is: impl Fn(*const E) -> bool) -> Option<(Place, *mut E)> {
        let tag = Tags::of(hash);
        let mut bucket = self.home(hash);
        for _ in 0..self.buckets.len() {
            let here = &self.buckets[bucket];
            let tags = here.word.own();
            for slot in tags.matching(tag) {
                // Relaxed: written under the shard's lock, which is held.
                let entry = here.slots[slot].load(Ordering::Relaxed);
                if !entry.is_null() && is(entry) {
                    return Some((Place { bucket, slot }, entry));
                }
            }
            if tags.overflow() == 0 {
                return None;
            }
            bucket = self.next(bucket);
        }
        None
    }

    /// Puts in an entry whose key is not in the table. The table has room.
    pub(crate) fn insert(&self, hash: u64, entry: *mut E) {
        let mut bucket = self.home(hash);
        loop {
            let here = &self.buckets[bucket];
            let tags = here.word.own();
            if let Some(slot) = tags.free().next() {
                if planted("tag_first") {
                    here.word.write(tags.with(slot, Tags::of(hash)));
                }
                // Release, edge `publish`: the entry before its pointer.
                here.slots[slot].store(entry, Ordering::Release);
                here.word.write(tags.with(slot, Tags::of(hash)));
                return;
            }
            let overflow = (tags.overflow() + 1).min(MOST_OVERFLOW);
            here.word.write(tags.with_overflow(overflow));
            bucket = self.next(bucket);
        }
    }

    /// Puts `entry` in the place of one with the same key (T3).
    pub(crate) fn replace(&self, place: Place, entry: *mut E) {
        // Release, edge `publish`: the entry before its pointer.
        self.buckets[place.bucket].slots[place.slot].store(entry, Ordering::Release);
    }

    /// Takes out the entry at `place`, whose hash this is.
    pub(crate) fn remove(&self, place: Place, hash: u64) {
        let here = &self.buckets[place.bucket];
        here.word.write(here.word.own().with(place.slot, 0));
        // Release: as every store to a slot; a reader that still has the tag finds nothing, or what comes next.
        here.slots[place.slot].store(ptr::null_mut(), Ordering::Release);
        let mut bucket = self.home(hash);
        while bucket != place.bucket {
            let passed = &self.buckets[bucket];
            let tags = passed.word.own();
            if tags.overflow() < MOST_OVERFLOW {
                passed.word.write(tags.with_overflow(tags.overflow() - 1));
            }
            bucket = self.next(bucket);
        }
    }

    /// Every entry, for the writer.
    pub(crate) fn entries(&self) -> impl Iterator<Item = *mut E> {
        // Relaxed: written under the shard's lock, which is held.
        let entries =
            self.buckets.iter().flat_map(|bucket| bucket.slots.iter().map(|slot| slot.load(Ordering::Relaxed)));
        entries.filter(|entry| !entry.is_null())
    }
}
