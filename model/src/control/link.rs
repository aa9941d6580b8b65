//! What an instance hears of the control log.

use crate::fix::Fix;
use crate::search::Steps;

use super::state::{Bump, Entry, Link, State};
use super::{May, Setting};

pub(crate) fn steps(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    fall(setting, from, i, steps);
    let before = from.instances[i].view;
    if before == from.server && from.instances[i].link == Link::Live {
        return;
    }
    let mut to = *from;
    to.instances[i].link = Link::Live;
    to.hear(setting, i);
    let after = to.server;
    let words = if before.history == after.history { "hears" } else { "identity: another server" };
    steps.to(to, || format!("i{i} link: {words}, control clock {} after {}", after.seq, before.seq));
}

/// The link goes down; then the bound passes.
fn fall(setting: &Setting, from: &State, i: usize, steps: &mut Steps<State>) {
    let mut to = *from;
    let words = match from.instances[i].link {
        Link::Live if setting.may(May::LoseLink) && from.budget.faults > 0 => {
            to.budget.faults -= 1;
            to.instances[i].link = Link::Down;
            "FAULT its connection is lost"
        }
        Link::Down => {
            to.instances[i].link = Link::Expired;
            "down for longer than L1 may serve"
        }
        Link::Live | Link::Expired => return,
    };
    steps.to(to, || format!("i{i} link: {words}"));
}

impl State {
    /// The instance is told all that the control log says now.
    pub(crate) fn hear(&mut self, setting: &Setting, i: usize) {
        let known = self.instances[i].view.seq;
        self.number(setting, known);
        if self.server.history != self.instances[i].view.history {
            self.arrive(setting, i);
        }
        self.restore(setting, self.server.seq);
        let one = &mut self.instances[i];
        one.view = self.server;
        one.known = one.known.max(self.server.newest);
    }

    /// A new identity: the clock is lifted, the ring is sent again, L1 is suspect.
    fn arrive(&mut self, setting: &Setting, i: usize) {
        if setting.has(Fix::NewServerIsLifted) {
            self.lift();
        }
        let one = &mut self.instances[i];
        let ring = one.ring.take();
        let done = one.bump.is_none_or(|bump| bump.executed);
        if let Some((kind, version)) = ring.filter(|_| done && setting.has(Fix::RingHoldsBumps)) {
            let overflow = one.bump.is_some_and(|bump| bump.overflow);
            one.bump = Some(Bump { kind, version, executed: false, overflow });
        }
        one.l1 = Entry::default();
    }
}
