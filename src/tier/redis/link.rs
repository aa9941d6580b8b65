//! The connection that commands travel on, kept up by a supervisor on the background runtime.
//!
//! Callers on any thread and any executor put requests into one queue. The supervisor is a task that owns the connection:
//! it takes what waits, up to a batch at once, sends it in one write and hands the answers back. While a batch is on the
//! wire the next one gathers, so batches grow with the load and a lone request leaves at once.
//!
//! # Invariants
//! K1. Commands go on the wire in the order in which they were enqueued, whether or not their callers still wait.
//! K2. Every request is answered, at its deadline at the latest, or told that the supervisor has ended.
//! K3. While the link is down a request fails without leaving its caller's thread.
//!
//! # Why not
//! The `redis` crate's `ConnectionManager`: it reconnects on whichever runtime polls it, and never leaves a server that
//! has stopped answering.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::time::Duration;

use ::redis::{Cmd, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::{Answers, Batch, Flights, Landed, Request};
use super::connection::{Connection, Wiring};
use super::endpoint::Endpoint;
use super::fault;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::sync::Arc;

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
    queue: mpsc::UnboundedSender<Request>,
    state: watch::Receiver<LinkState>,
    down: Arc<Down>,
    endpoint: Arc<Endpoint>,
    response_timeout: Duration,
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

impl Link {
    /// Starts a supervisor, which connects at once and for ever after.
    pub(crate) fn start(wiring: Wiring) -> Self {
        let (queue, requests) = mpsc::unbounded_channel();
        let (announce, state) = watch::channel(LinkState::Connecting);
        let down = Arc::new(Down::default());
        let link = Self {
            queue,
            state,
            down: down.clone(),
            endpoint: wiring.endpoint.clone(),
            response_timeout: wiring.options.response_timeout,
        };
        let spawn = wiring.spawn.clone();
        let supervisor = Supervisor { wiring, requests, announce, down, waiting: VecDeque::new(), attempt: 0 };
        spawn.spawn(Box::pin(supervisor.run()));
        link
    }

    /// Sends commands next to each other; error answers stay in their places.
    ///
    /// # Cancel safety
    /// Once polled, the commands run also when the future is dropped.
    pub(crate) async fn call_all(&self, commands: Vec<Cmd>) -> Answers {
        if self.down.is_set()
            && let LinkState::Down(why) = &*self.state.borrow()
        {
            return Err(why.clone());
        }
        let (reply, answers) = oneshot::channel();
        let deadline = Instant::now() + self.response_timeout;
        self.queue.send(Request { commands, deadline, reply }).map_err(|_| fault::stopped())?;
        answers.await.unwrap_or_else(|_| Err(fault::stopped()))
    }

    /// Sends one command; an error answer is an error.
    pub(crate) async fn call(&self, command: Cmd) -> Result<Value> {
        let answer = self.call_all(vec![command]).await?.pop().unwrap_or_default();
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

    /// Whether the supervisor has ended, because its runtime has.
    pub(crate) fn is_stopped(&self) -> bool {
        self.queue.is_closed()
    }

    /// The server at the other end.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// The task behind a link. Its methods that wait end with `None` when the last handle is gone.
struct Supervisor {
    wiring: Wiring,
    requests: mpsc::UnboundedReceiver<Request>,
    announce: watch::Sender<LinkState>,
    down: Arc<Down>,
    /// Taken from the queue and not sent yet, oldest first.
    waiting: VecDeque<Request>,
    /// Failed attempts in a row; a connection that does not last counts as one.
    attempt: u32,
}

/// After how many batches without any answer a connection is given up.
const LATE_BATCHES: u32 = 3;
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
        let why = match self.keeping_deadlines(Connection::open(&wiring)).await? {
            Ok(connection) => {
                let since = Instant::now();
                self.enter(LinkState::Live);
                let why = self.serve(connection).await?;
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
                request = self.requests.recv() => self.waiting.push_back(request?),
                () = at(deadline) => self.expire("no connection"),
            }
        }
    }

    /// Sends what is asked for until the connection is of no more use; says why.
    async fn serve(&mut self, mut connection: Connection) -> Option<Error> {
        let endpoint = self.wiring.endpoint.clone();
        let limit = self.wiring.options.response_timeout;
        let mut flights = Flights::default();
        let mut late = 0;
        let mut asked = true;
        loop {
            while let Ok(request) = self.requests.try_recv() {
                self.waiting.push_back(request);
            }
            while flights.have_room()
                && let Some(batch) = Batch::take(&endpoint, &mut self.waiting)
            {
                flights.launch(batch.fly(connection.wire(), limit));
            }
            if !asked && flights.is_empty() {
                return None;
            }
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                landed = flights.next() => match landed {
                    Landed::Answered => late = 0,
                    Landed::Late => late += 1,
                    Landed::Broken(why) => return Some(why),
                },
                request = self.requests.recv(), if asked => match request {
                    Some(request) => self.waiting.push_back(request),
                    None => asked = false,
                },
                () = connection.closed() => return Some(fault::dropped(&endpoint, "the server closed the connection")),
                () = at(deadline) => self.expire("no room on the connection"),
            }
            if late >= LATE_BATCHES {
                return Some(fault::late(&endpoint, "several batches in a row found no answer", limit));
            }
        }
    }

    /// Refuses everything for the length of `pause`.
    async fn refusing(&mut self, pause: Duration, why: Error) -> Option<()> {
        self.waiting.drain(..).for_each(|request| request.fail(why.clone()));
        let mut over = std::pin::pin!(sleep(pause));
        loop {
            tokio::select! {
                biased;
                () = &mut over => return Some(()),
                request = self.requests.recv() => request?.fail(why.clone()),
            }
        }
    }

    /// All requests of a link have the same time to live, so the oldest is the first to expire.
    fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|request| request.deadline)
    }

    fn expire(&mut self, what: &str) {
        let now = Instant::now();
        let limit = self.wiring.options.response_timeout;
        let due = self.waiting.partition_point(|request| request.deadline <= now);
        for request in self.waiting.drain(..due) {
            request.fail(fault::late(&self.wiring.endpoint, what, limit));
        }
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
