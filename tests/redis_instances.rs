//! Several instances over one server: what one changes the others stop serving, and hearing of it costs the server nothing.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::collections::BTreeMap;
use std::sync::Arc;

use faces::{Face, HOUR, eventually, executed, executed_since, faces, patient};
use futures::executor::block_on;
use redis_server::{Answer, RedisServer};
use tercel::{CacheManager, InvalidationConfig, InvalidationStats, L1Cache, L2Cache, blocking};

fn quiet() -> InvalidationConfig {
    InvalidationConfig::default()
}

/// A server on which something has been changed before: the first change of all is one that nobody knows to be the first.
fn begun() -> Option<RedisServer> {
    let server = RedisServer::start()?;
    let cache = built(&server.url(), quiet());
    block_on(cache.invalidate("first")).unwrap();
    block_on(cache.close()).unwrap();
    Some(server)
}

fn built(url: &str, config: InvalidationConfig) -> CacheManager {
    let cache = patient(url).invalidation(config).build().unwrap();
    block_on(cache.ready()).unwrap();
    cache
}

fn constructed(url: &str, config: InvalidationConfig) -> CacheManager {
    let cache = block_on(async {
        let l2 = Arc::new(L2Cache::with_url(url).await?);
        CacheManager::new_with_invalidation(Arc::new(L1Cache::new()?), l2, url, config).await
    });
    let cache = cache.unwrap();
    block_on(cache.ready()).unwrap();
    cache
}

fn constructed_for_threads(url: &str, config: InvalidationConfig) -> CacheManager {
    let l2 = Arc::new(block_on(L2Cache::with_url(url)).unwrap());
    let l1 = Arc::new(L1Cache::new().unwrap());
    let cache = blocking::CacheManager::new_with_invalidation(l1, l2, url, config).unwrap();
    cache.ready().unwrap();
    cache.as_async().clone()
}

fn heard(cache: &CacheManager) -> InvalidationStats {
    cache.get_invalidation_stats().unwrap()
}

/// Waits until `to` has heard everything that `from` announced before: messages keep their order.
fn settle(from: &CacheManager, to: &CacheManager) {
    let marker = format!("marker:{}", fastrand::u64(..));
    let (from, to) = (from.clone().into_blocking(), to.clone().into_blocking());
    // Not written by `from`, so that hearing of it is what takes it out of L1.
    to.set_with_strategy(&marker, "v", HOUR).unwrap();
    from.invalidate(&marker).unwrap();
    eventually("the marker is heard of", || to.peek(&marker).is_none());
}

#[test]
fn every_kind_of_change_reaches_the_others() {
    let Some(server) = begun() else { return };
    type Make = fn(&str, InvalidationConfig) -> CacheManager;
    for make in [built as Make, constructed, constructed_for_threads] {
        let (one, other) = (make(&server.url(), quiet()), make(&server.url(), quiet()));
        for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
            type Change = fn(&Face);
            let changes: [(&str, Change, Option<&str>); 4] = [
                ("invalidate", |face| face.invalidate("k").unwrap(), None),
                ("update_cache", |face| face.update("k", "new", Some(HOUR)).unwrap(), Some("new")),
                ("set_with_broadcast", |face| face.broadcast("k", "newer", HOUR).unwrap(), Some("newer")),
                ("invalidate_pattern", |face| face.invalidate_pattern("[j-l]*").unwrap(), None),
            ];
            for (what, change, then) in changes {
                here.set("k", "old", HOUR).unwrap();
                settle(&one, &other);
                there.invalidate("k").unwrap();
                here.set("k", "old", HOUR).unwrap();
                assert_eq!(there.text("k").unwrap().as_deref(), Some("old"));
                assert!(there.peek("k").is_some(), "it is in the other's L1");
                change(&here);
                eventually(&format!("{what} is heard of"), || there.peek("k").is_none());
                assert_eq!(there.text("k").unwrap().as_deref(), then, "{what}");
                assert_eq!(here.text("k").unwrap().as_deref(), then, "{what}");
            }
        }
    }
}

