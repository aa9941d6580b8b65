//! How long, and how often, the machine kept a thread from running: what is nobody's doing.

use std::fs;
use std::time::{Duration, Instant};

/// How often the calling thread had to make room for another one since it began; always 0 where the system does not tell.
/// A thread that yields while it waits for a lock counts too, if another one is there to run.
pub(crate) fn interruptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// How long the calling thread has been ready and had no processor since it began; nothing where the system does not tell.
fn ready() -> Duration {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = schedule.split_whitespace().nth(1).and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// Times single operations of one thread, less what the thread waited for a processor.
pub(crate) struct Stopwatch {
    waited: Duration,
    since: usize,
}

impl Stopwatch {
    /// An operation that is quicker was not interrupted for long: asking the system takes as much.
    const QUICK: Duration = Duration::from_micros(20);
    /// After so many operations the system is asked anyhow, so that small waits do not add up.
    const OFTEN: usize = 256;

    pub(crate) fn new() -> Self {
        Self { waited: ready(), since: 0 }
    }

    /// The time that `work` takes.
    pub(crate) fn time(&mut self, work: impl FnOnce()) -> Duration {
        let start = Instant::now();
        work();
        let time = start.elapsed();
        self.since += 1;
        if time < Self::QUICK && self.since < Self::OFTEN {
            return time;
        }
        self.since = 0;
        let waited = ready();
        let mine = waited - std::mem::replace(&mut self.waited, waited);
        if time < Self::QUICK { time } else { time.saturating_sub(mine) }
    }
}
