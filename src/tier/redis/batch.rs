//! Requests, and the batches that they travel in.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Arg, Cmd, Pipeline, RedisError, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::endpoint::Endpoint;
use super::fault;
use crate::error::{Error, Result};
use crate::sync::Arc;

/// The answers to the commands of one request, in their order; an error answer is one of them.
pub(super) type Answers = Result<Vec<Value>>;

/// Commands that are sent next to each other, and who waits for their answers.
pub(super) struct Request {
    pub(super) commands: Vec<Cmd>,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Answers>,
}

impl Request {
    /// The length of the arguments.
    fn bytes(&self) -> usize {
        let arguments = self.commands.iter().flat_map(Cmd::args_iter);
        arguments.map(|argument| if let Arg::Simple(bytes) = argument { bytes.len() } else { 0 }).sum()
    }

    /// Answers with `error`. Whoever stopped waiting does not hear it.
    pub(super) fn fail(self, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}

/// Who waits for the next `count` answers of a batch.
struct Waiter {
    count: usize,
    deadline: Instant,
    /// Taken when the waiter was answered.
    reply: Option<oneshot::Sender<Answers>>,
}

/// How a batch ended.
pub(super) enum Landed {
    /// The server answered.
    Answered,
    /// Every request of it ran into its deadline first.
    Late,
    /// The connection failed.
    Broken(Error),
}

/// Several requests in one write. Dropping it tells whoever still waits that the connection is gone.
pub(super) struct Batch {
    endpoint: Arc<Endpoint>,
    pipeline: Pipeline,
    waiters: Vec<Waiter>,
}

impl Batch {
    /// The most requests that travel together.
    const MOST: usize = 128;
    /// A batch that has this many bytes takes no further request: the batch is one piece of memory.
    const ENOUGH: usize = 1 << 20;

    /// Takes from the front of `waiting`; `None` if nothing waits.
    pub(super) fn take(endpoint: &Arc<Endpoint>, waiting: &mut VecDeque<Request>) -> Option<Self> {
        let mut bytes = 0;
        let fits = |request: &&Request| {
            let room = bytes < Self::ENOUGH;
            bytes += request.bytes();
            room
        };
        let count = waiting.iter().take(Self::MOST).take_while(fits).count();
        if count == 0 {
            return None;
        }
        let mut batch =
            Self { endpoint: endpoint.clone(), pipeline: Pipeline::new(), waiters: Vec::with_capacity(count) };
        for request in waiting.drain(..count) {
            let Request { commands, deadline, reply } = request;
            batch.waiters.push(Waiter { count: commands.len(), deadline, reply: Some(reply) });
            for command in commands {
                batch.pipeline.add_command(command);
            }
        }
        Some(batch)
    }

    /// Sends the batch and hands out its answers; requests whose deadline passes first are told so.
    pub(super) async fn fly(mut self, mut wire: MultiplexedConnection, limit: std::time::Duration) -> Landed {
        let pipeline = std::mem::take(&mut self.pipeline);
        let mut sending = pin!(wire.send_packed_commands(&pipeline, 0, pipeline.len()));
        while let Some(deadline) = self.next_deadline() {
            tokio::select! {
                biased;
                answer = &mut sending => return self.settle(answer, pipeline.len()),
                () = sleep_until(deadline) => self.expire(Instant::now(), limit),
            }
        }
        Landed::Late
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.waiters.iter().filter(|waiter| waiter.reply.is_some()).map(|waiter| waiter.deadline).min()
    }

    fn expire(&mut self, now: Instant, limit: std::time::Duration) {
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.deadline <= now) {
            if let Some(reply) = waiter.reply.take() {
                let _ = reply.send(Err(fault::late(&self.endpoint, "no answer", limit)));
            }
        }
    }

    /// The server answers every command of a pipeline on its own: an error answer is a value in its place.
    fn settle(&mut self, answer: Result<Vec<Value>, RedisError>, sent: usize) -> Landed {
        match answer {
            Ok(values) if values.len() == sent => {
                let mut values = values.into_iter();
                for waiter in &mut self.waiters {
                    let own: Vec<Value> = values.by_ref().take(waiter.count).collect();
                    waiter.reply.take().map(|reply| reply.send(Ok(own)));
                }
                Landed::Answered
            }
            Ok(_) => self.abandon(fault::unexpected(&self.endpoint, "a batch of commands")),
            Err(error) => self.abandon(fault::broken(&self.endpoint, &error)),
        }
    }

    fn abandon(&mut self, error: Error) -> Landed {
        for reply in self.waiters.iter_mut().filter_map(|waiter| waiter.reply.take()) {
            let _ = reply.send(Err(error.clone()));
        }
        Landed::Broken(error)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.waiters.iter().any(|waiter| waiter.reply.is_some()) {
            let error = fault::dropped(&self.endpoint, "the connection was closed before the answer came");
            self.abandon(error);
        }
    }
}

/// Batches on the wire, oldest first.
///
/// # Invariants
/// O1. Batches are polled oldest first, so that they enter the driver's queue in the order they were made, also when the
/// task's budget ends in between.
#[derive(Default)]
pub(super) struct Flights(VecDeque<Pin<Box<dyn Future<Output = Landed> + Send>>>);

impl Flights {
    /// The most batches on the wire at once: enough that the server never waits for the next one.
    pub(super) const MOST: usize = 4;

    pub(super) fn have_room(&self) -> bool {
        self.0.len() < Self::MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn launch(&mut self, flight: impl Future<Output = Landed> + Send + 'static) {
        self.0.push_back(Box::pin(flight));
    }

    /// The next batch to end; never ends while there is none. Dropping the future loses nothing.
    pub(super) fn next(&mut self) -> Next<'_> {
        Next(self)
    }
}

/// See [`Flights::next`].
pub(super) struct Next<'a>(&'a mut Flights);

impl Future for Next<'_> {
    type Output = Landed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Landed> {
        let flights = &mut self.0.0;
        let landed = flights.iter_mut().enumerate().find_map(|(at, flight)| match flight.as_mut().poll(cx) {
            Poll::Ready(landed) => Some((at, landed)),
            Poll::Pending => None,
        });
        match landed {
            Some((at, landed)) => {
                flights.remove(at);
                Poll::Ready(landed)
            }
            None => Poll::Pending,
        }
    }
}
