use std::future::{poll_fn, ready};
use std::sync::mpsc;
use std::thread;

use super::*;

/// Pending once; its waker goes to `out`.
fn pending_once(out: mpsc::Sender<Waker>) -> impl Future<Output = u32> {
    let mut polled = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(7);
        }
        out.send(cx.waker().clone()).unwrap();
        Poll::Pending
    })
}

#[test]
fn a_ready_future_needs_no_wait() {
    assert!(!is_blocking());
    assert_eq!(block_on(async { is_blocking() }), Ok(true));
    assert!(!is_blocking());
}

#[test]
fn another_thread_ends_the_wait() {
    let (out, wakers) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || wakers.recv().unwrap().wake());
    assert_eq!(block_on(pending_once(out)), Ok(7));
    waker.join().unwrap();
}

#[test]
fn a_nested_wait_leaves_the_outer_wakeup_alone() {
    let mut polls = 0;
    let outer = poll_fn(|cx| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(());
        }
        // The outer wake-up comes before the inner wait, and the inner one after it.
        cx.waker().wake_by_ref();
        let (out, wakers) = mpsc::channel::<Waker>();
        let helper = thread::spawn(move || wakers.recv().unwrap().wake());
        assert_eq!(block_on(pending_once(out)), Ok(7));
        helper.join().unwrap();
        Poll::Pending
    });
    assert_eq!(block_on(outer), Ok(()));
}

#[test]
fn a_pinned_thread_is_refused_and_the_future_dropped() {
    let alive = Arc::new(());
    let held = alive.clone();
    let waits = poll_fn(move |_| {
        let _ = &held;
        Poll::<()>::Pending
    });
    epoch::pin(|_| {
        epoch::pin(|_| {});
        assert_eq!(block_on(waits), Err(WouldWait::Pinned));
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(block_on(ready(3)), Ok(3));
    });
    let (out, wakers) = mpsc::channel::<Waker>();
    let helper = thread::spawn(move || wakers.recv().unwrap().wake());
    assert_eq!(block_on(pending_once(out)), Ok(7));
    helper.join().unwrap();
}

#[test]
fn an_io_thread_is_refused() {
    let refused = thread::spawn(|| {
        mark_io_thread();
        block_on(std::future::pending::<()>())
    });
    assert_eq!(refused.join().unwrap(), Err(WouldWait::IoThread));
}

#[test]
fn a_panic_ends_the_session() {
    let caught = std::panic::catch_unwind(|| block_on(async { std::panic::resume_unwind(Box::new(())) }));
    let _: Result<Result<(), _>, _> = caught;
    assert!(!is_blocking());
}

#[test]
fn what_an_outer_call_polled_is_stuck_and_what_this_call_polled_is_not() {
    let outside = Whereabouts::here();
    assert!(!outside.is_stuck_here());
    let checked = block_on(async {
        let outer = Whereabouts::here();
        assert!(outside.is_stuck_here());
        assert!(!outer.is_stuck_here());
        block_on(async { assert!(outer.is_stuck_here()) })
    });
    assert_eq!(checked, Ok(Ok(())));
    let elsewhere = thread::spawn(Whereabouts::here).join().unwrap();
    assert_eq!(block_on(async { elsewhere.is_stuck_here() }), Ok(false));
}

#[test]
fn a_second_call_allocates_no_second_parker() {
    assert_eq!(block_on(ready(1)), Ok(1));
    let of = || block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    assert!(of().unwrap().will_wake(&of().unwrap()));
}
