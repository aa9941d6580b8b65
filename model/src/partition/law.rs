//! What must hold in every state.

use crate::fix::Fix;

use super::setting::Setting;
use super::state::{At, Instance, Owner, Phase, Server, Slot, State, WriteAt};

const READ: &str = "a read returned a version older than one that its instance knew of when it began";
const L1: &str = "L1 serves a version older than one that its instance knows of";
const DISK: &str = "the disk serves a version older than one that its instance knows of";
const REDIS: &str = "Redis holds a version older than an INVAL or PUT that it has executed";
const DOWN: &str = "L1 serves an invalidated version, although the link has been down for longer than it may";
const STRANDED: &str =
    "Redis is reached, nothing is under way, and L1 serves an invalidated version: its link is elsewhere";
const AT_LEAST: &str = "a read that asks for at least a write returned an older version";
const SETTLED_REDIS: &str = "all is settled, and Redis holds a version older than the last that was announced";
const SETTLED_L1: &str = "all is settled, and L1 serves a version older than the last that was announced";

pub(crate) fn broken(setting: &Setting, state: &State) -> Option<&'static str> {
    let until_live = setting.has(Fix::UntrustedUntilLive);
    if state.misread {
        return Some(READ);
    }
    let instances = &state.instances[..setting.instances];
    for one in instances {
        if one.trusts_disk(setting) && one.disk.version > 0 && one.disk.version < one.known {
            return Some(DISK);
        }
        let Some(version) = one.trusted(until_live) else { continue };
        if serves_while_down(state, one, version) {
            return Some(DOWN);
        }
        if stranded(state, one, version) {
            return Some(STRANDED);
        }
        if admits_token(setting, state, one) && version < state.written.version {
            return Some(AT_LEAST);
        }
        if version < one.known {
            return Some(L1);
        }
    }
    let outlived = |server: &Server| server.data != 0 && server.data < server.newest;
    if outlived(&state.server) || state.old.as_ref().is_some_and(outlived) {
        return Some(REDIS);
    }
    if !settled(setting, state) {
        return None;
    }
    let older = |version: u8| version < state.announced;
    if state.server.data != 0 && older(state.server.data) {
        return Some(SETTLED_REDIS);
    }
    instances.iter().filter_map(|one| one.trusted(until_live)).any(older).then_some(SETTLED_L1)
}

fn serves_while_down(state: &State, one: &Instance, version: u8) -> bool {
    one.link.expired
        && one.link.phase != Phase::Live
        && state.old.is_none()
        && version < state.server.newest
        && one.write.at == WriteAt::None
        && one.queued.version == 0
}

/// The data connection leads to the master, the link to the one before it.
fn stranded(state: &State, one: &Instance, version: u8) -> bool {
    one.link.on_old
        && one.link.phase == Phase::Live
        && one.link.channel.is_empty()
        && !one.data_on_old
        && version < state.server.newest
        && one.write.at == WriteAt::None
        && one.queued.version == 0
}

/// Whether L1 may answer who has the token of the last write.
fn admits_token(setting: &Setting, state: &State, one: &Instance) -> bool {
    let (token, link) = (state.written, &one.link);
    // Until its next heartbeat a link that stayed does not know that a failover has taken the write.
    let unheard = !link.on_old && link.identity != state.server.identity && link.phase != Phase::Down;
    token.version > 0
        && (!setting.has(Fix::TokenNeedsLink) || link.phase == Phase::Live)
        && !unheard
        && link.last >= token.number
        && (!setting.has(Fix::TokenNamesServer) || token.identity == link.identity)
        && (!setting.has(Fix::ClockHasEra) || token.era == link.era)
}

/// Nothing is under way, and no link has anything to notice.
fn settled(setting: &Setting, state: &State) -> bool {
    let server = &state.server;
    let follows = |one: &Instance| {
        let link = &one.link;
        let behind = link.last < server.seq || link.last > server.seq && setting.has(Fix::LowNumberIsLostClock);
        let stranger = link.identity.run != server.identity.run
            || setting.has(Fix::IdentityHasHistory)
                && setting.has(Fix::HeartbeatTellsIdentity)
                && link.identity.history != server.identity.history;
        link.phase == Phase::Live && link.channel.is_empty() && !behind && !stranger
    };
    let idle = |one: &Instance| {
        one.write.at == WriteAt::None
            && one.queued.version == 0
            && !one.data_on_old
            && one.flights.iter().all(|flight| flight.at == At::Idle)
    };
    state.late.is_empty()
        && state.old.is_none()
        && state.instances[..setting.instances].iter().all(|one| follows(one) && idle(one))
}

/// Whoever reads now may join what is under way, and has then to get what it may have.
pub(crate) fn join(setting: &Setting, state: &mut State) {
    let any_epoch = !setting.has(Fix::OtherEpochNotJoined);
    for one in &mut state.instances[..setting.instances] {
        let known = one.known;
        let marked = match one.slot {
            Slot::Loading { owner: Owner::Flight(f), current } => (current || any_epoch).then_some(f),
            _ => None,
        };
        for (f, flight) in one.flights.iter_mut().enumerate() {
            let joined = match flight.at {
                At::Idle => false,
                At::Header { same_entry } | At::Unchanged { same_entry } => same_entry && (flight.current || any_epoch),
                _ => marked.is_some_and(|marked| usize::from(marked) == f),
            };
            if joined {
                flight.need = flight.need.max(known);
            }
        }
    }
}
