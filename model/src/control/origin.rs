//! `clear`, `invalidate_tag`, `invalidate_pattern`, and a retry queue that overflows into `clear`.

use crate::fix::Fix;
use crate::search::Steps;

use super::Setting;
use super::state::{Bump, Entry, Kind, State};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    match from.instances[i].bump {
        None => {
            begin(setting, from, i, steps);
            overflow(from, i, steps);
        }
        Some(bump) if bump.executed => acknowledge(setting, from, i, bump, steps),
        Some(bump) => execute(setting, from, i, bump, steps),
    }
}

fn begin(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    if from.budget.bumps == 0 || from.late.is_some() {
        return;
    }
    for kind in setting.kinds {
        let mut to = *from;
        to.budget.bumps -= 1;
        to.source += 1;
        let version = to.source;
        to.instances[i].bump = Some(Bump { kind: *kind, version, executed: false, overflow: false });
        steps.to(to, || format!("i{i}: source has v{version}; sends CTL_BUMP {kind:?}"));
    }
}

/// A `set` fails when the retry queue is full: it collapses into `clear`. Here it is done at once: no key is asked of Redis,
/// nor of what was loaded from it. The PUT may still run, with the clock that was known when it was sent.
fn overflow(from: &State, i: usize, steps: &mut Steps<State>) {
    if from.budget.overflows == 0 || from.late.is_some() {
        return;
    }
    let mut to = *from;
    to.budget.overflows -= 1;
    to.source += 1;
    let version = to.source;
    let one = &mut to.instances[i];
    to.late = Some(Entry { version, cseq: one.view.seq, checked_at: 0 });
    one.l1 = Entry::default();
    one.known = version;
    one.bump = Some(Bump { kind: Kind::Clear, version, executed: false, overflow: true });
    steps.to(to, || format!("i{i}: source has v{version}; PUT times out, the queue overflows into CTL_BUMP Clear"));
}

/// Only on the server that the link has seen.
fn execute(setting: &Setting, from: &State, i: usize, bump: Bump, steps: &mut Steps<State>) {
    let one = &from.instances[i];
    if one.view.history != from.server.history {
        return;
    }
    let Bump { kind, version, .. } = bump;
    let mut to = *from;
    let number = to.bump(setting, kind, version, one.view.seq);
    let one = &mut to.instances[i];
    one.bump = Some(Bump { executed: true, ..bump });
    one.ring = Some((kind, version));
    steps.to(to, || format!("i{i}: CTL_BUMP {kind:?} runs as {number}"));
}

fn acknowledge(setting: &Setting, from: &State, i: usize, bump: Bump, steps: &mut Steps<State>) {
    let mut to = *from;
    to.instances[i].bump = None;
    if from.server.history == from.instances[i].view.history {
        if setting.has(Fix::OriginAppliesItsBump) {
            to.hear(setting, i);
        }
        let one = &mut to.instances[i];
        one.known = one.known.max(bump.version);
    }
    steps.to(to, || format!("i{i}: CTL_BUMP is acknowledged, Ok"));
}
