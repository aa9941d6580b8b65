//! Streams against real servers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::executor::block_on;
use futures::future::{Either, select};

use super::super::tests::patient;
use super::super::tests::redis_server::{Answer, RedisServer};
use super::super::{CacheBackend, L2Cache};
use super::*;

fn fields(text: &str) -> Vec<(String, String)> {
    vec![("a".into(), text.into()), ("b".into(), String::new())]
}

fn blocked(server: &RedisServer) -> bool {
    matches!(server.command(&["INFO", "clients"]), Answer::Text(info) if info.contains("blocked_clients:1\r\n"))
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn entries_come_back_as_they_were_written() {
    let Some(server) = RedisServer::start() else { return };
    let streams = RedisStreams::with_options(patient(&server)).unwrap();
    block_on(async {
        assert_eq!(streams.stream_read_latest("s", 5).await.unwrap(), []);
        assert_eq!(streams.stream_read("s", "0", 5, None).await.unwrap(), []);
        assert_eq!(streams.stream_read("s", "0", 5, Some(1)).await.unwrap(), []);
        let first = streams.stream_add("s", fields("x"), None).await.unwrap();
        let second = streams.stream_add("s", fields("ü\n"), Some(1000)).await.unwrap();
        let both = vec![(first.clone(), fields("x")), (second.clone(), fields("ü\n"))];
        assert_eq!(streams.stream_read("s", "0", 5, None).await.unwrap(), both);
        assert_eq!(streams.stream_read("s", "0", 5, Some(60_000)).await.unwrap(), both);
        assert_eq!(streams.stream_read("s", "0", 1, None).await.unwrap(), both[..1]);
        assert_eq!(streams.stream_read("s", "0", 0, None).await.unwrap(), []);
        assert_eq!(streams.stream_read("s", &first, 5, None).await.unwrap(), both[1..]);
        assert_eq!(streams.stream_read_latest("s", 1).await.unwrap(), both[1..]);
        assert!(streams.stream_add("s", Vec::new(), None).await.unwrap_err().is_tier());
    });
    server.command_bytes(&[b"XADD", b"raw", b"*", b"k", b"\xff\xfe"]);
    let raw = block_on(streams.stream_read("raw", "0", 1, None)).unwrap();
    assert_eq!(raw[0].1, [("k".to_owned(), "\u{fffd}\u{fffd}".to_owned())]);
}

#[test]
fn a_stream_is_trimmed_to_about_its_maximum() {
    let Some(server) = RedisServer::start() else { return };
    let streams = RedisStreams::with_options(patient(&server)).unwrap();
    block_on(async {
        for n in 0..500 {
            streams.stream_add("s", fields(&n.to_string()), Some(100)).await.unwrap();
        }
    });
    assert!(matches!(server.command(&["XLEN", "s"]), Answer::Int(100..=300)));
}

#[test]
fn a_group_hands_each_entry_out_once() {
    let Some(server) = RedisServer::start() else { return };
    let streams = RedisStreams::with_options(patient(&server)).unwrap();
    block_on(async {
        streams.stream_create_group("s", "g", "0").await.unwrap();
        streams.stream_create_group("s", "g", "0").await.unwrap();
        let first = streams.stream_add("s", fields("1"), None).await.unwrap();
        let second = streams.stream_add("s", fields("2"), None).await.unwrap();
        let one = streams.stream_read_group("s", "g", "c1", 1, None).await.unwrap();
        let two = streams.stream_read_group("s", "g", "c2", 5, Some(1000)).await.unwrap();
        assert_eq!((one, two), (vec![(first.clone(), fields("1"))], vec![(second.clone(), fields("2"))]));
        assert_eq!(streams.stream_read_group("s", "g", "c1", 5, Some(1)).await.unwrap(), []);
        streams.stream_ack("s", "g", &[first]).await.unwrap();
        streams.stream_ack("s", "g", &[]).await.unwrap();
        let Answer::List(pending) = server.command(&["XPENDING", "s", "g"]) else { panic!("a list") };
        assert_eq!(pending[0], Answer::Int(1));
        assert!(
            streams.stream_read_group("s", "none", "c", 1, None).await.unwrap_err().to_string().contains("NOGROUP")
        );
    });
}

#[test]
fn a_read_that_waits_delays_no_cache_operation_and_hears_the_entry() {
    let Some(server) = RedisServer::start() else { return };
    let cache = L2Cache::with_options(patient(&server)).unwrap();
    let streams = RedisStreams::with_options(patient(&server)).unwrap();
    let runtime = Runtime::start().unwrap();
    cache.attach(&runtime, "n").unwrap();
    streams.attach(&runtime).unwrap();
    let mut waiting = streams.stream_read("s", "$", 10, Some(60_000));
    block_on(async {
        assert!(futures::FutureExt::now_or_never(&mut waiting).is_none());
        wait_for("the read blocks", || blocked(&server));
        for n in 0..100 {
            // On the connection of the read each of these would wait for it to end.
            cache.set_with_ttl(&n.to_string(), Bytes::new(), Duration::from_secs(9)).await.unwrap();
            assert!(cache.get(&n.to_string()).await.unwrap().is_some());
        }
        assert!(blocked(&server), "the operations finished while the read waits");
        let id = streams.stream_add("s", fields("x"), None).await.unwrap();
        assert_eq!(waiting.await.unwrap(), [(id, fields("x"))]);
    });
}

#[test]
fn a_read_without_a_limit_outlasts_the_response_timeout() {
    let Some(server) = RedisServer::start() else { return };
    let streams = RedisStreams::with_options(server.url()).unwrap();
    block_on(async {
        let waiting = streams.stream_read("s", "$", 1, Some(0));
        // Twelve reads that wait for 50 ms each take longer than the timeout.
        let meanwhile = Box::pin(async {
            for _ in 0..12 {
                let _ = streams.stream_read("other", "$", 1, Some(50)).await;
            }
        });
        let Either::Right(((), waiting)) = select(waiting, meanwhile).await else { panic!("the read goes on") };
        server.command(&["XADD", "s", "1-1", "a", "x", "b", ""]);
        assert_eq!(waiting.await.unwrap(), [("1-1".to_owned(), fields("x"))]);
    });
}

#[test]
fn a_read_that_is_dropped_ends_at_the_server() {
    let Some(server) = RedisServer::start() else { return };
    let streams = RedisStreams::with_options(patient(&server)).unwrap();
    let mut waiting = streams.stream_read("s", "$", 1, Some(0));
    assert!(futures::FutureExt::now_or_never(&mut waiting).is_none());
    wait_for("the read blocks", || blocked(&server));
    drop(waiting);
    wait_for("the read ends", || !blocked(&server));
}
