//! Summarises every regular file below a folder through the cache: first cold, then warm.
//!
//! `cargo run --release --example quickstart -- [DIR] [--json] [--redis URL]`
//!
//! Tasks and threads ask for all the files at the same time, over one engine: the tasks through the async handle, the
//! threads through the blocking one. Reading a file is the computation, and it is made once for each file however many
//! ask. With a Redis server a second cache with an L1 of its own then finds every result there. At the end a file is
//! changed, and seen as changed once it was invalidated. Whatever does not come out as it should is an error.

#[path = "quickstart/arguments.rs"]
mod arguments;
#[path = "quickstart/files.rs"]
mod files;
#[path = "quickstart/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arguments::{Arguments, Command};
use files::{Summary, Target, Tree, summarise};
use report::{Pass, counted};
use tercel::{BoxError, CacheManager, CacheStrategy, EntryOptions, blocking};
use tokio::runtime::Runtime;
use tokio::task::{JoinSet, spawn_blocking};

const TASKS: usize = 4;
const THREADS: usize = 4;
/// All readers take the files in the same order, blocks of this many, and shuffle each block for themselves: so they meet.
const BLOCK: usize = 16;
/// How long a server that was asked for may take to answer, and another instance to hear of a change.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().skip(1), std::env::var_os("REDIS_URL")) {
        Ok(Command::Run(arguments)) => arguments,
        Ok(Command::Help) => {
            print(&format!("{}\n", arguments::HELP));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => return refuse(&wrong),
    };
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = arguments.dir.as_deref().unwrap_or(own);
    if !dir.is_dir() {
        let what = if dir.exists() { "is not a folder" } else { "does not exist or cannot be reached" };
        return refuse(&format!("{} {what}", dir.display()));
    }
    match run(&arguments, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(wrong: &str) -> ExitCode {
    eprintln!("quickstart: {wrong}\n{}\n`--help` tells more", arguments::USAGE);
    ExitCode::from(2)
}

/// Prints to standard output; a reader that has gone away, such as `head`, is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn run(arguments: &Arguments, dir: &Path) -> Result<(), BoxError> {
    let left_out: &[&str] = if arguments.dir.is_none() { &["target", ".git"] } else { &[] };
    let found = AtomicU64::new(0);
    let tree = report::with_progress("files found", 0, &found, || {
        // Relaxed: a figure to look at.
        Tree::below(dir, left_out, |files| found.store(files as u64, Ordering::Relaxed))
    })
    .map_err(|error| format!("{}: {error}", dir.display()))?;
    let (links, special, folders) = (tree.links, tree.special, tree.unreadable);
    let runtime = Runtime::new()?;
    let job = Arc::new(Job::new(tree.files));

    // A name of its own for this run: nothing from an earlier one is found in Redis, and nothing is left there.
    let name = format!("quickstart-{}-{:08x}", std::process::id(), fastrand::u32(..));
    let redis = arguments.redis.as_deref();
    let cache = start(&job, redis, &name)?;
    let other = redis.map(|_| start(&job, redis, &name)).transpose()?;
    for cache in [Some(&cache), other.as_ref()].into_iter().flatten() {
        runtime.block_on(reachable(cache))?;
    }
    let outcome = passes(&job, &runtime, &cache, other.as_ref()).and_then(|passes| {
        let change = see_a_change(&runtime, &cache, other.as_ref())?;
        Ok((passes, change))
    });
    if redis.is_some() {
        let cache = cache.clone().into_blocking();
        cache.clear()?;
        // What was invalidated is freed before this returns.
        cache.close()?;
    }
    let (passes, change) = outcome?;

    for (path, error) in &folders {
        eprintln!("not read: {}: {error}", path.display());
    }
    let failures = job.failures();
    for (file, error) in &failures {
        eprintln!("not read: {}: {error}", job.files[*file].path.display());
    }
    let unreadable = failures.len() + folders.len();
    if arguments.json {
        print(&report::json(&passes, unreadable));
        return Ok(());
    }
    let mut text = format!("{}\n", dir.display());
    if !left_out.is_empty() {
        text += "(the crate's own folder, without `target` and `.git`)\n";
    }
    text += &job.told();
    if links > 0 {
        text += &format!("{}, not followed\n", counted(links as u64, "symbolic link"));
    }
    if special > 0 {
        text += &format!("{} (device, socket, pipe), left out\n", counted(special as u64, "special file"));
    }
    if unreadable > 0 {
        text += &format!("not read: {} files or folders, named on standard error\n", unreadable);
    }
    text +=
        &format!("\n{TASKS} tasks and {THREADS} threads, each asking for every file:\n\n{}\n", report::table(&passes));
    text += "Cold: every file was read exactly once; the other lookups waited for that (joined) or found it done.\n";
    text += &fits(&cache, &passes);
    text += &change;
    print(&text);
    Ok(())
}

