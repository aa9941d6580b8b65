//! Hits in L1 through the handles.

use benches::local::{self, ASYNC, BARE, BLOCKING, PREDECESSOR};

use crate::l1::hit::{self, Hits};
use crate::report::{Report, Target};

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(100);
    let rivals = hit::filled(local::rivals(&local::READERS, hit::CAPACITY));
    let mut report = Report {
        scenario: "handles",
        about: format!("hits in L1, 16-byte keys, 100-byte values, one thread; {rounds} interleaved rounds"),
        packages: &["multi-tier-cache", "moka", "quick_cache", "foyer-memory", "papaya"],
        totals: None,
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