#[test]
fn a_plain_write_is_announced_only_where_every_write_is() {
    let Some(server) = begun() else { return };
    for announces in [false, true] {
        let config = InvalidationConfig { auto_broadcast_on_write: announces, ..quiet() };
        let (one, other) = (built(&server.url(), config.clone()), built(&server.url(), config));
        for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
            here.set("k", "old", HOUR).unwrap();
            settle(&one, &other);
            there.text("k").unwrap();
            here.set("k", "new", HOUR).unwrap();
            settle(&one, &other);
            let expected = if announces { "new" } else { "old" };
            assert_eq!(there.text("k").unwrap().as_deref(), Some(expected), "auto_broadcast_on_write: {announces}");
            settle(&other, &one);
            there.invalidate("k").unwrap();
            eventually("it is heard of", || here.peek("k").is_none());
        }
    }
}

#[test]
fn an_instance_does_not_hear_itself() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()), built(&server.url(), quiet()));
    for face in faces(&one) {
        let before = heard(&one);
        face.broadcast("k", "v", HOUR).unwrap();
        // What the server sent to this instance before the other's word has arrived by then.
        settle(&other, &one);
        assert!(face.peek("k").is_some(), "its own word does not take its own value");
        let after = heard(&one);
        assert_eq!(after.messages_sent - before.messages_sent, 1);
        assert_eq!(after.messages_received - before.messages_received, 1, "the other's, and not its own");
    }
}

#[test]
fn every_message_is_counted_as_what_it_is() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()), built(&server.url(), quiet()));
    let before = heard(&other);
    assert_eq!((before.messages_sent, before.messages_received, before.processing_errors), (0, 0, 0));
    for (n, face) in faces(&one).iter().enumerate() {
        let n = n as u64 + 1;
        for _ in 0..3 {
            face.invalidate("k").unwrap();
        }
        face.update("k", "v", None).unwrap();
        face.broadcast("k", "v", HOUR).unwrap();
        face.invalidate_pattern("k*").unwrap();
        let before = heard(&other).processing_errors;
        for foreign in [&b""[..], b"hello", b"\x01", &[0xff; 100]] {
            server.command_bytes(&[b"PUBLISH", b"tc:{cache:invalidate.p00}:inv", foreign]);
        }
        eventually("everything is heard", || {
            let heard = heard(&other);
            heard.patterns_received == n && heard.processing_errors == before + 4
        });
        let heard = heard(&other);
        assert_eq!(heard.messages_received, 6 * n);
        assert_eq!((heard.removes_received, heard.updates_received, heard.bulk_removes_received), (3 * n, 2 * n, 0));
        assert_eq!(one.get_invalidation_stats().unwrap().messages_sent, 6 * n);
    }
    assert_eq!(CacheManager::default().get_invalidation_stats(), None);
}

#[test]
fn receivers_ask_the_server_for_nothing() {
    let Some(server) = begun() else { return };
    let one = built(&server.url(), quiet());
    let others: Vec<CacheManager> = (0..3).map(|_| built(&server.url(), quiet())).collect();
    for face in faces(&one) {
        for n in 0..50 {
            face.set(&format!("k{n}"), "v", HOUR).unwrap();
            for other in &others {
                block_on(other.get(&format!("k{n}"))).unwrap();
            }
        }
        let before = executed(&server);
        let messages: Vec<u64> = others.iter().map(|other| heard(other).messages_received).collect();
        for n in 0..50 {
            face.invalidate(&format!("k{n}")).unwrap();
        }
        face.invalidate_pattern("nothing*").unwrap();
        for (other, before) in others.iter().zip(messages) {
            eventually("everything is heard", || heard(other).messages_received == before + 51);
            assert!((0..50).all(|n| other.peek(&format!("k{n}")).is_none()));
        }
        let done: BTreeMap<String, u64> = executed_since(&server, &before);
        let calls = |name: &str| done.get(name).copied().unwrap_or(0);
        assert_eq!((calls("publish"), calls("unlink")), (51, 50), "one word for each change: {done:?}");
        // A script that the server does not know yet is sent again, with its text.
        assert!((51..=55).contains(&(calls("evalsha") + calls("eval"))), "{done:?}");
        // The removal of a key looks at it for a hold; nobody else looks at any. Whoever has invalidated a pattern walks the
        // keys, in the background, to free memory; those who hear of it do not.
        assert_eq!(calls("getrange"), 50, "{done:?}");
        assert!(calls("scan") <= 1, "{done:?}");
        for never in ["keys", "mget", "pttl", "hgetall"] {
            assert_eq!(calls(never), 0, "{never}: {done:?}");
        }
    }
}

