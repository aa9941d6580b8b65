//! A stale value that stands in is one of the type asked for.

use std::sync::Arc;
use std::time::Duration;

use tercel::{CacheManager, EntryOptions, ManualClock};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn a_throttled_stand_in_of_another_type_is_a_miss() {
    let clock = Arc::new(ManualClock::new());
    let cache = CacheManager::builder().clock(clock.clone()).build().unwrap();
    let options = || EntryOptions::new().ttl(seconds(10)).grace(seconds(100));
    cache.set_with_strategy("k", "text", options()).await.unwrap();
    clock.advance(seconds(11));
    let fail = || async { Err::<String, _>("the source is down") };
    assert_eq!(cache.get_or_compute_typed::<String>("k", options(), fail).await.unwrap(), "text");
    let number = cache.get_or_compute_typed::<u64>("k", options(), || async { tercel::ok(7) }).await.unwrap();
    assert_eq!(number, 7);
}
