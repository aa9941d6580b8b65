//! The watch against real servers, with changes made by the scripts.

use std::time::Instant;

use futures::executor::block_on;
use tokio::sync::watch;

use super::super::tests::patient;
use super::super::tests::redis_server::{Answer, RedisServer};
use super::super::transport::{Sockets, Stream, Transport};
use super::super::{BoxFuture, Endpoint, Link};
use super::*;
use crate::clock::SystemClock;
use crate::random::SystemRandom;
use crate::runtime::Runtime;
use crate::shared::{Bump, CONTROL, Change, Control, Controlled, LeaseToken, Leased, SharedTier};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Note {
    Changed(String, Change),
    Settled(String),
    Bumped(Controlled),
    Suspect(u16),
    ReadControl,
    Replaced(u16),
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    notes: Mutex<Vec<Note>>,
    trusted: Mutex<Duration>,
    control_trusted: Mutex<Duration>,
    /// Panics when it is told of this key.
    clumsy: Option<&'static str>,
}

impl Notes {
    fn all(&self) -> Vec<Note> {
        self.notes.lock().clone()
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.lock())
    }

    fn has(&self, note: &Note) -> bool {
        self.notes.lock().contains(note)
    }

    fn write(&self, note: Note) {
        self.notes.lock().push(note);
    }
}

impl Hear for Notes {
    fn changed(&self, keys: &[&str], how: Change) {
        keys.iter().for_each(|key| self.write(Note::Changed((*key).to_owned(), how)));
        assert!(!keys.iter().any(|key| Some(*key) == self.clumsy), "planted");
    }

    fn settled(&self, key: &str) {
        self.write(Note::Settled(key.to_owned()));
    }

    fn suspect(&self, partition: u16) {
        self.write(Note::Suspect(partition));
    }

    fn bumped(&self, bump: &Controlled) {
        self.write(Note::Bumped(bump.clone()));
    }

    fn read_control(&self) {
        self.write(Note::ReadControl);
    }

    fn replaced(&self, partition: u16) {
        self.write(Note::Replaced(partition));
    }

    fn trusted(&self, partition: u16, until: Duration) {
        let word = if partition == CONTROL { &self.control_trusted } else { &self.trusted };
        *word.lock() = until;
    }
}

const NAMESPACE: &str = "ns";
const SEQUENCE: &str = "tc:{ns.p00}:seq";
const LOG: &str = "tc:{ns.p00}:log";
const CHANNEL: &str = "tc:{ns.p00}:inv";
const CONTROL_LOG: &str = "tc:{ns.ctl}:log";
const CONTROL_CHANNEL: &str = "tc:{ns.ctl}:inv";

/// Sockets that are only made while the gate is open.
struct Gate(watch::Receiver<bool>);

impl Transport for Gate {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> BoxFuture<'a, std::io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let mut open = self.0.clone();
            let _ = open.wait_for(|open| *open).await;
            Sockets.connect(endpoint).await
        })
    }
}

/// One that hears what the others do.
struct Instance {
    shared: RedisShared,
    watch: Watch,
    notes: Arc<Notes>,
    clock: Arc<SystemClock>,
    gate: watch::Sender<bool>,
    _runtime: Arc<Runtime>,
}

impl Instance {
    fn start(server: &RedisServer, notes: Notes, set: impl FnOnce(&mut WatchOptions)) -> Self {
        let Other { shared, runtime } = Other::start(server);
        let options = patient(server);
        let notes = Arc::new(notes);
        let (gate, open) = watch::channel(true);
        let endpoint = Arc::new(options.endpoint().unwrap());
        let wiring = Wiring::over(endpoint, &options, Arc::new(Gate(open)), runtime.spawner());
        let clock = Arc::new(SystemClock::new(runtime.timers()));
        let listener: Arc<dyn Hear> = notes.clone();
        let mut options = WatchOptions::of(&shared);
        (options.heartbeat, options.patience) = (Duration::from_millis(20), Duration::from_secs(20));
        set(&mut options);
        let watch = Watch::start(wiring, options, clock.clone(), Arc::downgrade(&listener));
        Self { shared, watch, notes, clock, gate, _runtime: runtime }
    }

