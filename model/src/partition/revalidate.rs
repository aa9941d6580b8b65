//! A hit on an entry that is not trusted: its header tells whether it may stay.

use crate::fix::Fix;
use crate::search::Steps;

use super::load::{free, mark};
use super::setting::Setting;
use super::state::{At, Flight, Slot, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    begin(setting, from, i, steps);
    for f in 0..setting.flights {
        match from.instances[i].flights[f].at {
            At::Header { same_entry } => ask(setting, from, i, f, same_entry, steps),
            At::Unchanged { same_entry } => stamp(setting, from, i, f, same_entry, steps),
            _ => {}
        }
    }
}

/// The epoch is read, then the header is asked for.
fn begin(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    let Slot::Value { version, .. } = one.slot else { return };
    if one.trusted(setting.has(Fix::UntrustedUntilLive)).is_some() {
        return;
    }
    let Some(f) = free(setting, from, i) else { return };
    let mut to = *from;
    to.budget.loads -= 1;
    if one.queued.version > 0 {
        mark(setting, &mut to, i, f, one.known);
    } else {
        let at = At::Header { same_entry: true };
        to.instances[i].flights[f] = Flight { at, current: true, need: one.known, version, ..Flight::default() };
    }
    steps.to(to, || format!("i{i} read {f}: finds v{version} suspect"));
}

fn ask(setting: &Setting, from: &State, i: usize, f: usize, same_entry: bool, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    let flight = one.flights[f];
    if !one.reaches_redis(setting) {
        return;
    }
    let queued = one.queued.version > 0 && setting.has(Fix::ResendBypassesAndKills);
    let there = from.at(one.data_on_old).data;
    let mut to = *from;
    if there == flight.version && !queued {
        to.instances[i].flights[f].at = At::Unchanged { same_entry };
        steps.to(to, || format!("i{i} read {f}: GETRANGE finds v{there} unchanged"));
        return;
    }
    let replaces = matches!(one.slot, Slot::Empty | Slot::Value { .. });
    let slot = one.slot;
    mark(setting, &mut to, i, f, flight.need);
    if !replaces {
        to.instances[i].slot = slot;
    }
    steps.to(to, || format!("i{i} read {f}: GETRANGE finds another, places its marker"));
}

fn stamp(setting: &Setting, from: &State, i: usize, f: usize, same_entry: bool, steps: &mut Steps<State>) {
    let Flight { version, current, .. } = from.instances[i].flights[f];
    let mut to = *from;
    if same_entry {
        let current = current || !setting.has(Fix::RestampsEpochOfRequest);
        to.instances[i].slot = Slot::Value { version, current };
    }
    to.returns(i, f);
    to.instances[i].flights[f] = Flight::default();
    let stamped = if same_entry { "stamps it" } else { "finds its entry gone" };
    steps.to(to, || format!("i{i} read {f}: {stamped}, returns v{version}"));
}
