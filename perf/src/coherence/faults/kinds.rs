//! The kinds of faults: for each a name, what it may break, a rhythm and a struct.

use benches::redis_server::Answer;
use fastrand::Rng;

use super::{Fault, Lab, Rhythm};
use crate::coherence::wire::State;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    KillSubscribers,
    Freeze,
    Restart,
    FlushAll,
    Evict,
    OutOfMemory,
    ScriptFlush,
    SlowSubscriber,
    Partition,
    KillHolder,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::KillSubscribers,
        Self::Freeze,
        Self::Restart,
        Self::FlushAll,
        Self::Evict,
        Self::OutOfMemory,
        Self::ScriptFlush,
        Self::SlowSubscriber,
        Self::Partition,
        Self::KillHolder,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillSubscribers => "kill-subscribers",
            Self::Freeze => "freeze",
            Self::Restart => "restart",
            Self::FlushAll => "flushall",
            Self::Evict => "evict",
            Self::OutOfMemory => "oom",
            Self::ScriptFlush => "script-flush",
            Self::SlowSubscriber => "slow-subscriber",
            Self::Partition => "partition",
            Self::KillHolder => "kill-holder",
        }
    }

    /// Whether it may break the connections that carry messages.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::KillSubscribers | Self::Freeze | Self::Restart | Self::SlowSubscriber | Self::Partition)
    }

    /// Whether a lease, or the value that a round stored, may be lost.
    pub(super) fn loses_leases(self) -> bool {
        matches!(
            self,
            Self::Freeze | Self::Restart | Self::FlushAll | Self::Evict | Self::OutOfMemory | Self::Partition
        )
    }

    /// Whether it is made on the way between the server and an instance.
    pub(crate) fn needs_wires(self) -> bool {
        matches!(self, Self::Partition | Self::KillHolder)
    }

    /// Nothing for what is no matter of a schedule: holders die in rounds.
    pub(super) fn rhythm(self) -> Option<Rhythm> {
        Some(match self {
            Self::KillSubscribers => Rhythm::millis([0, 0], [100, 200], 10),
            Self::Freeze => Rhythm::millis([300, 1500], [1000, 2500], 1),
            Self::Restart => Rhythm::millis([100, 800], [1500, 3000], 1),
            Self::FlushAll => Rhythm::millis([0, 0], [300, 1200], 3),
            Self::Evict => Rhythm::millis([300, 800], [300, 1000], 2),
            Self::OutOfMemory => Rhythm::millis([300, 1200], [500, 1500], 1),
            Self::ScriptFlush => Rhythm::millis([0, 0], [80, 120], 10),
            Self::SlowSubscriber => Rhythm::millis([50, 150], [300, 800], 2),
            // Sometimes longer than L1 is trusted without Redis.
            Self::Partition => Rhythm::millis([200, 5000], [1000, 2000], 1),
            Self::KillHolder => return None,
        })
    }

    pub(super) fn fault(self, random: &mut Rng, instances: usize) -> Option<Box<dyn Fault>> {
        Some(match self {
            Self::KillSubscribers => Box::new(KillSubscribers),
            Self::Freeze => Box::new(Freeze),
            Self::Restart => Box::new(Restart),
            Self::FlushAll => Box::new(FlushAll),
            Self::Evict => Box::new(Evict),
            Self::OutOfMemory => Box::new(OutOfMemory),
            Self::ScriptFlush => Box::new(ScriptFlush),
            Self::SlowSubscriber => Box::new(SlowSubscriber),
            Self::Partition => Box::new(Partition::draw(random, instances)),
            Self::KillHolder => return None,
        })
    }
}

/// Runs a command that has to succeed: a fault that is not made shows nothing.
fn command(lab: &Lab, arguments: &[&str]) -> Answer {
    let answer = lab.redis.command(arguments);
    assert!(!matches!(answer, Answer::Error(_)), "{arguments:?}: {answer:?}");
    answer
}

fn set(lab: &Lab, setting: &str, value: &str) {
    command(lab, &["CONFIG", "SET", setting, value]);
}

/// The server drops all connections that subscribe.
struct KillSubscribers;

