//! The bare L1 and its handles against the rivals: hits, mixes, insertions and growth, on one thread and on two at once.

mod growth;
pub(crate) mod hit;
mod insert;
mod mix;
mod two_threads;

use benches::local::{
    self, ASYNC, BARE, BLOCKING, BORROWED, MOKA, PREDECESSOR, QUICK_CACHE, QUICK_CACHE_TTL, Rival, SHARED, WITH_CACHED,
};

use crate::report::{Report, Target};
use crate::rounds::Samples;
use hit::Hits;

/// As many as have room in the mixes and insertions.
const SMALL: usize = 20_000;

pub(crate) fn measure(rounds: Option<usize>) -> Report {
    let rounds = rounds.unwrap_or(100);
    let mut report = Report {
        scenario: "l1",
        about: format!(
            "16-byte keys, 100-byte values, each written as a copy of its own and read up to its first byte; {rounds} \
             interleaved rounds"
        ),
        packages: &["moka", "quick_cache", "foyer-memory", "papaya", "multi-tier-cache"],
        totals: None,
        rows: Vec::new(),
        targets: Vec::new(),
    };
    {
        let rivals = hit::filled(local::rivals(&local::READERS, hit::CAPACITY));
        hits(&mut report, &rivals, rounds);
        two_threads::hot(&mut report, &rivals, 2 * rounds);
    }
    mix::measure(&mut report, rounds);
    insert::measure(&mut report, rounds);
    growth::measure(&mut report);
    report
}

fn hits(report: &mut Report, rivals: &[Box<dyn Rival>], rounds: usize) {
    let hot = Hits::measure("hot key, 1 thread", rivals, &hit::hot(), 3 * rounds);
    let zipf = Hits::measure("Zipf 0.99 of 100k, 1 thread", rivals, &hit::zipf(), rounds);
    let at_least = |case: &Hits, what: &str, ours, rival, bound| {
        let short = rival_in_table(rival);
        Target::at_least(format!("{what}: v {short}"), case.ratio(rival, ours), bound)
    };
    report.targets.extend([
        at_least(&hot, "hot borrow, 1 thread", BORROWED, MOKA, 15.0),
        at_least(&hot, "hot borrow, 1 thread", BORROWED, QUICK_CACHE, 4.5),
        at_least(&hot, "hot borrow, 1 thread", BORROWED, QUICK_CACHE_TTL, 7.0),
        at_least(&hot, "hot borrow, 1 thread", BORROWED, PREDECESSOR, 40.0),
        at_least(&zipf, "Zipf borrow", BORROWED, MOKA, 10.0),
        at_least(&zipf, "Zipf borrow", BORROWED, QUICK_CACHE, 2.0),
        at_least(&zipf, "Zipf owned value", BARE, MOKA, 7.0),
        at_least(&zipf, "Zipf owned value", BARE, QUICK_CACHE, 1.3),
        Target::at_most("CacheManager::get(..).await, L1 hit / bare L1 owned hit", hot.ratio(ASYNC, BARE), 1.25),
        Target::at_most("blocking get, L1 hit / bare L1 owned hit", hot.ratio(BLOCKING, BARE), 1.25),
        Target::at_most("get_shared::<T> hit / bare L1 owned hit", hot.ratio(SHARED, BARE), 1.3),
    ]);
    for name in [BORROWED, BARE, ASYNC, BLOCKING, WITH_CACHED, SHARED] {
        report.targets.push(Target::at_most(format!("{name}, allocations per hit"), hot.allocations(name), 0.0));
    }
    report.rows.extend(hot.rows().into_iter().chain(zipf.rows()));
}

/// What the table of targets calls a rival.
fn rival_in_table(name: &str) -> &str {
    match name {
        MOKA => "moka",
        QUICK_CACHE => "quick_cache",
        PREDECESSOR => "predecessor (Moka)",
        name => name,
    }
}

/// Where the rival of that name stands.
fn position(rivals: &[Box<dyn Rival>], name: &str) -> usize {
    rivals.iter().position(|rival| rival.name() == name).expect("a rival of that name")
}

/// How many times `ours` the time of `rival` is.
fn times(rivals: &[Box<dyn Rival>], samples: &[Samples], rival: &str, ours: &str) -> f64 {
    samples[position(rivals, rival)].ratio_to(&samples[position(rivals, ours)])
}
