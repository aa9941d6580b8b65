//! Reading documents, and telling what is wrong without telling what is in them.

use std::borrow::Cow;

use rmp_serde::decode::Error as Mismatch;
use serde::de::value::SeqDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::{Kind, MAX_DEPTH};
use crate::entry::Entry;
use crate::error::{Error, Result};

pub(super) fn document<'a, T: Deserialize<'a>>(entry: Entry<'a>) -> Result<T> {
    if let Some(fault) = entry.fault() {
        return Err(fault.clone());
    }
    let decoded = match entry.kind() {
        Kind::Raw => T::deserialize(Payload(entry.body())).map_err(|error| reason(&error)),
        Kind::MessagePack | Kind::Invalid | Kind::Absent => whole(entry.body()),
    };
    decoded.map_err(|why| {
        let target = std::any::type_name::<T>();
        Error::codec(format!("the value does not decode as `{target}`: {why}"))
    })
}

/// Decodes a document that the reader must use up.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Cow<'static, str>> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(body).with_human_readable();
    // The document is known to be no deeper (V1). The reader stops at the level that it is given, and counts extensions.
    reader.set_max_depth(MAX_DEPTH + 2);
    let decoded = T::deserialize(&mut reader).map_err(|error| reason(&error))?;
    // The reader does not tell its position. Asked for a scalar, it misses a marker only if nothing is left.
    match bool::deserialize(&mut reader) {
        Err(Mismatch::InvalidMarkerRead(_)) => Ok(decoded),
        _ => Err(Cow::Borrowed("the type leaves a part of it unread")),
    }
}

/// What went wrong, without the content that the reader's own messages quote.
fn reason(error: &Mismatch) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        Mismatch::TypeMismatch(marker) => return family(&format!("{marker:?}")),
        Mismatch::Syntax(message) => return redact(message),
        Mismatch::InvalidMarkerRead(_) | Mismatch::InvalidDataRead(_) => "it ends too early",
        Mismatch::OutOfRange => "a number is out of range",
        Mismatch::LengthMismatch(_) => "an array or a map has another length",
        Mismatch::Utf8Error(_) => "a string is not UTF-8",
        Mismatch::DepthLimitExceeded => "it nests too deep",
        Mismatch::Uncategorized(_) => "it is malformed",
    })
}

/// The kind of value that a marker announces, by the marker's name. The marker itself holds small numbers and lengths.
fn family(marker: &str) -> Cow<'static, str> {
    const FAMILIES: [(&str, &str); 18] = [
        ("FixPos", "an integer"),
        ("FixNeg", "an integer"),
        ("U", "an integer"),
        ("I", "an integer"),
        ("FixStr", "a string"),
        ("Str", "a string"),
        ("FixArray", "an array"),
        ("Array", "an array"),
        ("FixMap", "a map"),
        ("Map", "a map"),
        ("FixExt", "an extension"),
        ("Ext", "an extension"),
        ("Bin", "a byte string"),
        ("F32", "a float"),
        ("F64", "a float"),
        ("True", "a boolean"),
        ("False", "a boolean"),
        ("Null", "nil"),
    ];
    let found = FAMILIES.iter().find(|(prefix, _)| marker.starts_with(prefix));
    found.map_or(Cow::Borrowed("malformed"), |(_, name)| {
        Cow::Owned(format!("{name} stands where another kind is expected"))
    })
}

/// Keeps of a message by serde what comes from the type, and drops what comes from the document.
///
/// serde's own messages have fixed fronts, quote the content after them, and end with what was expected. Whatever else a
/// type says in words of its own may be content throughout.
fn redact(message: &str) -> Cow<'static, str> {
    const QUOTING: [&str; 5] = ["invalid type", "invalid value", "invalid length", "unknown variant", "unknown field"];
    const NAMING: [&str; 2] = ["missing field `", "duplicate field `"];
    if let Some(front) = NAMING.iter().find(|front| message.starts_with(**front)) {
        let name = message[front.len()..].split('`').next().unwrap_or_default();
        return Cow::Owned(format!("{front}{name}`"));
    }
    let Some(front) = QUOTING.iter().find(|front| message.starts_with(**front)) else {
        return Cow::Borrowed("its own Deserialize refuses the content");
    };
    let found = message[front.len()..]
        .strip_prefix(": ")
        .and_then(unexpected)
        .map_or(String::new(), |kind| format!(": {kind}"));
    // The last occurrence: the content quoted before it may hold the same words.
    let expected = message.rfind(", expected ").map_or("", |at| &message[at..]);
    Cow::Owned(format!("{front}{found}{expected}"))
}

/// The kind of content that a message goes on to quote.
fn unexpected(quoted: &str) -> Option<&'static str> {
    const KINDS: [&str; 15] = [
        "boolean",
        "integer",
        "floating point",
        "character",
        "string",
        "byte array",
        "unit value",
        "Option value",
        "newtype struct",
        "sequence",
        "map",
        "enum",
        "unit variant",
        "newtype variant",
        "tuple variant",
    ];
    KINDS.into_iter().find(|kind| quoted.starts_with(kind))
}

/// A raw payload: decodes as a byte string, into what takes bytes and into sequences of `u8`, never as text or number.
struct Payload<'a>(&'a [u8]);

impl Payload<'_> {
    fn refuse<T>(expected: &'static str) -> Result<T, Mismatch> {
        Err(Mismatch::invalid_type(Unexpected::Other("raw payload"), &expected))
    }
}

macro_rules! refuse {
    ($($method:ident: $expected:literal),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mismatch> {
            Self::refuse($expected)
        }
    )+};
}

impl<'de> Deserializer<'de> for Payload<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let mut bytes = SeqDeserializer::<_, Mismatch>::new(self.0.iter().copied());
        let decoded = visitor.visit_seq(&mut bytes)?;
        bytes.end()?;
        Ok(decoded)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Mismatch> {
        Self::refuse("a unit struct")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Mismatch> {
        Self::refuse("a struct")
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Mismatch> {
        Self::refuse("an enum")
    }

    refuse! {
        deserialize_bool: "a boolean",
        deserialize_i8: "an integer",
        deserialize_i16: "an integer",
        deserialize_i32: "an integer",
        deserialize_i64: "an integer",
        deserialize_i128: "an integer",
        deserialize_u8: "an integer",
        deserialize_u16: "an integer",
        deserialize_u32: "an integer",
        deserialize_u64: "an integer",
        deserialize_u128: "an integer",
        deserialize_f32: "a float",
        deserialize_f64: "a float",
        deserialize_char: "a character",
        deserialize_str: "a string",
        deserialize_string: "a string",
        deserialize_identifier: "an identifier",
        deserialize_unit: "nil",
        deserialize_map: "a map",
    }

    forward_to_deserialize_any! { bytes byte_buf ignored_any }
}
