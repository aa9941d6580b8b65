//! Entries: a value in one allocation, with its key if it has one.
//!
//! ```text
//! header, 64 bytes | key | body, or where the body is kept elsewhere a pointer to it | tail, if any | extra, if any
//! ```
//! What a hit looks at, the end of the header, the key and the body, lies together. The tail has what only few
//! entries need: times that the header cannot say, and the state of fail-safe; the extra part the tags, and what names the
//! copy in the tier that instances share.
//!
//! # Invariants
//! - R1: an entry is freed when its last count goes, and by whoever takes that one.
//! - R2: an [`Entry`] is a look at an entry of which somebody else holds a count for as long as the look lasts.
//! - R3: key, body, kind, lengths, flags and times are written before the entry is shared, and never after.
//! - R4: the lengths and flags of the header describe the allocation.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `last` | `Refs::down` | `Refs::down`, the last one | all uses of the entry, to its end |
//! | `memo` | `Slot::set`, `Busy::end` | `Slot::get` | the decoded value |
//!
//! Checked by `loom-tests/` (`counts.rs`).

#![expect(unsafe_code, reason = "the lengths of key and body are known at run time, and all of it is one allocation")]

mod counted;
mod layout;
mod memo;
mod refs;
mod slot;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::slice;

use bytes::Bytes;

use crate::error::Error;
use crate::hint;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
pub(crate) use counted::{Body, Counted, Label, Origin};
use layout::{ELSEWHERE, EXTRA, Elsewhere, Extra, HEAVIEST, IN_MAIN, KIND, Parts, STAMP, TAIL, Tail, WEIGHED};
pub(crate) use layout::{Header, Kind, STAMP as STAMP_BITS};
pub(crate) use memo::Memo;
pub(crate) use slot::{Slot, Waiting};

/// The times of an entry in milliseconds of the engine's clock: fresh until `fresh_until`, then stale until `dead_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Times {
    /// Below zero for what was written before this engine's clock began.
    pub(crate) written: i64,
    pub(crate) fresh_until: u64,
    pub(crate) dead_at: u64,
}

/// A look at an entry (R2).
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    at: NonNull<Header>,
    life: PhantomData<&'a Header>,
}

// SAFETY: an entry is read by anyone; what changes in it is atomic, and what it holds of others, `Bytes`, errors and decoded
// values, is `Send` and `Sync` itself.
unsafe impl Send for Entry<'_> {}
// SAFETY: as above.
unsafe impl Sync for Entry<'_> {}

impl<'a> Entry<'a> {
    /// What carries an entry into the main queue; the policy makes no use of more.
    const MAX_FREQUENCY: u8 = 2;
    /// The bookkeeping of one resident entry in bytes, part of its weight: header, slot in the table, allocator.
    pub(crate) const OVERHEAD: usize = 96;
    /// The weight of whatever weighs as much or more.
    pub(crate) const HEAVIEST: u32 = HEAVIEST;

    /// # Safety
    /// Somebody holds a count of the entry for as long as `'a` lasts (R2).
    #[inline]
    pub(crate) unsafe fn at(at: NonNull<Header>) -> Self {
        Self { at, life: PhantomData }
    }

    /// Says that the hash of an entry, if `at` is one, is soon asked for.
    pub(crate) fn prefetch(at: *const Header) {
        hint::prefetch(at.wrapping_byte_add(offset_of!(Header, hash)));
    }

    #[inline]
    pub(crate) fn pointer(self) -> NonNull<Header> {
        self.at
    }

    #[inline]
    pub(crate) fn header(self) -> &'a Header {
        // SAFETY: the entry lives (R2).
        unsafe { self.at.as_ref() }
    }

    #[inline]
    fn byte(self, offset: usize) -> NonNull<u8> {
        // SAFETY: every caller's offset is one of a part of the entry (R4).
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

    pub(crate) fn is(self, other: Entry<'_>) -> bool {
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

    #[inline]
    fn extra(self) -> Option<&'a Extra> {
        // SAFETY: the flag says that there is one, at this place and alignment (R4).
        self.has(EXTRA).then(|| unsafe { self.byte(self.parts().extra).cast().as_ref() })
    }

    /// Names the copy in the shared tier; 0 if there is none.
    pub(crate) fn write_id(self) -> u64 {
        self.extra().map_or(0, |extra| extra.write_id)
    }

    pub(crate) fn tags(self) -> Option<&'a Arc<[u64]>> {
        self.extra().and_then(|extra| extra.tags.as_ref())
    }

    /// The times and the stamp in one word: [`is_fresh`](Entry::is_fresh) and the stamp are asked for together on every hit.
    #[inline(always)]
    pub(crate) fn until(self) -> Until {
        // Relaxed: numbers to compare with, nothing is published by them.
        Until(self.header().until.load(Ordering::Relaxed))
    }

    /// The entry has outlived all events up to this one. Whoever writes an older one than is there costs another check.
    pub(crate) fn set_stamp(self, stamp: u64) {
        // Relaxed: see `until`.
        self.header().until.store(Until::new(self.until().fresh_until(), stamp).0, Ordering::Relaxed);
    }

    pub(crate) fn times(self) -> Times {
        let fresh_until = self.until().fresh_until();
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
        now < self.until().fresh_until()
    }

    #[inline]
    pub(crate) fn is_dead(self, now: u64) -> bool {
        now >= self.tail().map_or_else(|| self.until().fresh_until(), |tail| tail.dead_at)
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

    /// Counts a hit. Writes nothing once the frequency is at its greatest.
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
}

/// Until when an entry is fresh, and its stamp.
#[derive(Clone, Copy)]
pub(crate) struct Until(u64);

impl Until {
    fn new(fresh_until: u64, stamp: u64) -> Self {
        Self(fresh_until << STAMP | stamp & ((1 << STAMP) - 1))
    }

    #[inline(always)]
    pub(crate) fn fresh_until(self) -> u64 {
        self.0 >> STAMP
    }

    /// The last event that the entry is known to have outlived, as far as the bits hold it.
    #[inline(always)]
    pub(crate) fn stamp(self) -> u64 {
        self.0 & ((1 << STAMP) - 1)
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
