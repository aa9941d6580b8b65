//! The calls of the contract, written as users write them, through the blocking handle.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/hash_map_tier.rs"]
mod hash_map_tier;
#[path = "support/memory_streams.rs"]
mod memory_streams;

use std::error::Error as _;
use std::num::ParseIntError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hash_map_tier::HashMapCache;
use memory_streams::MemoryStreams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tercel::blocking::CacheManager;
use tercel::{
    BoxError, CacheStrategy, CacheTier, EntryOptions, Error, L1Cache, Loaded, Lookup, ManualClock, MemoryTier,
    MissReason, TierConfig, Value,
};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct User {
    id: u64,
    name: String,
}

fn ada() -> User {
    User { id: 7, name: "Ada".into() }
}

struct Database {
    names: Vec<String>,
}

impl Database {
    fn user(&self, id: &str) -> Result<User, ParseIntError> {
        Ok(User { id: id.parse()?, name: self.names[0].clone() })
    }
}

#[test]
fn what_is_written_is_read_by_every_read() -> tercel::Result<()> {
    let cache = CacheManager::builder().build_blocking()?;
    cache.set_with_strategy("user:7", Value::encode(&ada())?, CacheStrategy::ShortTerm)?;
    let value: Value = cache.get("user:7")?.unwrap();
    assert_eq!(value.decode::<User>()?, ada());
    assert_eq!(cache.get_typed::<User>("user:7")?, Some(ada()));
    let shared: Option<Arc<User>> = cache.get_shared::<User>("user:7")?;
    assert_eq!(*shared.unwrap(), ada());
    assert_eq!(cache.peek("user:7"), Some(value.clone()));
    assert_eq!(cache.with_cached("user:7", |value| value.decode::<User>()).transpose()?, Some(ada()));
    let Lookup::Hit { value: found, tier, stale, .. } = cache.lookup("user:7")? else { panic!("a hit") };
    assert_eq!((found, tier, stale), (value, 1, false));
    assert_eq!(cache.get("user:8")?, None);
    assert_eq!(cache.lookup("user:8")?, Lookup::Miss(MissReason::NeverSeen));
    assert!(cache.get_typed::<u8>("user:7").unwrap_err().is_codec());
    assert!(cache.get_shared::<u8>("user:7").unwrap_err().is_codec());
    Ok(())
}

#[test]
fn every_write_takes_whatever_turns_into_a_value() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let text = String::from("text");
    cache.set_with_strategy("str", "text", MINUTE)?;
    cache.set_with_strategy("&String", &text, MINUTE)?;
    cache.set_with_strategy("String", text, MINUTE)?;
    cache.set_with_strategy("Bytes", Bytes::from_static(b"raw"), MINUTE)?;
    cache.update_cache("bool", true, Some(MINUTE))?;
    cache.update_cache("Vec", vec![1u8], None)?;
    let value = Value::from(1);
    cache.set_with_broadcast("&Value", &value, CacheStrategy::RealTime)?;
    cache.set_with_broadcast("f64", 0.5, EntryOptions::new())?;
    #[cfg(feature = "json")]
    cache.set_with_strategy("json", serde_json::json!({ "a": [1] }), MINUTE)?;
    assert_eq!(cache.get_typed::<String>("&String")?.as_deref(), Some("text"));
    assert_eq!(cache.get("Bytes")?.unwrap().as_bytes(), Some(&b"raw"[..]));
    Ok(())
}

#[test]
fn closures_borrow_what_they_use_and_return_whatever_turns_into_loaded() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let database = Database { names: vec!["Ada".into()] };
    let id = String::from("7");
    let mut calls = 0;
    let user: User = cache.get_or_compute_typed("a", MINUTE, || {
        calls += 1;
        database.user(&id)
    })?;
    assert_eq!((user, calls), (ada(), 1));
    assert_eq!(cache.get_or_compute_typed::<User>("a", MINUTE, || database.user("8"))?, ada());
    assert_eq!(*cache.get_or_compute_shared::<User>("a", MINUTE, || database.user("8"))?, ada());

    let value = Value::from("value");
    cache.get_or_compute_with("&str", MINUTE, || tercel::ok("text"))?;
    cache.get_or_compute_with("&String", MINUTE, || tercel::ok(&id))?;
    cache.get_or_compute_with("Bytes", MINUTE, || tercel::ok(Bytes::new()))?;
    cache.get_or_compute_with("Vec", MINUTE, || tercel::ok(vec![1u8]))?;
    cache.get_or_compute_with("i32", MINUTE, || tercel::ok(-1))?;
    cache.get_or_compute_with("bool", MINUTE, || tercel::ok(true))?;
    cache.get_or_compute_with("&Value", MINUTE, || tercel::ok(&value))?;
    cache.get_or_compute_with("Some", MINUTE, || tercel::ok(Some("text")))?;
    cache.get_or_compute_with("Encoded", MINUTE, || Value::encode(&ada()))?;
    cache.get_or_compute_with("Loaded", MINUTE, || tercel::ok(Loaded::new("text").ttl(MINUTE).weight(10)))?;
    cache.get_or_compute_with("passing", MINUTE, || tercel::ok(Loaded::new(1).do_not_store()))?;
    assert_eq!(cache.peek("passing"), None);
    assert_eq!(cache.get_or_compute_optional("none", MINUTE, || tercel::ok(None::<Value>))?, None);
    assert!(cache.get_or_compute_with("none", MINUTE, || tercel::ok("x")).unwrap_err().is_absent());
    assert_eq!(cache.get_or_compute_optional("absent", MINUTE, || Err::<Value, _>(Error::absent()))?, None);
    assert_eq!(cache.lookup("absent")?, Lookup::Absent);
    #[cfg(feature = "json")]
    cache.get_or_compute_with("json", MINUTE, || tercel::ok(serde_json::json!([1])))?;
    Ok(())
}

