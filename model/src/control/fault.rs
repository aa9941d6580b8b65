//! What happens to the control log's server.

use crate::search::Steps;

use super::state::{Control, State};
use super::{May, Setting};

pub(crate) fn steps(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    if setting.may(May::FailOver) && from.replica.is_none() && !from.failed_over {
        let to = State { replica: Some(from.server), ..*from };
        steps.to(to, || format!("the replica lags from here on: control clock {}", from.server.seq));
    }
    if from.budget.faults == 0 {
        return;
    }
    let mut fault = *from;
    fault.budget.faults -= 1;
    let mut lose = |may: May, there: bool, words: &str, change: fn(&mut State)| {
        if setting.may(may) && there {
            let mut to = fault;
            change(&mut to);
            steps.to(to, || format!("FAULT {words}"));
        }
    };
    lose(May::EvictHash, fault.server.hash.is_some(), "the hash is evicted", |to| to.server.hash = None);
    lose(May::EvictRules, fault.server.rule > 0, "the rules are evicted", |to| to.server.rule = 0);
    lose(May::EvictClock, fault.server.seq > 0, "the control clock is evicted", |to| to.server.seq = 0);
    lose(May::StepClockBack, !fault.clock_back, "the server's wall clock steps back", |to| to.clock_back = true);
    if let Some(replica) = fault.replica {
        let mut to = fault;
        to.replica = None;
        to.failed_over = true;
        to.server = Control { history: fault.server.history + 1, ..replica };
        // No bound is promised across a failover.
        for one in &mut to.instances {
            one.known = 0;
            one.load.need = 0;
        }
        steps.to(to, || format!("FAULT a lagging replica is promoted: control clock {}", replica.seq));
    }
}
