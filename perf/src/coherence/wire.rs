//! A wire between one instance and the server, which can be held up in either direction, or cut.
//!
//! What is held up is not lost: it arrives once the wire is whole again, also if whoever sent it has gone meanwhile. So a
//! write that timed out may land long after.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::process::Runtime;

/// What a wire lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What the instance sends waits.
    pub(super) up_held: bool,
    /// What the server sends waits.
    pub(super) down_held: bool,
    /// Connections are closed, new ones too.
    pub(super) cut: bool,
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl State {
    fn lets_through(self, way: Way) -> bool {
        !match way {
            Way::Up => self.up_held,
            Way::Down => self.down_held,
        }
    }
}

/// A wire; it ends with the runtime it runs on.
pub(super) struct Wire {
    port: u16,
    state: watch::Sender<State>,
}

impl Wire {
    /// Lays a wire to the server at `port`.
    pub(super) fn lay(runtime: &Runtime, port: u16) -> Result<Self, String> {
        let (state, seen) = watch::channel(State::default());
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?.port(), listener))
        });
        let (own, listener) = listener.map_err(|error| error.to_string())?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        runtime.handle().spawn(async move {
            if let Ok(listener) = TcpListener::from_std(listener) {
                accept(listener, server, seen).await;
            }
        });
        Ok(Self { port: own, state })
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn be(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().cut {
            continue;
        }
        let state = state.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(server).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::spawn(pass(from_client, to_server, state.clone(), Way::Up));
            pass(from_server, to_client, state, Way::Down).await;
        });
    }
}

/// Passes bytes on until the wire is cut or one end is gone; closes the other one.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>, way: Way) {
    let mut cut = state.clone();
    let passing = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let n = from.read(&mut bytes).await.unwrap_or(0);
            // What has been read waits here, and so does the end.
            let open = state.wait_for(|state| state.lets_through(way)).await.is_ok();
            if n == 0 || !open || to.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    let mut passing = std::pin::pin!(passing);
    let mut cutting = std::pin::pin!(cut.wait_for(|state| state.cut));
    std::future::poll_fn(|context| {
        let ended = passing.as_mut().poll(context).is_ready();
        if ended || cutting.as_mut().poll(context).is_ready() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A wire, with both ends of a connection over it.
    fn laid() -> (Runtime, Wire, TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let runtime = Runtime::start(0).unwrap();
        let wire = Wire::lay(&runtime, server.local_addr().unwrap().port()).unwrap();
        let client = TcpStream::connect(("127.0.0.1", wire.port)).unwrap();
        let (server, _) = server.accept().unwrap();
        // What does not arrive fails a test and does not hang it.
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (runtime, wire, client, server)
    }

    fn hears(stream: &mut TcpStream, word: &str) {
        let mut bytes = vec![0; word.len()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, word.as_bytes());
    }

    fn is_closed(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0; 8]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    #[test]
    fn both_ways_are_held_on_their_own() {
        let (_runtime, wire, mut client, mut server) = laid();
        client.write_all(b"ask").unwrap();
        hears(&mut server, "ask");
        wire.be(State { down_held: true, ..State::default() });
        server.write_all(b"answer").unwrap();
        client.write_all(b"again").unwrap();
        hears(&mut server, "again");
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let silence = client.read(&mut [0; 8]).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        wire.be(State::default());
        hears(&mut client, "answer");
    }

    #[test]
    fn what_is_held_arrives_although_its_sender_has_gone() {
        let (_runtime, wire, mut client, mut server) = laid();
        wire.be(State { up_held: true, ..State::default() });
        client.write_all(b"late").unwrap();
        drop(client);
        wire.be(State::default());
        hears(&mut server, "late");
        assert_eq!(server.read(&mut [0; 8]).unwrap(), 0, "and then the end");
    }

    #[test]
    fn a_cut_wire_closes_connections_and_takes_none() {
        let (_runtime, wire, mut client, mut server) = laid();
        wire.be(State { cut: true, ..State::default() });
        assert!(is_closed(&mut server) && is_closed(&mut client));
        let mut refused = TcpStream::connect(("127.0.0.1", wire.port)).unwrap();
        refused.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(is_closed(&mut refused));
    }
}