/// Whoever was away when a message was sent never gets it, and reads it from the log when it is back.
#[test]
fn an_instance_that_missed_a_message_reads_it_from_the_log_when_it_hears_again() {
    let Some(server) = begun() else { return };
    server.command(&["ACL", "SETUSER", "listener", "on", ">pw", "~*", "&*", "+@all"]);
    let one = built(&server.url(), quiet());
    let other = built(&format!("redis://listener:pw@127.0.0.1:{}", server.port()), quiet());
    for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
        here.broadcast("k", "old", HOUR).unwrap();
        settle(&one, &other);
        assert_eq!(there.text("k").unwrap().as_deref(), Some("old"));
        // Its subscription ends, and may not begin again for now.
        server.command(&["ACL", "SETUSER", "listener", "resetchannels"]);
        eventually("it knows that it does not hear", || block_on(other.health_check()).invalidation.is_some());
        assert!(there.peek("k").is_some());
        let before = heard(&other).replayed;
        here.broadcast("k", "new", HOUR).unwrap();
        assert_eq!(there.text("k").unwrap().as_deref(), Some("old"), "the message was missed");
        server.command(&["ACL", "SETUSER", "listener", "allchannels"]);
        eventually("the old value is gone", || there.peek("k").is_none());
        assert_eq!(there.text("k").unwrap().as_deref(), Some("new"));
        assert!(heard(&other).replayed > before, "the message itself never came");
        eventually("it is healthy again", || block_on(other.health_check()).is_healthy());
    }
}

#[test]
fn a_killed_subscription_is_made_anew_and_loses_nothing() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()), built(&server.url(), quiet()));
    for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
        there.set("stays", "v", HOUR).unwrap();
        for _ in 0..5 {
            there.set("k", "v", HOUR).unwrap();
            assert_ne!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), Answer::Int(0));
            here.invalidate("k").unwrap();
            eventually("the change is known", || there.peek("k").is_none());
            assert_eq!(there.text("k").unwrap(), None);
        }
        eventually("what has not changed is used as before", || there.peek("stays").is_some());
    }
}

/// A change that the server refused is told once it was repaired: whoever used the old value until then has to forget it.
#[test]
fn what_was_used_until_a_change_was_repaired_does_not_stay() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()), built(&server.url(), quiet()));
    for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
        type Change = (&'static str, fn(&Face) -> tercel::Result<()>, &'static [&'static str]);
        let changes: [Change; 3] = [
            ("invalidate", |face| face.invalidate("k"), &["-@write", "-@scripting", "-@transaction"]),
            (
                "set_with_broadcast",
                |face| face.broadcast("k", "new", HOUR),
                &["-@write", "-@scripting", "-@transaction"],
            ),
            ("invalidate_pattern", |face| face.invalidate_pattern("k*"), &["-@write", "-@scripting", "-@transaction"]),
        ];
        for (what, change, denied) in changes {
            here.broadcast("k", "old", HOUR).unwrap();
            settle(&one, &other);
            assert_eq!(there.text("k").unwrap().as_deref(), Some("old"));
            server.command(&[&["ACL", "SETUSER", "default"], denied].concat());
            assert!(change(&here).unwrap_err().is_partial_write(), "{what}");
            // Nobody was told, and the server still has the old value: the other instance is free to use it.
            assert_eq!(there.text("k").unwrap().as_deref(), Some("old"), "{what}");
            assert_ne!(here.text("k").unwrap().as_deref(), Some("old"), "{what}");
            server.command(&["ACL", "SETUSER", "default", "+@all"]);
            eventually(&format!("{what} is repaired"), || one.get_stats().pending_repairs == 0);
            eventually(&format!("{what} is heard of"), || there.peek("k").is_none());
            assert_ne!(there.text("k").unwrap().as_deref(), Some("old"), "{what}");
        }
    }
}

