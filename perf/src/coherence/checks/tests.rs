//! Each invariant is broken on purpose, in a history made by hand, and the check has to see it; the history beside it, in
//! which nothing is wrong, has to pass.

use std::time::Duration;

use super::*;
use crate::coherence::history::{Change, Computation, Done, Read, Round, Sample, Span, Strike, What, Wrong};

const GRANTS: Grants = Grants { delta: ms(100), link: ms(200), load: ms(50), slack: ms(50) };
const PROMISES: Promises = Promises {
    entries: 10,
    weight: 1000,
    read: ms(500),
    change: ms(500),
    flight: ms(20),
    disconnected: ms(1000),
    detection: ms(500),
};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn span(begin: u64, end: u64) -> Span {
    Span { begin: ms(begin), end: ms(end) }
}

/// A history of two instances.
fn events() -> Events {
    Events { outages: vec![Vec::new(); 2], ..Events::default() }
}

fn read(instance: usize, begin: u64, version: u64) -> Read {
    Read { instance, key: 0, begin: ms(begin), end: ms(begin + 1), got: Ok(version) }
}

/// Instance 0 has invalidated version 1: acknowledged after 1 s.
fn change() -> Change {
    Change {
        instance: 0,
        key: 0,
        version: 2,
        begin: ms(990),
        end: ms(1000),
        what: What::Invalidate,
        done: Done::Acknowledged,
    }
}

fn computation(instance: usize, begin: u64, end: u64) -> Computation {
    Computation { instance, key: 0, begin: ms(begin), end: ms(end) }
}

fn strike(span: Span, cuts: bool, loses_leases: bool) -> Strike {
    Strike { fault: "some", span, instance: None, cuts, loses_leases }
}

fn findings(events: Events) -> Findings {
    check(&Keys::new(), events, &PROMISES, &GRANTS)
}

/// The invariants that are broken, each as often as it is.
fn broken(events: Events) -> Vec<(Invariant, u64)> {
    let verdict = findings(events).verdict;
    let counts = Invariant::ALL.into_iter().map(|one| (one, verdict.count(one)));
    let broken: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    assert_eq!(broken.is_empty(), verdict.cases.is_empty(), "what is counted is told: {:?}", verdict.cases);
    broken
}

/// The same for one change and one read after it.
fn after(change: Change, read: Read) -> Vec<(Invariant, u64)> {
    broken(Events { changes: vec![change], reads: vec![read], ..events() })
}

#[test]
fn i1_a_value_that_is_none() {
    for wrong in [Wrong::Altered, Wrong::OtherKey, Wrong::NeverCommitted] {
        let read = Read { got: Err(wrong), ..read(1, 0, 0) };
        assert_eq!(broken(Events { reads: vec![read], ..events() }), [(Invariant::I1, 1)], "{wrong:?}");
    }
}

#[test]
fn i2_an_older_value_later_than_the_delay() {
    assert_eq!(after(change(), read(1, 1100, 1)), [(Invariant::I2, 1)]);
    assert_eq!(after(change(), read(1, 1099, 1)), [], "within the delay");
    assert_eq!(after(change(), read(1, 1100, 2)), [], "the new value");
    assert_eq!(after(change(), read(1, 1100, 3)), [], "a newer one");
    for done in [Done::Here, Done::Unknown] {
        assert_eq!(after(Change { done, ..change() }, read(1, 5000, 1)), [], "never acknowledged");
    }
    let other = Read { key: 1, ..read(1, 1100, 1) };
    assert_eq!(after(change(), other), [], "another key");
}

#[test]
fn i2_an_older_change_does_not_hide_a_newer_one() {
    let older = Change { instance: 1, version: 3, begin: ms(1990), end: ms(2000), ..change() };
    let newer = Change { version: 4, begin: ms(800), end: ms(810), ..change() };
    let changes = vec![newer, older, change()];
    let stale = Events { changes: changes.clone(), reads: vec![read(1, 3000, 3)], ..events() };
    assert_eq!(broken(stale), [(Invariant::I2, 1)]);
    assert_eq!(broken(Events { changes, reads: vec![read(1, 3000, 4)], ..events() }), []);
}

