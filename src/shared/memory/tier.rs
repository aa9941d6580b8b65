//! The operations of the shared tier, as one instance asks for them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::state::{Now, Pending, State};
use super::{Fault, MemoryShared, Operation};
use crate::error::{Error, Kind, Result};
use crate::runtime::BoxFuture;
use crate::shared::{Bump, Bumps, Controlled, LeaseToken, Leased, Place, SharedTier, Stored, Written};

/// How many keys are removed under one number.
const KEYS: usize = 512;

impl MemoryShared {
    /// Sends a request, and waits for its answer.
    async fn ask<T: Send + 'static>(
        &self,
        operation: Operation,
        writes: Option<&str>,
        effect: impl FnOnce(&mut State, Now) -> T + Send + 'static,
    ) -> Result<T> {
        self.try_ask(operation, writes, move |state, now| Ok(effect(state, now))).await
    }

    /// The same where the server may say that it did not go well.
    async fn try_ask<T: Send + 'static>(
        &self,
        operation: Operation,
        writes: Option<&str>,
        effect: impl FnOnce(&mut State, Now) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (send, mut answer) = oneshot::channel();
        self.server.with(|state, now| {
            let fault = state.instances[self.at].orders.begin(operation);
            if fault == Some(Fault::Refused) {
                return Err(Error::new(Kind::TIER, format!("the shared tier was told to fail {operation:?}")));
            }
            let instance = self.at;
            let effect = Box::new(move |state: &mut State, now: Now| {
                let starves = state.starved && operation.takes_memory();
                let value = if starves { Err(starved(operation)) } else { effect(state, now) };
                if fault.is_none() {
                    // Nobody may wait any more.
                    state.answer(instance, operation, Box::new(move || drop(send.send(value))));
                }
            });
            state.submit(Pending { instance, operation, writes: writes.map(str::to_owned), effect }, now);
            Ok(())
        })?;
        let lost = || Error::new(Kind::TIER, format!("the connection was lost before the answer to {operation:?}"));
        match answer.try_recv() {
            Ok(value) => return value,
            Err(oneshot::error::TryRecvError::Closed) => return Err(lost()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        let mut timer = self.server.clock.sleep_until(self.server.clock.now() + self.patience);
        poll_fn(|cx| match Pin::new(&mut answer).poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.unwrap_or_else(|_| Err(lost()))),
            Poll::Pending => timer.as_mut().poll(cx).map(|()| {
                let text = format!("no answer to {operation:?} within {:?}", self.patience);
                Err(Error::new(Kind::TIER.and(Kind::TIMEOUT), text))
            }),
        })
        .await
    }

    /// Removes keys, those of each partition in one step.
    fn remove(&self, keys: &[&str], hold: Duration) -> impl FnOnce(&mut State, Now) -> Vec<Place> + Send + use<> {
        let mut by_partition: Vec<Vec<String>> = vec![Vec::new(); usize::from(self.server.partitions)];
        keys.iter().for_each(|key| by_partition[usize::from(self.partition(key))].push((*key).to_owned()));
        let (origin, wid) = (self.origin, self.server.random.bits());
        move |state, now| {
            let portions = (0..).zip(&by_partition).filter(|(_, keys)| !keys.is_empty());
            let mut remove = |(partition, keys): (u16, &Vec<String>)| {
                let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
                let starved = state.starved;
                let portion = |some: &[&str]| {
                    state.step(partition, now, |data, step| match starved {
                        true => {
                            data.remove_unnumbered(some, origin, step);
                            0
                        }
                        false => data.invalidate(some, hold, wid, origin, step),
                    })
                };
                let sequence = keys.chunks(KEYS).map(portion).last().unwrap_or(0);
                Place { partition, sequence }
            };
            portions.map(&mut remove).collect()
        }
    }
}

fn starved(operation: Operation) -> Error {
    Error::new(Kind::TIER, format!("the shared tier has no memory for {operation:?}"))
}

