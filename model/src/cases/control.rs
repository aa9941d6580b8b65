//! Cases of the control log.

use super::{Bound, Case, Expected, Protocol};
use crate::control::{Budget, Kind, May, Setting};
use crate::fix::Fix;
use crate::set::Set;

use Kind::{Clear, Rule, Tag};
use May::{EvictClock, EvictHash, EvictRules, FailOver, LoseLink, StepClockBack};

const fn budget(bumps: u8, loads: u8, faults: u8) -> Budget {
    Budget { bumps, loads, overflows: 0, faults }
}

/// One for each fix.
pub(crate) fn broken() -> Vec<Case> {
    let case = |name, off, budget, kinds: &'static [Kind], may: &[May]| {
        let tagged = kinds.contains(&Tag);
        let setting = Setting { budget, tagged, kinds, may: Set::of(may), fixes: Set::ALL.without(off) };
        Case { name, off: Some(off), expected: Expected::Violation, protocol: Protocol::Control(setting), walks: 0 }
    };
    vec![
        case("ctl1-floor-falls", Fix::FloorNeverFalls, budget(2, 2, 1), &[Clear], &[EvictHash]),
        case("ctl2-rules-are-lost", Fix::LostRulesRaiseFloor, budget(2, 2, 1), &[Rule], &[EvictRules]),
        case("ctl3-clock-goes-back", Fix::NewServerIsLifted, budget(2, 2, 1), &[Tag], &[FailOver]),
        case("ctl4-bumps-not-in-ring", Fix::RingHoldsBumps, budget(1, 2, 1), &[Tag], &[FailOver]),
        case("ctl5-caller-knows-better", Fix::BumpBringsClock, budget(2, 2, 2), &[Clear], &[EvictClock, StepClockBack]),
        case("ctl6-origin-waits-for-itself", Fix::OriginAppliesItsBump, budget(2, 2, 0), &[Clear], &[]),
        case(
            "ctl7-overflow-asks-redis",
            Fix::OverflowBypasses,
            Budget { overflows: 1, ..budget(0, 1, 0) },
            &[Clear],
            &[],
        ),
        case("ctl8-header-knows-no-bump", Fix::DownAsksControl, budget(1, 1, 1), &[Tag], &[LoseLink]),
    ]
}

/// With all fixes nothing is found.
pub(crate) fn unbroken(bound: Bound) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, budget, tagged, kinds: &'static [Kind], may: &[May]| {
        let setting = Setting { budget, tagged, kinds, may: Set::of(may), fixes: Set::ALL };
        cases.push(Case {
            name,
            off: None,
            expected: Expected::Nothing,
            protocol: Protocol::Control(setting),
            walks: 0,
        });
    };
    add("control-evictions", budget(2, 1, 1), true, &[Tag, Clear, Rule], &[EvictHash, EvictRules, EvictClock]);
    add("control-two-evictions", budget(2, 1, 2), false, &[Clear, Rule], &[EvictHash, EvictRules, EvictClock]);
    add("control-clock-back", budget(2, 1, 2), false, &[Clear], &[EvictClock, StepClockBack]);
    add("control-failover", budget(2, 1, 1), true, &[Tag, Clear], &[FailOver]);
    add("control-link-down", budget(2, 1, 1), true, &[Tag, Clear, Rule], &[LoseLink]);
    add("control-overflow", Budget { overflows: 1, ..budget(1, 2, 1) }, false, &[Clear], &[EvictHash]);
    if bound == Bound::Large {
        let every = [EvictHash, EvictRules, EvictClock];
        add("large-control-evictions", budget(3, 2, 2), true, &[Tag, Clear, Rule], &every);
        add("large-control-overflow", Budget { overflows: 2, ..budget(2, 2, 1) }, true, &[Tag, Clear], &every);
        add("large-control-failover", budget(3, 2, 2), true, &[Tag, Clear, Rule], &[FailOver, EvictHash]);
    }
    cases
}