#[test]
fn i2_a_broken_connection_grants_time_and_no_more() {
    let cut = |begin, end| Events {
        changes: vec![change()],
        strikes: vec![strike(span(begin, end), true, false)],
        ..events()
    };
    let with = |events: Events, begin| broken(Events { reads: vec![read(1, begin, 1)], ..events });
    assert_eq!(with(cut(1050, 1050), 1299), []);
    assert_eq!(with(cut(1050, 1050), 1300), [(Invariant::I2, 1)]);
    assert_eq!(with(cut(900, 900), 1299), [], "shortly before");
    assert_eq!(with(cut(700, 700), 1100), [(Invariant::I2, 1)], "long before");
    let harmless = Events { strikes: vec![strike(span(1050, 1050), false, true)], ..cut(0, 0) };
    assert_eq!(with(harmless, 1100), [(Invariant::I2, 1)], "a fault that breaks no connection");
    let elsewhere = Strike { instance: Some(0), ..strike(span(1050, 1050), true, false) };
    let elsewhere = Events { strikes: vec![elsewhere], ..cut(0, 0) };
    assert_eq!(with(elsewhere, 1100), [(Invariant::I2, 1)], "another instance's connections");
}

#[test]
fn i2_silence_grants_time_and_no_more() {
    let silent =
        |begin, end| Events { changes: vec![change()], outages: vec![Vec::new(), vec![span(begin, end)]], ..events() };
    let with = |events: Events, begin| broken(Events { reads: vec![read(1, begin, 1)], ..events });
    // As long again, the link and the delay.
    assert_eq!(with(silent(1050, 1250), 1749), []);
    assert_eq!(with(silent(1050, 1250), 1750), [(Invariant::I2, 1)]);
    // At most the time of trust: 1,000 + 500 + 100 after it began.
    assert_eq!(with(silent(1050, 4000), 2649), []);
    assert_eq!(with(silent(1050, 4000), 2650), [(Invariant::I2, 1)]);
    assert_eq!(with(silent(700, 900), 1399), [], "over before, but an attempt to connect is still due");
    assert_eq!(with(silent(700, 900), 1400), [(Invariant::I2, 1)]);
    assert_eq!(with(silent(100, 300), 1100), [(Invariant::I2, 1)], "over long before");
    assert_eq!(with(silent(1200, 4000), 1500), [(Invariant::I2, 1)], "it began after the change had to be known");
    // Loads that ran are joined until they end: 100, 50 and 20 after the change.
    let long = Change { begin: ms(3990), end: ms(4000), ..change() };
    let long = |begin| broken(Events { changes: vec![long], reads: vec![read(1, begin, 1)], ..silent(1050, 9000) });
    assert_eq!(long(4169), []);
    assert_eq!(long(4170), [(Invariant::I2, 1)], "nothing is trusted any more");
    let other = Events { outages: vec![vec![span(1050, 4000)], Vec::new()], ..silent(0, 0) };
    assert_eq!(with(other, 1100), [(Invariant::I2, 1)], "another instance's silence");
}

#[test]
fn i2_what_the_machine_stood_still_is_granted() {
    let with = |begin| {
        let stalls = vec![span(980, 1030), span(2000, 3000)];
        broken(Events { changes: vec![change()], reads: vec![read(1, begin, 1)], stalls, ..events() })
    };
    assert_eq!(with(1129), []);
    assert_eq!(with(1130), [(Invariant::I2, 1)]);
}

#[test]
fn i4_an_older_value_where_it_was_invalidated() {
    assert_eq!(after(change(), read(0, 1000, 1)), [(Invariant::I4, 1)]);
    assert_eq!(after(change(), read(0, 999, 1)), [], "it had not returned");
    assert_eq!(after(Change { done: Done::Here, ..change() }, read(0, 1000, 1)), [(Invariant::I4, 1)]);
    assert_eq!(after(Change { done: Done::Unknown, ..change() }, read(0, 1000, 1)), []);
    for what in [What::Tag, What::Pattern, What::Clear] {
        assert_eq!(after(Change { what, ..change() }, read(0, 1000, 1)), [(Invariant::I4, 1)], "{what:?}");
    }
}

