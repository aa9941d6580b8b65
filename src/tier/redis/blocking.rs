//! Commands that the server answers when it pleases, each on a connection of its own.

use std::time::Duration;

use ::redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection::{Connection, Wiring};
use super::fault;
use crate::error::Result;
use crate::sync::{Arc, Mutex};

/// Connections for blocking commands; a few are kept for the next one.
pub(super) struct Blocking {
    wiring: Wiring,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// How many connections are kept while nothing blocks on them.
const IDLE: usize = 4;

impl Blocking {
    pub(super) fn new(wiring: Wiring) -> Self {
        Self { wiring, idle: Arc::default() }
    }

    /// Sends `command`, which may block for `block`; `None` waits without end. The answer may come later by the response
    /// timeout: the server looks for blocked clients whose time is up ten times a second (its setting `hz`).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, which ends the command at the server. What the server handed to a
    /// consumer group in that very moment stays pending there.
    pub(super) async fn call(&self, command: Cmd, block: Option<Duration>) -> Result<Value> {
        let (mut reply, answer) = oneshot::channel();
        let (wiring, idle) = (self.wiring.clone(), self.idle.clone());
        self.wiring.spawn.spawn(Box::pin(async move {
            let answer = tokio::select! {
                biased;
                () = reply.closed() => return,
                answer = run(&wiring, &idle, &command, block) => answer,
            };
            let _ = reply.send(answer);
        }));
        answer.await.unwrap_or_else(|_| Err(fault::stopped()))
    }
}

/// One command on a connection of its own, which is kept afterwards if it is still in order.
async fn run(wiring: &Wiring, idle: &Mutex<Vec<Connection>>, command: &Cmd, block: Option<Duration>) -> Result<Value> {
    let endpoint = &wiring.endpoint;
    let kept = idle.lock().pop().filter(|connection| !connection.is_closed());
    let connection = match kept {
        Some(connection) => connection,
        None => Connection::open(wiring).await?,
    };
    let mut wire = connection.wire();
    let sending = wire.send_packed_command(command);
    let answer = match block.map(|block| block.saturating_add(wiring.options.response_timeout)) {
        None => sending.await,
        Some(limit) => match timeout(limit, sending).await {
            Ok(answer) => answer,
            Err(_) => return Err(fault::late(endpoint, "no answer", limit)),
        },
    };
    let answer = answer.map_err(|error| fault::broken(endpoint, &error))?;
    let mut idle = idle.lock();
    if idle.len() < IDLE {
        idle.push(connection);
    }
    drop(idle);
    fault::accept(endpoint, answer)
}
