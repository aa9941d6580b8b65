//! The tier that instances share, as the engine stands on it: what it is asked, and what is done about what it tells.
//!
//! Where it holds one of the engine's tiers, values go there under leases or as writes, never as a plain `set`; where
//! instances share nothing but the word of changes, it holds none.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Core;
use crate::counter::Counters;
use crate::error::{Error, Kind, Result};
use crate::hash::stable_hash;
use crate::shared::{Bump, Bumps, CONTROL, Change, Control, Controlled, Hear, InvalidationStats, SharedTier, Watching};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::tier::shield::{Tier, timeout};
use crate::trust::{Sweeping, Trust};

/// What was acknowledged less long ago is done again where another server answers: it may not have it.
const REMEMBERED: Duration = Duration::from_secs(10);
const MOST_REMEMBERED: usize = 4096;

/// The shared tier and what belongs to it.
pub(super) struct Shared {
    pub(super) tier: Arc<dyn SharedTier>,
    /// Which of the tiers below L1 it is.
    pub(super) at: Option<usize>,
    pub(super) watch: Arc<dyn Watching>,
    /// What the watch tells; it holds it weakly.
    _ear: Arc<dyn Hear>,
    pub(super) waiters: Waiters,
    /// Whether all bumps are known that the server knew when it was last asked: without them no frame can be judged.
    pub(super) knows_bumps: tokio::sync::watch::Sender<bool>,
    /// How often they were to be read anew.
    wanted: Mutex<u64>,
    /// How often another server has answered than before.
    servers: AtomicU64,
    /// Whether the control clock is to be lifted first: another server answers.
    lifts: AtomicBool,
    recent: Mutex<VecDeque<(Duration, Done)>>,
    /// Held while what is invalid is freed.
    reclaiming: tokio::sync::Mutex<()>,
    /// How often that is still to be done.
    pub(super) to_reclaim: tokio::sync::watch::Sender<usize>,
    counters: Counters<{ Told::KINDS }>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    Sent,
    Removed,
    RemovedMany,
    Updated,
    Pattern,
    Confirmed,
}

impl Told {
    const KINDS: usize = Self::Confirmed as usize + 1;
}

/// What has been acknowledged.
#[derive(Clone)]
enum Done {
    Key(Arc<str>),
    Bump(Bump),
}

impl Shared {
    #[cfg(feature = "redis")]
    pub(super) fn new(
        tier: Arc<dyn SharedTier>,
        at: Option<usize>,
        watch: Arc<dyn Watching>,
        ear: Arc<dyn Hear>,
    ) -> Self {
        Self {
            tier,
            at,
            watch,
            _ear: ear,
            waiters: Waiters::default(),
            knows_bumps: tokio::sync::watch::Sender::new(false),
            wanted: Mutex::new(0),
            servers: AtomicU64::new(0),
            lifts: AtomicBool::new(false),
            recent: Mutex::default(),
            reclaiming: tokio::sync::Mutex::default(),
            to_reclaim: tokio::sync::watch::Sender::new(0),
            counters: Counters::new(),
        }
    }

    /// The link over which changes of single keys come, those of many entries, and the one that stands for knowing them all.
    fn control_link(&self) -> usize {
        usize::from(self.tier.partitions())
    }

    fn bumps_link(&self) -> usize {
        self.control_link() + 1
    }

    pub(super) fn stats(&self) -> InvalidationStats {
        let (heard, told) = (self.watch.heard(), |what: Told| self.counters.sum(what as usize));
        InvalidationStats {
            messages_sent: told(Told::Sent),
            messages_received: [Told::Removed, Told::RemovedMany, Told::Updated, Told::Pattern].map(told).iter().sum(),
            removes_received: told(Told::Removed),
            updates_received: told(Told::Updated),
            patterns_received: told(Told::Pattern),
            bulk_removes_received: told(Told::RemovedMany),
            processing_errors: heard.refused,
            gaps: heard.gaps,
            replayed: heard.replayed,
            suspects: heard.suspects,
            revalidated: told(Told::Confirmed),
            reconnects: heard.reconnects,
        }
    }

    /// Which server is followed.
    pub(super) fn server(&self) -> u64 {
        // Acquire, edge `server`: what is acknowledged by a server that was left before is not remembered by anybody.
        self.servers.load(Ordering::Acquire)
    }

    /// Whether the server that has acknowledged is the one that is followed.
    pub(super) fn still(&self, server: u64) -> Result<()> {
        if self.server() == server {
            return Ok(());
        }
        Err(Error::new(Kind::TIER, "another server has taken over from the one that acknowledged"))
    }

