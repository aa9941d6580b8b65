//! What the cache tells of itself, unasked.

use crate::stats::RemovalCause;
use crate::value::ValueRef;

/// Hears what happens in a cache. Every method does nothing unless it is implemented.
///
/// The methods run on a thread of the cache's own, one call after the other. A listener that is slow delays nobody but
/// itself, and keeps the memory of what it has not heard of yet; one that panics is called again for what comes next.
///
/// # Examples
/// ```
/// use std::sync::{Arc, mpsc};
/// use std::time::Duration;
/// use tercel::{CacheManager, Listener, RemovalCause, ValueRef};
///
/// struct Log(mpsc::Sender<(String, RemovalCause)>);
///
/// impl Listener for Log {
///     fn removed(&self, key: &str, _: Option<&ValueRef<'_>>, cause: RemovalCause) {
///         self.0.send((key.to_owned(), cause)).ok();
///     }
/// }
/// let (log, heard) = mpsc::channel();
/// let cache = CacheManager::builder().listener(Arc::new(Log(log))).build_blocking()?;
/// cache.set_with_strategy("k", "v", Duration::from_secs(60))?;
/// cache.invalidate("k")?;
/// assert_eq!(heard.recv().unwrap(), ("k".to_owned(), RemovalCause::Invalidated));
/// # Ok::<(), tercel::Error>(())
/// ```
pub trait Listener: Send + Sync + 'static {
    /// An entry has left L1, or was not taken in: once for each entry, and in order for each key; what is resident when the
    /// last handle goes is told of only if the cache was closed before. `value` is `None` for the
    /// word that the source has none.
    fn removed(&self, key: &str, value: Option<&ValueRef<'_>>, cause: RemovalCause) {
        let _ = (key, value, cause);
    }
}