#[test]
fn question_marks_on_several_error_types_end_with_ok_and_any_error_is_kept_as_the_source() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let load = || {
        let text = std::str::from_utf8(b"42")?;
        let number: u64 = text.parse()?;
        if number == 0 {
            return Err("zero".into());
        }
        tercel::ok(number)
    };
    assert_eq!(cache.get_or_compute_typed("typed", MINUTE, load)?, 42);
    assert_eq!(cache.get_or_compute_with("with", MINUTE, load)?.decode::<u64>()?, 42);
    let source = |error: Error| error.source().unwrap().to_string();
    let failed = |load: &dyn Fn() -> Result<u64, BoxError>| cache.get_or_compute_typed("k", MINUTE, load).unwrap_err();
    assert_eq!(source(failed(&|| Err("a str".into()))), "a str");
    assert_eq!(source(cache.get_or_compute_typed::<u8>("k", MINUTE, || Err("a str")).unwrap_err()), "a str");
    let string = cache.get_or_compute_typed::<u8>("k", MINUTE, || Err(String::from("a String")));
    assert_eq!(source(string.unwrap_err()), "a String");
    let io = cache.get_or_compute_with("k", MINUTE, || Err::<Value, _>(std::io::Error::other("io")));
    assert_eq!(source(io.unwrap_err()), "io");
    let own = cache.get_or_compute_with("k", MINUTE, || Err::<Value, _>(Error::tier("down")));
    assert!(own.unwrap_err().is_tier());
    let never = || Ok::<u64, std::convert::Infallible>(1);
    assert_eq!(cache.get_or_compute_typed("never", MINUTE, never)?, 1);
    Ok(())
}

#[test]
fn options_are_whatever_turns_into_them() -> tercel::Result<()> {
    fn cached<T>(cache: &CacheManager, key: &str, options: impl Into<EntryOptions>, value: T) -> tercel::Result<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        cache.get_or_compute_typed(key, options, || tercel::ok(value))
    }
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).build_blocking()?;
    let kept = EntryOptions::new().ttl(MINUTE).grace(MINUTE);
    cached(&cache, "duration", MINUTE, 1)?;
    cached(&cache, "strategy", CacheStrategy::RealTime, 2)?;
    cached(&cache, "borrowed", &kept, 3)?;
    cached(&cache, "owned", kept.clone(), 4)?;
    clock.advance(Duration::from_secs(10));
    assert_eq!(cache.get("strategy")?, None);
    clock.advance(Duration::from_secs(50));
    assert_eq!(cache.get("duration")?, None);
    let stale = cache.get_or_compute_with("owned", &kept, || Err::<Value, _>("down"))?;
    assert_eq!(stale.decode::<u8>()?, 4, "the stale value stands in");
    Ok(())
}

#[test]
fn invalidation_namespaces_and_defaults_work() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let users = cache.namespace("user:").with_defaults(MINUTE);
    users.update_cache("1", "Ada", None)?;
    users.update_cache("2", "Bob", None)?;
    cache.update_cache("post:1", "text", None)?;
    users.invalidate("1")?;
    assert_eq!(cache.get("user:1")?, None);
    users.invalidate_pattern("*")?;
    assert_eq!(cache.get("user:2")?, None);
    assert!(cache.get("post:1")?.is_some());
    Ok(())
}

