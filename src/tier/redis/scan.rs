//! Removing by pattern: finding keys with `SCAN`.

use ::redis::{Value, cmd};

use super::fault;
use super::link::Link;
use crate::error::Result;

/// How many keys one step looks at: a step of this size holds the server for well under a millisecond.
const STEP: usize = 500;

/// Removes every key `<prefix><rest>` whose `rest` matches `pattern`, with the meaning of Redis `MATCH`.
///
/// One step is under way at a time, so other clients get their turns in between.
pub(super) async fn remove(link: &Link, prefix: &str, pattern: &str) -> Result<()> {
    let glob = escape(prefix) + pattern;
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(&cursor[..]).arg("MATCH").arg(&glob).arg("COUNT").arg(STEP);
        let answer = link.call(scan).await?;
        let Some((next, keys)) = step(answer) else { return Err(fault::unexpected(link.endpoint(), "SCAN")) };
        if !keys.is_empty() {
            let mut unlink = cmd("UNLINK");
            unlink.arg(keys);
            link.call(unlink).await?;
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
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
