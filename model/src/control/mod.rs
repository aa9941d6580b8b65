//! The control log: tags, `clear`, pattern rules.

mod fault;
mod link;
mod load;
mod origin;
mod script;
mod state;

use std::hash::Hash;

use crate::fix::Fix;
use crate::search::{Gather, Model, Steps};
use crate::set::{Member, Set};

use state::{At, Control, Entry, INSTANCES, Instance, Link, Stamps, State};
pub(crate) use state::{Budget, Kind};

/// Where the control clock stands at first.
const FIRST_NUMBER: u8 = 10;

/// What may happen, each a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum May {
    LoseLink,
    EvictHash,
    EvictRules,
    EvictClock,
    StepClockBack,
    FailOver,
}

impl Member for May {
    fn place(self) -> u32 {
        self as u32
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) budget: Budget,
    /// The key has a tag.
    pub(crate) tagged: bool,
    /// What is called.
    pub(crate) kinds: &'static [Kind],
    pub(crate) may: Set<May>,
    pub(crate) fixes: Set<Fix>,
}

impl Setting {
    fn has(&self, fix: Fix) -> bool {
        self.fixes.has(fix)
    }

    fn may(&self, may: May) -> bool {
        self.may.has(may)
    }
}

impl Model for Setting {
    type State = State;

    /// Nothing is cached; or version 1 is in Redis and in one L1.
    fn starts(&self, steps: &mut Steps<State>) {
        let stamps = Stamps { base: FIRST_NUMBER, ..Stamps::default() };
        let server = Control { history: 1, seq: FIRST_NUMBER, hash: Some(stamps), ..Control::default() };
        let one = Instance { view: server, ..Instance::default() };
        let instances = [one; INSTANCES];
        let budget = self.budget;
        let empty = State { server, highest: FIRST_NUMBER, source: 1, instances, budget, ..State::default() };
        steps.to(empty, || "nothing is cached".into());
        let mut cached = empty;
        cached.data = Entry { version: 1, cseq: FIRST_NUMBER, checked_at: 0 };
        cached.instances[1].l1 = Entry { checked_at: FIRST_NUMBER, ..cached.data };
        steps.to(cached, || "Redis and i1 have v1".into());
    }

    fn steps(&self, from: &State, steps: &mut Steps<State>) {
        for i in 0..INSTANCES {
            link::steps(self, from, i, steps);
            origin::steps(self, from, i, steps);
            load::steps(self, from, i, steps);
        }
        load::late(from, steps);
        fault::steps(self, from, steps);
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        let admitted = |one: &Instance, entry: &Entry| one.goes_by(self, &state.server).admits(entry, self.tagged);
        // Without a link nothing is skipped.
        let checked = |one: &Instance| one.link != Link::Expired && one.l1.checked_at == one.view.seq;
        let served = |one: &Instance| checked(one) || admitted(one, &one.l1);
        for one in &state.instances {
            if one.misread {
                return Some("a read returned a version older than one that its instance knew of when it began");
            }
            if one.l1.version > 0 && served(one) && one.l1.version < one.known {
                return Some("L1 admits a version older than one that its instance knows of");
            }
            if !one.bypasses(self) && admitted(one, &state.data) && state.data.version < one.known {
                return Some("an instance admits from Redis a version older than one that it knows of");
            }
        }
        let down = |one: &&Instance| one.link == Link::Expired && one.bump.is_none();
        let late = |entry: &Entry| entry.version < state.server.newest;
        for one in state.instances.iter().filter(down) {
            if served(one) && late(&one.l1) && one.l1.version > 0 || admitted(one, &state.data) && late(&state.data) {
                return Some("a bumped version is admitted, although the link has been down for longer than it may");
            }
        }
        if !settled(state) {
            return None;
        }
        let older = |one: &Instance| {
            admitted(one, &state.data) && state.data.version < state.announced
                || one.l1.version > 0 && admitted(one, &one.l1) && one.l1.version < state.announced
        };
        let law = "all is settled, and a version is admitted that is older than the last that was announced";
        state.instances.iter().any(older).then_some(law)
    }

    fn symmetries(&self) -> usize {
        2
    }

    fn gather(&self, state: &State, symmetry: usize, bytes: &mut Gather) {
        let mut renamed = *state;
        if symmetry == 1 {
            renamed.instances.swap(0, 1);
            renamed.lease = [0, 2, 1][usize::from(state.lease)];
        }
        renamed.hash(bytes);
    }
}

/// Nothing is under way, and everybody has heard all.
fn settled(state: &State) -> bool {
    let idle = |one: &Instance| {
        one.bump.is_none() && one.load.at == At::Idle && one.view == state.server && one.link == Link::Live
    };
    state.late.is_none() && state.instances.iter().all(idle)
}
