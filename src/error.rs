//! The one error type, opaque, with predicates a caller can act on.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Any error that a closure or a tier may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A result of this crate; `E` is [`Error`] unless named otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as one opaque value.
///
/// Cloning is one reference count: the followers of a flight share the leader's error. The predicates may overlap: a tier
/// that did not answer in time is both [`is_tier`](Error::is_tier) and [`is_timeout`](Error::is_timeout).
/// A miss is never an error, and no text of an error contains a password.
#[derive(Clone)]
pub struct Error(Repr);

#[derive(Clone)]
enum Repr {
    /// The source has no value: an answer of every hit on a negative entry, so it costs nothing to make.
    Absent,
    Told(Arc<Inner>),
}

struct Inner {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// A set of the predicates that hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u16);

impl Kind {
    pub(crate) const COMPUTE: Kind = Kind(1);
    pub(crate) const ABSENT: Kind = Kind(1 << 1);
    pub(crate) const TIMEOUT: Kind = Kind(1 << 2);
    pub(crate) const TIER: Kind = Kind(1 << 3);
    pub(crate) const PARTIAL_WRITE: Kind = Kind(1 << 4);
    pub(crate) const CODEC: Kind = Kind(1 << 5);
    pub(crate) const CONFIG: Kind = Kind(1 << 6);
    pub(crate) const CLOSED: Kind = Kind(1 << 7);
    pub(crate) const KEY: Kind = Kind(1 << 8);
    pub(crate) const TOO_LARGE: Kind = Kind(1 << 9);
    pub(crate) const WOULD_DEADLOCK: Kind = Kind(1 << 10);
    pub(crate) const UNSUPPORTED: Kind = Kind(1 << 11);

    /// Both sets of predicates.
    pub(crate) const fn and(self, other: Kind) -> Kind {
        Kind(self.0 | other.0)
    }

    const fn has(self, other: Kind) -> bool {
        self.0 & other.0 != 0
    }
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Repr::Told(Arc::new(Inner { kind, message: message.into(), source: None })))
    }

    pub(crate) fn with_source(kind: Kind, message: impl Into<Cow<'static, str>>, source: BoxError) -> Self {
        Self(Repr::Told(Arc::new(Inner { kind, message: message.into(), source: Some(Arc::from(source)) })))
    }

    /// What a closure returned: an [`Error`] passes through unwrapped, anything else becomes the source of a compute error.
    pub(crate) fn from_load(error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Self::compute(other),
        }
    }

    /// The source has no value for this key: what a closure returns to have the absence cached (`negative_ttl`).
    #[must_use]
    pub fn absent() -> Self {
        Self(Repr::Absent)
    }

    /// A computation failed for the reason given.
    #[must_use]
    pub fn compute(source: impl Into<BoxError>) -> Self {
        Self::with_source(Kind::COMPUTE, "the computation failed", source.into())
    }

    /// A tier could not be asked, for the reason given: what a tier of your own returns when it fails.
    #[must_use]
    pub fn tier(source: impl Into<BoxError>) -> Self {
        Self::with_source(Kind::TIER, "a cache tier failed", source.into())
    }

    /// The operation is not offered here: what a tier of your own returns for an operation that it lacks.
    #[must_use]
    pub fn unsupported(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::UNSUPPORTED, what)
    }

    pub(crate) fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::CONFIG, message)
    }

    pub(crate) fn codec(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::CODEC, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Kind::CLOSED, "the cache is closed")
    }

    pub(crate) fn would_deadlock(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::WOULD_DEADLOCK, message)
    }

    /// A closure failed: its error is the [`source`](std::error::Error::source).
    #[must_use]
    pub fn is_compute(&self) -> bool {
        self.kind().has(Kind::COMPUTE)
    }

    /// The source has no value for this key, or that is what the cache remembers.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.kind().has(Kind::ABSENT)
    }

    /// A deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind().has(Kind::TIMEOUT)
    }

    /// A tier could not be asked.
    #[must_use]
    pub fn is_tier(&self) -> bool {
        self.kind().has(Kind::TIER)
    }

    /// A write took effect in this process but not in every tier below; the text names the tiers.
    #[must_use]
    pub fn is_partial_write(&self) -> bool {
        self.kind().has(Kind::PARTIAL_WRITE)
    }

    /// Bytes that are no valid document, or a document that does not decode as the type asked for.
    #[must_use]
    pub fn is_codec(&self) -> bool {
        self.kind().has(Kind::CODEC)
    }

    /// A setting is wrong; the text names it.
    #[must_use]
    pub fn is_config(&self) -> bool {
        self.kind().has(Kind::CONFIG)
    }

    /// The cache was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.kind().has(Kind::CLOSED)
    }

    /// The key is empty or longer than 64 KiB.
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.kind().has(Kind::KEY)
    }

    /// The value is larger than any tier takes (512 MiB).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind().has(Kind::TOO_LARGE)
    }

    /// Waiting here could never end: a closure asked for its own key, or the engine's own thread or a pinned one would wait.
    #[must_use]
    pub fn is_would_deadlock(&self) -> bool {
        self.kind().has(Kind::WOULD_DEADLOCK)
    }

    /// A tier does not offer the operation.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.kind().has(Kind::UNSUPPORTED)
    }

    fn kind(&self) -> Kind {
        match &self.0 {
            Repr::Absent => Kind::ABSENT,
            Repr::Told(inner) => inner.kind,
        }
    }

    fn message(&self) -> &str {
        match &self.0 {
            Repr::Absent => "the source has no value for this key",
            Repr::Told(inner) => &inner.message,
        }
    }

    fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        match &self.0 {
            Repr::Absent => None,
            Repr::Told(inner) => inner.source.as_deref(),
        }
    }

    /// The names of the predicates that hold, for `Debug`.
    fn kinds(&self) -> Vec<&'static str> {
        const NAMES: [(Kind, &str); 12] = [
            (Kind::COMPUTE, "compute"),
            (Kind::ABSENT, "absent"),
            (Kind::TIMEOUT, "timeout"),
            (Kind::TIER, "tier"),
            (Kind::PARTIAL_WRITE, "partial_write"),
            (Kind::CODEC, "codec"),
            (Kind::CONFIG, "config"),
            (Kind::CLOSED, "closed"),
            (Kind::KEY, "key"),
            (Kind::TOO_LARGE, "too_large"),
            (Kind::WOULD_DEADLOCK, "would_deadlock"),
            (Kind::UNSUPPORTED, "unsupported"),
        ];
        NAMES.iter().filter(|(kind, _)| self.kind().has(*kind)).map(|(_, name)| *name).collect()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())?;
        match self.cause() {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("is", &self.kinds())
            .field("message", &self.message())
            .field("source", &self.cause())
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|source| source as _)
    }
}

/// `Ok(value)` with the error type fixed: ends a closure that uses `?` on several error types.
///
/// # Errors
/// Never.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let cache = tercel::CacheManager::default();
/// let n: u64 = cache
///     .get_or_compute_typed("answer", std::time::Duration::from_secs(60), || async {
///         let text = std::str::from_utf8(b"42")?;
///         let n: u64 = text.parse()?;
///         tercel::ok(n)
///     })
///     .await?;
/// assert_eq!(n, 42);
/// # Ok::<(), tercel::Error>(()) }).unwrap();
/// ```
pub fn ok<T>(value: T) -> Result<T, BoxError> {
    Ok(value)
}
