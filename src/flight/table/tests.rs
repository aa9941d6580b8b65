use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use std::thread;

use futures::FutureExt;
use futures::executor::block_on;
use futures::future::join_all;

use super::*;
use crate::park;

const LATER: Duration = Duration::from_secs(30);

fn lead<T: Clone>(entered: Entered<T>) -> Lease<T> {
    match entered {
        Entered::Lead(lease) => lease,
        Entered::Follow(_) => panic!("follows"),
        Entered::Nested => panic!("nested"),
    }
}

fn follow<T: Clone>(entered: Entered<T>) -> Follow<T> {
    match entered {
        Entered::Follow(follow) => follow,
        Entered::Lead(_) => panic!("leads"),
        Entered::Nested => panic!("nested"),
    }
}

fn landed<T: Clone>(followed: Followed<T>) -> T {
    match followed {
        Followed::Landed(outcome) => outcome,
        Followed::Lead(_) => panic!("took the lead"),
        Followed::Gone => panic!("gone"),
        Followed::OwnThread => panic!("own thread"),
    }
}

fn taken_over<T: Clone>(followed: Option<Followed<T>>) -> Lease<T> {
    match followed {
        Some(Followed::Lead(lease)) => lease,
        Some(_) => panic!("ended otherwise"),
        None => panic!("still waits"),
    }
}

/// Counts its wake-ups.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_with<T: Clone>(follow: &mut Follow<T>, counted: &Arc<Counted>) -> Option<Followed<T>> {
    match Pin::new(follow).poll(&mut Context::from_waker(&Waker::from(counted.clone()))) {
        Poll::Ready(followed) => Some(followed),
        Poll::Pending => None,
    }
}

/// The law of a quiet table.
fn assert_quiet<T: Clone>(flights: &Flights<T>) {
    assert_eq!(flights.len(), 0, "a flight was left in the table");
    assert_eq!(Arc::strong_count(&flights.table), 1, "a flight lives outside the table");
}

#[test]
fn ten_thousand_followers_get_one_outcome() {
    let flights = Flights::new();
    let lease = lead(flights.enter("k", LATER));
    let outcome = Arc::new(7);
    let mut follows: Vec<_> = (0..10_000).map(|_| follow(flights.enter("k", LATER))).collect();
    let counted = Arc::new(Counted::default());
    assert!(follows.iter_mut().all(|follow| poll_with(follow, &counted).is_none()));
    assert!(lease.land(outcome.clone()));
    assert_eq!(counted.0.load(Ordering::SeqCst), 10_000);
    assert_eq!(flights.len(), 0);
    let got = block_on(join_all(follows));
    assert_eq!(got.into_iter().map(landed).filter(|got| Arc::ptr_eq(got, &outcome)).count(), 10_000);
    assert_eq!(Arc::strong_count(&outcome), 1, "the outcome outlives the flight");
    assert_quiet(&flights);
}

#[test]
fn a_million_cancelled_joins_leave_nothing() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let counted = Arc::new(Counted::default());
    for _ in 0..1_000 {
        let mut follows: Vec<_> = (0..1_000).map(|_| follow(flights.enter("k", LATER))).collect();
        for follow in &mut follows {
            assert!(poll_with(follow, &counted).is_none());
        }
    }
    let flight = lease.core.flight().clone();
    assert_eq!(flight.waiters(), 0);
    assert!(flight.waiter_memory() <= 8, "{} slots are left", flight.waiter_memory());
    assert_eq!(Arc::strong_count(&counted), 1, "a waker is left");
    drop((flight, lease));
    assert_quiet(&flights);
}

#[test]
fn a_lead_that_is_dropped_goes_to_the_longest_waiting_and_to_no_newcomer() {
    let flights = Flights::new();
    let lease = lead(flights.enter("k", LATER));
    let (first, second, late) = (Arc::default(), Arc::default(), Arc::default());
    let mut a = follow(flights.enter("k", LATER));
    let mut b = follow(flights.enter("k", LATER));
    assert!(poll_with(&mut a, &first).is_none() && poll_with(&mut b, &second).is_none());
    drop(lease);
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (1, 0));
    let mut newcomer = follow(flights.enter("k", LATER));
    assert!(poll_with(&mut newcomer, &late).is_none() && poll_with(&mut b, &second).is_none());
    let lease = taken_over(poll_with(&mut a, &first));
    assert!(lease.is_linked());
    assert!(lease.land(1));
    assert_eq!(block_on(async { (landed(b.await), landed(newcomer.await)) }), (1, 1));
    drop(a);
    assert_quiet(&flights);
}

