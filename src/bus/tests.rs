//! The bus against real servers.

use std::time::{Duration, Instant};

use futures::executor::block_on;

use super::*;
use crate::runtime::Runtime;
use crate::sync::{Arc, Mutex};
use crate::tier::redis::tests::patient;
use crate::tier::redis::tests::redis_server::{Answer, RedisServer};
use crate::tier::redis::{RedisOptions, Wiring};

const CHANNEL: &str = "tc:{cache:invalidate.p00}:inv";

/// Writes down what it is told; a gap is `None`.
#[derive(Default)]
struct Notes(Mutex<Vec<Option<Change>>>);

impl Notes {
    fn gaps(&self) -> usize {
        self.0.lock().iter().filter(|note| note.is_none()).count()
    }

    fn changes(&self) -> Vec<Change> {
        self.0.lock().iter().flatten().cloned().collect()
    }
}

impl Receiver for Notes {
    fn apply(&self, change: &Change) {
        self.0.lock().push(Some(change.clone()));
    }

    fn gap(&self) {
        self.0.lock().push(None);
    }
}

struct Instance {
    bus: RedisBus,
    notes: Arc<Notes>,
    _runtime: Arc<Runtime>,
}

fn instance(server: &RedisServer, config: InvalidationConfig) -> Instance {
    instance_with(&patient(server), config)
}

fn instance_with(options: &RedisOptions, config: InvalidationConfig) -> Instance {
    let runtime = Runtime::start().unwrap();
    let notes = Arc::new(Notes::default());
    let wiring = Wiring::new(options, runtime.spawner()).unwrap();
    let bus = RedisBus::start(wiring, config, notes.clone());
    block_on(bus.ready()).unwrap();
    Instance { bus, notes, _runtime: runtime }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn the_others_hear_every_change_in_order_and_oneself_does_not() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) =
        (instance(&server, InvalidationConfig::default()), instance(&server, InvalidationConfig::default()));
    let changes = [
        Change::Remove(keys(&["a"])),
        Change::Remove(keys(&["b", "c\0ü"])),
        Change::Update(keys(&["d"])),
        Change::Pattern("user:*".into()),
        Change::Clear,
    ];
    for change in &changes {
        block_on(one.bus.announce(change.clone())).unwrap();
    }
    wait_for("all arrive", || two.notes.changes().len() == changes.len());
    assert_eq!(two.notes.changes(), changes);
    // What `two` says after hearing all of it arrives at `one` behind its own messages.
    block_on(two.bus.announce(Change::Remove(keys(&["last"])))).unwrap();
    wait_for("the answer arrives", || !one.notes.changes().is_empty());
    assert_eq!(one.notes.changes(), [Change::Remove(keys(&["last"]))]);
    assert_eq!((one.notes.gaps(), two.notes.gaps()), (1, 1));
    let (sent, heard) = (one.bus.stats(), two.bus.stats());
    assert_eq!((sent.messages_sent, sent.messages_received), (5, 1));
    let expected = InvalidationStats {
        messages_sent: 1,
        messages_received: 5,
        removes_received: 1,
        updates_received: 1,
        patterns_received: 1,
        bulk_removes_received: 2,
        processing_errors: 0,
    };
    assert_eq!(heard, expected);
}

#[test]
fn other_channels_are_not_heard() {
    let Some(server) = RedisServer::start() else { return };
    let other = InvalidationConfig { channel: "other".into(), ..InvalidationConfig::default() };
    let (one, two) = (instance(&server, other), instance(&server, InvalidationConfig::default()));
    let three = instance(&server, InvalidationConfig::default());
    block_on(one.bus.announce(Change::Clear)).unwrap();
    block_on(three.bus.announce(Change::Remove(keys(&["a"])))).unwrap();
    wait_for("the message of the own channel arrives", || !two.notes.changes().is_empty());
    assert_eq!(two.notes.changes(), [Change::Remove(keys(&["a"]))]);
}

#[test]
fn every_new_subscription_reports_a_gap() {
    let Some(mut server) = RedisServer::start() else { return };
    let (one, two) =
        (instance(&server, InvalidationConfig::default()), instance(&server, InvalidationConfig::default()));
    assert_eq!(two.notes.gaps(), 1);
    for round in 2..5 {
        assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), Answer::Int(2));
        wait_for("both are back", || two.notes.gaps() >= round && one.notes.gaps() >= round);
        block_on(two.bus.ready()).unwrap();
        block_on(one.bus.ready()).unwrap();
    }
    server.restart();
    wait_for("it finds the new server", || two.notes.gaps() >= 5);
    wait_for("a change gets through", || block_on(one.bus.announce(Change::Clear)).is_ok());
    wait_for("it is heard", || two.notes.changes().contains(&Change::Clear));
}

