//! The flights of one manager by key, and the public face of a flight: lease and follower.
//!
//! The table holds flights weakly: a flight lives as long as its lease or a follower does, so an outcome is dropped with the
//! last of them, whenever the table's own memory is reclaimed.
//!
//! # Edges
//! The map's: who finds a flight sees it as it was inserted. Deadlines and whereabouts are hints and order nothing.

use std::future::{Future, poll_fn};
use std::hash::{Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use papaya::{Compute, Equivalent, HashMap, Operation};

use super::core::{self, Home, Join, Joined};
use super::nesting::{self, Running, TableId};
use crate::hash::{KeyHasher, Prehashed};
use crate::park::Whereabouts;

type Flight<T> = core::Flight<T, Linked<T>>;

/// The flights of one manager, by key.
pub(crate) struct Flights<T> {
    table: Arc<Table<T>>,
}

struct Table<T> {
    flights: HashMap<Key, Weak<Flight<T>>, Prehashed>,
    hasher: KeyHasher,
}

/// A key that is hashed once.
struct Key {
    hash: u64,
    text: Arc<str>,
}

/// A key that is looked for.
struct Sought<'a> {
    hash: u64,
    text: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash && *self.text == *key.text
    }
}

/// Where a flight is found, and what its followers know of its leader.
struct Linked<T> {
    table: Arc<Table<T>>,
    hash: u64,
    key: Arc<str>,
    /// Nanoseconds of the caller's clock.
    deadline: AtomicU64,
    /// Where the leader was last polled, or the follower that the lead was granted to.
    leader: AtomicU64,
}

impl<T> Linked<T> {
    fn sought(&self) -> Sought<'_> {
        Sought { hash: self.hash, text: &self.key }
    }

    fn set_deadline(&self, deadline: Duration) {
        // Relaxed: one number, read anew when it has passed.
        self.deadline.store(nanos(deadline), Ordering::Relaxed);
    }

    fn deadline(&self) -> Duration {
        // Relaxed: see `set_deadline`.
        Duration::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    fn set_leader(&self, place: u64) {
        // Relaxed: only a thread that finds its own number acts on it. What it stored itself it sees in order, and a grant
        // is stored under the flight's lock, which it has passed through when it looks.
        self.leader.store(place, Ordering::Relaxed);
    }

    fn leader_is_stuck_here(&self) -> bool {
        // Relaxed: see `set_leader`.
        Whereabouts::from_bits(self.leader.load(Ordering::Relaxed)).is_stuck_here()
    }
}

impl<T: Clone> Home<T> for Linked<T> {
    fn over(&self, flight: &Flight<T>) {
        self.table.flights.pin().remove_if(&self.sought(), |_, found| is(found, flight)).ok();
    }

    fn here() -> u64 {
        Whereabouts::here().to_bits()
    }

    fn granted_to(&self, place: u64) {
        self.set_leader(place);
    }
}

