//! A tier whose operations stop at a gate, before or after they took effect, one kind at a time.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::time::Duration;

use bytes::Bytes;
use tercel::{BoxFuture, CacheBackend, L2CacheBackend, MemoryTier, Operation, Result};
use tokio::sync::watch;

/// Where an operation stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    Before(Operation),
    After(Operation),
}

/// A [`MemoryTier`] behind a gate.
pub(crate) struct GatedTier {
    inner: MemoryTier,
    closed: watch::Sender<Vec<At>>,
    waiting: watch::Sender<usize>,
}

impl GatedTier {
    pub(crate) fn over(inner: MemoryTier) -> Self {
        Self { inner, closed: watch::Sender::new(Vec::new()), waiting: watch::Sender::new(0) }
    }

    pub(crate) fn close(&self, at: At) {
        self.closed.send_modify(|closed| closed.push(at));
    }

    pub(crate) fn open(&self, at: At) {
        self.closed.send_modify(|closed| closed.retain(|one| *one != at));
    }

    /// Ends once `n` operations wait at the gate.
    pub(crate) async fn wait_for(&self, n: usize) {
        let mut waiting = self.waiting.subscribe();
        let arrived = tokio::time::timeout(Duration::from_secs(20), waiting.wait_for(|waiting| *waiting == n)).await;
        assert!(arrived.is_ok(), "operations wait at the gate: {} and not {n}", *self.waiting.borrow());
    }

    async fn pass(&self, at: At) {
        let mut closed = self.closed.subscribe();
        if closed.borrow().contains(&at) {
            let _waiting = Waiting::enter(&self.waiting);
            // The sender lives in `self`: the wait can only end by an opening.
            let _ = closed.wait_for(|closed| !closed.contains(&at)).await;
        }
    }

    async fn gated<T>(&self, operation: Operation, work: impl Future<Output = T>) -> T {
        self.pass(At::Before(operation)).await;
        let answer = work.await;
        self.pass(At::After(operation)).await;
        answer
    }
}

struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn enter(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|n| *n += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl CacheBackend for GatedTier {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(self.gated(Operation::Get, self.inner.get(key)))
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.gated(Operation::Set, self.inner.set_with_ttl(key, value, ttl)))
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.gated(Operation::Remove, self.inner.remove(key)))
    }

    fn remove_pattern<'a>(&'a self, pattern: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.gated(Operation::RemovePattern, self.inner.remove_pattern(pattern)))
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        self.inner.health_check()
    }

    fn name(&self) -> &str {
        "gated"
    }
}

impl L2CacheBackend for GatedTier {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(self.gated(Operation::Get, self.inner.get_with_ttl(key)))
    }
}
