//! Hits in L1 through the handles.

use std::hint::black_box;
use std::process::ExitCode;

use benches::local::{self, ASYNC, BARE, BLOCKING, PREDECESSOR};
use benches::workload::{self, Requests};

use crate::l1::hit::{self, Hits};
use crate::report::{Report, Target};

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(100);
    let rivals = hit::filled(local::rivals(hit::CAPACITY));
    let mut report = Report {
        scenario: "handles",
        about: format!("hits in L1, 16-byte keys, 100-byte values, one thread; {rounds} interleaved rounds"),
        packages: &["multi-tier-cache", "moka", "quick_cache", "foyer-memory", "papaya"],
        rows: Vec::new(),
        targets: Vec::new(),
    };
    for (case, work) in [("one key", hit::hot()), ("Zipf 0.99 of 100k", hit::zipf())] {
        let hits = Hits::measure(case, &rivals, &work, rounds);
        for name in [ASYNC, BLOCKING] {
            report.targets.extend([
                Target::at_most(format!("{case}: {name} / bare L1"), hits.ratio(name, BARE), 1.25),
                Target::at_least(format!("{case}: predecessor / {name}"), hits.ratio(PREDECESSOR, name), 4.0),
                Target::at_most(format!("{case}: {name}, allocations per hit"), hits.allocations(name), 0.0),
            ]);
        }
        report.rows.extend(hits.rows());
    }
    report
}

/// Reads one key so many times through the rival of that name, and does nothing else.
pub(crate) fn spin(name: &str, hits: usize) -> ExitCode {
    let rivals = local::rivals(1024);
    let Some(rival) = rivals.iter().find(|rival| rival.name() == name) else {
        let names: Vec<_> = rivals.iter().map(|rival| rival.name()).collect();
        eprintln!("perf: no rival is called `{name}`; there are: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let (requests, value) = (Requests::new(vec![0; hits]), workload::value(100));
    let keys = requests.keys();
    rival.write(&keys[..1], &value);
    assert_eq!(rival.read(black_box(&keys)), hits * value.len(), "every read is a hit");
    ExitCode::SUCCESS
}
