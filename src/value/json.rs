//! JSON in and out.

use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

use super::{Kind, Value, encode};
use crate::error::{Error, Result};

impl Value {
    /// Takes a JSON text as a document. Integers that fit 64 bits stay integers, other numbers become `f64`; of a key that
    /// occurs twice in one object the last counts, and keys are sorted.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) if the text is not one JSON value, or nests deeper than 127.
    ///
    /// # Examples
    /// ```
    /// use std::net::IpAddr;
    /// let value = tercel::Value::from_json(br#"{"host": "127.0.0.1"}"#)?;
    /// let hosts = value.decode::<std::collections::HashMap<String, IpAddr>>()?;
    /// assert!(hosts["host"].is_loopback());
    /// assert_eq!(value.to_json()?, r#"{"host":"127.0.0.1"}"#);
    /// # Ok::<(), tercel::Error>(())
    /// ```
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let json: Json =
            serde_json::from_slice(text).map_err(|error| Error::codec(format!("the text is not JSON: {error}")))?;
        from_tree(&json)
    }

    /// The document as JSON text. Floats that are no numbers become `null`.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) for a raw payload, and for a document with what JSON has not: byte strings,
    /// extensions, map keys that are no strings.
    pub fn to_json(&self) -> Result<String> {
        Ok(Json::try_from(self)?.to_string())
    }
}

/// A tree that is nested deeper than 128 makes a value whose every write and decode is
/// [`is_codec`](crate::Error::is_codec).
impl From<Json> for Value {
    fn from(json: Json) -> Self {
        from_tree(&json).unwrap_or_else(|fault| {
            dismantle(json);
            Value::invalid(fault)
        })
    }
}

/// As [`Value::to_json`].
impl TryFrom<&Value> for Json {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Self> {
        match value.kind() {
            Kind::Raw => Err(Error::codec("a raw payload is not a document, and has no JSON form")),
            Kind::MessagePack | Kind::Invalid => value.decode(),
        }
    }
}

/// Drops a tree without recursion: the one too deep to encode may be too deep for the stack as well.
fn dismantle(json: Json) {
    let mut left = vec![json];
    while let Some(json) = left.pop() {
        match json {
            Json::Array(elements) => left.extend(elements),
            Json::Object(entries) => left.extend(entries.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

fn from_tree(json: &Json) -> Result<Value> {
    encode::document(&Tree(json)).map(Value::document).map_err(|refusal| refusal.of("serde_json::Value"))
}

/// Writes numbers as numbers even where some other crate turns on the arbitrary precision of `serde_json`, with which
/// they would serialize as structs.
struct Tree<'a>(&'a Json);

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(flag) => serializer.serialize_bool(*flag),
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(elements) => serializer.collect_seq(elements.iter().map(Tree)),
            Json::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Tree(value))?;
                }
                map.end()
            }
            Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => serializer.serialize_u64(number),
                (_, Some(number), _) => serializer.serialize_i64(number),
                (_, _, Some(number)) => serializer.serialize_f64(number),
                _ => Err(S::Error::custom("a number is out of range")),
            },
        }
    }
}
