//! A read that misses: marker, LEASE, source, fill, COMMIT; or a promotion.

use crate::fix::Fix;
use crate::search::Steps;

use super::script::Leased;
use super::setting::{May, Setting};
use super::state::{At, Command, Flight, Late, Owner, Slot, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    begin(setting, from, i, steps);
    for f in 0..setting.flights {
        match from.instances[i].flights[f].at {
            At::Asking => ask(setting, from, i, f, steps),
            At::Leased | At::Unleased => compute(setting, from, i, f, steps),
            At::Held => hold(from, i, f, steps),
            At::Found => promote(setting, from, i, f, steps),
            At::Computed => {
                fill(setting, from, i, f, steps);
                commit(setting, from, i, f, steps);
            }
            At::Idle | At::Header { .. } | At::Unchanged { .. } | At::OnDisk { .. } => {}
        }
        renew(setting, from, i, f, steps);
    }
}

/// The place of a read that can begin.
pub(crate) fn free(setting: &Setting, from: &State, i: usize) -> Option<usize> {
    let mut flights = from.instances[i].flights[..setting.flights].iter();
    if from.budget.loads == 0 { None } else { flights.position(|flight| flight.at == At::Idle) }
}

/// Places a marker, with the epoch that was read before.
pub(crate) fn mark(setting: &Setting, to: &mut State, i: usize, f: usize, need: u8) {
    // What waits to be acknowledged is not asked of Redis.
    let bypass = to.instances[i].queued.version > 0 && setting.has(Fix::ResendBypassesAndKills);
    let token = if bypass { 0 } else { to.draw_token() };
    let one = &mut to.instances[i];
    let at = if bypass { At::Unleased } else { At::Asking };
    one.flights[f] = Flight { at, token, current: true, need, ..Flight::default() };
    one.put_in_slot(Slot::Loading { owner: Owner::Flight(f as u8), current: true });
}

fn begin(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    let free_for_all = match one.slot {
        Slot::Empty => true,
        Slot::Loading { owner: Owner::Set, .. } => true,
        Slot::Loading { current, .. } => !current && setting.has(Fix::OtherEpochNotJoined),
        Slot::Value { .. } => false,
    };
    let Some(f) = free(setting, from, i).filter(|_| free_for_all) else { return };
    let mut to = *from;
    to.budget.loads -= 1;
    mark(setting, &mut to, i, f, one.known);
    if one.disk.version > 0 && one.queued.version == 0 {
        let trusted = one.trusts_disk(setting);
        let flight = &mut to.instances[i].flights[f];
        flight.at = At::OnDisk { trusted };
        flight.version = one.disk.version;
        flight.token = 0;
    }
    steps.to(to, || format!("i{i} load {f}: places its marker"));
}

fn ask(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let Flight { token, .. } = from.instances[i].flights[f];
    let one = &from.instances[i];
    let old = one.data_on_old;
    let mut to = *from;
    if one.queued.version > 0 && setting.has(Fix::ResendBypassesAndKills) {
        to.instances[i].flights[f].unlease();
        steps.to(to, || format!("i{i} load {f}: the key is queued, computes without a lease"));
        return;
    }
    if !one.reaches_redis(setting) {
        give_up(setting, from, i, f, steps);
        return;
    }
    let answer = to.lease(setting, old, token);
    let flight = &mut to.instances[i].flights[f];
    let words = match answer {
        Leased::Lease => {
            flight.at = At::Leased;
            "L".into()
        }
        Leased::Value(version) => {
            flight.at = At::Found;
            flight.version = version;
            flight.token = 0;
            format!("V v{version}")
        }
        Leased::Hold => {
            flight.at = At::Held;
            flight.token = 0;
            "H".into()
        }
        // It waits: nothing has changed.
        Leased::Wait => String::new(),
    };
    if !words.is_empty() {
        steps.to(to, || format!("i{i} load {f}: LEASE t{token} -> {words}"));
    }
    give_up(setting, from, i, f, steps);
}

/// LEASE is not answered in time, or the holder of the lease is waited for too long.
fn give_up(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let Flight { token, .. } = from.instances[i].flights[f];
    if from.budget.timeouts == 0 {
        let mut to = *from;
        to.instances[i].flights[f].unlease();
        steps.to(to, || format!("i{i} load {f}: has waited for too long, computes without a lease"));
        return;
    }
    let late = Late { command: Command::Lease, origin: i as u8, token, ..Late::default() };
    let Some(timed_out) = from.timed_out(i, late) else { return };
    let mut to = timed_out;
    to.instances[i].flights[f].unlease();
    steps.to(to, || format!("i{i} load {f}: LEASE t{token} times out, computes without a lease"));
    if setting.may(May::ResendLease) {
        let mut to = timed_out;
        if setting.has(Fix::RetryDrawsNewToken) {
            to.instances[i].flights[f].token = to.draw_token();
        }
        let again = to.instances[i].flights[f].token;
        steps.to(to, || format!("i{i} load {f}: LEASE t{token} times out, tries again with t{again}"));
    }
}

