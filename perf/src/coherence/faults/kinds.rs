//! The kinds of faults: for each a name, what it may break, a rhythm and a struct.

use benches::redis_server::{Answer, RedisServer};

use super::{Fault, Rhythm};

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
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::KillSubscribers,
        Self::Freeze,
        Self::Restart,
        Self::FlushAll,
        Self::Evict,
        Self::OutOfMemory,
        Self::ScriptFlush,
        Self::SlowSubscriber,
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
        }
    }

    /// Whether it may break the connections that carry messages.
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::KillSubscribers | Self::Freeze | Self::Restart | Self::SlowSubscriber)
    }

    /// Whether a lease, or the value that a round stored, may be lost.
    pub(super) fn loses_leases(self) -> bool {
        matches!(self, Self::Freeze | Self::Restart | Self::FlushAll | Self::Evict | Self::OutOfMemory)
    }

    pub(super) fn rhythm(self) -> Rhythm {
        match self {
            Self::KillSubscribers => Rhythm::millis([0, 0], [100, 200], 10),
            Self::Freeze => Rhythm::millis([300, 1500], [1000, 2500], 1),
            Self::Restart => Rhythm::millis([100, 800], [1500, 3000], 1),
            Self::FlushAll => Rhythm::millis([0, 0], [300, 1200], 3),
            Self::Evict => Rhythm::millis([300, 800], [300, 1000], 2),
            Self::OutOfMemory => Rhythm::millis([300, 1200], [500, 1500], 1),
            Self::ScriptFlush => Rhythm::millis([0, 0], [80, 120], 10),
            Self::SlowSubscriber => Rhythm::millis([50, 150], [300, 800], 2),
        }
    }

    pub(super) fn fault(self, channel: &'static str) -> Box<dyn Fault> {
        match self {
            Self::KillSubscribers => Box::new(KillSubscribers),
            Self::Freeze => Box::new(Freeze),
            Self::Restart => Box::new(Restart),
            Self::FlushAll => Box::new(FlushAll),
            Self::Evict => Box::new(Evict),
            Self::OutOfMemory => Box::new(OutOfMemory),
            Self::ScriptFlush => Box::new(ScriptFlush),
            Self::SlowSubscriber => Box::new(SlowSubscriber { channel }),
        }
    }
}

/// Runs a command that has to succeed: a fault that is not made shows nothing.
fn command(redis: &RedisServer, arguments: &[&str]) -> Answer {
    let answer = redis.command(arguments);
    assert!(!matches!(answer, Answer::Error(_)), "{arguments:?}: {answer:?}");
    answer
}

fn set(redis: &RedisServer, setting: &str, value: &str) {
    command(redis, &["CONFIG", "SET", setting, value]);
}

/// The server drops all connections that subscribe.
struct KillSubscribers;

impl Fault for KillSubscribers {
    fn start(&mut self, redis: &mut RedisServer) {
        command(redis, &["CLIENT", "KILL", "TYPE", "pubsub"]);
    }

    fn heal(&mut self, _: &mut RedisServer) {}
}

/// The server stands still; connections stay open.
struct Freeze;

impl Fault for Freeze {
    fn start(&mut self, redis: &mut RedisServer) {
        redis.stop();
    }

    fn heal(&mut self, redis: &mut RedisServer) {
        redis.cont();
    }
}

/// The server is killed, and an empty one takes its place.
struct Restart;

impl Fault for Restart {
    fn start(&mut self, redis: &mut RedisServer) {
        redis.kill();
    }

    fn heal(&mut self, redis: &mut RedisServer) {
        redis.restart();
    }
}

/// Everything is deleted, the protocol's own keys too.
struct FlushAll;

impl Fault for FlushAll {
    fn start(&mut self, redis: &mut RedisServer) {
        command(redis, &["FLUSHALL"]);
    }

    fn heal(&mut self, _: &mut RedisServer) {}
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
    fn start(&mut self, redis: &mut RedisServer) {
        let value = "x".repeat(Self::FILLER_BYTES);
        let names = Self::fillers();
        let mut mset = vec!["MSET"];
        names.iter().for_each(|name| mset.extend([name.as_str(), value.as_str()]));
        command(redis, &mset);
        let Answer::Text(info) = command(redis, &["INFO", "memory"]) else { panic!("INFO tells of memory") };
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<usize>().ok());
        let used = used.expect("INFO tells the memory in use");
        set(redis, "maxmemory-policy", "allkeys-random");
        // Half of the fillers have to go, and with them as large a part of everything else.
        set(redis, "maxmemory", &(used - Self::FILLERS * Self::FILLER_BYTES / 2).to_string());
    }

    fn heal(&mut self, redis: &mut RedisServer) {
        set(redis, "maxmemory", "0");
        let names = Self::fillers();
        let mut unlink = vec!["UNLINK"];
        unlink.extend(names.iter().map(String::as_str));
        command(redis, &unlink);
    }
}

/// Memory is at its end and nothing is evicted: whatever may need some is refused.
struct OutOfMemory;

impl Fault for OutOfMemory {
    fn start(&mut self, redis: &mut RedisServer) {
        set(redis, "maxmemory-policy", "noeviction");
        set(redis, "maxmemory", "1");
    }

    fn heal(&mut self, redis: &mut RedisServer) {
        set(redis, "maxmemory", "0");
    }
}

/// The server forgets its scripts.
struct ScriptFlush;

impl Fault for ScriptFlush {
    fn start(&mut self, redis: &mut RedisServer) {
        command(redis, &["SCRIPT", "FLUSH"]);
    }

    fn heal(&mut self, _: &mut RedisServer) {}
}

/// Subscribers have more to read than the server keeps for them: it drops them, and with them what they had not read.
struct SlowSubscriber {
    channel: &'static str,
}

impl Fault for SlowSubscriber {
    fn start(&mut self, redis: &mut RedisServer) {
        set(redis, "client-output-buffer-limit", "pubsub 16384 0 0");
        // No message of anybody's: also what a foreign client might send there.
        let junk = "junk".repeat(16 << 10);
        command(redis, &["PUBLISH", self.channel, &junk]);
    }

    fn heal(&mut self, redis: &mut RedisServer) {
        set(redis, "client-output-buffer-limit", "pubsub 33554432 8388608 60");
    }
}
