//! The table of one shard: buckets of one cache line, written under the shard's lock, read without any.
//!
//! A bucket has seven slots and a word of eight bytes: a tag for each slot, zero where the slot is free, and in the top byte
//! how many entries probed past this bucket when they were placed. An entry lies in the first bucket from its home on that
//! had room. A reader goes from bucket to bucket until it finds its key or a bucket that nobody probed past.
//!
//! # Invariants
//! - T1: a free slot holds null. A reader that sees a tag and finds null, or another's entry, goes on: in what order the
//!   tag and the pointer are stored is a matter of cost alone.
//! - T2: the overflow count of every bucket between an entry's home and its own is at least one for as long as the entry is
//!   in the table; a count that has reached its greatest stays there until the table is rebuilt.
//! - T3: replacing an entry swaps the pointer in its slot: a key that is present is found at every moment.
//! - T4: an entry, and the table itself, is reclaimed only when no reader that could have found it is pinned.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | publish | `Slot::publish` | `Slot::read` | the entry; of null, what came before the removal |
//! | word | `Word::write` | `Word::read` | what came before the removal of an entry that is missed |
//! | table | `Current::put` | `Current::read` | all buckets |
//!
//! Checked by `loom-tests/` (`table.rs`), and by `table_tests`.

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::{format, vec};
use core::ptr;

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Own, planted};

const SLOTS: usize = 7;
/// One bit in each tag's byte.
const ONES: u64 = 0x0001_0101_0101_0101;
const TAG_BITS: u64 = ONES << 7;
const OVERFLOW: u32 = 56;
const MOST_OVERFLOW: u64 = 255;
/// Buckets between the one that is moved and the one whose entries are fetched.
const AHEAD: usize = 2;

#[repr(align(64))]
struct Bucket<E> {
    word: Word,
    slots: [Slot<E>; SLOTS],
}

impl<E> Bucket<E> {
    fn new() -> Self {
        Self { word: Word(AtomicU64::new(0)), slots: core::array::from_fn(|_| Slot(AtomicPtr::new(ptr::null_mut()))) }
    }
}

impl<E> Bucket<E> {
    /// The entry of this hash that `is` the one looked for, as a reader finds it here; else the tags that it saw.
    #[inline(always)]
    fn find(&self, hash: u64, is: impl Fn(*const E) -> bool) -> Result<*const E, Tags> {
        let tags = self.word.read();
        for slot in tags.matching(Tags::of(hash)) {
            let entry = self.slots[slot].read();
            if !entry.is_null() && is(entry) {
                return Ok(entry);
            }
        }
        Err(tags)
    }
}

/// The tags and the overflow count of a bucket.
struct Word(AtomicU64);

impl Word {
    /// As a reader sees it.
    #[inline]
    fn read(&self) -> Tags {
        // Acquire, edge `word`: whoever misses an entry that was removed sees what came before its removal.
        Tags(self.0.load(if planted("relaxed_word_read") { Ordering::Relaxed } else { Ordering::Acquire }))
    }

    /// As the writer knows it.
    fn own(&self) -> Tags {
        Tags(self.0.own())
    }

    fn write(&self, tags: Tags) {
        // Release, edge `word`: a removal is seen with what came before it.
        self.0.store(tags.0, if planted("relaxed_word") { Ordering::Relaxed } else { Ordering::Release });
    }
}

/// An entry's pointer, or null.
struct Slot<E>(AtomicPtr<E>);

impl<E> Slot<E> {
    /// As a reader sees it.
    #[inline]
    fn read(&self) -> *mut E {
        // Acquire, edge `publish`: whoever sees the pointer sees the entry.
        self.0.load(if planted("relaxed_slot_read") { Ordering::Relaxed } else { Ordering::Acquire })
    }

    /// As the writer knows it.
    fn own(&self) -> *mut E {
        self.0.own()
    }

