//! Time behind a trait: monotonic, coarse where it is read on every hit, and settable in tests.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// A source of monotonic time.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tercel::{CacheManager, ManualClock};
///
/// let clock = Arc::new(ManualClock::new());
/// let cache = CacheManager::builder().clock(clock.clone()).build_blocking()?;
/// cache.set_with_strategy("k", "v", Duration::from_secs(5))?;
/// clock.advance(Duration::from_secs(6));
/// assert_eq!(cache.get("k")?, None);
/// # Ok::<(), tercel::Error>(())
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time since an origin of the clock's own; never runs backwards.
    fn now(&self) -> Duration;

    /// The coarse time that L1 reads on every hit, kept within 5 ms of [`now`](Clock::now) by whoever drives the clock.
    fn tick(&self) -> Arc<Tick>;

    /// The time since the Unix epoch, for tiers that cannot tell how long a value has left. Never compared between machines.
    fn wall(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO)
    }

    /// Ends when [`now`](Clock::now) has reached `deadline`. May be awaited on any executor.
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The coarse time in milliseconds, one relaxed load to read.
#[derive(Debug, Default)]
pub struct Tick(AtomicU64);

impl Tick {
    /// Sets the coarse time; it only moves forward.
    pub fn set(&self, now: Duration) {
        // Relaxed: the tick orders nothing, a reader that sees an older one is off by at most the tick's own interval.
        self.0.fetch_max(millis(now), Ordering::Relaxed);
    }

    /// The coarse time in milliseconds.
    #[inline]
    pub(crate) fn millis(&self) -> u64 {
        // Relaxed: see `set`.
        self.0.load(Ordering::Relaxed)
    }
}

/// Whole milliseconds of `time`; what does not fit is the far future.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of a clock as a signed number: what is older than the clock's origin lies below zero.
pub(crate) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// The instant `ttl` after `now` in milliseconds, rounded up; what does not fit is the far future, never the past.
pub(crate) fn deadline(now: Duration, ttl: Duration) -> u64 {
    match now.checked_add(ttl) {
        Some(at) => u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
        None => u64::MAX,
    }
}

/// The timers of a background runtime. They may be awaited anywhere; once the runtime goes down all of them are over, since
/// tokio's own panic when they are polled then.
#[derive(Clone)]
pub(crate) struct Timers {
    runtime: tokio::runtime::Handle,
    /// Held, shared, while a timer is polled: the runtime does not go down meanwhile.
    up: Arc<RwLock<bool>>,
}

impl Timers {
    pub(crate) fn new(runtime: tokio::runtime::Handle) -> Self {
        Self { runtime, up: Arc::new(RwLock::new(true)) }
    }

    /// Says that the runtime goes down. Its end wakes those that wait.
    pub(crate) fn shut(&self) {
        *self.up.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send + use<> {
        // The timer belongs to the background runtime whichever executor awaits it.
        let _entered = self.runtime.enter();
        let sleep = tokio::time::sleep_until(at.into());
        let up = self.up.clone();
        async move {
            let mut sleep = pin!(sleep);
            poll_fn(|cx| {
                let up = up.read().unwrap_or_else(PoisonError::into_inner);
                if *up { sleep.as_mut().poll(cx) } else { Poll::Ready(()) }
            })
            .await;
        }
    }
}

/// The machine's monotonic clock, with timers on the engine's background runtime.
pub(crate) struct SystemClock {
    origin: Instant,
    tick: Arc<Tick>,
    timers: Timers,
}

impl SystemClock {
    pub(crate) fn new(timers: Timers) -> Self {
        Self { origin: Instant::now(), tick: Arc::new(Tick::default()), timers }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn tick(&self) -> Arc<Tick> {
        self.tick.clone()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.origin.checked_add(deadline) {
            Some(at) => Box::pin(self.timers.sleep_until(at)),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A clock that stands still until it is told to advance: for tests.
#[derive(Default)]
pub struct ManualClock {
    tick: Arc<Tick>,
    shared: Arc<Mutex<Manual>>,
}

#[derive(Default)]
struct Manual {
    now: Duration,
    next_id: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl ManualClock {
    /// A clock at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward by `by` and wakes every sleeper whose deadline has come. TTLs see it at once.
    pub fn advance(&self, by: Duration) {
        let mut manual = self.shared.lock();
        manual.now = manual.now.saturating_add(by);
        self.tick.set(manual.now);
        let now = manual.now;
        let later = manual.sleepers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut manual.sleepers, later);
        drop(manual);
        due.into_values().for_each(Waker::wake);
    }

    /// How many timers wait for the time to advance.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.shared.lock().sleepers.len()
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.shared.lock().now
    }

    fn tick(&self) -> Arc<Tick> {
        self.tick.clone()
    }

    /// A fixed date, and what the clock was advanced by since.
    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000).saturating_add(self.now())
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(ManualSleep { shared: self.shared.clone(), deadline, id: None })
    }
}

struct ManualSleep {
    shared: Arc<Mutex<Manual>>,
    deadline: Duration,
    id: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.shared.clone();
        let mut manual = shared.lock();
        if manual.now >= self.deadline {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            manual.next_id += 1;
            manual.next_id
        });
        manual.sleepers.insert((self.deadline, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.lock().sleepers.remove(&(self.deadline, id));
        }
    }
}
