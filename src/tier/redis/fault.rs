//! What can go wrong with a server, as errors of this crate: always a tier error, never a password, never a type of the
//! `redis` crate.

use std::time::Duration;

use ::redis::{RedisError, ServerError, Value};

use super::endpoint::Endpoint;
use crate::error::{Error, Kind, Result};

/// The server answered with an error: its own first word comes first.
pub(crate) fn refused(endpoint: &Endpoint, error: &ServerError) -> Error {
    let text = match error.details() {
        Some(details) => format!("Redis at {endpoint} answered {} {details}", error.code()),
        None => format!("Redis at {endpoint} answered {}", error.code()),
    };
    Error::new(Kind::TIER, endpoint.scrub(text))
}

/// A connection failed, or was never made.
pub(crate) fn broken(endpoint: &Endpoint, error: &RedisError) -> Error {
    let kind = if error.is_timeout() { Kind::TIER.and(Kind::TIMEOUT) } else { Kind::TIER };
    Error::new(kind, endpoint.scrub(format!("Redis at {endpoint}: {error}")))
}

/// The connection is gone for a reason found on this side.
pub(crate) fn dropped(endpoint: &Endpoint, why: &str) -> Error {
    Error::new(Kind::TIER, format!("Redis at {endpoint}: {why}"))
}

/// A deadline passed.
pub(crate) fn late(endpoint: &Endpoint, what: &str, after: Duration) -> Error {
    Error::new(Kind::TIER.and(Kind::TIMEOUT), format!("Redis at {endpoint}: {what} within {after:?}"))
}

/// The server sent something that is no answer to the command.
pub(crate) fn unexpected(endpoint: &Endpoint, command: &str) -> Error {
    dropped(endpoint, &format!("the answer to {command} has an unexpected form"))
}

/// The engine's background thread has stopped.
pub(crate) fn stopped() -> Error {
    Error::new(Kind::TIER.and(Kind::CLOSED), "the Redis connection was closed with the cache")
}

/// An error answer as an error.
pub(crate) fn accept(endpoint: &Endpoint, value: Value) -> Result<Value> {
    match value {
        Value::ServerError(error) => Err(refused(endpoint, &error)),
        other => Ok(other),
    }
}
