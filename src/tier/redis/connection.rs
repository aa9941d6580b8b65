//! One connection: a byte stream, logged in, with its driver on the background runtime.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, RedisConnectionInfo, Value, cmd};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::endpoint::{Endpoint, RedisOptions};
use super::fault;
use super::transport::{Sockets, Stream, Transport};
use crate::error::Result;
use crate::random::{Random, SystemRandom};
use crate::runtime::Spawn;
use crate::sync::{Arc, Mutex};

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

    async fn set_up(wiring: &Wiring, login: RedisConnectionInfo, config: AsyncConnectionConfig) -> Result<Self> {
        let stream = connect(wiring).await?;
        let (wire, driver) = log_in(wiring, &login, config, stream).await?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (ending, ended) = watch::channel(());
        wiring.spawn.spawn(Box::pin(async move {
            let _ending = ending;
            tokio::select! { biased; _ = stopped => {}, () = driver => {} }
        }));
        let connection = Self { wire, _stop: stop, ended };
        connection.ping(&wiring.endpoint).await?;
        Ok(connection)
    }

    /// A sender for commands. It outlives the connection without keeping it open.
    pub(crate) fn wire(&self) -> MultiplexedConnection {
        self.wire.clone()
    }

    /// Sees one answer; any counts.
    pub(crate) async fn ping(&self, endpoint: &Endpoint) -> Result<()> {
        ping(self.wire(), endpoint).await
    }

    /// Whether the other side has hung up.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.has_changed().is_err()
    }
}

/// A stream over which the server answers commands, logged in, with nothing left on it.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    /// What the server calls this connection, if it says so.
    pub(super) client: Option<Client>,
    /// Whether the connection before this one has ended at the server, if there was one.
    pub(super) earlier_ended: bool,
}

/// What a server calls a connection. The address tells it from one of the same number after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    id: String,
    address: String,
}

/// Makes a connection, logs in as `login` says, and ends the one before it at the server: what that has not carried out by
/// then, it never will. All within the connect timeout.
pub(super) async fn open_stream(
    wiring: &Wiring,
    login: &RedisConnectionInfo,
    earlier: Option<&Client>,
) -> Result<Opened> {
    within_timeout(wiring, async {
        let stream = Arc::new(Mutex::new(Some(connect(wiring).await?)));
        let lent = Lent(stream.clone());
        let (wire, driver) = log_in(wiring, login, AsyncConnectionConfig::new(), lent).await?;
        let driving = async {
            driver.await;
            std::future::pending().await
        };
        let closed = || fault::dropped(&wiring.endpoint, "the connection was closed");
        let greeted = tokio::select! {
            biased;
            () = driving => Err(closed()),
            greeted = greet(wire, &wiring.endpoint, earlier) => greeted,
        };
        let (earlier_ended, client) = greeted?;
        let stream = stream.lock().take().ok_or_else(closed)?;
        Ok(Opened { stream, client, earlier_ended })
    })
    .await
}

/// Ends the `earlier` connection, and asks for the name of this one.
async fn greet(
    mut wire: MultiplexedConnection,
    endpoint: &Endpoint,
    earlier: Option<&Client>,
) -> Result<(bool, Option<Client>)> {
    let mut ended = false;
    if let Some(Client { id, address }) = earlier {
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id).arg("ADDR").arg(address);
        let killed = wire.send_packed_command(&kill).await.map_err(|error| fault::broken(endpoint, &error))?;
        ended = matches!(killed, Value::Int(_));
    }
    let info = wire.send_packed_command(cmd("CLIENT").arg("INFO")).await;
    let info = info.map_err(|error| fault::broken(endpoint, &error))?;
    ping(wire, endpoint).await?;
    Ok((ended, Client::parse(&info)))
}

impl Client {
    /// From what `CLIENT INFO` says.
    fn parse(info: &Value) -> Option<Self> {
        let Value::BulkString(info) = info else { return None };
        let info = std::str::from_utf8(info).ok()?;
        let (id, rest) = info.strip_prefix("id=")?.split_once(' ')?;
        // The path of a socket may have any letter in it.
        let (address, _) = rest.strip_prefix("addr=")?.rsplit_once(" laddr=")?;
        Some(Self { id: id.to_owned(), address: address.to_owned() })
    }
}

/// A stream that its owner takes back, when it is quiet.
struct Lent(Arc<Mutex<Option<Box<dyn Stream>>>>);

impl Lent {
    fn with<T>(&self, poll: impl FnOnce(Pin<&mut Box<dyn Stream>>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut *self.0.lock() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

async fn connect(wiring: &Wiring) -> Result<Box<dyn Stream>> {
    let connected = wiring.transport.connect(&wiring.endpoint).await;
    connected.map_err(|error| fault::broken(&wiring.endpoint, &error.into()))
}

/// A sender for commands over `stream`, and what drives it.
async fn log_in(
    wiring: &Wiring,
    login: &RedisConnectionInfo,
    config: AsyncConnectionConfig,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<(MultiplexedConnection, impl Future<Output = ()> + 'static)> {
    // Deadlines are kept by whoever sends the commands, request by request.
    let config = config.set_response_timeout(None).set_connection_timeout(None);
    let logged_in = MultiplexedConnection::new_with_config(login, stream, config).await;
    logged_in.map_err(|error| fault::broken(&wiring.endpoint, &error))
}

/// Sees one answer. Any counts, an error too: a server that is loading, asks for a password or forbids the command is
/// there, and says so itself to every command that matters.
async fn ping(mut wire: MultiplexedConnection, endpoint: &Endpoint) -> Result<()> {
    let answer = wire.send_packed_command(&::redis::cmd("PING")).await;
    answer.map(drop).map_err(|error| fault::broken(endpoint, &error))
}

async fn within_timeout<T>(wiring: &Wiring, opening: impl Future<Output = Result<T>>) -> Result<T> {
    let limit = wiring.options.connect_timeout;
    match timeout(limit, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(fault::late(&wiring.endpoint, "no connection", limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_number_and_address() {
        let info = |text: &str| Client::parse(&Value::BulkString(text.into()));
        let known = info("id=7 addr=127.0.0.1:50312 laddr=127.0.0.1:6379 fd=8 name= age=0\n");
        assert_eq!(known, Some(Client { id: "7".into(), address: "127.0.0.1:50312".into() }));
        let known = info("id=7 addr=/tmp/a b.sock:0 laddr=/tmp/a b.sock:0 fd=8 name=");
        assert_eq!(known, Some(Client { id: "7".into(), address: "/tmp/a b.sock:0".into() }));
        for text in ["", "id=7", "addr=x", "id=7 addr=x", "laddr=127.0.0.1:6379 cid=7"] {
            assert_eq!(info(text), None, "{text}");
        }
        assert_eq!(Client::parse(&Value::Okay), None);
    }
}
