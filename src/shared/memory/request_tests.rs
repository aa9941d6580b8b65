//! Faults of operations.

use futures::executor::block_on;
use futures::future::{FutureExt, join};

use super::*;
use crate::shared::Life;
use crate::shared::contract::{A, MINUTE, frame, run};

fn put(shared: &MemoryShared, wid: u64) -> Result<Written> {
    block_on(shared.put("k", frame("k", wid, b"v"), MINUTE, false))
}

fn wid(shared: &MemoryShared) -> Option<u64> {
    run(shared.get("k")).map(|stored| crate::frame::Head::decode(&stored.frame).unwrap().wid)
}

#[test]
fn a_refused_operation_has_no_effect_and_an_unanswered_one_has() {
    let bed = Bed::new();
    let (shared, other) = (bed.server.instance(), bed.server.instance());
    shared.order(Fault::Refused, &[Operation::Put], 2);
    shared.order(Fault::Unanswered, &[Operation::Put, Operation::Invalidate], 1);
    for _ in 0..2 {
        let error = put(&shared, 1).unwrap_err();
        assert!(error.is_tier() && !error.is_timeout(), "{error}");
        assert_eq!(wid(&other), None);
    }
    assert!(put(&other, 2).is_ok(), "another instance is spared");
    assert!(put(&shared, 3).unwrap_err().is_tier());
    assert_eq!(wid(&shared), Some(3));
    assert!(put(&shared, 4).is_ok());
    assert!(block_on(shared.invalidate(&["k"], Duration::ZERO)).is_err());
    assert_eq!((wid(&shared), shared.calls(Operation::Put), shared.calls(Operation::Get)), (None, 4, 2));
    assert_eq!(bed.told(0).len(), 4, "2, 3, 4, and the invalidation");
    shared.order(Fault::Refused, &Operation::ALL, usize::MAX);
    assert!(block_on(shared.get("k")).is_err() && block_on(shared.get("k")).is_err());
    shared.calm();
    assert!(block_on(shared.get("k")).is_ok());
}

#[test]
fn operations_of_two_instances_take_effect_in_the_order_of_choice() {
    for write_first in [true, false] {
        let bed = Bed::new();
        let (writer, other) = (bed.server.instance(), bed.server.instance());
        assert_eq!(run(writer.lease("k", A, MINUTE, None)), Leased::Granted);
        writer.hold(&[Operation::Commit]);
        other.hold(&[Operation::Invalidate]);
        let both = join(writer.commit("k", A, frame("k", 1, b"old"), MINUTE), other.invalidate(&["k"], Duration::ZERO));
        let mut both = Box::pin(both);
        assert!(both.as_mut().now_or_never().is_none());
        assert_eq!((writer.waiting(), other.waiting(), wid(&other)), (1, 1, None));
        assert!(!writer.let_through(Operation::Invalidate));
        if write_first {
            writer.let_all_through();
            assert_eq!(wid(&other), Some(1));
        }
        assert!(other.let_through(Operation::Invalidate));
        writer.let_all_through();
        let (committed, invalidated) = block_on(both);
        assert_eq!((committed.unwrap(), invalidated.is_ok(), wid(&other)), (write_first, true, None));
    }
}

#[test]
fn a_late_operation_takes_effect_though_its_caller_has_gone() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    shared.hold(&[Operation::Put]);
    let mut late = shared.put("k", frame("k", 1, b"v"), MINUTE, false);
    assert!(late.as_mut().now_or_never().is_none());
    bed.clock.advance(Duration::from_millis(499));
    assert!(late.as_mut().now_or_never().is_none());
    bed.clock.advance(Duration::from_millis(1));
    let error = late.now_or_never().unwrap().unwrap_err();
    assert!(error.is_tier() && error.is_timeout(), "{error}");
    // Dropped before it was ever asked for: nothing.
    drop(shared.put("k", frame("k", 2, b"v"), MINUTE, false));
    assert_eq!((shared.waiting(), wid(&shared)), (1, None));
    shared.let_all_through();
    assert_eq!((shared.waiting(), wid(&shared)), (0, Some(1)));
}

