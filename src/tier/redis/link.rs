//! The connection that commands travel on, kept up by a supervisor on the background runtime.
//!
//! A caller whose request is the only one writes it itself; the others, on any thread and any executor, put theirs into one
//! queue. The supervisor is a task that reads the connection and hands the answers out, and sends what waits in one write:
//! while it is busy more gathers, so writes grow with the load and a lone request leaves at once.
//!
//! # Invariants
//! K1. Commands go on the wire in the order in which they were enqueued, whether or not their callers still wait.
//! K2. Every request is answered, at its deadline at the latest, or told that the supervisor has ended.
//! K3. While the link is down a request fails without leaving its caller's thread.
//! K4. When the link is live, nothing that was sent on an earlier connection takes effect any more, unless
//! [`is_orderly`](Link::is_orderly) denies it.
//!
//! # Why not
//! The `redis` crate's `ConnectionManager`: it reconnects on whichever runtime polls it, and never leaves a server that
//! has stopped answering. Its `MultiplexedConnection`: a request would pass two tasks more, one there and one back, and the
//! background thread would have to be woken before the server. It logs in, and then the stream is taken back.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::redis::{Cmd, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::connection::{Client, Wiring, open_stream};
use super::endpoint::Endpoint;
use super::fault;
use super::replies::Replies;
use super::request::{Answers, Lane, Request, request};
use super::transport::{Reader, Stream};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::sync::{Arc, Mutex};

/// Where a link stands.
#[derive(Clone, Debug)]
pub(crate) enum LinkState {
    /// An attempt to connect is running: requests wait for it until their deadline.
    Connecting,
    /// Connected.
    Live,
    /// The last attempt failed for this reason, the next one is due after a pause: requests fail at once.
    Down(Error),
}

/// A handle on a connection; the supervisor ends with the last one.
#[derive(Clone)]
pub(crate) struct Link {
    lane: Arc<Lane>,
    _handles: Arc<Handles>,
    state: watch::Receiver<LinkState>,
    down: Arc<Down>,
    /// From when on the commands of a connection that was not seen to end are over.
    orderly_from: Arc<Mutex<Option<Instant>>>,
    /// Told when the connection is to be given up.
    leave: Arc<Notify>,
    endpoint: Arc<Endpoint>,
    response_timeout: Duration,
}

/// All handles of a link.
struct Handles(Arc<Lane>);

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.desert();
    }
}

/// Whether to refuse requests at the caller.
#[derive(Default)]
struct Down(AtomicBool);

impl Down {
    fn set(&self, down: bool) {
        // Relaxed: a hint; the reason is read from the state's own lock, and a request let through is refused there.
        self.0.store(down, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        // Relaxed: see `set`.
        self.0.load(Ordering::Relaxed)
    }
}

/// In place of a response timeout that no clock can hold: a hundred years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Link {
    /// Starts a supervisor, which connects at once and for ever after.
    pub(crate) fn start(wiring: Wiring) -> Self {
        let (announce, state) = watch::channel(LinkState::Connecting);
        let (down, lane) = (Arc::new(Down::default()), Arc::new(Lane::new()));
        let (orderly_from, leave) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
        let link = Self {
            _handles: Arc::new(Handles(lane.clone())),
            lane: lane.clone(),
            state,
            down: down.clone(),
            orderly_from: orderly_from.clone(),
            leave: leave.clone(),
            endpoint: wiring.endpoint.clone(),
            response_timeout: wiring.options.response_timeout,
        };
        let spawn = wiring.spawn.clone();
        let waiting = VecDeque::new();
        let supervisor =
            Supervisor { wiring, lane, announce, down, orderly_from, leave, earlier: None, waiting, attempt: 0 };
        spawn.spawn(Box::pin(supervisor.run()));
        link
    }

    /// Sends commands next to each other; error answers stay in their places.
    ///
    /// # Cancel safety
    /// Once polled, the commands run also when the future is dropped.
    pub(crate) async fn call_all(&self, commands: &[Cmd]) -> Answers {
        if self.down.is_set()
            && let LinkState::Down(why) = &*self.state.borrow()
        {
            return Err(why.clone());
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let (request, answers) = request(commands, self.deadline());
        self.lane.send(request).map_err(|_| fault::stopped())?;
        answers.await.unwrap_or_else(|_| Err(fault::stopped()))
    }

    /// When a request that is made now has waited too long.
    fn deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.response_timeout).unwrap_or_else(|| now + NEVER)
    }

    /// Sends one command; an error answer is an error.
    pub(crate) async fn call(&self, command: Cmd) -> Result<Value> {
        let answer = self.call_all(&[command]).await?.pop().unwrap_or_default();
        fault::accept(&self.endpoint, answer)
    }

    /// Ends when the link is live for the first time, or again.
    ///
    /// # Errors
    /// The background runtime has stopped.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut state = self.state.clone();
        let live = state.wait_for(|state| matches!(state, LinkState::Live)).await;
        live.map(drop).map_err(|_| fault::stopped())
    }

    /// Where the link stands, with the reason if it is down.
    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Gives the connection up, and makes another: this one, or the next if there is none now, may lead to a server that is
    /// not the right one any more. What was sent on it and is not answered is told that it is unknown what came of it.
    pub(crate) fn leave(&self) {
        self.leave.notify_one();
    }

    /// Whether K4 holds now: the server has ended the connections before this one, or they are long gone.
    pub(crate) fn is_orderly(&self) -> bool {
        self.orderly_from.lock().is_none_or(|from| Instant::now() >= from)
    }

    /// Whether the supervisor has ended, because its runtime has.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lane.is_shut()
    }

    /// The server at the other end.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// The task behind a link. Its methods that wait end with `None` when the last handle is gone.