/// Whether `found` is that very flight. The table's reference keeps the address from being used again.
fn is<T>(found: &Weak<Flight<T>>, flight: &Flight<T>) -> bool {
    std::ptr::eq(found.as_ptr(), flight)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a caller is to a key's flight.
pub(crate) enum Entered<T: Clone> {
    /// The caller leads a new flight.
    Lead(Lease<T>),
    /// The caller follows somebody's flight.
    Follow(Follow<T>),
    /// A load of this very key runs further up the caller's stack: waiting for it could never end.
    Nested,
}

impl<T: Clone> Flights<T> {
    pub(crate) fn new() -> Self {
        let flights = HashMap::builder().hasher(Prehashed::default()).build();
        Self { table: Arc::new(Table { flights, hasher: KeyHasher::new() }) }
    }

    /// The table's identity, for [`is_loading`](nesting::is_loading).
    pub(crate) fn id(&self) -> TableId {
        self.table.id()
    }

    /// Joins the flight of `key`, or starts one that is to end by `deadline`.
    ///
    /// # Cost
    /// A follower: one look-up, one reference count. A leader: two allocations and an insertion.
    pub(crate) fn enter(&self, key: &str, deadline: Duration) -> Entered<T> {
        if nesting::is_nested(self.id(), key) {
            return Entered::Nested;
        }
        let sought = self.table.sought(key);
        if let Some(flight) = self.table.find(&sought) {
            return Entered::Follow(Follow::of(flight));
        }
        let lease = Lease::start(&self.table, &sought, deadline);
        match self.table.link(lease.core.flight()) {
            None => Entered::Lead(lease),
            // The lease of the flight that nobody saw is dropped, and closes it.
            Some(earlier) => Entered::Follow(Follow::of(earlier)),
        }
    }

    /// Takes the flight of `key` out of the table, if there is one: those who follow it go on, the next caller starts anew.
    pub(crate) fn unlink(&self, key: &str) {
        self.table.flights.pin().remove(&self.table.sought(key));
    }

    /// Takes every flight whose key is `wanted` out of the table. `wanted` may be asked more than once about a key.
    pub(crate) fn unlink_where(&self, mut wanted: impl FnMut(&str) -> bool) {
        self.table.flights.pin().retain(|key, _| !wanted(&key.text));
    }

    /// Ends every flight with `outcome`. A flight that starts meanwhile may be missed.
    pub(crate) fn end_all(&self, outcome: T) {
        // Collected first: wakers run foreign code, which must not hold up reclamation.
        let flights: Vec<_> = self.table.flights.pin().values().filter_map(Weak::upgrade).collect();
        for flight in flights {
            flight.end(outcome.clone());
        }
    }

    /// The keys of the flights in the table that are `wanted`.
    pub(crate) fn keys_where(&self, mut wanted: impl FnMut(&str) -> bool) -> Vec<Arc<str>> {
        self.table.flights.pin().keys().filter(|key| wanted(&key.text)).map(|key| key.text.clone()).collect()
    }

    /// Flights in the table.
    pub(crate) fn len(&self) -> usize {
        self.table.flights.len()
    }
}

impl<T: Clone> Table<T> {
    fn id(self: &Arc<Self>) -> TableId {
        TableId(Arc::as_ptr(self).addr())
    }

    fn sought<'a>(&self, key: &'a str) -> Sought<'a> {
        Sought { hash: self.hasher.hash(key), text: key }
    }

    /// The flight of a key, unless its lease and its followers are all gone.
    fn find(&self, key: &Sought<'_>) -> Option<Arc<Flight<T>>> {
        self.flights.pin().get(key)?.upgrade()
    }

    /// Puts `flight` into the table where no other one of its key lives; returns the one that does.
    fn link(&self, flight: &Arc<Flight<T>>) -> Option<Arc<Flight<T>>> {
        let key = Key { hash: flight.home().hash, text: flight.home().key.clone() };
        let flights = self.flights.pin();
        let linked = flights.compute(key, |found| match found.and_then(|(_, found)| found.upgrade()) {
            Some(earlier) => Operation::Abort(earlier),
            None => Operation::Insert(Arc::downgrade(flight)),
        });
        match linked {
            Compute::Aborted(earlier) => Some(earlier),
            _ => None,
        }
    }
}

/// The lead of a flight: it is to be landed. Dropping it gives the lead to a follower, or closes the flight.
#[must_use]
pub(crate) struct Lease<T: Clone> {
    core: core::Lease<T, Linked<T>>,
}

impl<T: Clone> Lease<T> {
    fn start(table: &Arc<Table<T>>, key: &Sought<'_>, deadline: Duration) -> Self {
        let linked = Linked {
            table: table.clone(),
            hash: key.hash,
            key: Arc::from(key.text),
            deadline: AtomicU64::new(nanos(deadline)),
            leader: AtomicU64::new(Whereabouts::here().to_bits()),
        };
        Self { core: core::Flight::start(linked) }
    }

    fn granted(core: core::Lease<T, Linked<T>>) -> Self {
        core.flight().home().set_leader(Linked::<T>::here());
        Self { core }
    }

    fn home(&self) -> &Linked<T> {
        self.core.flight().home()
    }