#[test]
fn streams_statistics_health_ready_and_close_work() -> tercel::Result<()> {
    let cache = CacheManager::builder().streams(Arc::new(MemoryStreams::default())).build_blocking()?;
    cache.ready()?;
    let first: String = cache.publish_to_stream("events", vec![("a".into(), "b".into())], Some(10))?;
    assert_eq!(cache.read_stream_latest("events", 1)?, [(first.clone(), vec![("a".into(), "b".into())])]);
    assert_eq!(cache.read_stream("events", "0", 10, None)?.len(), 1);
    assert!(cache.read_stream("events", &first, 10, Some(1))?.is_empty());
    cache.get("k")?;
    assert_eq!(cache.get_stats().misses, 1);
    assert_eq!(cache.get_tier_stats().unwrap()[0].hit_count(), 0);
    assert!(cache.get_invalidation_stats().is_none());
    assert!(cache.health_check().is_healthy());
    cache.close()?;
    cache.close()?;
    assert!(cache.get("k").unwrap_err().is_closed());
    assert!(cache.get_or_compute_with("k", MINUTE, || tercel::ok(1)).unwrap_err().is_closed());
    assert!(cache.set_with_strategy("k", 1, MINUTE).unwrap_err().is_closed());
    assert!(!cache.health_check().is_healthy());
    Ok(())
}

#[test]
fn every_constructor_is_there() -> tercel::Result<()> {
    let l1 = || Arc::new(L1Cache::new().unwrap());
    let below = || Arc::new(HashMapCache::new());
    let two = CacheManager::new_with_backends(l1(), below(), None)?;
    let tiers = vec![CacheTier::new(l1(), 1, false, 1.0), CacheTier::new(below(), 2, true, 1.0)];
    let listed = CacheManager::new_with_tiers(tiers, Some(Arc::new(MemoryStreams::default())))?;
    let built = CacheManager::builder().tier(Arc::new(MemoryTier::new()), TierConfig::as_l2()).build_blocking()?;
    for cache in [&two, &listed, &built] {
        cache.set_with_strategy("k", 1, MINUTE)?;
        assert!(cache.peek("k").is_some());
        assert_eq!(cache.get_tier_stats().unwrap().len(), 2);
    }
    let shared: tercel::CacheManager = built.as_async().clone();
    assert_eq!(CacheManager::from(shared.clone()).peek("k"), built.peek("k"));
    assert_eq!(shared.into_blocking().peek("k"), built.peek("k"));
    Ok(())
}

#[cfg(feature = "redis")]
#[test]
fn the_constructors_over_redis_need_no_server_to_be_up() -> tercel::Result<()> {
    let wait = futures::executor::block_on;
    let l2 = || Arc::new(wait(tercel::L2Cache::with_url("redis://127.0.0.1:1")).unwrap());
    let l1 = || Arc::new(L1Cache::new().unwrap());
    let plain = CacheManager::new(l1(), l2())?;
    let config = tercel::InvalidationConfig { channel: "shop".into(), ..Default::default() };
    let told = CacheManager::new_with_invalidation(l1(), l2(), "redis://127.0.0.1:1", config)?;
    assert!(told.get_invalidation_stats().is_some());
    for cache in [plain, told] {
        assert_eq!(cache.get_or_compute_typed("k", MINUTE, || tercel::ok(1))?, 1);
        assert!(!cache.health_check().is_healthy());
    }
    Ok(())
}

#[test]
fn both_handles_share_one_flight() {
    let cache = CacheManager::default();
    let (began, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| {
            cache.get_or_compute_typed("k", MINUTE, || {
                began.wait();
                go.wait();
                tercel::ok(1)
            })
        });
        began.wait();
        let task = cache.as_async().get_or_compute_typed("k", MINUTE, async || {
            unreachable!("the thread leads");
            #[allow(unreachable_code)]
            tercel::ok(2)
        });
        let mut task = std::pin::pin!(task);
        // Polled before the leader may go on, so that it follows.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(task.as_mut().poll(&mut context).is_pending());
        go.wait();
        assert_eq!(futures::executor::block_on(task).unwrap(), 1);
        assert_eq!(leader.join().unwrap().unwrap(), 1);
    });
    assert_eq!(cache.get_stats().computations, 1);
    cache.validate().unwrap();
}

#[test]
fn the_blocking_handle_works_inside_tasks_of_any_runtime() {
    let cache =
        CacheManager::builder().tier(Arc::new(MemoryTier::new()), TierConfig::as_l2()).build_blocking().unwrap();
    let work = |cache: &CacheManager, key: &str| {
        cache.set_with_strategy(key, 1, MINUTE).unwrap();
        cache.invalidate(key).unwrap();
        assert_eq!(cache.get_or_compute_typed(key, MINUTE, || tercel::ok(2)).unwrap(), 2);
        assert!(cache.health_check().is_healthy());
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { work(&cache, "one thread") });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let task = {
        let cache = cache.clone();
        async move { work(&cache, "many threads") }
    };
    many.block_on(many.spawn(task)).unwrap();
    futures::executor::block_on(async { work(&cache, "no runtime") });
}
