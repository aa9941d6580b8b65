//! The calls of the contract, written as users write them, through the async handle.
//!
//! Most of what is tested here is that it compiles: closures that borrow, `?` on several error types, turbofish, futures
//! that are spawned.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/memory_streams.rs"]
mod memory_streams;

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::num::ParseIntError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memory_streams::MemoryStreams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tercel::{
    BoxError, CacheManager, CacheStrategy, EntryOptions, Error, Loaded, Lookup, ManualClock, MemoryTier, MissReason,
    TierConfig, Value,
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

/// A database whose calls borrow their arguments.
struct Database {
    names: Vec<String>,
}

impl Database {
    async fn user(&self, id: &str) -> Result<User, ParseIntError> {
        tokio::task::yield_now().await;
        Ok(User { id: id.parse()?, name: self.names[0].clone() })
    }
}

fn database() -> Database {
    Database { names: vec!["Ada".into()] }
}

/// As `anyhow::Error` is: it converts into a boxed error and is none itself.
#[derive(Debug)]
struct Report(BoxError);

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Report {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<Report> for BoxError {
    fn from(report: Report) -> Self {
        report.0
    }
}

#[derive(Debug)]
struct OutOfStock;

impl fmt::Display for OutOfStock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("out of stock")
    }
}

impl std::error::Error for OutOfStock {}

#[tokio::test]
async fn what_is_written_is_read_by_every_read() -> tercel::Result<()> {
    let cache = CacheManager::builder().build()?;
    cache.set_with_strategy("user:7", Value::encode(&ada())?, CacheStrategy::ShortTerm).await?;
    let value: Value = cache.get("user:7").await?.unwrap();
    assert_eq!(value.decode::<User>()?, ada());
    assert_eq!(cache.get_typed::<User>("user:7").await?, Some(ada()));
    let shared: Option<Arc<User>> = cache.get_shared::<User>("user:7").await?;
    assert_eq!(*shared.unwrap(), ada());
    assert_eq!(cache.peek("user:7"), Some(value.clone()));
    assert_eq!(cache.with_cached("user:7", |value| value.decode::<User>()).transpose()?, Some(ada()));
    let Lookup::Hit { value: found, tier, stale, .. } = cache.lookup("user:7").await? else { panic!("a hit") };
    assert_eq!((found, tier, stale), (value, 1, false));

    assert_eq!(cache.get("user:8").await?, None);
    assert_eq!(cache.get_typed::<User>("user:8").await?, None);
    assert_eq!(cache.get_shared::<User>("user:8").await?, None);
    assert_eq!(cache.peek("user:8"), None);
    assert_eq!(cache.with_cached("user:8", |_| ()), None);
    assert_eq!(cache.lookup("user:8").await?, Lookup::Miss(MissReason::NeverSeen));
    Ok(())
}

#[tokio::test]
async fn a_value_of_another_type_is_a_codec_error_of_reads_and_a_miss_of_loads() -> tercel::Result<()> {
    let cache = CacheManager::default();
    cache.set_with_strategy("k", "text", MINUTE).await?;
    assert!(cache.get_typed::<User>("k").await.unwrap_err().is_codec());
    assert!(cache.get_shared::<User>("k").await.unwrap_err().is_codec());
    assert_eq!(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(ada()) }).await?, ada());
    assert_eq!(cache.get_typed::<User>("k").await?, Some(ada()));
    cache.set_with_strategy("k", "text", MINUTE).await?;
    assert_eq!(*cache.get_or_compute_shared("k", MINUTE, || async { tercel::ok(ada()) }).await?, ada());
    Ok(())
}