    /// One that is live, and whose notes begin after that.
    fn live(server: &RedisServer) -> Self {
        let one = Self::start(server, Notes::default(), |_| {});
        block_on(one.watch.ready()).unwrap();
        assert_eq!(one.notes.take(), [Note::Suspect(0), Note::ReadControl]);
        one
    }

    /// Lets `happen` happen while it has no connection.
    fn missing(&self, server: &RedisServer, happen: impl FnOnce()) {
        self.gate.send_replace(false);
        assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), Answer::Int(1));
        happen();
        self.gate.send_replace(true);
    }

    fn is_trusted(&self) -> bool {
        self.clock.now() < (*self.notes.trusted.lock()).min(*self.notes.control_trusted.lock())
    }

    fn wait_for(&self, note: &Note) {
        wait_for(&format!("{note:?}"), || self.notes.has(note));
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

/// One that only does something.
struct Other {
    shared: RedisShared,
    runtime: Arc<Runtime>,
}

impl Other {
    fn start(server: &RedisServer) -> Self {
        let runtime = Runtime::start().unwrap();
        let wiring = Wiring::new(&patient(server), runtime.spawner()).unwrap();
        let shared = RedisShared::new(Link::start(wiring), NAMESPACE, 1, Arc::new(SystemRandom));
        Self { shared, runtime }
    }

    /// One that has made a change and a bump: both sequences have begun.
    fn begun(server: &RedisServer) -> Self {
        let other = Self::start(server);
        other.remove("first");
        other.bump("first");
        other
    }

    fn before_7(self) -> Self {
        Self { shared: self.shared.before_7(), ..self }
    }

    fn remove(&self, key: &str) -> u64 {
        remove(&self.shared, key)
    }

    fn bump(&self, tag: &str) -> u64 {
        block_on(self.shared.bump(&Bump::Tag(tag.into()), 0)).unwrap().clock
    }
}

fn remove(shared: &RedisShared, key: &str) -> u64 {
    block_on(shared.invalidate(&[key], Duration::ZERO)).unwrap()[0].sequence
}

fn removed(key: &str) -> Note {
    Note::Changed(key.into(), Change::Removed)
}

fn bumped(clock: u64, tag: &str) -> Note {
    Note::Bumped(Controlled { clock, what: Control::Tag(tag.into()) })
}

#[test]
fn what_others_change_is_told_in_order_and_what_oneself_changes_is_not() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    other.remove("a");
    remove(&one.shared, "own");
    block_on(other.shared.put("b", vec![0; 64].into(), MINUTE, false)).unwrap();
    let (leads, waits) = (LeaseToken([1; 16]), LeaseToken([2; 16]));
    assert_eq!(block_on(other.shared.lease("c", leads, MINUTE, None)).unwrap(), Leased::Granted);
    assert!(matches!(block_on(other.shared.lease("c", waits, MINUTE, None)).unwrap(), Leased::Waits(_)));
    block_on(other.shared.release("c", leads)).unwrap();
    let clock = other.bump("tag");
    one.wait_for(&bumped(clock, "tag"));
    let updated = Note::Changed("b".into(), Change::Updated);
    assert_eq!(one.notes.all(), [removed("a"), updated, Note::Settled("c".into()), bumped(clock, "tag")]);
    wait_for("the counts are shown", || one.watch.stats().messages == 5);
    let expected = WatchStats { messages: 5, suspects: 2, ..WatchStats::default() };
    assert_eq!(one.watch.stats(), expected);
    assert!(one.watch.deaf().is_none());
}

