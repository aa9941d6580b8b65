//! `invalidate` and `set` where they are called: marker, first kill, acknowledgement, second kill, drop guard.

use crate::fix::Fix;
use crate::search::Steps;

use super::script::Order;
use super::setting::{May, Setting};
use super::state::{Command, Hold, Late, Owner, Queued, Slot, State, Write, WriteAt, Written};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    match from.instances[i].write.at {
        WriteAt::None => {
            for hold in [Hold::None, Hold::Short, Hold::Long] {
                invalidate(setting, from, i, hold, steps);
            }
            set(setting, from, i, steps);
        }
        WriteAt::Sent => {
            execute(setting, from, i, steps);
            time_out(setting, from, i, steps);
            cancel(setting, from, i, steps);
        }
        WriteAt::Executed => {
            acknowledge(setting, from, i, steps);
            lose_acknowledgement(setting, from, i, steps);
            cancel(setting, from, i, steps);
        }
    }
}

/// Whether `i` must not write now, since a PUT may still run that it does not settle itself.
fn another_writes(setting: &Setting, from: &State, i: usize) -> bool {
    // Who changes a source whose replicas lag, and asks for no hold of its own, relies on one that it knows to stand.
    if from.lagging > 0 && (from.server.hold != Hold::Long || !from.instances[i].held) {
        return true;
    }
    // Whose process ended with a PUT on its way settles it no more.
    let orphan =
        |late: &Late| late.command == Command::Put && !from.instances[usize::from(late.origin)].queued.unsettled;
    if setting.has(Fix::FailedPutIsSettled) && from.late.as_slice().iter().any(orphan) {
        return setting.has(Fix::OneWriterAtATime);
    }
    setting.has(Fix::OneWriterAtATime)
        && from.instances[..setting.instances].iter().enumerate().any(|(j, one)| {
            let unsettled = one.queued.unsettled && (j != i || !setting.has(Fix::FailedPutIsSettled));
            one.write.put && one.write.at == WriteAt::Sent || unsettled
        })
}

/// A long hold is asked for where the replicas of the source lag behind the change.
fn invalidate(setting: &Setting, from: &State, i: usize, hold: Hold, steps: &mut Steps<State>) {
    let mut to = *from;
    let budget = if hold == Hold::None { &mut to.budget.invalidations } else { &mut to.budget.holds };
    if *budget == 0 || another_writes(setting, from, i) || hold == Hold::Long && from.lagging > 0 {
        return;
    }
    *budget -= 1;
    if hold == Hold::Long {
        to.lagging = to.source;
    }
    to.source += 1;
    let version = to.source;
    let one = &mut to.instances[i];
    one.kill(setting.has(Fix::KillStopsSpill));
    one.held |= hold == Hold::Long;
    one.write = Write { at: WriteAt::Sent, version, hold, ..Write::default() };
    let held = if hold == Hold::None { String::new() } else { format!(" with a {hold:?} hold") };
    steps.to(to, || format!("i{i} invalidate: source has v{version}; first kill, sends INVAL{held}"));
}

fn set(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    if from.budget.sets == 0 || another_writes(setting, from, i) {
        return;
    }
    let mut to = *from;
    to.budget.sets -= 1;
    to.source += 1;
    let version = to.source;
    let one = &mut to.instances[i];
    one.kill(setting.has(Fix::KillStopsSpill));
    one.put_in_slot(Slot::Loading { owner: Owner::Set, current: true });
    one.write = Write { at: WriteAt::Sent, put: true, version, current: true, ..Write::default() };
    steps.to(to, || format!("i{i} set: source has v{version}; places its marker, sends PUT"));
}

fn execute(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    let Write { put, version, hold, .. } = one.write;
    let old = one.data_on_old;
    if !one.reaches_redis(setting) {
        return;
    }
    let order = Order { origin: i as u8, version, hold, counts: true };
    let mut to = *from;
    if one.queued.unsettled && setting.has(Fix::FailedPutIsSettled) && (!put || setting.has(Fix::PutSettlesToo)) {
        to.settle(i as u8);
    }
    let number = if put { to.put(setting, old, order) } else { to.inval(setting, old, order) };
    let Some(number) = number else { return };
    let (on, era) = (to.identity(old), to.at(old).era);
    let write = &mut to.instances[i].write;
    write.at = WriteAt::Executed;
    write.on = on;
    write.number = number;
    write.era = era;
    steps.to(to, || format!("i{i}: {} v{version} runs as {number}{}", name(put), deposed(from, i)));
}

pub(crate) fn deposed(from: &State, i: usize) -> &'static str {
    if from.instances[i].data_on_old { " on the deposed master" } else { "" }
}

fn name(put: bool) -> &'static str {
    if put { "PUT" } else { "INVAL" }
}

fn late(setting: &Setting, from: &State, i: usize) -> Late {
    let one = &from.instances[i];
    let Write { put, version, hold, .. } = one.write;
    Late {
        command: if put { Command::Put } else { Command::Inval },
        on_old: one.data_on_old,
        origin: i as u8,
        version,
        settles: !put && one.queued.unsettled && setting.has(Fix::FailedPutIsSettled),
        hold,
        token: 0,
    }
}

