//! What a partition, its instances and the wires between them hold.
//!
//! One key is watched; what happens to all others is a number in the sequence. A value is the version of the source that it
//! was read from, a token a small number that is renamed, and an epoch only whether it is the instance's current one:
//! epochs grow, so that one which has ended is never met again.

use crate::fix::Fix;

use super::list::List;
use super::setting::{Budget, Setting};

pub(crate) const INSTANCES: usize = 3;
pub(crate) const FLIGHTS: usize = 2;
/// Entries of the log, messages on a connection and late commands that there is room for. Steps that need more are not
/// taken.
const LOG: usize = 4;
const CHANNEL: usize = 4;
const LATE: usize = 2;

/// An origin that is none of the instances, and says that the message is of another key.
pub(crate) const ELSEWHERE: u8 = 9;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct State {
    pub(crate) server: Server,
    /// A deposed master that some are still connected to.
    pub(crate) old: Option<Server>,
    /// What the replica has.
    pub(crate) replica: Option<Server>,
    pub(crate) failed_over: bool,
    /// The version that the source has.
    pub(crate) source: u8,
    /// What a replica of the source may still answer; 0: nothing but the newest.
    pub(crate) lagging: u8,
    /// The newest version that any server executed an INVAL or PUT of.
    pub(crate) announced: u8,
    /// The highest number that was ever given.
    pub(crate) highest: u8,
    pub(crate) clock_back: bool,
    pub(crate) instances: [Instance; INSTANCES],
    pub(crate) late: List<Late, LATE>,
    /// The last write that was acknowledged.
    pub(crate) written: Written,
    pub(crate) budget: Budget,
    /// A read returned what it must not.
    pub(crate) misread: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Server {
    pub(crate) identity: Identity,
    /// The partition clock; 0: lost.
    pub(crate) seq: u8,
    /// The name of the clock: another one whenever it starts again.
    pub(crate) era: u8,
    pub(crate) log: List<Message, LOG>,
    /// The version in the data key; 0: none.
    pub(crate) data: u8,
    pub(crate) hold: Hold,
    /// The token in the lease key; 0: none.
    pub(crate) lease: u8,
    /// The newest version that an INVAL or PUT was executed of here.
    pub(crate) newest: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Identity {
    pub(crate) run: u8,
    pub(crate) history: u8,
}

/// A tombstone that refuses caching.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) enum Hold {
    #[default]
    None,
    /// Somebody asked for a moment only.
    Short,
    /// As long as the source's replicas lag.
    Long,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Message {
    pub(crate) number: u8,
    pub(crate) origin: u8,
    pub(crate) version: u8,
    pub(crate) hold: Hold,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Instance {
    pub(crate) slot: Slot,
    pub(crate) disk: Disk,
    pub(crate) link: Link,
    /// The data connection leads to the deposed master.
    pub(crate) data_on_old: bool,
    /// Whom the data connection found at its other end when it was made.
    pub(crate) data_identity: Identity,
    pub(crate) flights: [Flight; FLIGHTS],
    pub(crate) write: Write,
    pub(crate) queued: Queued,
    /// The version that was acknowledged of late; 0: none.
    pub(crate) ring: u8,
    pub(crate) ring_hold: Hold,
    /// A hold of the key stands, or may.
    pub(crate) held: bool,
    /// The oldest version that a read which begins now may return.
    pub(crate) known: u8,
    /// The newest version that was written here, whatever the outcome: no failover brings an older one back here.
    pub(crate) own: u8,
}

/// The key's place in L1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Slot {
    #[default]
    Empty,
    Loading {
        owner: Owner,
        current: bool,
    },
    Value {
        version: u8,
        current: bool,
    },
}

/// Whose marker it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Owner {
    Flight(u8),
    Set,
}

/// The key's entry in the disk index; version 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Disk {
    pub(crate) version: u8,
    pub(crate) current: bool,
    /// A copy of the slot on its way to the disk.
    pub(crate) spilling: u8,
    pub(crate) spilling_current: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Link {
    pub(crate) phase: Phase,
    pub(crate) on_old: bool,
    pub(crate) last: u8,
    pub(crate) identity: Identity,
    /// 0: not heard yet.
    pub(crate) era: u8,
    pub(crate) channel: List<Message, CHANNEL>,
    /// The bound on serving without a link has passed.
    pub(crate) expired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Phase {
    #[default]
    Down,
    Subscribed,
    Replaying {
        to: u8,
    },
    Live,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Flight {
    pub(crate) at: At,
    pub(crate) token: u8,
    /// The epoch that was read before the marker was placed, or the header asked for, is still the current one.
    pub(crate) current: bool,
    /// The oldest version that it may return: it had to, when the last of its callers came.
    pub(crate) need: u8,
    pub(crate) version: u8,
    /// Its version is what a replica of the source said, without a lease: the source's to answer for.
    pub(crate) lagging: bool,
    /// It renewed its lease already: once is enough.
    pub(crate) renewed: bool,
    pub(crate) filled: bool,
    /// COMMIT is behind it, or is not for it to send.
    pub(crate) stored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum At {
    #[default]
    Idle,
    /// LEASE is to be sent.
    Asking,
    /// It holds the lease and reads the source.
    Leased,
    /// LEASE brought a value.
    Found,
    /// It reads the source without a lease.
    Unleased,
    /// A HOLD stands: it reads the source and keeps nothing.
    Held,
    /// It has what the source said.
    Computed,
    /// GETRANGE of the header is to be sent, for the entry in the slot.
    Header { same_entry: bool },
    /// The header is that of its version.
    Unchanged { same_entry: bool },
    /// The disk brought a value.
    OnDisk { trusted: bool },
}

/// An `invalidate` or a `set` in course.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Write {
    pub(crate) at: WriteAt,
    pub(crate) put: bool,
    pub(crate) hold: Hold,
    pub(crate) version: u8,
    /// The epoch of the marker of a `set` is still the current one.
    pub(crate) current: bool,
    /// Of the server that executed it, with the number that it got.
    pub(crate) on: Identity,
    pub(crate) number: u8,
    pub(crate) era: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum WriteAt {
    #[default]
    None,
    Sent,
    Executed,
}

/// The key's place in the retry queue; version 0: none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Queued {
    pub(crate) version: u8,
    /// A PUT of it failed and was not settled yet.
    pub(crate) unsettled: bool,
    pub(crate) hold: Hold,
    /// On that server its INVAL was executed; the acknowledgement is on its way.
    pub(crate) executed: Option<Identity>,
}

/// A command whose caller has given up, which may still run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Late {
    pub(crate) command: Command,
    pub(crate) on_old: bool,
    pub(crate) origin: u8,
    pub(crate) token: u8,
    pub(crate) version: u8,
    pub(crate) settles: bool,
    pub(crate) hold: Hold,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub(crate) enum Command {
    #[default]
    Lease,
    Commit,
    Put,
    Inval,
}

/// What a token of `last_write` says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Written {
    pub(crate) number: u8,
    pub(crate) identity: Identity,
    pub(crate) era: u8,
    pub(crate) version: u8,
}

impl State {
    /// The server at the end of an instance's data connection.
    pub(crate) fn at(&self, old: bool) -> &Server {
        match &self.old {
            Some(server) if old => server,
            _ => &self.server,
        }
    }

    pub(crate) fn at_mut(&mut self, old: bool) -> &mut Server {
        match &mut self.old {
            Some(server) if old => server,
            _ => &mut self.server,
        }
    }

    /// A token that nothing names.
    pub(crate) fn draw_token(&self) -> u8 {
        let named = |token: u8| {
            let servers = [Some(self.server), self.old, self.replica];
            servers.iter().flatten().any(|server| server.lease == token)
                || self.late.as_slice().iter().any(|late| late.token == token)
                || self.instances.iter().flat_map(|one| &one.flights).any(|flight| flight.token == token)
        };
        (1..).find(|token| !named(*token)).unwrap_or(u8::MAX)
    }
}

impl Instance {
    /// What L1 would serve at once.
    pub(crate) fn trusted(&self, until_live: bool) -> Option<u8> {
        match self.slot {
            Slot::Value { version, current: true } => self.link_is_trusted(until_live).then_some(version),
            _ => None,
        }
    }

    pub(crate) fn link_is_trusted(&self, until_live: bool) -> bool {
        !until_live || !self.link.expired || self.link.phase == Phase::Live
    }

    pub(crate) fn is_marked_by(&self, f: usize) -> bool {
        matches!(self.slot, Slot::Loading { owner: Owner::Flight(owner), .. } if usize::from(owner) == f)
    }

    /// Takes what is in the slot, marker included, and in the disk index.
    pub(crate) fn kill(&mut self, stops_spill: bool) {
        self.disk = if stops_spill { Disk::default() } else { Disk { version: 0, current: false, ..self.disk } };
        self.put_in_slot(Slot::Empty);
    }

    /// Across a failover no bound is promised: what was known of the server before binds nobody, but for one's own writes.
    pub(crate) fn forgive(&mut self) {
        self.known = self.known.min(self.own);
        let own = self.own;
        self.flights.iter_mut().for_each(|flight| flight.need = flight.need.min(own));
    }

    /// Whether data commands may run.
    pub(crate) fn reaches_redis(&self, setting: &Setting) -> bool {
        !setting.has(Fix::DataWaitsForLink) || self.data_identity == self.link.identity
    }

    /// The entry of a revalidation is no longer the one that it asked about.
    pub(crate) fn put_in_slot(&mut self, slot: Slot) {
        self.slot = slot;
        for flight in &mut self.flights {
            match &mut flight.at {
                At::Header { same_entry } | At::Unchanged { same_entry } => *same_entry = false,
                _ => {}
            }
        }
    }

    /// The epoch ends: nothing that carries it is trusted.
    pub(crate) fn end_epoch(&mut self) {
        match &mut self.slot {
            Slot::Empty => {}
            Slot::Loading { current, .. } | Slot::Value { current, .. } => *current = false,
        }
        self.disk.current = false;
        self.disk.spilling_current = false;
        self.write.current = false;
        for flight in &mut self.flights {
            flight.current = false;
            if let At::OnDisk { trusted } = &mut flight.at {
                *trusted = false;
            }
        }
    }
}