#[test]
fn a_subscriber_that_is_killed_reads_what_it_missed_from_the_log() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    for round in 0..5 {
        let keys = ["x", "y", "z"].map(|name| format!("{name} {round}"));
        let mut clock = 0;
        one.missing(&server, || {
            keys.iter().for_each(|key| assert!(other.remove(key) > 0));
            clock = other.bump("tag");
        });
        one.wait_for(&bumped(clock, "tag"));
        wait_for("it is live", || one.watch.deaf().is_none());
        let missed = keys.map(|key| removed(&key));
        wait_for("all are told", || one.notes.has(&missed[2]));
        let (keys, tag): (Vec<_>, Vec<_>) =
            one.notes.take().into_iter().partition(|note| matches!(note, Note::Changed(..)));
        assert_eq!((keys, tag), (missed.to_vec(), vec![bumped(clock, "tag")]));
    }
    let expected = WatchStats { replayed: 20, gaps: 10, suspects: 2, reconnects: 5, ..WatchStats::default() };
    wait_for("the counts are shown", || one.watch.stats().reconnects == 5 && one.watch.stats().replayed == 20);
    assert_eq!(one.watch.stats(), expected);
}

#[test]
fn a_connection_that_is_lost_without_a_change_costs_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let _other = Other::begun(&server);
    let one = Instance::live(&server);
    one.missing(&server, || {});
    wait_for("it is back", || one.watch.stats().reconnects == 1 && one.watch.deaf().is_none());
    assert_eq!(one.notes.all(), []);
}

#[test]
fn every_change_is_covered_whatever_connections_die_meanwhile() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    // What was noted before each change began.
    let mut made = Vec::new();
    for n in 0..400 {
        let key = format!("key {n}");
        made.push((one.notes.all().len(), key.clone()));
        other.remove(&key);
        match n % 20 {
            7 => drop(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            13 if n % 100 == 13 => drop(server.command(&["XTRIM", LOG, "MAXLEN", "1"])),
            17 if n % 100 == 17 => drop(server.command(&["DEL", SEQUENCE])),
            _ => {}
        }
    }
    let is_covered = |notes: &[Note], (before, key): &(usize, String)| {
        notes[*before..].contains(&Note::Suspect(0)) || notes.contains(&removed(key))
    };
    wait_for("all are covered", || {
        let notes = one.notes.all();
        made.iter().all(|change| is_covered(&notes, change))
    });
    assert!(one.watch.stats().reconnects > 0);
}

#[test]
fn a_log_that_was_trimmed_makes_its_partition_suspect() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    one.missing(&server, || {
        other.remove("a");
        other.remove("b");
        server.command(&["XTRIM", LOG, "MAXLEN", "1"]);
    });
    one.wait_for(&Note::Suspect(0));
    wait_for("it is live", || one.watch.deaf().is_none());
    assert_eq!(one.notes.take(), [Note::Suspect(0)]);
    one.missing(&server, || {
        other.bump("a");
        server.command(&["DEL", CONTROL_LOG]);
        server.command(&["SET", CONTROL_LOG, "foreign"]);
    });
    one.wait_for(&Note::ReadControl);
    wait_for("it is live", || one.watch.deaf().is_none());
    assert_eq!(one.notes.take(), [Note::ReadControl]);
}

#[test]
fn a_change_without_a_number_makes_its_partition_suspect_whether_it_is_heard_or_not() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server).before_7();
    let one = Instance::live(&server);
    one.missing(&server, || {
        server.command(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_eq!(other.remove("a"), 0);
    });
    one.wait_for(&Note::Suspect(0));
    wait_for("it is live", || one.watch.deaf().is_none());
    assert_eq!(one.notes.take(), [Note::Suspect(0)]);
    assert_eq!(other.remove("b"), 0);
    one.wait_for(&Note::Suspect(0));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    one.notes.take();
    other.remove("c");
    one.wait_for(&removed("c"));
}