#[test]
fn what_is_settled_is_not_written_by_an_earlier_write() {
    let bed = Bed::new();
    let (shared, other) = (bed.server.instance(), bed.server.instance());
    for instance in [&shared, &other] {
        instance.hold(&[Operation::Put]);
        assert!(instance.put("k", frame("k", 1, b"v"), MINUTE, false).now_or_never().is_none());
        assert!(instance.put("j", frame("j", 1, b"v"), MINUTE, false).now_or_never().is_none());
    }
    run(shared.settle("k"));
    assert_eq!((shared.waiting(), other.waiting()), (1, 2));
    shared.let_all_through();
    assert_eq!((wid(&other), run(shared.get("j")).is_some()), (None, true));
    other.let_all_through();
    assert_eq!(wid(&shared), Some(1), "another's write is another's");
}

#[test]
fn an_answer_comes_late_and_the_effect_does_not() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    shared.hold_answers(&[Operation::Put]);
    let mut waits = shared.put("k", frame("k", 1, b"v"), MINUTE, false);
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!((wid(&shared), shared.waiting(), bed.told(0).len()), (Some(1), 0, 1));
    shared.release_answers();
    assert!(waits.now_or_never().unwrap().unwrap().stored);
    assert!(put(&shared, 2).is_ok());
}

#[test]
fn what_a_lost_connection_carried_has_no_effect() {
    let bed = Bed::new();
    let (shared, other) = (bed.server.instance(), bed.server.instance());
    shared.hold(&[Operation::Put]);
    shared.hold_answers(&[Operation::Get]);
    other.hold(&[Operation::Put]);
    let mut waits = shared.put("k", frame("k", 1, b"v"), MINUTE, false);
    let mut asked = shared.get("k");
    let mut others = other.put("k", frame("k", 2, b"v"), MINUTE, false);
    assert!(waits.as_mut().now_or_never().is_none() && asked.as_mut().now_or_never().is_none());
    assert!(others.as_mut().now_or_never().is_none());
    shared.hang_up();
    for error in [waits.now_or_never().unwrap().unwrap_err(), asked.now_or_never().unwrap().unwrap_err()] {
        assert!(error.is_tier() && !error.is_timeout(), "{error}");
    }
    shared.let_all_through();
    shared.release_answers();
    assert_eq!(wid(&shared), None);
    other.let_all_through();
    assert!(others.now_or_never().unwrap().is_ok());
}

#[test]
fn a_frozen_server_does_later_what_it_was_asked() {
    let bed = Bed::new();
    let (shared, other) = (bed.server.instance(), bed.server.instance().with_patience(MINUTE));
    bed.server.freeze(true);
    let mut first = shared.put("k", frame("k", 1, b"v"), MINUTE, false);
    let mut second = other.put("k", frame("k", 2, b"v"), MINUTE, false);
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    bed.clock.advance(Duration::from_secs(1));
    assert!(first.now_or_never().unwrap().unwrap_err().is_timeout());
    assert!(second.as_mut().now_or_never().is_none());
    bed.server.freeze(false);
    assert!(second.now_or_never().unwrap().unwrap().stored);
    assert_eq!((wid(&shared), bed.told(0).len()), (Some(2), 2), "in their order");
    assert_eq!(run(shared.get("k")).unwrap().life, Life::Left(MINUTE), "it lives from when it was stored");
}

#[test]
fn what_the_server_forgets_is_not_there() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    assert!(bed.server.evict_lease("k") && !bed.server.evict_lease("k"));
    assert!(!run(shared.commit("k", A, frame("k", 1, b"v"), MINUTE)));
    let first = put(&shared, 1).unwrap().place.sequence;
    assert!(bed.server.garble("k", |bytes| bytes[64] ^= 1));
    let stored = run(shared.get("k")).unwrap();
    assert!(crate::frame::Frame::decode("k", &stored.frame).is_err() && wid(&shared) == Some(1));
    assert!(bed.server.evict("k") && !bed.server.evict("k"));
    assert_eq!(wid(&shared), None);
    // Numbers begin again above the log, or without one above the server's time.
    bed.server.lose_sequence(0);
    let second = put(&shared, 2).unwrap().place.sequence;
    assert_eq!(second, first + 1);
    bed.server.set_ahead(Duration::from_secs(5));
    bed.server.flush();
    assert_eq!(wid(&shared), None);
    let third = put(&shared, 3).unwrap().place.sequence;
    assert_eq!(third, first + 5_000_000);
    bed.server.set_ahead(Duration::ZERO);
    bed.server.lose_sequence(0);
    bed.server.trim_log(0, 0);
    assert_eq!(put(&shared, 3).unwrap().place.sequence, first, "a clock that was set back");
}