#[test]
fn a_granted_lead_is_passed_on_until_nobody_is_left() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let counted: Vec<Arc<Counted>> = (0..3).map(|_| Arc::default()).collect();
    let mut follows: Vec<_> = counted.iter().map(|_| follow(flights.enter("k", LATER))).collect();
    for (follow, counted) in follows.iter_mut().zip(&counted) {
        assert!(poll_with(follow, counted).is_none());
    }
    drop(lease);
    for granted in 0..3 {
        let wakes: Vec<_> = counted.iter().map(|counted| counted.0.load(Ordering::SeqCst)).collect();
        assert_eq!(wakes, (0..3).map(|i| usize::from(i <= granted)).collect::<Vec<_>>());
        drop(follows.remove(0));
    }
    assert_quiet(&flights);
    drop(lead(flights.enter("k", LATER)));
}

#[test]
fn a_follower_that_was_never_polled_is_told_that_the_flight_is_gone() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let follower = follow(flights.enter("k", LATER));
    drop(lease);
    assert!(matches!(block_on(follower), Followed::Gone));
    drop(lead(flights.enter("k", LATER)));
    assert_quiet(&flights);
}

#[test]
fn after_unlink_a_new_flight_starts_and_the_old_one_still_lands() {
    let flights = Flights::new();
    let old = lead(flights.enter("k", LATER));
    let before = follow(flights.enter("k", LATER));
    flights.unlink("k");
    assert!(!old.is_linked());
    let new = lead(flights.enter("k", LATER));
    let after = follow(flights.enter("k", LATER));
    assert!(old.land(1), "an unlinked flight is still its leader's to land");
    assert!(new.is_linked(), "the old flight removed the new one");
    assert_eq!(landed(block_on(before)), 1);
    assert!(new.land(2));
    assert_eq!(landed(block_on(after)), 2);
    assert_quiet(&flights);
}

#[test]
fn an_unlinked_flight_is_handed_over_too() {
    let flights = Flights::new();
    let lease = lead(flights.enter("k", LATER));
    let mut a = follow(flights.enter("k", LATER));
    let counted = Arc::default();
    assert!(poll_with(&mut a, &counted).is_none());
    flights.unlink_where(|key| key == "k");
    drop(lease);
    let lease = taken_over(poll_with(&mut a, &counted));
    assert!(!lease.is_linked());
    assert!(lease.land(1));
    drop(a);
    assert_quiet(&flights);
}

#[test]
fn unlink_where_takes_out_what_it_names() {
    let flights = Flights::<u32>::new();
    let leases: Vec<_> = (0..100).map(|i| lead(flights.enter(&format!("{}:{i}", i % 2), LATER))).collect();
    flights.unlink_where(|key| key.starts_with("1:"));
    assert_eq!(flights.len(), 50);
    assert!(leases.iter().all(|lease| lease.is_linked() == lease.key().starts_with("0:")));
    drop(leases);
    assert_quiet(&flights);
}

#[test]
fn a_flight_that_expires_ends_once_and_for_its_followers() {
    let flights = Flights::new();
    let lease = lead(flights.enter("k", LATER));
    lease.set_deadline(Duration::from_millis(5));
    let (a, b) = (follow(flights.enter("k", LATER)), follow(flights.enter("k", LATER)));
    assert_eq!(a.deadline(), Duration::from_millis(5));
    assert!(a.expire("expired"));
    assert!(!b.expire("again"));
    let next = lead(flights.enter("k", LATER));
    assert!(!lease.land("late"));
    assert_eq!(block_on(async { (landed(a.await), landed(b.await)) }), ("expired", "expired"));
    assert!(next.land("next"));
    assert_quiet(&flights);
}

#[test]
fn closing_ends_every_flight() {
    let flights = Flights::new();
    let leases: Vec<_> = (0..10).map(|i| lead(flights.enter(&i.to_string(), LATER))).collect();
    let follows: Vec<_> = (0..10).map(|i| follow(flights.enter(&i.to_string(), LATER))).collect();
    flights.end_all("closed");
    assert!(block_on(join_all(follows)).into_iter().all(|followed| landed(followed) == "closed"));
    assert!(leases.into_iter().all(|lease| !lease.land("late")));
    assert_quiet(&flights);
}

#[test]
fn a_load_that_asks_for_its_own_key_is_noticed_through_awaits_and_after_unlink() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let other = lead(flights.enter("other", LATER));
    block_on(lease.run(async {
        assert!(nesting::is_loading(flights.id()));
        let inner = async { matches!(flights.enter("k", LATER), Entered::Nested) };
        assert!(other.run(async { inner.boxed_local().await }).await);
        flights.unlink("k");
        assert!(matches!(flights.enter("k", LATER), Entered::Nested));
        assert!(matches!(Flights::<u32>::new().enter("k", LATER), Entered::Lead(_)));
    }));
    assert!(!nesting::is_loading(flights.id()));
    assert!(matches!(flights.enter("k", LATER), Entered::Lead(_)));
}

