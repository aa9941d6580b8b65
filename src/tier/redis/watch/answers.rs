//! What the answers to a watch's questions say. An error answer is an error, but for one: a key of another type under a
//! name of ours is as good as none.

use std::time::Duration;

use ::redis::Value;

use super::super::endpoint::Endpoint;
use super::super::fault;
use crate::error::Result;
use crate::shared::replay::Entry;

/// What a server is to others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master { replication_id: String },
    Replica,
}

/// A number kept under a key, if there is one.
pub(super) fn number(endpoint: &Endpoint, answer: Value) -> Result<Option<u64>> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(digits) => Ok(std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok())),
        answer if is_foreign(&answer) => Ok(None),
        answer => Err(wrong(endpoint, answer, "GET")),
    }
}

/// The time since the Unix epoch.
pub(super) fn time(endpoint: &Endpoint, answer: Value) -> Result<Duration> {
    let digits = |part: &Value| match part {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    if let Value::Array(parts) = &answer
        && let [seconds, micros] = &parts[..]
        && let (Some(seconds), Some(micros)) = (digits(seconds), digits(micros))
    {
        return Ok(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)));
    }
    Err(wrong(endpoint, answer, "TIME"))
}

/// What tells one process of a server from the next.
pub(super) fn run_id(endpoint: &Endpoint, answer: Value) -> Result<String> {
    match text(&answer).and_then(|info| field(info, "run_id")) {
        Some(id) => Ok(id.to_owned()),
        None => Err(wrong(endpoint, answer, "INFO server")),
    }
}

/// The role, with what tells one history of the data from another.
pub(super) fn role(endpoint: &Endpoint, answer: Value) -> Result<Role> {
    let info = text(&answer);
    match (info.and_then(|info| field(info, "role")), info.and_then(|info| field(info, "master_replid"))) {
        (Some("master"), Some(id)) => Ok(Role::Master { replication_id: id.to_owned() }),
        (Some("slave" | "replica"), _) => Ok(Role::Replica),
        _ => Err(wrong(endpoint, answer, "INFO replication")),
    }
}

/// Entries of a log; `None` if what is there is none.
pub(super) fn log<'a>(endpoint: &Endpoint, answer: &'a Value) -> Result<Option<Vec<Entry<'a>>>> {
    let entry = |value: &'a Value| -> Option<Entry<'a>> {
        let Value::Array(parts) = value else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = &parts[..] else { return None };
        let [Value::BulkString(field), Value::BulkString(value)] = &fields[..] else { return None };
        Some(Entry { id, field, value })
    };
    match answer {
        Value::Array(entries) => Ok(entries.iter().map(entry).collect()),
        foreign if is_foreign(foreign) => Ok(None),
        answer => Err(wrong(endpoint, answer.clone(), "XRANGE")),
    }
}

fn is_foreign(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "WRONGTYPE")
}

fn wrong(endpoint: &Endpoint, answer: Value, command: &str) -> crate::error::Error {
    match answer {
        Value::ServerError(error) => fault::refused(endpoint, &error),
        _ => fault::unexpected(endpoint, command),
    }
}

fn text(answer: &Value) -> Option<&str> {
    match answer {
        Value::VerbatimString { text, .. } => Some(text),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// What stands behind `name:` on a line of its own.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).filter(|it| !it.is_empty())
}
