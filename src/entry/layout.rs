//! Where the parts of an entry lie in its allocation.

use std::alloc::Layout;

use bytes::Bytes;

use super::memo::Memo;
use super::refs::Refs;
use super::slot::Slot;
use crate::error::Error;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

/// What an entry's body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// One MessagePack document.
    MessagePack,
    /// Bytes as the caller gave them.
    Raw,
    /// No document: the conversion that made the value could not fail, the entry carries the reason.
    Invalid,
    /// The word that the source has no value.
    Absent,
}

/// The first part of an entry.
#[repr(C, align(8))]
pub(crate) struct Header {
    /// The neighbours in the policy's queue. Under the shard's lock.
    pub(crate) prev: AtomicPtr<Header>,
    pub(crate) next: AtomicPtr<Header>,
    pub(super) memo: Slot<Memo>,
    pub(super) hash: u64,
    /// What the shard has counted for the entry, and in the top bit which queue the policy keeps it in. Under the shard's
    /// lock.
    pub(super) charged: AtomicU32,
    /// How long before `fresh_until` the entry was written, in milliseconds; without meaning if there is a tail.
    pub(super) lifetime: u32,
    /// When the policy last knew the entry to be used. Under the shard's lock.
    pub(super) used: AtomicU32,
    pub(super) refs: Refs,
    // What every hit looks at begins here.
    pub(super) key_len: u32,
    /// The length of a body that lies in the entry.
    pub(super) body_len: u16,
    /// The kind, and flags.
    pub(super) sort: u8,
    /// Hits since the policy last looked, saturating at [`Entry::MAX_FREQUENCY`].
    pub(super) frequency: AtomicU8,
    /// When the entry ceases to be fresh, and in the low [`STAMP`] bits the last event that it is known to have outlived
    /// (`crate::trust`), as far as they hold it.
    pub(super) until: AtomicU64,
}

/// Smaller only where pointers are.
const _: () = assert!(size_of::<Header>() == 64 || size_of::<usize>() < 8 && size_of::<Header>() < 64);

/// The bits of `until` that are the stamp.
pub(crate) const STAMP: u32 = 24;
/// The latest time that the others can say: in 34 years.
pub(super) const LATEST: u64 = u64::MAX >> STAMP;

/// The bits of `sort` that are the kind.
pub(super) const KIND: u8 = 3;
/// The body is kept elsewhere.
pub(super) const ELSEWHERE: u8 = 4;
pub(super) const TAIL: u8 = 8;
/// The caller gave the weight.
pub(super) const WEIGHED: u8 = 16;
pub(super) const EXTRA: u8 = 32;

/// The bit of `charged` that is the queue.
pub(super) const IN_MAIN: u32 = 1 << 31;
/// The most that an entry weighs.
pub(super) const HEAVIEST: u32 = IN_MAIN - 1;

/// The longest key is shorter.
pub(super) const LONGEST_KEY: usize = 1 << 30;

/// The longest body that is copied into its entry.
pub(super) const LONGEST_COPIED: usize = 4096;

/// A body that is kept elsewhere.
pub(super) enum Elsewhere {
    Body(Bytes),
    Fault(Error),
}

/// What few entries have.
pub(super) struct Tail {
    pub(super) written: i64,
    pub(super) dead_at: u64,
    /// No computation is tried before this time while the stale value stands in (fail-safe).
    pub(super) retry_at: AtomicU64,
}

/// What an entry has that is tagged, or of which the shared tier has a copy.
pub(super) struct Extra {
    /// Names the copy; 0: there is none.
    pub(super) write_id: u64,
    pub(super) tags: Option<Arc<[u64]>>,
}

// The parts are aligned as far as the entry is.
const _: () = assert!(align_of::<Elsewhere>() <= align_of::<Header>());
const _: () = assert!(align_of::<Tail>() <= align_of::<Header>() && align_of::<Extra>() <= align_of::<Header>());

/// Where the parts of an entry lie.
pub(super) struct Parts {
    pub(super) body: usize,
    pub(super) tail: usize,
    pub(super) extra: usize,
    pub(super) layout: Layout,
}

impl Parts {
    pub(super) fn of(key_len: u32, body_len: u16, sort: u8) -> Self {
        let key_end = size_of::<Header>() + key_len as usize;
        let (body, body_end) = if sort & ELSEWHERE == 0 {
            (key_end, key_end + usize::from(body_len))
        } else {
            let body = key_end.next_multiple_of(align_of::<Elsewhere>());
            (body, body + size_of::<Elsewhere>())
        };
        let tail = body_end.next_multiple_of(align_of::<Tail>());
        let tail_end = if sort & TAIL == 0 { body_end } else { tail + size_of::<Tail>() };
        let extra = tail_end.next_multiple_of(align_of::<Extra>());
        let end = if sort & EXTRA == 0 { tail_end } else { extra + size_of::<Extra>() };
        // SAFETY: the alignment is a power of two; keys have less than 2^30 bytes and copied bodies less than 2^16, so that the
        // sum is less than 2^31 - 8 also where `isize` has 32 bits.
        let layout = unsafe { Layout::from_size_align_unchecked(end, align_of::<Header>()) };
        Self { body, tail, extra, layout }
    }
}
