//! The settings of what instances tell each other, and what is counted of it.

/// How instances tell each other about changes.
#[derive(Clone, Debug)]
pub struct InvalidationConfig {
    /// The name that instances of one cache share (default: "cache:invalidate"): they hear those that use the same one.
    pub channel: String,
    /// Whether every write tells the other instances, or only the calls that say so (default: false).
    pub auto_broadcast_on_write: bool,
    /// Whether every announcement is also appended to `audit_stream` (default: false).
    pub enable_audit_stream: bool,
    /// The Redis Stream for announcements (default: "cache:invalidations").
    pub audit_stream: String,
    /// About how many announcements the stream keeps; `None` keeps all (default: 10,000).
    pub audit_stream_maxlen: Option<usize>,
}

impl Default for InvalidationConfig {
    fn default() -> Self {
        Self {
            channel: "cache:invalidate".into(),
            auto_broadcast_on_write: false,
            enable_audit_stream: false,
            audit_stream: "cache:invalidations".into(),
            audit_stream_maxlen: Some(10_000),
        }
    }
}

/// What an instance has told the others and heard from them, since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidationStats {
    /// Changes that the server took from this instance, and told.
    pub messages_sent: u64,
    /// Messages of other instances.
    pub messages_received: u64,
    /// Of those, removals of one key.
    pub removes_received: u64,
    /// Of those, updates.
    pub updates_received: u64,
    /// Of those, removals by pattern.
    pub patterns_received: u64,
    /// Of those, removals of several keys, or of all.
    pub bulk_removes_received: u64,
    /// Bytes on the channel that are no message.
    pub processing_errors: u64,
    /// Losses of messages that were noticed.
    pub gaps: u64,
    /// Changes that were not heard, and read from the log.
    pub replayed: u64,
    /// How often what is held became suspect.
    pub suspects: u64,
    /// Entries that were suspect, and were confirmed by the server without being read again.
    pub revalidated: u64,
    /// Connections to the channel after the first.
    pub reconnects: u64,
}
