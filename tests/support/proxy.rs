//! A proxy in front of a server that counts how often a connection goes from answering to asking.

#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Passes bytes on in both directions for as long as its clients keep their connections.
pub struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    turns: AtomicUsize,
}

impl Proxy {
    /// Stands in front of the server at `port`.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("a bound port").port();
        let counts = Arc::new(Counts::default());
        let counting = counts.clone();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                counting.connections.fetch_add(1, Ordering::SeqCst);
                pass(client, server, &counting);
            }
        });
        Self { port: own, counts }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// How often a client began to ask after the answer to what it had asked before: its round trips.
    pub fn turns(&self) -> usize {
        self.counts.turns.load(Ordering::SeqCst)
    }
}

fn pass(client: TcpStream, server: TcpStream, counts: &Arc<Counts>) {
    let asking = Arc::new(AtomicBool::new(false));
    let (from_client, from_server) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    let (counted, turned) = (counts.clone(), asking.clone());
    thread::spawn(move || {
        pump(from_client, server, || {
            if !turned.swap(true, Ordering::SeqCst) {
                counted.turns.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
    thread::spawn(move || {
        pump(from_server, client, || {
            // A connection whose last word was the server's asks anew with its next.
            asking.store(false, Ordering::SeqCst);
        });
    });
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut each: impl FnMut()) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        each();
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
