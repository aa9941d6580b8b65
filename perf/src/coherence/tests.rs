//! The checker itself: the plain cache is caught.

use std::time::Duration;

use super::options::{Options, Which};
use super::{Unmeasured, run};

#[test]
fn the_plain_way_is_caught() {
    let options = Options {
        mode: Which::Plain,
        time: Duration::from_secs(2),
        seed: Some(1),
        reads: 3000,
        writes: 150,
        ..Options::default()
    };
    match run(&options, false) {
        Ok(run) => {
            assert!(run.reads > 0 && run.changes.acknowledged > 0);
            assert!(run.findings.verdict.violations() > 0, "{} reads, {:?}", run.reads, run.findings.verdict);
        }
        Err(Unmeasured::Skipped(why)) => println!("skipped: {why}"),
        Err(Unmeasured::Failed(why)) => panic!("{why}"),
    }
}
