//! The epochs: pin, tag, advance. The argument is the module's above.

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use super::slot::{Roster, Slot};
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Own, constructor, planted};

/// A pair of barriers, the light one for readers and the heavy one for scans.
///
/// A heavy barrier has a beginning, an end, and for each thread a point in that thread's program. What is before the
/// beginning is visible after each point, and what is before a point is visible after the end. A light barrier lies before
/// or after its thread's point, and nothing crosses it to the other side. Points of different threads lie at different
/// times, and light barriers promise nothing to each other.
pub(crate) trait Barrier {
    /// Called before the calling thread's first light barrier.
    fn prepare(&self) {}

    /// Cheap where it can be. As with a fence, loads and stores do not cross it.
    fn light(&self);

    /// Whether the barrier was issued: if not, nothing may be concluded.
    fn heavy(&self) -> bool;
}

/// When an object was retired. Later tags are greater; equal ones are common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(u64);

/// How far it is proven that readers are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Safe(u64);

impl Safe {
    /// Whether no reader is left of what was retired with `tag` (E3).
    #[inline]
    pub(crate) fn frees(self, tag: Tag) -> bool {
        let behind = if planted("one_epoch") { 1 } else { 2 };
        tag.0 + behind <= self.0
    }
}

/// Says that the current thread is pinned for `'p`: what it finds in a table of this domain stays for as long.
///
/// It does not leave its thread.
pub(crate) struct Pinned<'p> {
    slot: &'p Slot,
    here: PhantomData<*const ()>,
}

impl Pinned<'_> {
    /// A small number that no other thread pinned in this domain has now.
    ///
    /// A thread keeps it from its first pin to its end, then another thread may have it. It suits counters that one thread
    /// at a time writes; the next owner sees what the last one wrote before it ended.
    #[cfg_attr(not(test), expect(dead_code, reason = "for models and tests"))]
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.slot.number()
    }
}

/// Epochs, and the threads that take part in them.
pub(crate) struct Domain<B, const WIDTH: usize = 32> {
    rounds: Rounds<B>,
    advancing: Advancing,
    roster: Roster<WIDTH>,
}

/// What every pin reads and only a round writes.
#[repr(align(128))]
struct Rounds<B> {
    epoch: Epoch,
    proven: Proven,
    held_back: HeldBack,
    barrier: B,
}

/// The epoch. It begins at 1 and grows by one a round.
struct Epoch(AtomicU64);

impl Epoch {
    /// For a pin.
    #[inline(always)]
    fn for_pin(&self) -> u64 {
        // Acquire, edge `epoch`: who pins at this epoch sees what was unlinked two epochs ago (P3). An old one only keeps
        // more alive.
        self.0.load(if planted("relaxed_epoch") { Ordering::Relaxed } else { Ordering::Acquire })
    }

    /// For a tag, after a light barrier.
    fn for_tag(&self) -> u64 {
        // Relaxed: the light barrier before it orders it after the unlink, and a tag that is too old for that would have
        // to be read before the store of the next epoch (P1).
        self.0.load(Ordering::Relaxed)
    }

    /// The next epoch. Called in a round (E2).
    fn step(&self) -> u64 {
        // Rounds alone write it and do not overlap.
        let next = self.0.own() + 1;
        // Release, edge `epoch`: carries what the heavy barriers of the rounds before have brought.
        self.0.store(next, if planted("relaxed_step") { Ordering::Relaxed } else { Ordering::Release });
        next
    }
}

/// The greatest `Safe` that a round has proven.
struct Proven(AtomicU64);

impl Proven {
    fn get(&self) -> u64 {
        // Acquire, edge `proven`: the reads of readers that are gone come before what is done to the object now.
        self.0.load(if planted("relaxed_safe") { Ordering::Relaxed } else { Ordering::Acquire })
    }

    /// Called in a round (E2). What was proven stays so: a lower value tells of a pin that began later.
    fn raise(&self, safe: u64) {
        // Rounds alone write it and do not overlap.
        if safe > self.0.own() {
            // Release, edge `proven`: carries what the scan acquired.
            self.0.store(safe, if planted("relaxed_proof") { Ordering::Relaxed } else { Ordering::Release });
        }
    }
}

/// How many epochs the oldest pin was behind in the last round.
struct HeldBack(AtomicU64);

impl HeldBack {
    fn get(&self) -> u64 {
        // Relaxed: a figure to report.
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, epochs: u64) {
        // Relaxed: a figure to report.
        self.0.store(epochs, Ordering::Relaxed);
    }
}

/// Whether a round is under way.
#[repr(align(128))]
struct Advancing(AtomicBool);

impl Advancing {
    fn begin(&self) -> bool {
        // Acquire, edge `round`: this round follows the last one. Relaxed on failure: nothing follows then.
        let acquire = if planted("relaxed_begin") { Ordering::Relaxed } else { Ordering::Acquire };
        self.0.compare_exchange(false, true, acquire, Ordering::Relaxed).is_ok()
    }

    fn end(&self) {
        // Release, edge `round`: the next round follows this one, with its barrier and its epoch.
        self.0.store(false, if planted("relaxed_end") { Ordering::Relaxed } else { Ordering::Release });
    }
}