    fn publish(&self, entry: *mut E) {
        // Release, edge `publish`: the entry before its pointer, what led to a removal before the null.
        self.0.store(entry, if planted("relaxed_slot") { Ordering::Relaxed } else { Ordering::Release });
    }
}

#[derive(Clone, Copy)]
pub(super) struct Tags(pub(super) u64);

impl Tags {
    /// The tag of a hash: never zero.
    #[inline]
    pub(super) fn of(hash: u64) -> u64 {
        (hash >> 32) & 0x7f | 0x80
    }

    /// The slots that may have this tag, one bit in each byte. A slot above one that has it may be named wrongly.
    #[inline]
    pub(super) fn matching(self, tag: u64) -> Slots {
        let differs = (self.0 ^ (tag * ONES)) | 0xff << OVERFLOW;
        Slots(differs.wrapping_sub(ONES | 1 << OVERFLOW) & !differs & TAG_BITS)
    }

    pub(super) fn free(self) -> Slots {
        Slots(!self.0 & TAG_BITS)
    }

    #[inline]
    fn overflow(self) -> u64 {
        self.0 >> OVERFLOW
    }

    fn tag(self, slot: usize) -> u64 {
        self.0 >> (slot * 8) & 0xff
    }

    pub(super) fn with(self, slot: usize, tag: u64) -> Self {
        Tags(self.0 & !(0xff << (slot * 8)) | tag << (slot * 8))
    }

    pub(super) fn with_overflow(self, overflow: u64) -> Self {
        Tags(self.0 & !(0xff << OVERFLOW) | overflow << OVERFLOW)
    }
}

