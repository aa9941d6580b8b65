//! A live connection as its callers and its supervisor share it: what goes out, and who waits for what comes back.
//!
//! A request that nobody is ahead of is written by its caller, who thus wakes the server and not the background thread
//! first. All others go through the queue and are written together by the supervisor. Where several travelled together, the
//! next one is queued as well: more are likely to come, and one write for all costs less.
//!
//! # Invariants
//! L1. A request is awaited before its first byte is written, and both in the same order: answers belong to whoever is at the
//! front.
//! L2. A caller writes only if every request that was queued before has been packed (K1).
//! L3. Whoever leaves something to do for the supervisor wakes it: a request in an empty queue, bytes that did not fit, or the
//! first request while no timer runs.
//! L4. Once the lane is shut nothing enters the queue, and once it is closed nobody is awaited: what entered before is told.
//!
//! Checked by `loom-tests/src/lanes.rs`. What a wire, a caller and a time are in the crate, `request` says.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker, ready};

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, planted};

/// The direction that requests leave in.
pub(crate) trait Wire {
    /// Why nothing more can leave.
    type Broken;

    /// Takes the first bytes, one at least; how many.
    fn write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Self::Broken>>;

    /// Sends off what it has taken.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Broken>>;
}

/// Who waits for the answers to one request. It may have stopped to.
pub(crate) trait Caller {
    type Answer;
    type Error: Clone;
    /// When somebody has waited too long.
    type Time: Copy + Ord;

    /// Ends the wait.
    fn tell(self, answers: Result<Vec<Self::Answer>, Self::Error>);
}

/// Commands that are sent next to each other, and who waits for their answers.
pub(crate) struct Request<C: Caller> {
    packed: Vec<u8>,
    awaited: Awaited<C>,
}

/// Who waits for the next answers.
struct Awaited<C: Caller> {
    deadline: C::Time,
    missing: usize,
    answers: Vec<C::Answer>,
    /// Taken when the deadline has passed. The answers come all the same.
    caller: Option<C>,
}

impl<C: Caller> Request<C> {
    /// The bytes of `commands` commands, one at least.
    pub(crate) fn new(packed: Vec<u8>, commands: usize, deadline: C::Time, caller: C) -> Self {
        let awaited =
            Awaited { deadline, missing: commands, answers: Vec::with_capacity(commands), caller: Some(caller) };
        Self { packed, awaited }
    }

    pub(crate) fn deadline(&self) -> C::Time {
        self.awaited.deadline
    }

    /// Answers with `error`.
    pub(crate) fn fail(self, error: C::Error) {
        self.awaited.end(Err(error));
    }
}

impl<C: Caller> Awaited<C> {
    fn end(self, answers: Result<Vec<C::Answer>, C::Error>) {
        if let Some(caller) = self.caller {
            caller.tell(answers);
        }
    }
}

/// What callers and supervisor share.
pub(crate) struct Lane<W, C: Caller> {
    queue: Mutex<Queue<C>>,
    outbox: Mutex<Outbox<W>>,
    inbox: Mutex<Inbox<C>>,
    /// Requests in the queue and in the supervisor's hands that are neither packed nor refused.
    queued: AtomicUsize,
    /// Whether the supervisor has to write what a caller could not. Spares it the lock, which a caller holds as it writes: the
    /// answer may be there before that has ended.
    held_up: AtomicBool,
    /// Whether the last requests that the supervisor wrote were several at once.
    crowded: AtomicBool,
    /// Whether the supervisor has ended. Written under the queue's lock.
    shut: AtomicBool,
}

/// What the supervisor has not seen yet.
struct Queue<C: Caller> {
    requests: VecDeque<Request<C>>,
    /// Nobody is left who could ask.
    deserted: bool,
    supervisor: Option<Waker>,
}

struct Outbox<W> {
    /// There is one while the link is live.
    wire: Option<W>,
    /// Bytes of packed requests, of which those before `written` are on the wire. None once they are sent off.
    bytes: Vec<u8>,
    written: usize,
}

struct Inbox<C: Caller> {
    awaited: VecDeque<Awaited<C>>,
    /// Whether the supervisor looks again by itself before the deadline of a request that is made now.
    timed: bool,
}

/// The most requests that await answers at once; the others wait for room.
const MOST: usize = 1024;
/// No further request joins this many bytes that are not written yet: they are one piece of memory.
const ENOUGH: usize = 1 << 20;
/// The memory that an idle connection keeps for the next requests.
const KEPT: usize = 16 << 10;

