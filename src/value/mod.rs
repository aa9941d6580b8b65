//! The values that a cache holds: immutable documents, encoded once, shared by one reference count.
//!
//! # Invariants
//! - V1: the body of a MessagePack value is exactly one well-formed document: every length lies within the body, every
//!   string is UTF-8, nothing follows, and no more than `MAX_DEPTH` arrays and maps are nested. The encoder and
//!   `msgpack::validate` are the only ways in.
//! - V2: a value never changes. The memo of its decoded form is set at most once.
//!
//! # Why not
//! `rmp_serde::Serializer` for writing: its depth limit has no effect, and it trusts the lengths that types announce, so
//! that V1 would cost a second pass. Reading is `rmp_serde`'s, over bytes for which V1 holds.

mod decode;
mod encode;
mod from;
#[cfg(feature = "json")]
mod json;
mod msgpack;
mod show;
mod value_ref;

use std::borrow::Cow;
use std::cell::Cell;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::Serialize;

use crate::entry::{Body, Counted, Entry, Label, Memo, Waiting};
use crate::error::{Error, Result};
use crate::sync::Arc;

pub(crate) use crate::entry::Kind;

pub use value_ref::ValueRef;

/// How many arrays and maps may be nested in a document.
pub(crate) const MAX_DEPTH: usize = 128;

