//! The retry queue: what Redis did not take, or may have forgotten, is sent until it is acknowledged.

use crate::fix::Fix;
use crate::search::Steps;

use super::origin::deposed;
use super::script::Order;
use super::setting::Setting;
use super::state::{Queued, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let queued = from.instances[i].queued;
    match queued.executed {
        _ if queued.version == 0 => {}
        None => resend(setting, from, i, steps),
        Some(_) => acknowledge(setting, from, i, steps),
    }
}

fn resend(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    if !one.reaches_redis(setting) {
        return;
    }
    let Queued { version, unsettled, hold, .. } = one.queued;
    let settles = unsettled && setting.has(Fix::FailedPutIsSettled);
    let mut to = *from;
    if settles {
        to.settle(i as u8);
    }
    let order = Order { origin: i as u8, version, hold, counts: true };
    let Some(number) = to.inval(setting, one.data_on_old, order) else { return };
    to.instances[i].queued.executed = Some(to.identity(one.data_on_old));
    let settle = if settles { " settle:" } else { "" };
    steps.to(to, || format!("i{i} queue:{settle} INVAL v{version} runs as {number}{}", deposed(from, i)));
}

fn acknowledge(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let here = from.server.identity;
    let one = &mut to.instances[i];
    let Queued { version, executed, hold, .. } = std::mem::take(&mut one.queued);
    if executed == Some(here) {
        one.known = one.known.max(version);
    } else {
        one.forgive();
    }
    one.ring = one.ring.max(version);
    one.ring_hold = one.ring_hold.max(hold);
    if setting.has(Fix::ResendBypassesAndKills) {
        one.kill(setting.has(Fix::KillStopsSpill));
    }
    steps.to(to, || format!("i{i} queue: INVAL v{version} is acknowledged: kill"));
}
