//! The disk between L1 and Redis: what is evicted is spilled, a miss looks there first, a process that starts again finds it.

use crate::fix::Fix;
use crate::search::Steps;

use super::setting::{May, Setting};
use super::state::{At, Disk, Instance, Link, Slot, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    spill(from, i, steps);
    land(from, i, steps);
    reopen(setting, from, i, steps);
    for f in 0..setting.flights {
        if let At::OnDisk { trusted } = from.instances[i].flights[f].at {
            read(setting, from, i, f, trusted, steps);
        }
    }
}

/// L1 evicts the entry; its copy is on its way, with the epoch that the entry has.
fn spill(from: &State, i: usize, steps: &mut Steps<State>) {
    let Slot::Value { version, current } = from.instances[i].slot else { return };
    if from.budget.spills == 0 {
        return;
    }
    let mut to = *from;
    to.budget.spills -= 1;
    let one = &mut to.instances[i];
    one.put_in_slot(Slot::Empty);
    one.disk = Disk { spilling: version, spilling_current: current, ..one.disk };
    steps.to(to, || format!("i{i} disk: L1 evicts v{version}, which is to be written"));
}

fn land(from: &State, i: usize, steps: &mut Steps<State>) {
    let Disk { spilling, spilling_current, .. } = from.instances[i].disk;
    if spilling == 0 {
        return;
    }
    let mut to = *from;
    to.instances[i].disk = Disk { version: spilling, current: spilling_current, ..Disk::default() };
    steps.to(to, || format!("i{i} disk: v{spilling} is written and indexed"));
}

/// The process ends and starts again with what its disk has; it has heard of nothing yet.
fn reopen(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    if !setting.may(May::Reopen) || from.budget.faults == 0 {
        return;
    }
    let mut to = *from;
    to.budget.faults -= 1;
    // A removal that was not on the disk yet is undone.
    let version = if one.disk.version == 0 { 1 } else { one.disk.version };
    let disk = Disk { version, current: !setting.has(Fix::DiskKeepsEpoch), ..Disk::default() };
    let link = Link { expired: true, ..Link::default() };
    let data_identity = from.identity(one.data_on_old);
    to.instances[i] = Instance { disk, link, data_identity, ..Instance::default() };
    steps.to(to, || format!("FAULT i{i} ends, and starts again with its disk"));
}

/// What carries another epoch than the current one is not served: Redis is asked.
fn read(setting: &Setting, from: &State, i: usize, f: usize, trusted: bool, steps: &mut Steps<State>) {
    let mut to = *from;
    let version = from.instances[i].flights[f].version;
    if trusted || !setting.has(Fix::DiskKeepsEpoch) {
        to.fill(setting, i, f);
        to.returns(i, f);
        to.finish(i, f);
        steps.to(to, || format!("i{i} load {f}: promotes v{version} from the disk"));
    } else {
        let token = to.draw_token();
        let flight = &mut to.instances[i].flights[f];
        flight.at = At::Asking;
        flight.token = token;
        flight.version = 0;
        steps.to(to, || format!("i{i} load {f}: v{version} on the disk is suspect, asks Redis"));
    }
}

impl Instance {
    /// Whether the disk's copy may be served.
    pub(crate) fn trusts_disk(&self, setting: &Setting) -> bool {
        self.disk.current && self.link_is_trusted(setting.has(Fix::UntrustedUntilLive))
    }
}