impl Fault for KillSubscribers {
    fn start(&mut self, lab: &mut Lab) {
        command(lab, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    fn heal(&mut self, _: &mut Lab) {}
}

/// The server stands still; connections stay open.
struct Freeze;

impl Fault for Freeze {
    fn start(&mut self, lab: &mut Lab) {
        lab.redis.stop();
    }

    fn heal(&mut self, lab: &mut Lab) {
        lab.redis.cont();
    }
}

/// The server is killed, and an empty one takes its place.
struct Restart;

impl Fault for Restart {
    fn start(&mut self, lab: &mut Lab) {
        lab.redis.kill();
    }

    fn heal(&mut self, lab: &mut Lab) {
        lab.redis.restart();
    }
}

/// Everything is deleted, the protocol's own keys too.
struct FlushAll;

impl Fault for FlushAll {
    fn start(&mut self, lab: &mut Lab) {
        command(lab, &["FLUSHALL"]);
    }

    fn heal(&mut self, _: &mut Lab) {}
}

/// Memory is short and any key may be evicted, the protocol's own too.
struct Evict;

impl Evict {
    const FILLERS: usize = 200;
    const FILLER_BYTES: usize = 10_000;

    fn fillers() -> Vec<String> {
        (0..Self::FILLERS).map(|n| format!("filler:{n}")).collect()
    }
}

impl Fault for Evict {
    fn start(&mut self, lab: &mut Lab) {
        let value = "x".repeat(Self::FILLER_BYTES);
        let names = Self::fillers();
        let mut mset = vec!["MSET"];
        names.iter().for_each(|name| mset.extend([name.as_str(), value.as_str()]));
        command(lab, &mset);
        let Answer::Text(info) = command(lab, &["INFO", "memory"]) else { panic!("INFO tells of memory") };
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<usize>().ok());
        let used = used.expect("INFO tells the memory in use");
        set(lab, "maxmemory-policy", "allkeys-random");
        // Half of the fillers have to go, and with them as large a part of everything else.
        set(lab, "maxmemory", &(used - Self::FILLERS * Self::FILLER_BYTES / 2).to_string());
    }

    fn heal(&mut self, lab: &mut Lab) {
        set(lab, "maxmemory", "0");
        let names = Self::fillers();
        let mut unlink = vec!["UNLINK"];
        unlink.extend(names.iter().map(String::as_str));
        command(lab, &unlink);
    }
}

/// Memory is at its end and nothing is evicted: whatever may need some is refused.
struct OutOfMemory;

impl Fault for OutOfMemory {
    fn start(&mut self, lab: &mut Lab) {
        set(lab, "maxmemory-policy", "noeviction");
        set(lab, "maxmemory", "1");
    }

    fn heal(&mut self, lab: &mut Lab) {
        set(lab, "maxmemory", "0");
    }
}

/// The server forgets its scripts.
struct ScriptFlush;

impl Fault for ScriptFlush {
    fn start(&mut self, lab: &mut Lab) {
        command(lab, &["SCRIPT", "FLUSH"]);
    }

    fn heal(&mut self, _: &mut Lab) {}
}

/// Subscribers have more to read than the server keeps for them: it drops them, and with them what they had not read.
struct SlowSubscriber;

impl Fault for SlowSubscriber {
    fn start(&mut self, lab: &mut Lab) {
        set(lab, "client-output-buffer-limit", "pubsub 16384 0 0");
        // No message of anybody's: also what a foreign client might send there.
        let junk = "junk".repeat(16 << 10);
        command(lab, &["PUBLISH", lab.channel, &junk]);
    }

    fn heal(&mut self, lab: &mut Lab) {
        set(lab, "client-output-buffer-limit", "pubsub 33554432 8388608 60");
    }
}

/// One instance and the server do not hear each other, or one of them does not hear the other, while all others go on.
struct Partition {
    instance: usize,
    state: State,
}

impl Partition {
    fn draw(random: &mut Rng, instances: usize) -> Self {
        let state = match random.u32(..4) {
            0 => State { cut: true, ..State::default() },
            1 => State { up_held: true, ..State::default() },
            2 => State { down_held: true, ..State::default() },
            _ => State { up_held: true, down_held: true, cut: false },
        };
        Self { instance: random.usize(..instances), state }
    }
}

impl Fault for Partition {
    fn start(&mut self, lab: &mut Lab) {
        lab.wires[self.instance].be(self.state);
    }

    fn heal(&mut self, lab: &mut Lab) {
        lab.wires[self.instance].be(State::default());
    }

    fn instance(&self) -> Option<usize> {
        Some(self.instance)
    }
}