/// A cache with room for every file; with a server, also a tier there and the word to other instances over it.
fn start(job: &Job, redis: Option<&str>, name: &str) -> tercel::Result<CacheManager> {
    let keys: usize = job.files.iter().map(|file| file.key.len()).sum();
    let builder = CacheManager::builder()
        .l1_capacity(2 * job.files.len() + 4096)
        .l1_weight(2 * (keys + 512 * job.files.len()) as u64 + (16 << 20))
        .defaults(EntryOptions::from(CacheStrategy::MediumTerm).hard_timeout(Duration::from_secs(600)));
    #[cfg(feature = "redis")]
    let builder = match redis {
        Some(url) => builder.redis(url).cluster_namespace(name).invalidation(tercel::InvalidationConfig::default()),
        None => builder,
    };
    #[cfg(not(feature = "redis"))]
    let _ = (redis, name);
    builder.build()
}

/// Waits for the server that was asked for. Without one this is at once.
async fn reachable(cache: &CacheManager) -> Result<(), BoxError> {
    match tokio::time::timeout(PATIENCE, cache.ready()).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(format!("the cache is not ready after {PATIENCE:?}:\n{}", cache.health_check().await).into()),
    }
}

/// What all readers share.
struct Job {
    files: Vec<Target>,
    /// How often each file was read.
    read: Vec<AtomicU32>,
    computed: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<BTreeMap<usize, String>>,
    /// The order of the files, before the blocks are shuffled.
    order: Vec<usize>,
    waiting: AtomicUsize,
    done: AtomicU64,
    totals: Mutex<Totals>,
}

/// The sum of what a reader got. Two readers that got the same have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    files: u64,
    sum: Summary,
}

impl Totals {
    fn add(&mut self, file: usize, summary: &Summary) {
        self.files += 1;
        self.sum.bytes += summary.bytes;
        self.sum.lines += summary.lines;
        self.sum.words += summary.words;
        // Which file has which digest counts too.
        self.sum.digest = self.sum.digest.wrapping_add(summary.digest.wrapping_mul(2 * file as u64 + 1));
    }
}

/// What one reader came to.
struct Reader {
    began: Instant,
    ended: Instant,
    nanos: Vec<u64>,
    totals: Totals,
}

