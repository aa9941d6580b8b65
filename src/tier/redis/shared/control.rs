//! The control clock: changes of many entries at once, by tag, by pattern, or of all.

use ::redis::Value;

use super::super::scan::Scan;
use super::scripts::{CTL_BUMP, CTL_LIFT, CTL_READ, Denied, RECLAIM};
use super::{LAYOUT, RedisShared, log_length, whole};
use crate::error::{Error, Result};
use crate::shared::{Bump, Bumps, Control, Controlled};

impl RedisShared {
    pub(super) async fn change_many(&self, bump: &Bump, known: u64) -> Result<Controlled> {
        let (how, name) = match bump {
            Bump::Tag(tag) => ("t", &**tag),
            Bump::Pattern(glob) => ("r", &**glob),
            Bump::Clear => ("c", ""),
        };
        let names = &self.names.control;
        let keys = [&*names.sequence, &names.log, &names.stamps, &names.rules];
        let call = self
            .runner
            .call(&CTL_BUMP, &keys)
            .arg(&names.channel)
            .arg(&self.origin[..])
            .arg(log_length(name.len()))
            .arg(how)
            .arg(name);
        let call = call.arg(self.most_tags).arg(self.most_rules).arg(known).arg(LAYOUT).arg(self.names.partitions());
        let answer = self.runner.run(call).await.map_err(needs_scripts)?;
        let Value::Array(parts) = answer else { return Err(self.unexpected("CTL_BUMP")) };
        let controlled = |clock: &Value, what: Control| {
            whole(clock).map(|clock| Controlled { clock, what }).ok_or_else(|| self.unexpected("CTL_BUMP"))
        };
        match (&parts[..], bump) {
            ([clock, Value::BulkString(how)], Bump::Tag(tag)) if how == b"t" => {
                controlled(clock, Control::Tag(tag.clone()))
            }
            ([clock, Value::BulkString(how)], Bump::Tag(_)) if how == b"b" => controlled(clock, Control::TagFloor),
            ([clock, Value::BulkString(how)], Bump::Clear) if how == b"c" => controlled(clock, Control::Clear),
            ([clock, Value::BulkString(how)], Bump::Pattern(glob)) if how == b"r" => {
                controlled(clock, Control::Pattern(glob.clone()))
            }
            ([clock, Value::BulkString(how), cleared], Bump::Pattern(glob)) if how == b"x" => {
                let cleared = whole(cleared).ok_or_else(|| self.unexpected("CTL_BUMP"))?;
                controlled(clock, Control::Rule { cleared, pattern: glob.clone() })
            }
            _ => Err(self.unexpected("CTL_BUMP")),
        }
    }

    /// Removes what a pattern has made invalid at `clock`: found with `SCAN`, a step at a time.
    pub(super) async fn reclaim_matching(&self, pattern: &str, clock: u64) -> Result<()> {
        for index in 0..self.names.partitions() {
            let prefix = self.names.partition(index).data("");
            let mut scan = Scan::new(&prefix, pattern);
            while let Some(keys) = scan.next(self.link()).await? {
                let call = self.runner.call(&RECLAIM, &keys).arg(clock);
                self.runner.run(call).await.map_err(needs_scripts)?;
            }
        }
        Ok(())
    }

    /// Lifts the control clock above all numbers that were given, where another server has taken over; `known` is the newest
    /// that the caller has seen. To be done before the first bump there.
    pub(crate) async fn lift_control(&self, known: u64) -> Result<u64> {
        let names = &self.names.control;
        let call = self.runner.call(&CTL_LIFT, &[&names.sequence, &names.log, &names.stamps]).arg(known);
        let lifted = self.runner.run(call).await.map_err(needs_scripts)?;
        whole(&lifted).ok_or_else(|| self.unexpected("CTL_LIFT"))
    }

    /// All that was bumped so far; what the server has lost of it counts as bumped now.
    pub(crate) async fn read_control(&self) -> Result<Bumps> {
        let names = &self.names.control;
        let call = self.runner.call(&CTL_READ, &[&names.sequence, &names.log, &names.stamps, &names.rules]);
        let answer = self.runner.run(call).await.map_err(needs_scripts)?;
        self.bumps(answer).ok_or_else(|| self.unexpected("CTL_READ"))
    }

    fn bumps(&self, answer: Value) -> Option<Bumps> {
        let Value::Array(parts) = answer else { return None };
        let [clock, cleared, tag_floor, tags, rules] = <[Value; 5]>::try_from(parts).ok()?;
        let clock = whole(&clock)?;
        let tags = stamps(tags, clock)?.into_iter();
        Some(Bumps {
            clock,
            cleared: whole(&cleared)?.min(clock),
            tag_floor: whole(&tag_floor)?.min(clock),
            tags: tags.filter_map(|(field, at)| Some((ours(field.strip_prefix(b"t:")?)?, at))).collect(),
            rules: stamps(rules, clock)?.into_iter().filter_map(|(rule, at)| Some((ours(&rule)?, at))).collect(),
        })
    }
}

/// Names and numbers that follow each other. A number that is none is as new as can be.
fn stamps(pairs: Value, clock: u64) -> Option<Vec<(Vec<u8>, u64)>> {
    let Value::Array(pairs) = pairs else { return None };
    let mut pairs = pairs.into_iter();
    let mut stamps = Vec::with_capacity(pairs.len() / 2);
    while let (Some(name), Some(number)) = (pairs.next(), pairs.next()) {
        let Value::BulkString(name) = name else { return None };
        stamps.push((name, whole(&number).map_or(clock, |number| number.min(clock))));
    }
    Some(stamps)
}

/// A name that is one of ours.
fn ours(name: &[u8]) -> Option<String> {
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn needs_scripts(denied: Denied) -> Error {
    match denied {
        Denied::Scripts(error) => {
            Error::unsupported(format!("tags, patterns and clear need scripts at the server: {error}"))
        }
        denied => denied.into(),
    }
}
