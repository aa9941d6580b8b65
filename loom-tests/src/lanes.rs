//! A link's lane: callers that write and queue, and the supervisor that does the rest.
//!
//! The supervisor is a thread that sleeps until it is woken, by the lane or by the server; its loop is that of
//! `tier/redis/link.rs`. The server answers every byte with that byte. Who was told what is kept out of loom's sight: it
//! orders nothing.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use crate::harness::models;
use crate::lane::{Caller, Lane, Request, Wire};
use crate::sync::{Arc, Mutex};

#[derive(Default)]
struct Server {
    heard: Vec<u8>,
    answered: usize,
    /// Whether it answers.
    frozen: bool,
    /// The next write finds no room, the one after it does.
    full: bool,
    reader: Option<Waker>,
}

#[derive(Clone)]
struct Pipe(Arc<Mutex<Server>>);

impl Wire for Pipe {
    type Broken = &'static str;

    fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Self::Broken>> {
        let mut server = self.0.lock();
        if std::mem::take(&mut server.full) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        server.heard.push(bytes[0]);
        let reader = if server.frozen { None } else { server.reader.take() };
        drop(server);
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Ready(Ok(1))
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Broken>> {
        Poll::Ready(Ok(()))
    }
}

type Outcome = Result<Vec<u8>, &'static str>;

/// Whom the lane told what, in that order.
type Told = std::sync::Arc<std::sync::Mutex<Vec<(u8, Outcome)>>>;

struct One(Told, u8);

impl Caller for One {
    type Answer = u8;
    type Error = &'static str;
    type Time = u8;

    fn tell(self, outcome: Outcome) {
        self.0.lock().unwrap().push((self.1, outcome));
    }
}

#[derive(Clone)]
struct World {
    lane: Arc<Lane<Pipe, One>>,
    server: Arc<Mutex<Server>>,
    told: Told,
}

impl World {
    fn open(server: Server) -> Self {
        let world = Self::closed(server);
        world.lane.open(Pipe(world.server.clone()));
        world
    }

    fn closed(server: Server) -> Self {
        Self { lane: Arc::new(Lane::new()), server: Arc::new(Mutex::new(server)), told: Told::default() }
    }

    /// Sends one byte, the number of the request and its deadline too; whether the lane took it.
    fn send(&self, number: u8) -> bool {
        let request = Request::new(vec![number], 1, number, One(self.told.clone(), number));
        self.lane.send(request).is_ok()
    }

    /// Callers on threads of their own. The supervisor is the thread that runs the model.
    fn senders<const N: usize>(&self, numbers: [&'static [u8]; N]) {
        for numbers in numbers {
            let world = self.clone();
            thread::spawn(move || assert!(numbers.iter().all(|&number| world.send(number))));
        }
    }

    fn told(&self) -> Vec<(u8, Outcome)> {
        self.told.lock().unwrap().clone()
    }

    fn serve(&self) -> Supervisor<'_> {
        Supervisor { world: self, waiting: VecDeque::new() }
    }
}

struct Supervisor<'a> {
    world: &'a World,
    waiting: VecDeque<Request<One>>,
}