#[test]
fn a_panic_leaves_no_load_on_the_stack_and_hands_the_lead_over() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let mut a = follow(flights.enter("k", LATER));
    let counted = Arc::default();
    assert!(poll_with(&mut a, &counted).is_none());
    let load = async move { lease.run(async { resume_unwind(Box::new("load")) }).await };
    let caught: Result<(), _> = catch_unwind(AssertUnwindSafe(|| block_on(load)));
    assert!(caught.is_err() && !nesting::is_loading(flights.id()));
    assert!(taken_over(poll_with(&mut a, &counted)).land(1));
}

#[test]
fn a_thread_does_not_wait_for_a_leader_that_only_it_could_poll() {
    let flights = Flights::<u32>::new();
    let lease = lead(flights.enter("k", LATER));
    let mut load = Box::pin(lease.run(std::future::pending::<()>()));
    assert!(load.as_mut().now_or_never().is_none());
    let stuck = park::block_on(follow(flights.enter("k", LATER)));
    assert!(matches!(stuck, Ok(Followed::OwnThread)));
    drop(load);
    assert_eq!(lease.core.flight().waiters(), 0);
    // A task on any executor waits as usual.
    assert!(follow(flights.enter("k", LATER)).now_or_never().is_none());
    drop(lease);
    assert_quiet(&flights);
}

#[test]
fn a_thread_does_not_wait_for_a_grant_that_only_it_could_take() {
    let flights = Flights::<u32>::new();
    let lease = thread::scope(|scope| scope.spawn(|| lead(flights.enter("k", LATER))).join().unwrap());
    let mut task = follow(flights.enter("k", LATER));
    assert!(poll_with(&mut task, &Arc::default()).is_none());
    thread::scope(|scope| scope.spawn(|| drop(lease)).join().unwrap());
    assert!(matches!(park::block_on(follow(flights.enter("k", LATER))), Ok(Followed::OwnThread)));
    drop(task);
    assert_quiet(&flights);
}

#[test]
fn leader_and_follower_in_one_blocking_call_wait_for_each_other() {
    let flights = Flights::new();
    let both = async {
        let lease = lead(flights.enter("k", LATER));
        let follower = follow(flights.enter("k", LATER));
        let mut yielded = false;
        let load = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut yielded, true) { Poll::Ready(7) } else { Poll::Pending }
        });
        let leader = async {
            let found = lease.run(load).await;
            lease.land(found)
        };
        futures::join!(leader, follower)
    };
    let (landed_it, followed) = park::block_on(both).unwrap();
    assert!(landed_it);
    assert_eq!(landed(followed), 7);
}

/// Threads and tasks enter, cancel, panic and land at random over few keys: never two leaders of one linked flight, nobody
/// is left waiting, nothing is left behind.
#[test]
fn threads_and_tasks_mixed() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let flights = Arc::new(Flights::new());
    let leaders: Arc<[AtomicUsize; 3]> = Arc::default();
    let start = Arc::new(Barrier::new(6));
    let threads: Vec<_> = (0..6)
        .map(|seed| {
            let (flights, leaders, start) = (flights.clone(), leaders.clone(), start.clone());
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                start.wait();
                for _ in 0..3_000 {
                    let key = random.usize(..KEYS.len());
                    let call = one_call(&flights, KEYS[key], &leaders[key], random.u32(..10));
                    let done = match random.bool() {
                        true => catch_unwind(AssertUnwindSafe(|| block_on(call))),
                        false => catch_unwind(AssertUnwindSafe(|| park::block_on(call).unwrap())),
                    };
                    match done {
                        Ok(found) => assert!(found.is_none_or(|found| found == key)),
                        Err(panic) => assert_eq!(panic.downcast_ref(), Some(&"load")),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_quiet(&flights);
}

async fn one_call(flights: &Flights<usize>, key: &str, leaders: &AtomicUsize, fate: u32) -> Option<usize> {
    let lease = loop {
        match flights.enter(key, LATER) {
            Entered::Lead(lease) => break lease,
            Entered::Follow(mut follow) if fate == 0 => {
                poll_fn(|cx| Poll::Ready(Pin::new(&mut follow).poll(cx).is_ready())).await;
                return None;
            }
            Entered::Follow(follow) => match follow.await {
                Followed::Lead(lease) => break lease,
                Followed::Landed(found) => return Some(found),
                Followed::Gone => {}
                Followed::OwnThread => panic!("a leader on another thread"),
            },
            Entered::Nested => panic!("nested"),
        }
    };
    assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
    let found = crate::park::block_on(lease.run(async { (key.as_bytes()[0] - b'a') as usize })).unwrap();
    assert_eq!(leaders.fetch_sub(1, Ordering::SeqCst), 1);
    match fate {
        1 => None,
        2 => resume_unwind(Box::new("load")),
        _ => {
            assert!(lease.land(found));
            Some(found)
        }
    }
}
