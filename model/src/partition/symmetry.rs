//! Instances differ by name only, and tokens by nothing.

use super::state::{ELSEWHERE, INSTANCES, Late, State};

/// Instance `i` becomes the `i`th of these. Those of two instances come first.
const ORDERS: [[u8; INSTANCES]; 6] = [[0, 1, 2], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

pub(crate) fn count(instances: usize) -> usize {
    match instances {
        0 | 1 => 1,
        2 => 2,
        _ => ORDERS.len(),
    }
}

/// The same state with other names: tokens by their first appearance, what is late in a fixed order.
pub(crate) fn renamed(state: &State, instances: usize, symmetry: usize) -> State {
    let order = ORDERS[symmetry];
    let mut to = *state;
    let name = |origin: u8| if origin == ELSEWHERE { ELSEWHERE } else { order[usize::from(origin)] };
    for (one, name) in state.instances[..instances].iter().zip(order) {
        to.instances[usize::from(name)] = *one;
    }
    for one in &mut to.instances {
        one.link.channel.as_mut_slice().iter_mut().for_each(|message| message.origin = name(message.origin));
    }
    for server in [Some(&mut to.server), to.old.as_mut(), to.replica.as_mut()].into_iter().flatten() {
        server.log.as_mut_slice().iter_mut().for_each(|entry| entry.origin = name(entry.origin));
    }
    let mut tokens = Tokens::default();
    let flights = to.instances.iter_mut().flat_map(|one| &mut one.flights);
    flights.for_each(|flight| flight.token = tokens.rename(flight.token));
    for server in [Some(&mut to.server), to.old.as_mut(), to.replica.as_mut()].into_iter().flatten() {
        server.lease = tokens.rename(server.lease);
    }
    for late in to.late.as_mut_slice() {
        late.origin = name(late.origin);
        late.token = tokens.rename(late.token);
    }
    to.late.as_mut_slice().sort_unstable_by_key(|late| {
        let Late { command, on_old, origin, token, version, settles, hold } = *late;
        (command, on_old, origin, token, version, settles, hold)
    });
    to
}

#[derive(Default)]
struct Tokens {
    names: [u8; 32],
    given: u8,
}

impl Tokens {
    fn rename(&mut self, token: u8) -> u8 {
        if token == 0 {
            return 0;
        }
        let name = &mut self.names[usize::from(token)];
        if *name == 0 {
            self.given += 1;
            *name = self.given;
        }
        *name
    }
}
