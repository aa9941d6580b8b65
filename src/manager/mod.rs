//! The engine: what happens on each path, one file per path, told top to bottom in the order it happens.
//!
//! | file | path |
//! |---|---|
//! | `read` | a plain read: L1, the read flight, the tiers in order, promotion |
//! | `load` | one computation per missing key: lead, follow, take over, fail-safe |
//! | `write` | a value into every tier, in an order that every tier sees |
//! | `invalidate` | a key or a pattern out of every tier, and the word to the other instances |
//! | `group` | many entries at once: by tag, and all of them |
//! | `shared`, `lease` | the tier that instances share: what it tells, and who may compute |
//! | `repair` | what a tier did not take, tried again until it does |
//! | `upkeep` | the coarse tick, the sweep of dead entries, health, close |
//!
//! # Invariants
//! - E1: values of one key reach the lower tiers in the order in which they took effect here: writes and removals of a key
//!   pass through its *lane*, one at a time.
//! - E2: what a load found is stored, in L1 and below, only while the marker that it placed before reading is there. Every
//!   write and invalidation takes the marker away before it enters the lane, or inside it.
//! - E3: a write or removal that has begun goes on to its end although its caller leaves: it runs as a task of the engine.
//! - E4: an invalidation kills in L1 and unlinks the key's flights before it touches the tiers and again after, whatever
//!   the tiers said; so nothing that was read meanwhile stays.
//!
//! Checked by the models in `loom-tests/` (E2, E4), `tests/` and `fuzz/`.

mod assemble;
mod group;
mod invalidate;
mod lease;
mod load;
mod lookup;
mod read;
mod repair;
mod shared;
mod upkeep;
mod write;

pub(crate) use assemble::{Parts, take_l1};
pub(crate) use load::Computed;
pub use lookup::{Lookup, MissReason};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, millis, signed};
use crate::counter::Counters;
use crate::entry::{Entry, Origin, Times};
use crate::error::{Error, Kind, Result};
use crate::flight::{Entered, Flights, Follow, Followed, Lease};
use crate::l1::{L1, Standing, Token};
use crate::options::{Settings, Skipped};
use crate::park;
use crate::random::Random;
use crate::runtime::{Runtime, Spawn};
use crate::stream::StreamingBackend;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tier::L1Cache;
use crate::tier::shield::{Tier, timeout};
use crate::trust::{Basis, Trust, Verdict};
use crate::value::Value;
use invalidate::Sweeps;
use load::LoadOutcome;
use read::Read;
use repair::Repairs;
use shared::Shared;

/// The engine behind every handle.
pub(crate) struct Core {
    l1: Arc<L1>,
    trust: Arc<Trust>,
    /// Whether tier 1 is L1 itself; a foreign tier 1 is the first of `tiers`.
    hot: bool,
    /// L1 with its settings, where it is tier 1.
    l1_cache: Option<Arc<L1Cache>>,
    l1_scale: f64,
    tiers: Box<[Tier]>,
    loads: Flights<LoadOutcome>,
    /// Loads whose flight is led from further down the very stack that would wait for it.
    lone: Flights<LoadOutcome>,
    reads: Flights<Read>,
    /// One writer per key at a time. A lane's lease is never landed: it is handed on.
    lanes: Flights<()>,
    repairs: Arc<Repairs>,
    sweeps: Sweeps,
    shared: Option<Arc<Shared>>,
    announces_every_write: bool,
    streams: Option<Arc<dyn StreamingBackend>>,
    load_budget: Option<tokio::sync::Semaphore>,
    deadlines: Deadlines,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Where writes and removals run to their end.
    tasks: Arc<dyn Spawn>,
    io: Arc<Runtime>,
    /// Runs the futures of foreign tiers, so that one that blocks does not block the engine's I/O.
    worker: Option<Arc<Runtime>>,
    counters: Counters<{ Count::KINDS }>,
    closed: AtomicBool,
}

