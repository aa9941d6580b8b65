//! The checker itself: the plain cache is caught, and so is whatever is stale or unwell in the end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use benches::redis_server::RedisServer;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::actors::Stage;
use super::faults::Kind;
use super::history::{History, What};
use super::instance::{Failure, Figures, Instance, Load, Mode, Outcome, Promises};
use super::options::Options;
use super::plain::Plain;
use super::process::{Held, Runtime};
use super::settle::{Settled, Waits, look, on};
use super::source::{Keys, Source};
use super::{Unmeasured, run};

fn busy() -> Options {
    Options { seed: Some(1), reads: 3000, writes: 150, ..Options::default() }
}

#[test]
fn the_plain_way_is_caught() {
    let options = Options { time: Duration::from_secs(2), ..busy() };
    match run(&options, Box::new(Plain), false) {
        Ok(run) => {
            assert!(run.reads > 0 && run.changes.acknowledged > 0);
            assert!(run.findings.verdict.violations() > 0, "{} reads, {:?}", run.reads, run.findings.verdict);
            println!("{} violations in {} reads", run.findings.verdict.violations(), run.reads);
        }
        Err(Unmeasured::Skipped(why)) => println!("skipped: {why}"),
        Err(Unmeasured::Failed(why)) => panic!("{why}"),
    }
}

#[test]
fn a_cache_that_keeps_nothing_is_never_caught() {
    let options = Options { time: Duration::from_secs(3), faults: Kind::ALL.to_vec(), ..busy() };
    match run(&options, Box::new(Planted::default()), false) {
        Ok(run) => {
            let (verdict, changes) = (&run.findings.verdict, &run.changes);
            assert!(run.reads > 0 && changes.acknowledged == changes.invalidations + changes.writes);
            assert!(!run.strikes.is_empty());
            assert_eq!((verdict.violations(), run.settled.broken()), (0, 0), "{verdict:?} {:?}", run.settled);
            assert_eq!(run.findings.staleness.reads, 0);
        }
        Err(Unmeasured::Skipped(why)) => println!("skipped: {why}"),
        Err(Unmeasured::Failed(why)) => panic!("{why}"),
    }
}

/// Everywhere the newest version of the first key, unless something else is planted.
#[derive(Clone, Default)]
struct Planted {
    l1: Option<Bytes>,
    redis: Option<Bytes>,
    read: Option<Bytes>,
    pending: usize,
    problem: Option<String>,
    fails: bool,
}

impl Planted {
    fn outcome<T>(&self, value: T) -> Outcome<T> {
        if self.fails { Err(Failure { here: false, why: "planted".into() }) } else { Ok(value) }
    }
}

impl Instance for Planted {
    fn read<'a>(&'a self, _: &'a Keys, key: usize, load: Load) -> BoxFuture<'a, Outcome<Bytes>> {
        Box::pin(async move {
            let planted = self.read.clone().filter(|_| key == 0);
            self.outcome(match planted {
                Some(bytes) => bytes,
                None => load().await,
            })
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Option<Bytes>>> {
        Box::pin(async move { self.outcome(self.redis.clone().filter(|_| name == Keys::new().name(0))) })
    }

    fn peek(&self, name: &str) -> Option<Bytes> {
        self.l1.clone().filter(|_| name == Keys::new().name(0))
    }

    fn invalidate<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { self.outcome(()) })
    }

    fn set<'a>(&'a self, _: &'a Keys, _: usize, _: Bytes) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { self.outcome(()) })
    }

    fn invalidate_group<'a>(&'a self, _: What, _: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async { self.outcome(()) })
    }

    fn figures(&self) -> Figures {
        Figures { pending: self.pending, ..Figures::default() }
    }

    fn problem(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { self.problem.clone() })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Mode for Planted {
    fn name(&self) -> &'static str {
        "planted"
    }

    fn start(&self, _: String) -> BoxFuture<'static, Outcome<Arc<dyn Instance>>> {
        let fresh = self.clone();
        Box::pin(async move { Ok(Arc::new(fresh) as Arc<dyn Instance>) })
    }

    fn offers(&self, _: What) -> bool {
        true
    }

    fn promises(&self) -> Promises {
        Plain.promises()
    }

    fn name_in_redis(&self, name: &str) -> String {
        name.to_owned()
    }

    fn channel(&self) -> &'static str {
        "planted"
    }
}

/// What is found if one of two instances, and every new one, is as `plant` makes it; it is told an old value of the first
/// key and the newest.
fn settled(redis: &RedisServer, plant: impl FnOnce(&mut Planted, Bytes, Bytes)) -> Settled {
    let source = Source::new();
    let old = Bytes::from(source.bytes(0, 0, 1));
    let newest = Bytes::from(source.bytes(0, 0, source.commit(0)));
    let well = Planted { l1: Some(newest.clone()), redis: Some(newest.clone()), ..Planted::default() };
    let mut planted = well.clone();
    plant(&mut planted, old, newest);
    let runtimes = [Runtime::start(0).unwrap(), Runtime::start(1).unwrap()];
    let stage = Arc::new(Stage {
        source,
        history: Arc::new(History::new(2)),
        instances: vec![Arc::new(well), Arc::new(planted.clone())],
        runtimes: runtimes.iter().map(Runtime::handle).collect(),
        stop: Arc::new(AtomicBool::new(true)),
        seed: 0,
        wires: Arc::default(),
        deaths: false,
    });
    look(&stage, &planted, redis, Waits { patience: Duration::ZERO, pause: Duration::ZERO })
}