impl<W: Wire, C: Caller> Lane<W, C> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue { requests: VecDeque::new(), deserted: false, supervisor: None }),
            outbox: Mutex::new(Outbox::empty()),
            inbox: Mutex::new(Inbox::empty()),
            queued: AtomicUsize::new(0),
            held_up: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            shut: AtomicBool::new(false),
        }
    }

    /// Writes the request if it is alone, else queues it; gives it back if the supervisor has ended.
    pub(crate) fn send(&self, request: Request<C>) -> Result<(), Request<C>> {
        match self.write(request) {
            Some(request) => self.enqueue(request),
            None => Ok(()),
        }
    }

    fn enqueue(&self, request: Request<C>) -> Result<(), Request<C>> {
        // Relaxed: a caller that is to see its own earlier request has it in its own order of things; see `write`.
        self.queued.fetch_add(1, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        // Relaxed: written under this lock.
        if self.shut.load(Ordering::Relaxed) && !planted("queued_after_the_end") {
            return Err(request);
        }
        // Who finds another there leaves the supervisor to whoever woke it for that one.
        let supervisor = if queue.requests.is_empty() { queue.supervisor.clone() } else { None };
        queue.requests.push_back(request);
        drop(queue);
        if let Some(supervisor) = supervisor {
            supervisor.wake();
        }
        Ok(())
    }

    /// Moves what is queued to the end of `waiting`, and has the supervisor woken for what comes after; whether anybody is left
    /// who could ask.
    pub(crate) fn take(&self, waiting: &mut VecDeque<Request<C>>, cx: &Context<'_>) -> bool {
        if waiting.is_empty() && waiting.capacity() > MOST {
            *waiting = VecDeque::new();
        }
        let mut queue = self.queue.lock();
        if waiting.is_empty() {
            // Whole, so that callers wait for no copy.
            std::mem::swap(waiting, &mut queue.requests);
        } else {
            waiting.append(&mut queue.requests);
        }
        if planted("looked_before_known") {
            drop(queue);
            queue = self.queue.lock();
        }
        if !queue.supervisor.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            queue.supervisor = Some(cx.waker().clone());
        }
        !queue.deserted
    }

    /// The last handle is gone.
    pub(crate) fn desert(&self) {
        self.queue.lock().deserted = true;
        if !planted("deserted_in_silence") {
            self.wake();
        }
    }

    /// The supervisor has ended: refuses what is queued and whatever comes.
    pub(crate) fn shut(&self, why: &C::Error) {
        let mut queue = self.queue.lock();
        // Relaxed: see `is_shut`; under the lock for `enqueue`.
        self.shut.store(true, Ordering::Relaxed);
        let left = std::mem::take(&mut queue.requests);
        let supervisor = queue.supervisor.take();
        drop(queue);
        drop(supervisor);
        left.into_iter().for_each(|request| request.fail(why.clone()));
    }

    /// Whether the supervisor has ended.
    pub(crate) fn is_shut(&self) -> bool {
        // Relaxed: a hint; `enqueue` looks again.
        self.shut.load(Ordering::Relaxed)
    }

    /// Takes back what was counted as queued, for requests that were refused.
    pub(crate) fn refused(&self, count: usize) {
        // Relaxed: see `write`.
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }

    /// Writes the request if it is alone; else gives it back.
    fn write(&self, request: Request<C>) -> Option<Request<C>> {
        // Relaxed: a guess at what pays.
        if self.crowded.load(Ordering::Relaxed) {
            return Some(request);
        }
        // Relaxed: requests of one caller, and of callers that follow each other, are ordered by what orders the callers.
        let behind = || self.queued.load(Ordering::Relaxed) > 0 && !planted("overtaken");
        if behind() || !self.inbox.lock().awaited.is_empty() {
            return Some(request);
        }
        let mut outbox = self.outbox.lock();
        // Once more, since the supervisor packs under this lock.
        if outbox.wire.is_none() || !outbox.bytes.is_empty() || behind() {
            return Some(request);
        }
        let Request { packed, awaited } = request;
        outbox.bytes = packed;
        // Its readiness matters to the supervisor, who asks for it. An error comes up there too. One write is what a caller's
        // thread gives: the rest of what is large is the supervisor's.
        let mut cx = Context::from_waker(Waker::noop());
        let early = if planted("written_before_awaited") { Some(outbox.flush(1, &mut cx)) } else { None };
        let mut inbox = self.inbox.lock();
        inbox.awaited.push_back(awaited);
        let timed = inbox.timed;
        drop(inbox);
        let written = early.unwrap_or_else(|| outbox.flush(1, &mut cx));
        let held_up = !matches!(written, Poll::Ready(Ok(())));
        if held_up {
            // Relaxed: the wake-up below, or one that comes later, carries it to the supervisor; the bytes have their lock.
            self.held_up.store(true, Ordering::Relaxed);
        }
        drop(outbox);
        if (held_up && !planted("held_up_in_silence")) || (!timed && !planted("untimed_in_silence")) {
            self.wake();
        }
        None
    }

    fn wake(&self) {
        let supervisor = self.queue.lock().supervisor.clone();
        if let Some(supervisor) = supervisor {
            supervisor.wake();
        }
    }

    /// Opens the lane: callers may write.
    pub(crate) fn open(&self, wire: W) {
        self.outbox.lock().wire = Some(wire);
    }

    /// Closes the lane and tells whoever still waits `why`.
    pub(crate) fn close(&self, why: &C::Error) {
        // Who writes holds the outbox, so the inbox is whole once that is empty.
        let early = planted("inbox_before_outbox").then(|| std::mem::replace(&mut *self.inbox.lock(), Inbox::empty()));
        let outbox = std::mem::replace(&mut *self.outbox.lock(), Outbox::empty());
        drop(outbox);
        let inbox = early.unwrap_or_else(|| std::mem::replace(&mut *self.inbox.lock(), Inbox::empty()));
        for awaited in inbox.awaited {
            awaited.end(Err(why.clone()));
        }
    }

    /// Packs what waits, as far as there is room, and writes. Pending while something is left that only the wire holds up.
    pub(crate) fn poll_send(
        &self,
        waiting: &mut VecDeque<Request<C>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), W::Broken>> {
        // Relaxed: see `write`.
        if waiting.is_empty() && !self.held_up.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut outbox = self.outbox.lock();
        loop {
            if outbox.bytes.len() < ENOUGH {
                self.pack(&mut outbox, waiting);
            }
            // Relaxed: under the lock, as in `write`.
            self.held_up.store(!outbox.bytes.is_empty(), Ordering::Relaxed);
            if outbox.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(outbox.flush(usize::MAX, cx))?;
        }
    }

    fn pack(&self, outbox: &mut Outbox<W>, waiting: &mut VecDeque<Request<C>>) {
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
        // Relaxed: see `write`.
        self.crowded.store(count > 1, Ordering::Relaxed);
        self.refused(count);
    }

    /// Hands out the next answer; false if nobody asked.
    pub(crate) fn settle(&self, answer: C::Answer) -> bool {
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
    pub(crate) fn awaits(&self) -> bool {
        !self.inbox.lock().awaited.is_empty()
    }

    /// Tells those whose deadline has passed what `late` says; whether there were any.
    pub(crate) fn expire(&self, now: C::Time, late: impl Fn() -> C::Error) -> bool {
        let mut inbox = self.inbox.lock();
        let due = inbox.awaited.iter_mut().filter(|awaited| awaited.deadline <= now);
        let due: Vec<_> = due.filter_map(|awaited| awaited.caller.take()).collect();
        if planted("late_and_forgotten") {
            inbox.awaited.retain(|awaited| awaited.caller.is_some());
        }
        drop(inbox);
        let any = !due.is_empty();
        for caller in due {
            caller.tell(Err(late()));
        }
        any
    }

    /// The supervisor looks here before it sleeps: the first deadline among those that wait for answers, unless a timer runs
    /// already. `running` says whether one does, for this lane or for what waits before it.
    pub(crate) fn watch(&self, running: bool) -> Watch<C::Time> {
        let mut inbox = self.inbox.lock();
        let first = inbox.first_deadline();
        inbox.timed = running || first.is_some();
        Watch { first: if running { None } else { first }, idle: first.is_none() }
    }

    /// Requests that await answers, and bytes of them that are not on the wire.
    #[cfg(test)]
    pub(crate) fn awaited_and_unwritten(&self) -> (usize, usize) {
        let outbox = self.outbox.lock();
        (self.inbox.lock().awaited.len(), outbox.bytes.len() - outbox.written)
    }
}

/// What [`Lane::watch`] saw.
pub(crate) struct Watch<T> {
    pub(crate) first: Option<T>,
    /// Nobody waits for an answer, or all of them have waited too long.
    pub(crate) idle: bool,
}

impl<C: Caller> Inbox<C> {
    fn empty() -> Self {
        Self { awaited: VecDeque::new(), timed: false }
    }

    fn first_deadline(&self) -> Option<C::Time> {
        self.awaited.iter().find(|awaited| awaited.caller.is_some()).map(|awaited| awaited.deadline)
    }
}

impl<W> Outbox<W> {
    fn empty() -> Self {
        Self { wire: None, bytes: Vec::new(), written: 0 }
    }
}

impl<W: Wire> Outbox<W> {
    /// Writes all there is, with `most` writes at the most, and sends it off.
    fn flush(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<Result<(), W::Broken>> {
        let Some(wire) = &mut self.wire else { return Poll::Ready(Ok(())) };
        let mut writes = 0;
        while self.written < self.bytes.len() {
            if writes == most {
                return Poll::Pending;
            }
            self.written += ready!(wire.write(&self.bytes[self.written..], cx))?;
            writes += 1;
        }
        ready!(wire.flush(cx))?;
        self.written = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}
