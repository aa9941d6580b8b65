//! Hashing: of keys in process, seeded per process, never on disk or on the wire; and one that is the same everywhere.

use std::hash::{BuildHasher, Hasher};

/// Hashes keys. Two hashers of one process with the same seed agree, two processes do not: hostile keys cannot be
/// prepared in advance.
#[derive(Clone)]
pub(crate) struct KeyHasher(foldhash::fast::RandomState);

impl KeyHasher {
    pub(crate) fn new() -> Self {
        Self(foldhash::fast::RandomState::default())
    }

    #[inline]
    pub(crate) fn hash(&self, key: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key.as_bytes());
        hasher.finish()
    }
}

/// The same in every process, on every machine and in every release: XXH3.
pub(crate) fn stable_hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

/// A table hasher for keys that carry their hash: passes it through.
#[derive(Clone, Copy, Default)]
pub(crate) struct Prehashed(u64);

impl BuildHasher for Prehashed {
    type Hasher = Prehashed;

    #[inline]
    fn build_hasher(&self) -> Prehashed {
        Prehashed(0)
    }
}

impl Hasher for Prehashed {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}
