//! What turns into a value by itself. There is no generic `From<T: Serialize>`: it would forbid every other one.

use bytes::Bytes;

use super::Value;

macro_rules! from_scalars {
    ($($scalar:ty),+) => {$(
        impl From<$scalar> for Value {
            fn from(scalar: $scalar) -> Self {
                Self::encode(&scalar).unwrap_or_else(Self::invalid)
            }
        }
    )+};
}

from_scalars!(bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

/// A string of MessagePack.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::encode(text).unwrap_or_else(Self::invalid)
    }
}

/// A string of MessagePack.
impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// A string of MessagePack.
impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// A raw payload, as by [`Value::bytes`].
impl From<Bytes> for Value {
    fn from(payload: Bytes) -> Self {
        Self::bytes(payload)
    }
}

/// A raw payload, as by [`Value::bytes`]; [`Value::encode`] makes an array of numbers.
impl From<Vec<u8>> for Value {
    fn from(payload: Vec<u8>) -> Self {
        Self::bytes(payload)
    }
}

/// A clone: one reference count.
impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}
