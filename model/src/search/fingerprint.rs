//! Sixty-four bits that stand for a state.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type Fingerprint = u64;

/// The fingerprints of the states that were seen.
pub(crate) type Seen = HashSet<Fingerprint, BuildHasherDefault<AsItIs>>;

/// The bytes of a state, gathered by its `Hash`: what the derived one leaves out would not compile.
#[derive(Default)]
pub(crate) struct Gather(Vec<u8>);

impl Hasher for Gather {
    fn finish(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// A discriminant of an enumeration; they have few.
    fn write_isize(&mut self, number: isize) {
        self.0.push(number.to_le_bytes()[0]);
    }
}

pub(crate) fn fingerprint(gather: impl FnOnce(&mut Gather)) -> Fingerprint {
    thread_local! {
        static BYTES: RefCell<Gather> = RefCell::default();
    }
    BYTES.with_borrow_mut(|bytes| {
        bytes.0.clear();
        gather(bytes);
        bytes.finish()
    })
}

/// A fingerprint is spread already.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