#[test]
fn a_server_that_freezes_is_noticed_and_reports_a_gap() {
    let Some(server) = RedisServer::start() else { return };
    let one = instance_with(&RedisOptions::new(server.url()), InvalidationConfig::default());
    server.stop();
    wait_for("the silence is noticed", || one.bus.deaf().is_some());
    let error = block_on(one.bus.announce(Change::Clear)).unwrap_err();
    assert!(error.is_tier(), "{error}");
    server.cont();
    wait_for("it hears again", || one.notes.gaps() == 2 && one.bus.deaf().is_none());
}

#[test]
fn foreign_bytes_are_counted_and_ignored() {
    let Some(server) = RedisServer::start() else { return };
    let (one, two) =
        (instance(&server, InvalidationConfig::default()), instance(&server, InvalidationConfig::default()));
    let channel = CHANNEL.as_bytes();
    let huge = vec![1; 2 << 20];
    let bomb = [&[1][..], &[9; 16], &[1], &u32::MAX.to_le_bytes()].concat();
    for message in [&b""[..], b"hello", b"{\"type\":\"clear\"}", b"\xff\xff", &huge, &bomb] {
        assert_eq!(server.command_bytes(&[b"PUBLISH", channel, message]), Answer::Int(2));
    }
    block_on(one.bus.announce(Change::Clear)).unwrap();
    wait_for("what comes after is heard", || !two.notes.changes().is_empty());
    assert_eq!(two.notes.changes(), [Change::Clear]);
    assert_eq!(two.bus.stats().processing_errors, 6);
    assert_eq!(two.notes.gaps(), 1);
}

#[test]
fn the_audit_stream_has_every_announcement() {
    let Some(server) = RedisServer::start() else { return };
    let config = InvalidationConfig { enable_audit_stream: true, ..InvalidationConfig::default() };
    let one = instance(&server, config);
    block_on(one.bus.announce(Change::Remove(keys(&["a"])))).unwrap();
    block_on(one.bus.announce(Change::Remove(keys(&["a", "b", "c"])))).unwrap();
    block_on(one.bus.announce(Change::Pattern("p*".into()))).unwrap();
    let log = format!("{:?}", server.command(&["XRANGE", "cache:invalidations", "-", "+"]));
    for word in [
        "\"remove\"",
        "\"key\"), Text(\"a\"",
        "\"remove_bulk\"",
        "\"count\"), Text(\"3\"",
        "\"remove_pattern\"",
        "\"origin\"",
    ] {
        assert!(log.contains(word), "{word} in {log}");
    }
    // A stream that cannot be written is no reason not to announce.
    server.command(&["SET", "cache:invalidations", "text"]);
    block_on(one.bus.announce(Change::Clear)).unwrap();
    assert_eq!((one.bus.stats().messages_sent, one.bus.stats().processing_errors), (4, 1));
}

#[test]
fn a_bus_that_is_dropped_leaves_no_connection() {
    let Some(server) = RedisServer::start() else { return };
    let one = instance(&server, InvalidationConfig::default());
    let Instance { bus, notes, _runtime } = one;
    drop(bus);
    wait_for("its connections are closed", || match server.command(&["CLIENT", "LIST"]) {
        Answer::Text(list) => list.lines().count() == 1,
        other => panic!("{other:?}"),
    });
    wait_for("its receiver is released", || Arc::strong_count(&notes) == 1);
}

/// Panics at its first change.
#[derive(Default)]
struct Clumsy(Notes);

impl Receiver for Clumsy {
    fn apply(&self, change: &Change) {
        self.0.apply(change);
        assert!(self.0.changes().len() > 1, "planted");
    }

    fn gap(&self) {
        self.0.gap();
    }
}

#[test]
fn a_receiver_that_panics_costs_the_connection_and_no_more() {
    let Some(server) = RedisServer::start() else { return };
    let (runtime, notes) = (Runtime::start().unwrap(), Arc::new(Clumsy::default()));
    let wiring = Wiring::new(&RedisOptions::new(server.url()), runtime.spawner()).unwrap();
    let bus = RedisBus::start(wiring, InvalidationConfig::default(), notes.clone());
    block_on(bus.ready()).unwrap();
    let one = instance(&server, InvalidationConfig::default());
    block_on(one.bus.announce(Change::Clear)).unwrap();
    wait_for("the gap is reported", || notes.0.gaps() == 2);
    block_on(one.bus.announce(Change::Clear)).unwrap();
    wait_for("the next change is heard", || notes.0.changes().len() == 2);
}
