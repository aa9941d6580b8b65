//! The tier against real servers, each test with its own.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::join_all;

use super::*;

#[path = "../../../tests/support/redis_server.rs"]
pub(crate) mod redis_server;

use redis_server::{Answer, RedisServer, free_port};

const TTL: Duration = Duration::from_secs(60);

/// With a deadline that a busy machine does not reach: for tests that are not about deadlines.
pub(crate) fn patient(server: &RedisServer) -> RedisOptions {
    RedisOptions::new(server.url()).response_timeout(Duration::from_secs(20)).connect_timeout(Duration::from_secs(20))
}

fn cache(server: &RedisServer) -> L2Cache {
    L2Cache::with_options(patient(server)).unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Asks until `ask` has an answer; a bound keeps a broken tier from hanging the test.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_set_is_found_until_it_is_removed() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(async {
        assert_eq!(cache.get("k").await.unwrap(), None);
        assert_eq!(cache.get_with_ttl("k").await.unwrap(), None);
        cache.set_with_ttl("k", bytes("v"), TTL).await.unwrap();
        assert_eq!(cache.get("k").await.unwrap(), Some(bytes("v")));
        let (value, left) = cache.get_with_ttl("k").await.unwrap().unwrap();
        assert_eq!(value, "v");
        assert!(left.unwrap() <= TTL && left.unwrap() > TTL / 2);
        assert_eq!(server.command(&["GET", "tc:{tercel.p00}:d:k"]), Answer::Text("v".into()));
        cache.remove("k").await.unwrap();
        cache.remove("k").await.unwrap();
        assert_eq!(cache.get("k").await.unwrap(), None);
        assert!(cache.health_check().await);
        assert_eq!(cache.name(), "redis");
    });
}

#[test]
fn keys_and_values_are_just_bytes() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(async {
        for key in ["a b", "\0", "line\nbreak\r\n", "{x}", "*", "[a-z]?", "schlüssel", "\\"] {
            let value = Bytes::from(vec![0, 255, b'\r', b'\n', b'$']);
            cache.set_with_ttl(key, value.clone(), TTL).await.unwrap();
            assert_eq!(cache.get(key).await.unwrap(), Some(value), "{key:?}");
        }
        cache.remove("*").await.unwrap();
        assert_eq!(cache.get("*").await.unwrap(), None);
        assert!(cache.get("a b").await.unwrap().is_some());
    });
}

#[test]
fn no_time_to_live_becomes_never_or_an_error() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(async {
        cache.set_with_ttl("huge", bytes("v"), Duration::MAX).await.unwrap();
        let (_, left) = cache.get_with_ttl("huge").await.unwrap().unwrap();
        assert!(left.unwrap() > Duration::from_secs(1 << 40));

        cache.set_with_ttl("tiny", bytes("v"), Duration::from_nanos(1)).await.unwrap();
        while cache.get("tiny").await.unwrap().is_some() {}

        cache.set_with_ttl("zero", bytes("v"), TTL).await.unwrap();
        cache.set_with_ttl("zero", bytes("w"), Duration::ZERO).await.unwrap();
        assert_eq!(cache.get("zero").await.unwrap(), None);

        server.command(&["SET", "tc:{tercel.p00}:d:endless", "v"]);
        assert_eq!(cache.get_with_ttl("endless").await.unwrap(), Some((bytes("v"), None)));
    });
}

#[test]
fn a_ttl_is_rounded_up_to_whole_milliseconds() {
    assert_eq!(millis(Duration::from_nanos(1)), 1);
    assert_eq!(millis(Duration::from_micros(1500)), 2);
    assert_eq!(millis(Duration::from_millis(7)), 7);
}

#[test]
fn a_key_of_another_type_is_a_miss_and_is_overwritten() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    server.command(&["RPUSH", "tc:{tercel.p00}:d:k", "x"]);
    block_on(async {
        assert_eq!(cache.get("k").await.unwrap(), None);
        assert_eq!(cache.get_with_ttl("k").await.unwrap(), None);
        cache.set_with_ttl("k", bytes("v"), TTL).await.unwrap();
        assert_eq!(cache.get("k").await.unwrap(), Some(bytes("v")));
    });
}

#[test]
fn an_error_answer_stays_with_its_own_request() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    let link = cache.attached().unwrap().link.clone();
    block_on(async {
        link.ready().await.unwrap();
        server.command(&["SET", "text", "x"]);
        let requests = (0..300).map(|n| {
            let mut command = if n % 3 == 0 { cmd("INCR") } else { cmd("ECHO") };
            if n % 3 == 0 {
                command.arg("text")
            } else {
                command.arg(n)
            };
            link.call(command)
        });
        for (n, answer) in join_all(requests).await.into_iter().enumerate() {
            match answer {
                Err(error) => {
                    assert_eq!(n % 3, 0, "{error}");
                    assert!(error.is_tier() && error.to_string().contains("ERR"), "{error}");
                }
                Ok(answer) => assert_eq!(answer, Value::BulkString(n.to_string().into_bytes())),
            }
        }
    });
}

