//! A resident entry: a key, a value or the word that the source has none, and its times.

use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::value::Value;

/// A key with its hash.
#[derive(Debug)]
pub(crate) struct Name {
    hash: u64,
    key: Key,
}

/// The longest key that lies in its entry: one line less to fetch for a hit.
const INLINE: usize = 22;

#[derive(Debug)]
enum Key {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl Key {
    fn new(key: &str) -> Self {
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..key.len()) {
            Some(room) => {
                room.copy_from_slice(key.as_bytes());
                Self::Inline { len: key.len() as u8, bytes }
            }
            None => Self::Heap(key.as_bytes().into()),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Name {
    pub(crate) fn new(hash: u64, key: &str) -> Self {
        Self { hash, key: Key::new(key) }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn key(&self) -> &str {
        // It was made from a `str`.
        std::str::from_utf8(self.key.bytes()).unwrap_or_default()
    }

    pub(crate) fn as_ref(&self) -> NameRef<'_> {
        NameRef { hash: self.hash, key: self.key() }
    }

    /// Whether this is the name looked for.
    #[inline]
    pub(crate) fn is(&self, name: NameRef<'_>) -> bool {
        self.hash == name.hash && self.key.bytes() == name.key.as_bytes()
    }
}

/// A borrowed key with its hash: what a reader looks up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRef<'a> {
    pub(crate) hash: u64,
    pub(crate) key: &'a str,
}

/// The times of an entry in milliseconds of the engine's clock: fresh until `fresh_until`, then stale until `dead_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Below zero for what was written before this engine's clock began.
    pub(crate) written: i64,
    pub(crate) fresh_until: u64,
    pub(crate) dead_at: u64,
}

/// What is to be made resident.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// `None`: the source has no value.
    pub(crate) value: Option<Value>,
    pub(crate) times: Times,
    /// The weight that the caller gave, instead of the encoded length.
    pub(crate) weight: Option<u32>,
}

/// One resident entry. What a hit looks at comes first, together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    name: Name,
    fresh_until: u64,
    /// `None`: the source has no value.
    value: Option<Value>,
    /// Hits since the policy last looked, saturating at [`Entry::MAX_FREQUENCY`].
    frequency: AtomicU8,
    weight: Option<u32>,
    written: i64,
    dead_at: u64,
    /// No computation is tried before this time while the stale value stands in (fail-safe).
    retry_at: AtomicU64,
    /// Where the policy keeps the entry; written and read under the shard's lock.
    place: AtomicU32,
    /// What the shard has counted for the entry; written and read under the shard's lock.
    charged: AtomicU32,
}

impl Entry {
    const MAX_FREQUENCY: u8 = 3;
    /// The bookkeeping of one resident entry in bytes, part of its weight.
    pub(crate) const OVERHEAD: usize = 160;

    pub(crate) fn new(name: Name, content: Content) -> Self {
        let Content { value, times: Times { written, fresh_until, dead_at }, weight } = content;
        let entry = Self {
            name,
            fresh_until,
            value,
            frequency: AtomicU8::new(0),
            weight,
            written,
            dead_at,
            retry_at: AtomicU64::new(0),
            place: AtomicU32::new(u32::MAX),
            charged: AtomicU32::new(0),
        };
        entry.set_charged(entry.weight());
        entry
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    pub(crate) fn times(&self) -> Times {
        Times { written: self.written, fresh_until: self.fresh_until, dead_at: self.dead_at }
    }

    #[inline]
    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        now < self.fresh_until
    }

    #[inline]
    pub(crate) fn is_dead(&self, now: u64) -> bool {
        now >= self.dead_at
    }

    /// What the entry weighs now: a memo that was decoded since it was charged counts too.
    pub(crate) fn weight(&self) -> u32 {
        let value = match (&self.weight, &self.value) {
            (Some(weight), _) => return *weight,
            (None, Some(value)) => value.weight(),
            (None, None) => 0,
        };
        u32::try_from(value + self.name.key.bytes().len() + Self::OVERHEAD).unwrap_or(u32::MAX)
    }

    /// Records a hit. Writes nothing once the frequency is at its greatest.
    #[inline]
    pub(crate) fn touch(&self) {
        // Relaxed: a hint for the policy; a hit lost between two threads costs nothing.
        let frequency = self.frequency.load(Ordering::Relaxed);
        if frequency < Self::MAX_FREQUENCY {
            self.frequency.store(frequency + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn frequency(&self) -> u8 {
        // Relaxed: see `touch`.
        self.frequency.load(Ordering::Relaxed)
    }

    pub(crate) fn set_frequency(&self, frequency: u8) {
        // Relaxed: see `touch`.
        self.frequency.store(frequency, Ordering::Relaxed);
    }

    pub(crate) fn retry_at(&self) -> u64 {
        // Relaxed: a time to compare with, nothing is published by it.
        self.retry_at.load(Ordering::Relaxed)
    }

    pub(crate) fn set_retry_at(&self, at: u64) {
        // Relaxed: see `retry_at`.
        self.retry_at.store(at, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> u32 {
        // Relaxed: the shard's lock orders every access.
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: u32) {
        // Relaxed: see `place`.
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn charged(&self) -> u32 {
        // Relaxed: the shard's lock orders every access.
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_charged(&self, weight: u32) {
        // Relaxed: see `charged`.
        self.charged.store(weight, Ordering::Relaxed);
    }
}
