//! The link supervisor: connect, subscribe, identity, replay, gap, heartbeat, lost clock.

use crate::fix::Fix;
use crate::search::Steps;

use super::setting::{May, Setting};
use super::state::{ELSEWHERE, Hold, Message, Phase, State, WriteAt};

/// The name of a clock that only a message has told of.
const UNHEARD: u8 = 0;

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    match from.instances[i].link.phase {
        Phase::Down => connect(setting, from, i, steps),
        Phase::Subscribed => identity(setting, from, i, steps),
        Phase::Replaying { to } => replay(setting, from, i, to, steps),
        Phase::Live => {
            message(setting, from, i, steps);
            heartbeat(setting, from, i, steps);
        }
    }
    expire(setting, from, i, steps);
    lose(setting, from, i, steps);
}

/// `connect` and `subscribe`: messages arrive from here on. A deposed master still takes links, but not one whose data
/// connection leads elsewhere.
fn connect(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    to.instances[i].link.phase = Phase::Subscribed;
    steps.to(to, || format!("i{i} link: connect, subscribe"));
    if from.old.is_some() && (from.instances[i].data_on_old || !setting.has(Fix::LinkFollowsData)) {
        to.instances[i].link.on_old = true;
        steps.to(to, || format!("i{i} link: connect, subscribe at the deposed master"));
    }
}

/// `max_disconnected_staleness` has passed.
fn expire(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let link = &from.instances[i].link;
    if !setting.may(May::Expire) || link.expired || link.phase == Phase::Live {
        return;
    }
    let mut to = *from;
    to.instances[i].link.expired = true;
    if !setting.has(Fix::UntrustedUntilLive) {
        to.instances[i].end_epoch();
    }
    steps.to(to, || format!("i{i} link: down for longer than L1 may serve"));
}

/// `identity`: who is it, and where is its clock. The reply covers all that was pushed before it.
fn identity(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let number = to.number(setting, from.instances[i].link.on_old);
    to.instances[i].link.channel.clear();
    let last = from.instances[i].link.last;
    let words = if changed(setting, from, i) {
        arrive(setting, &mut to, i);
        "another server: epoch ends, ring moves"
    } else if number < last || other_era(setting, from, &to, i) {
        lost_clock(&mut to, i, number);
        live(&mut to, i);
        "lost clock: epoch ends"
    } else if number == last {
        prove(&mut to, i);
        live(&mut to, i);
        "nothing was lost"
    } else {
        to.instances[i].link.phase = Phase::Replaying { to: number };
        "behind, asks for the log"
    };
    steps.to(to, || format!("i{i} link: identity, clock {number}, last {last}: {words}"));
}

/// Whether the clock has started again since the link heard of it.
fn other_era(setting: &Setting, before: &State, now: &State, i: usize) -> bool {
    let link = &before.instances[i].link;
    setting.has(Fix::ClockHasEra) && now.at(link.on_old).era != link.era
}

/// Whether the link is at another server than before.
fn changed(setting: &Setting, from: &State, i: usize) -> bool {
    let link = &from.instances[i].link;
    let is = from.at(link.on_old).identity;
    is.run != link.identity.run || setting.has(Fix::IdentityHasHistory) && is.history != link.identity.history
}

/// A new identity: everything is suspect, the ring moves into the retry queue, the data connections to the old one are
/// dropped.
fn arrive(setting: &Setting, to: &mut State, i: usize) {
    let on_old = to.instances[i].link.on_old;
    let number = to.number(setting, on_old);
    let is = to.at(on_old).identity;
    lost_clock(to, i, number);
    let same_process = to.instances[i].link.identity.run == is.run;
    to.instances[i].link.identity = is;
    live(to, i);
    let one = &mut to.instances[i];
    if one.ring > 0 {
        one.queued.version = one.queued.version.max(one.ring);
        one.queued.executed = None;
        if setting.has(Fix::ResendKeepsHold) {
            one.queued.hold = one.queued.hold.max(one.ring_hold);
        }
        one.ring = 0;
        one.ring_hold = Hold::None;
        if setting.has(Fix::ResendBypassesAndKills) {
            one.kill(setting.has(Fix::KillStopsSpill));
        }
    }
    if setting.has(Fix::DataFollowsLink) {
        to.drop_data(setting, i, same_process);
    }
}

/// What is in L1 is suspect, and the clock is this one. What holds stand was perhaps not heard.
fn lost_clock(to: &mut State, i: usize, number: u8) {
    let on_old = to.instances[i].link.on_old;
    let (newest, era) = (to.server.newest, to.at(on_old).era);
    let held = to.lagging > 0 || to.server.hold == Hold::Long;
    let one = &mut to.instances[i];
    one.end_epoch();
    one.held |= held;
    one.link.last = number;
    one.link.era = era;
    if !on_old {
        one.known = one.known.max(newest);
    }
}

/// Nothing was lost: all that the server has executed is known here.
fn prove(to: &mut State, i: usize) {
    let (newest, on_old) = (to.server.newest, to.instances[i].link.on_old);
    let one = &mut to.instances[i];
    // Of its own writes an instance knows when they are acknowledged.
    if !on_old && one.write.at == WriteAt::None && one.queued.version == 0 {
        one.known = one.known.max(newest);
    }
}

