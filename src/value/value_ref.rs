//! The borrowed view of a value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned};

use super::Value;
use crate::error::Result;

/// A value seen in place, without touching its reference count.
#[derive(Clone, Copy)]
pub struct ValueRef<'a>(&'a Value);

impl<'a> ValueRef<'a> {
    pub(crate) fn new(value: &'a Value) -> Self {
        Self(value)
    }

    /// As [`Value::as_msgpack`].
    #[must_use]
    pub fn as_msgpack(&self) -> Cow<'a, [u8]> {
        self.0.as_msgpack()
    }

    /// As [`Value::as_bytes`].
    #[must_use]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        self.0.as_bytes()
    }

    /// As [`Value::decode`].
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        self.0.decode()
    }

    /// As [`Value::decode_borrowed`]: what is decoded borrows from the cached value, not from this view.
    ///
    /// # Errors
    /// As [`Value::decode`].
    pub fn decode_borrowed<'b, T: Deserialize<'b>>(&self) -> Result<T>
    where
        'a: 'b,
    {
        self.0.decode_borrowed()
    }

    /// The value itself, for keeping. One reference count.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.0.clone()
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