#[tokio::test]
async fn every_write_takes_whatever_turns_into_a_value() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let text = String::from("text");
    let value = Value::from("value");
    cache.set_with_strategy("str", "text", MINUTE).await?;
    cache.set_with_strategy("String", text.clone(), MINUTE).await?;
    cache.set_with_strategy("&String", &text, MINUTE).await?;
    cache.set_with_strategy("Bytes", Bytes::from_static(b"raw"), MINUTE).await?;
    cache.set_with_strategy("Vec", vec![1u8, 2], MINUTE).await?;
    cache.set_with_strategy("&Value", &value, MINUTE).await?;
    cache.set_with_strategy("Value", value.clone(), MINUTE).await?;
    cache.update_cache("bool", true, Some(MINUTE)).await?;
    cache.update_cache("u8", 200u8, None).await?;
    cache.set_with_broadcast("i64", i64::MIN, MINUTE).await?;
    cache.set_with_broadcast("f64", 0.5, CacheStrategy::Custom(MINUTE)).await?;
    assert_eq!(cache.get_typed::<String>("&String").await?.unwrap(), text);
    assert_eq!(cache.get("Bytes").await?.unwrap().as_bytes(), Some(&b"raw"[..]));
    assert_eq!(cache.get("Vec").await?.unwrap().to_bytes().unwrap(), &[1u8, 2][..]);
    assert_eq!(cache.get("&Value").await?, Some(value));
    assert_eq!(cache.get_typed::<bool>("bool").await?, Some(true));
    assert_eq!(cache.get_typed::<u8>("u8").await?, Some(200));
    assert_eq!(cache.get_typed::<i64>("i64").await?, Some(i64::MIN));
    assert_eq!(cache.get_typed::<f64>("f64").await?, Some(0.5));
    Ok(())
}

#[cfg(feature = "json")]
#[tokio::test]
async fn json_goes_in_and_comes_out() -> tercel::Result<()> {
    let cache = CacheManager::default();
    cache.set_with_strategy("k", serde_json::json!({ "id": 7, "name": "Ada" }), MINUTE).await?;
    assert_eq!(cache.get_typed::<User>("k").await?, Some(ada()));
    let json =
        cache.get_or_compute_with("j", MINUTE, || async { tercel::ok(serde_json::json!({ "rows": [1, 2] })) }).await?;
    assert_eq!(serde_json::Value::try_from(&json)?["rows"][1], 2);
    let none = cache.get_or_compute_optional("n", MINUTE, || async { tercel::ok(None::<serde_json::Value>) }).await?;
    assert_eq!(none, None);
    Ok(())
}

#[tokio::test]
async fn a_closure_may_return_whatever_turns_into_loaded() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let value = Value::from("value");
    let text = String::from("text");
    let (v, t) = (&value, &text);
    cache.get_or_compute_with("&str", MINUTE, || async { tercel::ok("text") }).await?;
    cache.get_or_compute_with("String", MINUTE, || async { tercel::ok(t.clone()) }).await?;
    cache.get_or_compute_with("&String", MINUTE, || async { tercel::ok(t) }).await?;
    cache.get_or_compute_with("Bytes", MINUTE, || async { tercel::ok(Bytes::from_static(b"raw")) }).await?;
    cache.get_or_compute_with("Vec", MINUTE, || async { tercel::ok(vec![1u8]) }).await?;
    cache.get_or_compute_with("i32", MINUTE, || async { tercel::ok(-1) }).await?;
    cache.get_or_compute_with("f32", MINUTE, || async { tercel::ok(0.5f32) }).await?;
    cache.get_or_compute_with("bool", MINUTE, || async { tercel::ok(true) }).await?;
    cache.get_or_compute_with("Value", MINUTE, || async { tercel::ok(v.clone()) }).await?;
    cache.get_or_compute_with("&Value", MINUTE, || async { tercel::ok(v) }).await?;
    cache.get_or_compute_with("Some", MINUTE, || async { tercel::ok(Some("text")) }).await?;
    cache.get_or_compute_with("Option<Value>", MINUTE, || async { tercel::ok(Some(v)) }).await?;
    cache.get_or_compute_with("Encoded", MINUTE, || async { Value::encode(&ada()) }).await?;
    let short = || async { tercel::ok(Loaded::new("text").ttl(MINUTE).weight(10)) };
    cache.get_or_compute_with("Loaded", MINUTE, short).await?;
    cache.get_or_compute_with("passing", MINUTE, || async { tercel::ok(Loaded::new(1).do_not_store()) }).await?;
    assert_eq!(cache.get_stats().resident_entries, 14);
    assert_eq!(cache.peek("passing"), None);

    let none = cache.get_or_compute_with("none", MINUTE, || async { tercel::ok(None::<String>) }).await;
    assert!(none.unwrap_err().is_absent());
    let absent = || async { Err::<Value, _>(Error::absent()) };
    assert_eq!(cache.get_or_compute_optional("absent", MINUTE, absent).await?, None);
    assert_eq!(cache.get_or_compute_optional("gone", MINUTE, || async { tercel::ok(Loaded::absent()) }).await?, None);
    for key in ["none", "absent", "gone"] {
        assert_eq!(cache.get(key).await?, None);
        assert_eq!(cache.lookup(key).await?, Lookup::Absent);
        let typed = cache.get_or_compute_typed(key, MINUTE, || async { tercel::ok(1u8) }).await;
        assert!(typed.unwrap_err().is_absent());
        let shared = cache.get_or_compute_shared(key, MINUTE, || async { tercel::ok(1u8) }).await;
        assert!(shared.unwrap_err().is_absent());
    }
    Ok(())
}