    /// Ends the flight with `outcome` and wakes the followers, those of an unlinked flight too. False if the flight was
    /// ended from outside: its followers have another outcome.
    pub(crate) fn land(self, outcome: T) -> bool {
        self.core.land(outcome)
    }

    /// Sets when the flight is to end, for its followers to read. A lead that was handed over still has its last leader's.
    pub(crate) fn set_deadline(&self, deadline: Duration) {
        self.home().set_deadline(deadline);
    }

    /// Whether the next caller of the key would still find this flight.
    #[cfg(test)]
    pub(crate) fn is_linked(&self) -> bool {
        let home = self.home();
        let flights = home.table.flights.pin();
        flights.get(&home.sought()).is_some_and(|found| is(found, self.core.flight()))
    }

    pub(crate) fn key(&self) -> &Arc<str> {
        &self.home().key
    }

    /// Whether the flight was ended from outside: the lease is late.
    pub(crate) fn is_late(&self) -> bool {
        self.core.flight().is_over()
    }

    /// Runs the load of this lease: while it is polled, asking for its own key is noticed. All that the leader awaits
    /// belongs inside, for a thread that would wait for this flight is told here where the leader was last polled.
    ///
    /// # Cancel safety
    /// As `load`'s.
    pub(crate) async fn run<F: Future>(&self, load: F) -> F::Output {
        let mut load = pin!(load);
        poll_fn(|cx| {
            let _running = self.running();
            load.as_mut().poll(cx)
        })
        .await
    }

    fn running(&self) -> Running {
        let home = self.home();
        home.set_leader(Linked::<T>::here());
        Running::begin(home.table.id(), &home.key)
    }
}

/// What came of following.
pub(crate) enum Followed<T: Clone> {
    /// The lead was given up and is the caller's now. Its deadline is still the last leader's.
    Lead(Lease<T>),
    /// The flight landed.
    Landed(T),
    /// The flight closed before the first poll: enter again.
    Gone,
    /// The leader can only go on once this thread does: it was last polled here, and the thread is about to sleep.
    OwnThread,
}

/// A follower of a flight.
///
/// # Cancel safety
/// Dropping it leaves the flight; a lead granted to it meanwhile goes to the next follower. It counts as waiting from its
/// first poll on, and one that is polled no more should be dropped: the lead may be granted to it.
///
/// # Panics
/// Never; once it has ended, it says [`Followed::Gone`].
#[must_use]
pub(crate) struct Follow<T: Clone> {
    join: Join<T, Linked<T>>,
    ended: bool,
}

impl<T: Clone> Follow<T> {
    fn of(flight: Arc<Flight<T>>) -> Self {
        Self { join: core::Flight::join(flight), ended: false }
    }

    /// When the flight is to end. A leader that took over may have moved it: to be read again before acting on it.
    pub(crate) fn deadline(&self) -> Duration {
        self.join.flight().home().deadline()
    }

    /// Ends this very flight with `outcome` and takes it out of the table; false if it was over.
    pub(crate) fn expire(&self, outcome: T) -> bool {
        self.join.flight().end(outcome)
    }
}

impl<T: Clone> Future for Follow<T> {
    type Output = Followed<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { join, ended } = &mut *self;
        if *ended {
            return Poll::Ready(Followed::Gone);
        }
        let followed = match Pin::new(&mut *join).poll(cx) {
            Poll::Ready(Joined::Lead(lease)) => Followed::Lead(Lease::granted(lease)),
            Poll::Ready(Joined::Landed(outcome)) => Followed::Landed(outcome),
            Poll::Ready(Joined::Gone) => {
                // Whoever closed it may not have unlinked it yet: the next look-up must not find it again.
                let flight = join.flight();
                flight.home().over(flight);
                Followed::Gone
            }
            Poll::Pending if join.flight().home().leader_is_stuck_here() => {
                join.leave();
                Followed::OwnThread
            }
            Poll::Pending => return Poll::Pending,
        };
        *ended = true;
        Poll::Ready(followed)
    }
}

#[cfg(test)]
mod tests;
