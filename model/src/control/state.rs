//! What the control log, the two instances and one key of another partition hold.
//!
//! The key has a tag, a rule matches it, and `clear` reaches it. What an instance has heard of the control log is a copy of
//! it as it was: messages and replay are the partition protocol's.

use crate::fix::Fix;

use super::Setting;

pub(crate) const INSTANCES: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct State {
    pub(crate) server: Control,
    pub(crate) replica: Option<Control>,
    pub(crate) failed_over: bool,
    pub(crate) clock_back: bool,
    pub(crate) highest: u8,
    /// The version that the source has.
    pub(crate) source: u8,
    /// The newest version that a bump was executed of.
    pub(crate) announced: u8,
    /// The key in Redis.
    pub(crate) data: Entry,
    /// Who computes, counted from 1; 0: nobody.
    pub(crate) lease: u8,
    pub(crate) instances: [Instance; INSTANCES],
    /// A PUT that nobody waits for.
    pub(crate) late: Option<Entry>,
    pub(crate) budget: Budget,
}

/// How often something may happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Budget {
    pub(crate) bumps: u8,
    pub(crate) loads: u8,
    /// `set` whose PUT is not answered, and for which the retry queue has no room.
    pub(crate) overflows: u8,
    pub(crate) faults: u8,
}

/// The control log's keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Control {
    /// Grows with each failover.
    pub(crate) history: u8,
    /// 0: lost.
    pub(crate) seq: u8,
    pub(crate) hash: Option<Stamps>,
    /// The number of the rule; 0: none.
    pub(crate) rule: u8,
    /// The newest version that a bump was executed of here.
    pub(crate) newest: u8,
}

/// The fields of the control hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Stamps {
    pub(crate) base: u8,
    pub(crate) clear: u8,
    /// 0: none, the base stands for it.
    pub(crate) tag: u8,
    /// The number of the newest rule; 0: none.
    pub(crate) newest_rule: u8,
}

/// A value with the control clock that was seen when its load began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Entry {
    /// 0: none.
    pub(crate) version: u8,
    pub(crate) cseq: u8,
    /// In L1: the control clock at which it was last found valid.
    pub(crate) checked_at: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Instance {
    /// What it has heard.
    pub(crate) view: Control,
    pub(crate) link: Link,
    pub(crate) l1: Entry,
    pub(crate) load: Load,
    pub(crate) bump: Option<Bump>,
    /// The last bump that was executed.
    pub(crate) ring: Option<(Kind, u8)>,
    /// The oldest version that a read which begins now may return.
    pub(crate) known: u8,
    /// A read returned what it must not.
    pub(crate) misread: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum Link {
    #[default]
    Live,
    Down,
    /// For longer than anything may be served on what was heard before.
    Expired,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Load {
    pub(crate) at: At,
    pub(crate) cseq: u8,
    pub(crate) need: u8,
    pub(crate) version: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) enum At {
    #[default]
    Idle,
    Asking,
    Leased,
    Computed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Bump {
    pub(crate) kind: Kind,
    pub(crate) version: u8,
    pub(crate) executed: bool,
    /// The retry queue overflowed into it: no key is asked of Redis until it is acknowledged.
    pub(crate) overflow: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Tag,
    Clear,
    Rule,
}

impl Instance {
    /// Whether the shared tier, and all that came from it, is passed over.
    pub(crate) fn bypasses(&self, setting: &Setting) -> bool {
        setting.has(Fix::OverflowBypasses) && self.bump.is_some_and(|bump| bump.overflow)
    }

    /// What a read goes by: what was heard, or what the control log says now.
    pub(crate) fn goes_by(&self, setting: &Setting, server: &Control) -> Control {
        let asks = self.link == Link::Expired && setting.has(Fix::DownAsksControl);
        if asks { *server } else { self.view }
    }
}

impl Control {
    /// Whether an entry outlives all bumps.
    pub(crate) fn admits(&self, entry: &Entry, tagged: bool) -> bool {
        let Stamps { base, clear, tag, .. } = self.hash.unwrap_or_default();
        let tag = if tag > 0 { tag } else { base };
        entry.version > 0 && clear <= entry.cseq && (!tagged || tag <= entry.cseq) && self.rule <= entry.cseq
    }
}
