//! Making an entry, holding it, and freeing it.

use std::alloc::{alloc, dealloc, handle_alloc_error};
use std::mem;
use std::ptr::NonNull;

use bytes::Bytes;

use super::layout::{
    ELSEWHERE, EXTRA, Elsewhere, Extra, HEAVIEST, Header, Kind, LATEST, LONGEST_COPIED, LONGEST_KEY, Parts, TAIL, Tail,
    WEIGHED,
};
use super::refs::Refs;
use super::{Entry, Slot, Times, Until};
use crate::error::Error;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

/// What an entry is made of.
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
    pub(crate) origin: Origin<'a>,
}

/// Where an entry comes from, as far as its validity goes (`crate::trust`).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin<'a> {
    /// The last event before its load began.
    pub(crate) stamp: u64,
    /// Names the copy in the shared tier; 0 if there is none.
    pub(crate) write_id: u64,
    pub(crate) tags: Option<&'a Arc<[u64]>>,
}

/// An entry, and a count of it.
pub(crate) struct Counted(NonNull<Header>);

// SAFETY: see `Entry`.
unsafe impl Send for Counted {}
// SAFETY: see `Entry`.
unsafe impl Sync for Counted {}

impl Counted {
    /// Makes an entry, with the one count of it.
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
        let Label { hash, key, times, weight, origin } = label;
        let times = Times { fresh_until: times.fresh_until.min(LATEST), dead_at: times.dead_at.min(LATEST), ..times };
        let lifetime = i128::from(times.fresh_until) - i128::from(times.written);
        let lifetime = u32::try_from(lifetime).ok().filter(|_| times.dead_at == times.fresh_until);
        let sort = kind as u8
            | if elsewhere.is_some() { ELSEWHERE } else { 0 }
            | if lifetime.is_none() { TAIL } else { 0 }
            | if weight.is_some() { WEIGHED } else { 0 }
            | if origin.write_id != 0 || origin.tags.is_some() { EXTRA } else { 0 };
        assert!(key.len() < LONGEST_KEY, "a key has less than 1 GiB");
        let key_len = key.len() as u32;
        // Copied bodies are short.
        let body_len = copied.len() as u16;
        let Parts { body, tail, extra, layout } = Parts::of(key_len, body_len, sort);
        let header = Header {
            prev: AtomicPtr::default(),
            next: AtomicPtr::default(),
            memo: Slot::new(),
            charged: AtomicU32::new(weight.unwrap_or(0).min(HEAVIEST)),
            lifetime: lifetime.unwrap_or(0),
            refs: Refs::one(),
            key_len,
            hash,
            used: AtomicU32::new(0),
            body_len,
            sort,
            frequency: AtomicU8::new(0),
            until: AtomicU64::new(Until::new(times.fresh_until, origin.stamp).0),
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
            if sort & EXTRA != 0 {
                at.add(extra).cast().write(Extra { write_id: origin.write_id, tags: origin.tags.cloned() });
            }
        }
        let new = Self(at.cast());
        new.charge(weight);
        new
    }

    /// Charges it for what it weighs now, unless the caller gave its weight.
    fn charge(&self, given: Option<u32>) {
        if given.is_none() {
            self.entry().set_charged(self.entry().weight());
        }
    }

    /// The same body under `label`, and the decoded form with it.
    pub(crate) fn relabelled(entry: Entry<'_>, label: Label<'_>) -> Self {
        let body = match (entry.given(), entry.fault()) {
            (Some(body), _) => Body::Given(body.clone()),
            (None, Some(fault)) => Body::Fault(fault.clone()),
            (None, None) => Body::Copied(entry.body()),
        };
        let new = Self::new(entry.kind(), body, label);
        if let Some(memo) = entry.memo().get() {
            // Nobody else has the entry: the slot is empty.
            drop(new.entry().memo().set(memo.clone()));
            new.charge(label.weight);
        }
        new
    }

    #[inline]
    pub(crate) fn entry(&self) -> Entry<'_> {
        // SAFETY: this is a count of it (R2).
        unsafe { Entry::at(self.0) }
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
        let parts = self.entry().parts();
        let (has_body_elsewhere, has_extra) = (self.entry().has(ELSEWHERE), self.entry().has(EXTRA));
        let at = self.0.cast::<u8>();
        // SAFETY: this was the last count (R1), so that nobody looks any more. What is dropped in place was written there by
        // `new` (R4), the tail needs no drop; the layout is that of the allocation (R4).
        unsafe {
            if has_body_elsewhere {
                at.add(parts.body).cast::<Elsewhere>().drop_in_place();
            }
            if has_extra {
                at.add(parts.extra).cast::<Extra>().drop_in_place();
            }
            at.cast::<Header>().drop_in_place();
            dealloc(at.as_ptr(), parts.layout);
        }
    }
}

impl Entry<'_> {
    /// A count of one's own.
    #[inline]
    pub(crate) fn count(self) -> Counted {
        self.header().refs.up();
        Counted(self.at)
    }
}

impl Clone for Counted {
    #[inline]
    fn clone(&self) -> Self {
        self.entry().count()
    }
}

impl Drop for Counted {
    #[inline]
    fn drop(&mut self) {
        if self.entry().header().refs.down() {
            self.free();
        }
    }
}
