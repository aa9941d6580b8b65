//! Reads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;

use super::CacheManager;
use crate::entry::Memo;
use crate::error::Result;
use crate::manager::{Found, Lookup};
use crate::options::EntryOptions;
use crate::runtime::BoxFuture;
use crate::value::{Value, ValueRef};

/// Reads.
impl CacheManager {
    /// The value of `key`: from L1, else from the first tier below that has it, and then L1 has it too.
    ///
    /// # Cost
    /// A hit in L1 is one hash, one probe, one key compare and one reference count: no allocation, no lock, no clock, no
    /// runtime. Callers that miss L1 for the same key at the same time ask the tiers once.
    ///
    /// # Errors
    /// A miss is `Ok(None)`. [`is_tier`](crate::Error::is_tier) only if no tier had the value and one could not be asked;
    /// [`is_key`](crate::Error::is_key) for an empty key or one above 64 KiB.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: whoever waits for the same key goes on.
    pub fn get<'a>(&'a self, key: &'a str) -> impl Future<Output = Result<Option<Value>>> + Send + 'a {
        Get { cache: self, key, below: None }
    }

    /// The fresh value in L1, and `Some(None)` if the source is known to have none; counted as a request then.
    #[inline(always)]
    pub(crate) fn hit(&self, key: &str) -> Option<Option<Value>> {
        let value = self.0.hit(key, Value::of)?;
        self.0.core.count_hit(value.is_some());
        Some(value)
    }

    /// As [`hit`](CacheManager::hit), if these options take whatever is fresh.
    #[inline]
    pub(crate) fn hit_with(&self, key: &str, options: &EntryOptions) -> Option<Option<Value>> {
        if options.takes_any_hit() { self.hit(key) } else { None }
    }

    /// The rest of [`get`](CacheManager::get), past L1.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.find(key).await?.and_then(|found| found.value))
    }

    async fn find(&self, key: &str) -> Result<Option<Found>> {
        let settings = self.0.settings(EntryOptions::new());
        self.0.core.read(&self.0.key(key), &settings).await
    }

    /// The value of `key`, decoded as `T`.
    ///
    /// # Errors
    /// As [`get`](CacheManager::get), and [`is_codec`](crate::Error::is_codec) if the value does not decode as `T`.
    pub async fn get_typed<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get(key).await?.map(|value| value.decode()).transpose()
    }

    /// The value of `key`, decoded at most once for as long as it is resident: one slot, the first type that asks has it,
    /// others decode each time.
    ///
    /// # Cost
    /// A hit is a hit of [`get`](CacheManager::get), with the reference count of the decoded value. That value is charged to L1 with
    /// the encoded length.
    ///
    /// # Errors
    /// As [`get_typed`](CacheManager::get_typed).
    pub async fn get_shared<T: DeserializeOwned + Send + Sync + 'static>(&self, key: &str) -> Result<Option<Arc<T>>> {
        let value = match self.hit_decoded(key) {
            Some(Decoded::Before(decoded)) => return Ok(Some(decoded)),
            Some(Decoded::Not(value)) => value,
            None => Box::pin(self.read(key)).await?,
        };
        value.map(|value| self.shared(key, &value)).transpose()
    }

    /// The fresh value in L1, decoded if it was decoded as a `T` before; counted as a request if it is there.
    #[inline]
    pub(crate) fn hit_decoded<T: Send + Sync + 'static>(&self, key: &str) -> Option<Decoded<T>> {
        let found = self.0.hit(key, |entry| match entry.memo().get().and_then(Memo::recall) {
            Some(decoded) => Decoded::Before(decoded),
            None => Decoded::Not(Value::of(entry)),
        })?;
        self.0.core.count_hit(!matches!(found, Decoded::Not(None)));
        Some(found)
    }

    /// `value` decoded and shared; L1 is charged for what was decoded now.
    pub(crate) fn shared<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        key: &str,
        value: &Value,
    ) -> Result<Arc<T>> {
        let decoded_before = value.has_memo();
        let shared = value.shared()?;
        if !decoded_before {
            self.0.with_key(key, |key| self.0.core.recharge(key));
        }
        Ok(shared)
    }

    /// The fresh value of `key` in L1: a plain function, no hit counted for the policy, no request in the statistics.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Value> {
        self.0.with_key(key, |key| self.0.core.peek(key))
    }

    /// Runs `call` on the fresh value of `key` in L1, borrowed: no reference count is touched. No request in the
    /// statistics; `None` without a hit.
    ///
    /// The closure must not block: while it runs, nothing that was removed from L1 anywhere can be reclaimed. It may come
    /// back here; a call that would wait returns [`is_would_deadlock`](crate::Error::is_would_deadlock).
    ///
    /// # Examples
    /// ```
    /// let cache = tercel::CacheManager::default().into_blocking();
    /// cache.set_with_strategy("greeting", "hello", std::time::Duration::from_secs(60))?;
    /// let length = cache.with_cached("greeting", |value| value.decode_borrowed::<&str>().map(str::len));
    /// assert_eq!(length.transpose()?, Some(5));
    /// # Ok::<(), tercel::Error>(())
    /// ```
    pub fn with_cached<R>(&self, key: &str, call: impl FnOnce(&ValueRef<'_>) -> R) -> Option<R> {
        self.0.with_key(key, |key| self.0.core.borrow(key, |value| call(&value)))
    }

    /// What the cache knows of `key`: the value with its tier and age, stale ones too; that the source has none; or why
    /// nothing is known.
    ///
    /// # Errors
    /// [`is_key`](crate::Error::is_key), [`is_closed`](crate::Error::is_closed). A tier that fails is a
    /// [`MissReason`](crate::MissReason).
    pub async fn lookup(&self, key: &str) -> Result<Lookup> {
        let settings = self.0.settings(EntryOptions::new());
        let key = self.0.key(key);
        Box::pin(self.0.core.lookup(&key, &settings)).await
    }
}

/// What L1 has for whoever wants it decoded.
pub(crate) enum Decoded<T> {
    Before(Arc<T>),
    /// The value, unless the source is known to have none.
    Not(Option<Value>),
}

/// The future of [`CacheManager::get`], written out so that a hit is a part of its caller: no state is kept for it.
struct Get<'a> {
    cache: &'a CacheManager,
    key: &'a str,
    /// The read past L1, once it has begun.
    below: Option<BoxFuture<'a, Result<Option<Value>>>>,
}

impl Get<'_> {
    #[cold]
    #[inline(never)]
    fn poll_below(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Value>>> {
        self.below.get_or_insert_with(|| Box::pin(self.cache.read(self.key))).as_mut().poll(cx)
    }
}

impl Future for Get<'_> {
    type Output = Result<Option<Value>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.below.is_none()
            && let Some(value) = self.cache.hit(self.key)
        {
            return Poll::Ready(Ok(value));
        }
        self.poll_below(cx)
    }
}