/// A set of slots, lowest first.
pub(super) struct Slots(u64);

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

    /// Where an entry of this hash would lie first: for hints, not to be followed.
    #[inline]
    pub(crate) fn address(&self, hash: u64) -> *const u8 {
        self.buckets.get(self.home(hash)).map_or(ptr::null(), |bucket| ptr::from_ref(bucket).cast())
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
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(*const E) -> bool) -> *const E {
        match self.buckets[self.home(hash)].find(hash, &is) {
            Ok(entry) => entry,
            Err(tags) if tags.overflow() == 0 => ptr::null(),
            Err(_) => self.find_past_home(hash, is),
        }
    }

    /// The rest of [`find`](Table::find). Apart from it, so that what most readers do needs no room for this.
    #[inline(never)]
    fn find_past_home(&self, hash: u64, is: impl Fn(*const E) -> bool) -> *const E {
        let mut bucket = self.home(hash);
        for _ in 1..self.buckets.len() {
            bucket = self.next(bucket);
            match self.buckets[bucket].find(hash, &is) {
                Ok(entry) => return entry,
                Err(tags) if tags.overflow() == 0 => break,
                Err(_) => {}
            }
        }
        ptr::null()
    }

    /// Where the writer finds the entry that `is` the one looked for.
    pub(crate) fn locate(&self, hash: u64, is: impl Fn(*const E) -> bool) -> Option<(Place, *mut E)> {
        let tag = Tags::of(hash);
        let mut bucket = self.home(hash);
        for _ in 0..self.buckets.len() {
            let here = &self.buckets[bucket];
            let tags = here.word.own();
            for slot in tags.matching(tag) {
                let entry = here.slots[slot].own();
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
                here.slots[slot].publish(entry);
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
        let slot = &self.buckets[place.bucket].slots[place.slot];
        if planted("replaced_in_two_steps") {
            slot.publish(ptr::null_mut());
        }
        slot.publish(entry);
    }

    /// Takes out the entry at `place`, whose hash this is.
    pub(crate) fn remove(&self, place: Place, hash: u64) {
        let here = &self.buckets[place.bucket];
        here.word.write(here.word.own().with(place.slot, 0));
        // A reader that still has the tag finds nothing, or what comes next (T1).
        here.slots[place.slot].publish(ptr::null_mut());
        let mut bucket = self.home(hash);
        let end = if planted("own_bucket_counted") { self.next(place.bucket) } else { place.bucket };
        while bucket != end {
            let passed = &self.buckets[bucket];
            let tags = passed.word.own();
            if tags.overflow() < MOST_OVERFLOW {
                passed.word.write(tags.with_overflow(tags.overflow() - 1));
            }
            bucket = self.next(bucket);
        }
    }

    /// A table that has room for `entries`, with those of this one, whose hashes `hash` tells. It has room for them. `soon` is
    /// told a while before `hash` is asked.
    pub(crate) fn rebuilt(&self, entries: usize, soon: impl Fn(*const E), hash: impl Fn(*const E) -> u64) -> Box<Self> {
        let new = Self::with_room(entries);
        for bucket in 0..self.buckets.len() {
            if bucket + AHEAD < self.buckets.len() {
                self.entries_of(bucket + AHEAD).for_each(|entry| soon(entry));
            }
            for entry in self.entries_of(bucket) {
                new.insert(hash(entry), entry);
            }
        }
        Box::new(new)
    }

    /// Recounts the tags and the overflow (T1, T2), for the writer; `hash` tells an entry's hash.
    pub(crate) fn validate(&self, hash: impl Fn(*const E) -> u64) -> Result<(), String> {
        let mut passed = vec![0; self.buckets.len()];
        for (at, bucket) in self.buckets.iter().enumerate() {
            for (slot, entry) in bucket.slots.iter().map(Slot::own).enumerate() {
                let tag = if entry.is_null() { 0 } else { Tags::of(hash(entry)) };
                if bucket.word.own().tag(slot) != tag {
                    return Err(format!("slot {slot} of bucket {at} has a wrong tag"));
                }
                let mut before = if entry.is_null() { at } else { self.home(hash(entry)) };
                while before != at {
                    passed[before] += 1;
                    before = self.next(before);
                }
            }
        }
        for (at, passed) in passed.into_iter().enumerate() {
            let overflow = self.buckets[at].word.own().overflow();
            if overflow != MOST_OVERFLOW && overflow != passed {
                return Err(format!("{passed} entries lie past bucket {at}, which counts {overflow}"));
            }
        }
        Ok(())
    }

    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// The entries that lie in a bucket, for the writer.
    pub(crate) fn entries_of(&self, bucket: usize) -> impl Iterator<Item = *mut E> {
        self.buckets[bucket].slots.iter().map(Slot::own).filter(|entry| !entry.is_null())
    }

    /// Every entry, for the writer.
    pub(crate) fn entries(&self) -> impl Iterator<Item = *mut E> {
        self.buckets.iter().flat_map(|bucket| bucket.slots.iter().map(Slot::own)).filter(|entry| !entry.is_null())
    }
}

/// The table in use. Readers load it, the holder of the shard's lock puts another in its place.
pub(crate) struct Current<E>(AtomicPtr<Table<E>>);

impl<E> Current<E> {
    pub(crate) fn new(table: Box<Table<E>>) -> Self {
        Self(AtomicPtr::new(Box::into_raw(table)))
    }

    /// As a reader sees it. The pointer may be followed for as long as the reader stays pinned (T4).
    #[inline]
    pub(crate) fn read(&self) -> *const Table<E> {
        // Acquire, edge `table`: whoever sees the table sees its buckets.
        self.0.load(if planted("relaxed_table_read") { Ordering::Relaxed } else { Ordering::Acquire })
    }

    /// As the writer knows it.
    pub(crate) fn own(&self) -> *mut Table<E> {
        self.0.own()
    }

    /// Puts another table in place of the one it gives back, which came from a `Box`.
    pub(crate) fn put(&self, table: Box<Table<E>>) -> *mut Table<E> {
        let old = self.own();
        // Release, edge `table`: the buckets before the table.
        self.0
            .store(Box::into_raw(table), if planted("relaxed_table") { Ordering::Relaxed } else { Ordering::Release });
        old
    }
}