struct Supervisor {
    wiring: Wiring,
    lane: Arc<Lane>,
    announce: watch::Sender<LinkState>,
    down: Arc<Down>,
    orderly_from: Arc<Mutex<Option<Instant>>>,
    leave: Arc<Notify>,
    /// The last connection that was live. Its client is not known if the server did not tell.
    earlier: Option<Option<Client>>,
    /// Taken from the queue and not sent yet, oldest first.
    waiting: VecDeque<Request>,
    /// Failed attempts in a row; a connection that does not last counts as one.
    attempt: u32,
}

/// After how many deadlines, one after the other and without any answer in between, a connection is given up.
const LATE: u32 = 3;
/// After how long nothing is left on the way of a connection that this side has closed: twice what the socket waits for an
/// acknowledgement.
const GONE: Duration = Duration::from_secs(10);
/// How long a connection has to live for the pauses between attempts to start over.
const STEADY: Duration = Duration::from_secs(1);

impl Supervisor {
    async fn run(mut self) {
        // `None` ends the task: nobody is left to serve.
        while self.round().await.is_some() {}
    }

    /// One connection, from the attempt to its end, and the pause after it.
    async fn round(&mut self) -> Option<()> {
        self.enter(LinkState::Connecting);
        let wiring = self.wiring.clone();
        let earlier = self.earlier.clone().flatten();
        let why = match self.keeping_deadlines(open_stream(&wiring, &wiring.endpoint.login(), earlier.as_ref())).await?
        {
            Ok(opened) => {
                let since = Instant::now();
                if self.earlier.is_some() && !opened.earlier_ended {
                    *self.orderly_from.lock() = Some(since + GONE);
                }
                self.earlier = Some(opened.client);
                let why = self.serve(opened.stream).await?;
                if since.elapsed() >= STEADY {
                    self.attempt = 0;
                    // A connection that did well is worth an attempt before anybody is refused.
                    return Some(());
                }
                why
            }
            Err(why) => why,
        };
        self.enter(LinkState::Down(why.clone()));
        let pause = pause(self.attempt, &*self.wiring.random);
        self.attempt = self.attempt.saturating_add(1);
        self.refusing(pause, why).await
    }

    fn enter(&mut self, state: LinkState) {
        let down = matches!(state, LinkState::Down(_));
        self.announce.send_replace(state);
        self.down.set(down);
    }

