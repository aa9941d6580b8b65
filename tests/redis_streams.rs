//! Redis Streams through the cache: what is published is read, and whoever waits for more delays nobody.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use faces::{Face, HOUR, eventually, faces, over, over_with_deadlines};
use futures::executor::block_on;
use futures::future::{Either, select};
use redis_server::{Answer, RedisServer};
use tercel::{CacheManager, L2Cache, RedisStreams, StreamEntry, StreamingBackend, TierConfig};

/// How many clients wait in a blocking read.
fn waiting(server: &RedisServer) -> usize {
    let Answer::Text(clients) = server.command(&["CLIENT", "LIST"]) else { panic!("CLIENT LIST answers a text") };
    clients.lines().filter(|line| line.split(' ').any(|word| word.starts_with("flags=") && word.contains('b'))).count()
}

fn connections(server: &RedisServer) -> usize {
    let Answer::Text(clients) = server.command(&["CLIENT", "LIST", "TYPE", "normal"]) else { panic!("a text") };
    clients.lines().filter(|line| !line.is_empty()).count()
}

fn field(entry: &StreamEntry) -> &str {
    &entry.1[0].1
}

#[test]
fn what_is_published_is_read_in_order_by_every_instance() {
    let Some(server) = RedisServer::start() else { return };
    let (one, other) = (over(&server), over(&server));
    for (n, (here, there)) in faces(&one).into_iter().zip(faces(&other)).enumerate() {
        let stream = format!("stream:{n}");
        let ids: Vec<String> = (0..10)
            .map(|n| here.publish(&stream, &[("n", &n.to_string()), ("text", "ü\0\n")], None).unwrap())
            .collect();
        let all = there.read(&stream, "0", 100, None).unwrap();
        assert_eq!(all.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), ids);
        let expected = vec![("n".to_owned(), "3".to_owned()), ("text".to_owned(), "ü\0\n".to_owned())];
        assert_eq!(all[3].1, expected);
        assert_eq!(there.read(&stream, &ids[6], 2, None).unwrap(), all[7..9]);
        assert_eq!(there.read(&stream, &ids[9], 100, None).unwrap(), []);
        let latest = there.read_latest(&stream, 3).unwrap();
        assert_eq!(latest.iter().map(field).collect::<Vec<_>>(), ["9", "8", "7"]);
        assert_eq!(there.read_latest("no such stream", 3).unwrap(), []);
        assert_eq!(there.read("no such stream", "0", 3, None).unwrap(), []);
        // The key of a stream is the caller's own, as it stands.
        assert_eq!(server.command(&["XLEN", &stream]), Answer::Int(10));
    }
}

#[test]
fn a_bounded_stream_forgets_its_oldest() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        server.command(&["DEL", "s"]);
        for n in 0..500 {
            face.publish("s", &[("n", &n.to_string())], Some(100)).unwrap();
        }
        let Answer::Int(length) = server.command(&["XLEN", "s"]) else { panic!("XLEN answers a number") };
        assert!((100..=300).contains(&length), "about a hundred, not {length}");
        assert_eq!(field(&face.read_latest("s", 1).unwrap()[0]), "499");
    }
}

#[test]
fn a_read_that_waits_delays_no_cache_operation() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    for reader in faces(&cache) {
        for worker in faces(&cache) {
            let (done, ended) = mpsc::channel();
            let waiter = reader.clone();
            let thread = thread::spawn(move || done.send(waiter.read("s", "$", 10, Some(5_000))));
            eventually("the read waits at the server", || waiting(&server) == 1);
            for n in 0..250 {
                let key = format!("k{n}");
                worker.set(&key, "v", HOUR).unwrap();
                worker.compute(&format!("c{n}"), HOUR, || Ok("v")).unwrap();
                worker.publish("another", &[("n", "1")], Some(10)).unwrap();
                worker.invalidate(&key).unwrap();
            }
            assert_eq!(waiting(&server), 1, "a thousand operations later it still waits");
            assert!(matches!(ended.try_recv(), Err(mpsc::TryRecvError::Empty)));
            worker.publish("s", &[("n", "7")], None).unwrap();
            let read = ended.recv().unwrap().unwrap();
            assert_eq!(read.iter().map(field).collect::<Vec<_>>(), ["7"]);
            thread.join().unwrap().unwrap();
            eventually("nobody waits", || waiting(&server) == 0);
            worker.invalidate_pattern("*").unwrap();
        }
    }
}

#[test]
fn many_reads_wait_at_once() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    let readers: Vec<_> = (0..16)
        .map(|n| {
            let face = faces(&cache)[n % 2].clone();
            thread::spawn(move || face.read("s", "$", 10, Some(60_000)))
        })
        .collect();
    eventually("all wait at the server", || waiting(&server) == 16);
    faces(&cache)[0].publish("s", &[("n", "7")], None).unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap().len(), 1);
    }
    eventually("a few connections are kept for the next", || connections(&server) <= 2 + 4 + 1);
}

#[test]
fn a_wait_without_end_ends_with_the_first_entry() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    for face in faces(&cache) {
        let waiter = face.clone();
        let thread = thread::spawn(move || waiter.read("s", "$", 10, Some(0)));
        eventually("the read waits at the server", || waiting(&server) == 1);
        face.publish("s", &[("n", "7")], None).unwrap();
        assert_eq!(thread.join().unwrap().unwrap().len(), 1);
    }
}