/// The most that the lower tiers may take in all, for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// When a stale value could stand in.
    pub(crate) soft: Duration,
    pub(crate) hard: Duration,
}

impl Deadlines {
    fn of(self, stands_in: bool) -> Duration {
        if stands_in { self.soft } else { self.hard }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { soft: Duration::from_millis(50), hard: Duration::from_millis(500) }
    }
}

/// What the engine counts. Each request ends in exactly one of the first eight.
#[derive(Debug, Clone, Copy)]
enum Count {
    L1Hit,
    L1Absent,
    SecondHit,
    LowerHit,
    FlightHit,
    Miss,
    Stale,
    Absent,
    /// A request that was told not to look at L1; any other looks there, and if it is no hit it is a miss.
    L1Skipped,
    Promotion,
    Computation,
    LoneComputation,
    CodecMiss,
}

impl Count {
    const KINDS: usize = Self::CodecMiss as usize + 1;
}

/// How long a stale value stands in before the failed computation is tried again.
const THROTTLE: Duration = Duration::from_secs(30);
const LONGEST_KEY: usize = 64 << 10;
/// What Redis and others take at the most.
pub(crate) const LARGEST_VALUE: usize = 512 << 20;

/// A value, or the word that the source has none, and where and when it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) value: Option<Value>,
    pub(crate) level: usize,
    pub(crate) times: Times,
    /// The last event before it was loaded, or that it is known to have outlived, by its low bits at least.
    stamp: u64,
    /// Names its copy in the shared tier; 0 if there is none.
    write_id: u64,
    tags: Option<Arc<[u64]>>,
}

impl Found {
    fn resident(entry: Entry<'_>) -> Self {
        let (stamp, write_id, tags) = (entry.until().stamp(), entry.write_id(), entry.tags().cloned());
        Self { value: Value::of(entry), level: 1, times: entry.times(), stamp, write_id, tags }
    }

    /// The same where the entry is not to be used as it is; `None` if it may not even stand in.
    fn standing(entry: Entry<'_>, standing: Standing) -> Option<Self> {
        let mut found = Self::resident(entry);
        if standing == Standing::Suspect {
            let has_grace = found.times.dead_at > found.times.fresh_until;
            found.times.fresh_until = 0;
            return has_grace.then_some(found);
        }
        Some(found)
    }

    fn origin(&self) -> Origin<'_> {
        Origin { stamp: self.stamp, write_id: self.write_id, tags: self.tags.as_ref() }
    }

    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        now < self.times.fresh_until
    }

    pub(crate) fn age(&self, now: u64) -> Duration {
        Duration::from_millis(u64::try_from(signed(now).saturating_sub(self.times.written)).unwrap_or(0))
    }

    /// Whether the caller's options take a fresh value of this age.
    fn suits(&self, settings: &Settings, now: u64) -> bool {
        self.is_fresh(now) && settings.max_age.is_none_or(|most| self.age(now) <= most)
    }
}

/// A loading marker, given up when dropped.
struct Mark {
    l1: Arc<L1>,
    key: Arc<str>,
    token: Token,
    /// What was known before it was placed.
    basis: Basis,
}

impl Mark {
    fn holds(&self) -> bool {
        self.l1.holds(&self.key, self.token)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.l1.release(&self.key, self.token);
    }
}

impl Core {
    #[inline]
    fn count(&self, which: Count) {
        self.counters.count(which as usize);
    }

