//! Records: a value in one allocation, and with a key in front of it an entry of L1.
//!
//! ```text
//! header, 64 bytes | key | body, or where the body is kept elsewhere a pointer to it | tail, if any
//! ```
//! What a hit looks at, the end of the header, the key and the body, lies together. The tail has what only few
//! records need: times that the header cannot say, and the state of fail-safe.
//!
//! # Invariants
//! - R1: a record is freed when its last count goes, and by whoever takes that one.
//! - R2: a [`Record`] is a look at a record of which somebody else holds a count for as long as the look lasts.
//! - R3: key, body, kind, lengths, flags and times are written before the record is shared, and never after.
//! - R4: the lengths and flags of the header describe the allocation.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `last` | `Refs::down` | `Refs::down`, the last one | all uses of the record, to its end |
//! | `memo` | `Slot::set`, `Busy::end` | `Slot::get` | the decoded value |
//!
//! Checked by `loom-tests/` (`counts.rs`).

#![expect(unsafe_code, reason = "the lengths of key and body are known at run time, and all of it is one allocation")]

mod memo;
mod refs;
mod slot;
#[cfg(test)]
mod tests;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::{self, offset_of};
use std::ptr::NonNull;
use std::slice;

use bytes::Bytes;

use crate::error::Error;
use crate::hint;
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use memo::Memo;
use refs::Refs;
pub(crate) use slot::{Slot, Waiting};

/// What a record's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One MessagePack document.
    MessagePack,
    /// Bytes as the caller gave them.
    Raw,
    /// No document: the conversion that made the value could not fail, the record carries the reason.
    Invalid,
    /// The word that the source has no value.
    Absent,
}

/// The times of an entry in milliseconds of the engine's clock: fresh until `fresh_until`, then stale until `dead_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Times {
    /// Below zero for what was written before this engine's clock began.
    pub(crate) written: i64,
    pub(crate) fresh_until: u64,
    pub(crate) dead_at: u64,
}

/// What a record is made of.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Copied(&'a [u8]),
    /// Copied too, unless it is long.
    Given(Bytes),
    /// Why there is none.
    Fault(Error),
}

/// What an entry has beyond its value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Label<'a> {
    pub(crate) hash: u64,
    pub(crate) key: &'a str,
    pub(crate) times: Times,
    /// The weight that the caller gave, instead of the encoded length.
    pub(crate) weight: Option<u32>,
}

/// The first part of a record.
#[repr(C, align(8))]
pub(crate) struct Header {
    /// The neighbours in the policy's queue. Under the shard's lock.
    pub(crate) prev: AtomicPtr<Header>,
    pub(crate) next: AtomicPtr<Header>,
    memo: Slot<Memo>,
    hash: u64,
    /// What the shard has counted for the entry, and in the top bit which queue the policy keeps it in. Under the shard's
    /// lock.
    charged: AtomicU32,
    /// How long before `fresh_until` the entry was written, in milliseconds; without meaning if there is a tail.
    lifetime: u32,
    /// When the policy last knew the entry to be used. Under the shard's lock.
    used: AtomicU32,
    refs: Refs,
    // What every hit looks at begins here.
    key_len: u32,
    /// The length of a body that lies in the record.
    body_len: u16,
    /// The kind, and flags.
    sort: u8,
    /// Hits since the policy last looked, saturating at [`Record::MAX_FREQUENCY`].
    frequency: AtomicU8,
    fresh_until: u64,
}

/// Smaller only where pointers are.
const _: () = assert!(size_of::<Header>() == 64 || size_of::<usize>() < 8 && size_of::<Header>() < 64);

/// The bits of `sort` that are the kind.
const KIND: u8 = 3;
/// The body is kept elsewhere.
const ELSEWHERE: u8 = 4;
const TAIL: u8 = 8;
/// The caller gave the weight.
const WEIGHED: u8 = 16;

/// The bit of `charged` that is the queue.
const IN_MAIN: u32 = 1 << 31;
/// The most that an entry weighs.
const HEAVIEST: u32 = IN_MAIN - 1;

/// The longest key is shorter.
const LONGEST_KEY: usize = 1 << 30;

