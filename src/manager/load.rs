//! A load: one computation per missing key. Whoever comes first leads; the others follow, and one of them takes over if the
//! leader goes away.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use super::lease::{Asked, Permission, SHORT};
use super::read::Read;
use super::write::{How, New, Write, admit_value, jittered};
use super::{Core, Count, Found, Mark, THROTTLE};
use crate::clock::{millis, signed};
use crate::entry::{Entry, Origin, Times};
use crate::error::{Error, Kind, Result};
use crate::flight::{self, Entered, Flights, Followed, Lease};
use crate::frame::round_grace;
use crate::l1::{Content, Standing};
use crate::options::{Loaded, Settings};
use crate::tier::shield::timeout;

/// What a load's flight lands.
pub(super) type LoadOutcome = Result<Found>;

/// What came of a load.
pub(crate) enum Computed<X> {
    /// This caller's own closure ran; what it returned beside the value is there unless the source has none.
    Led(Found, Option<X>),
    /// It was there, or somebody else's closure ran.
    Found(Found),
}

/// What a leader came to.
enum Verdict<X> {
    /// It was there after all.
    Found(Found),
    /// The closure returned; what it returned beside the value is missing where the source has none.
    Computed(Product, Option<X>),
    /// The closure failed; the stale value that may stand in.
    Failed(Option<Found>, Error),
}

/// What a closure returned, and what is to become of it.
struct Product {
    loaded: Loaded,
    /// Whether something older may be there.
    older: bool,
    permission: Permission,
}

/// A call of `get_or_compute_*`.
pub(crate) struct Call<'a, W> {
    pub(crate) key: &'a str,
    pub(crate) settings: &'a Settings,
    /// How long the lower tiers have been waited for: the write of the result gets what is left of their deadline.
    pub(crate) waited: Duration,
    /// The closure, not yet called.
    pub(crate) work: Pin<&'a mut W>,
}

impl Core {
    /// The value of `key`, computed by `work` if it is nowhere. A value that `accept` refuses is as good as missing.
    /// Counts the request.
    pub(crate) async fn load<X, W>(
        self: &Arc<Self>,
        key: &str,
        settings: &Settings,
        work: W,
        accept: &mut (impl FnMut(&Found) -> bool + Send),
    ) -> Result<Computed<X>>
    where
        W: Future<Output = Result<(Loaded, X)>>,
    {
        self.admit(key)?;
        let mut work = pin!(work);
        let mut call = Call { key, settings, waited: Duration::ZERO, work: work.as_mut() };
        let computed = match self.load_through(&self.loads, &mut call, accept).await {
            Some(computed) => computed,
            // The leader can only go on once this thread does.
            None => {
                self.count(Count::LoneComputation);
                self.load_through(&self.lone, &mut call, accept).await.unwrap_or_else(|| {
                    Err(Error::would_deadlock("the key is being loaded further down this thread's own stack"))
                })
            }
        };
        let computed = self.unless_closed(computed);
        let answer = match &computed {
            Ok(Computed::Found(found)) => self.load_count(found),
            Ok(Computed::Led(..)) | Err(_) => Count::Miss,
        };
        self.count_request(answer, settings.skipped);
        computed
    }

    fn load_count(&self, found: &Found) -> Count {
        match found {
            Found { level: FLIGHT, value: None, .. } => Count::Absent,
            Found { level: FLIGHT, .. } => Count::FlightHit,
            found if !found.is_fresh(self.now_millis()) => Count::Stale,
            found => self.hit_at(found),
        }
    }

    /// `None`: waiting here could never end.
    async fn load_through<X, W>(
        self: &Arc<Self>,
        flights: &Flights<LoadOutcome>,
        call: &mut Call<'_, W>,
        accept: &mut (impl FnMut(&Found) -> bool + Send),
    ) -> Option<Result<Computed<X>>>
    where
        W: Future<Output = Result<(Loaded, X)>>,
    {
        let until = self.now().saturating_add(call.settings.hard_timeout);
        let since = self.trust.basis().stamp;
        loop {
            let lease = match flights.enter(call.key, until) {
                Entered::Lead(lease) => lease,
                Entered::Follow(follow) => match self.follow(follow, until, || Err(too_slow())).await {
                    Followed::Lead(lease) => lease,
                    Followed::Landed(Ok(found)) => match self.landed(found, call, since, accept) {
                        Some(found) => return Some(Ok(Computed::Found(found))),
                        None => continue,
                    },
                    Followed::Landed(Err(error)) => return Some(self.without(call.settings, error)),
                    Followed::Gone => continue,
                    Followed::OwnThread => return None,
                },
                Entered::Nested => return Some(Err(nested(call.key))),
            };
            // Boxed, so that a follower's future has no room for all that a leader does.
            return Some(Box::pin(self.lead(lease, call, accept)).await);
        }
    }