fn live(to: &mut State, i: usize) {
    let link = &mut to.instances[i].link;
    link.phase = Phase::Live;
    link.expired = false;
}

/// A push.
fn message(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let link = &from.instances[i].link;
    let Some(message) = link.channel.as_slice().first().copied() else { return };
    let mut to = *from;
    to.instances[i].link.channel.remove(0);
    let words = if message.number <= link.last {
        if setting.has(Fix::LowNumberIsLostClock) {
            apply(setting, &mut to, i, message);
            lost_clock(&mut to, i, message.number);
            to.instances[i].link.era = UNHEARD;
            "lost clock: applied, epoch ends"
        } else {
            "not above the last: ignored"
        }
    } else if message.number == link.last + 1 {
        apply(setting, &mut to, i, message);
        to.instances[i].link.last = message.number;
        "applied"
    } else {
        to.instances[i].link.phase = Phase::Replaying { to: message.number };
        "gap, asks for the log"
    };
    steps.to(to, || format!("i{i} link: {}: {words}", told(message)));
}

fn told(message: Message) -> String {
    let Message { number, origin, version, hold } = message;
    match origin {
        ELSEWHERE => format!("message {number} of another key"),
        _ => format!(
            "message {number} of i{origin} for v{version}{}",
            if hold == Hold::None { "" } else { " with hold" }
        ),
    }
}

/// What another one has announced goes; one's own is dealt with at its acknowledgement. A hold is taken note of.
fn apply(setting: &Setting, to: &mut State, i: usize, message: Message) {
    to.instances[i].held |= message.hold == Hold::Long;
    if message.origin == ELSEWHERE || usize::from(message.origin) == i {
        return;
    }
    let one = &mut to.instances[i];
    one.kill(setting.has(Fix::KillStopsSpill));
    if !one.link.on_old {
        one.known = one.known.max(message.version);
    }
}

/// The reply comes after all that was pushed before it.
fn heartbeat(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let link = &from.instances[i].link;
    if !link.channel.is_empty() {
        return;
    }
    let (last, seq) = (link.last, from.at(link.on_old).seq);
    let mut to = *from;
    let words = if setting.has(Fix::HeartbeatTellsIdentity) && changed(setting, from, i) {
        arrive(setting, &mut to, i);
        "another server: epoch ends, ring moves"
    } else if link.era == UNHEARD && setting.has(Fix::ClockHasEra) && seq == last {
        to.instances[i].link.era = from.at(link.on_old).era;
        "the clock's name"
    } else if seq > 0 && other_era(setting, from, from, i) {
        lost_clock(&mut to, i, seq);
        "lost clock: epoch ends"
    } else if seq > last {
        to.instances[i].link.phase = Phase::Replaying { to: seq };
        "gap, asks for the log"
    } else if seq < last && setting.has(Fix::LowNumberIsLostClock) {
        let number = to.number(setting, link.on_old);
        if number != last {
            lost_clock(&mut to, i, number);
        }
        "lost clock: epoch ends"
    } else {
        return;
    };
    steps.to(to, || format!("i{i} link: heartbeat, clock {seq}, last {last}: {words}"));
}

/// The log from behind the last number; whole or worthless.
fn replay(setting: &Setting, from: &State, i: usize, until: u8, steps: &mut Steps<State>) {
    let link = &from.instances[i].link;
    let last = link.last;
    let mut to = *from;
    let log = from.at(link.on_old).log;
    let entries = || log.as_slice().iter().filter(|entry| entry.number > last && entry.number <= until);
    let whole = entries().count() == usize::from(until - last);
    if whole {
        for entry in entries() {
            apply(setting, &mut to, i, *entry);
        }
        to.instances[i].link.last = until;
    } else {
        lost_clock(&mut to, i, until);
    }
    live(&mut to, i);
    steps.to(to, || {
        format!("i{i} link: replay {}..={until}: {}", last + 1, if whole { "whole" } else { "not whole, epoch ends" })
    });
}

/// The connection is gone, or a message on it.
fn lose(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let link = &from.instances[i].link;
    if link.phase == Phase::Down {
        return;
    }
    if link.on_old {
        let mut to = *from;
        to.drop_link(i);
        steps.to(to, || format!("i{i} link: leaves the deposed master"));
    }
    if from.budget.faults == 0 {
        return;
    }
    let mut fault = *from;
    fault.budget.faults -= 1;
    if setting.may(May::LoseLink) {
        let mut to = fault;
        to.drop_link(i);
        steps.to(to, || format!("FAULT i{i} loses its link"));
    }
    if setting.may(May::LoseMessage) && !link.channel.is_empty() {
        let mut to = fault;
        let lost = to.instances[i].link.channel.remove(0);
        steps.to(to, || format!("FAULT {} does not reach i{i}, whose link stays", told(lost)));
    }
}

impl State {
    pub(crate) fn drop_link(&mut self, i: usize) {
        let link = &mut self.instances[i].link;
        link.phase = Phase::Down;
        link.on_old = false;
        link.channel.clear();
    }
}
