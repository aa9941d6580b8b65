//! The source of truth: a table of versioned values in memory, what a value looks like, and which keys there are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::history::Wrong;

/// The tags, and the groups of keys that a pattern matches.
pub(super) const GROUPS: usize = 4;
/// Keys that every instance writes, by committing to the source and invalidating.
const SHARED: usize = 48;
/// Keys that one instance each writes through the cache.
const OWNED: usize = 12;
/// Keys that the rounds alone use.
const ROUNDS: usize = 8;

/// The keys of a run, by number.
pub(super) struct Keys {
    names: Vec<String>,
}

impl Keys {
    pub(super) fn new() -> Self {
        let shared = (0..SHARED).map(|n| format!("shared:{}:{n}", n % GROUPS));
        let owned = (0..OWNED).map(|n| format!("owned:{n}"));
        let rounds = (0..ROUNDS).map(|n| format!("round:{n}"));
        Self { names: shared.chain(owned).chain(rounds).collect() }
    }

    pub(super) fn name(&self, key: usize) -> &str {
        &self.names[key]
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.names.len()
    }

    /// Those that readers read.
    pub(super) fn read(&self) -> Range<usize> {
        0..SHARED + OWNED
    }

    pub(super) fn shared(&self) -> Range<usize> {
        0..SHARED
    }

    pub(super) fn rounds(&self) -> Range<usize> {
        SHARED + OWNED..self.names.len()
    }

    /// Those that `instance` of so many writes.
    pub(super) fn owned(&self, instance: usize, instances: usize) -> Vec<usize> {
        (SHARED..SHARED + OWNED).filter(|key| key % instances == instance).collect()
    }

    /// The tag of a key; only the shared ones have one.
    pub(super) fn tag(&self, key: usize) -> Option<usize> {
        (key < SHARED).then_some(key % GROUPS)
    }

    pub(super) fn group(&self, tag: usize) -> impl Iterator<Item = usize> {
        self.shared().filter(move |key| self.tag(*key) == Some(tag))
    }

    /// How many bytes a value of `key` has.
    pub(super) fn size(&self, key: usize) -> usize {
        match key % 10 {
            3 => 20_000,
            6 => 3_000,
            _ => 100,
        }
    }

    /// How long a value of `key` lives: mostly longer than a run.
    pub(super) fn ttl(&self, key: usize) -> Duration {
        Duration::from_secs(if key % 7 == 5 { 2 } else { 3600 })
    }

    /// The glob that matches exactly the keys of a tag.
    pub(super) fn pattern(&self, tag: usize) -> String {
        format!("shared:{tag}:*")
    }

    pub(super) fn tag_name(&self, tag: usize) -> String {
        format!("group-{tag}")
    }
}

/// The newest version of each key.
pub(super) struct Source {
    pub(super) keys: Keys,
    versions: Vec<AtomicU64>,
}

impl Source {
    pub(super) fn new() -> Self {
        let keys = Keys::new();
        let versions = keys.all().map(|_| AtomicU64::new(1)).collect();
        Self { keys, versions }
    }

    /// Makes a new version, which every later load sees.
    pub(super) fn commit(&self, key: usize) -> u64 {
        // SeqCst: the source is one place with one order of events.
        self.versions[key].fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn newest(&self, key: usize) -> u64 {
        self.versions[key].load(Ordering::SeqCst)
    }

    /// The bytes of a version of `key`, made by `writer`.
    pub(super) fn bytes(&self, key: usize, writer: u64, version: u64) -> Vec<u8> {
        Stamp { key: hash(self.keys.name(key)), writer, version }.bytes(self.keys.size(key))
    }

    /// The version that `bytes` are of, if they are a value of `key` that was committed.
    pub(super) fn version(&self, key: usize, bytes: &[u8]) -> Result<u64, Wrong> {
        Stamp::read(bytes)?.version_of(self.keys.name(key), self.newest(key))
    }
}

/// What a value says of itself. Its bytes: a mark, the key's hash, the writer, the version, padding, a checksum.
struct Stamp {
    key: u64,
    writer: u64,
    version: u64,
}

impl Stamp {
    const MARK: [u8; 8] = *b"coherent";
    /// The mark, three numbers and the checksum.
    const LEAST: usize = 40;

    fn bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&Self::MARK);
        for number in [self.key, self.writer, self.version] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend((Self::LEAST..size).map(|n| (self.version as usize + n) as u8));
        bytes.extend_from_slice(&hash(&bytes).to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let (body, checksum) = bytes.split_last_chunk::<8>().ok_or(Wrong::Altered)?;
        let (mark, numbers) = body.split_first_chunk::<8>().ok_or(Wrong::Altered)?;
        if *mark != Self::MARK || hash(body) != u64::from_le_bytes(*checksum) {
            return Err(Wrong::Altered);
        }
        let number = |at: usize| numbers.get(8 * at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let (Some(key), Some(writer), Some(version)) = (number(0), number(1), number(2)) else {
            return Err(Wrong::Altered);
        };
        Ok(Self { key, writer, version })
    }

    fn version_of(&self, name: &str, newest: u64) -> Result<u64, Wrong> {
        if self.key != hash(name) {
            return Err(Wrong::OtherKey);
        }
        if self.version == 0 || self.version > newest { Err(Wrong::NeverCommitted) } else { Ok(self.version) }
    }
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_key_and_version() {
        let source = Source::new();
        let version = source.commit(3);
        let bytes = source.bytes(3, 1, version);
        assert_eq!(bytes.len(), source.keys.size(3));
        assert_eq!(source.version(3, &bytes), Ok(2));
        assert_eq!(source.version(4, &bytes), Err(Wrong::OtherKey));
        let unknown = source.bytes(3, 1, version + 1);
        assert_eq!(source.version(3, &unknown), Err(Wrong::NeverCommitted));
    }

    #[test]
    fn no_altered_byte_passes() {
        let source = Source::new();
        let bytes = source.bytes(0, 1, 1);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert_eq!(source.version(0, &altered), Err(Wrong::Altered), "byte {at}");
        }
        assert_eq!(source.version(0, &bytes[1..]), Err(Wrong::Altered));
        assert_eq!(source.version(0, &bytes[..bytes.len() - 1]), Err(Wrong::Altered));
        assert_eq!(source.version(0, &[]), Err(Wrong::Altered));
    }
}
