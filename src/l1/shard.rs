//! One shard: its table, read by anyone who is pinned, and what is changed under its lock.
//!
//! # Invariants
//! - S1: the table holds one count of every entry in it; what takes an entry out hands that count to the limbo.
//! - S2: what is in the limbo was unlinked before it was put there, under the lock.
//! - S3: what comes out of the limbo is dropped after the lock is released: it may run code of the user's.

#![expect(unsafe_code, reason = "the table holds entries by pointer, so that readers pin instead of counting")]

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::marker::Markers;
use super::policy::Policy;
use super::table::{Current, Place, Table};
use crate::entry::{Entry, NameRef};
use crate::epoch::{self, Limbo, Pinned, Tag};
use crate::sync::{Mutex, MutexGuard};

/// Entries that a shard has room for before its table first grows.
const FIRST_ROOM: usize = 48;
/// Retired objects at which a writer no longer waits for the tick to advance the epoch.
const LONG_LIMBO: usize = 512;
/// Retired objects that one write frees at the most: two more than it retires, so that a limbo shrinks.
const FREED_PER_WRITE: usize = 4;

pub(super) struct Shard {
    /// Written under the lock.
    table: Current<Entry>,
    inner: Mutex<Inner>,
}

/// What only the holder of the lock sees.
pub(super) struct Inner {
    pub(super) policy: Policy,
    pub(super) markers: Markers,
    limbo: Limbo<Retired>,
}

/// What readers may still look at.
enum Retired {
    /// A count of an entry (S1).
    Entry(*const Entry),
    Table(*mut Table<Entry>),
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
            Retired::Entry(entry) => unsafe { drop(Arc::from_raw(entry)) },
            // SAFETY: made by `Box::into_raw`, unlinked before it was retired (S2), and no reader is left (E3 of `epoch`).
            Retired::Table(table) => unsafe { drop(Box::from_raw(table)) },
        }
    }
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
        let inner = Inner { policy: Policy::new(), markers: Markers::new(), limbo: Limbo::new(LONG_LIMBO) };
        Self { table, inner: Mutex::new(inner) }
    }

    /// The entry of a name, for as long as the caller is pinned and the shard is there: its end waits for nobody.
    #[inline]
    pub(super) fn find<'p>(&'p self, name: NameRef<'_>, _pinned: &'p Pinned<'_>) -> Option<&'p Entry> {
        // SAFETY: a table is freed only when no reader that could have loaded it is pinned (S2, E3 of `epoch`).
        let table = unsafe { &*self.table.read() };
        // SAFETY: a pointer in the table is an entry that lives for as long as this reader stays pinned (S1, S2).
        let found = table.find(name.hash, |entry| unsafe { (*entry).name().is(name) });
        // SAFETY: as above; null or such an entry.
        unsafe { found.as_ref() }
    }

    /// Takes the lock.
    pub(super) fn lock(&self) -> Writer<'_> {
        Writer { inner: self.inner.lock(), shard: self }
    }

    /// Runs `change` under the lock, and then frees a little of what nobody looks at any more.
    pub(super) fn write<R>(&self, change: impl FnOnce(&mut Writer<'_>) -> R) -> R {
        let mut writer = self.lock();
        let result = change(&mut writer);
        let mut bin = Bin::default();
        writer.inner.limbo.reclaim(FREED_PER_WRITE, epoch::domain().safe(), &mut bin);
        let overdue = writer.inner.limbo.is_overdue();
        drop(writer);
        // After the lock (S3).
        drop(bin);
        if overdue {
            epoch::domain().advance();
        }
        result
    }

    /// Frees what nobody looks at any more, all of it; whether something is left that readers hold back.
    pub(super) fn reclaim(&self) -> bool {
        let mut garbage = Vec::new();
        let mut inner = self.inner.lock();
        inner.limbo.reclaim(usize::MAX, epoch::domain().safe(), &mut Heap(&mut garbage));
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
        for entry in table.entries() {
            drop(Garbage(Retired::Entry(entry)));
        }
        let mut left = Vec::new();
        self.inner.get_mut().limbo.take_all(&mut Heap(&mut left));
    }
}

/// The holder of a shard's lock.
pub(super) struct Writer<'a> {
    inner: MutexGuard<'a, Inner>,
    shard: &'a Shard,
}

impl Deref for Writer<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Writer<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Writer<'_> {
    fn table(&self) -> &Table<Entry> {
        // SAFETY: the table in use is not retired, and only the holder of the lock retires it, by `grow`, which has `self` to
        // itself.
        unsafe { &*self.shard.table.own() }
    }

    fn locate(&self, name: NameRef<'_>) -> Option<(Place, *mut Entry)> {
        // SAFETY: what is in the table is alive: it is taken out under the lock, which is held (S1).
        self.table().locate(name.hash, |entry| unsafe { (*entry).name().is(name) })
    }

    /// The entry of a name.
    pub(super) fn get(&self, name: NameRef<'_>) -> Option<Arc<Entry>> {
        let (_, entry) = self.locate(name)?;
        // SAFETY: the table has a count of the entry (S1), so there is one to add to; it came from an `Arc`.
        unsafe {
            Arc::increment_strong_count(entry);
            Some(Arc::from_raw(entry))
        }
    }

    /// Puts in an entry whose name is not there.
    pub(super) fn insert(&mut self, entry: &Arc<Entry>) {
        if self.inner.policy.len() >= self.table().room() {
            self.grow();
        }
        let pointer = Arc::into_raw(entry.clone()).cast_mut();
        self.table().insert(entry.name().hash(), pointer);
    }

    /// Puts `entry` in the place of the one of its name.
    pub(super) fn replace(&mut self, entry: &Arc<Entry>) {
        let Some((place, old)) = self.locate(entry.name().as_ref()) else { return self.insert(entry) };
        let pointer = Arc::into_raw(entry.clone()).cast_mut();
        self.table().replace(place, pointer);
        self.retire(Retired::Entry(old));
    }

    /// Takes out the entry of a name.
    pub(super) fn remove(&mut self, name: NameRef<'_>) {
        if let Some((place, old)) = self.locate(name) {
            self.table().remove(place, name.hash);
            self.retire(Retired::Entry(old));
        }
    }

    /// Recounts the table, by itself and against the policy; for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        // SAFETY: what is in the table is alive (S1).
        self.table().validate(|entry| unsafe { (*entry).name().hash() })?;
        let (table, policy) = (self.table().entries().count(), self.inner.policy.len());
        if table == policy { Ok(()) } else { Err(format!("the table holds {table} entries, the policy {policy}")) }
    }

    /// A table of twice the room in place of the present one.
    fn grow(&mut self) {
        // SAFETY: what is in the table is alive (S1).
        let new = self.table().grown(|entry| unsafe { (*entry).name().hash() });
        let old = self.shard.table.put(new);
        self.retire(Retired::Table(old));
    }

    /// Keeps what was just unlinked until no reader is left.
    fn retire(&mut self, retired: Retired) {
        let tag: Tag = epoch::domain().tag();
        self.inner.limbo.retire(tag, retired);
    }
}
