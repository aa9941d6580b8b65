#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::layout::{LATEST, LONGEST_COPIED};
use super::*;

fn label(key: &str) -> Label<'_> {
    Label { hash: 7, key, ..Label::default() }
}

/// Every shape that an entry can have: body here or elsewhere, with and without key, tail, weight.
#[test]
fn an_entry_gives_back_what_it_was_made_of() {
    let plain = Times { written: 5, fresh_until: 1_000, dead_at: 1_000 };
    let long_lived = Times { written: -5, fresh_until: LATEST, dead_at: LATEST };
    let graceful = Times { written: 5, fresh_until: 1_000, dead_at: 2_000 };
    let stale = Times { written: 5_000, fresh_until: 0, dead_at: 9_000 };
    for length in [0, 1, 7, 8, 100, LONGEST_COPIED, LONGEST_COPIED + 1, 100_000] {
        for key in ["", "k", "seven77", "eight888", &"k".repeat(300)] {
            for times in [plain, long_lived, graceful, stale] {
                for weight in [None, Some(9)] {
                    let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
                    let given = Body::Given(bytes.clone().into());
                    for body in [Body::Copied(&bytes), given] {
                        let entry =
                            Counted::new(Kind::Raw, body, Label { hash: 7, key, times, weight, ..Label::default() });
                        let entry = entry.entry();
                        assert_eq!((entry.key(), entry.hash(), entry.body()), (key, 7, &bytes[..]));
                        assert_eq!((entry.kind(), entry.times()), (Kind::Raw, times));
                        assert!(entry.is_of(key) && !entry.is_of("other"));
                        let size = length + key.len() + Entry::OVERHEAD;
                        assert_eq!(entry.weight(), weight.unwrap_or(size as u32));
                        assert_eq!(entry.charged(), entry.weight());
                        assert!(entry.is_fresh(times.fresh_until.wrapping_sub(1)) == (times.fresh_until > 0));
                        assert!(!entry.is_fresh(times.fresh_until) && entry.is_dead(times.dead_at));
                        assert!(!entry.is_dead(times.dead_at - 1));
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_can_be_stale_keeps_a_time_of_retry() {
    for (dead_at, kept) in [(100, 0), (200, 70)] {
        let times = Times { written: 0, fresh_until: 100, dead_at };
        let entry = Counted::new(Kind::Raw, Body::Copied(b"v"), Label { times, ..label("k") });
        entry.entry().set_retry_at(70);
        assert_eq!(entry.entry().retry_at(), kept);
    }
}

#[test]
fn an_entry_tells_its_tags_its_write_and_the_last_event_that_it_outlived() {
    let tags: Arc<[u64]> = Arc::new([3, 5]);
    for (write_id, tags) in [(0, None), (9, None), (0, Some(&tags)), (9, Some(&tags))] {
        for dead_at in [100, 200] {
            for body in [Body::Copied(b"v"), Body::Given(vec![7; 10_000].into())] {
                let times = Times { written: 0, fresh_until: 100, dead_at };
                let origin = Origin { stamp: 4, write_id, tags };
                let entry = Counted::new(Kind::Raw, body, Label { times, origin, ..label("k") });
                assert_eq!((entry.entry().write_id(), entry.entry().tags()), (write_id, tags));
                assert_eq!((entry.entry().until().stamp(), entry.entry().times()), (4, times));
                entry.entry().set_stamp(6);
                assert_eq!(entry.entry().until().stamp(), 6);
            }
        }
    }
    assert_eq!(Arc::strong_count(&tags), 1, "the tags are given back with the entries");
}

#[test]
fn a_fault_is_kept_and_carried_on() {
    let invalid = Counted::new(Kind::Invalid, Body::Fault(Error::codec("a reason")), Label::default());
    let entry = Counted::relabelled(invalid.entry(), label("k"));
    assert!(entry.entry().fault().unwrap().to_string().contains("a reason"));
    assert_eq!((entry.entry().body(), entry.entry().given()), (&[][..], None));
}

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_entry_and_its_memo_go_with_the_last_count_whoever_has_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let entry = Counted::new(Kind::Raw, Body::Given(vec![1; 10_000].into()), label("k"));
    entry.entry().memo().set(Memo::new(Arc::new(Dropped(drops.clone())))).map_err(drop).unwrap();
    let again = Counted::relabelled(entry.entry(), label("other"));
    assert_eq!(again.entry().weight(), 20_000 + 5 + Entry::OVERHEAD as u32, "the memo is carried on, and charged");
    drop(again);
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            let mine = entry.clone();
            scope.spawn(|| {
                start.wait();
                (0..1000).for_each(|_| drop(mine.clone()));
                drop(mine);
            });
        }
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(entry);
    });
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

static WAITING: Waiting = Waiting::new();

#[test]
fn a_slot_is_filled_once_and_failures_leave_it_empty() {
    let slot = Slot::<String>::new();
    assert_eq!(slot.get_or_make(&WAITING, || Err("no")), Err("no"));
    let panics = || slot.get_or_make(&WAITING, || -> Result<_, Infallible> { panic!("on purpose") }).map(drop);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!(slot.get(), None);
    let (made, start) = (AtomicUsize::new(0), Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                let got = slot.get_or_make(&WAITING, || -> Result<_, Infallible> {
                    made.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    Ok("once".to_owned())
                });
                assert_eq!(got.unwrap(), "once");
            });
        }
    });
    assert_eq!(made.load(Ordering::Relaxed), 1);
    assert_eq!(slot.set("late".to_owned()), Err("late".to_owned()));
}

#[test]
fn a_memo_is_of_one_type() {
    let memo = Memo::new(Arc::new("text".to_owned()));
    assert_eq!(memo.recall::<String>().unwrap().as_str(), "text");
    assert!(memo.recall::<Vec<u8>>().is_none());
}

#[test]
fn what_never_ends_ends_at_the_latest_time() {
    let times = Times { written: 0, fresh_until: u64::MAX, dead_at: u64::MAX };
    let entry = Counted::new(Kind::Raw, Body::Copied(b"v"), Label { times, ..label("k") });
    assert_eq!(entry.entry().times(), Times { written: 0, fresh_until: LATEST, dead_at: LATEST });
    assert!(entry.entry().is_fresh(LATEST - 1) && !entry.entry().is_fresh(LATEST));
}
