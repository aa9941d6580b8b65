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

#[cfg(test)]
mod tests {
    use ::redis::parse_redis_value;

    use super::super::super::RedisOptions;
    use super::*;

    fn endpoint() -> Endpoint {
        RedisOptions::new("redis://127.0.0.1:1").endpoint().unwrap()
    }

    fn answer(bytes: &str) -> Value {
        parse_redis_value(bytes.as_bytes()).unwrap()
    }

    const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
    const FOREIGN: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn an_error_is_told_and_a_foreign_key_is_none() {
        let (at, loading, foreign) = (endpoint(), answer(LOADING), answer(FOREIGN));
        let errors = [
            number(&at, loading.clone()).unwrap_err(),
            time(&at, loading.clone()).unwrap_err(),
            run_id(&at, loading.clone()).unwrap_err(),
            role(&at, loading.clone()).unwrap_err(),
            log(&at, &loading).unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_tier() && error.to_string().contains("LOADING Redis is loading"), "{error}");
        }
        assert_eq!(number(&at, foreign.clone()).unwrap(), None);
        assert!(log(&at, &foreign).unwrap().is_none());
    }

    #[test]
    fn numbers_are_whole_or_none() {
        let number = |bytes| number(&endpoint(), answer(bytes)).unwrap();
        assert_eq!(number("$20\r\n18446744073709551615\r\n"), Some(u64::MAX));
        for bytes in
            ["_\r\n", "$-1\r\n", "$20\r\n18446744073709551616\r\n", "$2\r\n-1\r\n", "$3\r\n1.5\r\n", "$0\r\n\r\n"]
        {
            assert_eq!(number(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_has_another_form_is_an_error() {
        let at = endpoint();
        for bytes in [":1\r\n", "*0\r\n", "*2\r\n$1\r\n1\r\n$1\r\nx\r\n", "$4\r\nabc:\r\n", "+OK\r\n"] {
            assert!(time(&at, answer(bytes)).is_err() && run_id(&at, answer(bytes)).is_err(), "{bytes:?}");
            assert!(role(&at, answer(bytes)).is_err(), "{bytes:?}");
        }
        let told = time(&at, answer("*2\r\n$2\r\n17\r\n$6\r\n250000\r\n")).unwrap();
        assert_eq!(told, Duration::from_millis(17_250));
    }

    #[test]
    fn a_server_says_who_it_is_over_either_protocol() {
        let at = endpoint();
        let says = |text: &str| {
            let string = format!("${}\r\n{text}\r\n", text.len());
            let verbatim = format!("={}\r\ntxt:{text}\r\n", text.len() + 4);
            [answer(&string), answer(&verbatim)]
        };
        for info in says("# Server\r\nredis_version:7\r\nrun_id:abc\r\nx_run_id:no\r\n") {
            assert_eq!(run_id(&at, info).unwrap(), "abc");
        }
        for info in says("# Replication\r\nrole:master\r\nmaster_replid:abc\r\nmaster_replid2:000\r\n") {
            assert_eq!(role(&at, info).unwrap(), Role::Master { replication_id: "abc".into() });
        }
        for info in says("role:slave\r\nmaster_replid:abc\r\n") {
            assert_eq!(role(&at, info).unwrap(), Role::Replica);
        }
        for info in says("role:master\r\nmaster_replid:\r\n") {
            assert!(role(&at, info).is_err());
        }
    }

    #[test]
    fn a_log_is_read_whole_or_not_at_all() {
        let at = endpoint();
        let entry = "*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\ni\r\n$1\r\nx\r\n";
        let read = answer(&format!("*2\r\n{entry}{entry}"));
        let entries = log(&at, &read).unwrap().unwrap();
        assert_eq!((entries.len(), entries[1].number(), entries[1].field), (2, Some(7), &b"i"[..]));
        for other in
            ["$1\r\nx\r\n", "*2\r\n$3\r\n7-1\r\n*4\r\n+a\r\n+b\r\n+c\r\n+d\r\n", "*1\r\n$3\r\n7-1\r\n", "_\r\n"]
        {
            let read = answer(&format!("*2\r\n{entry}{other}"));
            assert!(log(&at, &read).unwrap().is_none(), "{other:?}");
        }
        assert!(log(&at, &Value::Nil).is_err());
    }
}
