//! A server that is not there, freezes, dies and comes back: no load fails for it, no read takes it for a miss, and what it
//! missed is made good.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use faces::{Face, HOUR, eventually, executed, executed_since, faces, name, over, over_with_deadlines};
use redis_server::{Answer, RedisServer};
use tercel::{CacheManager, EntryOptions, InvalidationConfig, Lookup};

/// Runs `call` on a thread of its own; one that hangs fails the test instead of hanging it.
fn bounded<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(call()));
    ended.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} did not return"))
}

/// A server with a file of its own, from which it starts again with what was saved.
fn with_file() -> Option<(RedisServer, std::path::PathBuf)> {
    let file = format!("tercel-{}-{}.rdb", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(&file);
    let directory = std::env::temp_dir().to_string_lossy().into_owned();
    Some((RedisServer::start_with(&["--dir", &directory, "--dbfilename", &file])?, path))
}

/// A fault, and what ends it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Frozen,
    Dead,
}

impl Fault {
    const ALL: [Self; 2] = [Self::Frozen, Self::Dead];

    fn begin(self, server: &mut RedisServer) {
        match self {
            Self::Frozen => server.stop(),
            Self::Dead => server.kill(),
        }
    }

    fn end(self, server: &mut RedisServer) {
        match self {
            Self::Frozen => server.cont(),
            Self::Dead => server.restart(),
        }
    }
}

/// Waits until a value goes down to the server and comes up again.
fn assert_l2_works(server: &RedisServer, face: &Face, key: &str) {
    eventually("L2 takes and serves values again", || {
        face.set(key, "again", HOUR).is_ok() && server.command(&["EXISTS", &name(key)]) == Answer::Int(1)
    });
    let other = over(server).into_blocking();
    assert_eq!(other.get_typed::<String>(key).unwrap().as_deref(), Some("again"));
}

