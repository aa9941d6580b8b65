//! The law of `follow`, against a simulated server: see there.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::follow::{Action, Bounds, Follow, Identity, Partition};
use super::message::{How, Keys, Message, Origin, Said, What};
use super::replay::{Entry, Missing};
use super::{Change, Control, Controlled};

thread_local! {
    static PLANTED: Cell<&'static str> = const { Cell::new("") };
}

/// Whether this thread's test has planted the named fault.
pub(super) fn planted(fault: &str) -> bool {
    PLANTED.get() == fault
}

/// Plants a fault for this thread's test.
pub(super) fn plant(fault: &'static str) {
    PLANTED.set(fault);
}

/// All that can be planted in a follower.
pub(super) const FAULTS: [&str; 6] = [
    "old_numbers_ignored",
    "run_id_alone",
    "count_not_checked",
    "replay_begins_late",
    "own_do_not_advance",
    "trimmed_is_whole",
];

const OWN: Origin = [1; 8];
const OTHER: Origin = [2; 8];
const BOUNDS: Bounds = Bounds { staleness: Duration::from_secs(1000), notice: Duration::from_secs(1) };

/// What the simulated world does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change {
        own: bool,
    },
    /// A change that the server had no room to give a number: the clock and the log go with it.
    Unnumbered,
    Garbage {
        kind: u8,
        ahead: u8,
    },
    /// A question is sent.
    Ask,
    /// The server takes up to so many requests.
    Serve(u8),
    /// The link takes up to so much of what has come.
    Deliver(u8),
    Disconnect,
    Connect,
    Trim(u8),
    LoseLog,
    LoseClock {
        back: bool,
    },
    Flush,
    /// Another history: so many changes back, by another process or by the same one.
    Replace {
        back: u8,
        same_process: bool,
        hangs_up: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<bool>().prop_map(|own| Step::Change { own }),
        1 => Just(Step::Unnumbered),
        1 => (any::<u8>(), 0..4_u8).prop_map(|(kind, ahead)| Step::Garbage { kind, ahead }),
        6 => Just(Step::Ask),
        12 => (1..4_u8).prop_map(Step::Serve),
        12 => (1..6_u8).prop_map(Step::Deliver),
        3 => Just(Step::Disconnect),
        4 => Just(Step::Connect),
        2 => (1..4_u8).prop_map(Step::Trim),
        1 => Just(Step::LoseLog),
        1 => any::<bool>().prop_map(|back| Step::LoseClock { back }),
        1 => Just(Step::Flush),
        1 => (0..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(back, same_process, hangs_up)| Step::Replace { back, same_process, hangs_up }),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Nothing is lost.
fn quiet_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => any::<bool>().prop_map(|own| Step::Change { own }),
        1 => Just(Step::Ask),
        2 => (1..4_u8).prop_map(Step::Serve),
        2 => (1..6_u8).prop_map(Step::Deliver),
    ];
    proptest::collection::vec(step, 0..60).prop_map(|steps| [vec![Step::Connect], steps].concat())
}

/// Numbers, and what was said under them.
type Log = VecDeque<(u64, Vec<u8>)>;

struct Server {
    identity: Identity,
    clock: Option<u64>,
    log: Log,
    /// As it was before each change.
    past: Vec<(Option<u64>, Log)>,
    restarts: u64,
    back: bool,
}

impl Server {
    fn next(&mut self) -> u64 {
        self.past.push((self.clock, self.log.clone()));
        let next = match self.clock {
            Some(clock) => clock + 1,
            None => {
                // No restart comes near another.
                self.restarts += 1;
                let time = 1_000_000 * if self.back { 1000 - self.restarts } else { 1000 + self.restarts };
                time.max(self.log.back().map_or(0, |(last, _)| last + 1))
            }
        };
        self.clock = Some(next);
        next
    }
}

enum Request {
    Number(Duration),
    Identity,
    Replay(Missing),
}

enum Reply {
    Message(Vec<u8>),
    Number(Option<u64>, Duration),
    Identity(Identity),
    Entries(Missing, Vec<(String, Vec<u8>)>),
}

#[derive(Default)]
struct Connection {
    requests: VecDeque<Request>,
    replies: VecDeque<Reply>,
}

#[derive(Debug)]
struct Made {
    name: String,
    /// When it took effect, and was acknowledged.
    at: Duration,
    covered: bool,
}

/// What the link has said, held against what has happened.
struct Told {
    partition: Partition,
    now: Duration,
    made: Vec<Made>,
    clock: u64,
    missing: Vec<Missing>,
    dropped: bool,
    /// Whether a server has been known at all.
    known: bool,
    /// When the history changed, until that is told.
    replaced: Option<Duration>,
    fault: Option<String>,
}

