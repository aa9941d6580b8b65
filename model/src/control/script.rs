//! CTL_BUMP, and what the link runs when it finds a new server.

use crate::fix::Fix;

use super::Setting;
use super::state::{Kind, Stamps, State};

/// Where a lost clock starts again if the server's wall clock stepped back.
const STEPPED_BACK: u8 = 5;

impl State {
    /// The next number of the control clock. `known` is the one that the caller has heard of.
    fn next_number(&mut self, setting: &Setting, known: u8) -> u8 {
        let restart = if self.clock_back { STEPPED_BACK } else { self.highest + 2 };
        let number = match self.server.seq {
            0 if setting.has(Fix::BumpBringsClock) => {
                let Stamps { base, clear, tag, newest_rule } = self.server.hash.unwrap_or_default();
                let stamped = [base, clear, tag, newest_rule, known].into_iter().max().unwrap_or(0);
                restart.max(stamped + 1)
            }
            0 => restart,
            number => number + 1,
        };
        self.server.seq = number;
        self.highest = self.highest.max(number);
        number
    }

    /// The clock, started if it was lost.
    pub(crate) fn number(&mut self, setting: &Setting, known: u8) -> u8 {
        match self.server.seq {
            0 => self.next_number(setting, known),
            number => number,
        }
    }

    /// Above all that was ever given.
    pub(crate) fn lift(&mut self) {
        self.highest += 2;
        self.server.seq = self.highest;
    }

    /// What was lost of the hash and the rules is made up for by floors.
    pub(crate) fn restore(&mut self, setting: &Setting, floor: u8) {
        let rule = self.server.rule;
        let clear = if setting.has(Fix::FloorNeverFalls) { floor } else { 0 };
        let stamps = self.server.hash.get_or_insert(Stamps { base: floor, clear, tag: 0, newest_rule: 0 });
        if setting.has(Fix::LostRulesRaiseFloor) && rule < stamps.newest_rule {
            stamps.clear = stamps.clear.max(stamps.newest_rule);
            stamps.newest_rule = 0;
        }
    }

    /// CTL_BUMP.
    pub(crate) fn bump(&mut self, setting: &Setting, kind: Kind, version: u8, known: u8) -> u8 {
        let number = self.next_number(setting, known);
        self.restore(setting, number - 1);
        let server = &mut self.server;
        if let Some(stamps) = &mut server.hash {
            match kind {
                Kind::Tag => stamps.tag = number,
                Kind::Clear => {
                    stamps.clear = number;
                    stamps.newest_rule = 0;
                    server.rule = 0;
                }
                Kind::Rule => {
                    stamps.newest_rule = number;
                    server.rule = number;
                }
            }
        }
        server.newest = server.newest.max(version);
        self.announced = self.announced.max(version);
        number
    }
}