    fn remember(&self, done: Done, now: Duration) {
        let mut recent = self.recent.lock();
        let old = |then: Duration| now.saturating_sub(then) > REMEMBERED;
        while recent.front().is_some_and(|(then, _)| old(*then)) || recent.len() >= MOST_REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((now, done));
    }
}

/// Who waits for the lease of a key to end.
#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<Arc<str>, Weak<Notify>>>);

/// A place among those who wait. Whoever asks for a notification before it asks for the lease misses none.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    key: Arc<str>,
    ended: Arc<Notify>,
}

impl Waiters {
    pub(super) fn enter(&self, key: &Arc<str>) -> Waiter<'_> {
        let mut waiting = self.0.lock();
        let ended = waiting.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let ended = Arc::new(Notify::new());
            waiting.insert(key.clone(), Arc::downgrade(&ended));
            ended
        });
        Waiter { waiters: self, key: key.clone(), ended }
    }

    fn wake(&self, key: &str) {
        let waiting = self.0.lock().get(key).and_then(Weak::upgrade);
        if let Some(ended) = waiting {
            ended.notify_waiters();
        }
    }
}

impl Waiter<'_> {
    pub(super) fn ended(&self) -> &Notify {
        &self.ended
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.0.lock();
        // The last one of the key, which nobody can join under the lock.
        if Arc::strong_count(&self.ended) == 1 {
            waiting.remove(&self.key);
        }
    }
}

impl Core {
    pub(super) fn count_told(&self, what: Told) {
        if let Some(shared) = &self.shared {
            shared.counters.count(what as usize);
        }
    }

    /// The index under which debts to the shared tier are kept.
    pub(super) fn shared_index(&self) -> Option<usize> {
        self.shared.as_ref().map(|shared| shared.at.unwrap_or(self.tiers.len()))
    }

    /// The shared tier as one of the tiers below L1.
    pub(super) fn tier_shared(&self) -> Option<&Tier> {
        self.tiers.get(self.shared.as_ref()?.at?)
    }