impl Told {
    fn take(&mut self, action: Action<'_>) {
        match action {
            Action::Changed(keys, _) => keys.for_each(|key| self.cover(key)),
            Action::Bumped(Controlled { clock, what: Control::Tag(tag) }) => {
                if clock <= self.clock {
                    self.fails(format!("the control clock is told as {clock} after {}", self.clock));
                }
                self.clock = clock;
                self.cover(&tag);
            }
            Action::Suspect if self.partition == Partition::Data => self.cover_all(),
            Action::ReadControl if self.partition == Partition::Control => self.cover_all(),
            Action::Trusted(until) => {
                self.known = true;
                let sent = until.saturating_sub(BOUNDS.staleness);
                if let Some(missed) = self.made.iter().find(|made| !made.covered && made.at < sent) {
                    let fault = format!("trusted as of {sent:?}, and not told: {missed:?}");
                    self.fails(fault);
                }
                if self.replaced.is_some_and(|at| at < sent) {
                    self.fails("trusted, and not told that the history is another".into());
                }
            }
            Action::Replay(missing) => self.missing.push(missing),
            Action::Drop(_) => self.dropped = true,
            Action::Replaced => self.replaced = None,
            other => self.fails(format!("not to be said here: {other:?}")),
        }
    }

    /// The first fault counts.
    fn fails(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn cover(&mut self, name: &str) {
        self.made.iter_mut().filter(|made| made.name == name).for_each(|made| made.covered = true);
    }

    fn cover_all(&mut self) {
        self.clock = 0;
        self.made.iter_mut().for_each(|made| made.covered = true);
    }
}

struct World {
    server: Server,
    connection: Option<Connection>,
    follow: Follow,
    told: Told,
}

impl World {
    fn new(partition: Partition) -> Self {
        let identity = Identity { run_id: "a".into(), replication_id: "0".into() };
        let log = VecDeque::new();
        let server = Server { identity, clock: None, log, past: Vec::new(), restarts: 0, back: false };
        let (now, made, missing) = (Duration::ZERO, Vec::new(), Vec::new());
        let told =
            Told { partition, now, made, clock: 0, missing, dropped: false, known: false, replaced: None, fault: None };
        Self { server, connection: None, follow: Follow::new(partition, OWN, BOUNDS), told }
    }

    fn step(&mut self, step: Step) {
        self.told.now += Duration::from_secs(1);
        match step {
            Step::Change { own } => self.change(own),
            Step::Unnumbered => {
                self.made(false);
                self.server.clock = None;
                self.server.log.clear();
                self.publish(Message::SuspectAll(OTHER).write());
            }
            Step::Garbage { kind, ahead } => {
                // Not well-formed, whatever the kind.
                let number = self.server.clock.unwrap_or(0) + u64::from(ahead);
                self.publish([&[kind][..], &number.to_le_bytes(), &OTHER, &[0xff; 3]].concat());
            }
            Step::Ask => self.ask(),
            Step::Serve(count) => (0..count).for_each(|_| self.serve()),
            Step::Deliver(count) => (0..count).for_each(|_| self.deliver()),
            Step::Disconnect => self.disconnect(),
            Step::Connect => {
                if self.connection.is_none() {
                    self.connection = Some(Connection::default());
                    self.follow.subscribed();
                    self.ask();
                }
            }
            Step::Trim(count) => drop(self.server.log.drain(..usize::from(count).min(self.server.log.len()))),
            Step::LoseLog => self.server.log.clear(),
            Step::LoseClock { back } => (self.server.clock, self.server.back) = (None, back),
            Step::Flush => {
                self.server.clock = None;
                self.server.log.clear();
            }
            Step::Replace { back, same_process, hangs_up } => {
                for _ in 0..back {
                    if let Some(before) = self.server.past.pop() {
                        (self.server.clock, self.server.log) = before;
                    }
                }
                self.server.identity.replication_id.push('+');
                if self.told.known {
                    self.told.replaced = Some(self.told.now);
                }
                if !same_process {
                    self.server.identity.run_id.push('+');
                }
                if !same_process || hangs_up {
                    self.disconnect();
                }
            }
        }
    }

    /// Notes that something changes now.
    fn made(&mut self, own: bool) -> String {
        let name = format!("name {}", self.told.made.len());
        self.told.made.push(Made { name: name.clone(), at: self.told.now, covered: own });
        name
    }

    fn change(&mut self, own: bool) {
        let name = self.made(own);
        let number = self.server.next();
        let packed = Keys::pack(&[&name]).unwrap();
        let what = match self.told.partition {
            Partition::Data => What::Changed(Change::Removed, Keys::read(&packed).unwrap()),
            Partition::Control => What::Bump(How::Tag, &name),
        };
        let said = Said { origin: if own { OWN } else { OTHER }, what };
        if self.server.log.back().is_some_and(|(last, _)| *last >= number) {
            // The log takes no id that is not above the last.
            self.server.log.clear();
        }
        self.server.log.push_back((number, said.write()));
        self.publish(Message::Numbered(number, said).write());
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            connection.replies.push_back(Reply::Message(bytes));
        }
    }

