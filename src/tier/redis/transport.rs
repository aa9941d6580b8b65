//! Byte streams to a server: the seam under every connection.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::endpoint::{Address, Endpoint};
use crate::tier::BoxFuture;

/// A byte stream in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// The two directions apart. Neither waits for the other.
    fn into_halves(self: Box<Self>) -> (Reader, Writer);
}

/// The direction that answers come from.
pub(crate) type Reader = Box<dyn AsyncRead + Unpin + Send>;
/// The direction that commands go to. It may be polled on any thread.
pub(crate) type Writer = Box<dyn AsyncWrite + Unpin + Send>;

impl Stream for TcpStream {
    fn into_halves(self: Box<Self>) -> (Reader, Writer) {
        let (reader, writer) = self.into_split();
        (Box::new(reader), Box::new(writer))
    }
}

#[cfg(unix)]
impl Stream for tokio::net::UnixStream {
    fn into_halves(self: Box<Self>) -> (Reader, Writer) {
        let (reader, writer) = self.into_split();
        (Box::new(reader), Box::new(writer))
    }
}

/// Makes byte streams: sockets, or the simulator's pipes in memory.
pub(crate) trait Transport: Send + Sync {
    /// Connects to `endpoint`. Runs on the background runtime.
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// TCP and Unix sockets.
pub(crate) struct Sockets;

/// How long a peer may leave bytes unacknowledged, and how long an idle connection goes without a probe.
const SILENCE: Duration = Duration::from_secs(5);

impl Transport for Sockets {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            match endpoint.address() {
                Address::Tcp(host, port) => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    tune(&stream)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                #[cfg(unix)]
                Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?) as Box<dyn Stream>),
                #[cfg(not(unix))]
                Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            }
        })
    }
}

/// No delay for small writes, and a bound on how long a vanished peer goes unnoticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE).with_interval(Duration::from_secs(1)))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE))?;
    Ok(())
}
