//! What is told of a change.

/// How a key has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Removed,
    Updated,
}

/// A bump as it is told: with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Controlled {
    pub(crate) clock: u64,
    pub(crate) what: Control,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Tag(String),
    Pattern(String),
    Clear,
    /// Too many tags: every entry with a tag that is older goes.
    TagFloor,
    /// Too many patterns: the oldest of them became a clear at its own number; the new one follows.
    Rule {
        cleared: u64,
        pattern: String,
    },
}

/// All that was bumped so far, of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bumps {
    /// The control clock.
    pub(crate) clock: u64,
    /// Everything that is older is gone.
    pub(crate) cleared: u64,
    /// A tag that is not among `tags` counts as bumped at this number.
    pub(crate) tag_floor: u64,
    pub(crate) tags: Vec<(String, u64)>,
    /// Patterns by the number at which they were bumped.
    pub(crate) rules: Vec<(String, u64)>,
}

impl Bumps {
    /// Each as it was told, or as good; the control clock itself comes with the last.
    pub(crate) fn each(&self) -> impl Iterator<Item = Controlled> + '_ {
        let told = |clock, what| Controlled { clock, what };
        let tags = self.tags.iter().map(move |(tag, at)| told(*at, Control::Tag(tag.clone())));
        let rules = self.rules.iter().map(move |(pattern, at)| told(*at, Control::Pattern(pattern.clone())));
        [told(self.cleared, Control::Clear), told(self.tag_floor, Control::TagFloor)]
            .into_iter()
            .chain(tags)
            .chain(rules)
    }
}
