//! What is retired and not yet freed.

use alloc::collections::VecDeque;

use super::domain::{Safe, Tag};

extern crate alloc;

/// The least room that is kept for later.
const KEPT: usize = 64;

/// Retired objects in the order of their retirement, owned by a shard and changed under its lock.
///
/// An object that readers may still look at must not be owned here by a type that claims to be its only way in, such as a
/// `Box`: let `T` be a pointer, and make an owner of it when it comes out.
///
/// Dropping a limbo drops what lies in it, safe or not: whoever does so knows that the table has no reader left.
pub(crate) struct Limbo<T> {
    retired: VecDeque<(Tag, T)>,
    /// How many may come within one epoch.
    most: usize,
    /// How many have come within the last epoch, or since it was last said that they are too many.
    young: usize,
}

impl<T> Limbo<T> {
    /// An empty one, which is overdue when `most` objects have come within one epoch.
    pub(crate) const fn new(most: usize) -> Self {
        Self { retired: VecDeque::new(), most, young: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.retired.len()
    }

    /// Keeps `object`, which was unlinked before `tag` was taken.
    ///
    /// # Cost
    /// Amortised constant: the room doubles when it is full.
    pub(crate) fn retire(&mut self, tag: Tag, object: T) {
        debug_assert!(self.retired.back().is_none_or(|(last, _)| *last <= tag), "a tag was taken outside the lock");
        if self.retired.back().is_none_or(|(last, _)| *last != tag) {
            self.young = 0;
        }
        self.young += 1;
        self.retired.push_back((tag, object));
    }

    /// Hands over the oldest objects that are safe, at most `most`; how many those were.
    ///
    /// # Cost
    /// Constant an object, amortised: room that a burst has left is given back.
    pub(crate) fn reclaim(&mut self, most: usize, safe: Safe, out: &mut impl Extend<T>) -> usize {
        let free = self.retired.iter().take(most).take_while(|(tag, _)| safe.frees(*tag)).count();
        out.extend(self.retired.drain(..free).map(|(_, object)| object));
        if self.retired.capacity() > KEPT && self.retired.len() < self.retired.capacity() / 4 {
            self.retired.shrink_to((self.retired.len() * 2).max(KEPT));
        }
        free
    }

    /// Hands over everything, safe or not: the caller knows that the table has no reader left.
    pub(crate) fn take_all(&mut self, out: &mut impl Extend<T>) {
        out.extend(self.retired.drain(..).map(|(_, object)| object));
    }

    /// Whether so much has come within one epoch that its owner should call `advance`, outside the lock, rather than wait
    /// for the tick: what is freed soon is still in the processor's caches when it is allocated again.
    ///
    /// The longer it is, the more must come: a guard that is held makes its writers' system calls ever rarer.
    pub(crate) fn is_overdue(&mut self) -> bool {
        let overdue = self.young >= self.most.max(self.retired.len() / 4);
        if overdue {
            self.young = 0;
        }
        overdue
    }
}
