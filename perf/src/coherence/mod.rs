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
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use benches::redis_server::RedisServer;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::report::{Report, Unmeasured};
use actors::Stage;
use checks::{Findings, Grants, Leftovers};
use faults::Lab;
use history::History;
use instance::{Figures, Instance, Mode};
pub(crate) use options::Options;
use options::Which;
use process::{Held, Runtime};
use settle::{Settled, Waits};
use source::Source;
use wire::Wire;

/// To notice that a connection broke, to connect and to catch up.
const LINK: Duration = Duration::from_millis(700);
/// On top of every budget.
const SLACK: Duration = Duration::from_millis(50);

/// The longest that instances may take to be well again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Threads and connections may take so long to end.
const LEAVING: Duration = Duration::from_secs(5);
/// An actor that does not end for so long after the run hangs: some call of its does not come back.
const HUNG: Duration = Duration::from_secs(30);

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
    /// By key, tag or pattern, or of everything.
    invalidations: usize,
    writes: usize,
    /// Of both.
    acknowledged: usize,
}

/// Runs the checker as `options` say.
pub(crate) fn measure(options: &Options) -> Result<Report, Unmeasured> {
    let mode: Box<dyn Mode> = match options.mode {
        Which::Full => Box::new(full::Full),
        Which::Plain => Box::new(plain::Plain),
    };
    let run = run(options, mode, true)?;
    Ok(report::report(options, &run))
}

fn run(options: &Options, mode: Box<dyn Mode>, says: bool) -> Result<Run, Unmeasured> {
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
    let laying =
        options.faults.iter().any(|kind| kind.needs_wires()).then(|| Runtime::start(options.instances)).transpose()?;
    let lay = |_: usize| laying.as_ref().map(|runtime| Wire::lay(runtime, redis.port())).transpose();
    let wires: Vec<_> =
        (0..options.instances).filter_map(|instance| lay(instance).transpose()).collect::<Result<_, _>>()?;
    let lab = Lab { redis, wires: Arc::new(wires), channel: mode.channel() };
    let deaths = options.faults.contains(&faults::Kind::KillHolder);
    let stage = stage(&*mode, &lab, &runtimes, seed, deaths)?;
    let lab = perform(&stage, &*mode, lab, options, says)?;
    if says {
        eprintln!("coherence: the dust settles");
    }
    let pause = LINK + options.delta + Duration::from_secs(1);
    let settled = settle::look(&stage, &*mode, &lab.redis, Waits { patience: PATIENCE, pause });
    let (figures, closed) = leave(&stage);
    let events = stage.history.take();
    let keys = source::Keys::new();
    // The last of the instances, and of what the checker itself held, go here.
    drop((stage, lab.wires));
    drop((runtimes, laying));
    let (threads, descriptors) = held.left(LEAVING);
    let (reads, cancelled, strikes) = (events.reads.len(), events.cancelled, strikes(&events.strikes));
    let changes = changes(&events.changes);
    let grants = Grants { delta: options.delta, link: LINK, load: actors::SLOWEST_LOAD, slack: SLACK };
    let mut findings = checks::check(&keys, events, &mode.promises(), &grants);
    let flights = figures.iter().map(|figures| figures.flights).sum();
    let retries = figures.iter().map(|figures| figures.pending).sum();
    let open = options.instances - closed;
    Leftovers { threads, descriptors, flights, retries, open }.check(&mut findings.verdict);
    let panics = process::panics() - panics;
    Ok(Run { mode, seed, findings, settled, figures, reads, cancelled, changes, strikes, panics })
}

/// Where an instance finds the server.
fn url(lab: &Lab, instance: usize) -> String {
    lab.wires.get(instance).map_or_else(|| lab.redis.url(), Wire::url)
}

fn stage(mode: &dyn Mode, lab: &Lab, runtimes: &[Runtime], seed: u64, deaths: bool) -> Result<Arc<Stage>, String> {
    let runtimes: Vec<_> = runtimes.iter().map(Runtime::handle).collect();
    let start = |(instance, runtime)| match settle::on(runtime, mode.start(url(lab, instance))) {
        Some(started) => started.map_err(|failure| failure.why),
        None => Err(format!("instance {instance} does not start")),
    };
    let instances = runtimes.iter().enumerate().map(start).collect::<Result<Vec<_>, _>>()?;
    let history = Arc::new(History::new(instances.len()));
    let stop = Arc::new(AtomicBool::new(false));
    let (source, wires) = (Source::new(), lab.wires.clone());
    Ok(Arc::new(Stage { source, history, instances, runtimes, stop, seed, wires, deaths }))
}

/// Lets everybody work for the time of the run, and gives the server back, whole.
fn perform(stage: &Arc<Stage>, mode: &dyn Mode, lab: Lab, options: &Options, says: bool) -> Result<Lab, String> {
    let watched = Arc::new(AtomicBool::new(false));
    let canary = |(instance, runtime): (usize, &Handle)| {
        runtime.spawn(canary::watch(instance, url(&lab, instance), stage.history.clone(), watched.clone()))
    };
    let canaries: Vec<_> = stage.runtimes.iter().enumerate().map(canary).collect();
    let watch = watch::watch(stage.history.clone(), stage.instances.clone(), watched.clone(), says);
    let (history, stop) = (stage.history.clone(), stage.stop.clone());
    let faults = faults::make(options.faults.clone(), stage.seed, lab, history, stop);
    let actors = actors::start(stage, mode, options);
    thread::sleep(options.time);
    // SeqCst: a flag; what comes after it is waited for.
    stage.stop.store(true, Ordering::SeqCst);
    let lab = faults.join().map_err(|_| "a fault could not be made".to_owned())?;
    let hung = end(&actors, HUNG);
    watched.store(true, Ordering::SeqCst);
    watch.join().map_err(|_| "the watching thread panicked".to_owned())?;
    end(&canaries, HUNG);
    stage.history.note(|events| events.hung = hung);
    Ok(lab)
}

/// Waits for all of `tasks` as long as `patience` lasts, and ends the others; how many those were.
fn end(tasks: &[JoinHandle<()>], patience: Duration) -> usize {
    let until = Instant::now() + patience;
    while !tasks.iter().all(JoinHandle::is_finished) && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    let hung = tasks.iter().filter(|task| !task.is_finished());
    hung.inspect(|task| task.abort()).count()
}

/// Closes all instances; what each said of itself just before, and how many were closed.
fn leave(stage: &Arc<Stage>) -> (Vec<Figures>, usize) {
    let figures = stage.instances.iter().map(|cache| cache.figures()).collect();
    let close = |(instance, cache): (usize, &Arc<dyn Instance>)| {
        let cache = cache.clone();
        settle::on(&stage.runtimes[instance], async move { cache.close().await })
    };
    (figures, stage.instances.iter().enumerate().filter_map(close).count())
}

/// How often each kind of fault struck.
fn strikes(strikes: &[history::Strike]) -> Vec<(&'static str, usize)> {
    let of = |kind: faults::Kind| (kind.name(), strikes.iter().filter(|strike| strike.fault == kind.name()).count());
    faults::Kind::ALL.into_iter().map(of).filter(|(_, count)| *count > 0).collect()
}

fn changes(changes: &[history::Change]) -> Changes {
    let calls = || changes.chunk_by(|one, next| (one.instance, one.begin) == (next.instance, next.begin));
    let acknowledged = calls().filter(|call| call[0].done == history::Done::Acknowledged).count();
    let writes = calls().filter(|call| call[0].what == history::What::Set).count();
    Changes { invalidations: calls().count() - writes, writes, acknowledged }
}
