//! Tables, figures in words, and progress.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What one pass over the files came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pass {
    pub(crate) name: &'static str,
    pub(crate) readers: usize,
    pub(crate) files: u64,
    pub(crate) lookups: u64,
    pub(crate) computations: u64,
    /// Lookups that waited for a computation that somebody else had begun.
    pub(crate) joined: u64,
    /// Lookups that found the value in a tier: the tier's name and how many.
    pub(crate) hits: Vec<(String, u64)>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) elapsed: Duration,
}

impl Pass {
    pub(crate) fn hits_in(&self, tier: &str) -> u64 {
        self.hits.iter().find(|(name, _)| name == tier).map_or(0, |(_, hits)| *hits)
    }
}

/// The passes as an aligned table. The speed-up is that of the whole pass against the first one.
pub(crate) fn table(passes: &[Pass]) -> String {
    let tiers: Vec<&str> =
        passes.iter().max_by_key(|pass| pass.hits.len()).map_or(Vec::new(), |pass| names(&pass.hits));
    let heads = ["pass", "files", "lookups", "computations", "joined"].map(String::from);
    let mut head = heads.to_vec();
    head.extend(tiers.iter().map(|tier| format!("{tier} hits")));
    head.extend(["p50", "p99", "elapsed", "speed-up"].map(String::from));
    let mut rows = vec![head];
    for pass in passes {
        let mut row = vec![pass.name.to_owned()];
        row.extend([pass.files, pass.lookups, pass.computations, pass.joined].map(grouped));
        row.extend(tiers.iter().map(|tier| grouped(pass.hits_in(tier))));
        row.extend([pass.p50, pass.p99, pass.elapsed].map(duration));
        row.push(ratio(passes[0].elapsed, pass.elapsed));
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let _ = write!(text, "{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

fn names(hits: &[(String, u64)]) -> Vec<&str> {
    hits.iter().map(|(name, _)| name.as_str()).collect()
}

/// The passes as one line of JSON. Every text in it is a plain name.
pub(crate) fn json(passes: &[Pass], unreadable: usize) -> String {
    let passes: Vec<String> = passes.iter().map(json_pass).collect();
    format!("{{\"passes\":[{}],\"unreadable\":{unreadable}}}\n", passes.join(","))
}

fn json_pass(pass: &Pass) -> String {
    let hits: Vec<String> = pass.hits.iter().map(|(tier, hits)| format!("\"{tier}\":{hits}")).collect();
    format!(
        "{{\"pass\":\"{}\",\"files\":{},\"readers\":{},\"lookups\":{},\"computations\":{},\"joined\":{},\
         \"hits\":{{{}}},\"p50_ns\":{},\"p99_ns\":{},\"elapsed_ns\":{}}}",
        pass.name,
        pass.files,
        pass.readers,
        pass.lookups,
        pass.computations,
        pass.joined,
        hits.join(","),
        pass.p50.as_nanos(),
        pass.p99.as_nanos(),
        pass.elapsed.as_nanos()
    )
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2,000 files`.
pub(crate) fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// Three digits and a unit.
pub(crate) fn duration(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => return format!("{n} ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

pub(crate) fn bytes(n: u64) -> String {
    match n {
        n if n < 1 << 10 => counted(n, "byte"),
        n if n < 1 << 20 => format!("{:.1} KiB", n as f64 / 1024.0),
        n if n < 1 << 30 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        n => format!("{:.1} GiB", n as f64 / f64::from(1 << 30)),
    }
}

fn ratio(first: Duration, this: Duration) -> String {
    if this.is_zero() || first.is_zero() {
        return "–".into();
    }
    format!("{:.1}×", first.as_secs_f64() / this.as_secs_f64())
}

/// Runs `work` and shows on the terminal how far `done` has got, if standard error is one.
pub(crate) fn with_progress<R>(what: &str, total: u64, done: &AtomicU64, work: impl FnOnce() -> R) -> R {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (_stop, stopped) = mpsc::channel::<()>();
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(100)) {
                // Relaxed: a figure to look at.
                let done = done.load(Ordering::Relaxed);
                let of = if total == 0 { String::new() } else { format!(" of {}", grouped(total)) };
                eprint!("\r\x1b[K{what}: {}{of}", grouped(done));
                let _ = std::io::stderr().flush();
            }
            eprint!("\r\x1b[K");
        });
        work()
    })
}
