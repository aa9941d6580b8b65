//! JSON in and out.

use serde::Deserialize;
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;

use super::{Kind, MAX_DEPTH, Value, encode};
use crate::error::{Error, Result};

impl Value {
    /// Takes a JSON text as a document. Integers that fit 64 bits stay integers, other numbers become `f64`; of a key that
    /// occurs twice in one object the last counts, and keys are sorted.
    ///
    /// # Errors
    /// [`is_codec`](Error::is_codec) if the text is not one JSON value, or nests deeper than 128.
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
        if depth(text) > MAX_DEPTH {
            return Err(Error::codec(format!("the JSON text nests deeper than {MAX_DEPTH}")));
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        // Its own limit is one less than a document's: what `to_json` writes would not read again.
        reader.disable_recursion_limit();
        let json = Json::deserialize(&mut reader)
            .and_then(|json| reader.end().map(|()| json))
            .map_err(|error| Error::codec(format!("the text is not JSON: {error}")))?;
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
            Kind::MessagePack | Kind::Invalid | Kind::Absent => value.decode(),
        }
    }
}

/// How deep the arrays and objects of a JSON text are nested; of what is no JSON, no less than its reader would descend.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Goes on behind the end of a string whose first quote was read.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
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
    encode::document(&Tree(json)).map(|body| Value::document(&body)).map_err(|refusal| refusal.of("serde_json::Value"))
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
