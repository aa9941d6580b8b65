//! One shard: its table, read by anyone who is pinned, and what is changed under its lock.
//!
//! # Invariants
//! - S1: the table holds one count of every entry in it; what takes an entry out hands that count to the limbo.
//! - S2: what is in the limbo was unlinked before it was put there, under the lock.
//! - S3: what comes out of the limbo is dropped after the lock is released: it may run code of the user's. So whatever the
//!   holder of the lock has found stays alive until then.
//! - S4: an entry is in a queue of the policy if and only if it is in the table, and says itself in which.

#![expect(unsafe_code, reason = "the table holds entries by pointer, so that readers pin instead of counting")]

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use super::marker::{Markers, Token};
use super::policy::Policy;
use super::table::{Current, Place, Table};
use crate::entry::{Counted, Entry, Header};
use crate::epoch::{self, Limbo, Pinned, Tag};
use crate::hint;
use crate::sync::{Mutex, MutexGuard, planted};

/// Entries that a shard has room for before its table first grows.
const FIRST_ROOM: usize = 48;
/// Retired objects within one epoch at which a writer no longer waits for the tick to advance it.
const RETIRED_PER_EPOCH: usize = 32;
/// Retired objects that one write frees at the most: more than it retires, so that a limbo shrinks.
const FREED_PER_WRITE: usize = 4;
/// A write frees one object, which is what most retire, and one more for so many that are there: the allocator gets back
/// piece by piece what it lends.
const LIMBO_STEP: usize = 96;

/// A key with its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) hash: u64,
    pub(super) key: &'a str,
}

impl<'a> Name<'a> {
    pub(super) fn of(entry: Entry<'a>) -> Self {
        Self { hash: entry.hash(), key: entry.key() }
    }
}

pub(super) struct Shard {
    /// Written under the lock.
    table: Current<Header>,
    inner: Mutex<Inner>,
}

/// What only the holder of the lock sees.
struct Inner {
    policy: Policy,
    markers: Markers,
    limbo: Limbo<Retired>,
    /// The bucket that is visited next.
    hand: usize,
    /// How often the table was rebuilt.
    rebuilt: u64,
}

/// What readers may still look at.
enum Retired {
    /// A count of an entry (S1).
    Entry(NonNull<Header>),
    Table(*mut Table<Header>),
}

// SAFETY: both pointees are `Send` and `Sync`, and the pointer stands for the one count, or the one ownership, that the table
// had (S1).
unsafe impl Send for Retired {}

/// What is dropped when nobody looks at it any more.
struct Garbage(Retired);

impl Drop for Garbage {
    fn drop(&mut self) {
        match self.0 {
            // SAFETY: the count was the table's (S1), and the limbo gave it out once, when no reader was left that could
            // have found the entry (E3 of `epoch`, S2).
            Retired::Entry(entry) => unsafe { drop(Counted::from_pointer(entry)) },
            // SAFETY: made by `Box::into_raw`, unlinked before it was retired (S2), and no reader is left (E3 of `epoch`).
            Retired::Table(table) => unsafe { drop(Box::from_raw(table)) },
        }
    }
}

/// A look at what is in the table.
///
/// # Safety
/// `entry` is in the table, and stays alive for `'a`.
unsafe fn look<'a>(entry: *const Header) -> Entry<'a> {
    // SAFETY: the table has a count of it (S1); what is in the table is not null.
    unsafe { Entry::at(NonNull::new_unchecked(entry.cast_mut())) }
}

/// A few pieces of garbage, without an allocation.
#[derive(Default)]
struct Bin {
    pieces: [Option<Garbage>; FREED_PER_WRITE],
    len: usize,
}

impl Extend<Retired> for Bin {
    fn extend<I: IntoIterator<Item = Retired>>(&mut self, retired: I) {
        for one in retired {
            self.pieces[self.len] = Some(Garbage(one));
            self.len += 1;
        }
    }
}