#[tokio::test]
async fn closures_borrow_what_they_use() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let database = database();
    let id = String::from("7");
    let mut calls = 0;
    let user: User = cache.get_or_compute_typed("a", MINUTE, || database.user(&id)).await?;
    let again: User = cache.get_or_compute_typed("b", MINUTE, || async { database.user(&id).await }).await?;
    let third: User = cache
        .get_or_compute_typed("c", MINUTE, async || {
            calls += 1;
            database.user(&id).await
        })
        .await?;
    assert_eq!((&user, &again, &third, calls), (&ada(), &ada(), &ada(), 1));
    let moved: Value = cache
        .get_or_compute_with("d", MINUTE, async move || {
            let user = database.user(&id).await?;
            tercel::ok(user.name)
        })
        .await?;
    assert_eq!(moved.decode::<String>()?, "Ada");
    Ok(())
}

#[tokio::test]
async fn a_closure_may_be_a_function_a_boxed_future_or_a_closure_that_is_kept() -> tercel::Result<()> {
    async fn load() -> Result<u64, ParseIntError> {
        "42".parse()
    }
    let cache = CacheManager::default();
    assert_eq!(cache.get_or_compute_typed("function", MINUTE, load).await?, 42);
    let boxed = || -> tercel::BoxFuture<'static, Result<u64, ParseIntError>> { Box::pin(load()) };
    assert_eq!(cache.get_or_compute_typed("boxed", MINUTE, boxed).await?, 42);
    let once: Box<dyn FnOnce() -> tercel::BoxFuture<'static, Result<u64, ParseIntError>> + Send> = Box::new(boxed);
    assert_eq!(cache.get_or_compute_typed("box dyn FnOnce", MINUTE, once).await?, 42);
    let ready = || std::future::ready(tercel::ok(42u64));
    assert_eq!(cache.get_or_compute_typed("ready", MINUTE, ready).await?, 42);
    assert_eq!(cache.get_or_compute_typed("ready again", MINUTE, &ready).await?, 42);
    Ok(())
}

#[tokio::test]
async fn question_marks_on_several_error_types_end_with_ok() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let load = async || {
        let text = std::str::from_utf8(b"42")?;
        let number: u64 = text.parse()?;
        if number == 0 {
            return Err("zero".into());
        }
        if number == 1 {
            return Err(OutOfStock.into());
        }
        let file: Result<(), std::io::Error> = Ok(());
        file?;
        tercel::ok(number)
    };
    assert_eq!(cache.get_or_compute_typed("typed", MINUTE, load).await?, 42);
    assert_eq!(*cache.get_or_compute_shared("shared", MINUTE, load).await?, 42);
    assert_eq!(cache.get_or_compute_with("with", MINUTE, load).await?.decode::<u64>()?, 42);
    assert_eq!(cache.get_or_compute_optional("optional", MINUTE, load).await?.unwrap().decode::<u64>()?, 42);
    Ok(())
}

