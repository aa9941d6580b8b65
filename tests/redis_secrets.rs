//! A password never appears in a text that the cache makes: not in an error, its sources, a `Debug` or a report.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::error::Error as _;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use faces::{Face, HOUR, faces};
use futures::executor::block_on;
use redis_server::{RedisServer, free_port};
use tercel::{
    CacheManager, CacheTier, Error, InvalidationConfig, L1Cache, L2Cache, RedisOptions, RedisStreams, TierConfig,
    blocking,
};

const SECRET: &str = "s3cret-7f";
/// The same, as it may be written in a URL.
const SPELLED: &str = "s3cret%2D7f";

/// All texts that came up in a test, with what they were made from.
#[derive(Default)]
struct Texts(Vec<String>);

impl Texts {
    fn debug(&mut self, thing: &impl Debug) {
        self.0.push(format!("{thing:?}"));
        self.0.push(format!("{thing:#?}"));
    }

    fn display(&mut self, thing: &impl Display) {
        self.0.push(format!("{thing}"));
        self.0.push(format!("{thing:#}"));
    }

    fn error(&mut self, error: &Error) {
        self.display(error);
        self.debug(error);
        let mut source = error.source();
        while let Some(error) = source {
            self.0.push(format!("{error} {error:?} {error:#?}"));
            source = error.source();
        }
    }

    fn outcome<T: Debug>(&mut self, outcome: Result<T, Error>) {
        match outcome {
            Ok(value) => self.debug(&value),
            Err(error) => self.error(&error),
        }
    }

    fn assert_no_secret(&self, of: &str) {
        assert!(self.0.len() > 10, "there are texts to look at");
        for text in &self.0 {
            assert!(!text.contains(SECRET) && !text.contains(SPELLED), "{of}: {text}");
        }
    }
}

/// Every call that reaches a server, and everything that can be printed of the cache.
fn gather(texts: &mut Texts, cache: &CacheManager) {
    texts.debug(cache);
    texts.debug(&cache.clone().into_blocking());
    for face in faces(cache) {
        texts.debug(&face);
        texts.outcome(face.get("k"));
        texts.outcome(face.lookup("k"));
        texts.outcome(face.compute("k", HOUR, || Ok("v")));
        texts.outcome(face.set("k", "v", HOUR));
        texts.outcome(face.update("k", "v", None));
        texts.outcome(face.broadcast("k", "v", HOUR));
        texts.outcome(face.invalidate("k"));
        texts.outcome(face.invalidate_pattern("k*"));
        texts.outcome(face.publish("s", &[("n", "1")], None));
        texts.outcome(face.read_latest("s", 1));
        texts.outcome(face.read("s", "0", 1, None));
        texts.outcome(face.read("s", "0", 1, Some(10)));
        let health = match &face {
            Face::Tasks(cache) => block_on(cache.health_check()),
            Face::Threads(cache) => cache.health_check(),
        };
        texts.debug(&health);
        texts.display(&health);
    }
    texts.debug(&cache.get_stats());
    texts.debug(&cache.get_tier_stats());
    texts.debug(&cache.get_invalidation_stats());
}

fn look_at(url: &str, what: &str) {
    let mut texts = Texts::default();
    let options = RedisOptions::new(url);
    texts.debug(&options);
    let builder = CacheManager::builder().redis(options).invalidation(InvalidationConfig::default());
    texts.debug(&builder);
    let cache = builder.build().unwrap();
    gather(&mut texts, &cache);

    let l2 = Arc::new(block_on(L2Cache::with_url(url)).unwrap());
    texts.debug(&l2);
    texts.debug(&CacheTier::new(l2.clone(), 2, true, 1.0));
    texts.debug(&CacheManager::builder().tier(l2.clone(), TierConfig::as_l2()));
    texts.debug(&block_on(RedisStreams::new(url)).unwrap());
    let l1 = Arc::new(L1Cache::new().unwrap());
    let threads = blocking::CacheManager::new_with_invalidation(l1, l2.clone(), url, InvalidationConfig::default());
    gather(&mut texts, threads.unwrap().as_async());
    texts.debug(&l2);
    texts.assert_no_secret(what);
}

#[test]
fn a_server_that_refuses_the_connection_learns_and_tells_nothing() {
    let port = free_port();
    look_at(&format!("redis://user:{SECRET}@127.0.0.1:{port}"), "refused, with a user");
    look_at(&format!("redis://:{SECRET}@127.0.0.1:{port}/3"), "refused, without a user");
    look_at(&format!("redis://user:{SPELLED}@127.0.0.1:{port}"), "refused, spelled in another way");
}

