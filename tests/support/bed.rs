//! A cache to test on: an engine on a manual clock, called through either handle. When the test ends its books are checked.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test; each file uses its own part")]

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tercel::{
    BoxError, CacheManager, CacheManagerBuilder, CacheManagerStats, EntryOptions, Error, Loaded, Lookup, ManualClock,
    MemoryTier, Operation, Result, TierConfig, Value, blocking,
};

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const MILLI: Duration = Duration::from_millis(1);

/// Each law as two tests: through the handle for tasks, and through the one for threads.
macro_rules! both {
    ($($law:ident),+ $(,)?) => {
        mod tasks {
            $(#[test] fn $law() { super::$law(super::bed::Via::Tasks); })+
        }
        mod threads {
            $(#[test] fn $law() { super::$law(super::bed::Via::Threads); })+
        }
    };
}

/// The handle that a law is tested through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Tasks,
    Threads,
}

/// A cache called through one of its handles; requests are counted.
#[derive(Clone)]
pub struct Cache {
    pub tasks: CacheManager,
    pub threads: blocking::CacheManager,
    via: Via,
    requests: Arc<AtomicU64>,
}

macro_rules! call {
    ($self:ident, |$cache:ident| $call:expr) => {
        match $self.via {
            Via::Tasks => {
                let $cache = &$self.tasks;
                block_on($call)
            }
            Via::Threads => {
                let $cache = &$self.threads;
                $call
            }
        }
    };
    ($self:ident, $f:ident, |$cache:ident, $g:ident| $call:expr) => {
        match $self.via {
            Via::Tasks => {
                let ($cache, $g) = (&$self.tasks, move || async move { $f() });
                block_on($call)
            }
            Via::Threads => {
                let ($cache, $g) = (&$self.threads, $f);
                $call
            }
        }
    };
}

impl Cache {
    pub fn new(cache: CacheManager, via: Via) -> Self {
        Self { threads: cache.clone().into(), tasks: cache, via, requests: Arc::default() }
    }

    /// A view of the same engine.
    pub fn view(&self, of: impl FnOnce(&CacheManager) -> CacheManager) -> Self {
        let tasks = of(&self.tasks);
        Self { threads: tasks.clone().into(), tasks, via: self.via, requests: self.requests.clone() }
    }

    /// Declares requests that were made past this handle.
    pub fn made(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::SeqCst);
    }

    fn counted<T>(&self, answer: Result<T>) -> Result<T> {
        if !answer.as_ref().is_err_and(Error::is_key) {
            self.made(1);
        }
        answer
    }

    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        self.counted(call!(self, |cache| cache.get(key)))
    }

    /// The string under `key`; panics on an error.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).unwrap().map(|value| value.decode().unwrap())
    }

    pub fn get_typed<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.counted(call!(self, |cache| cache.get_typed(key)))
    }

    pub fn get_shared<T: DeserializeOwned + Send + Sync + 'static>(&self, key: &str) -> Result<Option<Arc<T>>> {
        self.counted(call!(self, |cache| cache.get_shared(key)))
    }

    pub fn lookup(&self, key: &str) -> Result<Lookup> {
        self.counted(call!(self, |cache| cache.lookup(key)))
    }

    pub fn peek(&self, key: &str) -> Option<String> {
        let value = match self.via {
            Via::Tasks => self.tasks.peek(key),
            Via::Threads => self.threads.peek(key),
        };
        value.map(|value| value.decode().unwrap())
    }

    pub fn set(&self, key: &str, value: impl Into<Value>, options: impl Into<EntryOptions>) -> Result<()> {
        call!(self, |cache| cache.set_with_strategy(key, value, options))
    }

    pub fn update(&self, key: &str, value: impl Into<Value>, ttl: Option<Duration>) -> Result<()> {
        call!(self, |cache| cache.update_cache(key, value, ttl))
    }

    pub fn broadcast(&self, key: &str, value: impl Into<Value>, options: impl Into<EntryOptions>) -> Result<()> {
        call!(self, |cache| cache.set_with_broadcast(key, value, options))
    }

    pub fn invalidate(&self, key: &str) -> Result<()> {
        call!(self, |cache| cache.invalidate(key))
    }

    pub fn invalidate_pattern(&self, pattern: &str) -> Result<()> {
        call!(self, |cache| cache.invalidate_pattern(pattern))
    }

    pub fn invalidate_tag(&self, tag: &str) -> Result<()> {
        call!(self, |cache| cache.invalidate_tag(tag))
    }

    pub fn invalidate_tags(&self, tags: &[&str]) -> Result<()> {
        call!(self, |cache| cache.invalidate_tags(tags))
    }

    pub fn clear(&self) -> Result<()> {
        call!(self, |cache| cache.clear())
    }

    pub fn close(&self) -> Result<()> {
        call!(self, |cache| cache.close())
    }

    pub fn load<R: Into<Loaded>, E: Into<BoxError>>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl FnOnce() -> Result<R, E>,
    ) -> Result<Value> {
        self.counted(call!(self, f, |cache, g| cache.get_or_compute_with(key, options, g)))
    }

    pub fn load_optional<R: Into<Loaded>, E: Into<BoxError>>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl FnOnce() -> Result<R, E>,
    ) -> Result<Option<Value>> {
        self.counted(call!(self, f, |cache, g| cache.get_or_compute_optional(key, options, g)))
    }

    pub fn load_typed<T: Serialize + DeserializeOwned + Send + Sync + 'static, E: Into<BoxError>>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T> {
        self.counted(call!(self, f, |cache, g| cache.get_or_compute_typed(key, options, g)))
    }

    pub fn load_shared<T: Serialize + DeserializeOwned + Send + Sync + 'static, E: Into<BoxError>>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>> {
        self.counted(call!(self, f, |cache, g| cache.get_or_compute_shared(key, options, g)))
    }

    /// A load of a string that cannot fail.
    pub fn text_or(&self, key: &str, options: impl Into<EntryOptions>, text: &str) -> String {
        self.load(key, options, || tercel::ok(text)).unwrap().decode().unwrap()
    }

    pub fn resize_l1(&self, entries: usize, weight: u64) -> Result<()> {
        match self.via {
            Via::Tasks => self.tasks.resize_l1(entries, weight),
            Via::Threads => self.threads.resize_l1(entries, weight),
        }
    }

    pub fn stats(&self) -> CacheManagerStats {
        match self.via {
            Via::Tasks => self.tasks.get_stats(),
            Via::Threads => self.threads.get_stats(),
        }
    }

    /// Hits, misses, errors and skipped lookups of the tier of `level`.
    pub fn tier(&self, level: usize) -> (u64, u64, u64, u64) {
        let tiers = self.tasks.get_tier_stats().unwrap();
        let tier = tiers.into_iter().find(|tier| tier.tier_level == level).unwrap();
        (tier.hits, tier.misses, tier.errors, tier.skipped)
    }

    /// The laws of the counters, once everything that runs in the background has ended.
    pub fn settled(&self) {
        eventually(|| self.tasks.validate().is_ok(), |()| format!("{:?}", self.tasks.validate()));
        let stats = self.stats();
        let answered = stats.total_hits + stats.misses + stats.stale + stats.absent;
        assert_eq!(stats.total_requests, self.requests.load(Ordering::SeqCst), "the calls that were made: {stats:?}");
        assert_eq!(answered, stats.total_requests, "{stats:?}");
        assert!(stats.l1_hits + stats.l2_hits <= stats.total_hits, "{stats:?}");
        let removed = stats.replaced + stats.invalidated + stats.expired + stats.evicted + stats.rejected;
        assert_eq!(stats.inserted, stats.resident_entries as u64 + removed, "{stats:?}");
        assert_eq!(stats.in_flight_requests, 0, "{stats:?}");
        for tier in self.tasks.get_tier_stats().unwrap() {
            assert_eq!(tier.lookups(), tier.hits + tier.misses + tier.errors + tier.skipped);
            if tier.tier_level == 1 {
                // Every request looks at L1, or was told to skip it.
                assert_eq!(tier.lookups(), stats.total_requests, "{tier:?} {stats:?}");
            }
        }
    }
}

