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