#[test]
fn a_server_that_restarts_is_another_and_everything_is_suspect() {
    let Some(mut server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    server.restart();
    one.wait_for(&Note::ReadControl);
    let expected = [Note::Replaced(0), Note::Suspect(0), Note::Replaced(CONTROL), Note::ReadControl];
    assert_eq!(one.notes.take(), expected);
    wait_for("it is live", || one.watch.deaf().is_none());
    wait_for("the other is back too", || block_on(other.shared.header("a")).is_ok());
    other.remove("a");
    one.wait_for(&removed("a"));
    assert_eq!(one.notes.all(), [Note::Suspect(0), removed("a")], "the first number of a new clock");
}

#[test]
fn a_lost_clock_makes_its_partition_suspect() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    server.command(&["FLUSHALL"]);
    one.wait_for(&Note::Suspect(0));
    one.wait_for(&Note::ReadControl);
    one.notes.take();
    // A clock that was set back: nothing is heard of it but a number that was given before.
    let number = other.remove("a");
    one.wait_for(&removed("a"));
    one.notes.take();
    server.command(&["SET", SEQUENCE, &(number - 1).to_string()]);
    wait_for("it is noticed", || one.notes.has(&Note::Suspect(0)));
    one.notes.take();
    server.command(&["SET", SEQUENCE, "no number"]);
    one.wait_for(&Note::Suspect(0));
    assert!(!one.notes.has(&Note::Replaced(0)));
}

#[test]
fn a_frozen_server_is_trusted_no_longer_than_agreed_until_it_is_back() {
    let Some(server) = RedisServer::start() else { return };
    let _other = Other::begun(&server);
    let one = Instance::start(&server, Notes::default(), |options| {
        (options.patience, options.staleness) = (Duration::from_millis(500), Duration::ZERO);
    });
    wait_for("it is trusted", || one.is_trusted());
    one.notes.take();
    server.stop();
    wait_for("the silence is noticed", || one.watch.deaf().is_some());
    assert!(!one.is_trusted(), "no longer than the silence lasted unnoticed");
    server.cont();
    wait_for("it is trusted again", || one.is_trusted());
    assert!(!one.notes.has(&Note::Suspect(0)), "nothing was lost: {:?}", one.notes.all());
    wait_for("it has reconnected", || one.watch.stats().reconnects > 0);
}

#[test]
fn a_connection_that_is_closed_is_trusted_no_longer_than_agreed() {
    let Some(server) = RedisServer::start() else { return };
    let one = Instance::start(&server, Notes::default(), |options| options.staleness = Duration::ZERO);
    wait_for("it is trusted", || one.is_trusted());
    one.missing(&server, || {
        wait_for("it is noticed", || one.watch.deaf().is_some());
        assert!(!one.is_trusted());
    });
    wait_for("it is trusted again", || one.is_trusted());
}

#[test]
fn foreign_bytes_on_the_channel_make_suspect_at_most() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let one = Instance::live(&server);
    let number = |kind: u8, number: u64, rest: &[u8]| [&[kind], &number.to_le_bytes()[..], rest].concat();
    let last = other.remove("a");
    let body = b"another!\x01\0\0\0k";
    let garbage = [
        Vec::new(),
        b"hello".to_vec(),
        b"{\"type\":\"clear\",\"key\":\"user:1\"}".to_vec(),
        vec![0xff; 1 << 20],
        number(b'I', last + 1, b"another!\xff\xff\xff\xff"),
        number(b'I', 3, body),
        number(b'I', last + 2, body),
        number(b'P', last + (1 << 40), body),
        number(b'I', u64::MAX, body),
        number(b'S', 9, b"another!"),
    ];
    for bytes in &garbage {
        for channel in [CHANNEL, CONTROL_CHANNEL] {
            server.command_bytes(&[b"PUBLISH", channel.as_bytes(), bytes]);
        }
    }
    other.remove("b");
    let clock = other.bump("b");
    one.wait_for(&bumped(clock, "b"));
    one.wait_for(&removed("b"));
    assert!(one.notes.has(&Note::Suspect(0)) && one.notes.has(&Note::ReadControl));
    assert_eq!((one.watch.stats().panics, one.watch.stats().reconnects), (0, 0));
    one.notes.take();
    // All is well again: what follows is told as it is.
    other.remove("c");
    one.wait_for(&removed("c"));
    wait_for("all of it is counted", || one.watch.stats().refused == 12);
}