/// A cache with its clock and the tier below it.
pub struct Bed {
    pub cache: Cache,
    pub clock: Arc<ManualClock>,
    pub below: MemoryTier,
    checked: AtomicBool,
}

impl Deref for Bed {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

impl Bed {
    /// L1 alone.
    pub fn l1(via: Via) -> Self {
        Self::with(via, |builder, _| builder)
    }

    /// L1 over one tier in memory.
    pub fn two(via: Via) -> Self {
        Self::with(via, |builder, below| builder.tier(Arc::new(below.clone()), TierConfig::as_l2()))
    }

    pub fn with(via: Via, build: impl FnOnce(CacheManagerBuilder, &MemoryTier) -> CacheManagerBuilder) -> Self {
        let clock = Arc::new(ManualClock::new());
        let below = MemoryTier::with_clock(clock.clone());
        let cache = build(CacheManager::builder().clock(clock.clone()), &below).build().unwrap();
        Self { cache: Cache::new(cache, via), clock, below, checked: AtomicBool::new(false) }
    }

    /// Another instance on the same clock, over the tiers that `build` gives it.
    pub fn another(&self, build: impl FnOnce(CacheManagerBuilder) -> CacheManagerBuilder) -> Cache {
        Cache::new(build(CacheManager::builder().clock(self.clock.clone())).build().unwrap(), self.cache.via)
    }

