//! Whether many instances on one Redis keep their word: real servers, real faults, a history of everything that was seen,
//! and checks of it.
//!
//! The source of truth is a table in memory. Writers commit to it and invalidate; loaders look at it and return what they
//! saw some time later; readers read through their instance's cache. A read that began after an invalidation had returned
//! must not return what was there before; [`checks`] says from when on, and what else has to hold.

mod actors;
mod canary;
mod checks;
mod faults;
mod full;
mod history;
mod instance;
mod options;
mod plain;
mod process;
mod report;
mod settle;
mod source;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use benches::redis_server::RedisServer;
use tokio::task::JoinHandle;

use crate::report::{Report, Unmeasured};
use actors::Stage;
use checks::{Findings, Grants, Invariant};
use history::History;
use instance::{Figures, Instance, Mode};
pub(crate) use options::Options;
use options::Which;
use process::{Held, Runtime};
use settle::Settled;
use source::Source;

/// To notice that a connection broke, to connect and to catch up.
const LINK: Duration = Duration::from_millis(700);
/// On top of every budget.
const SLACK: Duration = Duration::from_millis(50);

/// A run that is over.
struct Run {
    mode: Box<dyn Mode>,
    seed: u64,
    findings: Findings,
    settled: Settled,
    figures: Vec<Figures>,
    reads: usize,
    cancelled: u64,
    changes: Changes,
    strikes: Vec<(&'static str, usize)>,
    panics: u64,
}

/// How many calls changed something.
struct Changes {
    acknowledged: usize,
    all: usize,
}

/// Runs the checker as `options` say.
pub(crate) fn measure(options: &Options) -> Result<Report, Unmeasured> {
    let run = run(options, true)?;
    Ok(report::report(options, &run))
}

fn run(options: &Options, says: bool) -> Result<Run, Unmeasured> {
    let mode: Box<dyn Mode> = match options.mode {
        Which::Full => Box::new(full::Full),
        Which::Plain => Box::new(plain::Plain),
    };
    let redis =
        RedisServer::start().ok_or_else(|| Unmeasured::Skipped("coherence: redis-server is not installed".into()))?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 48));
    if says {
        eprintln!("coherence: {} mode, faults {}, seed {seed}", mode.name(), options.fault_names());
    }
    let panics = process::panics();
    // The first runtime of a process takes descriptors that it keeps for all others.
    drop(Runtime::start(0)?);
    let held = Held::now();
    let runtimes: Vec<_> = (0..options.instances).map(Runtime::start).collect::<Result<_, _>>()?;
    let stage = stage(&*mode, &redis, &runtimes, seed)?;
    let redis = perform(&stage, &*mode, redis, options, says)?;
    if says {
        eprintln!("coherence: the dust settles");
    }
    let settled = settle::look(&stage, &*mode, &redis, LINK + options.delta + Duration::from_secs(1));
    let figures = leave(&stage);
    let events = stage.history.take();
    let keys = source::Keys::new();
    // The last of the instances, and of what the checker itself held, go here.
    drop(stage);
    drop(runtimes);
    let (threads, descriptors) = held.left();
    let (reads, cancelled, strikes) = (events.reads.len(), events.cancelled, strikes(&events.strikes));
    let changes = changes(&events.changes);
    let grants = Grants { delta: options.delta, link: LINK, load: actors::SLOWEST_LOAD, slack: SLACK };
    let mut findings = checks::check(&keys, events, &mode.promises(), &grants);
    let flights: usize = figures.iter().map(|figures| figures.flights + figures.pending).sum();
    let left = [(threads, "threads"), (descriptors, "descriptors"), (flights, "flights or retries")];
    for (count, what) in left.into_iter().filter(|(count, _)| *count > 0) {
        findings.verdict.broken(Invariant::I9, || format!("{count} {what} are left"));
    }
    let panics = process::panics() - panics;
    Ok(Run { mode, seed, findings, settled, figures, reads, cancelled, changes, strikes, panics })
}

fn stage(mode: &dyn Mode, redis: &RedisServer, runtimes: &[Runtime], seed: u64) -> Result<Arc<Stage>, String> {
    let runtimes: Vec<_> = runtimes.iter().map(Runtime::handle).collect();
    let start = |runtime| settle::on(runtime, mode.start(redis.url())).map_err(|failure| failure.why);
    let instances = runtimes.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let history = Arc::new(History::new(instances.len()));
    let stop = Arc::new(AtomicBool::new(false));
    Ok(Arc::new(Stage { source: Source::new(), history, instances, runtimes, stop, seed }))
}

/// Lets everybody work for the time of the run, and gives the server back, whole.
fn perform(
    stage: &Arc<Stage>,
    mode: &dyn Mode,
    redis: RedisServer,
    options: &Options,
    says: bool,
) -> Result<RedisServer, String> {
    let url = redis.url();
    let watching = Arc::new(AtomicBool::new(false));
    let canaries: Vec<JoinHandle<()>> = stage
        .runtimes
        .iter()
        .enumerate()
        .map(|(instance, runtime)| runtime.spawn(canary::watch(instance, url.clone(), stage.history.clone())))
        .collect();
    let watch = watch::watch(stage.history.clone(), stage.instances.clone(), watching.clone(), says);
    let (history, stop) = (stage.history.clone(), stage.stop.clone());
    let faults = faults::make(options.faults.clone(), stage.seed, mode.channel(), redis, history, stop);
    let actors = actors::start(stage, mode, options);
    thread::sleep(options.time);
    // SeqCst: a flag; what comes after it is waited for.
    stage.stop.store(true, Ordering::SeqCst);
    let redis = faults.join().map_err(|_| "a fault could not be made".to_owned())?;
    for actor in actors {
        // Its panics are counted where they happen.
        let _ = futures::executor::block_on(actor);
    }
    watching.store(true, Ordering::SeqCst);
    watch.join().map_err(|_| "the watching thread panicked".to_owned())?;
    canaries.iter().for_each(JoinHandle::abort);
    Ok(redis)
}

/// Closes all instances; what each said of itself just before.
fn leave(stage: &Arc<Stage>) -> Vec<Figures> {
    let close = |(instance, cache): (usize, &Arc<dyn Instance>)| {
        let figures = cache.figures();
        let cache = cache.clone();
        settle::on(&stage.runtimes[instance], async move { cache.close().await });
        figures
    };
    stage.instances.iter().enumerate().map(close).collect()
}

/// How often each kind of fault struck.
fn strikes(strikes: &[history::Strike]) -> Vec<(&'static str, usize)> {
    let of = |kind: faults::Kind| (kind.name(), strikes.iter().filter(|strike| strike.fault == kind.name()).count());
    faults::Kind::ALL.into_iter().map(of).filter(|(_, count)| *count > 0).collect()
}

fn changes(changes: &[history::Change]) -> Changes {
    let calls = || changes.chunk_by(|one, next| (one.instance, one.begin) == (next.instance, next.begin));
    let acknowledged = calls().filter(|call| call[0].done == history::Done::Acknowledged).count();
    Changes { acknowledged, all: calls().count() }
}