#[test]
fn a_server_that_is_not_up_at_build_is_made_good_to_when_it_comes() {
    let Some((mut server, file)) = with_file() else { return };
    let old = over(&server).into_blocking();
    let keys = ["set", "computed", "invalidated", "pattern:1", "pattern:2", "untouched"];
    for key in keys {
        old.set_with_strategy(key, "old", HOUR).unwrap();
    }
    assert_eq!(server.command(&["SAVE"]), Answer::Text("OK".into()));
    for n in 0..2 {
        server.kill();
        let cache = CacheManager::builder().redis(server.url()).build().unwrap();
        let face = faces(&cache)[n].clone();

        let error = face.set("set", "new", HOUR).unwrap_err();
        assert!(error.is_partial_write() && error.is_tier(), "{error:?}");
        assert!(error.to_string().contains("tier `redis`"), "{error}");
        assert_eq!(face.text("set").unwrap().as_deref(), Some("new"), "L1 works");
        assert_eq!(face.compute("computed", HOUR, || Ok("new")).unwrap(), Some("new".into()));
        assert_eq!(face.text("computed").unwrap().as_deref(), Some("new"));
        assert!(face.invalidate("invalidated").unwrap_err().is_partial_write());
        assert!(face.invalidate_pattern("pattern:*").unwrap_err().is_partial_write());
        assert!(face.get("nothing").unwrap_err().is_tier(), "nobody knows whether the server has it");
        assert!(cache.get_stats().pending_repairs >= 4);

        // It comes up with the old values. Until they are gone nothing of them is read.
        server.restart();
        eventually("everything is repaired", || {
            for key in ["invalidated", "pattern:1", "pattern:2"] {
                assert_ne!(face.text(key).ok().flatten().as_deref(), Some("old"), "{key}");
            }
            cache.get_stats().pending_repairs == 0
        });
        let left = keys.map(|key| server.command(&["EXISTS", &name(key)]));
        assert_eq!(left, [0, 0, 0, 0, 0, 1].map(Answer::Int), "{keys:?}");
        assert_eq!(face.text("untouched").unwrap().as_deref(), Some("old"));
        assert_l2_works(&server, &face, "again");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_is_in_l1_is_served_whatever_the_server_does() {
    let Some(mut server) = RedisServer::start() else { return };
    let cache = over_with_deadlines(&server);
    for fault in Fault::ALL {
        for face in faces(&cache) {
            eventually("it is written", || face.set("k", "v", HOUR).is_ok());
            fault.begin(&mut server);
            let before = cache.get_tier_stats().unwrap()[1].lookups();
            for _ in 0..1_000 {
                assert_eq!(face.text("k").unwrap().as_deref(), Some("v"), "{fault:?}");
                assert_eq!(face.compute("k", HOUR, || Ok("other")).unwrap(), Some("v".into()), "{fault:?}");
            }
            assert_eq!(cache.get_tier_stats().unwrap()[1].lookups(), before, "nobody asked the server");
            fault.end(&mut server);
        }
    }
}

#[test]
fn a_server_that_cannot_be_asked_is_never_taken_for_a_miss() {
    let Some(mut server) = RedisServer::start() else { return };
    for fault in Fault::ALL {
        let cache = over_with_deadlines(&server);
        for face in faces(&cache) {
            fault.begin(&mut server);
            let errors = cache.get_tier_stats().unwrap()[1].errors;
            for n in 0..3 {
                let asked = face.clone();
                let answer = bounded("a get", move || asked.get(&format!("unseen:{n}")));
                let error = answer.expect_err("a miss is a lie here");
                assert!(error.is_tier(), "{fault:?}: {error:?}");
            }
            assert_eq!(cache.get_tier_stats().unwrap()[1].errors, errors + 3);
            let asked = face.clone();
            assert!(matches!(bounded("a lookup", move || asked.lookup("unseen")), Ok(Lookup::Miss(_))));
            fault.end(&mut server);
            eventually("a miss is a miss again", || matches!(face.get("unseen"), Ok(None)));
        }
    }
}

#[test]
fn no_load_fails_while_the_server_freezes_dies_and_comes_back() {
    let Some(mut server) = RedisServer::start() else { return };
    let cache = CacheManager::builder().redis(server.url()).l1_capacity(64).build().unwrap();
    cache.clone().into_blocking().ready().unwrap();
    let over_and_out = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..6)
        .map(|n| {
            let (face, over, done) = (faces(&cache)[n % 2].clone(), over_and_out.clone(), done.clone());
            thread::spawn(move || {
                let mut rng = fastrand::Rng::with_seed(n as u64);
                while !over.load(Ordering::SeqCst) {
                    let number = rng.u32(..500);
                    let key = format!("k{number}");
                    let value = face.compute(&key, HOUR, || Ok(u64::from(number))).expect("no load fails");
                    assert_eq!(value.unwrap().decode::<u64>().unwrap(), u64::from(number), "nobody else's value");
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let some_loads = |how_many: u64| {
        let until = done.load(Ordering::SeqCst) + how_many;
        eventually("the workers go on", || done.load(Ordering::SeqCst) >= until);
    };
    some_loads(500);
    for _ in 0..2 {
        for fault in Fault::ALL {
            fault.begin(&mut server);
            some_loads(24);
            fault.end(&mut server);
            some_loads(200);
        }
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        some_loads(200);
        server.restart();
        some_loads(200);
    }
    let before = executed(&server);
    eventually("the server is read and written again", || {
        let since = executed_since(&server, &before);
        since.contains_key("get") && since.contains_key("set")
    });
    over_and_out.store(true, Ordering::SeqCst);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    eventually("everything is repaired", || cache.get_stats().pending_repairs == 0);
    assert_l2_works(&server, &faces(&cache)[0], "again");
    cache.validate().unwrap();
}

/// The old value lies in the server all the time. It may be asked again as soon as it answers, but not for this key.
#[test]
fn an_invalidation_that_a_frozen_server_did_not_take_is_never_contradicted() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over_with_deadlines(&server);
    for face in faces(&cache) {
        type Change = fn(&Face) -> tercel::Result<()>;
        let changes: [Change; 3] =
            [|face| face.invalidate("k"), |face| face.invalidate_pattern("k*"), |face| face.set("k", "new", HOUR)];
        for change in changes {
            eventually("it is written", || face.set("k", "old", HOUR).is_ok());
            server.stop();
            let changing = face.clone();
            let error = bounded("a change", move || change(&changing)).unwrap_err();
            assert!(error.is_partial_write(), "{error:?}");
            let asked = face.clone();
            let frozen = bounded("a get", move || asked.text("k")).ok().flatten();
            assert_ne!(frozen.as_deref(), Some("old"));
            // L1 is left out from here on: only the server could contradict.
            let below = cache.with_defaults(EntryOptions::new().skip_tier(1)).into_blocking();
            server.cont();
            eventually("it is repaired", || {
                let found = below.get_typed::<String>("k").ok().flatten();
                assert_ne!(found.as_deref(), Some("old"));
                cache.get_stats().pending_repairs == 0
            });
            for _ in 0..100 {
                assert_ne!(below.get_typed::<String>("k").unwrap().as_deref(), Some("old"));
            }
            let elsewhere = over(&server).into_blocking();
            assert_ne!(elsewhere.get_typed::<String>("k").unwrap().as_deref(), Some("old"));
        }
    }
}

#[test]
fn a_change_during_an_outage_reaches_the_others_after_it() {
    let Some((mut server, file)) = with_file() else { return };
    let instance = || {
        let config = InvalidationConfig::default();
        let cache = CacheManager::builder().redis(server.url()).invalidation(config).build().unwrap();
        cache.clone().into_blocking().ready().unwrap();
        cache
    };
    let (one, other) = (instance(), instance());
    for (here, there) in faces(&one).into_iter().zip(faces(&other)) {
        for fault in Fault::ALL {
            eventually("it is written", || here.broadcast("k", "old", HOUR).is_ok());
            assert_eq!(server.command(&["SAVE"]), Answer::Text("OK".into()));
            eventually("the other has it", || there.text("k").is_ok_and(|found| found.as_deref() == Some("old")));
            fault.begin(&mut server);
            let changing = here.clone();
            assert!(bounded("an invalidation", move || changing.invalidate("k")).unwrap_err().is_partial_write());
            fault.end(&mut server);
            eventually("it is repaired", || one.get_stats().pending_repairs == 0);
            eventually("the other has heard of it", || there.peek("k").is_none());
            eventually("the other finds nothing", || matches!(there.get("k"), Ok(None)));
        }
    }
    std::fs::remove_file(file).unwrap();
}
