//! `ready` and `health_check`: whether the server is there, and if not, why.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::mpsc;
use std::thread;

use faces::{Face, eventually, faces, over_with_deadlines};
use futures::executor::block_on;
use redis_server::RedisServer;
use tercel::{CacheManager, Health, InvalidationConfig};

fn ready(face: &Face) -> tercel::Result<()> {
    match face {
        Face::Tasks(cache) => block_on(cache.ready()),
        Face::Threads(cache) => cache.ready(),
    }
}

fn health(face: &Face) -> Health {
    match face {
        Face::Tasks(cache) => block_on(cache.health_check()),
        Face::Threads(cache) => cache.health_check(),
    }
}

#[test]
fn without_a_server_a_cache_is_ready_and_healthy_at_once() {
    for face in faces(&CacheManager::default()) {
        ready(&face).unwrap();
        assert!(health(&face).is_healthy());
    }
}

#[test]
fn ready_ends_once_the_server_is_there() {
    let Some(mut server) = RedisServer::start() else { return };
    for n in 0..2 {
        for hears in [false, true] {
            server.kill();
            let mut builder = CacheManager::builder().redis(server.url());
            if hears {
                builder = builder.invalidation(InvalidationConfig::default());
            }
            let cache = builder.build().unwrap();
            let face = faces(&cache)[n].clone();
            let (done, ended) = mpsc::channel();
            let waiter = face.clone();
            let thread = thread::spawn(move || done.send(ready(&waiter)));
            // The server is known to be down, and the wait goes on.
            eventually("it is known", || health(&face).tiers[1].problem.is_some());
            assert!(matches!(ended.try_recv(), Err(mpsc::TryRecvError::Empty)));
            server.restart();
            ended.recv().unwrap().unwrap();
            thread.join().unwrap().unwrap();
            eventually("it is healthy", || health(&face).is_healthy());
            ready(&face).unwrap();
        }
    }
}

#[test]
fn health_names_every_tier_and_the_reason() {
    let Some(mut server) = RedisServer::start() else { return };
    let cache = over_with_deadlines(&server);
    for face in faces(&cache) {
        let fine = health(&face);
        assert!(fine.is_healthy(), "{fine}");
        let names: Vec<_> = fine.tiers.iter().map(|tier| (tier.tier_level, tier.backend_name.as_str())).collect();
        assert_eq!(names, [(1, "l1"), (2, "redis")]);
        assert_eq!(fine.to_string(), "L1 l1: ok\nL2 redis: ok");

        server.stop();
        let frozen = health(&face);
        assert_eq!(frozen.tiers[0].problem, None);
        let reason = frozen.tiers[1].problem.clone().unwrap();
        assert!(reason.contains("within") && !frozen.is_healthy(), "{reason}");
        server.cont();
        eventually("it is healthy", || health(&face).is_healthy());

        server.kill();
        eventually("the reason is told", || {
            let dead = health(&face).tiers[1].problem.clone().unwrap_or_default();
            dead.contains("refused") && dead.contains(&server.port().to_string())
        });
        server.restart();
        eventually("it is healthy", || health(&face).is_healthy());
    }
}

#[test]
fn an_instance_that_does_not_hear_the_others_says_so() {
    let Some(server) = RedisServer::start() else { return };
    server.command(&["ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", "+@all"]);
    let url = format!("redis://deaf:pw@127.0.0.1:{}", server.port());
    let cache = CacheManager::builder().redis(url).invalidation(InvalidationConfig::default()).build().unwrap();
    for face in faces(&cache) {
        eventually("the reason is told", || {
            let health = health(&face);
            !health.is_healthy() && health.invalidation.is_some_and(|reason| reason.contains("permission"))
        });
    }
    server.command(&["ACL", "SETUSER", "deaf", "allchannels"]);
    for face in faces(&cache) {
        ready(&face).unwrap();
        assert!(health(&face).is_healthy());
    }
}
