//! The connection on which an instance hears what the others change, kept up by a task on the background runtime.
//!
//! It subscribes, and asks in the same breath for the newest numbers; from then on it asks again at every heartbeat. Answers
//! and messages come over one stream and are taken in its order, which is what [`Follow`] proves from.
//!
//! # Invariants
//! - A1: what comes over the connection is handed to the followers in the order of the wire, by this task alone.
//! - A2: an answer that does not come in time, or an answer that nobody asked for, ends the connection.
//! - A3: the listener is held weakly; when it is gone, or the [`Watch`] is, the task ends.
//! - A4: after a listener has panicked nothing that it was told counts: everything begins with suspicion.
//!
//! # Why not
//! The `redis` crate's connection: it hands an answer to one task and a message to another, and which of the two came
//! first cannot be told any more.

#![cfg_attr(not(test), expect(dead_code, reason = "nothing tells ages by the time of the server yet"))]

mod answers;
mod line;
mod server_time;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use self::server_time::shifted;
use self::task::Watcher;
use super::connection::Wiring;
use super::fault;
use super::link::LinkState;
use super::shared::RedisShared;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::shared::message::Origin;
use crate::shared::{Hear, Heard, Watching};
use crate::sync::{Arc, Mutex};
use crate::tier::BoxFuture;

/// What a partition is called at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) channel: String,
    pub(crate) sequence: String,
    pub(crate) log: String,
}

/// What is watched, and how closely.
#[derive(Debug, Clone)]
pub(crate) struct WatchOptions {
    /// The partitions of data, by their number.
    pub(crate) data: Vec<Watched>,
    pub(crate) control: Watched,
    /// What this instance's own changes are known by.
    pub(crate) origin: Origin,
    /// How often the server is asked for the newest numbers.
    pub(crate) heartbeat: Duration,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// For how long what is held may be used after the server was lost.
    pub(crate) staleness: Duration,
}

impl WatchOptions {
    /// All that `shared` may change, and not what it has changed itself.
    pub(crate) fn of(shared: &RedisShared) -> Self {
        let (data, control) = shared.watched();
        Self {
            data,
            control,
            origin: shared.origin(),
            heartbeat: Duration::from_millis(500),
            patience: Duration::from_millis(500),
            staleness: Duration::from_secs(2),
        }
    }
}

/// What has been counted, over all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WatchStats {
    /// Messages heard, one's own too.
    pub(crate) messages: u64,
    /// Messages that said nothing.
    pub(crate) refused: u64,
    /// Losses that were noticed by a number.
    pub(crate) gaps: u64,
    /// Changes that were not heard, and read from the log.
    pub(crate) replayed: u64,
    /// How often a partition became suspect.
    pub(crate) suspects: u64,
    /// Connections after the first.
    pub(crate) reconnects: u64,
    /// How often the listener has panicked.
    pub(crate) panics: u64,
}

/// A watch over one server. Dropping it ends its connection.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    state: watch::Receiver<LinkState>,
    wiring: Wiring,
    clock: Arc<dyn Clock>,
    _stop: oneshot::Sender<()>,
}

/// What the task lets others see.
#[derive(Default)]
struct Shared {
    stats: Mutex<WatchStats>,
    /// What the server's clock is ahead of ours, in nanoseconds.
    ahead: Mutex<Option<i128>>,
}

impl Watch {
    /// Connects in the background. `clock` is what trust is counted on.
    pub(crate) fn start(
        wiring: Wiring,
        options: WatchOptions,
        clock: Arc<dyn Clock>,
        listener: Weak<dyn Hear>,
    ) -> Self {
        let (announce, state) = watch::channel(LinkState::Connecting);
        let (stop, stopped) = oneshot::channel::<()>();
        let shared = Arc::new(Shared::default());
        let watcher = Watcher::new(wiring.clone(), options, clock.clone(), listener, shared.clone(), announce);
        wiring.spawn.spawn(Box::pin(async move {
            tokio::select! { biased; _ = stopped => {}, () = watcher.run() => {} }
        }));
        Self { shared, state, wiring, clock, _stop: stop }
    }

    /// Ends when all partitions are followed, for the first time or again.
    ///
    /// # Errors
    /// The watch has ended: its runtime has stopped, or its listener is gone.
    pub(crate) async fn ready(&self) -> Result<()> {
        let mut state = self.state.clone();
        let live = state.wait_for(|state| matches!(state, LinkState::Live)).await;
        live.map(drop).map_err(|_| fault::stopped())
    }

    /// Why nothing is heard, if that is so.
    pub(crate) fn deaf(&self) -> Option<Error> {
        match &*self.state.borrow() {
            LinkState::Live => None,
            LinkState::Connecting => {
                Some(fault::dropped(&self.wiring.endpoint, "the listening connection is being made"))
            }
            LinkState::Down(why) => Some(why.clone()),
        }
    }

    pub(crate) fn stats(&self) -> WatchStats {
        *self.shared.stats.lock()
    }

    /// The server's time since the Unix epoch, as far as it is known: what ages are counted on.
    pub(crate) fn server_time(&self) -> Option<Duration> {
        let ahead = (*self.shared.ahead.lock())?;
        Some(shifted(self.clock.now(), ahead))
    }
}

impl Watching for Watch {
    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Watch::ready(self))
    }

    fn deaf(&self) -> Option<Error> {
        Watch::deaf(self)
    }

    fn is_down(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Down(_))
    }

    fn heard(&self) -> Heard {
        let WatchStats { messages, refused, gaps, replayed, suspects, reconnects, .. } = self.stats();
        Heard { messages, refused, gaps, replayed, suspects, reconnects }
    }
}