    /// Whether a follower takes what its flight landed.
    fn landed<W>(
        &self,
        found: Found,
        call: &Call<'_, W>,
        since: u64,
        accept: &mut impl FnMut(&Found) -> bool,
    ) -> Option<Found> {
        // What has just been computed is new enough for anyone, also where it may not be stored; a stand-in is not asked
        // its age either.
        let old = found.level != FLIGHT && {
            let now = self.now_millis();
            found.is_fresh(now) && !found.suits(call.settings, now)
        };
        if old || !self.outlives(&found, call.key, since) || !accept(&found) { None } else { Some(found) }
    }

    async fn lead<X, W>(
        self: &Arc<Self>,
        lease: Lease<LoadOutcome>,
        call: &mut Call<'_, W>,
        accept: &mut (impl FnMut(&Found) -> bool + Send),
    ) -> Result<Computed<X>>
    where
        W: Future<Output = Result<(Loaded, X)>>,
    {
        let settings = call.settings;
        // A load inside another load's closure runs on that one's place in the budget.
        let inner = flight::is_loading(self.loads.id()) || flight::is_loading(self.lone.id());
        if !self.judges() {
            // A frame says which bumps its loader knew of: all, or it is not written. The wait is a part of what the tiers have.
            let began = self.now();
            let stands_in = self.stale(call.key, settings).is_some();
            self.can_judge(began.saturating_add(self.deadlines.of(stands_in))).await;
            call.waited = self.now().saturating_sub(began);
        }
        // Placed before anything is read: what is found may be stored only if nothing newer came meanwhile (E2).
        let mark = self.mark(lease.key());
        match lease.run(self.decide(&lease, &mark, inner, call, accept)).await {
            Verdict::Found(found) => {
                lease.land(Ok(found.clone()));
                Ok(Computed::Found(found))
            }
            Verdict::Computed(product, extra) => {
                let waited = call.waited;
                let found = self.keep(lease, mark, product, settings, waited).await;
                Ok(Computed::Led(found, extra))
            }
            Verdict::Failed(stand_in, error) => self.fail_safe(lease, mark, stand_in, settings, error),
        }
    }

    /// What the leader looks at, in order: L1 again, a stand-in that is not to be retried yet, the tiers, what the other
    /// instances do, the closure.
    async fn decide<X, W>(
        self: &Arc<Self>,
        lease: &Lease<LoadOutcome>,
        mark: &Mark,
        inner: bool,
        call: &mut Call<'_, W>,
        accept: &mut (impl FnMut(&Found) -> bool + Send),
    ) -> Verdict<X>
    where
        W: Future<Output = Result<(Loaded, X)>>,
    {
        let settings = call.settings;
        // Whoever landed between this caller's look at L1 and its lead has left the value there.
        if let Some(found) = self.resident(call.key, settings).filter(&mut *accept) {
            return Verdict::Found(found);
        }
        let (mut stand_in, is_suspect) = match self.stale(call.key, settings).filter(|(found, ..)| accept(found)) {
            Some((found, retry_at, standing)) => (Some((found, retry_at)), standing == Standing::Suspect),
            None => (None, false),
        };
        let mut older = self.l1.look(call.key, |_, _| ()).is_some();
        if let Some((found, _)) = stand_in.take_if(|(_, retry_at)| self.now_millis() < *retry_at) {
            return Verdict::Found(found);
        }
        let within = self.deadlines.of(stand_in.is_some()).saturating_sub(call.waited);
        let asked_at = self.now();
        let read = self.read_below(call.key, settings, within).await;
        call.waited += self.now().saturating_sub(asked_at);
        older |= read.may_have();
        if is_suspect && !read.alone {
            // The shared tier was asked, and has said something else, or nothing.
            stand_in = None;
        }
        if let Some(below) = &read.found {
            if below.suits(settings, self.now_millis()) && accept(below) {
                return Verdict::Found(below.clone());
            }
            if stand_in.is_none() && !below.is_fresh(self.now_millis()) && accept(below) {
                stand_in = Some((below.clone(), 0));
            }
        }
        let mut stand_in = stand_in.map(|(found, _)| found);
        let left = self.deadlines.hard.saturating_sub(call.waited);
        let permission = match self.agree(mark, settings, left, &read, &mut stand_in, accept).await {
            Ok(permission) => permission,
            Err(found) => return Verdict::Found(found),
        };
        match self.compute(lease, inner, call, stand_in.is_some()).await {
            Ok((loaded, extra)) => Verdict::Computed(Product { loaded, older, permission }, extra),
            Err(error) => Verdict::Failed(stand_in, error),
        }
    }