impl Reader {
    fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, ended: now, nanos: Vec::new(), totals: Totals::default() }
    }

    fn take(&mut self, file: usize, began: Instant, answer: tercel::Result<Summary>) -> Result<(), BoxError> {
        self.ended = Instant::now();
        let elapsed = self.ended - began;
        match answer {
            Ok(summary) => {
                self.nanos.push(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
                self.totals.add(file, &summary);
                Ok(())
            }
            // The file could not be read. Whoever tried has noted it.
            Err(error) if error.is_compute() && !error.is_timeout() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

// SeqCst throughout: these count a few thousand times, the plainest order is the right one.
impl Job {
    fn new(files: Vec<Target>) -> Self {
        let mut order: Vec<usize> = (0..files.len()).collect();
        fastrand::shuffle(&mut order);
        Self {
            read: files.iter().map(|_| AtomicU32::new(0)).collect(),
            order,
            files,
            computed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failures: Mutex::default(),
            waiting: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            totals: Mutex::default(),
        }
    }

    /// The computation: reads a file.
    fn compute(&self, file: usize) -> std::io::Result<Summary> {
        match summarise(&self.files[file].path) {
            Ok(summary) => {
                self.read[file].fetch_add(1, Ordering::SeqCst);
                self.computed.fetch_add(1, Ordering::SeqCst);
                Ok(summary)
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.entry(file).or_insert_with(|| error.to_string());
                Err(error)
            }
        }
    }

    fn failures(&self) -> BTreeMap<usize, String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An order of a reader's own, through the files that are not known to be unreadable.
    fn own_order(&self) -> Vec<usize> {
        let failures = self.failures();
        let mut order: Vec<usize> = self.order.iter().copied().filter(|file| !failures.contains_key(file)).collect();
        order.chunks_mut(BLOCK).for_each(fastrand::shuffle);
        order
    }

    /// Tells now and then how far the reader is, so that readers of warm files do not contend for the count.
    fn progress(&self, reader: &Reader) {
        const STEP: usize = 64;
        if !reader.nanos.is_empty() && reader.nanos.len().is_multiple_of(STEP) {
            self.done.fetch_add(STEP as u64, Ordering::SeqCst);
        }
    }

    /// Whether every reader of the pass is there.
    fn all_here(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) >= TASKS + THREADS
    }

    fn told(&self) -> String {
        let Totals { files, sum } = *self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if files == 0 {
            return "no regular file\n".into();
        }
        let (lines, words) = (counted(sum.lines, "line"), counted(sum.words, "word"));
        format!("{}, {}, {lines}, {words}\n", counted(files, "file"), report::bytes(sum.bytes))
    }
}

/// A reader that is a task: the async handle, and the files read on tokio's threads for blocking work.
async fn task(cache: CacheManager, job: Arc<Job>) -> Result<Reader, BoxError> {
    let order = job.own_order();
    job.waiting.fetch_add(1, Ordering::SeqCst);
    while !job.all_here() {
        tokio::task::yield_now().await;
    }
    let mut reader = Reader::begin();
    for file in order {
        let began = Instant::now();
        let read = || async {
            let job = job.clone();
            tercel::ok(spawn_blocking(move || job.compute(file)).await??)
        };
        let answer = cache.get_or_compute_typed(&job.files[file].key, EntryOptions::new(), read).await;
        reader.take(file, began, answer)?;
        job.progress(&reader);
    }
    Ok(reader)
}

/// A reader that is a thread: the blocking handle, and the files read by the thread itself.
fn thread(cache: &blocking::CacheManager, job: &Job) -> Result<Reader, BoxError> {
    let order = job.own_order();
    job.waiting.fetch_add(1, Ordering::SeqCst);
    while !job.all_here() {
        thread::yield_now();
    }
    let mut reader = Reader::begin();
    for file in order {
        let began = Instant::now();
        let answer = cache.get_or_compute_typed(&job.files[file].key, EntryOptions::new(), || job.compute(file));
        reader.take(file, began, answer)?;
        job.progress(&reader);
    }
    Ok(reader)
}

/// The passes that there are to make, each checked.
fn passes(
    job: &Arc<Job>,
    runtime: &Runtime,
    cache: &CacheManager,
    other: Option<&CacheManager>,
) -> Result<Vec<Pass>, BoxError> {
    let cold = pass("cold", job, runtime, cache)?;
    for (file, read) in job.read.iter().enumerate() {
        let (read, path) = (read.load(Ordering::SeqCst), &job.files[file].path);
        let expected = u32::from(!job.failures().contains_key(&file));
        check(read == expected, || format!("{} was read {read} times instead of {expected}", path.display()))?;
    }
    let warm = pass("warm", job, runtime, cache)?;
    let displaced = cache.get_stats().evicted + cache.get_stats().rejected;
    check(warm.computations == 0 || displaced > 0, || {
        format!("{} files were read again when warm", warm.computations)
    })?;
    let mut passes = vec![cold, warm];
    if let Some(other) = other {
        let shared = pass("shared", job, runtime, other)?;
        check(shared.computations == 0, || {
            format!("{} files were not found in Redis: the server did not take or keep them", shared.computations)
        })?;
        passes.push(shared);
    }
    Ok(passes)
}

/// Has every reader ask for every file once.
fn pass(name: &'static str, job: &Arc<Job>, runtime: &Runtime, cache: &CacheManager) -> Result<Pass, BoxError> {
    let (stats, tiers) = (cache.get_stats(), cache.get_tier_stats().unwrap_or_default());
    let (computed, failed) = (job.computed.load(Ordering::SeqCst), job.failed.load(Ordering::SeqCst));
    job.waiting.store(0, Ordering::SeqCst);
    job.done.store(0, Ordering::SeqCst);
    let lookups = (job.files.len() * (TASKS + THREADS)) as u64;
    let readers = report::with_progress(name, lookups, &job.done, || readers(job, runtime, cache))?;

    let mut pass = Pass { name, readers: TASKS + THREADS, ..Pass::default() };
    let began = readers.iter().map(|reader| reader.began).min();
    let ended = readers.iter().map(|reader| reader.ended).max();
    pass.elapsed = began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began);
    let mut nanos: Vec<u64> = readers.iter().flat_map(|reader| reader.nanos.iter().copied()).collect();
    nanos.sort_unstable();
    (pass.p50, pass.p99) = (quantile(&nanos, 50), quantile(&nanos, 99));
    pass.lookups = nanos.len() as u64;
    pass.files = readers[0].totals.files;
    pass.computations = job.computed.load(Ordering::SeqCst) - computed;
    let failed = job.failed.load(Ordering::SeqCst) - failed;
    let now = cache.get_stats();
    for (tier, before) in cache.get_tier_stats().unwrap_or_default().iter().zip(&tiers) {
        pass.hits.push((tier.backend_name.clone(), tier.hits - before.hits));
    }
    let found: u64 = pass.hits.iter().map(|(_, hits)| hits).sum();
    pass.joined = pass.lookups.saturating_sub(found + pass.computations);

    // What the example counted and what the cache counted have to agree, and every reader must have got the same.
    let counted = now.computations - stats.computations;
    let ran = pass.computations + failed;
    check(counted == ran, || format!("{name}: {ran} closures ran, the cache counted {counted}"))?;
    if failed == 0 {
        let requests = now.total_requests - stats.total_requests;
        let asked = pass.lookups;
        check(requests == asked, || format!("{name}: {asked} lookups, the cache counted {requests}"))?;
        let totals = job.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let same = readers.iter().all(|reader| reader.totals == readers[0].totals);
        let as_before = totals.files != pass.files || *totals == readers[0].totals;
        check(same && as_before, || format!("{name}: two readers got different summaries"))?;
    }
    if let Some(reader) = readers.iter().max_by_key(|reader| reader.totals.files) {
        *job.totals.lock().unwrap_or_else(PoisonError::into_inner) = reader.totals;
    }
    Ok(pass)
}

/// Runs tasks and threads at the same time and waits for all of them.
fn readers(job: &Arc<Job>, runtime: &Runtime, cache: &CacheManager) -> Result<Vec<Reader>, BoxError> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn_on(task(cache.clone(), job.clone()), runtime.handle());
    }
    let blocking = cache.clone().into_blocking();
    let mut readers = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| thread(&blocking, job))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().map_err(|_| "a reader panicked")?;
        threads.into_iter().map(join).collect::<Result<Vec<_>, BoxError>>()
    })?;
    for reader in runtime.block_on(tasks.join_all()) {
        readers.push(reader?);
    }
    Ok(readers)
}

