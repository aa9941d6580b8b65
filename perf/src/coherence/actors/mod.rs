//! Those who work with the caches: readers, writers, who invalidates groups, and rounds.

mod deaths;
mod groups;
mod reader;
mod rounds;
mod writer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::history::{Change, Computation, Done, History, Read, What, Wrong};
use super::instance::{Instance, Load, Mode};
use super::options::Options;
use super::source::Source;
use super::wire::Wire;
use deaths::Death;

/// Readers of an instance.
const READERS: usize = 4;
/// Keys that are asked for and changed more often than the others: the first ones, which are shared.
const HOT: usize = 8;
/// The longest that a loader sleeps between its look at the source and its return.
pub(super) const SLOWEST_LOAD: Duration = Duration::from_millis(250);

/// What all actors share.
pub(super) struct Stage {
    pub(super) source: Source,
    pub(super) history: Arc<History>,
    pub(super) instances: Vec<Arc<dyn Instance>>,
    /// Where the actors of each instance run.
    pub(super) runtimes: Vec<Handle>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) seed: u64,
    /// Between each instance and the server, if any fault needs them.
    pub(super) wires: Arc<Vec<Wire>>,
    /// Whether holders of leases are to die in rounds.
    pub(super) deaths: bool,
}

impl Stage {
    fn stopped(&self) -> bool {
        // SeqCst: a flag that is seen in the next turn; order does not matter.
        self.stop.load(Ordering::SeqCst)
    }

    /// The random numbers of the actor of that name.
    fn random(&self, name: impl Hash) -> Rng {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }

    /// A loader of `key` on `instance`: it looks at the source and returns what it saw after `slow`, however old by then.
    pub(super) fn loader(self: &Arc<Self>, instance: usize, key: usize, slow: Duration) -> Load {
        self.loader_with(instance, key, async move {
            if !slow.is_zero() {
                tokio::time::sleep(slow).await;
            }
        })
    }

    /// The same with something else between the look and the return.
    fn loader_with(
        self: &Arc<Self>,
        instance: usize,
        key: usize,
        between: impl Future<Output = ()> + Send + 'static,
    ) -> Load {
        let stage = self.clone();
        Box::new(move || {
            Box::pin(async move {
                let running = Running { instance, key, begin: stage.history.now(), history: &stage.history };
                let version = stage.source.newest(key);
                let value = Bytes::from(stage.source.bytes(key, instance as u64, version));
                between.await;
                drop(running);
                value
            }) as BoxFuture<'static, Bytes>
        })
    }

    /// Reads `key` and puts down what came back.
    pub(super) async fn read(self: &Arc<Self>, instance: usize, key: usize, slow: Duration) {
        let read = self.read_with(instance, key, self.loader(instance, key, slow)).await;
        self.history.note(|events| events.reads.push(read));
    }

    /// Reads `key`; whoever computes it first dies.
    async fn read_or_die(self: &Arc<Self>, instance: usize, key: usize, slow: Duration, death: Arc<Death>) -> Read {
        let there = self.clone();
        let between = async move {
            death.strike(&there, instance).await;
            tokio::time::sleep(slow).await;
        };
        self.read_with(instance, key, self.loader_with(instance, key, between)).await
    }

    async fn read_with(&self, instance: usize, key: usize, load: Load) -> Read {
        let begin = self.history.now();
        let value = self.instances[instance].read(&self.source.keys, key, load).await;
        let end = self.history.now();
        let got = match value {
            Ok(bytes) => self.source.version(key, &bytes),
            Err(_) => Err(Wrong::Failed),
        };
        Read { instance, key, begin, end, got }
    }

    /// Puts down a change that has come back.
    fn changed(&self, instance: usize, keys: &[(usize, u64)], begin: Duration, what: What, done: Done) {
        let end = self.history.now();
        self.history.note(|events| {
            events.changes.extend(keys.iter().map(|&(key, version)| Change {
                instance,
                key,
                version,
                begin,
                end,
                what,
                done,
            }));
        });
    }
}

/// A loader that runs; put down when it ends, however it ends.
struct Running<'a> {
    instance: usize,
    key: usize,
    begin: Duration,
    history: &'a History,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let end = self.history.now();
        let (instance, key, begin) = (self.instance, self.key, self.begin);
        self.history.note(|events| events.computations.push(Computation { instance, key, begin, end }));
    }
}

/// Starts everybody; they end soon after `stop`.
pub(super) fn start(stage: &Arc<Stage>, mode: &dyn Mode, options: &Options) -> Vec<JoinHandle<()>> {
    let instances = stage.instances.len();
    let readers = instances * READERS;
    let mut started = Vec::new();
    for instance in 0..instances {
        let runtime = &stage.runtimes[instance];
        for number in 0..READERS {
            let pause = pause(options.reads, readers);
            started.push(runtime.spawn(reader::run(stage.clone(), instance, number, pause)));
        }
        let pause = pause(options.writes, instances);
        started.push(runtime.spawn(writer::shared(stage.clone(), instance, pause)));
        if mode.offers(What::Set) {
            started.push(runtime.spawn(writer::owned(stage.clone(), instance, 4 * pause)));
        }
    }
    let groups: Vec<_> =
        [What::Tag, What::Pattern, What::Clear].into_iter().filter(|what| mode.offers(*what)).collect();
    if !groups.is_empty() {
        started.push(stage.runtimes[0].spawn(groups::run(stage.clone(), groups)));
    }
    started.push(stage.runtimes[0].spawn(rounds::run(stage.clone())));
    started
}

/// The pause of one of so many actors that together do `rate` things a second.
fn pause(rate: usize, actors: usize) -> Duration {
    Duration::from_secs_f64(actors as f64 / rate as f64)
}

/// Sleeps for about `pause`: between nothing and twice as long.
async fn rest(random: &mut Rng, pause: Duration) {
    tokio::time::sleep(pause.mul_f64(2.0 * random.f64())).await;
}

/// How slow a loader is: mostly quick, sometimes slow enough for a change to come and go.
fn slowness(random: &mut Rng) -> Duration {
    match random.u32(..100) {
        0..40 => Duration::ZERO,
        40..75 => Duration::from_micros(random.u64(..5_000)),
        75..90 => Duration::from_micros(random.u64(5_000..50_000)),
        _ => Duration::from_micros(random.u64(50_000..SLOWEST_LOAD.as_micros() as u64)),
    }
}

/// One of `keys`; every so often (`hot` in a hundred) one of the first few.
fn any_of(random: &mut Rng, keys: Range<usize>, hot: u32) -> usize {
    if random.u32(..100) < hot { random.usize(..HOT) } else { random.usize(keys) }
}