/// The longest body that is copied into its record.
const LONGEST_COPIED: usize = 4096;

/// A body that is kept elsewhere.
enum Elsewhere {
    Body(Bytes),
    Fault(Error),
}

/// What few records have.
struct Tail {
    written: i64,
    dead_at: u64,
    /// No computation is tried before this time while the stale value stands in (fail-safe).
    retry_at: AtomicU64,
}

// The parts are aligned as far as the record is.
const _: () = assert!(align_of::<Elsewhere>() <= align_of::<Header>() && align_of::<Tail>() <= align_of::<Header>());

/// Where the parts of a record lie.
struct Parts {
    body: usize,
    tail: usize,
    layout: Layout,
}

impl Parts {
    fn of(key_len: u32, body_len: u16, sort: u8) -> Self {
        let key_end = size_of::<Header>() + key_len as usize;
        let (body, body_end) = if sort & ELSEWHERE == 0 {
            (key_end, key_end + usize::from(body_len))
        } else {
            let body = key_end.next_multiple_of(align_of::<Elsewhere>());
            (body, body + size_of::<Elsewhere>())
        };
        let tail = body_end.next_multiple_of(align_of::<Tail>());
        let end = if sort & TAIL == 0 { body_end } else { tail + size_of::<Tail>() };
        // SAFETY: the alignment is a power of two; keys have less than 2^30 bytes and copied bodies less than 2^16, so that the
        // sum is less than 2^31 - 8 also where `isize` has 32 bits.
        let layout = unsafe { Layout::from_size_align_unchecked(end, align_of::<Header>()) };
        Self { body, tail, layout }
    }
}

/// A look at a record (R2).
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    at: NonNull<Header>,
    life: PhantomData<&'a Header>,
}

// SAFETY: a record is read by anyone; what changes in it is atomic, and what it holds of others, `Bytes`, errors and decoded
// values, is `Send` and `Sync` itself.
unsafe impl Send for Record<'_> {}
// SAFETY: as above.
unsafe impl Sync for Record<'_> {}

impl<'a> Record<'a> {
    /// What carries an entry into the main queue; the policy makes no use of more.
    const MAX_FREQUENCY: u8 = 2;
    /// The bookkeeping of one resident entry in bytes, part of its weight: header, slot in the table, allocator.
    pub(crate) const OVERHEAD: usize = 96;
    /// The weight of whatever weighs as much or more.
    pub(crate) const HEAVIEST: u32 = HEAVIEST;

    /// # Safety
    /// Somebody holds a count of the record for as long as `'a` lasts (R2).
    #[inline]
    pub(crate) unsafe fn at(at: NonNull<Header>) -> Self {
        Self { at, life: PhantomData }
    }

    /// Says that the hash of a record, if `at` is one, is soon asked for.
    pub(crate) fn prefetch(at: *const Header) {
        hint::prefetch(at.wrapping_byte_add(offset_of!(Header, hash)));
    }

    #[inline]
    pub(crate) fn pointer(self) -> NonNull<Header> {
        self.at
    }