    /// Whether this tier is the one that instances share.
    pub(super) fn is_shared(&self, index: usize) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.at == Some(index))
    }

    /// Waits for the shared tier no longer than until then.
    pub(super) async fn within<T>(&self, until: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || Error::new(Kind::TIER.and(Kind::TIMEOUT), "the shared tier did not answer within the deadline");
        timeout(&*self.clock, until, asked).await.unwrap_or_else(|| Err(late()))
    }

    /// Removes `key` from the shared tier and tells the others; what it does not take is owed to it.
    pub(super) async fn remove_shared(&self, key: &str, until: Duration) -> Result<()> {
        let (Some(shared), Some(index)) = (&self.shared, self.shared_index()) else { return Ok(()) };
        let server = shared.server();
        // A write that was not acknowledged may still land: it is settled first.
        let removed = if self.repairs.owes(index, key) {
            self.within(until, shared.tier.settle(key)).await.map(drop)
        } else {
            self.within(until, shared.tier.invalidate(&[key], Duration::ZERO)).await.map(drop)
        };
        let removed = removed.and_then(|()| {
            self.done(shared, key, false);
            shared.still(server)
        });
        match removed {
            Ok(()) => self.settled(index, key),
            Err(_) => self.repairs.owe(index, key),
        }
        removed
    }

    /// The shared tier has acknowledged a change of `key`.
    pub(super) fn done(&self, shared: &Shared, key: &str, quiet: bool) {
        if !quiet {
            self.count_told(Told::Sent);
        }
        shared.remember(Done::Key(key.into()), self.now());
    }

    async fn known_bumps(&self, shared: &Shared) -> Result<Bumps> {
        let until = self.now().saturating_add(self.deadlines.hard);
        self.within(until, shared.tier.check()).await?;
        // Relaxed: set before a reader is started.
        if shared.lifts.swap(false, Ordering::Relaxed) {
            // A server that has taken over may give numbers again that another has given before.
            let lifted = self.within(until, shared.tier.lift(self.trust.basis().clock)).await;
            if let Err(error) = lifted {
                shared.lifts.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        self.within(until, shared.tier.bumps()).await
    }

    /// Changes many entries at once, for all instances; what the shared tier does not take is owed to it. Here it has taken
    /// effect in any case when this returns.
    pub(super) async fn bump(&self, bump: Bump) -> Result<()> {
        let bumped = self.bump_once(&bump).await;
        if bumped.is_err()
            && let Some(index) = self.shared_index()
        {
            // Owed first: what is read from the shared tier after this is refused until it is paid.
            self.repairs.owe_bump(index, &bump);
            self.apply_here(&bump);
        }
        bumped
    }

    /// As [`bump`](Core::bump), where what is not taken is owed already.
    pub(super) async fn bump_once(&self, bump: &Bump) -> Result<()> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let until = self.now().saturating_add(self.deadlines.hard);
        // Another server may give numbers that were given before, until its clock is lifted.
        if !self.can_judge(until).await {
            return Err(super::read::not_judged());
        }
        let server = shared.server();
        let bumped = self.within(until, shared.tier.bump(bump, self.trust.basis().clock)).await?;
        shared.remember(Done::Bump(bump.clone()), self.now());
        shared.still(server)?;
        self.count_told(Told::Sent);
        self.apply(&bumped);
        match bump {
            Bump::Pattern(pattern) => self.reclaim(shared, pattern.clone(), bumped.clock),
            Bump::Clear => self.reclaim(shared, "*".into(), bumped.clock),
            // Whose values it has, nobody knows; they go with their time.
            Bump::Tag(_) => {}
        }
        Ok(())
    }

    /// Frees in the background what the shared tier holds that is invalid, one pattern after the other.
    fn reclaim(&self, shared: &Arc<Shared>, pattern: String, clock: u64) {
        let shared = shared.clone();
        shared.to_reclaim.send_modify(|left| *left += 1);
        self.tasks.spawn(Box::pin(async move {
            let alone = shared.reclaiming.lock().await;
            // What stays goes with its time.
            let _ = shared.tier.reclaim(&pattern, clock).await;
            drop(alone);
            shared.to_reclaim.send_modify(|left| *left -= 1);
        }));
    }

    /// What is resident, or being loaded, is invalid; what the shared tier has is known to be when it is told.
    fn apply_here(&self, bump: &Bump) {
        match bump {
            Bump::Tag(tag) => self.trust.sweep_here(Sweeping::Tag(stable_hash(tag))),
            Bump::Pattern(pattern) => self.trust.sweep_here(Sweeping::Pattern(pattern)),
            Bump::Clear => self.trust.sweep_here(Sweeping::Clear),
        }
        self.after_event();
        self.unlink_bumped(bump);
    }

    fn apply(&self, bump: &Controlled) {
        note(&self.trust, bump);
        self.after_event();
        match &bump.what {
            Control::Tag(_) | Control::TagFloor => {}
            Control::Pattern(pattern) => self.unlink_bumped(&Bump::Pattern(pattern.clone())),
            Control::Clear | Control::Rule { .. } => self.unlink_bumped(&Bump::Clear),
        }
    }

    /// Callers that come now wait for no flight that began before. Of which tags a flight will be is not known: its followers
    /// look at what it lands.
    fn unlink_bumped(&self, bump: &Bump) {
        match bump {
            Bump::Tag(_) => {}
            Bump::Pattern(pattern) => {
                self.unlink_where(|key| crate::glob::matches(pattern.as_bytes(), key.as_bytes()));
            }
            Bump::Clear => self.unlink_where(|_| true),
        }
    }

    /// Waits until frames can be judged, no longer than until then; false if they cannot.
    pub(super) async fn can_judge(&self, until: Duration) -> bool {
        let Some(shared) = &self.shared else { return true };
        if !*shared.knows_bumps.borrow() && !shared.watch.is_down() {
            let mut known = shared.knows_bumps.subscribe();
            let _ = timeout(&*self.clock, until, known.wait_for(|known| *known)).await;
        }
        self.judges()
    }

    /// Whether frames can be judged now.
    pub(super) fn judges(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        *shared.knows_bumps.borrow() && self.trust.trusts(shared.control_link(), self.now())
    }

    /// Bumps may have been missed: until all are known nothing is used without asking, and no frame is used.
    pub(super) fn want_bumps(self: &Arc<Self>) {
        let Some(shared) = self.shared.clone() else { return };
        let wanted = {
            // Held over all three, so that a reader that is through sees it before it says so.
            let mut wanted = shared.wanted.lock();
            *wanted += 1;
            shared.knows_bumps.send_replace(false);
            self.trust.extend(shared.bumps_link(), Duration::ZERO, self.now());
            *wanted
        };
        let core = Arc::downgrade(self);
        self.tasks.spawn(Box::pin(async move { read_bumps(core, shared, wanted).await }));
    }

    /// Another server answers: what the earlier one acknowledged lately is done again, and until then not read.
    fn redo(&self) {
        let (Some(shared), Some(index)) = (&self.shared, self.shared_index()) else { return };
        let now = self.now();
        // Release, edge `server`: before the ring is taken.
        shared.servers.fetch_add(1, Ordering::Release);
        let recent = std::mem::take(&mut *shared.recent.lock());
        for (_, done) in recent.into_iter().filter(|(then, _)| now.saturating_sub(*then) <= REMEMBERED) {
            match done {
                Done::Key(key) => self.repairs.owe(index, &key),
                Done::Bump(bump) => self.repairs.owe_bump(index, &bump),
            }
        }
    }
}