#[test]
fn lost_stamps_count_as_bumped_and_clear_never_falls() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    let tag = |name: &str| Bump::Tag(name.into());
    let pattern = |glob: &str| Bump::Pattern(glob.into());
    let read = || run(shared.bumps());
    let cleared = run(shared.bump(&Bump::Clear, 0)).clock;
    bed.server.lose_stamps();
    let after = run(shared.bump(&tag("a"), 0)).clock;
    let bumps = read();
    assert_eq!((after, bumps.cleared, bumps.tag_floor), (cleared + 1, after - 1, after - 1));
    assert_eq!((bumps.clock, bumps.tags, bumps.rules), (after, vec![("a".to_owned(), after)], vec![]));
    let rule = run(shared.bump(&pattern("x*"), 0)).clock;
    assert_eq!(read().rules, [("x*".to_owned(), rule)]);
    bed.server.lose_rules();
    run(shared.bump(&tag("a"), 0));
    assert_eq!((read().cleared, read().rules), (rule, vec![]));
    // Whoever reads what was lost is told of the worst.
    bed.server.lose_stamps();
    let bumps = read();
    assert_eq!((bumps.cleared, bumps.tag_floor, bumps.tags), (bumps.clock, bumps.clock, vec![]));

    bed.server.keep_most(3, 2);
    let floors: Vec<u64> = (0..8)
        .map(|n| run(shared.bump(&tag(&n.to_string()), 0)))
        .filter(|bump| bump.what == crate::shared::Control::TagFloor)
        .map(|bump| bump.clock)
        .collect();
    let now = read();
    assert_eq!((floors.last(), now.cleared), (Some(&now.tag_floor), bumps.cleared));
    assert!(now.tags.len() <= 4, "{now:?}");
}

#[test]
fn a_server_without_memory_removes_and_warns_everybody() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    put(&shared, 1).unwrap();
    run(shared.invalidate(&["held"], MINUTE));
    assert_eq!(run(shared.lease("j", A, MINUTE, None)), Leased::Granted);
    bed.told(0);
    bed.server.starve(true);
    assert!(put(&shared, 2).unwrap_err().is_tier() && wid(&shared) == Some(1));
    assert!(block_on(shared.lease("l", A, MINUTE, None)).is_err() && block_on(shared.bump(&Bump::Clear, 0)).is_err());
    assert!(block_on(shared.commit("j", A, frame("j", 1, b"v"), MINUTE)).is_err());
    assert!(run(shared.renew("j", A, MINUTE)));
    let place = crate::shared::Place { partition: 0, sequence: 0 };
    assert_eq!(run(shared.invalidate(&["k", "j"], Duration::ZERO)), [place]);
    assert_eq!((wid(&shared), run(shared.renew("j", A, MINUTE))), (None, false));
    assert!(block_on(shared.invalidate(&["held"], MINUTE)).is_err(), "a hold needs memory");
    assert_eq!((run(shared.settle("k")), run(shared.get("held"))), (place, None));
    let warned = crate::shared::message::Message::SuspectAll(shared.origin()).write();
    assert_eq!(bed.told(0), vec![warned; 3]);
    bed.server.starve(false);
    assert!(put(&shared, 3).unwrap().place.sequence > 0);
}

#[test]
fn another_server_has_what_was_there_at_some_moment() {
    let bed = Bed::new();
    let shared = bed.server.instance();
    let first = put(&shared, 1).unwrap().place.sequence;
    assert_eq!(run(shared.lease("j", A, MINUTE, None)), Leased::Granted);
    let before = bed.server.snapshot();
    run(shared.release("j", A));
    assert_eq!(run(shared.invalidate(&["k"], Duration::ZERO))[0].sequence, first + 1);
    bed.server.freeze(true);
    let mut lost = shared.put("k", frame("k", 9, b"v"), MINUTE, false);
    assert!(lost.as_mut().now_or_never().is_none());
    bed.server.fail_over(&before);
    assert!(lost.now_or_never().unwrap().unwrap_err().is_tier());
    assert_eq!(wid(&shared), Some(1), "the invalidation is undone");
    assert!(run(shared.renew("j", A, MINUTE)), "so is the release");
    assert_eq!(put(&shared, 2).unwrap().place.sequence, first + 1, "a number is given twice");
    bed.server.resync(&before);
    assert_eq!(wid(&shared), Some(1));
    bed.server.restart();
    assert_eq!((wid(&shared), run(shared.renew("j", A, MINUTE))), (None, false));
}
