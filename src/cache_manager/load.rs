//! Loads: one computation per missing key.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CacheManager;
use crate::error::{BoxError, Error, Result};
use crate::manager::{Computed, Found};
use crate::options::{EntryOptions, Loaded};
use crate::value::Value;

/// A computation: any `FnOnce()` that returns a future of a `Result`. It may borrow.
pub trait Load<T> {
    /// What the computation fails with.
    type Err;
    /// The computation once started.
    type Fut: Future<Output = Result<T, Self::Err>>;

    /// Starts the computation.
    fn load(self) -> Self::Fut;
}

impl<T, E, F, Fut> Load<T> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Err = E;
    type Fut = Fut;

    fn load(self) -> Fut {
        self()
    }
}

/// A computation whose result converts into [`Loaded`]: any `FnOnce()` that returns a future of such a `Result`. It may
/// borrow.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no computation of a value",
    note = "it is a closure that returns a future of `Result<V, E>`, where `V` converts into `tercel::Loaded`: a \
            `tercel::Value`, anything that converts into one, or an `Option` of it",
    note = "for a type of your own use `get_or_compute_typed` or `get_or_compute_shared`"
)]
pub trait LoadValue {
    /// What the computation returns.
    type Ok: Into<Loaded>;
    /// What the computation fails with.
    type Err;
    /// The computation once started.
    type Fut: Future<Output = Result<Self::Ok, Self::Err>>;

    /// Starts the computation.
    fn load(self) -> Self::Fut;
}

impl<V, E, F, Fut> LoadValue for F
where
    V: Into<Loaded>,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V, E>>,
{
    type Ok = V;
    type Err = E;
    type Fut = Fut;

    fn load(self) -> Fut {
        self()
    }
}