impl<B: Barrier, const WIDTH: usize> Domain<B, WIDTH> {
    constructor! {
        /// A domain of its own. Objects of one domain are safe only by its own `Safe`.
        pub(crate) fn new(barrier: B) -> Self {
            Self {
                rounds: Rounds {
                    epoch: Epoch(AtomicU64::new(1)),
                    proven: Proven(AtomicU64::new(0)),
                    held_back: HeldBack(AtomicU64::new(0)),
                    barrier,
                },
                advancing: Advancing(AtomicBool::new(false)),
                roster: Roster::new(),
            }
        }
    }

    /// When it is now, for objects that the caller has unlinked.
    ///
    /// An object is unlinked when whoever begins to look from now on, and sees what the caller has done, cannot reach it;
    /// nor can it through another object unless that one is unlinked too, and no later. One tag serves all that were
    /// unlinked before it. Tags taken under one lock never go down.
    ///
    /// # Cost
    /// Two loads; where the kernel lends no barrier, a fence more.
    #[inline]
    pub(crate) fn tag(&self) -> Tag {
        if !planted("bare_tag") {
            self.rounds.barrier.light();
        }
        Tag(self.rounds.epoch.for_tag())
    }

    /// What the last round has proven.
    #[inline]
    pub(crate) fn safe(&self) -> Safe {
        Safe(self.rounds.proven.get())
    }

    /// Begins the next epoch and looks who is pinned: one round. While another thread does so, this only says what is
    /// proven by then.
    ///
    /// What was retired before two rounds is safe after them, if the second finds nobody pinned since before it.
    ///
    /// # Cost
    /// A heavy barrier — a system call that interrupts the running threads of the process, microseconds — and a load for
    /// every slot. Not for every write.
    #[cold]
    pub(crate) fn advance(&self) -> Safe {
        if self.advancing.begin() {
            self.round();
            self.advancing.end();
        }
        self.safe()
    }

    fn round(&self) {
        let Rounds { epoch, proven, held_back, barrier } = &self.rounds;
        let early = planted("early_barrier") && barrier.heavy();
        let now = epoch.step();
        // E3 stands on this barrier: without it nothing is known of anybody.
        if !(early || planted("no_heavy_barrier") || barrier.heavy()) {
            return;
        }
        let pinned = self.roster.slots().map(|slot| slot.pinned_at.seen()).filter(|&at| at != 0);
        let oldest = pinned.min();
        held_back.set(oldest.map_or(0, |at| now - at));
        proven.raise(oldest.unwrap_or(now + u64::from(planted("one_round"))));
    }

    /// How many epochs the oldest pin was behind in the last round: 0 or 1 as long as pins are short, and one more for each
    /// round that has found the same pin again. A figure that keeps growing tells of a guard that is held; nothing
    /// retired since is freed until it ends.
    pub(crate) fn held_back(&self) -> u64 {
        self.rounds.held_back.get()
    }

    /// A slot for the calling thread (E1).
    pub(super) fn claim(&self) -> &Slot {
        self.rounds.barrier.prepare();
        self.roster.claim()
    }

    /// Runs `read` pinned. `slot` is one that the calling thread has claimed from this domain (E1).
    #[inline(always)]
    pub(super) fn enter<R>(&self, slot: &Slot, read: impl FnOnce(&Pinned<'_>) -> R) -> R {
        let pin = Pin::begin(self, slot);
        read(&Pinned { slot: pin.slot, here: PhantomData })
    }

    /// Takes part for the calling thread, which keeps the place for itself.
    #[cfg_attr(not(test), expect(dead_code, reason = "for models and tests"))]
    pub(crate) fn join(&self) -> Participant<'_, B, WIDTH> {
        Participant { domain: self, slot: self.claim(), here: PhantomData }
    }
}

/// A pin, ended by being dropped. It lives in the frame of `enter` alone, so that pins of a thread end in reverse (E5).
struct Pin<'s> {
    slot: &'s Slot,
    before: u64,
}

impl<'s> Pin<'s> {
    #[inline(always)]
    fn begin<B: Barrier, const WIDTH: usize>(domain: &Domain<B, WIDTH>, slot: &'s Slot) -> Self {
        let before = slot.pinned_at.mine();
        if before == 0 || planted("inner_pin_renews") {
            slot.pinned_at.pin(domain.rounds.epoch.for_pin());
            if !planted("no_light_barrier") {
                domain.rounds.barrier.light();
            }
        }
        Self { slot, before: if planted("inner_unpin_ends") { 0 } else { before } }
    }
}

impl Drop for Pin<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.pinned_at.unpin(self.before);
    }
}

/// A thread's place in a domain that is not the process's.
pub(crate) struct Participant<'d, B: Barrier, const WIDTH: usize> {
    domain: &'d Domain<B, WIDTH>,
    slot: &'d Slot,
    here: PhantomData<*const ()>,
}

impl<B: Barrier, const WIDTH: usize> Participant<'_, B, WIDTH> {
    /// Runs `read` pinned. Pins may lie in each other; only the outermost counts.
    #[cfg_attr(not(test), expect(dead_code, reason = "for models and tests"))]
    pub(crate) fn pin<R>(&self, read: impl FnOnce(&Pinned<'_>) -> R) -> R {
        self.domain.enter(self.slot, read)
    }
}

impl<B: Barrier, const WIDTH: usize> Drop for Participant<'_, B, WIDTH> {
    fn drop(&mut self) {
        self.slot.give_back();
    }
}
