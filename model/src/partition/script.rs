//! The scripts, as the server runs them: each in one step.
//!
//! RELEASE deletes a lease that nobody waits for in the model; that is the fault of a lost lease, without the fault.

use crate::fix::Fix;

use super::setting::Setting;
use super::state::{ELSEWHERE, Hold, Identity, Message, Phase, State};

pub(crate) enum Leased {
    /// `L`: compute.
    Lease,
    /// `V`: this is it.
    Value(u8),
    /// `H`: compute, keep nothing.
    Hold,
    /// `W`: wait.
    Wait,
}

/// What an INVAL or a PUT says.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) origin: u8,
    pub(crate) version: u8,
    pub(crate) hold: Hold,
    /// Somebody waits for it, or will send it again: from here on the version counts.
    pub(crate) counts: bool,
}

impl State {
    /// The next number of the partition clock.
    fn next_number(&mut self, setting: &Setting, old: bool) -> u8 {
        let restart = if self.clock_back { setting.stepped_back } else { self.highest + 2 };
        let server = self.at_mut(old);
        if server.seq == 0 {
            server.era += 1;
            // The log outlives the clock; its last number is a lower bound.
            let logged = server.log.as_slice().last().map_or(0, |entry| entry.number + 1);
            server.seq = restart.max(logged);
        } else {
            server.seq += 1;
        }
        let number = server.seq;
        self.highest = self.highest.max(number);
        number
    }

    /// The clock, started if it was lost.
    pub(crate) fn number(&mut self, setting: &Setting, old: bool) -> u8 {
        match self.at(old).seq {
            0 => self.next_number(setting, old),
            number => number,
        }
    }

    pub(crate) fn lease(&mut self, setting: &Setting, old: bool, token: u8) -> Leased {
        let server = self.at(old);
        if server.hold != Hold::None {
            return Leased::Hold;
        }
        if server.data != 0 {
            return Leased::Value(server.data);
        }
        self.number(setting, old);
        let server = self.at_mut(old);
        match server.lease {
            0 => {
                server.lease = token;
                Leased::Lease
            }
            // The same command a second time is answered as the first was.
            holder if holder == token => Leased::Lease,
            _ => Leased::Wait,
        }
    }

    /// Lengthens a lease; as it should be, that changes nothing here.
    pub(crate) fn renew(&mut self, setting: &Setting, old: bool, token: u8) -> bool {
        if setting.has(Fix::RenewNeverCreates) {
            self.at(old).lease == token
        } else {
            matches!(self.lease(setting, old, token), Leased::Lease)
        }
    }

    pub(crate) fn commit(&mut self, setting: &Setting, old: bool, token: u8, version: u8) -> bool {
        if self.at(old).lease != token {
            return false;
        }
        self.number(setting, old);
        let server = self.at_mut(old);
        server.data = version;
        server.lease = 0;
        true
    }

    /// INVAL. `None`: there is no room for its message.
    pub(crate) fn inval(&mut self, setting: &Setting, old: bool, order: Order) -> Option<u8> {
        let number = self.announce(setting, old, order)?;
        let server = self.at_mut(old);
        server.hold = match order.hold {
            // Another's hold is left alone.
            Hold::None => server.hold,
            hold if setting.has(Fix::HoldOnlyLengthens) => server.hold.max(hold),
            hold => hold,
        };
        server.data = 0;
        Some(number)
    }

    /// PUT. Under a HOLD nothing is stored.
    pub(crate) fn put(&mut self, setting: &Setting, old: bool, order: Order) -> Option<u8> {
        let number = self.announce(setting, old, order)?;
        let server = self.at_mut(old);
        server.data = if server.hold == Hold::None { order.version } else { 0 };
        Some(number)
    }

    /// INVAL of a key that is not watched.
    pub(crate) fn inval_another(&mut self, setting: &Setting, old: bool) -> Option<u8> {
        self.send(setting, old, Message { origin: ELSEWHERE, ..Message::default() })
    }

    fn announce(&mut self, setting: &Setting, old: bool, order: Order) -> Option<u8> {
        let Order { origin, hold, .. } = order;
        // Who asks for no hold while the source's replicas lag waits until the one that it relies on stands again.
        if self.lagging > 0 && hold.max(self.at(old).hold) != Hold::Long && setting.has(Fix::ResendKeepsHold) {
            return None;
        }
        let version = if order.counts { order.version } else { 0 };
        let number = self.send(setting, old, Message { number: 0, origin, version, hold })?;
        let server = self.at_mut(old);
        server.lease = 0;
        server.newest = server.newest.max(version);
        self.announced = self.announced.max(version);
        Some(number)
    }

    /// Takes the next number, appends to the log, publishes.
    fn send(&mut self, setting: &Setting, old: bool, message: Message) -> Option<u8> {
        let old = old && self.old.is_some();
        let mut listeners = self.instances[..setting.instances].iter_mut().map(|one| &mut one.link);
        let hears = |link: &super::state::Link| link.phase != Phase::Down && link.on_old == old;
        if listeners.any(|link| hears(link) && link.channel.is_full()) {
            return None;
        }
        let number = self.next_number(setting, old);
        let message = Message { number, ..message };
        let log = &mut self.at_mut(old).log;
        if log.as_slice().last().is_some_and(|last| last.number >= number) {
            log.clear();
        }
        if log.is_full() {
            log.remove(0);
        }
        log.push(message);
        for one in self.instances[..setting.instances].iter_mut().filter(|one| hears(&one.link)) {
            one.link.channel.push(message);
        }
        Some(number)
    }

    /// The server at the end of an instance's data connection.
    pub(crate) fn identity(&self, old: bool) -> Identity {
        self.at(old).identity
    }

    /// Ends the connection on which PUTs of an instance failed, so that they run before this or never.
    pub(crate) fn settle(&mut self, origin: u8) {
        self.late.retain(|late| late.command != super::state::Command::Put || late.origin != origin);
    }
}