/// Reads all bumps until that has come about, or they are to be read anew.
async fn read_bumps(core: Weak<Core>, shared: Arc<Shared>, wanted: u64) {
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        let Some(strong) = core.upgrade().filter(|core| core.admit_any().is_ok()) else { return };
        let known = strong.known_bumps(&shared).await;
        if let Ok(bumps) = &known {
            for bump in bumps.each() {
                strong.apply(&bump);
            }
        }
        {
            let newest = shared.wanted.lock();
            if *newest != wanted {
                return;
            }
            if known.is_ok() {
                strong.trust.extend(shared.bumps_link(), Duration::MAX, strong.now());
                shared.knows_bumps.send_replace(true);
                return;
            }
        }
        let (clock, until) = (strong.clock.clone(), strong.now().saturating_add(PAUSE));
        drop(strong);
        clock.sleep_until(until).await;
    }
}

fn note(trust: &Trust, bump: &Controlled) {
    match &bump.what {
        Control::Tag(tag) => trust.sweep(Sweeping::Tag(stable_hash(tag)), bump.clock),
        Control::Pattern(pattern) => trust.sweep(Sweeping::Pattern(pattern), bump.clock),
        Control::Clear => trust.sweep(Sweeping::Clear, bump.clock),
        Control::TagFloor => trust.sweep(Sweeping::Tags, bump.clock),
        Control::Rule { cleared, pattern } => {
            trust.sweep(Sweeping::Clear, *cleared);
            trust.sweep(Sweeping::Pattern(pattern), bump.clock);
        }
    }
}

/// What the shared tier tells reaches the engine through this; it touches L1, the flights and what is trusted, never a tier.
pub(super) struct Ear(pub(super) Weak<Core>);

impl Ear {
    fn with(&self, tell: impl FnOnce(&Core)) {
        if let Some(core) = self.0.upgrade() {
            tell(&core);
        }
    }
}

impl Hear for Ear {
    fn changed(&self, keys: &[&str], how: Change) {
        self.with(|core| {
            let told = match how {
                Change::Updated => Told::Updated,
                Change::Removed if keys.len() == 1 => Told::Removed,
                Change::Removed => Told::RemovedMany,
            };
            core.count_told(told);
            for key in keys {
                core.kill(key);
                // Its lease went with the change.
                core.shared.iter().for_each(|shared| shared.waiters.wake(key));
            }
        });
    }

    fn settled(&self, key: &str) {
        self.with(|core| core.shared.iter().for_each(|shared| shared.waiters.wake(key)));
    }

    fn suspect(&self, partition: u16) {
        self.with(|core| {
            core.trust.lose(partition);
            core.after_event();
        });
    }

    fn bumped(&self, bump: &Controlled) {
        self.with(|core| {
            core.count_told(if bump.what == Control::Clear { Told::RemovedMany } else { Told::Pattern });
            core.apply(bump);
        });
    }

    fn read_control(&self) {
        if let Some(core) = self.0.upgrade() {
            core.want_bumps();
        }
    }

    fn replaced(&self, partition: u16) {
        self.with(|core| {
            if let Some(shared) = core.shared.as_ref().filter(|_| partition == CONTROL) {
                // Relaxed: whoever reads the bumps is started after this.
                shared.lifts.store(true, Ordering::Relaxed);
            }
            if let Some(shared) = core.shared.as_ref().filter(|_| partition == CONTROL) {
                shared.tier.leave();
            }
            core.redo();
        });
    }

    fn trusted(&self, partition: u16, until: Duration) {
        self.with(|core| {
            let Some(shared) = &core.shared else { return };
            let link = if partition == CONTROL { shared.control_link() } else { partition.into() };
            core.trust.extend(link, until, core.now());
        });
    }
}
