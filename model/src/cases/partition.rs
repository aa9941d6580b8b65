//! Cases of the partition protocol.

use super::{Bound, Case, Expected, Protocol};
use crate::fix::Fix;
use crate::partition::{Budget, FIRST_NUMBER, May, Setting};
use crate::set::Set;

/// What goes wrong in the server, and on the wires to it.
const SERVER_AND_WIRES: [May; 9] = {
    use May::*;
    [TrimLog, EvictLog, EvictClock, LoseLease, EvictData, Restart, LoseLink, LoseMessage, Expire]
};

/// A fix is off.
fn case(name: &'static str, off: Fix, budget: Budget, may: &[May]) -> Case {
    let setting = Setting { budget, may: Set::of(may), fixes: Set::ALL.without(off), ..Setting::quiet() };
    let expected = if off == Fix::OneWriterAtATime { Expected::Exception } else { Expected::Violation };
    Case { name, off: Some(off), expected, protocol: Protocol::Partition(setting), walks: 0 }
}

/// All fixes are on.
fn whole(name: &'static str, setting: Setting) -> Case {
    Case { name, off: None, expected: Expected::Nothing, protocol: Protocol::Partition(setting), walks: 0 }
}

/// One read at a time in each of two instances.
fn two(budget: Budget, may: &[May]) -> Setting {
    Setting { flights: 1, budget, may: Set::of(may), ..Setting::quiet() }
}

const fn budget(invalidations: u8, sets: u8, loads: u8) -> Budget {
    Budget { invalidations, sets, loads, ..Budget::NOTHING }
}

const fn faults(faults: u8, budget: Budget) -> Budget {
    Budget { faults, ..budget }
}

const fn timeouts(timeouts: u8, budget: Budget) -> Budget {
    Budget { timeouts, ..budget }
}

const fn others(others: u8, budget: Budget) -> Budget {
    Budget { others, ..budget }
}

const fn holds(holds: u8, budget: Budget) -> Budget {
    Budget { holds, ..budget }
}

const fn spills(spills: u8, budget: Budget) -> Budget {
    Budget { spills, ..budget }
}

/// One for each fix of the first model, within the smallest bounds in which it is missed.
pub(crate) fn broken() -> Vec<Case> {
    use Fix::*;
    use May::*;
    let one = budget(1, 0, 1);
    vec![
        case("ce01-renew-creates-lease", RenewNeverCreates, budget(2, 0, 2), &[Renew]),
        case("ce02-token-sent-again", RetryDrawsNewToken, timeouts(1, budget(2, 0, 2)), &[ResendLease]),
        case("ce03-fill-stamps-later-epoch", FillStampsEpochOfMarker, faults(2, one), &[LoseLink, TrimLog]),
        case(
            "ce04-revalidation-stamps-later-epoch",
            RestampsEpochOfRequest,
            faults(3, one),
            &[LoseLink, EvictClock, EvictLog],
        ),
        case("ce05-later-epoch-joins", OtherEpochNotJoined, faults(2, one), &[LoseLink, EvictLog]),
        case("ce06-low-number-ignored", LowNumberIsLostClock, faults(3, one), &[StepClockBack, EvictClock, EvictLog]),
        case("ce07-late-put", FailedPutIsSettled, timeouts(1, budget(1, 1, 0)), &[]),
        case("ce08-set-fills-blindly", SetFillsItsMarker, budget(1, 1, 0), &[]),
        case("ce09-error-without-kill", ErrorKillsAgain, timeouts(1, one), &[]),
        case("ce10-future-dropped", DropGuardKills, one, &[Cancel]),
        case("ce11-ring-without-kill", ResendBypassesAndKills, faults(1, one), &[FailOver]),
        case("ce12-ring-without-put", RingHoldsPuts, faults(1, budget(0, 1, 0)), &[FailOver]),
        case("ce13-same-run-other-history", IdentityHasHistory, faults(1, budget(2, 0, 1)), &[Demote]),
        case("ce14-data-stays-behind", DataFollowsLink, faults(1, one), &[Split]),
        case("ce15-set-races-invalidate", OneWriterAtATime, budget(1, 1, 0), &[]),
        case("ce16-suspect-only-once", UntrustedUntilLive, faults(1, one), &[LoseLink, Expire]),
    ]
}