impl Supervisor<'_> {
    /// One turn; whether anybody is left who could ask.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(answer) = self.read(cx) {
            assert!(self.world.lane.settle(answer), "an answer that nobody asked for");
        }
        let asked = self.world.lane.take(&mut self.waiting, cx);
        let _ = self.world.lane.poll_send(&mut self.waiting, cx);
        asked
    }

    fn read(&self, cx: &Context<'_>) -> Option<u8> {
        let mut server = self.world.server.lock();
        if server.frozen || server.answered == server.heard.len() {
            server.reader = Some(cx.waker().clone());
            return None;
        }
        server.answered += 1;
        Some(server.heard[server.answered - 1])
    }

    /// Turns until so many were told. A timer runs.
    fn until_told(&mut self, count: usize) {
        block_on(poll_fn(|cx| {
            self.turn(cx);
            self.world.lane.watch(true);
            if self.world.told.lock().unwrap().len() == count { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}

fn answered(number: u8) -> (u8, Outcome) {
    (number, Ok(vec![number]))
}

models! {
    /// A request that finds the queue empty wakes the supervisor, and all that join it are found with it.
    the_queue_is_not_slept_over finds looked_before_known {
        let world = World::closed(Server::default());
        world.senders([&[1], &[2]]);
        let mut waiting = VecDeque::new();
        block_on(poll_fn(|cx| {
            world.lane.take(&mut waiting, cx);
            if waiting.len() == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    /// What a caller could not write the supervisor does.
    what_did_not_fit_is_written finds held_up_in_silence {
        let world = World::open(Server { full: true, ..Server::default() });
        world.lane.watch(true);
        world.senders([&[1]]);
        world.serve().until_told(1);
        assert_eq!(world.told(), [answered(1)]);
    }

    /// The first request while no timer runs has one set for it, also if its caller wrote it.
    a_deadline_is_kept finds untimed_in_silence {
        let world = World::open(Server { frozen: true, ..Server::default() });
        world.senders([&[1]]);
        let mut supervisor = world.serve();
        let deadline = block_on(poll_fn(|cx| {
            supervisor.turn(cx);
            world.lane.watch(false).first.map_or(Poll::Pending, Poll::Ready)
        }));
        assert!(world.lane.expire(deadline, || "late"));
        assert_eq!(world.told(), [(1, Err("late"))]);
    }

    /// Requests of one caller leave in its order, on whichever way, and each answer is its own request's.
    requests_keep_their_order finds overtaken, written_before_awaited {
        let world = World::open(Server::default());
        assert!(world.send(0));
        world.senders([&[1, 2]]);
        world.serve().until_told(3);
        assert_eq!(world.told(), [answered(0), answered(1), answered(2)]);
        assert_eq!(world.server.lock().heard, [0, 1, 2]);
    }

    /// Two callers at once: each answer is its own request's.
    answers_find_their_requests finds written_before_awaited {
        let world = World::open(Server::default());
        world.senders([&[1], &[2]]);
        world.serve().until_told(2);
        let mut told = world.told();
        told.sort();
        assert_eq!(told, [answered(1), answered(2)]);
    }

    /// A request that is told that it is late still takes its answer, and nobody else's.
    what_is_late_keeps_its_place finds late_and_forgotten {
        let world = World::open(Server { frozen: true, ..Server::default() });
        world.senders([&[1, 2]]);
        let mut supervisor = world.serve();
        block_on(poll_fn(|cx| {
            supervisor.turn(cx);
            world.lane.watch(false);
            if world.lane.expire(1, || "late") { Poll::Ready(()) } else { Poll::Pending }
        }));
        world.server.lock().frozen = false;
        supervisor.until_told(2);
        assert_eq!(world.told(), [(1, Err("late")), answered(2)]);
    }

    /// Wherever a request is when the connection and the link end, its caller hears of it, once.
    the_end_reaches_everybody finds inbox_before_outbox, queued_after_the_end {
        let world = World::open(Server { frozen: true, ..Server::default() });
        let sent = [1, 2].map(|number| {
            let world = world.clone();
            thread::spawn(move || world.send(number))
        });
        world.lane.close(&"closed");
        world.lane.shut(&"shut");
        let taken = sent.map(|sender| sender.join().unwrap()).into_iter().filter(|taken| *taken).count();
        let told = world.told();
        assert_eq!(told.len(), taken, "{told:?}");
        assert!(told.iter().all(|(_, outcome)| outcome.is_err()));
    }

    /// A connection that ends while requests are made: those that come after it wait for the next.
    what_comes_after_a_connection_waits_for_the_next finds inbox_before_outbox {
        let world = World::open(Server { frozen: true, ..Server::default() });
        world.senders([&[1]]);
        world.lane.close(&"closed");
        let next = World { server: Arc::new(Mutex::new(Server::default())), ..world.clone() };
        next.lane.open(Pipe(next.server.clone()));
        next.serve().until_told(1);
        let heard = !next.server.lock().heard.is_empty();
        assert_eq!(next.told(), [if heard { answered(1) } else { (1, Err("closed")) }]);
    }

    /// The last handle tells that it was.
    the_last_handle_is_noticed finds deserted_in_silence {
        let world = World::open(Server::default());
        let last = world.clone();
        thread::spawn(move || {
            assert!(last.send(1));
            last.lane.desert();
        });
        let mut supervisor = world.serve();
        block_on(poll_fn(|cx| if supervisor.turn(cx) { Poll::Pending } else { Poll::Ready(()) }));
        supervisor.until_told(1);
        assert_eq!(world.told(), [answered(1)]);
    }
}
