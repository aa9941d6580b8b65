//! A load, and a PUT that comes late: what they store carries the control clock seen at their beginning.

use crate::search::Steps;

use super::Setting;
use super::state::{At, Entry, Load, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    match from.instances[i].load.at {
        At::Idle => begin(setting, from, i, steps),
        At::Asking => ask(setting, from, i, steps),
        At::Leased => compute(from, i, steps),
        At::Computed => store(setting, from, i, steps),
    }
}

fn begin(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    // While all is bypassed, what is computed is kept nowhere.
    if from.budget.loads == 0 || one.bypasses(setting) {
        return;
    }
    let mut to = *from;
    to.budget.loads -= 1;
    to.instances[i].load = Load { at: At::Asking, cseq: one.view.seq, need: one.known, version: 0 };
    steps.to(to, || format!("i{i} load: begins at control clock {}", one.view.seq));
}

fn ask(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    let mut to = *from;
    if one.bypasses(setting) {
        to.instances[i].load = Load::default();
        steps.to(to, || format!("i{i} load: goes on past Redis, keeps nothing"));
    } else if one.goes_by(setting, &from.server).admits(&from.data, setting.tagged) {
        let after = &mut to.instances[i];
        after.misread |= from.data.version < one.load.need;
        after.l1 = Entry { checked_at: one.view.seq, ..from.data };
        after.load = Load::default();
        steps.to(to, || format!("i{i} load: promotes v{} of control clock {}", from.data.version, from.data.cseq));
    } else if from.lease == 0 {
        to.lease = i as u8 + 1;
        to.instances[i].load.at = At::Leased;
        steps.to(to, || format!("i{i} load: LEASE -> L"));
    }
}

fn compute(from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let load = &mut to.instances[i].load;
    load.version = from.source;
    load.at = At::Computed;
    steps.to(to, || format!("i{i} load: reads v{} from the source", from.source));
}

fn store(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let Load { cseq, version, .. } = from.instances[i].load;
    let mut to = *from;
    let own = from.lease == i as u8 + 1;
    if own {
        to.data = Entry { version, cseq, checked_at: 0 };
        to.lease = 0;
    }
    let one = &mut to.instances[i];
    if !one.bypasses(setting) {
        one.l1 = Entry { version, cseq, checked_at: cseq };
    }
    one.load = Load::default();
    let words = if own { "stored" } else { "refused" };
    steps.to(to, || format!("i{i} load: COMMIT v{version} of control clock {cseq}: {words}, fills"));
}

/// The PUT that nobody waits for.
pub(crate) fn late(from: &State, steps: &mut Steps<State>) {
    let Some(entry) = from.late else { return };
    let lost = State { late: None, ..*from };
    steps.to(State { data: entry, lease: 0, ..lost }, || {
        format!("late PUT v{} of control clock {} runs", entry.version, entry.cseq)
    });
    steps.to(lost, || format!("late PUT v{} is lost", entry.version));
}
