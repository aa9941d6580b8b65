//! Instructions per hit, which do not drift with the machine's load.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use benches::local::{self, BARE, BORROWED, READERS, Rival};
use benches::workload::{self, Requests};
use serde_json::Value;

use crate::machine;
use crate::report::{Report, Row, Target, Unmeasured};

const HITS: usize = 100_000;
/// How much more than what is recorded a hit of ours may take.
const MARGIN: f64 = 1.03;

/// Counts for every rival; with a record, for ours alone, held against it.
pub(crate) fn measure(recorded: Option<&Recorded>) -> Result<Report, Unmeasured> {
    if let Some(other) = recorded.and_then(Recorded::other_compiler) {
        let why = format!("instructions: recorded with {other}, built with {}", machine::RUSTC);
        return Err(Unmeasured::Skipped(why));
    }
    let mut report = Report {
        scenario: "instructions",
        about: "instructions per hit of one key, the read loop included; counted by valgrind".into(),
        packages: &["multi-tier-cache", "moka", "quick_cache", "foyer-memory", "papaya"],
        totals: None,
        rows: Vec::new(),
        targets: Vec::new(),
    };
    for name in READERS {
        let bound = match recorded {
            // What rivals need is no business of a check.
            Some(_) if local::PEERS.contains(&name) => continue,
            Some(recorded) => Some(recorded.of(name).ok_or_else(|| format!("the record has no `{name}`"))?),
            None => None,
        };
        let per_hit = count(name)? as f64 / HITS as f64;
        let mut figures = vec![("instructions", per_hit)];
        if let Some(bound) = bound {
            figures.push(("recorded", bound));
            report.targets.push(Target::at_most(format!("{name} / recorded"), per_hit / bound, MARGIN));
        }
        report.rows.push(Row { name: name.to_owned(), figures });
        match name {
            // A check against a record asks for nothing else.
            _ if recorded.is_some() => {}
            BORROWED => report.targets.push(Target::at_most("instructions per borrowed hit", per_hit, 150.0)),
            BARE => report.targets.push(Target::at_most("instructions per owned hit", per_hit, 180.0)),
            _ => {}
        }
    }
    Ok(report)
}

/// A report of this scenario that was kept.
pub(crate) struct Recorded(Value);

impl Recorded {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let tell = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| tell(&error))?;
        serde_json::from_str(&text).map(Self).map_err(|error| tell(&error))
    }

    /// The compiler of the record, if it is not the one that built this program: the counts of two are not comparable.
    fn other_compiler(&self) -> Option<&str> {
        self.0["machine"]["rustc"].as_str().filter(|recorded| *recorded != machine::RUSTC)
    }

    fn of(&self, name: &str) -> Option<f64> {
        let row = self.0["rows"].as_array()?.iter().find(|row| row["name"] == name)?;
        row["instructions"].as_f64()
    }
}

/// The instructions of [`counted_reads`] in a process of its own.
fn count(rival: &str) -> Result<u64, Unmeasured> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_reads*"])
        .arg(program)
        .args(["spin", rival, &HITS.to_string()])
        .output()
        .map_err(|error| Unmeasured::Skipped(format!("instructions: valgrind: {error}")))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let counted =
        told.lines().find_map(|line| line.split_once("Collected : ")).and_then(|(_, n)| n.trim().parse().ok());
    match counted {
        Some(counted) if output.status.success() && counted > 0 => Ok(counted),
        _ => Err(format!("valgrind counts nothing for `{rival}`: {told}").into()),
    }
}

/// Reads one key so many times through the rival of that name.
pub(crate) fn spin(name: &str, hits: usize) -> ExitCode {
    let Some(rival) = local::rival(name, 1024) else {
        eprintln!("perf: no rival is called `{name}`; there are: {}", READERS.join(", "));
        return ExitCode::from(2);
    };
    let (request, value) = (Requests::new([0]), workload::value(100));
    let keys = vec![request.keys()[0]; hits];
    rival.write(&keys[..1], &value);
    // What is done once comes with the first reads.
    rival.read(&keys[..hits.min(1000)]);
    assert_eq!(counted_reads(&*rival, black_box(&keys)), hits * value.len(), "every read is a hit");
    ExitCode::SUCCESS
}

/// What valgrind counts: this thread alone, and nothing before and after. It finds it by name.
#[inline(never)]
fn counted_reads(rival: &dyn Rival, keys: &[&str]) -> usize {
    black_box(rival.read(keys))
}
