//! What happens to the server, and to other keys.

use crate::fix::Fix;
use crate::search::Steps;

use super::setting::{May, Setting};
use super::state::{Hold, INSTANCES, Identity, Server, State, WriteAt};

pub(crate) fn steps(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    others(setting, from, steps);
    lag(from, steps);
    release(from, steps);
    replicate(setting, from, steps);
    bury(setting, from, steps);
    if from.budget.faults > 0 {
        let mut fault = *from;
        fault.budget.faults -= 1;
        forget(setting, &fault, steps);
        restart(setting, &fault, steps);
        fail_over(setting, &fault, steps);
    }
}

fn others(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    if from.budget.others == 0 {
        return;
    }
    let mut to = *from;
    to.budget.others -= 1;
    if let Some(number) = to.inval_another(setting, false) {
        steps.to(to, || format!("INVAL of another key runs as {number}"));
    }
}

/// The source's replicas catch up.
fn lag(from: &State, steps: &mut Steps<State>) {
    if from.lagging > 0 {
        let mut to = *from;
        to.lagging = 0;
        steps.to(to, || "the source's replicas have caught up".into());
    }
}

/// A hold ends: a long one, not before the replicas have caught up.
fn release(from: &State, steps: &mut Steps<State>) {
    if from.server.hold == Hold::Short || from.server.hold == Hold::Long && from.lagging == 0 {
        let mut to = *from;
        to.server.hold = Hold::None;
        // On an instance it ends no earlier: it is counted from when it was heard of.
        let long = from.server.hold == Hold::Long;
        to.instances.iter_mut().for_each(|one| one.held &= !long);
        steps.to(to, || "the hold ends".into());
    }
}

fn forget(setting: &Setting, fault: &State, steps: &mut Steps<State>) {
    let server = &fault.server;
    let mut lose = |may: May, there: bool, words: &str, change: fn(&mut State)| {
        if setting.may(may) && there {
            let mut to = *fault;
            change(&mut to);
            steps.to(to, || format!("FAULT {words}"));
        }
    };
    lose(May::TrimLog, !server.log.is_empty(), "the log is trimmed by one", |to| {
        to.server.log.remove(0);
    });
    lose(May::EvictLog, !server.log.is_empty(), "the log is evicted", |to| to.server.log.clear());
    lose(May::EvictClock, server.seq > 0, "the clock is evicted", |to| to.server.seq = 0);
    lose(May::LoseLease, server.lease > 0, "the lease expires", |to| to.server.lease = 0);
    lose(May::EvictData, server.data > 0, "the data key is evicted", |to| to.server.data = 0);
    lose(May::StepClockBack, !fault.clock_back, "the server's wall clock steps back", |to| to.clock_back = true);
}

/// A hold that is needed goes with the server, and that is not promised against.
fn restart(setting: &Setting, fault: &State, steps: &mut Steps<State>) {
    if !setting.may(May::Restart) || fault.lagging > 0 {
        return;
    }
    let mut to = *fault;
    let Server { identity, newest, .. } = to.server;
    let next = Identity { run: identity.run + 1, history: identity.history + 1 };
    to.server = Server { identity: next, newest, ..Server::default() };
    to.late.clear();
    to.disconnect(setting, false);
    steps.to(to, || "FAULT Redis is killed and starts again, empty".into());
}

/// The replica has what the master has, for the last time before it is promoted.
fn replicate(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    let promotes = [May::FailOver, May::Demote, May::Swap, May::Split].into_iter().any(|may| setting.may(may));
    if promotes && from.replica.is_none() && !from.failed_over {
        let mut to = *from;
        to.replica = Some(from.server);
        steps.to(to, || format!("the replica lags from here on: clock {}, v{}", from.server.seq, from.server.data));
    }
}

fn fail_over(setting: &Setting, fault: &State, steps: &mut Steps<State>) {
    let Some(replica) = fault.replica else { return };
    let is = fault.server.identity;
    let kinds = [
        (May::FailOver, "a lagging replica is promoted"),
        (May::Demote, "the master is demoted, follows the replica, is promoted again"),
        (May::Swap, "the master is demoted, follows the replica, is promoted again, and no connection is closed"),
        (May::Split, "a lagging replica is promoted, the old master lives on"),
    ];
    for (may, words) in kinds {
        if !setting.may(may) {
            continue;
        }
        let mut to = *fault;
        to.replica = None;
        to.failed_over = true;
        let run = if matches!(may, May::Demote | May::Swap) { is.run } else { is.run + 1 };
        to.server = Server { identity: Identity { run, history: is.history + 1 }, ..replica };
        // What was not replicated may come back until it is sent again: no bound is promised across a failover.
        if may == May::Swap {
            // Nobody is told, until the next heartbeat.
            to.instances.iter_mut().for_each(|one| one.own = 0);
        }
        to.instances.iter_mut().for_each(|one| one.forgive());
        if may == May::Swap {
            for message in to.instances.iter_mut().flat_map(|one| one.link.channel.as_mut_slice()) {
                message.version = 0;
            }
        }
        if may == May::Split {
            to.old = Some(fault.server);
            for one in &mut to.instances[..setting.instances] {
                one.data_on_old = true;
                one.link.on_old = one.link.phase != super::state::Phase::Down;
            }
            for late in to.late.as_mut_slice() {
                late.on_old = true;
            }
        } else if may != May::Swap {
            to.late.clear();
            to.disconnect(setting, false);
        }
        steps.to(to, || format!("FAULT {words}: clock {}, v{}", replica.seq, replica.data));
    }
}

/// The deposed master goes; until then, data connections leave it one by one.
fn bury(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    if from.old.is_none() {
        return;
    }
    let mut to = *from;
    to.late.retain(|late| !late.on_old);
    to.disconnect(setting, true);
    to.old = None;
    steps.to(to, || "the deposed master dies".into());
    for i in 0..setting.instances {
        if from.instances[i].data_on_old {
            let mut to = *from;
            to.instances[i].data_on_old = false;
            to.instances[i].data_identity = to.server.identity;
            to.downgrade(setting, i);
            if setting.has(Fix::LinkFollowsData) && to.instances[i].link.on_old {
                to.drop_link(i);
            }
            steps.to(to, || format!("i{i}: its data connection moves to the new master"));
        }
    }
}

impl State {
    /// The connections to a server that is gone.
    fn disconnect(&mut self, setting: &Setting, old: bool) {
        for i in 0..setting.instances.min(INSTANCES) {
            if !old || self.instances[i].link.on_old {
                self.drop_link(i);
            }
            if !old || self.instances[i].data_on_old {
                self.instances[i].data_on_old = false;
                self.instances[i].data_identity = self.server.identity;
                self.downgrade(setting, i);
            }
        }
    }

    /// A PUT that was on its way becomes an INVAL.
    fn downgrade(&mut self, setting: &Setting, i: usize) {
        let write = self.instances[i].write;
        if write.put && write.at == WriteAt::Sent {
            self.fail(setting, i);
        }
        if self.instances[i].queued.executed.is_some_and(|on| on != self.server.identity) {
            self.instances[i].queued.executed = None;
        }
    }
}
