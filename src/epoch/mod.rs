//! When it is safe to free what a lock-free reader may still look at.
//!
//! A reader *pins*: it writes the current epoch into a slot of its own, looks, copies out, and writes 0 again. A writer
//! *unlinks* an object, takes a *tag* — the epoch then — and keeps the object in its shard's [`Limbo`]. Now and then
//! somebody *advances*: begins the next epoch, issues a heavy barrier and looks at all slots. The oldest epoch that it finds,
//! or its own if nobody is pinned, is the new [`Safe`], and an object is freed once its tag is 2 behind that.
//!
//! Neither pin nor unpin is a locked instruction. The fence that a reader needs between its store and its first look is
//! left to the advancing thread, by `membarrier`; where the kernel does not lend that, both sides issue a fence.
//!
//! # Invariants
//! - E1: a slot is claimed by one thread at a time, and that thread alone stores its epoch.
//! - E2: rounds do not overlap; each stores the next epoch, then issues one heavy barrier, then scans.
//! - E3: an object with tag *t* is freed only when a `Safe` *s* is proven with *t* + 2 ≤ *s*.
//! - E4: blocks of slots are added and never freed, so that a scan meets every slot claimed before its barrier.
//! - E5: pins of a thread end in the reverse order of their beginning: a pin is a closure and has no value to move away.
//! - E6: tags are taken after the unlink, and under one lock they never go down: a limbo is in the order of its tags.
//!
//! # Proof of E3
//! A heavy barrier is no moment: it has a beginning, an end, and in between, for each thread, a point in that thread's
//! program. What is before the beginning is visible after every point; what is before a point is visible after the end.
//! A light barrier lies before or after the point of its thread. That is all that `membarrier` gives; of light barriers
//! alone nothing is known. *H(n)* stands for the heavy barrier of the round that began epoch *n*; by E2 the epoch *n* is stored
//! before *H(n)* begins and after *H(n-1)* has ended.
//!
//! Let *t* be the tag of an object, which writer *W* took after its light barrier, after the unlink. Let reader *R* have found
//! the object under a pin of epoch *e*.
//! - P1: what sees the end of *H(t+1)* sees the unlink. For *W*'s light barrier lies before its point of *H(t+1)*: otherwise *W*
//!   would have read its tag after that point, where *t* + 1 is visible.
//! - P2: *R*'s light barrier lies before its point of *H(t+2)*. Otherwise *R* sees what is before the beginning of *H(t+2)*: the
//!   end of *H(t+1)*, and so the unlink, and cannot find the object.
//! - P3: *e* ≤ *t* + 1. The epoch *t* + 2 is stored after the end of *H(t+1)*: who reads it sees the unlink (edge `epoch`).
//! - P4: let *s* ≥ *t* + 2 be proven by the round of epoch *n*. As *s* ≤ *n*, *R*'s light barrier lies before its point of *H(n)*
//!   by P2, and the scan sees *R*'s store or a later one to that slot. Not *R*'s own: *s* is at most any epoch that it saw, and
//!   *e* < *s*. A later one then: the pin's end, or a store after that by this owner of the slot or the next. All of
//!   these are Release stores that come after *R*'s reads (edges `leave` and `hand-on`), the scan acquires them, and who
//!   frees acquires what the scan has proven (edge `proven`). So *R*'s reads come before the free. ∎
//!
//! If *R* reaches the object by way of another that is unlinked too, such as an old table, P2 and P3 hold by that one's tag,
//! which is no greater, and so for this one's.
//!
//! Why two rounds, if nobody is pinned: in *H(t+1)* the point of *R* may come first, then *R* pins, then comes the point of *W*,
//! before which the unlink was on its way. *R* has the object, and the scan need not see *R*'s store, which no point has
//! followed yet. With fences on both sides that cannot be, but there is one rule for both.
//!
//! A slot that goes back in time — its owner read the epoch, slept, and stored it late — takes nothing back that is proven: by
//! P4 it has found nothing of what that proof was about. It holds back what is to come.
//!
//! In the language's terms, with fences: a point is the place of the heavy fence in the one order of SeqCst fences; of two
//! such fences the one comes first that is before an access which is coherence-ordered before an access after the other
//! (C++20, [atomics.order] 4), and that makes the accesses in between visible though they be relaxed. With `membarrier`
//! the light half is a compiler fence, of which the language says nothing: there the argument is about processors and
//! membarrier(2). No *data race* rests on it: P4's chain from the last read to the free is Release and Acquire throughout,
//! so that race detectors follow it.
//!
//! # Edges
//! | edge | release side | acquire side | carries |
//! |---|---|---|---|
//! | `leave` | `PinnedAt::pin`, `PinnedAt::unpin` | `PinnedAt::seen` | the reads of the slot's earlier pins |
//! | `hand-on` | `Claimed::give_back` | `Claimed::take` | the last owner's unpin |
//! | `proven` | `Proven::raise` | `Proven::get` | what the scan has acquired |
//! | `epoch` | `Epoch::step` | `Epoch::for_pin` | what the heavy barriers so far have made visible |
//! | `round` | `Advancing::end` | `Advancing::begin` | the epoch and the heavy barrier of the round before |
//! | `block` | the roster's `OnceLock`, set | the same, got | a new block of slots |
//! | light and heavy | `Barrier::light` | `Barrier::heavy`, or the other way round | everything before the one, to what follows the other |
//!
//! # Cost
//! A pin and its end: 19 instructions, none of them locked, with `membarrier`; a fence more without. A round: a system call
//! and a load for each slot.
//!
//! # What is not promised
//! A pin that is held keeps all that is retired after it, in all shards. `held_back` counts the rounds it has outlived.
//! If the kernel takes its barrier back while the process runs — a filter installed late — rounds prove nothing more:
//! memory then grows, and nothing is freed too early.
//! A process that forks while other threads are pinned has those pins in the child for ever.
//!
//! # Why not
//! - crossbeam-epoch: a locked instruction for each pin; its garbage lies in threads, not in
//!   shards, and is freed by whoever pins at the wrong time.
//! - seize, papaya: a locked instruction at the end of a guard.
//! - Hazard pointers: a store and a barrier for each pointer followed, a table and an entry at least, and a second look.
//! - A lock or a count for readers: they share a line, which is the whole cost with two of them.
//! - A guard as a value: it could be dropped out of order, and then needs a depth, two stores more; or be leaked.
//! - Scanning for each object: a system call each. One round serves all shards.
//! - `mprotect` where `membarrier` is missing: it interrupts only what the processor's maker happens to interrupt.
//!
//! Checked by `loom-tests/` (`reclaim.rs`), with fences and with a barrier that orders light and heavy alone, and by `tests`.

mod barrier;
mod domain;
mod limbo;
mod local;
mod slot;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use domain::Safe;
pub(crate) use domain::{Pinned, Tag};
pub(crate) use limbo::Limbo;
pub(crate) use local::{domain, pin, pinned_here};
