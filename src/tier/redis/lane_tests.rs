//! The lane over a wire that takes what the test lets it take, by hand: no runtime, no clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::lane::{Caller, Lane, Request, Wire};

/// What every wire and caller of a test did.
#[derive(Default)]
struct World {
    taken: Vec<u8>,
    writes: usize,
    /// Bytes that the wire takes with one write; none is a wire that is full.
    room: usize,
    /// How often a flush is still to say that it has not ended.
    unflushed: usize,
    flushed: usize,
    told: Vec<(u32, Result<Vec<u8>, &'static str>)>,
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<World>>);

struct One(Shared, u32);

impl Wire for Shared {
    type Broken = &'static str;

    fn write(&mut self, bytes: &[u8], _: &mut Context<'_>) -> Poll<Result<usize, Self::Broken>> {
        let world = &mut *self.0.borrow_mut();
        world.writes += 1;
        let count = bytes.len().min(world.room);
        if count == 0 {
            return Poll::Pending;
        }
        world.taken.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Broken>> {
        let world = &mut *self.0.borrow_mut();
        if world.unflushed > 0 {
            world.unflushed -= 1;
            return Poll::Pending;
        }
        world.flushed = world.taken.len();
        Poll::Ready(Ok(()))
    }
}

impl Caller for One {
    type Answer = u8;
    type Error = &'static str;
    type Time = u32;

    fn tell(self, answers: Result<Vec<u8>, &'static str>) {
        self.0.0.borrow_mut().told.push((self.1, answers));
    }
}

struct Test {
    world: Shared,
    lane: Lane<Shared, One>,
    waiting: VecDeque<Request<One>>,
}

impl Test {
    fn open() -> Self {
        let world = Shared::default();
        world.0.borrow_mut().room = 10;
        let lane = Lane::new();
        lane.open(world.clone());
        Self { world, lane, waiting: VecDeque::new() }
    }

    /// Sends `length` bytes that ask for one answer.
    fn send(&self, number: u32, length: usize) -> bool {
        let request = Request::new(vec![b'x'; length], 1, number, One(self.world.clone(), number));
        self.lane.send(request).is_ok()
    }

    /// One turn of the supervisor; whether everything is sent.
    fn turn(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.lane.take(&mut self.waiting, &cx);
        self.lane.poll_send(&mut self.waiting, &mut cx).is_ready()
    }

    fn world(&self) -> std::cell::RefMut<'_, World> {
        self.world.0.borrow_mut()
    }

    /// Writes, bytes taken, and how many of them were sent off.
    fn counts(&self) -> (usize, usize, usize) {
        let world = self.world();
        (world.writes, world.taken.len(), world.flushed)
    }
}

#[test]
fn a_caller_writes_once_and_leaves_the_rest_of_what_is_large() {
    let mut test = Test::open();
    assert!(test.send(1, 35));
    assert_eq!(test.counts(), (1, 10, 0));
    assert!(test.turn());
    assert_eq!(test.counts(), (4, 35, 35));
}

#[test]
fn what_a_wire_has_taken_is_not_done_with_before_it_is_sent_off() {
    let mut test = Test::open();
    test.world().unflushed = 2;
    assert!(test.send(1, 5));
    assert_eq!(test.counts(), (1, 5, 0));
    assert!(!test.turn());
    assert!(test.turn());
    assert_eq!(test.counts(), (1, 5, 5));
}

#[test]
fn what_was_late_keeps_its_place() {
    let mut test = Test::open();
    assert!(test.send(1, 1) && test.send(2, 1));
    assert!(test.turn());
    assert!(test.lane.expire(1, || "late"));
    assert!(!test.lane.expire(1, || "late"), "nobody is told twice");
    assert!(test.lane.settle(10) && test.lane.settle(20));
    assert!(!test.lane.settle(30), "nobody asked for it");
    assert_eq!(test.world().told, [(1, Err("late")), (2, Ok(vec![20]))]);
}

#[test]
fn every_end_reaches_everybody() {
    let mut test = Test::open();
    // On the wire, packed, in the supervisor's hands, queued; and one that comes too late.
    assert!(test.send(0, 1) && test.send(1, 1));
    test.world().room = 0;
    assert!(!test.turn());
    assert!(test.send(2, 1));
    let waiting = &mut test.waiting;
    test.lane.take(waiting, &Context::from_waker(Waker::noop()));
    assert_eq!(waiting.len(), 1);
    assert!(test.send(3, 1));
    test.lane.close(&"closed");
    test.lane.shut(&"shut");
    test.waiting.drain(..).for_each(|request| request.fail("dropped"));
    assert!(!test.send(4, 1));
    let told = [(0, Err("closed")), (1, Err("closed")), (3, Err("shut")), (2, Err("dropped"))];
    assert_eq!(test.world().told, told);
}

#[test]
fn what_waited_once_takes_no_memory_for_ever() {
    let mut test = Test::open();
    for number in 0..100_000 {
        assert!(test.send(number, 1));
    }
    let cx = Context::from_waker(Waker::noop());
    assert!(test.lane.take(&mut test.waiting, &cx));
    assert_eq!(test.waiting.len(), 99_999, "the first was written");
    test.waiting.clear();
    for _ in 0..2 {
        test.lane.take(&mut test.waiting, &cx);
        assert!(test.waiting.capacity() < 2000, "{}", test.waiting.capacity());
    }
}