/// One for each fix that this model asked for.
pub(crate) fn broken_too() -> Vec<Case> {
    use Fix::*;
    use May::*;
    let one = budget(1, 0, 1);
    let mut clock = case(
        "ce26-clock-starts-in-reach",
        ClockHasEra,
        faults(3, budget(1, 0, 0)),
        &[EvictClock, EvictLog, StepClockBack, LoseLink],
    );
    if let Protocol::Partition(setting) = &mut clock.protocol {
        setting.stepped_back = FIRST_NUMBER;
    }
    vec![
        case("ce17-history-under-connection", HeartbeatTellsIdentity, faults(1, one), &[Swap]),
        case("ce18-link-stays-behind", LinkFollowsData, faults(1, one), &[Split]),
        case("ce19-put-before-late-put", PutSettlesToo, timeouts(1, budget(0, 2, 0)), &[]),
        case("ce20-disk-of-other-epoch", DiskKeepsEpoch, faults(2, spills(1, one)), &[LoseLink, EvictLog]),
        case("ce21-spill-after-kill", KillStopsSpill, spills(1, one), &[]),
        case("ce22-hold-shortened", HoldOnlyLengthens, holds(2, budget(0, 0, 1)), &[]),
        case("ce23-hold-forgotten", ResendKeepsHold, timeouts(1, holds(1, budget(0, 0, 1))), &[]),
        case("ce24-kept-under-hold", HeldIsNotKept, holds(1, budget(0, 0, 1)), &[]),
        case("ce25-token-of-other-server", TokenNamesServer, faults(1, others(1, one)), &[FailOver, AskAtLeast]),
        clock,
        case("ce27-data-before-link", DataWaitsForLink, faults(1, one), &[FailOver]),
        case("ce28-token-without-link", TokenNeedsLink, faults(2, one), &[Swap, LoseLink, AskAtLeast]),
    ]
}

/// Nothing is found.
pub(crate) fn unbroken(bound: Bound) -> Vec<Case> {
    use May::*;
    let (quiet, one, set) = (Setting::quiet(), budget(1, 0, 1), budget(0, 1, 1));
    let lost_clock = [StepClockBack, EvictClock, EvictLog, LoseLink];
    let in_reach = Setting { stepped_back: FIRST_NUMBER, ..two(faults(3, others(1, budget(1, 0, 0))), &lost_clock) };
    let mut cases = vec![
        whole("races-of-two", Setting { budget: budget(2, 0, 2), may: Set::of(&[Renew]), ..quiet }),
        whole("races-of-three", Setting { instances: 3, ..two(budget(1, 0, 2), &[]) }),
        whole("one-fault", two(faults(1, others(1, one)), &SERVER_AND_WIRES)),
        whole("two-faults", two(faults(2, one), &SERVER_AND_WIRES)),
        whole("timeouts", two(timeouts(2, one), &[ResendLease, Cancel])),
        whole("set-and-timeouts", two(timeouts(1, budget(1, 1, 1)), &[ResendLease])),
        whole("set-and-fault", two(faults(1, timeouts(1, set)), &[LoseLink, EvictLog, Restart])),
        whole("two-sets", two(timeouts(1, budget(0, 2, 1)), &[Cancel])),
        whole("clock-lost", two(faults(3, one), &lost_clock)),
        whole("clock-in-reach", in_reach),
        whole("failover", two(faults(1, one), &[FailOver])),
        whole("failover-of-set", two(faults(1, timeouts(1, set)), &[FailOver])),
        whole("demoted", two(faults(1, budget(2, 0, 1)), &[Demote])),
        whole("swapped", two(faults(1, others(1, one)), &[Swap])),
        whole("swapped-set", two(faults(1, budget(1, 1, 0)), &[Swap])),
        whole("split", two(faults(1, one), &[Split])),
        whole("split-of-set", two(faults(1, set), &[Split])),
        whole("disk", two(faults(1, spills(1, budget(1, 0, 2))), &[LoseLink, LoseMessage, EvictLog, Expire])),
        whole("disk-reopened", two(faults(1, spills(1, budget(1, 0, 2))), &[Reopen])),
        whole("hold", two(faults(1, timeouts(1, holds(1, budget(0, 0, 1)))), &[LoseLink, LoseMessage, EvictLog])),
        whole("hold-and-set", two(holds(1, budget(0, 1, 1)), &[])),
        whole("hold-and-failover", two(faults(1, holds(1, budget(0, 0, 1))), &[FailOver])),
        whole("two-holds", two(holds(2, budget(0, 0, 1)), &[])),
        whole("at-least", two(faults(1, others(1, one)), &[AskAtLeast, LoseLink, LoseMessage, EvictLog])),
        whole("at-least-and-failover", two(faults(1, others(1, one)), &[AskAtLeast, FailOver])),
    ];
    cases.extend(walks(bound));
    if bound == Bound::Large {
        cases.extend(unbroken_further());
    }
    cases
}

