use super::*;
use crate::shared::message::Said;

const OWN: Origin = [1; 8];
const OTHER: Origin = [2; 8];
const BOUNDS: Bounds = Bounds { staleness: Duration::from_secs(1000), notice: Duration::from_secs(1) };

fn connected(follow: &mut Follow, number: Option<u64>, act: &mut dyn FnMut(Action<'_>)) {
    follow.subscribed();
    follow.number(number, Duration::from_secs(5), act);
    follow.identity(&Identity { run_id: "a".into(), replication_id: "b".into() }, act);
}

fn removed(number: u64, key: &str) -> Vec<u8> {
    let packed = Keys::pack(&[key]).unwrap();
    let what = What::Changed(Change::Removed, Keys::read(&packed).unwrap());
    Message::Numbered(number, Said { origin: OTHER, what }).write()
}

/// What is said, in words.
fn words(told: &mut Vec<String>) -> impl FnMut(Action<'_>) {
    |action| told.push(format!("{action:?}"))
}

#[test]
fn a_jump_that_is_too_far_for_the_log_is_suspect_at_once() {
    let mut told = Vec::new();
    let mut follow = Follow::new(Partition::Data, OWN, BOUNDS);
    connected(&mut follow, Some(10), &mut |_| {});
    follow.heard(&removed(11 + MOST_REPLAYED, "k"), &mut words(&mut told));
    assert_eq!((told.pop().unwrap().as_str(), follow.is_live()), ("Suspect", true));
    follow.heard(&removed(11 + 2 * MOST_REPLAYED, "k"), &mut words(&mut told));
    assert!(told[0].starts_with("Replay") && !follow.is_live(), "{told:?}");
}

#[test]
fn what_is_held_back_is_told_in_order_after_the_log() {
    let mut told = Vec::new();
    let mut follow = Follow::new(Partition::Data, OWN, BOUNDS);
    connected(&mut follow, Some(10), &mut |_| {});
    follow.heard(&removed(12, "b"), &mut |_| {});
    follow.heard(&removed(13, "c"), &mut words(&mut told));
    follow.heard(&Message::Settled("now").write(), &mut words(&mut told));
    follow.heard(&removed(14, "d"), &mut words(&mut told));
    assert_eq!(told, ["Settled(\"now\")"]);
    told.clear();
    let value =
        Said { origin: OTHER, what: What::Changed(Change::Updated, Keys::read(b"\x01\0\0\0a").unwrap()) }.write();
    let entry = |id| Entry { id, field: b"p", value: &value };
    let missing = Missing { after: 10, through: 12 };
    follow.replayed(missing, Some(&[entry(b"11-1"), entry(b"12-1")]), &mut words(&mut told));
    let a = "Changed([\"a\"], Updated)";
    assert_eq!(told, [a, a, "Changed([\"c\"], Removed)", "Changed([\"d\"], Removed)"]);
    assert_eq!((follow.last(), follow.counts().replayed, follow.counts().gaps), (Some(14), 2, 1));
}

#[test]
fn a_log_that_is_not_exactly_what_is_missing_makes_everything_suspect() {
    let value = Said { origin: OTHER, what: What::Changed(Change::Removed, Keys::read(b"").unwrap()) }.write();
    let entry = |id| Entry { id, field: b"i", value: &value };
    let (one, two, other) = (entry(b"11-1"), entry(b"12-1"), entry(b"12-0"));
    let unreadable = Entry { field: b"?", ..two };
    let cases: [Option<&[Entry<'_>]>; 7] = [
        None,
        Some(&[]),
        Some(&[two]),
        Some(&[one, other]),
        Some(&[one, unreadable]),
        Some(&[two, one]),
        Some(&[one, two, two]),
    ];
    for entries in cases {
        let mut told = Vec::new();
        let mut follow = Follow::new(Partition::Data, OWN, BOUNDS);
        connected(&mut follow, Some(10), &mut |_| {});
        follow.heard(&removed(12, "b"), &mut |_| {});
        follow.replayed(Missing { after: 10, through: 13 }, entries, &mut words(&mut told));
        assert_eq!(told, [""; 0], "an answer to something else");
        follow.replayed(Missing { after: 10, through: 12 }, entries, &mut words(&mut told));
        assert_eq!((told.as_slice(), follow.last()), (&["Suspect".to_owned()][..], Some(12)), "{entries:?}");
    }
}

#[test]
fn what_is_held_back_has_a_bound() {
    let mut told = Vec::new();
    let mut follow = Follow::new(Partition::Control, OWN, BOUNDS);
    connected(&mut follow, Some(10), &mut |_| {});
    for number in 12..12 + 2 * MOST_HELD as u64 {
        follow.heard(&removed(number, "k"), &mut words(&mut told));
    }
    assert_eq!(told.iter().filter(|told| *told == "ReadControl").count(), 1, "{told:?}");
    assert!(follow.is_live() && follow.held.is_empty());
    // The answer that comes too late is of no use.
    follow.replayed(Missing { after: 10, through: 12 }, None, &mut |action| panic!("{action:?}"));

    let mut follow = Follow::new(Partition::Data, OWN, BOUNDS);
    follow.subscribed();
    follow.number(Some(0), Duration::ZERO, &mut |_| {});
    told.clear();
    let large = removed(1, &"k".repeat(MOST_HELD_BYTES));
    follow.heard(&large, &mut words(&mut told));
    assert!(matches!(&told[..], [dropped] if dropped.starts_with("Drop")) && follow.held.is_empty());
}

#[test]
fn trust_is_bounded_by_staleness_once_the_link_is_lost() {
    let seconds = Duration::from_secs;
    for (staleness, live, lost) in [(0, 6, Some(5)), (1, 6, None), (2, 7, None)] {
        let bounds = Bounds { staleness: seconds(staleness), notice: seconds(1) };
        let mut follow = Follow::new(Partition::Data, OWN, bounds);
        let mut until = Vec::new();
        let mut trust = |action: Action<'_>| {
            if let Action::Trusted(time) = action {
                until.push(time);
            }
        };
        follow.lost(&mut trust);
        connected(&mut follow, Some(10), &mut trust);
        follow.lost(&mut trust);
        follow.lost(&mut trust);
        let expected: Vec<_> = [Some(live), lost].into_iter().flatten().map(seconds).collect();
        assert_eq!(until, expected);
    }
}

#[test]
fn the_own_suspicion_and_what_comes_while_the_link_is_down_are_not_told() {
    let mut follow = Follow::new(Partition::Data, OWN, BOUNDS);
    let silent = &mut |action: Action<'_>| panic!("{action:?}");
    follow.heard(&removed(5, "k"), silent);
    follow.number(Some(5), Duration::ZERO, silent);
    connected(&mut follow, Some(10), &mut |_| {});
    follow.heard(&Message::SuspectAll(OWN).write(), silent);
    follow.heard(b"hello", silent);
    let mut told = Vec::new();
    follow.heard(&Message::SuspectAll(OTHER).write(), &mut words(&mut told));
    assert_eq!((told, follow.counts().refused, follow.last()), (vec!["Suspect".to_owned()], 1, Some(10)));
}
