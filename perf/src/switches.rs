//! How often the machine took the processor from a thread.

use std::fs;

/// How often the calling thread had to make room for another one since it began; always 0 where the system does not tell.
pub(crate) fn involuntary() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
