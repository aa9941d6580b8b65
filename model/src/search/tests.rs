//! The search itself, on models whose states can be counted, and on the real ones within small bounds.

use std::hash::Hash;
use std::time::Duration;

use super::*;
use crate::cases::{Bound, Case, Protocol, cases};
use crate::fix::Fix;
use crate::partition::{Budget, Setting};

/// Two walkers, each on its line of `length` places; alike but for their names.
struct Walkers {
    length: u8,
    /// No one may stand at the first place while the other stands at the second.
    forbidden: Option<[u8; 2]>,
}

impl Model for Walkers {
    type State = [u8; 2];

    fn starts(&self, steps: &mut Steps<[u8; 2]>) {
        steps.to([0, 0], || "both at 0".into());
    }

    fn steps(&self, from: &[u8; 2], steps: &mut Steps<[u8; 2]>) {
        for walker in 0..2 {
            let mut to = *from;
            if to[walker] + 1 < self.length {
                to[walker] += 1;
                steps.to(to, || format!("{walker} goes to {}", to[walker]));
            }
            // Back to the beginning: what has been seen is met again and again.
            let mut to = *from;
            to[walker] = 0;
            steps.to(to, || format!("{walker} goes back"));
        }
    }

    fn broken(&self, state: &[u8; 2]) -> Option<&'static str> {
        let [one, other] = self.forbidden?;
        (*state == [one, other] || *state == [other, one]).then_some("forbidden")
    }

    fn symmetries(&self) -> usize {
        2
    }

    fn gather(&self, state: &[u8; 2], symmetry: usize, bytes: &mut Gather) {
        let mut renamed = *state;
        if symmetry == 1 {
            renamed.swap(0, 1);
        }
        renamed.hash(bytes);
    }
}

const fn limits(symmetry: Symmetry) -> Limits {
    Limits { time: Duration::MAX, states: 10_000_000, symmetry }
}

#[test]
fn every_state_is_visited_once() {
    let walkers = Walkers { length: 20, forbidden: None };
    let outcome = search(&walkers, limits(Symmetry::Ignored));
    assert_eq!((outcome.states, outcome.depth), (20 * 20, 38));
    assert!(outcome.broken.is_none() && !outcome.cut);
}

#[test]
fn renamed_states_count_as_one() {
    let walkers = Walkers { length: 20, forbidden: None };
    let outcome = search(&walkers, limits(Symmetry::Used));
    assert_eq!((outcome.states, outcome.depth), (20 * 21 / 2, 38));
}

#[test]
fn a_violation_in_the_last_state_is_found() {
    for symmetry in [Symmetry::Used, Symmetry::Ignored] {
        let walkers = Walkers { length: 20, forbidden: Some([19, 19]) };
        let outcome = search(&walkers, limits(symmetry));
        assert!(outcome.broken.is_some());
        assert_eq!(outcome.depth, 38);
    }
}

#[test]
fn the_shortest_trace_is_told_and_leads_there() {
    for symmetry in [Symmetry::Used, Symmetry::Ignored] {
        let walkers = Walkers { length: 9, forbidden: Some([2, 1]) };
        let broken = search(&walkers, limits(symmetry)).broken.unwrap();
        assert_eq!(broken.law, "forbidden");
        assert_eq!(broken.trace.len(), 1 + 3, "a start and three steps");
        let mut at = [0_u8; 2];
        for words in &broken.trace[1..] {
            let mut words = words.split(" goes to ");
            let walker: usize = words.next().unwrap().parse().unwrap();
            at[walker] = words.next().unwrap().parse().unwrap();
        }
        at.sort_unstable();
        assert_eq!(at, [1, 2]);
    }
}

#[test]
fn a_violation_at_the_start_is_found() {
    let walkers = Walkers { length: 9, forbidden: Some([0, 0]) };
    let outcome = search(&walkers, limits(Symmetry::Used));
    assert_eq!(outcome.broken.unwrap().trace, ["both at 0"]);
    assert_eq!(outcome.depth, 0);
}

#[test]
fn a_search_that_is_cut_says_so() {
    let walkers = Walkers { length: 200, forbidden: Some([199, 199]) };
    let outcome = search(&walkers, Limits { states: 100, ..limits(Symmetry::Used) });
    assert!(outcome.cut && outcome.broken.is_none());
}

#[test]
fn with_and_without_symmetry_the_verdict_is_the_same() {
    let mut compared = 0;
    for case in cases(Bound::Small).iter().filter(|case| case.off.is_some()) {
        // Some need more states than a test without optimisation should visit.
        let used = case.run(Limits { states: 3_000, ..limits(Symmetry::Used) });
        if used.cut {
            continue;
        }
        compared += 1;
        let ignored = case.run(limits(Symmetry::Ignored));
        assert_eq!(used.depth, ignored.depth, "{}", case.name);
        let length = |outcome: &Outcome| outcome.broken.as_ref().map(|broken| broken.trace.len());
        assert!(length(&used).is_some() && length(&used) == length(&ignored), "{}", case.name);
    }
    assert!(compared >= 15, "{compared}");
}

#[test]
fn with_and_without_symmetry_nothing_is_found_where_there_is_nothing() {
    for instances in [2, 3] {
        let budget = Budget { invalidations: 1, loads: 1, ..Budget::NOTHING };
        let setting = Setting { instances, flights: 1, budget, ..Setting::quiet() };
        let used = search(&setting, limits(Symmetry::Used));
        let ignored = search(&setting, limits(Symmetry::Ignored));
        assert!(used.broken.is_none() && ignored.broken.is_none());
        assert_eq!(used.depth, ignored.depth);
        // Each state stands for as many as there are orders, but for those that are their own mirror image.
        let orders = [0, 1, 2, 6][instances];
        assert!(used.states < ignored.states && ignored.states <= used.states * orders);
    }
}

#[test]
fn a_walk_finds_what_is_there_and_tells_the_way() {
    let walkers = Walkers { length: 9, forbidden: Some([2, 1]) };
    let found = walk(&walkers, 1_000, limits(Symmetry::Used)).broken.unwrap();
    assert_eq!(found.law, "forbidden");
    let again = walk(&walkers, 1_000, limits(Symmetry::Used)).broken.unwrap();
    assert_eq!(found.trace, again.trace, "the same numbers, the same ways");
}

#[test]
fn walks_find_fixes_that_are_off() {
    let whole = cases(Bound::Small).into_iter().find(|case| case.name == "walks").unwrap();
    let Protocol::Partition(setting) = whole.protocol else { panic!("{}", whole.name) };
    for off in [
        Fix::RenewNeverCreates,
        Fix::FailedPutIsSettled,
        Fix::SetFillsItsMarker,
        Fix::ErrorKillsAgain,
        Fix::ResendBypassesAndKills,
        Fix::OneWriterAtATime,
        Fix::UntrustedUntilLive,
    ] {
        let broken = Setting { fixes: setting.fixes.without(off), ..setting };
        assert!(walk(&broken, whole.walks, limits(Symmetry::Used)).broken.is_some(), "{off:?}");
    }
}

#[test]
fn a_fix_that_is_on_again_leaves_nothing() {
    let case: Case = cases(Bound::Small).into_iter().find(|case| case.name.starts_with("ce08")).unwrap();
    let Protocol::Partition(setting) = case.protocol else { panic!("{}", case.name) };
    assert!(search(&setting, limits(Symmetry::Used)).broken.is_some());
    let whole = Setting { fixes: crate::set::Set::ALL, ..setting };
    assert!(search(&whole, limits(Symmetry::Used)).broken.is_none());
}