/// Without a lease it is not known whether a hold stands, but from what was heard: then the marker goes before the source is
/// read. A hold that is heard of later kills it.
fn compute(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    for version in from.readable() {
        let mut to = *from;
        let one = &mut to.instances[i];
        let unleased = one.flights[f].at == At::Unleased;
        if unleased && one.held && one.is_marked_by(f) && setting.has(Fix::HeldIsNotKept) {
            one.put_in_slot(Slot::Empty);
        }
        let flight = &mut one.flights[f];
        flight.stored = unleased;
        flight.lagging = unleased && version < from.source;
        flight.at = At::Computed;
        flight.version = version;
        steps.to(to, || format!("i{i} load {f}: reads v{version} from the source"));
    }
}

/// Under a HOLD: whatever the source says is returned and kept nowhere.
fn hold(from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    to.finish(i, f);
    steps.to(to, || format!("i{i} load {f}: reads the source, keeps nothing"));
}

fn promote(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let filled = to.fill(setting, i, f);
    to.returns(i, f);
    to.finish(i, f);
    let version = from.instances[i].flights[f].version;
    steps.to(to, || format!("i{i} load {f}: promotes v{version}, {}", outcome(filled)));
}

fn fill(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let flight = from.instances[i].flights[f];
    if flight.filled {
        return;
    }
    let mut to = *from;
    let filled = to.fill(setting, i, f);
    to.returns(i, f);
    to.instances[i].flights[f].filled = true;
    if flight.stored {
        to.finish(i, f);
    }
    steps.to(to, || format!("i{i} load {f}: fills v{}, {}", flight.version, outcome(filled)));
}

fn outcome(filled: bool) -> &'static str {
    if filled { "its marker stood" } else { "its marker is gone" }
}

fn commit(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let flight = from.instances[i].flights[f];
    if flight.stored || !from.instances[i].reaches_redis(setting) {
        return;
    }
    let Flight { token, version, .. } = flight;
    let end = |mut to: State| {
        to.instances[i].flights[f].stored = true;
        if flight.filled {
            to.finish(i, f);
        }
        to
    };
    let mut to = *from;
    let stored = to.commit(setting, from.instances[i].data_on_old, token, version);
    steps.to(end(to), || {
        format!("i{i} load {f}: COMMIT v{version} t{token} -> {}", if stored { "stored" } else { "refused" })
    });
    let late = Late { command: Command::Commit, origin: i as u8, token, version, ..Late::default() };
    if let Some(to) = from.timed_out(i, late) {
        steps.to(end(to), || format!("i{i} load {f}: COMMIT v{version} t{token} times out"));
    }
}

/// Only what RENEW must not do makes a difference.
fn renew(setting: &Setting, from: &State, i: usize, f: usize, steps: &mut Steps<State>) {
    let flight = from.instances[i].flights[f];
    let leased = matches!(flight.at, At::Leased | At::Computed) && !flight.stored;
    if !setting.may(May::Renew) || setting.has(Fix::RenewNeverCreates) || !leased || flight.renewed {
        return;
    }
    let mut to = *from;
    to.instances[i].flights[f].renewed = true;
    let token = flight.token;
    let renewed = to.renew(setting, from.instances[i].data_on_old, token);
    steps.to(to, || format!("i{i} load {f}: RENEW t{token} -> {}", u8::from(renewed)));
}

impl Flight {
    fn unlease(&mut self) {
        self.at = At::Unleased;
        self.token = 0;
    }
}

impl State {
    /// What a read of the source may bring.
    fn readable(&self) -> impl Iterator<Item = u8> + use<> {
        let lagging = Some(self.lagging).filter(|version| *version > 0);
        lagging.into_iter().chain([self.source])
    }

    /// Replaces the flight's own marker.
    pub(crate) fn fill(&mut self, setting: &Setting, i: usize, f: usize) -> bool {
        let one = &mut self.instances[i];
        let Flight { version, current, .. } = one.flights[f];
        let own = one.is_marked_by(f);
        if own {
            let current = current || !setting.has(Fix::FillStampsEpochOfMarker);
            one.put_in_slot(Slot::Value { version, current });
        }
        own
    }

    /// The flight's callers get their value.
    pub(crate) fn returns(&mut self, i: usize, f: usize) {
        let Flight { version, need, lagging, .. } = self.instances[i].flights[f];
        self.misread |= version < need && !lagging;
    }

    /// The flight is over; a marker that it still has goes with it.
    pub(crate) fn finish(&mut self, i: usize, f: usize) {
        let one = &mut self.instances[i];
        if one.is_marked_by(f) {
            one.put_in_slot(Slot::Empty);
        }
        one.flights[f] = Flight::default();
    }
}