    /// Counts the answer to a request.
    fn count_request(&self, answer: Count, skipped: Skipped) {
        self.count(answer);
        if !self.reads_l1(skipped) {
            self.count(Count::L1Skipped);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    fn now_millis(&self) -> u64 {
        millis(self.clock.now())
    }

    fn reads_l1(&self, skipped: Skipped) -> bool {
        self.hot && !skipped.has(1)
    }

    /// Refuses keys that no tier takes, and everything once the cache is closed.
    pub(crate) fn admit(&self, key: &str) -> Result<()> {
        if key.is_empty() {
            return Err(Error::new(Kind::KEY, "the key is empty"));
        }
        if key.len() > LONGEST_KEY {
            return Err(Error::new(Kind::KEY, format!("the key has {} bytes, more than 64 KiB", key.len())));
        }
        self.admit_any()
    }

    pub(crate) fn admit_any(&self) -> Result<()> {
        // Acquire, edge `close`: whoever sees the cache closed also sees its flights ended.
        if self.closed.load(Ordering::Acquire) { Err(Error::closed()) } else { Ok(()) }
    }

    /// What is known now.
    ///
    /// The control clock of an engine that shares nothing is the time of day, in microseconds: its events are forgotten when
    /// it ends, what it wrote to its tiers is not, and is older than every event of the next one.
    fn basis(&self) -> Basis {
        let basis = self.trust.basis();
        match self.shared {
            Some(_) => basis,
            None => Basis { clock: basis.clock.max(self.wall_micros()), ..basis },
        }
    }

    fn wall_micros(&self) -> u64 {
        u64::try_from(self.clock.wall().as_micros()).unwrap_or(u64::MAX)
    }

    /// Places a marker for `key`, after what is known was looked at.
    fn mark(&self, key: &Arc<str>) -> Mark {
        let basis = self.basis();
        Mark { l1: self.l1.clone(), key: key.clone(), token: self.l1.mark(key), basis }
    }

    /// Whether what a flight landed is of use to a caller that came when `since` was the last event: no event in between
    /// has made it invalid.
    fn outlives(&self, found: &Found, key: &str, since: u64) -> bool {
        let tags = found.tags.as_deref().unwrap_or_default();
        self.trust.unfolded(found.stamp) >= since
            || matches!(self.trust.check(found.stamp, key, tags, 0), Verdict::Valid(_))
    }

    pub(crate) fn streams(&self) -> Option<&Arc<dyn StreamingBackend>> {
        self.streams.as_ref()
    }

    /// Waits for the key's lane and holds it until the lease is dropped.
    async fn lane(&self, key: &str) -> Lease<()> {
        loop {
            match self.lanes.enter(key, Duration::MAX) {
                Entered::Lead(lease) => return lease,
                Entered::Follow(follow) => {
                    if let Followed::Lead(lease) = follow.await {
                        return lease;
                    }
                }
                // Lanes run no closures.
                Entered::Nested => unreachable!("a lane runs nothing of the user's"),
            }
        }
    }

    /// Follows a flight until it ends, until its own deadline, or until the follower's, whichever comes first.
    async fn follow<T: Clone>(&self, mut follow: Follow<T>, until: Duration, late: impl Fn() -> T) -> Followed<T> {
        loop {
            let next = until.min(follow.deadline());
            if let Some(followed) = timeout(&*self.clock, next, &mut follow).await {
                return followed;
            }
            if self.admit_any().is_err() {
                // The clock has stopped with the cache: no deadline comes any more.
                return Followed::Landed(late());
            }
            let now = self.now();
            if now >= follow.deadline() {
                // The leader is overdue: everybody is freed, and the next caller starts anew. Its outcome is read next.
                follow.expire(late());
            } else if now >= until {
                return Followed::Landed(late());
            }
        }
    }

    /// Runs `work` to its end as a task of the engine, whatever becomes of the caller.
    async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let runs_on = self.worker.as_ref().unwrap_or(&self.io);
        // Refused before it begins: what is refused has not been done.
        if park::would_refuse() || park::is_blocking() && runs_on.is_current() {
            return Err(Error::would_deadlock(
                "this call would wait on one of the engine's own threads, or inside with_cached",
            ));
        }
        let (ended, end) = tokio::sync::oneshot::channel();
        self.tasks.spawn(Box::pin(async move {
            // A caller that left does not hear of it.
            let _ = ended.send(work.await);
        }));
        end.await.map_err(|_| Error::closed())
    }
}