#[tokio::test]
async fn whatever_converts_into_a_boxed_error_may_be_a_closures_error_and_is_kept_as_the_source() -> tercel::Result<()>
{
    async fn source(load: impl tercel::Load<u64, Err: Into<BoxError>>) -> String {
        let error = CacheManager::default().get_or_compute_typed("k", MINUTE, load).await.unwrap_err();
        assert!(error.is_compute(), "{error:?}");
        error.source().unwrap().to_string()
    }
    assert_eq!(source(|| async { Err("a str") }).await, "a str");
    assert_eq!(source(|| async { Err(String::from("a String")) }).await, "a String");
    assert_eq!(source(|| async { Err(std::io::Error::other("io")) }).await, "io");
    assert_eq!(source(|| async { "x".parse::<u64>() }).await, "invalid digit found in string");
    assert_eq!(source(|| async { Err::<_, BoxError>("boxed".into()) }).await, "boxed");
    let plain: Box<dyn std::error::Error + Send + Sync + 'static> = "boxed".into();
    assert_eq!(source(|| async { Err(plain) }).await, "boxed");
    assert_eq!(source(async || Ok::<_, Report>("y".parse::<u64>()?)).await, "invalid digit found in string");

    let cache = CacheManager::default();
    let never = || async { Ok::<u64, Infallible>(1) };
    assert_eq!(cache.get_or_compute_typed("never", MINUTE, never).await?, 1);
    let error = cache.get_or_compute_with("k", MINUTE, || async { Err::<u64, _>(OutOfStock) }).await.unwrap_err();
    assert!(error.source().unwrap().downcast_ref::<OutOfStock>().is_some());
    Ok(())
}

#[tokio::test]
async fn an_error_of_the_crate_passes_through_a_closure_unwrapped() {
    let cache = CacheManager::default();
    let own = || async { Err::<u64, _>(Error::unsupported("not here")) };
    assert!(cache.get_or_compute_typed("k", MINUTE, own).await.unwrap_err().is_unsupported());
    let boxed = || async { Err::<u64, BoxError>(Error::tier("down").into()) };
    let error = cache.get_or_compute_with("k", MINUTE, boxed).await.unwrap_err();
    assert!(error.is_tier() && !error.is_compute());
}

#[tokio::test]
async fn the_type_of_the_value_is_the_one_parameter_that_is_named() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let load = || async { tercel::ok(ada()) };
    let typed = cache.get_or_compute_typed::<User>("k", MINUTE, load).await?;
    let shared = cache.get_or_compute_shared::<User>("k", CacheStrategy::LongTerm, load).await?;
    let get = cache.get_typed::<User>("k").await?.unwrap();
    let get_shared = cache.get_shared::<User>("k").await?.unwrap();
    assert_eq!((&typed, &*shared, &get, &*get_shared), (&ada(), &ada(), &ada(), &ada()));
    cache.get_or_compute_with::<Option<Value>>("v", MINUTE, || async { tercel::ok(Some(1.into())) }).await?;
    cache.get_or_compute_optional::<String>("v", MINUTE, || async { tercel::ok(String::new()) }).await?;
    Ok(())
}

#[tokio::test]
async fn options_are_whatever_turns_into_them() -> tercel::Result<()> {
    async fn cached<T>(cache: &CacheManager, key: &str, options: impl Into<EntryOptions>, value: T) -> tercel::Result<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        cache.get_or_compute_typed(key, options, || async { tercel::ok(value) }).await
    }
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).defaults(CacheStrategy::MediumTerm).build()?;
    let kept = EntryOptions::new().ttl(MINUTE);
    assert_eq!(cached(&cache, "duration", MINUTE, 1).await?, 1);
    assert_eq!(cached(&cache, "strategy", CacheStrategy::RealTime, 2).await?, 2);
    assert_eq!(cached(&cache, "borrowed", &kept, 3).await?, 3);
    assert_eq!(cached(&cache, "owned", kept.clone().grace(MINUTE), 4).await?, 4);
    assert_eq!(cached(&cache, "defaults", EntryOptions::new(), 5).await?, 5);
    clock.advance(Duration::from_secs(10));
    assert_eq!(cache.get("strategy").await?, None);
    assert!(cache.peek("duration").is_some());
    clock.advance(Duration::from_secs(50));
    for key in ["duration", "borrowed", "owned"] {
        assert_eq!(cache.get(key).await?, None, "{key}");
    }
    assert_eq!(cache.get_typed::<i32>("defaults").await?, Some(5));
    clock.advance(Duration::from_secs(3600));
    assert_eq!(cache.get("defaults").await?, None);
    Ok(())
}

