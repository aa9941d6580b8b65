//! Redis as the tier below L1: what goes in comes out, in one round trip, and never lives longer than it should.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use faces::{Face, HOUR, MINUTE, eventually, executed, executed_since, faces, name, over, patient};
use futures::executor::block_on;
use proxy::Proxy;
use redis_server::{Answer, RedisServer};
use serde::{Deserialize, Serialize};
use tercel::{BoxError, CacheManager, EntryOptions, L2Cache, Lookup, ManualClock, TierConfig, Value};

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct User {
    id: u64,
    name: String,
    tags: Vec<String>,
    score: Option<f64>,
}

fn user() -> User {
    User { id: 7, name: "Grace".into(), tags: vec!["a".into(), "ü".into()], score: Some(0.1) }
}

/// Every pair of a writer's handle and a reader's.
fn pairs(server: &RedisServer) -> Vec<(Face, Face)> {
    let (one, other) = (over(server), over(server));
    let readers = faces(&other);
    faces(&one).into_iter().flat_map(|writer| readers.clone().map(|reader| (writer.clone(), reader))).collect()
}

#[test]
fn what_one_instance_writes_another_reads() {
    let Some(server) = RedisServer::start() else { return };
    for (n, (writer, reader)) in pairs(&server).into_iter().enumerate() {
        let key = |kind: &str| format!("{kind}:{n}");
        let raw = Bytes::from_static(b"\0raw\xff\r\n");
        writer.set(&key("typed"), Value::encode(&user()).unwrap(), HOUR).unwrap();
        writer.set(&key("raw"), raw.clone(), HOUR).unwrap();
        writer.set(&key("empty"), Bytes::new(), HOUR).unwrap();
        writer.set(&key("text"), "text", HOUR).unwrap();

        assert_eq!(reader.get(&key("typed")).unwrap().unwrap().decode::<User>().unwrap(), user());
        assert_eq!(reader.get(&key("raw")).unwrap().unwrap().as_bytes(), Some(&raw[..]));
        assert_eq!(reader.get(&key("empty")).unwrap().unwrap().as_bytes(), Some(&[][..]));
        assert_eq!(reader.text(&key("text")).unwrap().as_deref(), Some("text"));
        assert_eq!(reader.text(&key("nothing")).unwrap(), None);
    }
}

#[cfg(feature = "json")]
#[test]
fn a_json_document_is_read_as_json_and_as_the_type_it_describes() {
    let Some(server) = RedisServer::start() else { return };
    for (n, (writer, reader)) in pairs(&server).into_iter().enumerate() {
        let key = format!("json:{n}");
        let document = serde_json::json!({"id": 7, "name": "Grace", "tags": ["a", "ü"], "score": 0.1});
        writer.set(&key, document.clone(), HOUR).unwrap();
        let found = reader.get(&key).unwrap().unwrap();
        assert_eq!(serde_json::Value::try_from(&found).unwrap(), document);
        assert_eq!(found.decode::<User>().unwrap(), user());
    }
}

#[test]
fn that_the_source_has_none_is_known_to_every_instance() {
    let Some(server) = RedisServer::start() else { return };
    for (n, (writer, reader)) in pairs(&server).into_iter().enumerate() {
        let key = format!("absent:{n}");
        let options = EntryOptions::new().negative_ttl(HOUR);
        assert_eq!(writer.compute(&key, &options, || Ok(None::<String>)).unwrap(), None);
        assert_eq!(reader.lookup(&key).unwrap(), Lookup::Absent);
        let known = reader.compute(&key, &options, || -> Result<Option<String>, BoxError> { panic!("is known") });
        assert_eq!(known.unwrap(), None);
    }
}

#[test]
fn a_computed_value_is_computed_once_for_all_instances() {
    let Some(server) = RedisServer::start() else { return };
    for (n, (writer, reader)) in pairs(&server).into_iter().enumerate() {
        let key = format!("computed:{n}");
        writer.compute(&key, HOUR, || Ok("once")).unwrap();
        let found = reader.compute(&key, HOUR, || -> Result<String, BoxError> { panic!("is there") });
        assert_eq!(found.unwrap(), Some("once".into()));
    }
}

