//! A write that a lost connection still carries does not come after what settles it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;

use super::*;

/// Stands in front of a server. What a client says on the first connection can be held back, and reaches the server later,
/// also when the client has gone.
#[derive(Default)]
struct Postman {
    holds: Mutex<bool>,
    changed: Condvar,
    /// The server has ended the first connection.
    ended: AtomicBool,
}

impl Postman {
    fn before(port: u16) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let postman = Arc::new(Self::default());
        let serving = postman.clone();
        thread::spawn(move || {
            for (count, client) in listener.incoming().enumerate() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
                serving.clone().carry(client.unwrap(), server, count == 0);
            }
        });
        (postman, own)
    }

    fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream, first: bool) {
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (mut from_server, mut to_client) = (server, client);
        let back = self.clone();
        thread::spawn(move || {
            let mut letter = [0; 4096];
            while let Ok(length @ 1..) = from_client.read(&mut letter) {
                let held = self.changed.wait_while(self.holds.lock().unwrap(), |holds| first && *holds);
                drop(held);
                if to_server.write_all(&letter[..length]).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || {
            let mut letter = [0; 4096];
            while let Ok(length @ 1..) = from_server.read(&mut letter) {
                let _ = to_client.write_all(&letter[..length]);
            }
            back.ended.fetch_or(first, Ordering::SeqCst);
        });
    }

    fn hold(&self, holds: bool) {
        *self.holds.lock().unwrap() = holds;
        self.changed.notify_all();
    }
}

/// Until it is so; a bound keeps a broken tier from hanging the test.
fn until(what: &str, so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < limit, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_write_that_is_stuck_on_a_lost_connection_never_arrives_after_it_was_settled() {
    let Some(server) = RedisServer::start() else { return };
    let runtime = Runtime::start().unwrap();
    let (postman, port) = Postman::before(server.port());
    let options = RedisOptions::new(format!("redis://127.0.0.1:{port}"));
    let options = options.response_timeout(Duration::from_millis(200)).connect_timeout(Duration::from_secs(20));
    let shared = instance(&runtime, options);
    until("the first write is there", || block_on(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).is_ok());
    assert!(shared.link().is_orderly());

    postman.hold(true);
    let stuck = block_on(shared.put("k", bytes("k", 2, b"late"), MINUTE, false)).unwrap_err();
    assert!(stuck.is_timeout(), "{stuck}");
    // The link gives the connection up after some more silence.
    until("it is settled", || block_on(shared.settle("k")).is_ok());
    until("the server has ended the first connection", || postman.ended.load(Ordering::SeqCst));
    postman.hold(false);
    assert_eq!(server.command(&["GET", &under("d:k")]), Answer::Nil);
    until("a write goes through", || block_on(shared.put("k", bytes("k", 3, b"w"), MINUTE, false)).is_ok());
    assert_eq!(Frame::decode("k", &run(shared.get("k")).unwrap().frame).unwrap().wid, 3);
}

#[test]
fn what_the_server_does_not_let_end_is_not_settled_at_once() {
    let rules = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-client|kill"];
    let Some(server) = RedisServer::start_with(&rules) else { return };
    let runtime = Runtime::start().unwrap();
    let shared = instance(&runtime, patient(&server));
    run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
    run(shared.settle("k"));
    let _ = block_on(shared.link().call_all(&[cmd("QUIT")]));
    until("the link is back", || block_on(shared.put("k", bytes("k", 2, b"w"), MINUTE, false)).is_ok());
    let error = block_on(shared.settle("k")).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("earlier connection"), "{error}");
    // It was removed all the same.
    assert_eq!(run(shared.get("k")), None);
}

#[test]
fn a_server_that_is_left_and_found_again_is_settled_at_once() {
    let Some(bed) = Bed::start() else { return };
    run(bed.shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
    let client = || {
        let mut id = cmd("CLIENT");
        id.arg("ID");
        block_on(bed.shared.link().call(id)).ok()
    };
    let before = client();
    assert!(before.is_some());
    bed.shared.leave_server();
    until("another connection is there", || client().is_some_and(|now| Some(now) != before));
    assert!(bed.shared.link().is_orderly());
    run(bed.shared.settle("k"));
    assert_eq!(run(bed.shared.get("k")), None);
}