    fn ask(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.requests.extend([Request::Number(self.told.now), Request::Identity]);
        }
    }

    fn serve(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let Some(request) = connection.requests.pop_front() else { return };
        connection.replies.push_back(match request {
            Request::Number(sent) => Reply::Number(self.server.clock, sent),
            Request::Identity => Reply::Identity(self.server.identity.clone()),
            Request::Replay(missing) => {
                let within = |number| number > missing.after && number <= missing.through;
                let entries = self.server.log.iter().filter(|(number, _)| within(*number));
                Reply::Entries(missing, entries.map(|(number, value)| (format!("{number}-1"), value.clone())).collect())
            }
        });
    }

    fn deliver(&mut self) {
        let Some(reply) = self.connection.as_mut().and_then(|connection| connection.replies.pop_front()) else {
            return;
        };
        let (follow, told) = (&mut self.follow, &mut self.told);
        let field: &[u8] = if told.partition == Partition::Data { b"i" } else { b"c" };
        let act = &mut |action: Action<'_>| told.take(action);
        match reply {
            Reply::Message(bytes) => follow.heard(&bytes, act),
            Reply::Number(number, sent) => follow.number(number, sent, act),
            Reply::Identity(identity) => follow.identity(&identity, act),
            Reply::Entries(missing, entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(id, value)| Entry { id: id.as_bytes(), field, value }).collect();
                follow.replayed(missing, Some(&entries), act);
            }
        }
        if std::mem::take(&mut told.dropped) {
            self.disconnect();
        } else if let Some(connection) = &mut self.connection {
            connection.requests.extend(self.told.missing.drain(..).map(Request::Replay));
        }
    }

    fn disconnect(&mut self) {
        if self.connection.take().is_some() {
            let told = &mut self.told;
            told.missing.clear();
            self.follow.lost(&mut |action| told.take(action));
        }
    }

    /// Lets everything come to rest, with a last question.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.step(Step::Connect);
            self.step(Step::Ask);
            let mut left = 1000;
            while self.connection.as_ref().is_some_and(|open| !(open.requests.is_empty() && open.replies.is_empty())) {
                self.serve();
                self.deliver();
                left -= 1;
                assert!(left > 0, "it asks on and on: {:?}", self.follow);
            }
        }
    }
}

fn run(partition: Partition, steps: &[Step]) -> Result<Follow, TestCaseError> {
    let mut world = World::new(partition);
    steps.iter().for_each(|step| world.step(*step));
    world.settle();
    if let Some(fault) = world.told.fault {
        return Err(TestCaseError::fail(fault));
    }
    if !world.follow.is_live() || world.told.made.iter().any(|made| !made.covered) {
        return Err(TestCaseError::fail(format!("it does not come to rest: {:?}", world.follow)));
    }
    Ok(world.follow)
}

fn check(partition: Partition) -> Result<(), TestError<Vec<Step>>> {
    let config = Config { cases: 1500, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    TestRunner::new(config.clone()).run(&steps(), |steps| run(partition, &steps).map(drop))?;
    TestRunner::new(Config { cases: 300, ..config }).run(&quiet_steps(), |steps| {
        let counts = run(partition, &steps)?.counts();
        // At the first connection, and at the first number of a server that has none yet.
        prop_assert!(counts.gaps == 0 && counts.suspects <= 2, "nothing was lost: {counts:?}");
        Ok(())
    })
}

#[test]
fn every_change_is_covered_before_anything_is_trusted() {
    for partition in [Partition::Data, Partition::Control] {
        check(partition).unwrap_or_else(|fault| panic!("{partition:?}: {fault}"));
    }
}

#[test]
fn planted_faults_are_found() {
    for fault in FAULTS {
        plant(fault);
        let found = check(Partition::Data);
        println!("{fault}: {found:?}");
        assert!(matches!(found, Err(TestError::Fail(..))), "`{fault}` is not found");
    }
}

/// What is missing by the number of one history may be read from the log of another, which has something else under it.
#[test]
fn a_log_that_is_read_proves_nothing_until_the_server_has_said_again_who_it_is() {
    let steps = [
        Step::Connect,
        Step::Serve(2),
        Step::Change { own: false },
        Step::Deliver(3),
        Step::Disconnect,
        Step::Change { own: false },
        Step::Connect,
        Step::Serve(2),
        Step::Replace { back: 1, same_process: true, hangs_up: false },
        Step::Change { own: false },
        Step::Deliver(2),
    ];
    for partition in [Partition::Data, Partition::Control] {
        run(partition, &steps).unwrap_or_else(|fault| panic!("{partition:?}: {fault}"));
    }
}