#[test]
fn i5_two_computations_at_once() {
    let with = |computations, changes| broken(Events { computations, changes, ..events() });
    let overlapping = vec![computation(0, 3000, 3050), computation(0, 3040, 3060)];
    assert_eq!(with(overlapping.clone(), vec![]), [(Invariant::I5, 1)]);
    assert_eq!(with(overlapping.clone(), vec![change()]), [(Invariant::I5, 1)], "a change long before");
    let between = Change { begin: ms(3010), end: ms(3020), ..change() };
    assert_eq!(with(overlapping.clone(), vec![between]), [], "a change between");
    let before = Change { begin: ms(2940), end: ms(2950), ..change() };
    assert_eq!(with(overlapping.clone(), vec![before]), [(Invariant::I5, 1)], "an own change before both");
    let heard = Change { instance: 1, ..before };
    assert_eq!(with(overlapping, vec![heard]), [], "another instance's, heard of between");
    assert_eq!(with(vec![computation(0, 3000, 3050), computation(1, 3040, 3060)], vec![]), [], "two instances");
    assert_eq!(with(vec![computation(0, 3000, 3050), computation(0, 3050, 3060)], vec![]), [], "in turn");
}

#[test]
fn i5_faults_that_lose_stores_excuse_it_for_a_while() {
    let with = |strike| {
        let computations = vec![computation(0, 9000, 9050), computation(0, 9040, 9060)];
        broken(Events { computations, strikes: vec![strike], ..events() })
    };
    assert_eq!(with(strike(span(8000, 8100), false, true)), []);
    assert_eq!(with(strike(span(5000, 5100), false, true)), [(Invariant::I5, 1)]);
    assert_eq!(with(strike(span(9030, 9030), true, false)), []);
    assert_eq!(with(strike(span(5000, 5000), true, false)), [(Invariant::I5, 1)]);
    assert_eq!(with(strike(span(9030, 9030), false, false)), [(Invariant::I5, 1)]);
}

#[test]
fn i6_a_write_that_is_not_visible() {
    let write = Change { what: What::Set, ..change() };
    assert_eq!(after(write, read(0, 1000, 1)), [(Invariant::I6, 1)]);
    assert_eq!(after(write, read(1, 1100, 1)), [(Invariant::I6, 1)]);
    assert_eq!(after(write, read(1, 1099, 1)), []);
    assert_eq!(after(write, read(1, 1100, 3)), [], "superseded");
    assert_eq!(after(Change { done: Done::Unknown, ..write }, read(0, 1000, 1)), [], "nothing was said");
}

#[test]
fn i7_calls_that_are_late_or_fail() {
    let took = |took: u64, stalls| {
        let read = Read { end: ms(1000 + took), ..read(1, 1000, 1) };
        broken(Events { reads: vec![read], stalls, ..events() })
    };
    // 500, two loaders of 50, and 50.
    assert_eq!(took(650, vec![]), []);
    assert_eq!(took(651, vec![]), [(Invariant::I7, 1)]);
    assert_eq!(took(670, vec![span(990, 1020)]), [], "the machine stood still for 20 ms of it");
    assert_eq!(took(671, vec![span(990, 1020)]), [(Invariant::I7, 1)]);
    let failed = Read { got: Err(Wrong::Failed), ..read(1, 1000, 1) };
    assert_eq!(broken(Events { reads: vec![failed], ..events() }), [(Invariant::I7, 1)]);
    assert_eq!(broken(Events { hung: 1, ..events() }), [(Invariant::I7, 1)]);
    let slow = |end: u64| Change { end: ms(990 + end), ..change() };
    assert_eq!(broken(Events { changes: vec![slow(550)], ..events() }), []);
    assert_eq!(broken(Events { changes: vec![slow(551)], ..events() }), [(Invariant::I7, 1)]);
    let group = vec![slow(551), Change { key: 1, ..slow(551) }];
    assert_eq!(broken(Events { changes: group, ..events() }), [(Invariant::I7, 1)], "one call for two keys");
}

#[test]
fn i8_more_than_the_bound() {
    let held = |entries, weight| broken(Events { samples: vec![Sample { instance: 0, entries, weight }], ..events() });
    assert_eq!(held(10, 1000), []);
    assert_eq!(held(11, 1000), [(Invariant::I8, 1)]);
    assert_eq!(held(10, 1001), [(Invariant::I8, 1)]);
}

#[test]
fn i9_whatever_is_left() {
    let mut verdict = Verdict::default();
    Leftovers::default().check(&mut verdict);
    assert_eq!(verdict.count(Invariant::I9), 0);
    let none = Leftovers::default();
    let left = [
        Leftovers { threads: 1, ..none },
        Leftovers { descriptors: 1, ..none },
        Leftovers { flights: 1, ..none },
        Leftovers { retries: 1, ..none },
        Leftovers { open: 1, ..none },
    ];
    for (before, left) in left.into_iter().enumerate() {
        left.check(&mut verdict);
        assert_eq!(verdict.count(Invariant::I9), before as u64 + 1, "{left:?}");
    }
}