#[test]
fn a_wait_that_nothing_ends_returns_nothing() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        assert_eq!(face.read("s", "$", 10, Some(1)).unwrap(), []);
    }
}

#[test]
fn a_wait_that_is_dropped_frees_its_connection() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    eventually("the connections are made", || connections(&server) == 2 + 1);
    for _ in 0..3 {
        let mut read = Box::pin(cache.read_stream("s", "$", 10, Some(60_000)));
        let polled = block_on(select(&mut read, futures::future::ready(())));
        assert!(matches!(polled, Either::Right(_)));
        eventually("the read waits at the server", || waiting(&server) == 1);
        drop(polled);
        drop(read);
        eventually("its connection is gone", || connections(&server) == 2 + 1);
    }
    faces(&cache)[0].publish("s", &[("n", "7")], None).unwrap();
}

#[test]
fn a_wait_ends_with_the_cache() {
    let Some(server) = RedisServer::start() else { return };
    for n in 0..2 {
        let cache = over(&server);
        let waiter = faces(&cache)[n].clone();
        let thread = thread::spawn(move || waiter.read("s", "$", 10, Some(60_000)));
        eventually("the read waits at the server", || waiting(&server) == 1);
        block_on(cache.close()).unwrap();
        assert!(thread.join().unwrap().unwrap_err().is_closed());
        eventually("nobody waits", || waiting(&server) == 0);
        assert!(faces(&cache)[n].publish("s", &[("n", "7")], None).unwrap_err().is_closed());
    }
}

#[test]
fn a_server_that_dies_under_a_wait_is_an_error_and_not_an_empty_answer() {
    let Some(mut server) = RedisServer::start() else { return };
    for face in faces(&over_with_deadlines(&server)) {
        let waiter = face.clone();
        let thread = thread::spawn(move || waiter.read("s", "$", 10, Some(60_000)));
        eventually("the read waits at the server", || waiting(&server) == 1);
        server.kill();
        assert!(thread.join().unwrap().unwrap_err().is_tier());
        assert!(face.publish("s", &[("n", "7")], None).unwrap_err().is_tier());
        assert!(face.read_latest("s", 1).unwrap_err().is_tier());
        server.restart();
        eventually("streams work again", || face.publish("s", &[("n", "7")], None).is_ok());
    }
}

#[test]
fn what_is_no_stream_is_an_error_that_says_so() {
    let Some(server) = RedisServer::start() else { return };
    server.command(&["SET", "text", "v"]);
    for face in faces(&over(&server)) {
        for error in [
            face.publish("text", &[("n", "7")], None).unwrap_err(),
            face.read_latest("text", 1).unwrap_err(),
            face.read("text", "0", 1, None).unwrap_err(),
            face.read("text", "0", 1, Some(10)).unwrap_err(),
        ] {
            assert!(error.is_tier() && error.to_string().contains("WRONGTYPE"), "{error}");
        }
        assert!(face.read("text", "no id", 1, None).unwrap_err().is_tier());
        assert!(face.publish("s", &[], None).unwrap_err().is_tier(), "an entry has a field");
    }
}

#[test]
fn without_a_backend_streams_are_unsupported() {
    for face in faces(&CacheManager::default()) {
        assert!(face.publish("s", &[("n", "7")], None).unwrap_err().is_unsupported());
        assert!(face.read_latest("s", 1).unwrap_err().is_unsupported());
        assert!(face.read("s", "0", 1, None).unwrap_err().is_unsupported());
    }
}

#[test]
fn streams_may_live_on_a_server_of_their_own() {
    let (Some(values), Some(streams)) = (RedisServer::start(), RedisServer::start()) else { return };
    let backend: Arc<dyn StreamingBackend> = Arc::new(block_on(RedisStreams::new(&streams.url())).unwrap());
    let tier = Arc::new(block_on(L2Cache::with_url(&values.url())).unwrap());
    let cache = CacheManager::builder().tier(tier, TierConfig::as_l2()).streams(backend).build().unwrap();
    for face in faces(&cache) {
        face.publish("s", &[("n", "7")], None).unwrap();
        face.set("k", "v", HOUR).unwrap();
        assert_eq!(values.command(&["EXISTS", "s"]), Answer::Int(0));
        assert_eq!(streams.command(&["DBSIZE"]), Answer::Int(1));
    }
}

#[test]
fn consumer_groups_hand_each_entry_to_one_consumer() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    let streams = block_on(RedisStreams::new(&server.url())).unwrap();
    block_on(streams.stream_create_group("s", "g", "0")).unwrap();
    block_on(streams.stream_create_group("s", "g", "0")).unwrap();
    let [tasks, threads]: [Face; 2] = faces(&cache);
    tasks.publish("s", &[("n", "1")], None).unwrap();
    threads.publish("s", &[("n", "2")], None).unwrap();
    let first = block_on(streams.stream_read_group("s", "g", "a", 1, None)).unwrap();
    let second = block_on(streams.stream_read_group("s", "g", "b", 10, Some(10))).unwrap();
    assert_eq!((field(&first[0]), field(&second[0])), ("1", "2"));
    let ids: Vec<String> = first.iter().chain(&second).map(|(id, _)| id.clone()).collect();
    block_on(streams.stream_ack("s", "g", &ids)).unwrap();
    let Answer::List(pending) = server.command(&["XPENDING", "s", "g"]) else { panic!("a list") };
    assert_eq!(pending[0], Answer::Int(0));
}
