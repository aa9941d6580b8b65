//! Finding keys by pattern, with `SCAN`, to remove them.

use ::redis::{Value, cmd};

use super::fault;
use super::link::Link;
use crate::error::Result;

/// How many keys one step looks at: a step of this size holds the server for well under a millisecond.
const STEP: usize = 500;

/// Removes every key `<prefix><rest>` whose `rest` matches `pattern`, with the meaning of Redis `MATCH`.
pub(super) async fn remove(link: &Link, prefix: &str, pattern: &str) -> Result<()> {
    let mut scan = Scan::new(prefix, pattern);
    while let Some(keys) = scan.next(link).await? {
        let mut unlink = cmd("UNLINK");
        unlink.arg(keys);
        link.call(unlink).await?;
    }
    Ok(())
}

/// A walk over all keys that match. One step is under way at a time, so other clients get their turns in between.
pub(super) struct Scan {
    glob: String,
    /// Where the next step begins; `None` after the last.
    cursor: Option<Vec<u8>>,
}

impl Scan {
    /// Finds keys `<prefix><rest>` whose `rest` matches `pattern`.
    pub(super) fn new(prefix: &str, pattern: &str) -> Self {
        Self { glob: escape(prefix) + pattern, cursor: Some(b"0".to_vec()) }
    }

    /// The next keys, at least one; none at the end.
    pub(super) async fn next(&mut self, link: &Link) -> Result<Option<Vec<Vec<u8>>>> {
        while let Some(cursor) = &self.cursor {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor[..]).arg("MATCH").arg(&self.glob).arg("COUNT").arg(STEP);
            let answer = link.call(scan).await?;
            let Some((next, keys)) = step(answer) else { return Err(fault::unexpected(link.endpoint(), "SCAN")) };
            self.cursor = (next != b"0").then_some(next);
            if !keys.is_empty() {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }
}

/// The next cursor and the keys of one answer.
fn step(answer: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(cursor), Value::Array(keys)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
    let keys = keys.into_iter().map(|key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    });
    Some((cursor, keys.collect::<Option<_>>()?))
}

/// `text` as a pattern that matches nothing but itself.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
