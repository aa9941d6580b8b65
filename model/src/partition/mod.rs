//! The partition protocol: one key, its lease, its sequence and log, and two or three instances.

mod disk;
mod fault;
mod late;
mod law;
mod link;
mod list;
mod load;
mod origin;
mod queue;
mod revalidate;
mod script;
mod setting;
mod state;
mod symmetry;

use std::hash::Hash;

use crate::search::{Gather, Model, Steps};

pub(crate) use setting::{Budget, May, Setting};
use state::{Identity, Instance, Link, Phase, Server, Slot, State};

/// Where the clock stands at first.
pub(crate) const FIRST_NUMBER: u8 = 10;

impl Model for Setting {
    type State = State;

    /// Version 1 is in Redis or not, and in each L1 or not; all links are live.
    fn starts(&self, steps: &mut Steps<State>) {
        for which in 0..1_u32 << (self.instances + 1) {
            let has = |place: usize| which >> place & 1 == 1;
            let identity = Identity { run: 1, history: 1 };
            let server = Server {
                identity,
                seq: FIRST_NUMBER,
                era: 1,
                data: u8::from(has(self.instances)),
                ..Server::default()
            };
            let mut state = State { server, source: 1, highest: FIRST_NUMBER, budget: self.budget, ..State::default() };
            for (i, one) in state.instances[..self.instances].iter_mut().enumerate() {
                let link = Link { phase: Phase::Live, last: FIRST_NUMBER, identity, era: 1, ..Link::default() };
                let slot = if has(i) { Slot::Value { version: 1, current: true } } else { Slot::Empty };
                *one = Instance { slot, link, data_identity: identity, ..Instance::default() };
            }
            steps.to(state, || {
                let is = |there: bool| if there { "v1" } else { "nothing" };
                let instances: Vec<_> = (0..self.instances).map(|i| format!("i{i} {}", is(has(i)))).collect();
                format!("Redis has {}; {}", is(has(self.instances)), instances.join(", "))
            });
        }
    }

    fn steps(&self, from: &State, steps: &mut Steps<State>) {
        for i in 0..self.instances {
            link::steps(self, from, i, steps);
            disk::steps(self, from, i, steps);
            load::steps(self, from, i, steps);
            revalidate::steps(self, from, i, steps);
            origin::steps(self, from, i, steps);
            queue::steps(self, from, i, steps);
        }
        late::steps(self, from, steps);
        fault::steps(self, from, steps);
        for state in steps.states() {
            law::join(self, state);
        }
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        law::broken(self, state)
    }

    fn symmetries(&self) -> usize {
        symmetry::count(self.instances)
    }

    fn gather(&self, state: &State, symmetry: usize, bytes: &mut Gather) {
        symmetry::renamed(state, self.instances, symmetry).hash(bytes);
    }
}