/// One immutable document, shared by reference count.
///
/// A value is a MessagePack document, or a raw payload of bytes ([`Value::bytes`]). Cloning is one relaxed atomic
/// increment. What is put into a cache is copied once, up to 4 KiB, to lie beside its key; what is found there is not
/// copied. A held value keeps its entry's memory after that has left the cache.
///
/// Struct fields are written by name, so that adding, removing or reordering a field never misreads, and types that have a
/// readable form use it, so that a document made from JSON decodes into typed structs: addresses, UUIDs, dates.
/// Three things do not cross between JSON and typed values: integer map keys, raw bytes and 128-bit integers.
///
/// A document nests at most 128 arrays and maps. Two values are equal if they are of the same kind and their bytes are
/// equal; `Debug` prints the document itself, cut off after some 200 characters.
///
/// # Examples
/// ```
/// use serde::{Deserialize, Serialize};
/// use tercel::Value;
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct User {
///     name: String,
///     age: u8,
/// }
/// let ada = User { name: "Ada".to_owned(), age: 36 };
/// let value = Value::encode(&ada)?;
/// assert_eq!(value.decode::<User>()?, ada);
/// assert_eq!(format!("{value:?}"), r#"{"name":"Ada","age":36}"#);
/// # Ok::<(), tercel::Error>(())
/// ```
#[derive(Clone)]
pub struct Value(Counted);

/// Where those wait who ask for the decoded form of a value while another decodes it.
static DECODING: Waiting = Waiting::new();

thread_local! {
    /// Whether this thread makes a decoded form that others may wait for.
    static MAKES: Cell<bool> = const { Cell::new(false) };
}

impl Value {
    /// Encodes a value as a MessagePack document.
    ///
    /// # Cost
    /// One pass over the value and a copy, two allocations.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) if the value nests deeper than 128, announces another length than it has, or its own
    /// `Serialize` refuses.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        encode::document(value)
            .map(|body| Self::document(&body))
            .map_err(|refusal| refusal.of(std::any::type_name::<T>()))
    }

    /// Takes a MessagePack document made elsewhere, after checking it.
    ///
    /// # Cost
    /// One pass over the bytes, which are copied up to 4 KiB and above that kept as they are. Claimed lengths cost nothing.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) unless the bytes are exactly one well-formed document, no deeper than 128.
    ///
    /// # Examples
    /// ```
    /// let value = tercel::Value::from_msgpack(&b"\x93\x01\x02\x03"[..])?;
    /// assert_eq!(value.decode::<[u8; 3]>()?, [1, 2, 3]);
    /// assert!(tercel::Value::from_msgpack(&b"\x93\x01\x02"[..]).unwrap_err().is_codec());
    /// # Ok::<(), tercel::Error>(())
    /// ```
    pub fn from_msgpack(document: impl Into<Bytes>) -> Result<Self> {
        Self::from_parts(Kind::MessagePack, document.into())
    }

    /// Takes a raw payload: copied up to 4 KiB, above that kept as it is.
    ///
    /// # Examples
    /// ```
    /// let value = tercel::Value::bytes(vec![1, 2, 3]);
    /// assert_eq!(value.as_bytes(), Some(&[1, 2, 3][..]));
    /// assert_eq!(value.decode::<Vec<u8>>()?, [1, 2, 3]);
    /// # Ok::<(), tercel::Error>(())
    /// ```
    #[must_use]
    pub fn bytes(payload: impl Into<Bytes>) -> Self {
        Self::new(Kind::Raw, Body::Given(payload.into()))
    }

    /// Decodes the document into an owned `T`.
    ///
    /// A raw payload decodes as byte strings do: into types that take bytes and into sequences of `u8`.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) if the document is not a `T`. The text names the type and the kind of mismatch, never
    /// the content; what a type's own `Deserialize` says may hold content and is left out.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode::document(self.entry())
    }

    /// Decodes the document into a `T` that borrows from it: strings and bytes are not copied.
    ///
    /// # Errors
    /// As [`decode`](Value::decode).
    ///
    /// # Examples
    /// ```
    /// let value = tercel::Value::from("borrowed");
    /// assert_eq!(value.decode_borrowed::<&str>()?, "borrowed");
    /// # Ok::<(), tercel::Error>(())
    /// ```
    pub fn decode_borrowed<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        decode::document(self.entry())
    }

    /// Decodes the document once and shares the result.
    ///
    /// A value keeps the decoded form of the first type that asks, for as long as any clone of the value lives. Calls for
    /// another type decode anew each time.
    ///
    /// # Cost
    /// The first call decodes, and concurrent first calls wait for it. A later call is one reference count, no lock and no
    /// allocation. A `Deserialize` that asks for a shared form in turn waits for nobody: what is not decoded yet it decodes
    /// for itself.
    ///
    /// # Errors
    /// As [`decode`](Value::decode); a failure is not kept.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// let value = tercel::Value::encode(&["a", "b"])?;
    /// let first = value.shared::<Vec<String>>()?;
    /// let again = value.clone().shared::<Vec<String>>()?;
    /// assert!(Arc::ptr_eq(&first, &again));
    /// # Ok::<(), tercel::Error>(())
    /// ```
    pub fn shared<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        match self.memo() {
            Some(memo) => memo.recall(),
            // Whoever makes one must not wait for another: its maker may wait for this one.
            None if MAKES.get() => None,
            None => self.entry().memo().get_or_make(&DECODING, || self.make().map(Memo::new::<T>))?.recall(),
        }
        .map_or_else(|| self.decode().map(Arc::new), Ok)
    }

    /// The decoded form, which others wait for meanwhile.
    fn make<T: DeserializeOwned>(&self) -> Result<Arc<T>> {
        struct Making;

        impl Drop for Making {
            fn drop(&mut self) {
                MAKES.set(false);
            }
        }
        MAKES.set(true);
        let _making = Making;
        self.decode().map(Arc::new)
    }

    /// The document as MessagePack. A raw payload becomes a byte string, copied behind its header.
    ///
    /// A value without a document (one made from JSON nested too deep) gives no bytes at all, which no reader takes for a
    /// document.
    #[must_use]
    pub fn as_msgpack(&self) -> Cow<'_, [u8]> {
        ValueRef::new(self.entry()).as_msgpack()
    }

    /// The bytes of a raw payload; `None` for a document.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        ValueRef::new(self.entry()).as_bytes()
    }

    /// The bytes of a raw payload, shared; `None` for a document.
    ///
    /// # Cost
    /// One allocation up to 4 KiB, above that one reference count. The bytes keep the value's memory.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Bytes> {
        let shared = || match self.entry().given() {
            Some(body) => body.clone(),
            None => Bytes::from_owner(Kept(self.clone())),
        };
        (self.kind() == Kind::Raw).then(shared)
    }

    /// The value of an entry, unless that says that there is none.
    #[inline]
    pub(crate) fn of(entry: Entry<'_>) -> Option<Self> {
        (entry.kind() != Kind::Absent).then(|| Self(entry.count()))
    }

    /// The value that a frame holds; checks a document (V1).
    pub(crate) fn from_parts(kind: Kind, body: Bytes) -> Result<Self> {
        match kind {
            Kind::MessagePack => msgpack::validate(&body)
                .map_err(|flaw| Error::codec(format!("the bytes are not one MessagePack document: {flaw}")))?,
            Kind::Raw => {}
            Kind::Invalid | Kind::Absent => return Err(Error::codec("the value holds no document")),
        }
        Ok(Self::new(kind, Body::Given(body)))
    }

    /// Whether the value can be written anywhere.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec), with the reason, if there is no document.
    pub(crate) fn check(&self) -> Result<()> {
        self.entry().fault().cloned().map_or(Ok(()), Err)
    }

    #[inline]
    pub(crate) fn entry(&self) -> Entry<'_> {
        self.0.entry()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.entry().kind()
    }

    /// The bytes that are stored: the document or the raw payload.
    pub(crate) fn body(&self) -> &[u8] {
        self.entry().body()
    }

    /// Gives the value its decoded form, if it has none yet.
    pub(crate) fn memoize<T: Send + Sync + 'static>(&self, decoded: Arc<T>) {
        // An occupied slot is left as it is: the first type wins.
        drop(self.entry().memo().set(Memo::new(decoded)));
    }

    #[inline]
    fn memo(&self) -> Option<&Memo> {
        self.entry().memo().get()
    }

    pub(crate) fn has_memo(&self) -> bool {
        self.memo().is_some()
    }

    /// A document for which V1 holds.
    fn document(body: &[u8]) -> Self {
        Self::new(Kind::MessagePack, Body::Copied(body))
    }

    /// A value without a document, and why.
    fn invalid(fault: Error) -> Self {
        Self::new(Kind::Invalid, Body::Fault(fault))
    }

    fn new(kind: Kind, body: Body<'_>) -> Self {
        Self(Counted::new(kind, body, Label::default()))
    }
}

/// The body, for `Bytes` that keep the value.
struct Kept(Value);

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.entry(), other.entry());
        // Values without a document have nothing to compare: such a value equals its clones only.
        a.is(b) || a.kind() == b.kind() && a.kind() != Kind::Invalid && a.body() == b.body()
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests;
