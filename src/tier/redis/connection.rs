//! One connection: a byte stream, logged in, with its driver on the background runtime.

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::endpoint::{Endpoint, RedisOptions};
use super::fault;
use super::transport::{Sockets, Transport};
use crate::error::Result;
use crate::random::{Random, SystemRandom};
use crate::runtime::Spawn;
use crate::sync::Arc;

/// All that it takes to make connections to one server.
#[derive(Clone)]
pub(crate) struct Wiring {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) options: RedisOptions,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) random: Arc<dyn Random>,
}

impl Wiring {
    /// Sockets to the server that `options` name.
    pub(crate) fn new(options: &RedisOptions, spawn: Arc<dyn Spawn>) -> Result<Self> {
        Ok(Self::over(Arc::new(options.endpoint()?), options, Arc::new(Sockets), spawn))
    }

    /// Streams of another making.
    pub(crate) fn over(
        endpoint: Arc<Endpoint>,
        options: &RedisOptions,
        transport: Arc<dyn Transport>,
        spawn: Arc<dyn Spawn>,
    ) -> Self {
        Self { endpoint, options: options.clone(), transport, spawn, random: Arc::new(SystemRandom) }
    }
}

/// A live connection. Dropping it closes the socket at once, whatever is under way.
pub(crate) struct Connection {
    wire: MultiplexedConnection,
    /// Dropped with the connection, which ends the driver.
    _stop: oneshot::Sender<()>,
    /// Closed by the driver's end.
    ended: watch::Receiver<()>,
}

impl Connection {
    /// Connects, logs in and sees one answer, all within the connect timeout: a server that accepts and hangs up, because it
    /// has too many clients, is not there.
    pub(crate) async fn open(wiring: &Wiring) -> Result<Self> {
        let config = AsyncConnectionConfig::new();
        within_timeout(wiring, Self::set_up(wiring, wiring.endpoint.login(), config)).await
    }

    /// A connection over RESP3 that hears `channel`. Every push goes to `receiver`, in the driver, in the order of the
    /// wire; it must not block.
    pub(crate) async fn subscribe(wiring: &Wiring, channel: &str, receiver: impl AsyncPushSender) -> Result<Self> {
        let config = AsyncConnectionConfig::new().set_push_sender(receiver);
        within_timeout(wiring, async {
            let connection = Self::set_up(wiring, wiring.endpoint.push_login(), config).await?;
            let subscribed = connection.wire().subscribe(channel).await;
            subscribed.map_err(|error| fault::broken(&wiring.endpoint, &error))?;
            Ok(connection)
        })
        .await
    }

    async fn set_up(wiring: &Wiring, login: RedisConnectionInfo, config: AsyncConnectionConfig) -> Result<Self> {
        let endpoint = &wiring.endpoint;
        let stream =
            wiring.transport.connect(endpoint).await.map_err(|error| fault::broken(endpoint, &error.into()))?;
        // Deadlines are kept by whoever sends the commands, request by request.
        let config = config.set_response_timeout(None).set_connection_timeout(None);
        let (wire, driver) = MultiplexedConnection::new_with_config(&login, stream, config)
            .await
            .map_err(|error| fault::broken(endpoint, &error))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ending, ended) = watch::channel(());
        wiring.spawn.spawn(Box::pin(async move {
            let _ending = ending;
            tokio::select! { biased; _ = stopped => {}, () = driver => {} }
        }));
        let connection = Self { wire, _stop: stop, ended };
        connection.ping(endpoint).await?;
        Ok(connection)
    }

    /// A sender for commands. It outlives the connection without keeping it open.
    pub(crate) fn wire(&self) -> MultiplexedConnection {
        self.wire.clone()
    }

    /// Sees one answer. Any counts, an error too: a server that is loading, asks for a password or forbids the command is
    /// there, and says so itself to every command that matters.
    pub(crate) async fn ping(&self, endpoint: &Endpoint) -> Result<()> {
        let answer = self.wire().send_packed_command(&::redis::cmd("PING")).await;
        answer.map(drop).map_err(|error| fault::broken(endpoint, &error))
    }

    /// Whether the other side has hung up.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.has_changed().is_err()
    }

    /// Ends when the connection has.
    pub(crate) async fn closed(&mut self) {
        while self.ended.changed().await.is_ok() {}
    }
}

async fn within_timeout(wiring: &Wiring, opening: impl Future<Output = Result<Connection>>) -> Result<Connection> {
    let limit = wiring.options.connect_timeout;
    match timeout(limit, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(fault::late(&wiring.endpoint, "no connection", limit)),
    }
}