impl Shard {
    pub(super) fn new() -> Self {
        let table = Current::new(Box::new(Table::with_room(FIRST_ROOM)));
        let limbo = Limbo::new(RETIRED_PER_EPOCH);
        let inner = Inner { policy: Policy::new(), markers: Markers::new(), limbo, hand: 0, rebuilt: 0 };
        Self { table, inner: Mutex::new(inner) }
    }

    /// The entry of a name, for as long as the caller is pinned and the shard is there: its end waits for nobody.
    #[inline(always)]
    pub(super) fn find<'p>(&'p self, name: Name<'_>, _pinned: &'p Pinned<'_>) -> Option<Entry<'p>> {
        // SAFETY: a table is freed only when no reader that could have loaded it is pinned (S2, E3 of `epoch`).
        let table = unsafe { &*self.table.read() };
        // SAFETY: a pointer in the table is an entry that lives for as long as this reader stays pinned (S1, S2).
        let found = table.find(name.hash, |entry| unsafe { look(entry) }.is_of(name.key));
        // SAFETY: as above; null or such an entry.
        NonNull::new(found.cast_mut()).map(|entry| unsafe { Entry::at(entry) })
    }

    /// Says that an entry of this hash is soon looked for.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        epoch::pin(|_| {
            // SAFETY: as in `find`.
            let table = unsafe { &*self.table.read() };
            hint::prefetch(table.address(hash));
        });
    }

    /// Runs `look` under the lock.
    pub(super) fn read<R>(&self, look: impl for<'w> FnOnce(&Writer<'w>) -> R) -> R {
        look(&Writer { inner: self.inner.lock(), shard: self })
    }

    /// Runs `change` under the lock, and then frees a little of what nobody looks at any more.
    ///
    /// What `change` finds lives as long as the lock is held (S3), and cannot leave it: its lifetime is the lock's.
    pub(super) fn write<R>(&self, change: impl for<'w> FnOnce(&mut Writer<'w>) -> R) -> R {
        let mut writer = Writer { inner: self.inner.lock(), shard: self };
        let result = change(&mut writer);
        let mut bin = Bin::default();
        let freed = (1 + writer.inner.limbo.len() / LIMBO_STEP).min(FREED_PER_WRITE);
        writer.inner.limbo.reclaim(freed, epoch::domain().safe(), &mut bin);
        let overdue = writer.inner.limbo.is_overdue();
        drop(writer);
        // After the lock (S3).
        drop(bin);
        if overdue {
            epoch::domain().advance();
        }
        result
    }

    /// Frees what nobody looks at any more, `most` pieces of it; whether something is left.
    pub(super) fn reclaim(&self, most: usize) -> bool {
        let mut garbage = Vec::new();
        let mut inner = self.inner.lock();
        inner.limbo.reclaim(most, epoch::domain().safe(), &mut Heap(&mut garbage));
        let left = inner.limbo.len() > 0;
        drop(inner);
        // After the lock (S3).
        drop(garbage);
        left
    }
}

/// Garbage in a vector.
struct Heap<'a>(&'a mut Vec<Garbage>);

impl Extend<Retired> for Heap<'_> {
    fn extend<I: IntoIterator<Item = Retired>>(&mut self, retired: I) {
        self.0.extend(retired.into_iter().map(Garbage));
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // SAFETY: nobody else has the shard, so no reader has its table; it was made by `Box::into_raw`.
        let table = unsafe { Box::from_raw(self.table.own()) };
        for entry in table.entries().filter_map(NonNull::new) {
            drop(Garbage(Retired::Entry(entry)));
        }
        let mut left = Vec::new();
        self.inner.get_mut().limbo.take_all(&mut Heap(&mut left));
    }
}

/// How far somebody has walked who lets go of the lock now and then.
#[derive(Default)]
pub(super) struct Walk {
    /// How often the table had been rebuilt: that moves entries, also where it comes to the same size again.
    rebuilt: u64,
    next: usize,
}

/// The holder of a shard's lock.
pub(super) struct Writer<'w> {
    inner: MutexGuard<'w, Inner>,
    shard: &'w Shard,
}

