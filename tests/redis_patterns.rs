//! `invalidate_pattern` removes what Redis would match, in every tier, and asks the server for no more than a step at a time.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeSet;
use std::sync::Arc;

use faces::{Face, HOUR, executed, executed_since, faces, name, over, patient};
use futures::executor::block_on;
use redis_server::{Answer, RedisServer};
use tercel::{MemoryTier, TierConfig};

const PIECES: [&str; 20] =
    ["a", "b", "c", "ab", "*", "?", "[", "]", "^", "-", "\\", "{", "}", ":", "é", "\n", "\0", "[a-c]", "[^a]", "\\*"];

fn random(rng: &mut fastrand::Rng, most: usize) -> String {
    (0..rng.usize(1..=most)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect()
}

fn texts(answer: Answer) -> BTreeSet<String> {
    let Answer::List(texts) = answer else { panic!("a list, not {answer:?}") };
    texts.into_iter().map(|text| String::from_utf8(text.into_bytes().expect("a text")).expect("UTF-8")).collect()
}

/// The keys that lie in Redis under the cache's own names.
fn in_redis(server: &RedisServer) -> BTreeSet<String> {
    let prefix = name("");
    let names = texts(server.command(&["KEYS", "*"]));
    names.iter().map(|name| name.strip_prefix(&prefix).expect("a name of the cache's").to_owned()).collect()
}

fn in_l1(face: &Face, keys: &BTreeSet<String>) -> BTreeSet<String> {
    keys.iter().filter(|key| face.peek(key).is_some()).cloned().collect()
}

#[test]
fn what_a_pattern_removes_is_what_redis_matches() {
    let (Some(server), Some(oracle)) = (RedisServer::start(), RedisServer::start()) else { return };
    let mut rng = fastrand::Rng::with_seed(0x7e4c_e100);
    let keys: BTreeSet<String> = (0..60).map(|_| random(&mut rng, 5)).collect();
    for key in &keys {
        oracle.command(&["SET", key, ""]);
    }
    let memory = MemoryTier::new();
    let cache = patient(&server.url()).tier(Arc::new(memory.clone()), TierConfig::as_l3()).build().unwrap();
    block_on(cache.ready()).unwrap();
    let handles = faces(&cache);
    let mut present = BTreeSet::new();
    let (mut some, mut none) = (0, 0);
    for round in 0..400 {
        let face = &handles[round % 2];
        for key in keys.difference(&present) {
            face.set(key, "v", HOUR).unwrap();
        }
        let pattern = random(&mut rng, 4);
        let doomed = texts(oracle.command(&["KEYS", &pattern]));
        face.invalidate_pattern(&pattern).unwrap();
        present = keys.difference(&doomed).cloned().collect();
        assert_eq!(in_l1(face, &keys), present, "L1, {pattern:?}");
        assert_eq!(memory.keys().into_iter().collect::<BTreeSet<_>>(), present, "MemoryTier, {pattern:?}");
        assert_eq!(in_redis(&server), present, "Redis, {pattern:?}");
        if doomed.is_empty() { none += 1 } else { some += 1 }
    }
    assert!(some >= 50 && none >= 50, "the patterns are of both kinds: {some} matched, {none} did not");
    cache.validate().unwrap();
}

#[test]
fn a_namespace_is_text_to_a_pattern_and_bounds_it() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    for face in faces(&cache) {
        for key in ["[a]*:1", "a:1", "[a]x:1", "other"] {
            face.set(key, "v", HOUR).unwrap();
        }
        for face in faces(&cache.namespace("[a]*:")).iter().take(1) {
            face.invalidate_pattern("*").unwrap();
        }
        let left = ["[a]x:1", "a:1", "other"].map(str::to_owned).into();
        assert_eq!(in_redis(&server), left);
        assert_eq!(in_l1(&face, &left), left);
    }
}

#[test]
fn other_peoples_keys_are_never_matched() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        face.set("k", "v", HOUR).unwrap();
        for foreign in ["foreign", "tc:{tercel.p00}:other", "tc:{tercelXp00}:d:k", "tc:{tercel2.p00}:d:k"] {
            server.command(&["SET", foreign, "v"]);
        }
        face.invalidate_pattern("*").unwrap();
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(4));
        assert_eq!(server.command(&["EXISTS", &name("k")]), Answer::Int(0));
    }
}

#[test]
fn many_keys_are_found_in_steps_and_never_by_one_command() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        let script = "for i = 1, 20000 do redis.call('SET', ARGV[1] .. i, 'x') end";
        server.command(&["EVAL", script, "0", &name("many:")]);
        face.set("kept", "v", HOUR).unwrap();
        let before = executed(&server);
        face.invalidate_pattern("many:*").unwrap();
        assert_eq!(server.command(&["DBSIZE"]), Answer::Int(1));
        let commands = executed_since(&server, &before);
        assert!(commands["scan"] >= 20_000 / 1_000, "steps are small: {commands:?}");
        let known: BTreeSet<&str> = commands.keys().map(String::as_str).collect();
        assert_eq!(known, BTreeSet::from(["dbsize", "scan", "unlink"]));
    }
}