fn time_out(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let Some(mut to) = from.timed_out(i, late(setting, from, i)) else { return };
    to.fail(setting, i);
    steps.to(to, || format!("i{i}: {} times out, may still run: error, queued", name(from.instances[i].write.put)));
}

fn lose_acknowledgement(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    if from.budget.timeouts == 0 {
        return;
    }
    let mut to = *from;
    to.budget.timeouts -= 1;
    to.fail(setting, i);
    steps.to(to, || format!("i{i}: {} is not acknowledged in time: error, queued", name(from.instances[i].write.put)));
}

fn acknowledge(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let here = from.server.identity;
    let one = &mut to.instances[i];
    let Write { put, version, current, on, hold, number, era, .. } = one.write;
    one.write = Write::default();
    one.own = one.own.max(version);
    if on == here {
        one.known = one.known.max(version);
    } else {
        one.forgive();
    }
    if !put || setting.has(Fix::RingHoldsPuts) {
        one.ring = one.ring.max(version);
        one.ring_hold = one.ring_hold.max(hold);
    }
    let own = matches!(one.slot, Slot::Loading { owner: Owner::Set, .. });
    let blind = !setting.has(Fix::SetFillsItsMarker);
    let words = if put && (own || blind) {
        one.put_in_slot(Slot::Value { version, current: current || blind });
        "fills"
    } else {
        one.kill(setting.has(Fix::KillStopsSpill));
        "second kill"
    };
    if setting.may(May::AskAtLeast) {
        to.written = Written { number, identity: on, era, version };
    }
    steps.to(to, || format!("i{i}: {} v{version} is acknowledged: {words}, Ok", name(put)));
}

/// The drop guard of a future that went before its acknowledgement.
fn cancel(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    if !setting.may(May::Cancel) {
        return;
    }
    let write = from.instances[i].write;
    let mut to = *from;
    if write.at == WriteAt::Sent {
        if from.late.is_full() {
            return;
        }
        to.late.push(late(setting, from, i));
    }
    if setting.has(Fix::DropGuardKills) {
        to.fail(setting, i);
    } else {
        let one = &mut to.instances[i];
        one.write = Write::default();
        if matches!(one.slot, Slot::Loading { owner: Owner::Set, .. }) {
            one.put_in_slot(Slot::Empty);
        }
    }
    steps.to(to, || format!("i{i}: the future of {} v{} is dropped", name(write.put), write.version));
}

impl State {
    /// A write whose outcome is unknown: queued, so that the key is bypassed, then killed again.
    pub(crate) fn fail(&mut self, setting: &Setting, i: usize) {
        let one = &mut self.instances[i];
        let Write { version, put, hold, .. } = one.write;
        one.queued = Queued {
            version: one.queued.version.max(version),
            unsettled: one.queued.unsettled || put,
            hold: if setting.has(Fix::ResendKeepsHold) { one.queued.hold.max(hold) } else { Hold::None },
            executed: None,
        };
        one.write = Write::default();
        if setting.has(Fix::ErrorKillsAgain) {
            one.kill(setting.has(Fix::KillStopsSpill));
        }
        // Here it is done, whatever became of it elsewhere.
        one.own = one.own.max(version);
        one.known = one.known.max(version);
    }

    /// The command runs out of time and stays on its way.
    pub(crate) fn timed_out(&self, i: usize, late: Late) -> Option<State> {
        if self.budget.timeouts == 0 || self.late.is_full() {
            return None;
        }
        let mut to = *self;
        to.budget.timeouts -= 1;
        to.late.push(Late { on_old: self.instances[i].data_on_old, ..late });
        Some(to)
    }

    /// The data connection is dropped and made anew, to where the link is. INVAL is sent again, PUT is downgraded.
    pub(crate) fn drop_data(&mut self, setting: &Setting, i: usize, same_process: bool) {
        let on_old = self.instances[i].link.on_old;
        let here = self.identity(on_old);
        self.instances[i].data_identity = here;
        let moved = std::mem::replace(&mut self.instances[i].data_on_old, on_old) != on_old;
        let one = &self.instances[i];
        let on_its_way = one.write.put && one.write.at == WriteAt::Sent;
        if on_its_way && same_process && !self.late.is_full() && setting.may(May::Swap) {
            // What was sent may lie in front of the same process still.
            let late = late(setting, self, i);
            self.late.push(late);
            self.fail(setting, i);
            return;
        }
        let one = &mut self.instances[i];
        let elsewhere = one.write.at == WriteAt::Executed && one.write.on != here;
        match one.write.at {
            WriteAt::Sent if one.write.put && moved => self.fail(setting, i),
            WriteAt::Executed if elsewhere && one.write.put => self.fail(setting, i),
            WriteAt::Executed if elsewhere => one.write.at = WriteAt::Sent,
            _ => {}
        }
        let queued = &mut self.instances[i].queued;
        if queued.executed.is_some_and(|on| on != here) {
            queued.executed = None;
        }
    }
}