#[test]
fn a_hit_is_one_get_and_one_pttl_and_no_other_command() {
    let Some(server) = RedisServer::start() else { return };
    over(&server).into_blocking().set_with_strategy("k", "v", HOUR).unwrap();
    let exactly = |get: u64| BTreeMap::from([("get".to_owned(), get), ("pttl".to_owned(), get)]);
    for face in faces(&over(&server)) {
        let before = executed(&server);
        assert_eq!(face.text("k").unwrap().as_deref(), Some("v"));
        assert_eq!(face.text("k").unwrap().as_deref(), Some("v"));
        // The first of the two handles found it below, and left it in L1 for everybody.
        let expected = if matches!(face, Face::Tasks(_)) { exactly(1) } else { BTreeMap::new() };
        assert_eq!(executed_since(&server, &before), expected);
    }
    for face in faces(&over(&server).with_defaults(EntryOptions::new().skip_tier(1))) {
        let before = executed(&server);
        assert_eq!(face.text("k").unwrap().as_deref(), Some("v"));
        face.compute("k", HOUR, || -> Result<String, BoxError> { panic!("is there") }).unwrap();
        assert!(matches!(face.lookup("k").unwrap(), Lookup::Hit { tier: 2, .. }));
        assert_eq!(executed_since(&server, &before), exactly(3));
    }
}

#[test]
fn a_hit_is_one_round_trip() {
    let Some(server) = RedisServer::start() else { return };
    over(&server).into_blocking().set_with_strategy("k", "v", HOUR).unwrap();
    let proxy = Proxy::to(server.port());
    // As a tier of its own it has one connection: none for streams.
    let tier = block_on(L2Cache::with_url(&proxy.url())).unwrap();
    let cache = CacheManager::builder().tier(Arc::new(tier), TierConfig::as_l2()).build().unwrap();
    block_on(cache.ready()).unwrap();
    assert_eq!(proxy.connections(), 1);
    let cache = cache.with_defaults(EntryOptions::new().skip_tier(1));
    for face in faces(&cache) {
        let before = proxy.turns();
        for _ in 0..10 {
            assert_eq!(face.text("k").unwrap().as_deref(), Some("v"));
        }
        assert_eq!(proxy.turns() - before, 10);
    }
}

#[test]
fn a_write_is_one_set_and_a_removal_one_unlink() {
    let Some(server) = RedisServer::start() else { return };
    let one = |command: &str| BTreeMap::from([(command.to_owned(), 1u64)]);
    for face in faces(&over(&server)) {
        let before = executed(&server);
        face.set("k", "v", HOUR).unwrap();
        assert_eq!(executed_since(&server, &before), one("set"));
        let before = executed(&server);
        face.invalidate("k").unwrap();
        assert_eq!(executed_since(&server, &before), one("unlink"));
    }
}

#[test]
fn a_promoted_copy_never_outlives_its_source() {
    let Some(server) = RedisServer::start() else { return };
    let writer = over(&server).into_blocking();
    for n in 0..2 {
        let key = format!("k{n}");
        let clock = Arc::new(ManualClock::new());
        let cache = patient(&server.url()).clock(clock.clone()).build().unwrap();
        block_on(cache.ready()).unwrap();
        let face = &faces(&cache)[n];
        writer.set_with_strategy(&key, "v", HOUR).unwrap();
        server.command(&["PEXPIRE", &name(&key), "600000"]);
        assert_eq!(face.text(&key).unwrap().as_deref(), Some("v"));
        clock.advance(Duration::from_secs(300));
        assert!(face.peek(&key).is_some(), "it is promoted for what is left, not for less");
        clock.advance(Duration::from_secs(300));
        assert_eq!(face.peek(&key), None);
    }
}

#[test]
fn promoting_leaves_the_life_in_redis_as_it_is() {
    let Some(server) = RedisServer::start() else { return };
    over(&server).into_blocking().set_with_strategy("k", "v", HOUR).unwrap();
    server.command(&["PEXPIRE", &name("k"), "600000"]);
    for face in faces(&over(&server)) {
        face.get("k").unwrap();
        let Answer::Int(left) = server.command(&["PTTL", &name("k")]) else { panic!("PTTL answers a number") };
        assert!((1..=600_000).contains(&left), "{left}");
    }
}