    /// Agrees with the other instances on who computes; or finds what one of them has computed meanwhile.
    async fn agree(
        &self,
        mark: &Mark,
        settings: &Settings,
        within: Duration,
        read: &Read,
        stand_in: &mut Option<Found>,
        accept: &mut (impl FnMut(&Found) -> bool + Send),
    ) -> Result<Permission, Found> {
        if read.alone {
            return Ok(Permission::Alone);
        }
        let mut known = read.known;
        loop {
            let stored = match self.permission(mark, settings, known, stand_in.is_some(), within).await {
                Asked::Compute(permission) => return Ok(permission),
                Asked::Busy => match stand_in.take() {
                    Some(found) => return Err(found),
                    None => continue,
                },
                Asked::Stored(stored) => stored,
            };
            let mut read = Read::default();
            let taken =
                self.tier_shared().and_then(|tier| self.take(mark, tier, &stored.frame, stored.left(), &mut read));
            if known.is_some() && known == read.known {
                // It cannot be told apart from what was known, and is not fit.
                return Ok(Permission::Alone);
            }
            known = read.known;
            let Some((frame, mut found)) = taken else { continue };
            if found.suits(settings, self.now_millis()) && accept(&found) {
                self.promote_to_l1(&frame, &mut found, mark, settings);
                return Err(found);
            }
            if stand_in.is_none() && !found.is_fresh(self.now_millis()) && accept(&found) {
                *stand_in = Some(found);
            }
        }
    }