#[test]
fn a_replica_is_not_followed() {
    let (Some(master), Some(server)) = (RedisServer::start(), RedisServer::start()) else { return };
    let one = Instance::live(&server);
    let port = master.port().to_string();
    // The connection stays up while its server turns into a replica.
    server.command(&["REPLICAOF", "127.0.0.1", &port]);
    let told = || one.watch.deaf().is_some_and(|why| why.to_string().contains("is a replica"));
    wait_for("it is told", told);
    let two = Instance::start(&server, Notes::default(), |_| {});
    wait_for("the replica is refused", || two.watch.deaf().is_some_and(|why| why.to_string().contains("is a replica")));
    assert_eq!(two.notes.all(), []);
    // It is a master again, with the other's history: the process is the same.
    server.command(&["REPLICAOF", "NO", "ONE"]);
    one.wait_for(&Note::Replaced(0));
    one.wait_for(&Note::ReadControl);
    wait_for("both follow", || one.watch.deaf().is_none() && two.watch.deaf().is_none());
    assert!(!two.notes.has(&Note::Replaced(0)), "it has never followed another");
}

#[test]
fn a_watch_that_is_dropped_leaves_no_connection_and_a_listener_that_is_gone_ends_it() {
    let Some(server) = RedisServer::start() else { return };
    let clients = || match server.command(&["CLIENT", "LIST"]) {
        Answer::Text(list) => list.lines().count(),
        other => panic!("{other:?}"),
    };
    let Instance { watch, notes, _runtime, .. } = Instance::live(&server);
    wait_for("the watch holds it weakly", || Arc::strong_count(&notes) == 1);
    drop(watch);
    wait_for("its connection is closed", || clients() == 1);

    let Instance { watch, notes, _runtime, .. } = Instance::live(&server);
    drop(notes);
    wait_for("its connection is closed", || clients() == 1);
    wait_for("it says so", || watch.state.has_changed().is_err());
}

#[test]
fn a_listener_that_panics_is_told_that_everything_is_suspect() {
    let Some(server) = RedisServer::start() else { return };
    let other = Other::begun(&server);
    let clumsy = Notes { clumsy: Some("boom"), ..Notes::default() };
    let one = Instance::start(&server, clumsy, |_| {});
    block_on(one.watch.ready()).unwrap();
    one.notes.take();
    other.remove("boom");
    one.wait_for(&Note::Suspect(0));
    one.wait_for(&Note::ReadControl);
    block_on(one.watch.ready()).unwrap();
    other.remove("a");
    one.wait_for(&removed("a"));
    assert_eq!((one.watch.stats().panics, one.watch.stats().reconnects), (1, 1));
}

#[test]
fn the_servers_time_is_known() {
    let Some(server) = RedisServer::start() else { return };
    let one = Instance::live(&server);
    let time = || match server.command(&["TIME"]) {
        Answer::List(parts) => match &parts[..] {
            [Answer::Text(seconds), _] => Duration::from_secs(seconds.parse().unwrap()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    wait_for("a first answer", || one.watch.server_time().is_some());
    let (before, seen, after) = (time(), one.watch.server_time().unwrap(), time());
    // Off by no more than the longest of a few round trips, which a busy machine makes long.
    let room = Duration::from_secs(20);
    assert!(seen + room > before && seen < after + room, "{before:?} {seen:?} {after:?}");
}
