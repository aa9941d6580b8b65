//! Append-only streams of field lists, as Redis Streams have them.

use crate::error::Result;
use crate::runtime::BoxFuture;

/// One entry of a stream: its id and its fields, in the order they were written.
pub type StreamEntry = (String, Vec<(String, String)>);

/// A backend for event streams.
pub trait StreamingBackend: Send + Sync {
    /// Appends an entry and returns its id; with `maxlen` the stream is trimmed to about that many entries.
    fn stream_add<'a>(
        &'a self,
        stream_key: &'a str,
        fields: Vec<(String, String)>,
        maxlen: Option<usize>,
    ) -> BoxFuture<'a, Result<String>>;

    /// The last `count` entries, newest first.
    fn stream_read_latest<'a>(&'a self, stream_key: &'a str, count: usize) -> BoxFuture<'a, Result<Vec<StreamEntry>>>;

    /// Up to `count` entries after `last_id` (`"0"` from the start, `"$"` only new ones), waiting up to `block_ms`
    /// milliseconds for the first one; 0 waits without end.
    fn stream_read<'a>(
        &'a self,
        stream_key: &'a str,
        last_id: &'a str,
        count: usize,
        block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>>;

    /// Creates a consumer group that starts after `id`, and the stream if need be; one that exists is no error.
    fn stream_create_group<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<()>>;

    /// Up to `count` entries that no consumer of the group has had yet, waiting up to `block_ms` milliseconds.
    fn stream_read_group<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        consumer_name: &'a str,
        count: usize,
        block_ms: Option<usize>,
    ) -> BoxFuture<'a, Result<Vec<StreamEntry>>>;

    /// Marks entries as done for the group.
    fn stream_ack<'a>(
        &'a self,
        stream_key: &'a str,
        group_name: &'a str,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<()>>;
}