#[tokio::test]
async fn every_option_has_a_setter() -> tercel::Result<()> {
    let cache = CacheManager::default();
    let options = EntryOptions::from(CacheStrategy::Default)
        .ttl(MINUTE)
        .l1_ttl(MINUTE / 2)
        .grace(MINUTE)
        .jitter(Duration::from_secs(1))
        .hard_timeout(MINUTE)
        .negative_ttl(Duration::from_secs(5))
        .max_age(MINUTE)
        .fallback("fallback")
        .skip_tier(2);
    let failed = cache.get_or_compute_with("k", options, || async { Err::<Value, _>("down") }).await?;
    assert_eq!(failed.decode::<String>()?, "fallback");
    Ok(())
}

#[tokio::test]
async fn invalidation_removes_one_key_or_all_that_match() -> tercel::Result<()> {
    let below = MemoryTier::new();
    let cache = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build()?;
    for key in ["user:1", "user:2", "post:1", "post:2"] {
        cache.set_with_strategy(key, key, MINUTE).await?;
    }
    cache.invalidate("post:1").await?;
    cache.invalidate_pattern("user:[12]").await?;
    assert_eq!(below.keys(), ["post:2"]);
    for (key, there) in [("user:1", false), ("user:2", false), ("post:1", false), ("post:2", true)] {
        assert_eq!(cache.get(key).await?.is_some(), there, "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn namespaces_and_defaults_are_views_of_one_engine() -> tercel::Result<()> {
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).build()?;
    let users = cache.namespace("a*:").namespace("user:").with_defaults(Duration::from_secs(10));
    users.update_cache("1", "Ada", None).await?;
    cache.set_with_strategy("ab:user:1", "other", MINUTE).await?;
    assert_eq!(cache.get_typed::<String>("a*:user:1").await?.as_deref(), Some("Ada"));
    users.invalidate_pattern("*").await?;
    assert_eq!(users.get("1").await?, None);
    assert!(cache.get("ab:user:1").await?.is_some(), "the pattern stays in its view");
    users.update_cache("1", "Ada", None).await?;
    clock.advance(Duration::from_secs(10));
    assert_eq!(users.get("1").await?, None);
    let fresh = cache.with_defaults(EntryOptions::new().max_age(Duration::from_secs(5)));
    assert_eq!(fresh.get("ab:user:1").await?, None, "too old for this view");
    assert!(cache.get("ab:user:1").await?.is_some());
    assert_eq!(cache.get_stats(), users.get_stats());
    Ok(())
}

#[tokio::test]
async fn streams_go_to_the_backend_that_was_given() -> tercel::Result<()> {
    let cache = CacheManager::builder().streams(Arc::new(MemoryStreams::default())).build()?;
    let fields = vec![("event".to_string(), "login".to_string())];
    let first: String = cache.publish_to_stream("events", fields.clone(), Some(1000)).await?;
    // The element type is concrete, so that this infers.
    let second = cache.publish_to_stream("events", vec![("event".into(), "logout".into())], None).await?;
    let latest: Vec<(String, Vec<(String, String)>)> = cache.read_stream_latest("events", 1).await?;
    assert_eq!(latest[0].0, second);
    let all = cache.read_stream("events", "0", 10, None).await?;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0], (first.clone(), fields));
    assert_eq!(cache.read_stream("events", &first, 10, Some(5)).await?.len(), 1);

    let without = CacheManager::default();
    assert!(without.read_stream_latest("events", 1).await.unwrap_err().is_unsupported());
    assert!(without.publish_to_stream("events", Vec::new(), None).await.unwrap_err().is_unsupported());
    assert!(without.read_stream("events", "0", 1, None).await.unwrap_err().is_unsupported());
    Ok(())
}