impl SharedTier for MemoryShared {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(
            self.ask(Operation::Get, None, move |state, now| {
                state.step(index, now, |data, step| data.get(&name, step))
            }),
        )
    }

    fn get_many<'a>(&'a self, keys: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Option<Stored>>>> {
        let keys: Vec<_> = keys.iter().map(|key| (self.partition(key), (*key).to_owned())).collect();
        Box::pin(self.ask(Operation::GetMany, None, move |state, now| {
            let mut get = |(index, key): &(u16, String)| state.step(*index, now, |data, step| data.get_aged(key, step));
            keys.iter().map(&mut get).collect()
        }))
    }

    fn header<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(self.ask(Operation::Header, None, move |state, now| {
            state.step(index, now, |data, step| data.header(&name, step))
        }))
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        lease: Duration,
        known: Option<u64>,
    ) -> BoxFuture<'a, Result<Leased>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(self.ask(Operation::Lease, None, move |state, now| {
            state.step(index, now, |data, step| data.lease(&name, token, lease, known, step))
        }))
    }

    fn renew<'a>(&'a self, key: &'a str, token: LeaseToken, lease: Duration) -> BoxFuture<'a, Result<bool>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(self.ask(Operation::Renew, None, move |state, now| {
            state.step(index, now, |data, step| data.renew(&name, token, lease, step))
        }))
    }

    fn commit<'a>(
        &'a self,
        key: &'a str,
        token: LeaseToken,
        frame: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(self.ask(Operation::Commit, None, move |state, now| {
            state.step(index, now, |data, step| data.commit(&name, token, &frame, ttl, step))
        }))
    }

    fn release<'a>(&'a self, key: &'a str, token: LeaseToken) -> BoxFuture<'a, Result<()>> {
        let (index, name) = (self.partition(key), key.to_owned());
        Box::pin(self.ask(Operation::Release, None, move |state, now| {
            state.step(index, now, |data, step| data.release(&name, token, step));
        }))
    }

    fn put<'a>(&'a self, key: &'a str, frame: Bytes, ttl: Duration, quiet: bool) -> BoxFuture<'a, Result<Written>> {
        let (partition, name) = (self.partition(key), key.to_owned());
        let by = (!quiet).then_some(self.origin);
        Box::pin(self.ask(Operation::Put, Some(key), move |state, now| {
            let (sequence, stored) = state.step(partition, now, |data, step| data.put(&name, &frame, ttl, by, step));
            Written { stored, place: Place { partition, sequence } }
        }))
    }

    fn invalidate<'a>(&'a self, keys: &'a [&'a str], hold: Duration) -> BoxFuture<'a, Result<Vec<Place>>> {
        let remove = self.remove(keys, hold);
        Box::pin(self.try_ask(Operation::Invalidate, None, move |state, now| {
            let places = remove(state, now);
            // What was there is gone, and that is all there is memory for.
            if state.starved && !hold.is_zero() { Err(starved(Operation::Invalidate)) } else { Ok(places) }
        }))
    }

    fn settle<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Place>> {
        let (at, name, partition) = (self.at, key.to_owned(), self.partition(key));
        let remove = self.remove(&[key], Duration::ZERO);
        Box::pin(self.ask(Operation::Settle, None, move |state, now| {
            state.forget_writes(at, &name);
            remove(state, now).pop().unwrap_or(Place { partition, sequence: 0 })
        }))
    }

    fn bump<'a>(&'a self, bump: &'a Bump, known: u64) -> BoxFuture<'a, Result<Controlled>> {
        let (bump, origin) = (bump.clone(), self.origin);
        Box::pin(self.ask(Operation::Bump, None, move |state, now| {
            let most = state.most;
            state.control_step(now, |control, step| control.bump(&bump, known, most, origin, step))
        }))
    }

    fn bumps(&self) -> BoxFuture<'_, Result<Bumps>> {
        Box::pin(self.ask(Operation::ReadControl, None, |state, now| {
            state.control_step(now, |control, step| control.read(step))
        }))
    }

    fn lift(&self, known: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.ask(Operation::LiftControl, None, move |state, now| {
            state.control_step(now, |control, step| control.lift(known, step))
        }))
    }

    fn reclaim<'a>(&'a self, pattern: &'a str, clock: u64) -> BoxFuture<'a, Result<()>> {
        let pattern = pattern.to_owned();
        Box::pin(self.ask(Operation::Reclaim, None, move |state, now| {
            let partitions = 0..state.history.partitions.len() as u16;
            partitions.for_each(|index| state.step(index, now, |data, _| data.reclaim(&pattern, clock)));
        }))
    }

    fn leave(&self) {
        self.hang_up();
    }

    /// All instances of a server are of this release.
    fn check(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn partition(&self, key: &str) -> u16 {
        self.server.index(key)
    }

    fn partitions(&self) -> u16 {
        self.server.partitions
    }
}