#[test]
fn i3_whatever_is_stale_in_the_end_is_found_where_it_is() {
    let Some(redis) = RedisServer::start() else { return };
    let none = settled(&redis, |_, _, _| {});
    assert_eq!((none.broken(), none.in_l1, none.in_l2, none.old_in_redis), (0, 2, 1, 0), "{none:?}");

    let in_l1 = settled(&redis, |planted, old, _| planted.l1 = Some(old));
    assert_eq!((in_l1.broken(), in_l1.stale_l1), (1, 1), "{in_l1:?}");
    let in_redis = settled(&redis, |planted, old, _| planted.redis = Some(old));
    assert_eq!((in_redis.broken(), in_redis.stale_l2), (1, 1), "{in_redis:?}");
    let read = settled(&redis, |planted, old, _| planted.read = Some(old));
    assert_eq!((read.broken(), read.stale_reads), (1, 1), "{read:?}");
    let garbage = settled(&redis, |planted, _, _| planted.l1 = Some(Bytes::from_static(b"garbage")));
    assert_eq!((garbage.broken(), garbage.stale_l1), (1, 1), "{garbage:?}");

    let all = Keys::new().all().len();
    let failing = settled(&redis, |planted, _, _| planted.fails = true);
    assert_eq!(failing.broken(), 2 * all, "what cannot be looked at is not well: {failing:?}");
    assert_eq!(settled(&redis, |planted, _, _| planted.pending = 1).broken(), 1);
    assert_eq!(settled(&redis, |planted, _, _| planted.problem = Some("deaf".into())).broken(), 1);
}

#[test]
fn i3_an_old_value_that_lies_in_redis_is_told_apart() {
    let Some(redis) = RedisServer::start() else { return };
    let found = settled(&redis, |_, old, _| {
        let bytes = [b"some header", &old[..]].concat();
        redis.command_bytes(&[b"SET", Keys::new().name(0).as_bytes(), &bytes]);
    });
    assert_eq!((found.broken(), found.old_in_redis), (0, 1), "nobody is given it: {found:?}");
}

#[test]
fn i9_threads_and_descriptors_are_counted() {
    // Other tests of this process come and go meanwhile.
    const MANY: usize = 200;
    let held = Held::now();
    let files: Vec<_> = (0..MANY).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
    let (stop, threads): (Vec<_>, Vec<_>) = (0..MANY)
        .map(|_| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            (stop, std::thread::spawn(move || stopped.recv()))
        })
        .unzip();
    let (left_threads, left_descriptors) = held.left(Duration::ZERO);
    assert!(left_threads > MANY / 2 && left_descriptors > MANY / 2, "{left_threads} and {left_descriptors}");
    drop((stop, files));
    assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    let (left_threads, left_descriptors) = held.left(Duration::from_secs(5));
    assert!(left_threads < MANY / 2 && left_descriptors < MANY / 2, "{left_threads} and {left_descriptors}");
}

#[test]
fn the_plain_way_works_where_nothing_races() {
    let Some(redis) = RedisServer::start() else { return };
    let runtimes = [Runtime::start(0).unwrap(), Runtime::start(1).unwrap()];
    let start = |runtime: &Runtime| on(&runtime.handle(), Plain.start(redis.url())).unwrap().unwrap();
    let instances: Vec<_> = runtimes.iter().map(start).collect();
    let stage = Arc::new(Stage {
        source: Source::new(),
        history: Arc::new(History::new(2)),
        instances,
        runtimes: runtimes.iter().map(Runtime::handle).collect(),
        stop: Arc::new(AtomicBool::new(true)),
        seed: 0,
        wires: Arc::default(),
        deaths: false,
    });
    let name = stage.source.keys.name(0);
    let read = |instance: usize| {
        let there = stage.clone();
        on(&stage.runtimes[instance], async move { there.read(instance, 0, Duration::ZERO).await }).unwrap();
        stage.history.take().reads[0].got.unwrap()
    };
    assert_eq!((read(0), read(1)), (1, 1));
    assert!(stage.instances.iter().all(|cache| cache.peek(name).is_some()), "both keep it");
    stage.source.commit(0);
    assert_eq!((read(0), read(1)), (1, 1), "nobody was told");
    let there = stage.clone();
    let told = on(&stage.runtimes[0], async move { there.instances[0].invalidate(there.source.keys.name(0)).await });
    told.unwrap().unwrap();
    assert!(stage.instances[0].peek(name).is_none(), "at once where it was invalidated");
    let patience = Instant::now() + Duration::from_secs(20);
    while stage.instances[1].peek(name).is_some() {
        assert!(Instant::now() < patience, "the other one hears of it");
        std::thread::yield_now();
    }
    assert_eq!((read(1), read(0)), (2, 2));
}