/// Everything at once, at random.
fn walks(bound: Bound) -> Vec<Case> {
    use May::*;
    let rest = [Cancel, Renew, ResendLease, AskAtLeast];
    let with = |more: &[May]| [&SERVER_AND_WIRES[..], &rest, more].concat();
    let many = Budget { invalidations: 3, sets: 2, loads: 6, others: 2, timeouts: 3, faults: 4, holds: 0, spills: 0 };
    let few = Budget { invalidations: 1, sets: 1, loads: 3, others: 1, timeouts: 1, faults: 2, holds: 0, spills: 0 };
    let one = |name, budget, may: &[May], setting: Setting| Case {
        walks: if bound == Bound::Small { 5_000 } else { 5_000_000 },
        ..whole(name, Setting { budget, may: Set::of(may), ..setting })
    };
    let quiet = Setting::quiet();
    let three = Setting { instances: 3, ..quiet };
    let moves = [FailOver, Demote, Swap, Split];
    vec![
        one("walks", many, &with(&moves), quiet),
        one("walks-few-writes", few, &with(&moves), quiet),
        one("walks-clock", many, &with(&[StepClockBack]), quiet),
        one("walks-of-three", many, &with(&moves), three),
        one("walks-disk", Budget { spills: 2, ..many }, &with(&[Reopen]), quiet),
        one("walks-disk-and-moves", Budget { spills: 2, ..many }, &with(&moves), quiet),
        one("walks-hold", Budget { holds: 2, ..many }, &with(&[FailOver]), quiet),
    ]
}

fn unbroken_further() -> Vec<Case> {
    use May::*;
    let quiet = Setting::quiet();
    let all = SERVER_AND_WIRES;
    let several = |budget, may: &[May]| Setting { budget, may: Set::of(may), ..quiet };
    let three = |budget, may: &[May]| Setting { instances: 3, ..two(budget, may) };
    vec![
        whole("large-races-of-two", several(budget(2, 0, 3), &[Renew])),
        whole("large-races-of-three", three(budget(2, 0, 2), &[])),
        whole("large-one-fault", several(faults(1, others(1, budget(1, 0, 2))), &all)),
        whole("large-two-invalidations", two(faults(1, budget(2, 0, 2)), &all)),
        whole("large-three-faults", two(faults(3, others(1, budget(1, 0, 1))), &all)),
        whole("large-faults-of-three", three(faults(1, others(1, budget(1, 0, 1))), &all)),
        whole("large-failover", several(faults(2, budget(2, 0, 2)), &[FailOver, LoseLink, EvictLog])),
        whole("large-set-and-timeouts", several(timeouts(2, budget(1, 1, 2)), &[ResendLease])),
        whole("large-two-sets", two(faults(1, timeouts(2, budget(1, 2, 1))), &[Cancel, Swap, LoseLink, EvictLog])),
        whole("large-split", two(faults(2, timeouts(1, budget(1, 1, 2))), &[Split, LoseLink, EvictLog, Cancel])),
        whole(
            "large-swapped",
            two(faults(2, timeouts(1, others(1, budget(1, 1, 2)))), &[Swap, LoseLink, EvictLog, AskAtLeast]),
        ),
        whole(
            "large-disk",
            two(faults(2, timeouts(1, spills(2, budget(2, 0, 2)))), &[LoseLink, EvictLog, Expire, Reopen]),
        ),
        whole(
            "large-hold",
            several(faults(1, timeouts(1, holds(2, budget(1, 0, 2)))), &[LoseLink, EvictLog, FailOver]),
        ),
    ]
}
