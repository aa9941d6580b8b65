//! The shortest way through every path, on both handles.
use std::sync::Arc;
use std::time::Duration;
use tercel::{CacheManager, EntryOptions, Loaded, ManualClock, MemoryTier, TierConfig};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn async_paths() {
    let clock = Arc::new(ManualClock::new());
    let below = MemoryTier::with_clock(clock.clone());
    let cache = CacheManager::builder()
        .clock(clock.clone())
        .tier(Arc::new(below.clone()), TierConfig::as_l2())
        .build()
        .unwrap();
    assert_eq!(cache.get("a").await.unwrap(), None);
    cache.set_with_strategy("a", "1", MINUTE).await.unwrap();
    assert_eq!(cache.get_typed::<String>("a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(below.keys(), ["a"]);
    let n: u64 = cache.get_or_compute_typed("n", MINUTE, || async { tercel::ok(7) }).await.unwrap();
    assert_eq!(n, 7);
    assert_eq!(*cache.get_shared::<u64>("n").await.unwrap().unwrap(), 7);
    cache.invalidate("n").await.unwrap();
    assert_eq!(cache.get("n").await.unwrap(), None);
    assert_eq!(below.keys(), ["a"]);
    cache.invalidate_pattern("a*").await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), None);
    let none = cache.get_or_compute_optional("x", MINUTE, || async { tercel::ok(None::<String>) }).await.unwrap();
    assert_eq!(none, None);
    assert!(cache.get_or_compute_with("x", MINUTE, || async { tercel::ok("y") }).await.unwrap_err().is_absent());
    let opts = EntryOptions::from(MINUTE).grace(MINUTE);
    cache.get_or_compute_with("g", &opts, || async { tercel::ok(Loaded::new("old")) }).await.unwrap();
    clock.advance(MINUTE);
    let v = cache
        .get_or_compute_with("g", &opts, || async { Err::<String, _>(std::io::Error::other("down")) })
        .await
        .unwrap();
    assert_eq!(v.decode::<String>().unwrap(), "old");
    println!("{:?}\n{:?}", cache.get_stats(), cache.get_tier_stats());
    cache.validate().unwrap();
    cache.close().await.unwrap();
    assert!(cache.get("a").await.unwrap_err().is_closed());
}

#[test]
fn blocking_paths() {
    let cache = CacheManager::builder().build_blocking().unwrap();
    let value = cache.get_or_compute_with("k", MINUTE, || tercel::ok("v")).unwrap();
    assert_eq!(value.decode::<String>().unwrap(), "v");
    assert_eq!(cache.peek("k"), Some("v".into()));
    cache.validate().unwrap();
}