    #[inline]
    pub(crate) fn header(self) -> &'a Header {
        // SAFETY: the record lives (R2).
        unsafe { self.at.as_ref() }
    }

    #[inline]
    fn byte(self, offset: usize) -> NonNull<u8> {
        // SAFETY: every caller's offset is one of a part of the record (R4).
        unsafe { self.at.cast::<u8>().add(offset) }
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.header().hash
    }

    #[inline]
    fn key_bytes(self) -> &'a [u8] {
        // SAFETY: the key lies behind the header, as long as the header says (R4), and does not change (R3).
        unsafe { slice::from_raw_parts(self.byte(size_of::<Header>()).as_ptr(), self.header().key_len as usize) }
    }

    pub(crate) fn key(self) -> &'a str {
        // SAFETY: it was copied from a `str` (R3).
        unsafe { std::str::from_utf8_unchecked(self.key_bytes()) }
    }

    /// Whether this is the entry of `key`.
    #[inline]
    pub(crate) fn is_of(self, key: &str) -> bool {
        same(self.key_bytes(), key.as_bytes())
    }

    pub(crate) fn is(self, other: Record<'_>) -> bool {
        self.at == other.at
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.header().sort & KIND {
            0 => Kind::MessagePack,
            1 => Kind::Raw,
            2 => Kind::Invalid,
            _ => Kind::Absent,
        }
    }

    #[inline]
    fn has(self, flag: u8) -> bool {
        self.header().sort & flag != 0
    }

    fn parts(self) -> Parts {
        let header = self.header();
        Parts::of(header.key_len, header.body_len, header.sort)
    }

    #[inline]
    pub(crate) fn body(self) -> &'a [u8] {
        if let Some(elsewhere) = self.elsewhere() {
            return match elsewhere {
                Elsewhere::Body(body) => body,
                Elsewhere::Fault(_) => &[],
            };
        }
        let header = self.header();
        let body = self.byte(size_of::<Header>() + header.key_len as usize);
        // SAFETY: the body lies behind the key, as long as the header says (R4), and does not change (R3).
        unsafe { slice::from_raw_parts(body.as_ptr(), usize::from(header.body_len)) }
    }

    /// The body, if it is kept elsewhere.
    pub(crate) fn given(self) -> Option<&'a Bytes> {
        match self.elsewhere()? {
            Elsewhere::Body(body) => Some(body),
            Elsewhere::Fault(_) => None,
        }
    }

    /// Why there is no document.
    pub(crate) fn fault(self) -> Option<&'a Error> {
        match self.elsewhere()? {
            Elsewhere::Fault(fault) => Some(fault),
            Elsewhere::Body(_) => None,
        }
    }

    #[inline]
    fn elsewhere(self) -> Option<&'a Elsewhere> {
        // SAFETY: the flag says that it is there, at this place and alignment (R4).
        self.has(ELSEWHERE).then(|| unsafe { self.byte(self.parts().body).cast().as_ref() })
    }

    #[inline]
    fn tail(self) -> Option<&'a Tail> {
        // SAFETY: the flag says that there is one, at this place and alignment (R4).
        self.has(TAIL).then(|| unsafe { self.byte(self.parts().tail).cast().as_ref() })
    }

    pub(crate) fn times(self) -> Times {
        let fresh_until = self.header().fresh_until;
        match self.tail() {
            Some(&Tail { written, dead_at, .. }) => Times { written, fresh_until, dead_at },
            None => Times {
                written: fresh_until.wrapping_sub(self.header().lifetime.into()).cast_signed(),
                fresh_until,
                dead_at: fresh_until,
            },
        }
    }

    #[inline]
    pub(crate) fn is_fresh(self, now: u64) -> bool {
        now < self.header().fresh_until
    }

    #[inline]
    pub(crate) fn is_dead(self, now: u64) -> bool {
        now >= self.tail().map_or(self.header().fresh_until, |tail| tail.dead_at)
    }

    /// The decoded form.
    #[inline]
    pub(crate) fn memo(self) -> &'a Slot<Memo> {
        &self.header().memo
    }

    /// What the entry weighs now: a memo that was decoded since it was charged counts too, as much as the body, since its
    /// real size is not known.
    pub(crate) fn weight(self) -> u32 {
        if self.has(WEIGHED) {
            return self.charged();
        }
        let copies = if self.memo().get().is_some() { 2 } else { 1 };
        let size = self.body().len().saturating_mul(copies).saturating_add(self.key_bytes().len() + Self::OVERHEAD);
        u32::try_from(size).unwrap_or(HEAVIEST).min(HEAVIEST)
    }

    /// Records a hit. Writes nothing once the frequency is at its greatest.
    #[inline]
    pub(crate) fn touch(self) {
        let frequency = &self.header().frequency;
        // Relaxed: a hint for the policy; a hit lost between two threads costs nothing.
        let hits = frequency.load(Ordering::Relaxed);
        if hits < Self::MAX_FREQUENCY {
            frequency.store(hits + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn frequency(self) -> u8 {
        // Relaxed: see `touch`.
        self.header().frequency.load(Ordering::Relaxed)
    }

    pub(crate) fn set_frequency(self, frequency: u8) {
        // Relaxed: see `touch`.
        self.header().frequency.store(frequency, Ordering::Relaxed);
    }

    /// Before when no computation is tried; 0 if nothing was tried in vain.
    pub(crate) fn retry_at(self) -> u64 {
        // Relaxed: a time to compare with, nothing is published by it.
        self.tail().map_or(0, |tail| tail.retry_at.load(Ordering::Relaxed))
    }

    /// Has no effect on an entry that is never stale.
    pub(crate) fn set_retry_at(self, at: u64) {
        if let Some(tail) = self.tail() {
            // Relaxed: see `retry_at`.
            tail.retry_at.store(at, Ordering::Relaxed);
        }
    }

    pub(crate) fn used(self) -> u32 {
        // Relaxed: the shard's lock orders every access.
        self.header().used.load(Ordering::Relaxed)
    }

    pub(crate) fn set_used(self, used: u32) {
        // Relaxed: see `used`.
        self.header().used.store(used, Ordering::Relaxed);
    }

    pub(crate) fn is_in_main(self) -> bool {
        // Relaxed: the shard's lock orders every access.
        self.header().charged.load(Ordering::Relaxed) & IN_MAIN != 0
    }

    pub(crate) fn set_in_main(self, main: bool) {
        let charged = self.charged();
        // Relaxed: see `is_in_main`.
        self.header().charged.store(if main { charged | IN_MAIN } else { charged }, Ordering::Relaxed);
    }

    pub(crate) fn charged(self) -> u32 {
        // Relaxed: the shard's lock orders every access.
        self.header().charged.load(Ordering::Relaxed) & HEAVIEST
    }

    pub(crate) fn set_charged(self, weight: u32) {
        let queue = self.header().charged.load(Ordering::Relaxed) & IN_MAIN;
        // Relaxed: see `charged`.
        self.header().charged.store(queue | weight.min(HEAVIEST), Ordering::Relaxed);
    }

    /// A count of one's own.
    #[inline]
    pub(crate) fn count(self) -> Counted {
        self.header().refs.up();
        Counted(self.at)
    }
}

/// Whether two keys are the same, without a call for those of usual length.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    let length = a.len();
    if length != b.len() {
        return false;
    }
    if !(8..=16).contains(&length) {
        return same_otherwise(a, b);
    }
    // SAFETY: both have eight bytes at least; the first and the last eight overlap, or touch.
    let eight = |of: &[u8], from: usize| unsafe { of.as_ptr().add(from).cast::<u64>().read_unaligned() };
    eight(a, 0) == eight(b, 0) && eight(a, length - 8) == eight(b, length - 8)
}

#[inline(never)]
fn same_otherwise(a: &[u8], b: &[u8]) -> bool {
    a == b
}

/// A record, and a count of it.
pub(crate) struct Counted(NonNull<Header>);

// SAFETY: see `Record`.
unsafe impl Send for Counted {}
// SAFETY: see `Record`.
unsafe impl Sync for Counted {}

impl Counted {
    /// Makes a record, with the one count of it.
    ///
    /// # Cost
    /// One allocation, and a copy of key and body; of a body that was given and is longer than 4 KiB, its reference count.
    ///
    /// # Panics
    /// If the key has 1 GiB or more.
    pub(crate) fn new(kind: Kind, body: Body<'_>, label: Label<'_>) -> Self {
        let (copied, elsewhere) = match &body {
            Body::Copied(body) if body.len() <= LONGEST_COPIED => (*body, None),
            Body::Given(body) if body.len() <= LONGEST_COPIED => (&body[..], None),
            Body::Copied(body) => (&[][..], Some(Elsewhere::Body(Bytes::copy_from_slice(body)))),
            Body::Given(body) => (&[][..], Some(Elsewhere::Body(body.clone()))),
            Body::Fault(fault) => (&[][..], Some(Elsewhere::Fault(fault.clone()))),
        };
        let Label { hash, key, times, weight } = label;
        let lifetime = i128::from(times.fresh_until) - i128::from(times.written);
        let lifetime = u32::try_from(lifetime).ok().filter(|_| times.dead_at == times.fresh_until);
        let sort = kind as u8
            | if elsewhere.is_some() { ELSEWHERE } else { 0 }
            | if lifetime.is_none() { TAIL } else { 0 }
            | if weight.is_some() { WEIGHED } else { 0 };
        assert!(key.len() < LONGEST_KEY, "a key has less than 1 GiB");
        let key_len = key.len() as u32;
        // Copied bodies are short.
        let body_len = copied.len() as u16;
        let Parts { body, tail, layout } = Parts::of(key_len, body_len, sort);
        let header = Header {
            prev: AtomicPtr::default(),
            next: AtomicPtr::default(),
            memo: Slot::new(),
            charged: AtomicU32::new(weight.unwrap_or(0).min(HEAVIEST)),
            lifetime: lifetime.unwrap_or(0),
            refs: Refs::one(),
            key_len,
            hash,
            fresh_until: times.fresh_until,
            used: AtomicU32::new(0),
            body_len,
            sort,
            frequency: AtomicU8::new(0),
        };
        // SAFETY: the layout has the header's size at least.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: the offsets are those of parts of this allocation, sized and aligned for what is written; nobody else has
        // it yet.
        unsafe {
            at.cast().write(header);
            at.add(size_of::<Header>()).copy_from_nonoverlapping(NonNull::from(key.as_bytes()).cast(), key.len());
            match elsewhere {
                Some(elsewhere) => at.add(body).cast().write(elsewhere),
                None => at.add(body).copy_from_nonoverlapping(NonNull::from(copied).cast(), copied.len()),
            }
            if lifetime.is_none() {
                let Times { written, dead_at, .. } = times;
                at.add(tail).cast().write(Tail { written, dead_at, retry_at: AtomicU64::new(0) });
            }
        }
        let new = Self(at.cast());
        new.charge(weight);
        new
    }

    /// Charges it for what it weighs now, unless the caller gave its weight.
    fn charge(&self, given: Option<u32>) {
        if given.is_none() {
            self.record().set_charged(self.record().weight());
        }
    }

    /// The same body under `label`, and the decoded form with it.
    pub(crate) fn relabelled(record: Record<'_>, label: Label<'_>) -> Self {
        let body = match (record.given(), record.fault()) {
            (Some(body), _) => Body::Given(body.clone()),
            (None, Some(fault)) => Body::Fault(fault.clone()),
            (None, None) => Body::Copied(record.body()),
        };
        let new = Self::new(record.kind(), body, label);
        if let Some(memo) = record.memo().get() {
            // Nobody else has the record: the slot is empty.
            drop(new.record().memo().set(memo.clone()));
            new.charge(label.weight);
        }
        new
    }

    #[inline]
    pub(crate) fn record(&self) -> Record<'_> {
        // SAFETY: this is a count of it (R2).
        unsafe { Record::at(self.0) }
    }

    /// Gives the count away as a pointer.
    pub(crate) fn into_pointer(self) -> NonNull<Header> {
        let at = self.0;
        mem::forget(self);
        at
    }

    /// Takes a count back.
    ///
    /// # Safety
    /// `at` came from [`into_pointer`](Counted::into_pointer), and is taken back once.
    pub(crate) unsafe fn from_pointer(at: NonNull<Header>) -> Self {
        Self(at)
    }

    #[cold]
    #[inline(never)]
    fn free(&mut self) {
        let parts = self.record().parts();
        let (has_body_elsewhere, at) = (self.record().has(ELSEWHERE), self.0.cast::<u8>());
        // SAFETY: this was the last count (R1), so that nobody looks any more. What is dropped in place was written there by
        // `new` (R4), the tail needs no drop; the layout is that of the allocation (R4).
        unsafe {
            if has_body_elsewhere {
                at.add(parts.body).cast::<Elsewhere>().drop_in_place();
            }
            at.cast::<Header>().drop_in_place();
            dealloc(at.as_ptr(), parts.layout);
        }
    }
}

impl Clone for Counted {
    #[inline]
    fn clone(&self) -> Self {
        self.record().count()
    }
}

impl Drop for Counted {
    #[inline]
    fn drop(&mut self) {
        if self.record().header().refs.down() {
            self.free();
        }
    }
}