#[test]
fn the_audit_stream_says_what_was_announced() {
    let Some(server) = begun() else { return };
    let config = InvalidationConfig {
        enable_audit_stream: true,
        audit_stream: "audit".into(),
        audit_stream_maxlen: Some(1_000),
        ..quiet()
    };
    let one = built(&server.url(), config);
    let plain = built(&server.url(), quiet());
    for face in faces(&one) {
        server.command(&["DEL", "audit"]);
        face.invalidate("a").unwrap();
        face.update("b", "v", None).unwrap();
        face.broadcast("c", "v", HOUR).unwrap();
        face.invalidate_pattern("d*").unwrap();
        face.set("e", "v", HOUR).unwrap();
        // An instance that keeps no log adds nothing to another's.
        block_on(plain.invalidate("f")).unwrap();
        let entries = face.read("audit", "0", 100, None).unwrap();
        let said: Vec<(&str, &str)> = entries
            .iter()
            .map(|(_, fields)| {
                assert_eq!(fields.len(), 3, "{fields:?}");
                assert_eq!(
                    (fields[0].0.as_str(), fields[1].0.as_str(), fields[2].0.as_str()),
                    ("type", "key", "origin")
                );
                (fields[0].1.as_str(), fields[1].1.as_str())
            })
            .collect();
        assert_eq!(said, [("remove", "a"), ("update", "b"), ("update", "c"), ("remove_pattern", "d*")]);
        assert!(entries.iter().all(|(_, fields)| fields[2].1 == entries[0].1[2].1), "all are of one origin");
    }
}

#[test]
fn the_audit_stream_is_kept_short() {
    let Some(server) = begun() else { return };
    let config = InvalidationConfig {
        enable_audit_stream: true,
        audit_stream: "audit".into(),
        audit_stream_maxlen: Some(100),
        ..quiet()
    };
    let cache = built(&server.url(), config).into_blocking();
    for n in 0..1_000 {
        cache.invalidate(&format!("k{n}")).unwrap();
    }
    let Answer::Int(length) = server.command(&["XLEN", "audit"]) else { panic!("XLEN answers a number") };
    assert!((100..400).contains(&length), "about a hundred, not {length}");
}

#[test]
fn caches_of_different_names_neither_share_values_nor_hear_each_other() {
    let Some(server) = begun() else { return };
    let named = |name: &str| built(&server.url(), InvalidationConfig { channel: name.into(), ..quiet() });
    let (a, b) = (named("a"), named("b"));
    for (here, there) in faces(&a).into_iter().zip(faces(&b)) {
        here.set("k", "of a", HOUR).unwrap();
        there.set("k", "of b", HOUR).unwrap();
        here.invalidate("k").unwrap();
        here.invalidate_pattern("*").unwrap();
        assert_eq!(here.text("k").unwrap(), None);
        assert_eq!(there.text("k").unwrap().as_deref(), Some("of b"));
        assert_eq!(heard(&b).messages_received, 0);
        there.invalidate("k").unwrap();
    }
}

