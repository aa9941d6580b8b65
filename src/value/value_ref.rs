//! The borrowed view of a value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned};

use super::{Kind, Value, decode, msgpack};
use crate::entry::Entry;
use crate::error::Result;

/// A value seen in place, without touching its reference count.
#[derive(Clone, Copy)]
pub struct ValueRef<'a>(Entry<'a>);

impl<'a> ValueRef<'a> {
    /// An entry that has a value.
    pub(super) fn new(entry: Entry<'a>) -> Self {
        Self(entry)
    }

    /// The value of an entry, unless that says that there is none.
    #[inline]
    pub(crate) fn of(entry: Entry<'a>) -> Option<Self> {
        (entry.kind() != Kind::Absent).then_some(Self(entry))
    }

    /// As [`Value::as_msgpack`].
    #[must_use]
    pub fn as_msgpack(&self) -> Cow<'a, [u8]> {
        match self.0.kind() {
            Kind::Raw => Cow::Owned(msgpack::binary(self.0.body())),
            Kind::MessagePack | Kind::Invalid | Kind::Absent => Cow::Borrowed(self.0.body()),
        }
    }

    /// As [`Value::as_bytes`].
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        (self.0.kind() == Kind::Raw).then(|| self.0.body())
    }

    /// As [`Value::decode`].
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode::document(self.0)
    }

    /// As [`Value::decode_borrowed`]: what is decoded borrows from the cached value, not from this view.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode_borrowed<'b, T: Deserialize<'b>>(&self) -> Result<T>
    where
        'a: 'b,
    {
        decode::document(self.0)
    }

    /// The value itself, for keeping. One reference count.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value(self.0.count())
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::show::document(self.0, f)
    }
}