#[test]
fn a_server_that_refuses_to_write_says_so_in_its_own_word() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    let refusal = |word: &str| {
        let error = block_on(cache.set_with_ttl("k", bytes("w"), TTL)).unwrap_err();
        assert!(error.is_tier() && !error.is_timeout() && error.to_string().contains(word), "{error}");
        assert_eq!(block_on(cache.get("k")).unwrap(), Some(bytes("v")));
    };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    refusal(" OOM ");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    refusal(" READONLY ");
}

#[test]
fn a_server_with_too_many_clients_is_down_until_it_has_room() {
    let Some(server) = RedisServer::start() else { return };
    server.command(&["CONFIG", "SET", "maxclients", "1"]);
    let other = std::net::TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let cache = cache(&server);
    let error = until("it is refused", || match block_on(cache.get("k")) {
        Err(error) if matches!(cache.state(), LinkState::Down(_)) => Some(error),
        _ => None,
    });
    assert!(error.is_tier(), "{error}");
    drop(other);
    until("it is let in", || block_on(cache.get("k")).ok());
}

#[test]
fn commands_run_in_order_also_when_nobody_waits() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    let link = cache.attached().unwrap().link.clone();
    for n in 0..1000 {
        let mut push = cmd("RPUSH");
        push.arg("order").arg(n);
        let mut call = Box::pin(link.call(push));
        // Polled once, which sends it, and dropped. The answer to a lone one may be there before that poll has ended.
        assert!(futures::FutureExt::now_or_never(&mut call).is_none_or(|answer| answer.is_ok()));
    }
    let mut all = cmd("LRANGE");
    all.arg("order").arg(0).arg(-1);
    let expected: Vec<Value> = (0..1000).map(|n: i32| Value::BulkString(n.to_string().into_bytes())).collect();
    assert_eq!(block_on(link.call(all)).unwrap(), Value::Array(expected));
}

#[test]
fn a_server_that_is_not_there_fails_at_once_and_says_why() {
    let port = free_port();
    let cache = L2Cache::with_options(format!("redis://127.0.0.1:{port}")).unwrap();
    let down = until("the link goes down", || match block_on(cache.get("k")) {
        Err(error) if matches!(cache.state(), LinkState::Down(_)) => Some(error),
        _ => None,
    });
    assert!(down.is_tier(), "{down}");
    assert!(down.to_string().contains("refused"), "{down}");
    assert!(!block_on(cache.health_check()));
}

#[test]
fn a_server_that_dies_and_returns_is_found_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    server.kill();
    let error = until("the loss is noticed", || block_on(cache.get("k")).err());
    assert!(error.is_tier(), "{error}");
    server.restart();
    block_on(cache.ready()).unwrap();
    assert_eq!(until("the tier works again", || block_on(cache.get("k")).ok()), None);
}

#[test]
fn a_killed_connection_is_replaced() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(until("the tier works again", || block_on(cache.get("k")).ok()), Some(bytes("v")));
}

#[test]
fn a_frozen_server_costs_its_callers_their_deadline_and_no_more() {
    let Some(server) = RedisServer::start() else { return };
    let limit = Duration::from_millis(50);
    let cache = L2Cache::with_options(RedisOptions::new(server.url()).response_timeout(limit)).unwrap();
    until("the first write is in time", || block_on(cache.set_with_ttl("k", bytes("v"), TTL)).ok());
    server.stop();
    for _ in 0..10 {
        let error = block_on(cache.get("k")).unwrap_err();
        assert!(error.is_tier() && error.is_timeout(), "{error}");
    }
    let many = block_on(join_all((0..1000).map(|_| cache.get("k"))));
    assert!(many.iter().all(|answer| answer.as_ref().is_err_and(Error::is_timeout)));
    server.cont();
    assert_eq!(until("the tier works again", || block_on(cache.get("k")).ok()), Some(bytes("v")));
}

#[test]
fn a_pattern_removes_what_redis_would_match_and_nothing_else() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    let runtime = Runtime::start().unwrap();
    // The namespace is full of what means something in a pattern.
    cache.attach(&runtime, "n*[a]?\\").unwrap();
    server.command(&["SET", "tc:{nXaY\\.p00}:d:user:1", "not ours"]);
    server.command(&["SET", "user:1", "not ours"]);
    block_on(async {
        for n in 0..1200 {
            cache.set_with_ttl(&format!("user:{n}"), bytes("v"), TTL).await.unwrap();
        }
        for key in ["other", "user*", "h[x]"] {
            cache.set_with_ttl(key, bytes("v"), TTL).await.unwrap();
        }
        cache.remove_pattern("user:*").await.unwrap();
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(5));
        cache.remove_pattern("user\\*").await.unwrap();
        cache.remove_pattern("h\\[x]").await.unwrap();
        cache.remove_pattern("[").await.unwrap();
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(3));
        assert!(cache.get("other").await.unwrap().is_some());
    });
}