#[test]
fn what_is_loaded_after_a_change_of_many_is_resident_and_shared() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()), built(&server.url(), quiet()));
    let (one, other) = (one.into_blocking(), other.into_blocking());
    let tagged = || tercel::EntryOptions::from(HOUR).tags(["red"]);
    let load = |cache: &blocking::CacheManager, key: &str, text: &'static str| {
        cache.get_or_compute_typed(key, tagged(), || tercel::ok(text.to_owned())).unwrap()
    };
    type Many = fn(&blocking::CacheManager);
    let changes: [(&str, Many); 3] = [
        ("clear", |cache| cache.clear().unwrap()),
        ("invalidate_tag", |cache| cache.invalidate_tag("red").unwrap()),
        ("invalidate_pattern", |cache| cache.invalidate_pattern("k*").unwrap()),
    ];
    for (what, change) in changes {
        for round in 0..3 {
            assert_eq!(load(&one, "k", "old"), "old", "{what} {round}");
            assert_eq!(load(&other, "k", "another"), "old", "{what} {round}: one computation for both");
            change(&one);
            assert_eq!(one.get("k").unwrap(), None, "{what} {round}: at once where it was made");
            eventually(&format!("{what} is heard of"), || other.peek("k").is_none());
            assert_eq!(load(&other, "k", "new"), "new", "{what} {round}");
            assert!(other.peek("k").is_some(), "{what} {round}: it is resident");
            assert_eq!(load(&one, "k", "newer"), "new", "{what} {round}");
            assert!(one.peek("k").is_some(), "{what} {round}: it is resident");
            let third = built(&server.url(), quiet()).into_blocking();
            assert!(third.get("k").unwrap().is_some(), "{what} {round}: whoever comes later finds it");
            one.invalidate("k").unwrap();
            eventually("the key is gone", || other.peek("k").is_none());
        }
    }
}

/// The lease is renewed although the closure holds its thread.
#[test]
fn a_closure_that_holds_its_thread_for_longer_than_a_lease_is_stored() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()).into_blocking(), built(&server.url(), quiet()).into_blocking());
    let slow = || {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        tercel::ok("slow".to_owned())
    };
    assert_eq!(one.get_or_compute_typed("k", HOUR, slow).unwrap(), "slow");
    assert!(one.peek("k").is_some());
    assert!(other.get("k").unwrap().is_some());
    assert_eq!(one.get_or_compute_typed("k", HOUR, || tercel::ok("again".to_owned())).unwrap(), "slow");
}

/// What the other instances have taken away stands in for nothing, although the word of it was lost.
#[test]
fn a_value_that_may_be_gone_does_not_stand_in_where_the_server_says_that_it_is() {
    let Some(server) = begun() else { return };
    let (one, other) = (built(&server.url(), quiet()).into_blocking(), built(&server.url(), quiet()).into_blocking());
    let options = || tercel::EntryOptions::from(HOUR).grace(HOUR);
    one.set_with_strategy("k", "old", options()).unwrap();
    assert!(other.get("k").unwrap().is_some() && other.peek("k").is_some());
    let before = heard(other.as_async()).suspects;
    // The sequence goes, and with it what was said under it: nobody knows what has changed.
    one.invalidate("k").unwrap();
    one.set_with_broadcast("k", "old", options()).unwrap();
    assert!(other.get("k").unwrap().is_some());
    server.command(&["DEL", "tc:{cache:invalidate.p00}:seq", "tc:{cache:invalidate.p00}:log"]);
    server.command(&["UNLINK", "tc:{cache:invalidate.p00}:d:k"]);
    eventually("it knows that something may be lost", || heard(other.as_async()).suspects > before);
    let failing = || Err::<String, _>(std::io::Error::other("down"));
    assert!(other.get_or_compute_typed("k", options(), failing).unwrap_err().is_compute());
    assert_eq!(other.get("k").unwrap(), None);
}
