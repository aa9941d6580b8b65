//! When the dust has settled: what lies in each L1 and in Redis, against the source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::redis_server::RedisServer;
use tokio::runtime::Handle;

use super::actors::Stage;
use super::instance::{Instance, Mode};

/// A call that takes longer hangs.
const HUNG: Duration = Duration::from_secs(30);

/// What is waited for before anything is looked at.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    /// The longest that instances may take to be well again.
    pub(super) patience: Duration,
    /// How long messages may be under way after that.
    pub(super) pause: Duration,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Entries that were looked at in the instances' L1.
    pub(super) in_l1: usize,
    pub(super) stale_l1: usize,
    /// Values that a new instance, whose L1 is empty, gets from Redis.
    pub(super) in_l2: usize,
    pub(super) stale_l2: usize,
    /// Old values that lie in Redis, whether anybody would be given them or not.
    pub(super) old_in_redis: usize,
    /// Reads of every key on every instance that returned anything but the newest version.
    pub(super) stale_reads: usize,
    /// What could not be looked at, and instances that did not get well.
    pub(super) unsettled: Vec<String>,
    pub(super) cases: Vec<String>,
}

impl Settled {
    /// How often I3 is broken.
    pub(super) fn broken(&self) -> usize {
        self.stale_l1 + self.stale_l2 + self.stale_reads + self.unsettled.len()
    }

    /// Whether `bytes` are the newest version of `key`; tells of it if they are not.
    fn is_newest(&mut self, stage: &Stage, key: usize, bytes: &[u8], place: &str) -> bool {
        let (name, newest) = (stage.source.keys.name(key), stage.source.newest(key));
        match stage.source.version(key, bytes) {
            Ok(version) if version == newest => true,
            got => {
                self.cases.push(format!("I3: {place} has {got:?} of {name}, whose newest version is {newest}"));
                false
            }
        }
    }
}

/// Waits until every instance is well, for as long as messages may be under way, and looks.
pub(super) fn look(stage: &Arc<Stage>, mode: &dyn Mode, redis: &RedisServer, waits: Waits) -> Settled {
    let mut settled = Settled::default();
    for (instance, cache) in stage.instances.iter().enumerate() {
        let well = on(&stage.runtimes[instance], wait_until_well(cache.clone(), waits.patience));
        if let Err(why) = well.unwrap_or_else(|| Err("does not say how it is".into())) {
            settled.unsettled.push(format!("instance {instance}: {why}"));
        }
    }
    std::thread::sleep(waits.pause);
    let keys = &stage.source.keys;
    for (instance, cache) in stage.instances.iter().enumerate() {
        for key in keys.all() {
            if let Some(bytes) = cache.peek(keys.name(key)) {
                settled.in_l1 += 1;
                if !settled.is_newest(stage, key, &bytes, &format!("L1 of instance {instance}")) {
                    settled.stale_l1 += 1;
                }
            }
        }
    }
    for key in keys.all() {
        let name = mode.name_in_redis(keys.name(key));
        let bytes = redis.command(&["GET", &name]).into_bytes();
        // Whatever a mode puts before a value, the value is what lies last.
        let payload = bytes.as_deref().map(|bytes| &bytes[bytes.len().saturating_sub(keys.size(key))..]);
        if payload.is_some_and(|payload| stage.source.version(key, payload) != Ok(stage.source.newest(key))) {
            settled.old_in_redis += 1;
        }
    }
    in_redis(stage, mode, redis, &mut settled);
    on_every_instance(stage, &mut settled);
    settled
}

async fn wait_until_well(cache: Arc<dyn Instance>, patience: Duration) -> Result<(), String> {
    let until = Instant::now() + patience;
    loop {
        let problem = match (cache.problem().await, cache.figures().pending) {
            (None, 0) => return Ok(()),
            (None, pending) => format!("{pending} changes are still to be made"),
            (Some(problem), _) => problem,
        };
        if Instant::now() > until {
            return Err(problem);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a new instance finds, which has nothing of its own.
fn in_redis(stage: &Arc<Stage>, mode: &dyn Mode, redis: &RedisServer, settled: &mut Settled) {
    let runtime = &stage.runtimes[0];
    let fresh = match on(runtime, mode.start(redis.url())) {
        Some(Ok(fresh)) => fresh,
        Some(Err(failure)) => return settled.unsettled.push(format!("no new instance starts: {}", failure.why)),
        None => return settled.unsettled.push("a new instance does not come to its start".into()),
    };
    for key in stage.source.keys.all() {
        let (cache, there) = (fresh.clone(), stage.clone());
        match on(runtime, async move { cache.get(there.source.keys.name(key)).await }) {
            Some(Ok(None)) => {}
            Some(Ok(Some(bytes))) => {
                settled.in_l2 += 1;
                if !settled.is_newest(stage, key, &bytes, "Redis") {
                    settled.stale_l2 += 1;
                }
            }
            Some(Err(failure)) => settled.unsettled.push(format!("{}: {}", stage.source.keys.name(key), failure.why)),
            None => settled.unsettled.push(format!("{}: no answer", stage.source.keys.name(key))),
        }
    }
    on(runtime, async move { fresh.close().await });
}

/// What everybody reads.
fn on_every_instance(stage: &Arc<Stage>, settled: &mut Settled) {
    for (instance, runtime) in stage.runtimes.iter().enumerate() {
        for key in stage.source.keys.all() {
            let there = stage.clone();
            let read = on(runtime, async move {
                let load = there.loader(instance, key, Duration::ZERO);
                there.instances[instance].read(&there.source.keys, key, load).await
            });
            match read {
                Some(Ok(bytes)) => {
                    if !settled.is_newest(stage, key, &bytes, &format!("a read on instance {instance}")) {
                        settled.stale_reads += 1;
                    }
                }
                Some(Err(failure)) => {
                    settled.unsettled.push(format!("{}: {}", stage.source.keys.name(key), failure.why))
                }
                None => settled.unsettled.push(format!("{}: no answer", stage.source.keys.name(key))),
            }
        }
    }
}

/// Runs `work` on `runtime` from a thread that has none; `None` if it hangs or panics.
pub(super) fn on<T: Send + 'static>(runtime: &Handle, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let patient = runtime.spawn(async { tokio::time::timeout(HUNG, work).await });
    futures::executor::block_on(patient).ok()?.ok()
}