/// An entry that the holder of the lock has found in the shard. It may have been removed since.
#[derive(Clone, Copy)]
pub(super) struct Resident<'w> {
    entry: Entry<'w>,
    /// Of this lock and no other.
    lock: PhantomData<fn(&'w ()) -> &'w ()>,
}

impl<'w> Deref for Resident<'w> {
    type Target = Entry<'w>;

    fn deref(&self) -> &Entry<'w> {
        &self.entry
    }
}

impl<'w> Writer<'w> {
    fn table(&self) -> &Table<Header> {
        // SAFETY: the table in use is not retired, and only the holder of the lock retires it, by `grow`, which has `self` to
        // itself.
        unsafe { &*self.shard.table.own() }
    }

    pub(super) fn markers(&mut self) -> &mut Markers {
        &mut self.inner.markers
    }

    /// Resident entries.
    pub(super) fn len(&self) -> usize {
        self.inner.policy.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.inner.policy.weight()
    }

    pub(super) fn was_evicted(&self, hash: u64) -> bool {
        self.inner.policy.was_evicted(hash)
    }

    /// # Safety
    /// `entry` is in the table.
    unsafe fn resident(&self, entry: *const Header) -> Resident<'w> {
        // SAFETY: it is in the table, and if it is taken out it lives on until the lock is released (S3).
        Resident { entry: unsafe { look(entry) }, lock: PhantomData }
    }

    /// The entry of a name.
    pub(super) fn get(&self, name: Name<'_>) -> Option<Resident<'w>> {
        // SAFETY: what is in the table is alive: it is taken out under the lock, which is held (S1).
        let (_, entry) = self.table().locate(name.hash, |entry| unsafe { look(entry) }.is_of(name.key))?;
        // SAFETY: found in the table.
        Some(unsafe { self.resident(entry) })
    }

    /// Every entry, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Resident<'w>> {
        // SAFETY: found in the table.
        self.table().entries().map(|entry| unsafe { self.resident(entry) })
    }

    /// The next entries, at least `most` of them or all, going round over all from call to call.
    pub(super) fn next(&mut self, most: usize) -> Vec<Resident<'w>> {
        let mut next = Vec::new();
        let buckets = self.table().buckets();
        for _ in 0..buckets {
            if next.len() >= most {
                break;
            }
            let hand = self.inner.hand % buckets;
            // SAFETY: found in the table.
            next.extend(self.table().entries_of(hand).map(|entry| unsafe { self.resident(entry) }));
            self.inner.hand = hand + 1;
        }
        next
    }

    /// The next entries of a walk, at least `most` of them or the rest; none at its end. An entry that is there from the
    /// beginning to the end of the walk is met: where the table is rebuilt meanwhile, which moves entries, it begins anew.
    pub(super) fn walk(&self, walk: &mut Walk, most: usize) -> Vec<Resident<'w>> {
        let buckets = self.table().buckets();
        if walk.rebuilt != self.inner.rebuilt {
            *walk = Walk { rebuilt: self.inner.rebuilt, next: 0 };
        }
        let mut met = Vec::new();
        while met.len() < most && walk.next < buckets {
            // SAFETY: found in the table.
            met.extend(self.table().entries_of(walk.next).map(|entry| unsafe { self.resident(entry) }));
            walk.next += 1;
        }
        met
    }

    /// The entry that is to go for room.
    pub(super) fn victim(&mut self, is_dead: impl Fn(Entry<'_>) -> bool) -> Option<Resident<'w>> {
        let victim = self.inner.policy.victim(is_dead)?.pointer().as_ptr();
        // SAFETY: what is in a queue is in the table (S4).
        Some(unsafe { self.resident(victim) })
    }

    /// Says that an entry of this hash is soon inserted, and another one evicted for it.
    ///
    /// What an insertion looks at lies in four places that no cache of the processor's holds; so they are fetched together.
    pub(super) fn prefetch(&mut self, hash: u64) {
        if let Some(evicted) = self.inner.policy.prefetch(hash) {
            hint::prefetch(self.table().address(evicted));
        }
    }

    fn place(&self, entry: Entry<'_>) -> Option<Place> {
        let wanted = entry.pointer().as_ptr().cast_const();
        let is = |entry| entry == wanted || planted("removed_by_name");
        self.table().locate(entry.hash(), is).map(|(place, _)| place)
    }

    /// Puts in an entry whose name is not there.
    pub(super) fn insert(&mut self, entry: Counted) {
        if self.len() >= self.table().room() {
            self.grow();
        }
        let at = entry.into_pointer();
        // SAFETY: the count that was given away keeps it alive until the table's count is given up (S1), which `remove` does
        // after it has taken the entry out of the policy.
        let entry = unsafe { Entry::at(at) };
        self.table().insert(entry.hash(), at.as_ptr());
        // SAFETY: as above; it is new, and so in no queue.
        unsafe { self.inner.policy.insert(entry) };
    }

    /// Puts `entry` in the place of the one of its name, with its frequency.
    pub(super) fn replace(&mut self, old: Resident<'w>, entry: Counted) {
        let Some(place) = self.place(*old) else { return self.insert(entry) };
        let at = entry.into_pointer();
        // SAFETY: as in `insert`.
        let entry = unsafe { Entry::at(at) };
        // SAFETY: the old one is in the table, and so in a queue (S4); the new one as in `insert`.
        unsafe { self.inner.policy.replace(*old, entry) };
        self.table().replace(place, at.as_ptr());
        self.retire(Retired::Entry(old.pointer()));
    }

    /// Takes out an entry; whether it was still there.
    pub(super) fn remove(&mut self, entry: Resident<'w>) -> bool {
        let Some(place) = self.place(*entry) else { return false };
        self.table().remove(place, entry.hash());
        if !planted("left_in_its_queue") {
            // SAFETY: it was in the table, and so in a queue (S4).
            unsafe { self.inner.policy.remove(*entry) };
        }
        self.retire(Retired::Entry(entry.pointer()));
        true
    }

    /// Charges an entry anew after its weight has changed.
    pub(super) fn recharge(&mut self, entry: Resident<'w>) {
        if self.place(*entry).is_some() {
            self.inner.policy.recharge(*entry);
        }
    }

    /// Recounts the table, by itself and against the policy; for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        // SAFETY: what is in the table is alive (S1).
        self.table().validate(|entry| unsafe { look(entry) }.hash())?;
        self.inner.policy.validate()?;
        let (table, policy) = (self.entries().count(), self.len());
        if table != policy {
            return Err(format!("the table holds {table} entries, the policy {policy}"));
        }
        match self.entries().find(|entry| self.get(Name::of(**entry)).is_none_or(|found| !found.is(**entry))) {
            Some(lost) => Err(format!("the table does not find {:?}", lost.key())),
            None => Ok(()),
        }
    }

    /// Whether the marker is there.
    pub(super) fn holds(&self, hash: u64, token: Token) -> bool {
        self.inner.markers.holds(hash, token)
    }

    pub(super) fn marked(&self) -> usize {
        self.inner.markers.len()
    }

    /// A table of twice the room in place of the present one.
    fn grow(&mut self) {
        self.rebuild(self.table().room() * 2);
    }

    /// A table that fits, where the present one was made for a crowd that has gone.
    pub(super) fn fit(&mut self) {
        let room = (self.len() * 2).max(FIRST_ROOM);
        if self.table().room() > room * 4 {
            self.rebuild(room);
        }
    }

    fn rebuild(&mut self, room: usize) {
        // SAFETY: what is in the table is alive (S1).
        let new = self.table().rebuilt(room, Entry::prefetch, |entry| unsafe { look(entry) }.hash());
        let old = self.shard.table.put(new);
        self.inner.rebuilt += 1;
        self.retire(Retired::Table(old));
    }

    /// Keeps what was just unlinked until no reader is left.
    fn retire(&mut self, retired: Retired) {
        if planted("freed_at_once") {
            return drop(Garbage(retired));
        }
        let tag: Tag = epoch::domain().tag();
        self.inner.limbo.retire(tag, retired);
    }
}