fn quantile(sorted: &[u64], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    Duration::from_nanos(sorted.get(at).copied().unwrap_or(0))
}

fn check(holds: bool, or: impl FnOnce() -> String) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(or().into()) }
}

/// Whether the warm pass came from L1 alone, in words.
fn fits(cache: &CacheManager, passes: &[Pass]) -> String {
    let Some(warm) = passes.iter().find(|pass| pass.name == "warm") else { return String::new() };
    if warm.hits_in("l1") == warm.lookups {
        return "Warm: every lookup was a hit in L1, and no file was read.\n".into();
    }
    let stats = cache.get_stats();
    format!("Warm: L1 could not hold everything: {} evicted, {} too heavy.\n", stats.evicted, stats.rejected)
}

/// A folder of this run's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let name = format!("tercel-quickstart-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Changes a file: it is seen as it was until it is invalidated, and as it is from then on; and what happened, in words.
fn see_a_change(runtime: &Runtime, cache: &CacheManager, other: Option<&CacheManager>) -> Result<String, BoxError> {
    let scratch = Scratch::new()?;
    let path = scratch.0.join("changing.txt");
    let key = "changing file";
    let lines = |cache: &blocking::CacheManager| {
        let summary = cache.get_or_compute_typed(key, EntryOptions::new(), || summarise(&path))?;
        Ok::<u64, tercel::Error>(summary.lines)
    };
    let (first, second) = (cache.clone().into_blocking(), other.map(|other| other.clone().into_blocking()));
    let both = || [Some(&first), second.as_ref()].into_iter().flatten();

    std::fs::write(&path, "one\n")?;
    for cache in both() {
        let lines = lines(cache)?;
        check(lines == 1, || format!("a file of one line was summarised as {lines}"))?;
    }
    std::fs::write(&path, "one\ntwo\n")?;
    for cache in both() {
        let lines = lines(cache)?;
        check(lines == 1, || "a cached summary changed before it was invalidated".into())?;
    }
    first.invalidate(key)?;
    let seen = lines(&first)?;
    check(seen == 2, || format!("after `invalidate` the changed file has {seen} lines instead of 2"))?;
    let task = async { cache.get_typed::<Summary>(key).await };
    let seen = runtime.block_on(task)?.map(|summary| summary.lines);
    check(seen == Some(2), || format!("the async handle sees {seen:?} lines instead of 2"))?;
    let mut text = "A file changed between two lookups: seen as it is after `invalidate`.\n".to_owned();
    if let Some(second) = &second {
        let began = Instant::now();
        while lines(second)? != 2 {
            check(began.elapsed() < PATIENCE, || format!("the second cache serves the old value after {PATIENCE:?}"))?;
            thread::sleep(Duration::from_millis(1));
        }
        text += "The second cache was told, and sees it too.\n";
    }
    Ok(text)
}