    /// The value in L1 that may stand in, when the computation may be tried again, and what is to be thought of it.
    fn stale(&self, key: &str, settings: &Settings) -> Option<(Found, u64, Standing)> {
        if !self.reads_l1(settings.skipped) {
            return None;
        }
        let stale = |entry: Entry<'_>, standing| match standing {
            Standing::Fresh => None,
            Standing::Stale => Some((Found::standing(entry, standing)?, entry.retry_at(), standing)),
            // Whoever may be wrong is asked about, however lately the source was tried in vain.
            Standing::Suspect => Some((Found::standing(entry, standing)?, 0, standing)),
        };
        self.l1.look(key, stale).flatten()
    }

    /// Runs the closure within the load budget and the hard timeout. An absent value is no error here.
    async fn compute<X, W>(
        &self,
        lease: &Lease<LoadOutcome>,
        inner: bool,
        call: &mut Call<'_, W>,
        can_do_without: bool,
    ) -> Result<(Loaded, Option<X>)>
    where
        W: Future<Output = Result<(Loaded, X)>>,
    {
        let _permit = if inner { None } else { self.permit(call.settings, can_do_without).await? };
        let until = self.now().saturating_add(call.settings.hard_timeout);
        lease.set_deadline(until);
        self.count(Count::Computation);
        match timeout(&*self.clock, until, call.work.as_mut()).await {
            Some(Ok((loaded, extra))) => {
                if let Some(value) = &loaded.value {
                    admit_value(value)?;
                }
                Ok((loaded, Some(extra)))
            }
            Some(Err(error)) if error.is_absent() => Ok((Loaded::absent(), None)),
            Some(Err(error)) => Err(error),
            None => Err(too_slow()),
        }
    }

    /// A place among the closures that may run at once.
    async fn permit(
        &self,
        settings: &Settings,
        can_do_without: bool,
    ) -> Result<Option<tokio::sync::SemaphorePermit<'_>>> {
        let Some(budget) = &self.load_budget else { return Ok(None) };
        if can_do_without {
            let busy = |_| Error::new(Kind::COMPUTE, "the load budget is used up");
            return budget.try_acquire().map(Some).map_err(busy);
        }
        let until = self.now().saturating_add(settings.hard_timeout);
        match timeout(&*self.clock, until, budget.acquire()).await {
            Some(permit) => permit.map(Some).map_err(|_| Error::closed()),
            None => Err(Error::new(
                Kind::COMPUTE.and(Kind::TIMEOUT),
                "no place in the load budget came free before the hard timeout",
            )),
        }
    }

    /// Stores what was computed: L1, then the followers, then the lower tiers. What has no time to live takes away what
    /// is there.
    async fn keep(
        self: &Arc<Self>,
        flight: Lease<LoadOutcome>,
        mark: Mark,
        product: Product,
        settings: &Settings,
        waited: Duration,
    ) -> Found {
        let Product { loaded, older, permission } = product;
        let base = match (&loaded.value, loaded.ttl) {
            (_, Some(ttl)) => ttl,
            (Some(_), None) => settings.ttl,
            (None, None) => settings.negative_ttl,
        };
        let ttl = jittered(base, settings.jitter, &*self.random);
        let alone = matches!(permission, Permission::Alone);
        let grace = if loaded.value.is_some() && !alone { round_grace(settings.grace) } else { Duration::ZERO };
        let tags = settings.tags_and(&loaded.tags);
        let held = matches!(permission, Permission::Held);
        let write_id = self.write_id();
        let l1_ttl = if alone { Some(settings.l1_ttl.unwrap_or(ttl).min(SHORT)) } else { settings.l1_ttl };
        let lease = match permission {
            Permission::Leased(held) => Some(held),
            _ => None,
        };
        let origin =
            Origin { stamp: mark.basis.stamp, write_id: lease.as_ref().map_or(0, |_| write_id), tags: tags.as_ref() };
        let (value, weight) = (loaded.value.as_ref(), loaded.weight);
        let entry = self.entry(&mark.key, New { value, ttl, grace, l1_ttl, weight, origin });
        let found = Found { level: FLIGHT, ..Found::resident(entry.entry()) };
        let mut store = loaded.store && !ttl.is_zero() && !held;
        // A flight that was ended from outside may have a successor that landed: its value is newer.
        let late = flight.is_late();
        if store && self.reads_l1(settings.skipped) {
            if late {
                store = self.l1.fill_vacant(mark.token, entry);
            } else {
                self.l1.fill(mark.token, entry);
            }
        }
        let takes_away = loaded.store && ttl.is_zero() && older;
        if takes_away {
            self.l1.retract(&mark.key, mark.token);
        }
        // Last, after the value is where a follower or the next caller looks for it. A flight that was ended from outside
        // has its followers' outcome already; its late value was stored if its marker was still there.
        flight.land(Ok(found.clone()));
        let until = self.now().saturating_add(self.deadlines.hard.saturating_sub(waited));
        if store && !alone && !self.tiers.is_empty() {
            let write = Write {
                key: mark.key.clone(),
                value: found.value.clone(),
                ttl,
                grace,
                most: Duration::MAX,
                created: self.clock.wall(),
                clock: mark.basis.clock,
                write_id,
                tags,
                how: How::Load(lease),
                tiers: 0..self.tiers.len(),
                skipped: settings.skipped,
                until,
            };
            self.store(write, mark).await;
        } else if takes_away {
            self.take_away(mark, until).await;
        }
        found
    }

    /// The computation failed: a stale value stands in for a while, or the fallback for this call, or the error is shared.
    fn fail_safe<X>(
        &self,
        lease: Lease<LoadOutcome>,
        mark: Mark,
        stand_in: Option<Found>,
        settings: &Settings,
        error: Error,
    ) -> Result<Computed<X>> {
        let Some(found) = stand_in else {
            lease.land(Err(error.clone()));
            return self.without(settings, error);
        };
        if self.reads_l1(settings.skipped) {
            let retry_at = millis(self.now().saturating_add(THROTTLE));
            let times = Times { fresh_until: 0, ..found.times };
            let entry = self
                .l1
                .entry(&mark.key, Content { value: found.value.as_ref(), times, weight: None, origin: found.origin() });
            // A stale value from below is kept here, so that the throttle holds for it too.
            self.l1.delay_retry(mark.token, entry, retry_at);
        }
        lease.land(Ok(found.clone()));
        Ok(Computed::Found(found))
    }

    /// What a caller gets whose computation failed where no stale value stands in.
    fn without<X>(&self, settings: &Settings, error: Error) -> Result<Computed<X>> {
        if error.is_closed() {
            return Err(error);
        }
        match &settings.fallback {
            Some(value) => {
                let now = self.now_millis();
                let times = Times { written: signed(now), fresh_until: 0, dead_at: 0 };
                let value = Some(value.clone());
                Ok(Computed::Found(Found { value, level: 0, times, stamp: 0, write_id: 0, tags: None }))
            }
            None => Err(error),
        }
    }
}

/// The level of a value that came from a flight and not from a tier.
pub(super) const FLIGHT: usize = usize::MAX;

fn too_slow() -> Error {
    Error::new(Kind::COMPUTE.and(Kind::TIMEOUT), "the computation did not end before its hard timeout")
}

fn nested(key: &str) -> Error {
    let key = super::write::shown(key);
    Error::would_deadlock(format!("the computation of `{key}` asked for `{key}` itself"))
}
