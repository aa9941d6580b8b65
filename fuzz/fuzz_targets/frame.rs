//! Arbitrary bytes where a lower tier keeps a value: a miss, never a panic; and a garbled frame never reads as another value.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tercel::{CacheBackend, EntryOptions, MemoryTier, TierConfig, blocking::CacheManager};

static BELOW: LazyLock<MemoryTier> = LazyLock::new(MemoryTier::new);
static CACHE: LazyLock<CacheManager> = LazyLock::new(|| {
    let tier = Arc::new(BELOW.clone());
    let cache = tercel::CacheManager::builder().tier(tier, TierConfig::as_l2()).build_blocking();
    cache.expect("the cache starts").with_defaults(EntryOptions::new().skip_tier(1))
});

const KEY: &str = "key";
const VALUE: &str = "the only value that was ever written";

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    CACHE.set_with_strategy(KEY, VALUE, Duration::from_secs(3600)).expect("the tier takes it");
    if how % 2 == 0 {
        // Foreign bytes.
        let bytes = data.to_vec().into();
        let stored = futures::executor::block_on(BELOW.set_with_ttl(KEY, bytes, Duration::from_secs(3600)));
        stored.expect("the tier takes it");
    } else {
        // The true frame with a few bytes changed, beyond those that a server stamps.
        BELOW.garble(KEY, |frame| {
            for change in data.chunks_exact(2) {
                let at = usize::from(change[0]) % frame.len();
                if !(16..32).contains(&at) {
                    frame[at] ^= change[1];
                }
            }
        });
    }
    if let Some(found) = CACHE.get(KEY).expect("garbled bytes are a miss") {
        assert_eq!(found.decode::<String>().expect("it was a string"), VALUE);
    }
});
