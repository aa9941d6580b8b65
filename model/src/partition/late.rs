//! Commands that nobody waits for any more: they run, or they do not.

use crate::search::Steps;

use super::script::Order;
use super::setting::Setting;
use super::state::{Command, State};

pub(crate) fn steps(setting: &Setting, from: &State, steps: &mut Steps<State>) {
    for place in 0..from.late.len() {
        let mut to = *from;
        let late = to.late.remove(place);
        let lost = to;
        let order =
            Order { origin: late.origin, version: late.version, hold: late.hold, counts: late.command != Command::Put };
        let ran = match late.command {
            Command::Lease => {
                to.lease(setting, late.on_old, late.token);
                true
            }
            Command::Commit => {
                to.commit(setting, late.on_old, late.token, late.version);
                true
            }
            Command::Put => to.put(setting, late.on_old, order).is_some(),
            Command::Inval => {
                if late.settles {
                    to.settle(late.origin);
                }
                to.inval(setting, late.on_old, order).is_some()
            }
        };
        let told = || {
            let what = match late.command {
                Command::Lease => format!("LEASE t{}", late.token),
                Command::Commit => format!("COMMIT v{} t{}", late.version, late.token),
                Command::Put => format!("PUT v{}", late.version),
                Command::Inval => format!("INVAL v{}", late.version),
            };
            format!("late {what} of i{}", late.origin)
        };
        if ran {
            steps.to(to, || format!("{} runs", told()));
        }
        steps.to(lost, || format!("{} is lost", told()));
    }
}