#[test]
fn a_password_is_used_and_never_shown() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cr3t-word"]) else { return };
    let port = server.port();
    let good = L2Cache::with_options(format!("redis://:s3cr3t-word@127.0.0.1:{port}")).unwrap();
    block_on(good.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    let mut shown = format!("{good:?}");

    let none = L2Cache::with_options(format!("redis://127.0.0.1:{port}")).unwrap();
    let error = until("NOAUTH is said", || block_on(none.get("k")).err());
    assert!(error.is_tier() && error.to_string().contains("NOAUTH"), "{error}");

    let wrong = L2Cache::with_options(format!("redis://:s3cr3t-other@127.0.0.1:{port}")).unwrap();
    let error = until("the login fails", || {
        block_on(wrong.get("k")).err().filter(|_| matches!(wrong.state(), LinkState::Down(_)))
    });
    shown += &format!("{error} {error:?} {wrong:?} {:?}", wrong.state());

    let options = RedisOptions::new(format!("redis://me:s3cr3t-word@127.0.0.1:{port}"));
    shown += &format!("{options:?} {:?}", options.endpoint());
    for url in [
        "redis://:s3cr3t-x@:::9",
        "redis://u:s3cr3t/x@h",
        "redis://s3cr3t?x@h",
        "rediss://:s3cr3t@h",
        "redis://:s3cr3t@h/x",
    ] {
        let error = L2Cache::with_options(url).unwrap_err();
        assert!(error.is_config(), "{error}");
        shown += &format!("{error} {error:?} {:?}", RedisOptions::new(url));
    }
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn a_bad_setting_is_named() {
    let error = L2Cache::with_options("rediss://h").unwrap_err();
    assert!(error.is_config() && error.to_string().contains("TLS is not part of this build"), "{error}");
    let error = L2Cache::with_options("http://h").unwrap_err();
    assert!(error.is_config() && error.to_string().contains("redis URL"), "{error}");
    let error = L2Cache::with_options(RedisOptions::new("redis://h").response_timeout(Duration::ZERO)).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("response_timeout"), "{error}");
}

#[test]
fn the_variable_is_named_where_it_is_wrong() {
    use std::env::VarError;
    let parse = |variable| RedisOptions::from_variable(variable).and_then(|options| options.endpoint());
    assert_eq!(parse(Err(VarError::NotPresent)).unwrap().to_string(), "127.0.0.1:6379");
    assert_eq!(parse(Ok("redis://:p@h:1/2".into())).unwrap().to_string(), "h:1 db 2");
    let error = parse(Ok("redis://:s3cr3t@".into())).unwrap_err();
    assert!(error.is_config() && error.to_string().starts_with("REDIS_URL: "), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cr3t"));
}

#[test]
fn a_value_that_no_server_takes_is_refused_before_it_is_sent() {
    // Nothing listens here: an error of the tier would mean that sending was tried.
    let cache = L2Cache::with_options(format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let error = block_on(cache.set_with_ttl("k", Bytes::from(vec![0; LARGEST_VALUE + 1]), TTL)).unwrap_err();
    assert!(error.is_too_large() && !error.is_tier(), "{error}");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_as_well() {
    let path = std::env::temp_dir().join(format!("tercel-{}.sock", std::process::id()));
    let Some(_server) = RedisServer::start_with(&["--unixsocket", path.to_str().unwrap()]) else { return };
    let cache = L2Cache::with_options(format!("redis+unix://{}", path.display())).unwrap();
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    assert_eq!(block_on(cache.get("k")).unwrap(), Some(bytes("v")));
}

#[test]
fn a_tier_that_was_used_alone_moves_to_the_cache_that_takes_it() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    assert!(block_on(cache.health_check()));
    let runtime = Runtime::start().unwrap();
    cache.attach(&runtime, "other").unwrap();
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    assert_eq!(server.command(&["EXISTS", "tc:{other.p00}:d:k"]), Answer::Int(1));
}

#[test]
fn a_tier_outlives_the_cache_that_started_it() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    let runtime = Runtime::start().unwrap();
    cache.attach(&runtime, "one").unwrap();
    cache.attach(&runtime, "one").unwrap();
    assert!(cache.attach(&runtime, "two").unwrap_err().is_config());
    block_on(cache.set_with_ttl("k", bytes("v"), TTL)).unwrap();
    block_on(runtime.stop());
    assert_eq!(block_on(cache.get("k")).unwrap(), Some(bytes("v")));
}

#[test]
fn the_last_handle_closes_the_socket() {
    let Some(server) = RedisServer::start() else { return };
    let cache = cache(&server);
    block_on(cache.get("k")).unwrap();
    let clients = || match server.command(&["CLIENT", "LIST"]) {
        Answer::Text(list) => list.lines().count(),
        other => panic!("{other:?}"),
    };
    assert_eq!(clients(), 2);
    drop(cache);
    until("the socket is closed", || (clients() == 1).then_some(()));
}
