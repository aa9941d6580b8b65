//! Resident bytes per entry. Each contender fills up in a process of its own, so that what one leaves behind is no other's.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use benches::local::{
    self, BARE, BLOCKING, FOYER, MOKA, PAPAYA, PREDECESSOR, PREDECESSOR_QUICK_CACHE, QUICK_CACHE, QUICK_CACHE_TTL,
};
use benches::workload::{self, Requests};

use crate::allocations;
use crate::report::{Report, Row, Target, Unmeasured};

const CONTENDERS: [&str; 9] =
    [BARE, BLOCKING, QUICK_CACHE, QUICK_CACHE_TTL, MOKA, FOYER, PAPAYA, PREDECESSOR_QUICK_CACHE, PREDECESSOR];
/// The targets are about the first.
const ENTRIES: [usize; 3] = [400_000, 100_000, 1_000_000];

/// What a process that holds entries tells, per entry.
#[derive(Clone, Copy)]
struct Held {
    resident: f64,
    heap: f64,
}

pub(crate) fn measure() -> Result<Report, Unmeasured> {
    let mut report = Report {
        scenario: "memory",
        about: "bytes per entry of a 16-byte key and a 100-byte value (116 bytes of payload) after one read of each, room for a \
                tenth more, each contender in a process of its own: what became resident (RSS) and what the heap was asked for"
            .into(),
        packages: &["moka", "quick_cache", "foyer-memory", "papaya", "multi-tier-cache"],
        totals: None,
        rows: Vec::new(),
        targets: Vec::new(),
    };
    for entries in ENTRIES {
        let held = CONTENDERS.iter().map(|name| held_by(name, entries)).collect::<Result<Vec<_>, _>>()?;
        let of = |name| held[CONTENDERS.iter().position(|other| *other == name).expect("a contender")].resident;
        if entries == ENTRIES[0] {
            report.targets.extend([
                Target::at_most("resident bytes per entry: v quick_cache", of(BARE) / of(QUICK_CACHE), 0.9),
                Target::at_most("resident bytes per entry: v moka", of(BARE) / of(MOKA), 0.4),
            ]);
        }
        report.rows.extend(CONTENDERS.iter().zip(&held).map(|(name, held)| Row {
            name: format!("{entries} entries: {name}"),
            figures: vec![
                ("resident_bytes", held.resident),
                ("heap_bytes", held.heap),
                ("of_quick_cache", held.resident / of(QUICK_CACHE)),
                ("of_moka", held.resident / of(MOKA)),
            ],
        }));
    }
    Ok(report)
}

/// Asks a process that runs [`hold`].
fn held_by(name: &str, entries: usize) -> Result<Held, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).args(["hold", name, &entries.to_string()]).output();
    let output = output.map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [resident, heap] if output.status.success() => Ok(Held { resident, heap }),
        _ => Err(format!("memory of `{name}`: {told}{}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Fills the rival of that name, reads each entry once, and tells what this process has for it, per entry.
pub(crate) fn hold(name: &str, entries: usize) -> ExitCode {
    match try_hold(name, entries) {
        Ok(held) => {
            println!("{} {}", held.resident, held.heap);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn try_hold(name: &str, entries: usize) -> Result<Held, String> {
    let (requests, value) = (Requests::new(0..entries as u32), workload::value(100));
    let keys = requests.keys();
    allocations::count_bytes();
    let (resident, heap) = (resident()?, allocations::bytes());
    let rival = local::rival(name, entries + entries / 10).ok_or("no rival of that name")?;
    rival.write(&keys, &value);
    rival.settle();
    let found = rival.read(&keys) / value.len();
    rival.settle();
    // What is freed in the background is freed by then; nothing depends on whether it is.
    std::thread::sleep(Duration::from_millis(300));
    if found * 100 < entries * 99 {
        return Err(format!("{found} of {entries} entries are resident"));
    }
    let per_entry = |bytes: f64| bytes / found as f64;
    Ok(Held {
        resident: per_entry(self::resident()? - resident),
        heap: per_entry((allocations::bytes() - heap) as f64),
    })
}

/// The bytes of this process that lie in memory.
fn resident() -> Result<f64, String> {
    let file = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes: Option<f64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.map(|kilobytes| 1024.0 * kilobytes).ok_or_else(|| format!("{file} has no line `Rss:`"))
}
