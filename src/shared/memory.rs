//! The shared tier within one process, with the contract of the one at a server, and with faults on order: many instances in
//! one process, on a clock and with chances of a test's own.
//!
//! A [`MemoryServer`] has the data; each instance has a [`MemoryShared`] of its own, and listens through a [`MemoryWatch`].
//! What is told goes as the bytes that the scripts of a server publish, and is read by the follower that reads those.
//!
//! # Faults
//! | what goes wrong | how |
//! |---|---|
//! | an operation fails, before or after it took effect | [`MemoryShared::order`] |
//! | an operation takes effect later, in an order of the test's choice | [`MemoryShared::hold`], [`let_through`](MemoryShared::let_through), [`let_all_through`](MemoryShared::let_all_through) |
//! | an answer comes late | [`MemoryShared::hold_answers`] |
//! | the connection of the operations is lost | [`MemoryShared::hang_up`] |
//! | the line that messages come on is lost | [`MemoryShared::cut`], [`cut_off`](MemoryShared::cut_off) |
//! | messages are late, or lost | [`MemoryShared::hold_back`], [`lose_messages`](MemoryShared::lose_messages) |
//! | the server does nothing | [`MemoryServer::freeze`] |
//! | it has no memory left, and takes nothing | [`MemoryServer::starve`] |
//! | it forgets | [`flush`](MemoryServer::flush), [`trim_log`](MemoryServer::trim_log), [`lose_sequence`](MemoryServer::lose_sequence), [`evict`](MemoryServer::evict), [`evict_lease`](MemoryServer::evict_lease), [`lose_stamps`](MemoryServer::lose_stamps), [`lose_rules`](MemoryServer::lose_rules) |
//! | another server answers, or another history | [`restart`](MemoryServer::restart), [`fail_over`](MemoryServer::fail_over), [`resync`](MemoryServer::resync) |
//! | a frame is damaged, the server's time is set | [`garble`](MemoryServer::garble), [`set_ahead`](MemoryServer::set_ahead) |
//!
//! # Invariants
//! - V1: an operation takes effect in one step, whatever is ordered.
//! - V2: a request that was sent takes effect once or never, also when nobody waits for its answer any more.
//! - V3: nothing depends on anything but the calls, the clock and the chances: the same ones make the same history.

#![cfg_attr(not(test), expect(dead_code, reason = "the engine does not stand on it yet"))]

mod control;
mod faults;
mod history;
mod state;
mod tier;
mod watch;

pub(crate) use faults::{Fault, Operation};
pub(crate) use watch::{MemoryWatch, Pace};

use std::sync::Weak;
use std::time::Duration;

use self::control::{MOST_RULES, MOST_TAGS, Stamps};
use self::history::History;
use self::state::{Instance, Now, State};
use crate::clock::Clock;
use crate::hash::stable_hash;
use crate::random::Random;
use crate::runtime::Spawn;
use crate::shared::Hear;
use crate::shared::follow::Identity;
use crate::shared::message::Origin;
use crate::sync::{Arc, Mutex};

/// The server of all instances in this process that share a tier. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryServer(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    partitions: u16,
    state: Mutex<State>,
}

/// What a server had at some moment.
#[derive(Clone)]
pub(crate) struct Snapshot(History);

/// The shared tier as one instance has it.
pub(crate) struct MemoryShared {
    server: Arc<Inner>,
    /// Which of the instances.
    at: usize,
    origin: Origin,
    /// How long an answer may take.
    patience: Duration,
}

impl Inner {
    fn with<T>(&self, f: impl FnOnce(&mut State, Now) -> T) -> T {
        let now = Now { clock: self.clock.now(), wall: self.clock.wall() };
        f(&mut self.state.lock(), now)
    }

    fn identity(&self) -> Identity {
        let id = || format!("{:016x}", self.random.bits());
        Identity { run_id: id(), replication_id: id() }
    }

    fn index(&self, key: &str) -> u16 {
        match self.partitions {
            1 => 0,
            many => (stable_hash(key) % u64::from(many)) as u16,
        }
    }
}