#[test]
fn violations_are_what_reads_contradict() {
    let mut verdict = Verdict::default();
    Invariant::ALL.into_iter().for_each(|one| verdict.broken(one, || "once".into()));
    assert_eq!(verdict.violations(), 4);
    (0..10).for_each(|_| verdict.broken(Invariant::I2, || "again".into()));
    assert_eq!((verdict.violations(), verdict.count(Invariant::I2)), (14, 11));
    assert_eq!(verdict.cases.len(), 8 + 5, "not all of them are told");
}

#[test]
fn rounds_are_counted_where_leases_cannot_be_lost() {
    let round = |begin, end| Round { key: 0, begin: ms(begin), end: ms(end), dead: None };
    let rounds = |computations, strikes| {
        let rounds = vec![round(5000, 5100), round(6000, 6100)];
        findings(Events { rounds, computations, strikes, ..events() }).rounds
    };
    let once = vec![computation(0, 5010, 5020), computation(1, 6010, 6020)];
    let twice = [once.clone(), vec![computation(1, 5015, 5020)]].concat();
    let outside = [once.clone(), vec![computation(1, 5500, 5501)]].concat();
    assert_eq!(rounds(once.clone(), vec![]).per_calm_round(), 1.0);
    assert_eq!(rounds(outside, vec![]).per_calm_round(), 1.0);
    assert_eq!(rounds(twice.clone(), vec![]).per_calm_round(), 1.5);
    let lost = rounds(twice.clone(), vec![strike(span(4900, 4950), false, true)]);
    assert_eq!((lost.calm, lost.per_calm_round(), lost.per_round()), (1, 1.0, 1.5));
    assert_eq!(
        rounds(twice, vec![strike(span(4900, 4950), true, false)]).calm,
        2,
        "a connection broke, no lease was lost"
    );
    assert!(rounds(once, vec![strike(span(0, 9000), false, true)]).per_calm_round().is_nan());
}

#[test]
fn what_the_others_compute_for_the_dead_is_counted() {
    let rounds = |computations, outages| {
        let rounds = vec![Round { key: 0, begin: ms(5000), end: ms(7000), dead: Some(0) }];
        findings(Events { rounds, computations, outages, ..events() }).rounds
    };
    let one = vec![computation(0, 5010, 7020), computation(1, 6500, 6520)];
    let two = [one.clone(), vec![computation(1, 6600, 6620)]].concat();
    let its_own = vec![vec![span(5010, 7010)], Vec::new()];
    let of_another = vec![Vec::new(), vec![span(5010, 5500)]];
    assert_eq!(rounds(one, its_own.clone()).per_death(), 1.0);
    let counted = rounds(two.clone(), its_own);
    assert_eq!((counted.per_death(), counted.all), (2.0, 0));
    assert_eq!(rounds(two, of_another).dead, 0, "the other one was cut off too");
}

#[test]
fn how_stale_reads_were_is_measured_granted_or_not() {
    let newer = Change { version: 3, begin: ms(1490), end: ms(1500), ..change() };
    let unknown = Change { version: 9, done: Done::Here, ..change() };
    let measured = |reads, strikes| {
        let changes = vec![newer, change(), unknown];
        let found = findings(Events { changes, reads, strikes, ..events() }).staleness;
        (found.reads, found.longest, found.longest_calm)
    };
    assert_eq!(measured(vec![read(1, 999, 1), read(1, 1400, 2), read(1, 1600, 3)], vec![]), (0, ms(0), ms(0)));
    assert_eq!(measured(vec![read(1, 1020, 1), read(1, 1505, 2)], vec![]), (2, ms(20), ms(20)));
    assert_eq!(measured(vec![read(1, 1600, 1)], vec![]), (1, ms(600), ms(600)), "since the first that was newer");
    let late = Change { begin: ms(1580), end: ms(1600), ..change() };
    let found = findings(Events { changes: vec![newer, late], reads: vec![read(1, 1550, 1)], ..events() }).staleness;
    assert_eq!((found.reads, found.longest), (1, ms(50)), "since a newer one, though an older one came later");
    let cut = strike(span(1501, 1501), true, false);
    assert_eq!(measured(vec![read(1, 1020, 1), read(1, 1590, 2)], vec![cut]), (2, ms(90), ms(20)));
}