#[tokio::test]
async fn the_numbers_say_what_happened() -> tercel::Result<()> {
    let below = MemoryTier::named("warm");
    let cache = CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build()?;
    cache.ready().await?;
    cache.get("k").await?;
    cache.set_with_strategy("k", 1, MINUTE).await?;
    cache.get("k").await?;
    let stats = cache.get_stats();
    assert_eq!((stats.total_requests, stats.l1_hits, stats.l2_hits, stats.total_hits), (2, 1, 0, 1));
    assert_eq!((stats.misses, stats.promotions, stats.in_flight_requests), (1, 0, 0));
    assert_eq!((stats.hit_rate, stats.l1_hit_rate), (50.0, 50.0));
    let tiers = cache.get_tier_stats().unwrap();
    let rows: Vec<_> = tiers.iter().map(|tier| (tier.tier_level, &*tier.backend_name, tier.hit_count())).collect();
    assert_eq!(rows, [(1, "l1", 1), (2, "warm", 0)]);
    assert!(cache.get_invalidation_stats().is_none(), "no other instances");
    let health = cache.health_check().await;
    assert!(health.is_healthy());
    below.fail(true);
    let health = cache.health_check().await;
    assert!(!health.is_healthy());
    assert_eq!(health.tiers[1].backend_name, "warm");
    assert!(health.tiers[1].problem.is_some());
    Ok(())
}

#[tokio::test]
async fn after_close_every_call_is_refused_and_a_second_close_is_none() -> tercel::Result<()> {
    let cache = CacheManager::builder().streams(Arc::new(MemoryStreams::default())).build()?;
    cache.set_with_strategy("k", 1, MINUTE).await?;
    cache.close().await?;
    cache.close().await?;
    let view = cache.namespace("n:").with_defaults(MINUTE);
    for cache in [cache, view] {
        assert!(cache.get("k").await.unwrap_err().is_closed());
        assert!(cache.get_typed::<u8>("k").await.unwrap_err().is_closed());
        assert!(cache.get_shared::<u8>("k").await.unwrap_err().is_closed());
        assert!(cache.lookup("k").await.unwrap_err().is_closed());
        assert!(cache.set_with_strategy("k", 1, MINUTE).await.unwrap_err().is_closed());
        assert!(cache.set_with_broadcast("k", 1, MINUTE).await.unwrap_err().is_closed());
        assert!(cache.update_cache("k", 1, None).await.unwrap_err().is_closed());
        assert!(cache.invalidate("k").await.unwrap_err().is_closed());
        assert!(cache.invalidate_pattern("k").await.unwrap_err().is_closed());
        assert!(cache.publish_to_stream("s", Vec::new(), None).await.unwrap_err().is_closed());
        assert!(cache.read_stream_latest("s", 1).await.unwrap_err().is_closed());
        assert!(cache.read_stream("s", "0", 1, None).await.unwrap_err().is_closed());
        assert!(cache.ready().await.unwrap_err().is_closed());
        assert!(!cache.health_check().await.is_healthy());
        let load = || async { tercel::ok(1u8) };
        assert!(cache.get_or_compute_with("k", MINUTE, load).await.unwrap_err().is_closed());
        assert!(cache.get_or_compute_optional("k", MINUTE, load).await.unwrap_err().is_closed());
        assert!(cache.get_or_compute_typed("k", MINUTE, load).await.unwrap_err().is_closed());
        assert!(cache.get_or_compute_shared("k", MINUTE, load).await.unwrap_err().is_closed());
        assert_eq!(cache.peek("k"), None);
    }
    Ok(())
}