#[test]
fn a_socket_that_is_not_there_tells_nothing() {
    look_at(&format!("redis+unix:///nowhere/redis.sock?user=user&pass={SECRET}"), "no socket");
}

#[test]
fn a_wrong_password_is_not_repeated() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "another"]) else { return };
    look_at(&format!("redis://:{SECRET}@127.0.0.1:{}", server.port()), "WRONGPASS for the default user");
    look_at(&format!("redis://user:{SECRET}@127.0.0.1:{}", server.port()), "WRONGPASS for a user");
}

#[test]
fn a_right_password_is_not_told() {
    let Some(server) = RedisServer::start_with(&["--requirepass", SECRET]) else { return };
    look_at(&format!("redis://:{SECRET}@127.0.0.1:{}", server.port()), "right");
    let Some(server) = RedisServer::start() else { return };
    // A server without a password complains when it is given one.
    look_at(&format!("redis://:{SECRET}@127.0.0.1:{}", server.port()), "needless");
}

#[test]
fn a_bad_url_is_refused_without_repeating_it() {
    let urls = [
        format!("redis://user:{SECRET}@127.0.0.1:notaport"),
        format!("redis://user:{SECRET}@127.0.0.1:99999999"),
        format!("redis://user:{SECRET}@127.0.0.1/notadb"),
        format!("redis://user:{SECRET}@127.0.0.1/-1"),
        format!("redis://user:{SECRET}/x@127.0.0.1"),
        format!("redis://user:{SECRET}#x@127.0.0.1"),
        format!("redis://user:x?{SECRET}@127.0.0.1"),
        format!("redis://user:{SECRET}%zz@127.0.0.1"),
        format!("redis://user:{SECRET}@"),
        format!("redis://{SECRET}@:0:0"),
        format!("rediss://user:{SECRET}@127.0.0.1"),
        format!("http://user:{SECRET}@127.0.0.1"),
        format!("user:{SECRET}@127.0.0.1"),
        format!("redis:{SECRET}"),
        SECRET.to_owned(),
        format!("redis+unix://{SECRET}"),
    ];
    let mut texts = Texts::default();
    for url in &urls {
        texts.debug(&RedisOptions::new(url.as_str()));
        let built = CacheManager::builder().redis(url.as_str()).build();
        let with_url = block_on(L2Cache::with_url(url));
        let streams = block_on(RedisStreams::new(url));
        // What parses is no bad URL; it must not show the secret all the same.
        if let Err(error) = &built {
            assert!(error.is_config(), "{error:?}");
            assert!(with_url.is_err() && streams.is_err(), "all take the same URLs");
        }
        texts.outcome(built);
        texts.outcome(with_url);
        texts.outcome(streams);
        if let Ok(l2) = block_on(L2Cache::with_url("redis://127.0.0.1:1")) {
            let l1 = Arc::new(L1Cache::new().unwrap());
            let config = InvalidationConfig::default();
            texts.outcome(block_on(CacheManager::new_with_invalidation(l1, Arc::new(l2), url, config)));
        }
    }
    texts.assert_no_secret("a bad URL");
}

#[test]
fn the_reason_is_told_all_the_same() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "another"]) else { return };
    for (url, words) in [
        (format!("redis://127.0.0.1:{}", server.port()), ["127.0.0.1", "NOAUTH"]),
        (format!("redis://:{SECRET}@127.0.0.1:{}", server.port()), ["127.0.0.1", "assword"]),
        (format!("redis://:{SECRET}@127.0.0.1:{}", free_port()), ["127.0.0.1", "refused"]),
    ] {
        let cache = CacheManager::builder().redis(url.as_str()).build().unwrap();
        for face in faces(&cache) {
            let error = face.get("k").unwrap_err();
            assert!(error.is_tier() && words.iter().all(|word| error.to_string().contains(word)), "{error} {words:?}");
            let health = match &face {
                Face::Tasks(cache) => block_on(cache.health_check()),
                Face::Threads(cache) => cache.health_check(),
            };
            let problem = health.tiers[1].problem.clone().expect("it is not healthy");
            assert!(!health.is_healthy() && words.iter().all(|word| problem.contains(word)), "{problem} {words:?}");
        }
    }
}
