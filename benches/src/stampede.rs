//! Many callers on one cold key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use multi_tier_cache as predecessor;
use tercel::Value;
use tokio::runtime::Runtime;

use crate::local::TTL;
use crate::workload;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Tasks of one runtime with two threads.
    pub tasks: usize,
    /// Plain threads.
    pub threads: usize,
}

/// How long the computation takes.
pub const COMPUTATION: Duration = Duration::from_millis(50);

/// What came of one stampede.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// How often the closure ran.
    pub computations: usize,
    /// From the end of the (first) computation until the last caller was back.
    pub last_waiter: Duration,
}

/// One stampede on a fresh cache of the rival's kind.
pub type Stampede = fn(Crowd) -> Outcome;

/// Every rival by name; `true`: it has a way in for threads.
pub fn rivals() -> Vec<(&'static str, bool, Stampede)> {
    vec![
        (TERCEL, true, tercel),
        ("predecessor", false, predecessor),
        ("moka get_with", false, moka),
        ("bare tokio Notify", false, notify),
    ]
}

/// The name of `tercel` among the rivals.
pub const TERCEL: &str = "tercel";

const KEY: &str = "cold";

/// What callers and the computation report to. Everything is SeqCst: it is off the measured path.
struct Course {
    crowd: Crowd,
    origin: Instant,
    asked: AtomicUsize,
    computations: AtomicUsize,
    /// Nanoseconds since the origin.
    ended: AtomicU64,
    last: AtomicU64,
}

impl Course {
    fn start(crowd: Crowd) -> Arc<Self> {
        Arc::new(Self {
            crowd,
            origin: Instant::now(),
            asked: AtomicUsize::new(0),
            computations: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            last: AtomicU64::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn asks(&self) {
        self.asked.fetch_add(1, SeqCst);
    }

    fn is_back(&self) {
        self.last.fetch_max(self.now(), SeqCst);
    }

    /// Whether everybody has asked: on a busy machine that may take longer than the computation.
    fn is_full(&self) -> bool {
        self.asked.load(SeqCst) >= self.crowd.tasks + self.crowd.threads
    }

    async fn compute(&self) -> Bytes {
        self.computations.fetch_add(1, SeqCst);
        tokio::time::sleep(COMPUTATION).await;
        while !self.is_full() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.end()
    }

    fn compute_blocking(&self) -> Bytes {
        self.computations.fetch_add(1, SeqCst);
        thread::sleep(COMPUTATION);
        while !self.is_full() {
            thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    fn end(&self) -> Bytes {
        let value = workload::value(100);
        // The first computation counts, should there be a second one.
        self.ended.compare_exchange(0, self.now(), SeqCst, SeqCst).ok();
        value
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            computations: self.computations.load(SeqCst),
            last_waiter: Duration::from_nanos(self.last.load(SeqCst).saturating_sub(self.ended.load(SeqCst))),
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs `ask` in every task of the crowd, and waits for all.
async fn tasks<F>(course: &Arc<Course>, ask: impl Fn(Arc<Course>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let asking: Vec<_> = (0..course.crowd.tasks).map(|_| tokio::spawn(ask(course.clone()))).collect();
    for task in asking {
        task.await.expect("no caller panics");
    }
}

fn tercel(crowd: Crowd) -> Outcome {
    let (runtime, cache, course) = (runtime(), tercel::CacheManager::default(), Course::start(crowd));
    let threads: Vec<_> = (0..crowd.threads)
        .map(|_| {
            let (cache, course) = (cache.clone().into_blocking(), course.clone());
            let body = move || {
                course.asks();
                let compute = || tercel::ok(Value::bytes(course.compute_blocking()));
                cache.get_or_compute_with(KEY, TTL, compute).expect("a value");
                course.is_back();
            };
            thread::Builder::new().stack_size(128 << 10).spawn(body).expect("a thread")
        })
        .collect();
    runtime.block_on(tasks(&course, |course| {
        let cache = cache.clone();
        async move {
            course.asks();
            let compute = || async { tercel::ok(Value::bytes(course.compute().await)) };
            cache.get_or_compute_with(KEY, TTL, compute).await.expect("a value");
            course.is_back();
        }
    }));
    for thread in threads {
        thread.join().expect("no caller panics");
    }
    course.outcome()
}

fn predecessor(crowd: Crowd) -> Outcome {
    let (runtime, course) = (runtime(), Course::start(crowd));
    let tier = predecessor::L1Cache::new(predecessor::MokaCacheConfig::default()).expect("a tier");
    let tiers = vec![predecessor::CacheTier::new(Arc::new(tier), 1, false, 1, 1.0)];
    let cache = Arc::new(predecessor::CacheManager::new_with_tiers(tiers, None).expect("a cache"));
    runtime.block_on(tasks(&course, |course| {
        let cache = cache.clone();
        async move {
            course.asks();
            let compute = || async { Ok(course.compute().await) };
            let strategy = predecessor::CacheStrategy::Custom(TTL);
            cache.get_or_compute_with(KEY, strategy, compute).await.expect("a value");
            course.is_back();
        }
    }));
    course.outcome()
}

fn moka(crowd: Crowd) -> Outcome {
    let (runtime, course) = (runtime(), Course::start(crowd));
    let cache: moka::future::Cache<String, Bytes> =
        moka::future::Cache::builder().max_capacity(10_000).time_to_live(TTL).build();
    runtime.block_on(tasks(&course, |course| {
        let cache = cache.clone();
        async move {
            course.asks();
            cache.get_with(KEY.to_owned(), course.compute()).await;
            course.is_back();
        }
    }));
    course.outcome()
}

/// What waking the crowd costs with no cache around it.
fn notify(crowd: Crowd) -> Outcome {
    let (runtime, course) = (runtime(), Course::start(crowd));
    let landed = Arc::new(tokio::sync::Notify::new());
    let leader = {
        let (course, landed) = (course.clone(), landed.clone());
        runtime.spawn(async move {
            course.compute().await;
            landed.notify_waiters();
        })
    };
    runtime.block_on(async {
        tasks(&course, |course| {
            let landed = landed.clone();
            async move {
                let mut notified = std::pin::pin!(landed.notified());
                notified.as_mut().enable();
                course.asks();
                notified.await;
                course.is_back();
            }
        })
        .await;
        leader.await.expect("the leader does not panic");
    });
    course.outcome()
}