impl MemoryServer {
    /// An empty server whose data lie in so many partitions.
    pub(crate) fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, partitions: u16) -> Self {
        let nobody = Identity { run_id: String::new(), replication_id: String::new() };
        let state = State::new(History::new(nobody, partitions), (MOST_TAGS, MOST_RULES));
        let inner = Inner { clock, random, partitions, state: Mutex::new(state) };
        inner.state.lock().history.identity = inner.identity();
        Self(Arc::new(inner))
    }

    /// Another instance.
    pub(crate) fn instance(&self) -> MemoryShared {
        let origin = self.0.random.bits().to_le_bytes();
        let at = self.0.with(|state, _| {
            state.instances.push(Instance::default());
            state.instances.len() - 1
        });
        MemoryShared { server: self.0.clone(), at, origin, patience: Duration::from_millis(500) }
    }

    /// From now on nothing is done and nothing answered; or all that waits is done, in its order.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.0.with(|state, now| {
            state.frozen = frozen;
            state.run(now);
            state.serve_all();
        });
    }

    /// From now on there is no memory: what needs some is refused, and keys are removed under no number.
    pub(crate) fn starve(&self, starved: bool) {
        self.0.with(|state, _| state.starved = starved);
    }

    /// Forgets everything, and stays the same server.
    pub(crate) fn flush(&self) {
        self.0.with(|state, _| {
            state.history = History::new(state.history.identity.clone(), self.0.partitions);
        });
    }

    /// What the server has now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.0.with(|state, _| state.history.clone()))
    }

    /// Another server takes over with what was there at some moment; what the old one was sent is lost with it.
    pub(crate) fn fail_over(&self, to: &Snapshot) {
        let identity = self.0.identity();
        self.0.with(|state, _| {
            state.history = History { identity, ..to.0.clone() };
            (state.frozen, state.starved) = (false, false);
            state.hang_up_all();
        });
    }

    /// The same process takes over another history: it was demoted, given another's data, and promoted again. Connections
    /// stay.
    pub(crate) fn resync(&self, to: &Snapshot) {
        let Identity { replication_id, .. } = self.0.identity();
        self.0.with(|state, _| {
            let identity = Identity { replication_id, ..state.history.identity.clone() };
            state.history = History { identity, ..to.0.clone() };
        });
    }

    /// The server is killed, and another one begins with nothing.
    pub(crate) fn restart(&self) {
        let empty = Snapshot(History::new(self.0.identity(), self.0.partitions));
        self.fail_over(&empty);
    }

    /// Forgets the newest number of a partition, or of [`CONTROL`](crate::shared::CONTROL).
    pub(crate) fn lose_sequence(&self, partition: u16) {
        self.0.with(|state, _| state.sequence(partition).number = None);
    }

    /// Forgets the log of a partition, or of [`CONTROL`](crate::shared::CONTROL), but for the last so many entries.
    pub(crate) fn trim_log(&self, partition: u16, keep: usize) {
        self.0.with(|state, _| state.sequence(partition).trim(keep));
    }

    /// Forgets the frame of a key, or its hold.
    pub(crate) fn evict(&self, key: &str) -> bool {
        let index = self.0.index(key);
        self.0.with(|state, now| state.step(index, now, |data, _| data.evict(key)))
    }

    /// Forgets the lease of a key.
    pub(crate) fn evict_lease(&self, key: &str) -> bool {
        let index = self.0.index(key);
        self.0.with(|state, now| state.step(index, now, |data, _| data.evict_lease(key)))
    }

    /// Changes the bytes of a frame.
    pub(crate) fn garble(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let index = self.0.index(key);
        self.0.with(|state, now| state.step(index, now, |data, _| data.garble(key, change)))
    }

    /// Forgets what tags and everything were last bumped at.
    pub(crate) fn lose_stamps(&self) {
        self.0.with(|state, _| state.history.control.stamps = Stamps::default());
    }

    /// Forgets the patterns.
    pub(crate) fn lose_rules(&self) {
        self.0.with(|state, _| state.history.control.rules.clear());
    }

    /// How many tags and rules are kept.
    pub(crate) fn keep_most(&self, tags: usize, rules: usize) {
        self.0.with(|state, _| state.most = (tags, rules));
    }

    /// Sets the server's own time, which it stamps and begins sequences with, to be so much ahead of the clock's.
    pub(crate) fn set_ahead(&self, ahead: Duration) {
        self.0.with(|state, _| state.ahead = ahead);
    }
}

