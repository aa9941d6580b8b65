//! One flight: leaders, followers, and what ends or cancels them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use loom::thread;

use crate::flight::core::{Flight, Home, Join, Joined, Lease};
use crate::harness::models;

/// Counts how often a flight said that it was over, and how many lead it.
#[derive(Default)]
struct Watch {
    over: AtomicUsize,
    leaders: AtomicUsize,
}

#[derive(Clone)]
struct Watched(Arc<Watch>);

impl Home<u32> for Watched {
    fn over(&self, _: &Flight<u32, Self>) {
        self.0.over.fetch_add(1, SeqCst);
    }

    fn here() -> u64 {
        0
    }

    fn granted_to(&self, _: u64) {}
}

type TestLease = Lease<u32, Watched>;
type TestJoin = Join<u32, Watched>;

fn start() -> (TestLease, Watched) {
    let watched = Watched(Arc::new(Watch::default()));
    (Flight::start(watched.clone()), watched)
}

fn join(lease: &TestLease) -> TestJoin {
    Flight::join(lease.flight().clone())
}

/// Leads for a moment, alone.
fn lead(lease: &TestLease) {
    let leaders = &lease.flight().home().0.leaders;
    assert_eq!(leaders.fetch_add(1, SeqCst), 0, "two leaders");
    thread::yield_now();
    assert_eq!(leaders.fetch_sub(1, SeqCst), 1, "two leaders");
}

/// Follows to the end; a lead that comes is landed with `own`.
fn follow(join: TestJoin, own: u32) -> Option<u32> {
    match block_on(join) {
        Joined::Landed(outcome) => Some(outcome),
        Joined::Gone => None,
        Joined::Lead(lease) => {
            lead(&lease);
            assert!(lease.land(own));
            Some(own)
        }
    }
}

fn poll_once(join: &mut TestJoin) -> Poll<Joined<u32, Watched>> {
    Pin::new(join).poll(&mut Context::from_waker(Waker::noop()))
}

/// A follower that already waits.
fn waiting(lease: &TestLease) -> TestJoin {
    let mut join = join(lease);
    assert!(poll_once(&mut join).is_pending());
    join
}

models! {
    /// Followers that come while the leader lands all get the outcome: none sleeps on.
    followers_are_woken finds late_registration {
        let (lease, watched) = start();
        let joins = [join(&lease), join(&lease)];
        let followers = joins.map(|join| thread::spawn(move || assert_eq!(follow(join, 2), Some(1))));
        assert!(lease.land(1));
        for thread in followers {
            thread.join().unwrap();
        }
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }

    /// A follower that comes after the landing, or during it, gets the outcome.
    a_late_follower_gets_the_outcome finds landing_forgets {
        let (lease, _) = start();
        let (early, late) = (join(&lease), join(&lease));
        let follower = thread::spawn(move || assert_eq!(follow(early, 2), Some(1)));
        assert!(lease.land(1));
        assert_eq!(follow(late, 2), Some(1));
        follower.join().unwrap();
    }

    /// A lead that is dropped goes to exactly one follower, and is taken.
    a_dropped_lead_is_handed_over finds silent_grant {
        let (lease, watched) = start();
        let joins = [join(&lease), join(&lease)];
        let waits = joins.map(|join| thread::spawn(move || follow(join, 2)));
        drop(lease);
        let got = waits.map(|follower| follower.join().unwrap());
        // Who was not there yet finds the flight closed; nobody waits for nothing.
        assert!(got.iter().all(|got| matches!(got, Some(2) | None)));
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }

    /// However leads are dropped and taken, there is one leader at a time.
    never_two_leaders finds grant_kept {
        let (lease, _) = start();
        let (first, second) = (waiting(&lease), join(&lease));
        let leader = thread::spawn(move || { lead(&lease); drop(lease); });
        let follower = thread::spawn(move || follow(first, 2));
        let got = follow(second, 3);
        leader.join().unwrap();
        assert!(matches!(follower.join().unwrap(), Some(2 | 3)));
        assert!(matches!(got, Some(2 | 3)));
    }

    /// A follower that is cancelled when the lead is already its own passes it on.
    a_cancelled_grant_is_passed_on finds dropped_baton {
        let (lease, watched) = start();
        let (cancelled, staying) = (waiting(&lease), waiting(&lease));
        let canceller = thread::spawn(move || drop(cancelled));
        let follower = thread::spawn(move || assert_eq!(follow(staying, 2), Some(2)));
        drop(lease);
        canceller.join().unwrap();
        follower.join().unwrap();
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }

    /// Every follower is cancelled around the hand-over: the flight closes, once.
    a_flight_that_nobody_wants_closes finds dropped_baton {
        let (lease, watched) = start();
        let waits = [waiting(&lease), waiting(&lease)];
        let cancellers = waits.map(|join| thread::spawn(move || drop(join)));
        drop(lease);
        for thread in cancellers {
            thread.join().unwrap();
        }
        assert_eq!(watched.0.over.load(SeqCst), 1, "the flight is left behind");
    }

    /// A leader that panics hands over like one that is cancelled.
    a_panic_hands_over finds lease_without_drop {
        let (lease, watched) = start();
        let (waits, comes) = (waiting(&lease), join(&lease));
        let leader = thread::spawn(move || {
            let load = AssertUnwindSafe(move || {
                lead(&lease);
                resume_unwind(Box::new("load"))
            });
            let panicked: Result<(), _> = catch_unwind(load);
            assert!(panicked.is_err());
        });
        let follower = thread::spawn(move || assert!(matches!(follow(waits, 2), Some(2 | 3))));
        assert!(matches!(follow(comes, 3), Some(2 | 3) | None));
        leader.join().unwrap();
        follower.join().unwrap();
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }

    /// A flight that is ended from outside while its leader lands has one outcome, and one of the two is told so.
    one_outcome_whoever_ends_it finds land_overwrites {
        let (lease, watched) = start();
        let (follower, outside) = (join(&lease), lease.flight().clone());
        let late = join(&lease);
        let ender = thread::spawn(move || outside.end(9));
        let follower = thread::spawn(move || follow(follower, 2));
        let landed = lease.land(1);
        let ended = ender.join().unwrap();
        let outcome = if landed { 1 } else { 9 };
        assert_ne!(landed, ended);
        assert_eq!(follower.join().unwrap(), Some(outcome));
        assert_eq!(follow(late, 2), Some(outcome));
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }

    /// A flight that is ended while its lead is handed over: the follower either leads in vain or gets that outcome.
    an_end_during_a_hand_over finds leaves_what_is_over {
        let (lease, watched) = start();
        let (cancelled, staying) = (waiting(&lease), waiting(&lease));
        let outside = lease.flight().clone();
        let leader = thread::spawn(move || { drop(lease); drop(cancelled); });
        let follower = thread::spawn(move || match block_on(staying) {
            Joined::Landed(outcome) => assert_eq!(outcome, 9),
            Joined::Lead(lease) => { lease.land(2); }
            Joined::Gone => panic!("a follower that waited was forgotten"),
        });
        leader.join().unwrap();
        outside.end(9);
        follower.join().unwrap();
        assert_eq!(watched.0.over.load(SeqCst), 1);
    }
}
