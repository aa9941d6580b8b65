//! Bytes in Redis that are not what the cache wrote: each is a miss that is counted and overwritten, none is ever a value.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use bytes::Bytes;
use faces::{Face, HOUR, faces, name, over};
use redis_server::{Answer, RedisServer};
use tercel::{CacheManager, EntryOptions, Lookup, MissReason, Value};

/// A cache that reads Redis every time.
fn below(server: &RedisServer) -> CacheManager {
    over(server).with_defaults(EntryOptions::new().skip_tier(1))
}

fn plant(server: &RedisServer, key: &str, bytes: &[u8]) {
    assert_eq!(server.command_bytes(&[b"SET", name(key).as_bytes(), bytes]), Answer::Text("OK".into()));
}

fn frame(server: &RedisServer, face: &Face, key: &str, value: impl Into<Value>) -> Vec<u8> {
    face.set(key, value, HOUR).unwrap();
    server.command(&["GET", &name(key)]).into_bytes().expect("the frame is there")
}

/// What lies under `key` now is a miss that is counted, and the next load replaces it.
fn assert_worthless(server: &RedisServer, cache: &CacheManager, face: &Face, key: &str, what: &str) {
    let before = cache.get_stats();
    assert_eq!(face.get(key).unwrap(), None, "{what}");
    assert_eq!(face.lookup(key).unwrap(), Lookup::Miss(MissReason::Codec), "{what}");
    assert_eq!(face.compute(key, HOUR, || Ok("loaded")).unwrap(), Some("loaded".into()), "{what}");
    let after = cache.get_stats();
    assert_eq!(after.codec_misses - before.codec_misses, 3, "{what}");
    assert_eq!(after.computations - before.computations, 1, "{what}");
    let elsewhere = over(server).into_blocking();
    assert_eq!(elsewhere.get_typed::<String>(key).unwrap().as_deref(), Some("loaded"), "{what}");
}

#[test]
fn bytes_of_others_are_a_miss() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    for face in faces(&cache) {
        let good = frame(&server, &face, "k", "value");
        let mut huge = good.clone();
        huge[56..60].fill(0xff);
        let mut layout = good.clone();
        layout[2] = 2;
        let foreign: [&[u8]; 9] = [
            b"",
            b"{\"json\":true}",
            b"T",
            b"TC",
            &[0xff; 1000],
            &[0; 64],
            &huge,
            &layout,
            &[&good[..], b"more"].concat(),
        ];
        for bytes in foreign {
            plant(&server, "k", bytes);
            assert_worthless(&server, &cache, &face, "k", &format!("{bytes:?}"));
        }
    }
}

#[test]
fn every_truncation_is_a_miss() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    for face in faces(&cache) {
        let good = frame(&server, &face, "k", "value");
        for length in 0..good.len() {
            plant(&server, "k", &good[..length]);
            assert_eq!(face.get("k").unwrap(), None, "cut to {length}");
        }
        plant(&server, "k", &good[..good.len() - 1]);
        assert_worthless(&server, &cache, &face, "k", "cut by one");
    }
}

#[test]
fn a_flipped_bit_never_makes_another_value() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    for face in faces(&cache) {
        let good = frame(&server, &face, "k", "value");
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            server.command_bytes(&[b"SET", name("k").as_bytes(), &flipped, b"PX", b"600000"]);
            let found = face.get("k").unwrap();
            // The server's stamps are outside the checksum, and say nothing of the value.
            if (16..32).contains(&(bit / 8)) {
                assert_eq!(found, Some("value".into()), "bit {bit}");
            } else {
                assert_eq!(found, None, "bit {bit}");
            }
        }
    }
}

#[test]
fn a_frame_under_another_key_is_a_miss() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    for face in faces(&cache) {
        for (from, to) in [("a", "b"), ("user:1", "user:2"), ("k", "kk"), ("kk", "k")] {
            for value in [Value::from("theirs"), Value::from(Bytes::from_static(b"theirs"))] {
                let theirs = frame(&server, &face, from, value);
                plant(&server, to, &theirs);
                assert_worthless(&server, &cache, &face, to, &format!("{from} under {to}"));
            }
        }
    }
}

/// The key is covered, so is where it ends: no payload can stand for the end of a key.
#[test]
fn a_key_and_its_payload_cannot_be_cut_elsewhere() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    for face in faces(&cache) {
        let theirs = frame(&server, &face, "ab", Bytes::from_static(b"cd"));
        plant(&server, "abc", &theirs);
        assert_eq!(face.get("abc").unwrap(), None);
        plant(&server, "a", &theirs);
        assert_eq!(face.get("a").unwrap(), None);
    }
}

#[test]
fn a_key_of_another_type_is_a_miss_and_is_overwritten() {
    let Some(server) = RedisServer::start() else { return };
    let cache = below(&server);
    let types: [&[&str]; 5] = [
        &["LPUSH", "NAME", "1"],
        &["SADD", "NAME", "1"],
        &["HSET", "NAME", "f", "1"],
        &["ZADD", "NAME", "1", "m"],
        &["XADD", "NAME", "*", "f", "1"],
    ];
    for face in faces(&cache) {
        for make in types {
            let key = "k";
            server.command(&["DEL", &name(key)]);
            let make: Vec<String> = make.iter().map(|word| word.replace("NAME", &name(key))).collect();
            let answer = server.command(&make.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(!matches!(answer, Answer::Error(_)), "{answer:?}");
            let misses = cache.get_tier_stats().unwrap()[1].misses;
            assert_eq!(face.get(key).unwrap(), None, "{make:?}");
            assert_eq!(cache.get_tier_stats().unwrap()[1].misses, misses + 1, "{make:?}");
            face.compute(key, HOUR, || Ok("loaded")).unwrap();
            assert_eq!(face.text(key).unwrap().as_deref(), Some("loaded"), "{make:?}");
        }
    }
}

#[test]
fn a_key_of_another_type_is_invalidated_like_any_other() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        server.command(&["LPUSH", &name("k"), "1"]);
        face.invalidate("k").unwrap();
        assert_eq!(server.command(&["EXISTS", &name("k")]), Answer::Int(0));
        server.command(&["LPUSH", &name("k"), "1"]);
        face.invalidate_pattern("k*").unwrap();
        assert_eq!(server.command(&["EXISTS", &name("k")]), Answer::Int(0));
    }
}

/// A value that is in order but of another type is no value to a typed load.
#[test]
fn a_document_of_another_type_is_loaded_anew_and_overwritten() {
    let Some(server) = RedisServer::start() else { return };
    over(&server).into_blocking().set_with_strategy("k", "text", HOUR).unwrap();
    let cache = over(&server);
    assert!(cache.clone().into_blocking().get_typed::<u64>("k").unwrap_err().is_codec());
    let n: u64 = cache.clone().into_blocking().get_or_compute_typed("k", HOUR, || tercel::ok(7)).unwrap();
    assert_eq!(n, 7);
    assert_eq!(over(&server).into_blocking().get_typed::<u64>("k").unwrap(), Some(7));
    assert!(cache.get_stats().codec_misses >= 1);
}