#[test]
fn the_shortest_life_ends_and_the_longest_does_not_overflow() {
    let Some(server) = RedisServer::start() else { return };
    let reader = over(&server).into_blocking();
    for (n, face) in faces(&over(&server)).into_iter().enumerate() {
        for nanos in [1, 999_999, 1_000_000, 1_000_001] {
            let key = format!("short:{n}:{nanos}");
            face.set(&key, "v", Duration::from_nanos(nanos)).unwrap();
            eventually("it is gone from Redis", || server.command(&["EXISTS", &name(&key)]) == Answer::Int(0));
            eventually("it is gone from L1", || face.get(&key).unwrap().is_none());
        }
        for (m, ttl) in [
            Duration::MAX,
            Duration::from_secs(u64::MAX),
            Duration::from_millis(i64::MAX as u64),
            Duration::from_millis(u64::MAX),
            Duration::from_secs(100 * 365 * 86_400),
        ]
        .into_iter()
        .enumerate()
        {
            let key = format!("long:{n}:{m}");
            face.set(&key, "v", ttl).unwrap();
            let Answer::Int(left) = server.command(&["PTTL", &name(&key)]) else { panic!("PTTL answers a number") };
            assert!(left > 99 * 365 * 86_400_000, "{ttl:?} became {left} ms");
            assert_eq!(reader.get_typed::<String>(&key).unwrap().as_deref(), Some("v"), "{ttl:?}");
        }
    }
}

#[test]
fn a_life_of_nothing_stores_nothing_and_removes_what_is_there() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        face.set("k", "old", HOUR).unwrap();
        face.set("k", "new", Duration::ZERO).unwrap();
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(0));
        assert_eq!(face.get("k").unwrap(), None);
    }
}

#[test]
fn any_bytes_make_a_key_and_none_of_them_means_anything() {
    let Some(server) = RedisServer::start() else { return };
    let long = "k".repeat(64 << 10);
    let keys = [
        "nul\0nul",
        "new\nline",
        "cr\r\nlf",
        "{braces}",
        "}{",
        "*",
        "?",
        "[a-z]",
        "[",
        "\\",
        "\\*",
        " ",
        "a b",
        "ключ",
        "🦀",
        "$-1",
        "'\"",
        "tc:{tercel.p00}:d:k",
        &long,
    ];
    for (writer, reader) in pairs(&server) {
        for key in keys {
            writer.set(key, key, HOUR).unwrap();
            assert_eq!(server.command(&["EXISTS", &name(key)]), Answer::Int(1), "{key:?}");
        }
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(keys.len() as i64));
        for key in keys {
            assert_eq!(reader.text(key).unwrap().as_deref(), Some(key));
        }
        for (n, key) in keys.into_iter().enumerate() {
            writer.invalidate(key).unwrap();
            assert_eq!(writer.get(key).unwrap(), None, "{key:?}");
            assert_eq!(
                server.command(&["DBSIZE"]),
                Answer::Int((keys.len() - n - 1) as i64),
                "{key:?} took another along"
            );
        }
        for key in keys {
            reader.invalidate(key).unwrap();
        }
    }
}

#[test]
fn the_counters_of_the_tier_add_up() {
    let Some(server) = RedisServer::start() else { return };
    over(&server).into_blocking().set_with_strategy("k", "v", MINUTE).unwrap();
    let cache = over(&server);
    let [tasks, threads] = faces(&cache);
    assert!(tasks.get("k").unwrap().is_some());
    assert!(threads.get("k").unwrap().is_some());
    assert!(threads.get("nothing").unwrap().is_none());
    let tiers = cache.get_tier_stats().unwrap();
    assert_eq!((tiers[1].hits, tiers[1].misses, tiers[1].errors, tiers[1].skipped), (1, 1, 0, 0));
    let stats = cache.get_stats();
    assert_eq!((stats.l1_hits, stats.l2_hits, stats.misses, stats.promotions, stats.total_requests), (1, 1, 1, 1, 3));
    cache.validate().unwrap();
}
