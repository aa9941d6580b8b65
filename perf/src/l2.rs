//! Hits in Redis from a thread that drives no runtime: one after the other, and for many callers at once.

use std::time::Instant;

use benches::redis_server::RedisServer;
use benches::remote::{self, BARE, BYPASS, PROMOTE, Remote};
use benches::workload;

use crate::machine::first_line;
use crate::report::{Report, Row, Target, Unmeasured};
use crate::rounds::{interleaved, quantile};

/// Few: a go is over before the machine's load changes.
const READS: usize = 16;
/// Callers at once: tasks that take turns on one thread.
const CALLERS: [(usize, &str); 2] = [(64, "k_per_s_64"), (256, "k_per_s_256")];
/// What all of them read together in a go.
const READS_TOGETHER: usize = 1 << 13;

pub(crate) fn measure(rounds: Option<usize>) -> Result<Report, Unmeasured> {
    let rounds = rounds.unwrap_or(1000);
    let server = RedisServer::start().ok_or_else(|| Unmeasured::Skipped("l2: redis-server is not installed".into()))?;
    let (keys, value) = (workload::keys(1024), workload::value(100));
    let remotes = remote::remotes(&server);
    for remote in &remotes {
        keys.iter().for_each(|key| remote.write(key, &value));
    }
    let mut all = vec![Vec::new(); remotes.len()];
    let of = |name: &str| remotes.iter().position(|remote| remote.name() == name).expect("a rival of that name");
    // A sample is the median of one go.
    let samples = interleaved(rounds, &remotes, |remote, _| {
        let mut times = Vec::with_capacity(READS);
        for key in keys.iter().cycle().take(READS) {
            let start = Instant::now();
            let read = remote.read(key);
            times.push(start.elapsed().as_nanos() as f64 / 1000.0);
            assert_eq!(read, value.len(), "{}: every read is a hit", remote.name());
        }
        all[of(remote.name())].extend_from_slice(&times);
        quantile(times, 0.5)
    });
    let rates = CALLERS.map(|(callers, _)| {
        interleaved(rounds.div_ceil(50), &remotes, |remote, _| together(&**remote, &keys, callers))
    });
    let bare = &samples[of(BARE)];
    let row = |which: usize| Row {
        name: remotes[which].name().to_owned(),
        figures: [
            ("p20_us", quantile(all[which].clone(), 0.2)),
            ("p50_us", quantile(all[which].clone(), 0.5)),
            ("p99_us", quantile(all[which].clone(), 0.99)),
            ("of_bare", samples[which].ratio_to(bare)),
        ]
        .into_iter()
        .chain(CALLERS.iter().zip(&rates).map(|((_, name), rates)| (*name, 1e6 / rates[which].quantile(0.5))))
        .collect(),
    };
    let target = |name: &str| Target::at_most(format!("{name} / {BARE}, p50"), samples[of(name)].ratio_to(bare), 1.3);
    let server_version = first_line("redis-server", &["--version"]).unwrap_or_default();
    let server_version = server_version.split(' ').find_map(|word| word.strip_prefix("v=")).unwrap_or("?").to_owned();
    Ok(Report {
        scenario: "l2",
        about: format!(
            "hits in redis-server {server_version} from a foreign thread, 100-byte values; {rounds} interleaved rounds of \
             {READS} reads by one caller, fewer of {READS_TOGETHER} by several"
        ),
        packages: &["redis", "multi-tier-cache"],
        totals: None,
        rows: (0..remotes.len()).map(row).collect(),
        targets: vec![target(BYPASS), target(PROMOTE)],
    })
}

/// Nanoseconds per read if so many callers read at once.
fn together(remote: &dyn Remote, keys: &[String], callers: usize) -> f64 {
    let start = Instant::now();
    remote::together(callers, async |caller| {
        for key in keys.iter().cycle().skip(caller).step_by(callers).take(READS_TOGETHER / callers) {
            assert!(remote.reading(key).await > 0, "{}: every read is a hit", remote.name());
        }
    });
    start.elapsed().as_nanos() as f64 / READS_TOGETHER as f64
}
