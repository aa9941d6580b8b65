//! A live connection as its callers and its supervisor share it: what goes out, and who waits for what comes back.
//!
//! A request that nobody is ahead of is written by its caller, who thus wakes the server and not the background thread
//! first. All others go through the link's queue and are written together by the supervisor. Where several travelled
//! together, the next one is queued as well: more are likely to come, and one write for all costs less.
//!
//! # Invariants
//! L1. A request is awaited before its first byte is written, and both in the same order: answers belong to whoever is at the
//! front.
//! L2. A caller writes only if every request that was queued before has been packed (K1).
//! L3. Whoever leaves something to do for the supervisor wakes it: bytes that did not fit, or the first request while no
//! timer runs.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use ::redis::{Cmd, Value};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::transport::Writer;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The answers to the commands of one request, in their order; an error answer is one of them.
pub(super) type Answers = Result<Vec<Value>>;

/// Commands that are sent next to each other, and who waits for their answers.
pub(super) struct Request {
    packed: Vec<u8>,
    awaited: Awaited,
}

/// Who waits for the next answers.
struct Awaited {
    deadline: Instant,
    missing: usize,
    answers: Vec<Value>,
    /// Taken when the deadline has passed. The answers come all the same.
    reply: Option<oneshot::Sender<Answers>>,
}

impl Request {
    /// A request and its answer's other end. It has one command at least.
    pub(super) fn new(commands: &[Cmd], deadline: Instant) -> (Self, oneshot::Receiver<Answers>) {
        let mut packed = Vec::with_capacity(commands.len() * 64);
        commands.iter().for_each(|command| command.write_packed_command(&mut packed));
        let (reply, answers) = oneshot::channel();
        let missing = commands.len();
        let awaited = Awaited { deadline, missing, answers: Vec::with_capacity(missing), reply: Some(reply) };
        (Self { packed, awaited }, answers)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.awaited.deadline
    }

    /// Answers with `error`.
    pub(super) fn fail(self, error: Error) {
        self.awaited.end(Err(error));
    }
}

impl Awaited {
    /// Whoever stopped waiting does not hear it.
    fn end(self, answers: Answers) {
        let _ = self.reply.map(|reply| reply.send(answers));
    }
}

/// What callers and supervisor share.
#[derive(Default)]
pub(super) struct Lane {
    outbox: Mutex<Outbox>,
    inbox: Mutex<Inbox>,
    /// Requests in the link's queue and in the supervisor's hands that are neither packed nor refused.
    queued: AtomicUsize,
    /// Whether the supervisor has to write what a caller could not. Spares it the lock, which a caller holds as it writes: the
    /// answer may be there before that has ended.
    held_up: AtomicBool,
    /// Whether the last requests that the supervisor wrote were several at once.
    crowded: AtomicBool,
}

#[derive(Default)]
struct Outbox {
    /// There is one while the link is live.
    writer: Option<Writer>,
    /// Bytes of packed requests, of which those before `written` are on the wire.
    bytes: Vec<u8>,
    written: usize,
}

#[derive(Default)]
struct Inbox {
    awaited: VecDeque<Awaited>,
    /// Whether the supervisor looks again by itself before the deadline of a request that is made now.
    timed: bool,
    supervisor: Option<Waker>,
}

/// The most requests that await answers at once; the others wait for room.
const MOST: usize = 1024;
/// No further request joins this many bytes that are not written yet: they are one piece of memory.
const ENOUGH: usize = 1 << 20;
/// The memory that an idle connection keeps for the next requests.
const KEPT: usize = 16 << 10;