    /// Another instance with an L1 of its own over the same tier.
    pub fn sibling(&self) -> Cache {
        self.another(|builder| builder.tier(Arc::new(self.below.clone()), TierConfig::as_l2()))
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Advances the clock, a step at a time, until `done`.
    pub fn advance_until(&self, step: Duration, mut done: impl FnMut() -> bool) {
        eventually(
            || {
                if done() {
                    return true;
                }
                self.clock.advance(step);
                false
            },
            |()| "the clock was advanced in vain".into(),
        );
    }

    /// The calls are not to be compared with the requests counted: for tests that end calls in the middle.
    pub fn unchecked(&self) {
        self.checked.store(true, Ordering::SeqCst);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.below.release();
        if std::thread::panicking() || self.checked.load(Ordering::SeqCst) {
            return;
        }
        self.cache.settled();
        let tiers = self.cache.tasks.get_tier_stats().unwrap();
        if let [_, second] = &tiers[..]
            && second.backend_name == "memory"
        {
            assert!(second.lookups() - second.skipped <= self.below.calls(Operation::Get), "{second:?}");
        }
    }
}

/// Waits until `done`. The bound only ends a test that would hang.
pub fn eventually(mut done: impl FnMut() -> bool, what: impl FnOnce(()) -> String) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        if Instant::now() >= end {
            panic!("it did not come about: {}", what(()));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until `done`.
pub fn until(done: impl FnMut() -> bool) {
    eventually(done, |()| "a condition".into());
}

/// A future that is polled by hand.
pub struct Hand<F>(Pin<Box<F>>);

impl<F: Future> Hand<F> {
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }

    /// A future that waits after its first poll.
    #[track_caller]
    pub fn begun(future: F) -> Self {
        let mut hand = Self::new(future);
        assert!(hand.poll().is_none(), "it is to wait");
        hand
    }

    pub fn poll(&mut self) -> Option<F::Output> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    pub fn end(self) -> F::Output {
        block_on(self.0)
    }
}

/// What closures wait for, as tasks and as threads.
#[derive(Clone)]
pub struct Gate(tokio::sync::watch::Sender<bool>);

impl Gate {
    pub fn shut() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn pass(&self) {
        let mut receiver = self.0.subscribe();
        let _ = receiver.wait_for(|open| *open).await;
    }

    pub fn pass_blocking(&self) {
        block_on(self.pass());
    }
}

/// Drives a future on this thread; may be nested, unlike most executors' own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    #[derive(Default)]
    struct Signal(Mutex<bool>, Condvar);
    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(signal.clone());
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = signal.0.lock().unwrap();
        while !*woken {
            woken = signal.1.wait(woken).unwrap();
        }
        *woken = false;
    }
}
