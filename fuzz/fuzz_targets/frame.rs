//! Arbitrary bytes where a lower tier keeps a value: a miss, never a panic; and a garbled frame never reads as another value.
//! Arbitrary headers, tags and payloads behind a true checksum: a value or a miss, never a panic.
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
    let plant = |bytes: Vec<u8>| {
        let stored = futures::executor::block_on(BELOW.set_with_ttl(KEY, bytes.into(), Duration::from_secs(3600)));
        stored.expect("the tier takes it");
    };
    if how % 3 == 0 {
        // Foreign bytes.
        plant(data.to_vec());
    } else if how % 3 == 2 {
        // A frame in all that a checksum can tell, so that what lies behind that is reached.
        let mut bytes = data.to_vec();
        bytes.resize(bytes.len().max(64), 0);
        bytes[..3].copy_from_slice(b"TC\x01");
        let checked = [KEY.as_bytes(), &bytes[..16], &bytes[32..60], &bytes[64..]].concat();
        bytes[60..64].copy_from_slice(&crc32fast::hash(&checked).to_le_bytes());
        plant(bytes);
        if let Some(found) = CACHE.get(KEY).expect("what is no frame of ours is a miss") {
            let _ = found.decode::<String>();
        }
        return;
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