impl MemoryShared {
    /// What this instance's messages carry.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Listens in the background for as long as `listener` and the watch are there.
    pub(crate) fn watch(&self, pace: Pace, spawn: &dyn Spawn, listener: Weak<dyn Hear>) -> MemoryWatch {
        let (watch, run) = MemoryWatch::start(self.server.clone(), self.at, self.origin, pace, listener);
        spawn.spawn(run);
        watch
    }

    // Faults of operations

    /// How long an answer may take from now on.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The next so many of each of these operations fail.
    pub(crate) fn order(&self, fault: Fault, on: &[Operation], times: usize) {
        self.own(|instance| instance.orders.order(fault, on, times));
    }

    /// Takes back what [`order`](MemoryShared::order) has ordered.
    pub(crate) fn calm(&self) {
        self.own(|instance| instance.orders.calm());
    }

    /// These operations, and no others, wait from now on before they take effect.
    pub(crate) fn hold(&self, on: &[Operation]) {
        self.server.with(|state, now| {
            state.instances[self.at].orders.hold(on);
            state.run(now);
        });
    }

    /// Lets the operations that wait take effect, in the order in which they were asked for.
    pub(crate) fn let_all_through(&self) {
        self.hold(&[]);
    }

    /// Lets the first of these operations that waits take effect; false if there is none.
    pub(crate) fn let_through(&self, operation: Operation) -> bool {
        self.server.with(|state, now| state.let_through(self.at, operation, now))
    }

    /// How many operations wait to take effect.
    pub(crate) fn waiting(&self) -> usize {
        self.server.with(|state, _| state.waiting(self.at))
    }

    /// These operations take effect, and their answers wait for [`release_answers`](MemoryShared::release_answers).
    pub(crate) fn hold_answers(&self, on: &[Operation]) {
        self.own(|instance| instance.orders.hold_answers(on));
    }

    /// Hands out the answers that wait, and those to come.
    pub(crate) fn release_answers(&self) {
        self.server.with(|state, _| {
            state.instances[self.at].orders.hold_answers(&[]);
            state.send_answers(self.at);
        });
    }

    /// The connection of the operations is lost: those that wait have no effect, answers that wait do not come.
    pub(crate) fn hang_up(&self) {
        self.server.with(|state, _| state.hang_up(self.at));
    }

    /// How often an operation was asked for, failed ones included.
    pub(crate) fn calls(&self, operation: Operation) -> u64 {
        self.own(|instance| instance.orders.calls(operation))
    }

    // Faults of the line that messages come on

    /// Ends the line. It is opened again, and what is said until then is not heard.
    pub(crate) fn cut(&self) {
        self.own(Instance::cut);
    }

    /// The same, and it cannot be opened again until this is taken back.
    pub(crate) fn cut_off(&self, cut_off: bool) {
        self.own(|instance| {
            instance.cut_off = cut_off;
            if cut_off {
                instance.cut();
            }
        });
    }

    /// Nothing that is put on the line arrives, until this is taken back.
    pub(crate) fn hold_back(&self, held: bool) {
        self.own(|instance| instance.hold_back(held));
    }

    /// How much is held back.
    pub(crate) fn on_the_wire(&self) -> usize {
        self.own(|instance| instance.on_the_wire())
    }

    /// The next so many messages are lost though the line stands, which no server does. A follower finds that by the
    /// numbers, but for those of a clock that began and was lost again meanwhile.
    pub(crate) fn lose_messages(&self, count: usize) {
        self.own(|instance| instance.deaf = count);
    }

    fn own<T>(&self, f: impl FnOnce(&mut Instance) -> T) -> T {
        self.server.with(|state, _| f(&mut state.instances[self.at]))
    }
}

#[cfg(test)]
pub(crate) mod tests;