impl Lane {
    /// Counts a request that is about to be queued.
    pub(super) fn enqueued(&self) {
        // Relaxed: a caller that is to see its own earlier request has it in its own order of things; see `send`.
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what `enqueued` counted, for requests that were refused.
    pub(super) fn refused(&self, count: usize) {
        // Relaxed: see `enqueued`.
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }

    /// Writes the request if it is alone; else gives it back.
    pub(super) fn send(&self, request: Request) -> Option<Request> {
        // Relaxed: a guess at what pays.
        if self.crowded.load(Ordering::Relaxed) {
            return Some(request);
        }
        // Relaxed: requests of one caller, and of callers that follow each other, are ordered by what orders the callers.
        if self.queued.load(Ordering::Relaxed) > 0 || !self.inbox.lock().awaited.is_empty() {
            return Some(request);
        }
        let mut outbox = self.outbox.lock();
        // Relaxed: see above. Once more, since the supervisor packs under this lock.
        if outbox.writer.is_none() || !outbox.bytes.is_empty() || self.queued.load(Ordering::Relaxed) > 0 {
            return Some(request);
        }
        let Request { packed, awaited } = request;
        let mut inbox = self.inbox.lock();
        inbox.awaited.push_back(awaited);
        let timed = inbox.timed;
        drop(inbox);
        outbox.bytes = packed;
        // Its readiness matters to the supervisor, who asks for it. An error comes up there too.
        let written = outbox.flush(&mut Context::from_waker(Waker::noop()));
        let held_up = !matches!(written, Poll::Ready(Ok(())));
        if held_up {
            // Relaxed: the wake-up below, or one that comes later, carries it to the supervisor; the bytes have their lock.
            self.held_up.store(true, Ordering::Relaxed);
        }
        drop(outbox);
        if held_up || !timed {
            self.wake();
        }
        None
    }

    fn wake(&self) {
        let supervisor = self.inbox.lock().supervisor.clone();
        if let Some(supervisor) = supervisor {
            supervisor.wake();
        }
    }

    /// Opens the lane: callers may write, and wake `supervisor` where it has to go on.
    pub(super) fn open(&self, writer: Writer, supervisor: Waker) {
        self.inbox.lock().supervisor = Some(supervisor);
        self.outbox.lock().writer = Some(writer);
    }

    /// Closes the lane and tells whoever still waits `why`.
    pub(super) fn close(&self, why: &Error) {
        let outbox = std::mem::take(&mut *self.outbox.lock());
        drop(outbox);
        let inbox = std::mem::take(&mut *self.inbox.lock());
        for awaited in inbox.awaited {
            awaited.end(Err(why.clone()));
        }
    }

    /// Packs what waits, as far as there is room, and writes. Pending while something is left that only the wire holds up.
    pub(super) fn poll_send(&self, waiting: &mut VecDeque<Request>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Relaxed: see `send`.
        if waiting.is_empty() && !self.held_up.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut outbox = self.outbox.lock();
        loop {
            if outbox.bytes.len() < ENOUGH {
                self.pack(&mut outbox, waiting);
            }
            // Relaxed: under the lock, as in `send`.
            self.held_up.store(!outbox.bytes.is_empty(), Ordering::Relaxed);
            if outbox.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(outbox.flush(cx))?;
        }
    }

    fn pack(&self, outbox: &mut Outbox, waiting: &mut VecDeque<Request>) {
        if waiting.is_empty() {
            return;
        }
        let mut inbox = self.inbox.lock();
        let mut count = 0;
        while inbox.awaited.len() < MOST
            && outbox.bytes.len() < ENOUGH
            && let Some(Request { packed, awaited }) = waiting.pop_front()
        {
            inbox.awaited.push_back(awaited);
            outbox.bytes.extend_from_slice(&packed);
            count += 1;
        }
        drop(inbox);
        // Relaxed: see `send`.
        self.crowded.store(count > 1, Ordering::Relaxed);
        self.refused(count);
    }

    /// Hands out the next answer; false if nobody asked.
    pub(super) fn settle(&self, answer: Value) -> bool {
        let mut inbox = self.inbox.lock();
        let Some(first) = inbox.awaited.front_mut() else { return false };
        first.answers.push(answer);
        first.missing -= 1;
        if first.missing > 0 {
            return true;
        }
        let ended = inbox.awaited.pop_front();
        drop(inbox);
        if let Some(mut ended) = ended {
            let answers = std::mem::take(&mut ended.answers);
            ended.end(Ok(answers));
        }
        true
    }

    /// Whether an answer is outstanding.
    pub(super) fn awaits(&self) -> bool {
        !self.inbox.lock().awaited.is_empty()
    }

    /// Tells those whose deadline has passed what `late` says; whether there were any.
    pub(super) fn expire(&self, now: Instant, late: impl Fn() -> Error) -> bool {
        let mut inbox = self.inbox.lock();
        let due = inbox.awaited.iter_mut().filter(|awaited| awaited.deadline <= now);
        let due: Vec<_> = due.filter_map(|awaited| awaited.reply.take()).collect();
        drop(inbox);
        let any = !due.is_empty();
        for reply in due {
            let _ = reply.send(Err(late()));
        }
        any
    }

    /// The supervisor looks here before it sleeps: the first deadline among those that wait for answers, unless a timer runs
    /// already. `running` says whether one does, for this lane or for what waits before it.
    pub(super) fn watch(&self, running: bool, cx: &Context<'_>) -> Watch {
        let mut inbox = self.inbox.lock();
        if !inbox.supervisor.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            inbox.supervisor = Some(cx.waker().clone());
        }
        let first = if running { None } else { inbox.first_deadline() };
        inbox.timed = running || first.is_some();
        Watch { first, idle: inbox.first_deadline().is_none() }
    }

    /// Requests that await answers, and bytes of them that are not on the wire.
    #[cfg(test)]
    pub(super) fn awaited_and_unwritten(&self) -> (usize, usize) {
        let outbox = self.outbox.lock();
        (self.inbox.lock().awaited.len(), outbox.bytes.len() - outbox.written)
    }
}

/// What [`Lane::watch`] saw.
pub(super) struct Watch {
    pub(super) first: Option<Instant>,
    /// Nobody waits for an answer, or all of them have waited too long.
    pub(super) idle: bool,
}

impl Inbox {
    fn first_deadline(&self) -> Option<Instant> {
        self.awaited.iter().find(|awaited| awaited.reply.is_some()).map(|awaited| awaited.deadline)
    }
}

impl Outbox {
    /// Writes all there is.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writer) = &mut self.writer else { return Poll::Ready(Ok(())) };
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *writer).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        Pin::new(writer).poll_flush(cx)
    }
}