    /// Drives `work` while requests gather and their deadlines are kept.
    async fn keeping_deadlines<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                taken = self.take() => taken?,
                () = at(deadline) => {
                    self.expire("no connection");
                }
            }
        }
    }

    /// Sends what is asked for until the connection is of no more use; says why.
    async fn serve(&mut self, stream: Box<dyn Stream>) -> Option<Error> {
        let (reader, writer) = stream.into_halves();
        let open = Open { endpoint: self.wiring.endpoint.clone(), lane: self.lane.clone() };
        let mut line = Line { reader, replies: Replies::new(), timer: None, late: 0, last_late: None };
        self.lane.open(writer);
        self.enter(LinkState::Live);
        let leave = self.leave.clone();
        let why = tokio::select! {
            biased;
            why = poll_fn(|cx| self.poll_serve(&mut line, cx)) => why,
            () = leave.notified() => Some(fault::dropped(&self.wiring.endpoint, "the connection was given up")),
        };
        if let Some(why) = &why {
            open.close(why);
        }
        why
    }

    fn poll_serve(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if let Err(why) = self.take_answers(line, cx) {
            return Poll::Ready(Some(why));
        }
        let asked = self.lane.take(&mut self.waiting, cx);
        let sent = self.lane.poll_send(&mut self.waiting, cx);
        if let Poll::Ready(Err(error)) = sent {
            return Poll::Ready(Some(fault::broken(&self.wiring.endpoint, &error.into())));
        }
        if self.keep_time(line, cx) && self.waiting.is_empty() && !asked {
            return Poll::Ready(None);
        }
        if line.late < LATE {
            return Poll::Pending;
        }
        let limit = self.wiring.options.response_timeout;
        Poll::Ready(Some(fault::late(&self.wiring.endpoint, "several requests in a row found no answer", limit)))
    }

    fn take_answers(&mut self, line: &mut Line, cx: &mut Context<'_>) -> Result<()> {
        let endpoint = &self.wiring.endpoint;
        let broken = |error: RedisError| fault::broken(endpoint, &error);
        let unasked = || fault::dropped(endpoint, "the server sent an answer that nobody asked for");
        while let Poll::Ready(read) = line.replies.poll_read(&mut *line.reader, cx) {
            if read.map_err(|error| broken(error.into()))? == 0 {
                return Err(fault::dropped(endpoint, "the server closed the connection"));
            }
            while let Some(answer) = line.replies.next().map_err(broken)? {
                (line.late, line.last_late) = (0, None);
                if !self.lane.settle(answer) {
                    return Err(unasked());
                }
            }
            if line.replies.has_begun() && !self.lane.awaits() {
                return Err(unasked());
            }
        }
        Ok(())
    }

    /// Tells those whose time is up, and sees to it that the task wakes up for the next; whether nobody waits for
    /// an answer that may still be in time.
    ///
    /// All requests of a link have the same time to live. So one timer does for all of them: set for the first, it is not late
    /// for any that follows.
    fn keep_time(&mut self, line: &mut Line, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(timer) = &mut line.timer
                && timer.as_mut().poll(cx).is_ready()
            {
                line.timer = None;
                let refused = self.expire("no room on the connection");
                let (endpoint, limit) = (&self.wiring.endpoint, self.wiring.options.response_timeout);
                let now = Instant::now();
                let expired = self.lane.expire(now, || fault::late(endpoint, "no answer", limit));
                // Those that were made within one time to live have waited through the same silence.
                if (expired || refused) && line.last_late.is_none_or(|last| now.duration_since(last) >= limit) {
                    line.late += 1;
                    line.last_late = Some(now);
                }
            }
            let watch = self.lane.watch(line.timer.is_some());
            let first = watch.first.into_iter().chain(self.next_deadline()).min();
            match first {
                Some(first) if line.timer.is_none() => line.timer = Some(Box::pin(sleep_until(first))),
                _ => return watch.idle,
            }
        }
    }

    /// Refuses everything for the length of `pause`.
    async fn refusing(&mut self, pause: Duration, why: Error) -> Option<()> {
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            self.lane.refused(self.waiting.len());
            self.waiting.drain(..).for_each(|request| request.fail(why.clone()));
            tokio::select! {
                biased;
                () = &mut over => return Some(()),
                taken = self.take() => taken?,
            }
        }
    }

    /// Waits for requests.
    async fn take(&mut self) -> Option<()> {
        let before = self.waiting.len();
        poll_fn(|cx| match self.lane.take(&mut self.waiting, cx) {
            _ if self.waiting.len() > before => Poll::Ready(Some(())),
            true => Poll::Pending,
            false => Poll::Ready(None),
        })
        .await
    }

    /// All requests of a link have the same time to live, so the oldest is the first to expire.
    fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(Request::deadline)
    }

    /// Whether there were any.
    fn expire(&mut self, what: &str) -> bool {
        let now = Instant::now();
        let limit = self.wiring.options.response_timeout;
        let due = self.waiting.partition_point(|request| request.deadline() <= now);
        self.lane.refused(due);
        for request in self.waiting.drain(..due) {
            request.fail(fault::late(&self.wiring.endpoint, what, limit));
        }
        due > 0
    }
}

impl Drop for Supervisor {
    /// It has ended, or its runtime has.
    fn drop(&mut self) {
        self.lane.shut(&fault::stopped());
        self.waiting.drain(..).for_each(|request| request.fail(fault::stopped()));
    }
}

/// A connection as the supervisor sees it.
struct Line {
    reader: Reader,
    replies: Replies,
    /// Runs while anybody waits, and up to a deadline longer.
    timer: Option<Pin<Box<Sleep>>>,
    /// Deadlines that passed one after the other since the last answer.
    late: u32,
    /// When the last of them was counted.
    last_late: Option<Instant>,
}

/// The time in which a lane is open.
struct Open {
    endpoint: Arc<Endpoint>,
    lane: Arc<Lane>,
}

impl Open {
    fn close(&self, why: &Error) {
        self.lane.close(why);
    }
}

impl Drop for Open {
    /// The supervisor may be dropped with its runtime: whoever still waits hears that the connection is gone.
    fn drop(&mut self) {
        self.close(&fault::dropped(&self.endpoint, "the connection was closed before the answer came"));
    }
}

/// Ends at `deadline`; without one, never.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The pause after the failed attempt number `attempt`: 10 ms doubled each time up to 2 s, of which a random half is
/// left out so that many clients of one server do not come back in step.
pub(crate) fn pause(attempt: u32, random: &dyn Random) -> Duration {
    let full = Duration::from_millis(10).saturating_mul(1 << attempt.min(8)).min(Duration::from_secs(2));
    full.mul_f64(0.5 + random.fraction() / 2.0)
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