/// One computation per missing key.
///
/// All of these: a value that is nowhere is computed once, however many ask. The first caller leads and runs its closure;
/// the others follow, tasks and threads alike, and get what it returned. If the leader's future is dropped or its closure
/// panics, one follower runs its own. An error goes to all who wait for it and is never cached; `Ok(None)` or
/// [`Error::absent`] is, for `negative_ttl`. A failing tier never fails them.
impl CacheManager {
    /// The value of `key`, computed by `f` if it is nowhere.
    ///
    /// # Errors
    /// [`is_compute`](Error::is_compute) with the closure's error as source (an [`Error`] passes through);
    /// [`is_timeout`](Error::is_timeout) after `hard_timeout`; [`is_absent`](Error::is_absent);
    /// [`is_would_deadlock`](Error::is_would_deadlock) if the closure asks for its own key.
    ///
    /// # Cancel safety
    /// Dropping the future hands the flight to a follower; nothing is lost but the leader's own work.
    pub async fn get_or_compute_with<R>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl LoadValue<Ok = R, Err: Into<BoxError>>,
    ) -> Result<Value>
    where
        R: Into<Loaded>,
    {
        let options = options.into();
        let value = match self.hit_with(key, &options) {
            Some(value) => value,
            None => Box::pin(self.load(key, options, f)).await?,
        };
        value.ok_or_else(Error::absent)
    }

    /// As [`get_or_compute_with`](CacheManager::get_or_compute_with); that the source has none is `Ok(None)`.
    ///
    /// # Errors
    /// As [`get_or_compute_with`](CacheManager::get_or_compute_with), never `is_absent`.
    pub async fn get_or_compute_optional<R>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl LoadValue<Ok = R, Err: Into<BoxError>>,
    ) -> Result<Option<Value>>
    where
        R: Into<Loaded>,
    {
        let options = options.into();
        match self.hit_with(key, &options) {
            Some(value) => Ok(value),
            None => Box::pin(self.load(key, options, f)).await,
        }
    }

    /// The value of `key` as `T`, computed by `f` if it is nowhere. A value that does not decode as `T` is as good as
    /// missing: it is computed and overwritten.
    ///
    /// The leader gets its own `T` as computed, the others get it decoded; `#[serde(skip)]` fields differ.
    ///
    /// # Errors
    /// As [`get_or_compute_with`](CacheManager::get_or_compute_with), and [`is_codec`](Error::is_codec) if the computed
    /// value cannot be encoded.
    pub async fn get_or_compute_typed<T>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl Load<T, Err: Into<BoxError>>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let options = options.into();
        match self.decoded(key, &options, |value| value.decode()) {
            Some(answer) => answer,
            None => Box::pin(self.load_typed(key, options, f)).await,
        }
    }

    /// The value of `key` as a shared `T`, decoded at most once for as long as it is resident; see
    /// [`get_shared`](CacheManager::get_shared).
    ///
    /// # Errors
    /// As [`get_or_compute_typed`](CacheManager::get_or_compute_typed).
    pub async fn get_or_compute_shared<T>(
        &self,
        key: &str,
        options: impl Into<EntryOptions>,
        f: impl Load<T, Err: Into<BoxError>>,
    ) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let options = options.into();
        match self.decoded(key, &options, |value| self.shared(key, value)) {
            Some(answer) => answer,
            None => Box::pin(self.load_shared(key, options, f)).await,
        }
    }

    /// The fresh value in L1, if it decodes; counted as a request only then.
    #[inline]
    pub(crate) fn decoded<T>(
        &self,
        key: &str,
        options: &EntryOptions,
        decode: impl FnOnce(&Value) -> Result<T>,
    ) -> Option<Result<T>> {
        if !options.takes_any_hit() {
            return None;
        }
        let answer = match self.0.hit(key, Value::of)? {
            Some(value) => Ok(decode(&value).ok()?),
            None => Err(Error::absent()),
        };
        self.0.core.count_hit(answer.is_ok());
        Some(answer)
    }

    /// The rest of [`get_or_compute_optional`](CacheManager::get_or_compute_optional), past the first look at L1.
    pub(crate) async fn load(
        &self,
        key: &str,
        options: EntryOptions,
        f: impl LoadValue<Err: Into<BoxError>>,
    ) -> Result<Option<Value>> {
        let work = async move {
            let computed = f.load().await.map_err(|error| Error::from_load(error.into()))?;
            Ok((computed.into(), ()))
        };
        let settings = self.0.settings(options);
        match self.0.core.load(&self.0.key(key), &settings, work, &mut |_: &Found| true).await? {
            Computed::Led(found, _) | Computed::Found(found) => Ok(found.value),
        }
    }

    /// The rest of [`get_or_compute_typed`](CacheManager::get_or_compute_typed), past the first look at L1.
    pub(crate) async fn load_typed<T>(
        &self,
        key: &str,
        options: EntryOptions,
        f: impl Load<T, Err: Into<BoxError>>,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let work = async move {
            let computed = started(f).await?;
            Ok((Loaded::new(Value::encode(&computed)?), computed))
        };
        let settings = self.0.settings(options);
        let mut decoded = None;
        let mut accept = |found: &Found| match &found.value {
            Some(value) => {
                decoded = value.decode().ok();
                decoded.is_some() || self.0.core.refuse()
            }
            None => true,
        };
        match self.0.core.load(&self.0.key(key), &settings, work, &mut accept).await? {
            Computed::Led(_, computed) => computed.ok_or_else(Error::absent),
            Computed::Found(Found { value: None, .. }) => Err(Error::absent()),
            // What was found without being asked for (a fallback) is decoded here.
            Computed::Found(Found { value: Some(value), .. }) => decoded.map_or_else(|| value.decode(), Ok),
        }
    }

    /// The rest of [`get_or_compute_shared`](CacheManager::get_or_compute_shared), past the first look at L1.
    pub(crate) async fn load_shared<T>(
        &self,
        key: &str,
        options: EntryOptions,
        f: impl Load<T, Err: Into<BoxError>>,
    ) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let work = async move {
            let computed = Arc::new(started(f).await?);
            let value = Value::encode(&*computed)?;
            value.memoize(computed.clone());
            Ok((Loaded::new(value), computed))
        };
        let settings = self.0.settings(options);
        let mut accept = |found: &Found| match &found.value {
            Some(value) => self.shared::<T>(key, value).is_ok() || self.0.core.refuse(),
            None => true,
        };
        match self.0.core.load(&self.0.key(key), &settings, work, &mut accept).await? {
            Computed::Led(_, computed) => computed.ok_or_else(Error::absent),
            Computed::Found(Found { value: Some(value), .. }) => self.shared(key, &value),
            Computed::Found(Found { value: None, .. }) => Err(Error::absent()),
        }
    }
}

/// Calls the closure, inside the future, and awaits it.
async fn started<T, E: Into<BoxError>>(f: impl Load<T, Err = E>) -> Result<T> {
    f.load().await.map_err(|error| Error::from_load(error.into()))
}
