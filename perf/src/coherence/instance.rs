//! What the checker asks of a cache: the one place where a mode meets the rest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::history::{Done, What};
use super::source::Keys;

/// A loader: called at most once.
pub(super) type Load = Box<dyn FnOnce() -> BoxFuture<'static, Bytes> + Send>;

/// A call that did not do what it was to do.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whether it was done on this instance, and is retried elsewhere.
    pub(super) here: bool,
    pub(super) why: String,
}

pub(super) type Outcome<T> = Result<T, Failure>;

/// What an outcome says of a change.
pub(super) fn done(outcome: &Outcome<()>) -> Done {
    match outcome {
        Ok(()) => Done::Acknowledged,
        Err(failure) if failure.here => Done::Here,
        Err(_) => Done::Unknown,
    }
}

/// What an instance says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) entries: usize,
    pub(super) weight: u64,
    /// Computations that run.
    pub(super) flights: usize,
    /// Changes that Redis did not take and that are being retried.
    pub(super) pending: usize,
    /// Messages that were missed and read from the log; `None` where that is not told.
    pub(super) replayed: Option<u64>,
    /// Entries that were doubted and found to be the newest by their headers; `None` where that is not told.
    pub(super) revalidated: Option<u64>,
}

/// The most that an instance may hold and a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promises {
    pub(super) entries: usize,
    pub(super) weight: u64,
    /// A read, besides the loaders that it runs or waits for.
    pub(super) read: Duration,
    pub(super) change: Duration,
    /// For how long, besides its loader, a load may be joined where Redis does not answer.
    pub(super) flight: Duration,
    /// For how long an instance serves L1 after its connection was noticed to be down.
    pub(super) disconnected: Duration,
    /// How long it takes at most to notice.
    pub(super) detection: Duration,
}

/// One instance of a cache.
pub(super) trait Instance: Send + Sync {
    /// The value of `key`, from the nearest place that has it, else from `load`.
    fn read<'a>(&'a self, keys: &'a Keys, key: usize, load: Load) -> BoxFuture<'a, Outcome<Bytes>>;
    /// The same without a loader.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Option<Bytes>>>;
    /// What L1 has and would serve, without touching it.
    fn peek(&self, name: &str) -> Option<Bytes>;
    fn invalidate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<()>>;
    fn set<'a>(&'a self, keys: &'a Keys, key: usize, value: Bytes) -> BoxFuture<'a, Outcome<()>>;
    /// Invalidates a whole group by what `what` says: a tag, a pattern or everything. Asked only for what the mode
    /// [offers](Mode::offers).
    fn invalidate_group<'a>(&'a self, what: What, name: &'a str) -> BoxFuture<'a, Outcome<()>>;
    fn figures(&self) -> Figures;
    /// Why the instance is not as it should be; `None` if it is.
    fn problem(&self) -> BoxFuture<'_, Option<String>>;
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A kind of cache.
pub(super) trait Mode: Send + Sync {
    fn name(&self) -> &'static str;
    /// Starts an instance on the server at `url`; polled on the instance's own runtime.
    fn start(&self, url: String) -> BoxFuture<'static, Outcome<Arc<dyn Instance>>>;
    /// The changes that there are in this mode.
    fn offers(&self, what: What) -> bool;
    fn promises(&self) -> Promises;
    /// What a key is called in Redis.
    fn name_in_redis(&self, name: &str) -> String;
    /// The channel that invalidations go over.
    fn channel(&self) -> &'static str;
}
