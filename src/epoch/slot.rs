//! Where threads say that they are pinned: one slot a thread, in blocks that are added and never taken away.
//!
//! The invariants and edges named here are those of the module above.

use alloc::boxed::Box;
use core::array;
use core::sync::atomic::Ordering;

use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{OnceLock, Own, constructor, planted};

extern crate alloc;

/// One thread's word, on lines of its own.
#[repr(align(128))]
pub(crate) struct Slot {
    pub(super) pinned_at: PinnedAt,
    claimed: Claimed,
    number: usize,
}

/// The epoch its owner is pinned at, or 0.
///
/// Written by the owner alone (E1), read by whoever scans.
pub(super) struct PinnedAt(AtomicU64);

impl PinnedAt {
    /// The owner's own look.
    #[inline(always)]
    pub(super) fn mine(&self) -> u64 {
        // The owner wrote it last, or took it over by the edge `hand-on`.
        self.0.own()
    }

    /// Says that the owner is pinned at `epoch`; it counts once a light barrier has followed.
    #[inline(always)]
    pub(super) fn pin(&self, epoch: u64) {
        // Release, edge `leave`: a scan that sees this pin must have seen the end of the pins before it, which this store
        // covers: a store starts a release sequence of its own, it does not continue that of the last unpin.
        self.0.store(epoch, if planted("relaxed_pin") { Ordering::Relaxed } else { Ordering::Release });
    }

    /// Goes back to what `mine` said before the pin: 0, or the outer pin's epoch again.
    #[inline(always)]
    pub(super) fn unpin(&self, before: u64) {
        // Release, edge `leave`: what was read under the pin was read before a scan sees this.
        self.0.store(before, if planted("relaxed_unpin") { Ordering::Relaxed } else { Ordering::Release });
    }

    /// A scan's look.
    pub(super) fn seen(&self) -> u64 {
        // Acquire, edge `leave`: whatever pins lie before the one that is seen have ended before what follows the scan.
        self.0.load(if planted("relaxed_scan") { Ordering::Relaxed } else { Ordering::Acquire })
    }
}

/// Whether the slot has an owner.
struct Claimed(AtomicBool);

impl Claimed {
    /// Makes the caller the owner, unless there is one.
    fn take(&self) -> bool {
        let acquire = if planted("relaxed_claim") { Ordering::Relaxed } else { Ordering::Acquire };
        // Relaxed: a hint, the exchange decides. Acquire, edge `hand-on`: the new owner's stores to the slot come after
        // the last owner's unpin and say so to a scan. Relaxed on failure: nothing is taken then.
        !self.0.load(Ordering::Relaxed) && self.0.compare_exchange(false, true, acquire, Ordering::Relaxed).is_ok()
    }

    fn give_back(&self) {
        // Release, edge `hand-on`: the owner's pins have ended.
        self.0.store(false, if planted("relaxed_give_back") { Ordering::Relaxed } else { Ordering::Release });
    }
}

impl Slot {
    fn new(number: usize) -> Self {
        Self { pinned_at: PinnedAt(AtomicU64::new(0)), claimed: Claimed(AtomicBool::new(false)), number }
    }

    /// Its place in the roster: no two owners of slots have the same at one time.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Whether its owner, the caller, is pinned.
    #[inline(always)]
    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned_at.mine() != 0
    }

    /// Ends the caller's ownership (E1). The caller is not pinned.
    pub(crate) fn give_back(&self) {
        debug_assert!(!self.is_pinned(), "a slot is given back by a pinned thread");
        self.claimed.give_back();
    }
}

/// All slots, in blocks of `WIDTH`.
pub(super) struct Roster<const WIDTH: usize>(OnceLock<Box<Block<WIDTH>>>);

struct Block<const WIDTH: usize> {
    slots: [Slot; WIDTH],
    next: Roster<WIDTH>,
}

impl<const WIDTH: usize> Roster<WIDTH> {
    constructor! {
        pub(super) fn new() -> Self {
            Self(OnceLock::new())
        }
    }

    /// A slot for the caller, that of an ended thread if there is one.
    ///
    /// # Cost
    /// A look at every slot in use; an allocation when all are.
    pub(super) fn claim(&self) -> &Slot {
        let (mut block, mut first) = (self.block(0), 0);
        loop {
            if let Some(slot) = block.slots.iter().find(|slot| slot.claimed.take()) {
                return slot;
            }
            first += WIDTH;
            block = block.next.block(first);
        }
    }

    /// The first block, made if it is missing; `first` is the number of its first slot.
    fn block(&self, first: usize) -> &Block<WIDTH> {
        self.0.get_or_init(|| {
            let slots = array::from_fn(|i| Slot::new(first + i));
            Box::new(Block { slots, next: Self::new() })
        })
    }

    /// Every slot that was ever claimed before a heavy barrier that the caller has issued, and perhaps more (E4).
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let blocks = core::iter::successors(self.0.get(), |block| block.next.0.get());
        blocks.flat_map(|block| &block.slots)
    }
}
