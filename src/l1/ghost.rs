//! Ghosts: what is remembered of entries that were evicted.
//!
//! A ghost says from which queue its entry left and when that entry was last known to be used, so that the one that comes back
//! is judged by its reuse distance: the insertions between two uses. Sources: ghosts of both queues, Megiddo and Modha, "ARC: a
//! self-tuning, low overhead replacement cache", FAST 2003; reuse distance, Jiang and Zhang, "LIRS: an efficient low
//! inter-reference recency set replacement policy", SIGMETRICS 2002; fingerprints in place of keys, Yang, Zhang, Qiu, Yue,
//! Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! The ghosts lie in rows of ten, a cache line each; the hash names the row. A fingerprint of 32 bits stands for the rest of the
//! hash: were it short, a loop far longer than the cache would take many of its keys for ones that came back.
//!
//! # Cost
//! One cache line for each call. About eleven bytes for each resident entry, from the first eviction on.
//!
//! # Invariants
//! - G1: a slot holds no ghost if and only if its fingerprint is 0.
//! - G2: `held` counts the ghosts of each queue.

use super::balance::Queue;
use crate::hint;

/// Slots of a row, as many as fit into a cache line.
const ROW: usize = 10;
/// Slots for every four resident entries.
const PER_FOUR: usize = 7;
/// Entries that there is room for however few are resident.
const LEAST: usize = 8;
/// Units of time in which as many entries come as are resident, at least.
const UNITS: usize = 256;
/// Units of time that are told apart.
const AGES: u32 = 0x7fff;
const LEFT_MAIN: u16 = 0x8000;

/// Some ghosts: their fingerprints, and for each the queue that it left (`LEFT_MAIN`) and the time of its last use.
#[derive(Clone)]
#[repr(align(64))]
struct Row {
    fingerprints: [u32; ROW],
    uses: [u16; ROW],
}

impl Row {
    const EMPTY: Row = Row { fingerprints: [0; ROW], uses: [0; ROW] };

    fn find(&self, fingerprint: u32) -> Option<usize> {
        let mut found = 0u32;
        // Without a branch: the compiler looks at several slots at once.
        for (slot, here) in self.fingerprints.iter().enumerate() {
            found |= u32::from(*here == fingerprint) << slot;
        }
        (found != 0).then_some(found.trailing_zeros() as usize)
    }

    /// The slot that is empty, else the one whose ghost is least likely to be asked for.
    fn worst(&self, now: u32) -> usize {
        let mut worst = (0, 0);
        for (slot, (fingerprint, use_)) in self.fingerprints.iter().zip(&self.uses).enumerate() {
            let age = age(*use_, now);
            let age = match (fingerprint, left(*use_)) {
                (0, _) => AGES + 1,
                (_, Queue::Small) => age,
                // It was idle for long before it left, and has been a ghost for a part of its age only.
                (_, Queue::Main) => age / 4,
            };
            worst = worst.max((age, slot));
        }
        worst.1
    }
}

fn left(use_: u16) -> Queue {
    if use_ & LEFT_MAIN == 0 { Queue::Small } else { Queue::Main }
}

/// Units of time since a ghost was used.
fn age(use_: u16, now: u32) -> u32 {
    now.wrapping_sub(u32::from(use_)) & AGES
}

/// What is known of an entry that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ghost {
    /// The queue that it was evicted from.
    pub(super) left: Queue,
    /// Insertions since it was last known to be used, about.
    pub(super) distance: u32,
}

/// The ghosts of one shard. Times are counts of insertions, and wrap.
#[derive(Default)]
pub(super) struct Ghosts {
    rows: Vec<Row>,
    /// The resident entries that the rows are made for.
    made_for: usize,
    /// A unit of time is two to this power of insertions.
    shift: u32,
    held: [usize; 2],
}

impl Ghosts {
    /// How many entries that left `queue` are remembered.
    pub(super) fn held(&self, queue: Queue) -> usize {
        self.held[queue as usize]
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        let (row, fingerprint) = self.locate(hash);
        self.rows.get(row).is_some_and(|row| row.find(fingerprint).is_some())
    }

    /// Says that the ghost of `hash` is soon asked for.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(row) = self.rows.get(self.locate(hash).0) {
            hint::prefetch(row);
        }
    }

    /// Forgets the ghost of `hash` and says what was known of it.
    pub(super) fn take(&mut self, hash: u64, now: u32) -> Option<Ghost> {
        let (row, fingerprint) = self.locate(hash);
        let row = self.rows.get_mut(row)?;
        let slot = row.find(fingerprint)?;
        row.fingerprints[slot] = 0;
        let use_ = row.uses[slot];
        self.held[left(use_) as usize] -= 1;
        Some(Ghost { left: left(use_), distance: age(use_, now >> self.shift) << self.shift })
    }

    /// Remembers an entry that leaves `queue`, last known to be used at `used`, while `resident` entries are there.
    pub(super) fn remember(&mut self, hash: u64, queue: Queue, used: u32, now: u32, resident: usize) {
        self.fit(resident);
        // An age past what can be told apart is told as a great one.
        let age = (now.wrapping_sub(used) >> self.shift).min(AGES / 2);
        let now = now >> self.shift;
        let use_ = (now.wrapping_sub(age) & AGES) as u16 | if queue == Queue::Main { LEFT_MAIN } else { 0 };
        let (row, fingerprint) = self.locate(hash);
        let row = &mut self.rows[row];
        let slot = row.find(fingerprint).unwrap_or_else(|| row.worst(now));
        if row.fingerprints[slot] != 0 {
            self.held[left(row.uses[slot]) as usize] -= 1;
        }
        row.fingerprints[slot] = fingerprint;
        row.uses[slot] = use_;
        self.held[queue as usize] += 1;
    }

    /// Makes rows for `resident` entries where those that are there are far too few or too many. What they held is lost: that
    /// happens when the first entry is evicted, and when the number of entries that fit into the weight changes much.
    fn fit(&mut self, resident: usize) {
        let fits = self.made_for / 4..=self.made_for + self.made_for / 2;
        if !self.rows.is_empty() && fits.contains(&resident) {
            return;
        }
        self.made_for = resident.max(LEAST);
        self.rows = vec![Row::EMPTY; (self.made_for * PER_FOUR).div_ceil(4 * ROW)];
        self.shift = (self.made_for / UNITS).max(1).ilog2();
        self.held = [0; 2];
    }

    /// The row of a hash, past the end when there is none, and the fingerprint, which is not 0 (G1).
    fn locate(&self, hash: u64) -> (usize, u32) {
        // Mixed, since the bits that chose the shard are the same for all hashes here.
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let row = ((mixed >> 32) * self.rows.len() as u64) >> 32;
        (row as usize, (mixed as u32).max(1))
    }

    /// Recounts everything (G2); for tests.
    pub(super) fn validate(&self) -> Result<(), String> {
        let mut counted = [0; 2];
        for row in &self.rows {
            for (fingerprint, use_) in row.fingerprints.iter().zip(&row.uses) {
                counted[left(*use_) as usize] += usize::from(*fingerprint != 0);
            }
        }
        if counted == self.held { Ok(()) } else { Err(format!("counted {counted:?} ghosts, believed {:?}", self.held)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nth hash of a fixed sequence (SplitMix64).
    fn hash(n: u64) -> u64 {
        let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    }

    #[test]
    fn a_ghost_tells_the_queue_and_the_distance_once() {
        let mut ghosts = Ghosts::default();
        assert!(!ghosts.has(hash(1)));
        assert_eq!(ghosts.take(hash(1), 9), None);
        ghosts.remember(hash(1), Queue::Small, 3, 10, 100);
        ghosts.remember(hash(2), Queue::Main, u32::MAX - 4, 10, 100);
        assert_eq!((ghosts.held(Queue::Small), ghosts.held(Queue::Main)), (1, 1));
        assert!(ghosts.has(hash(1)));
        assert_eq!(ghosts.take(hash(1), 20), Some(Ghost { left: Queue::Small, distance: 17 }));
        assert_eq!(ghosts.take(hash(1), 20), None);
        assert_eq!(ghosts.take(hash(2), 20), Some(Ghost { left: Queue::Main, distance: 25 }), "across the wrap");
        ghosts.validate().unwrap();
    }

    #[test]
    fn distances_are_told_to_a_128th_of_the_resident_entries() {
        let resident = 1 << 16;
        let mut ghosts = Ghosts::default();
        for n in 0..1000u32 {
            let (used, now) = (n * 977, n * 977 + n * 131);
            ghosts.remember(hash(u64::from(n)), Queue::Small, used, now, resident);
            let distance = ghosts.take(hash(u64::from(n)), now + 5000).unwrap().distance;
            assert!(distance.abs_diff(n * 131 + 5000) <= (resident / 128) as u32, "{distance} for {}", n * 131 + 5000);
        }
    }

    #[test]
    fn as_many_are_remembered_as_are_resident_and_the_newest_stay() {
        for resident in [1usize, 10, 100, 10_000] {
            let mut ghosts = Ghosts::default();
            let last = resident as u64 * 20;
            for n in 0..last {
                ghosts.remember(hash(n), Queue::Small, n as u32, n as u32, resident);
            }
            let newest = (last - resident as u64 / 2..last).filter(|n| ghosts.has(hash(*n))).count();
            assert!(newest * 100 >= resident / 2 * 95, "{newest} of the newest {}", resident / 2);
            let held = ghosts.held(Queue::Small);
            assert!(held >= resident && held <= resident.max(LEAST) * 2 + ROW, "{held} for {resident}");
            ghosts.validate().unwrap();
        }
    }

    #[test]
    fn ghosts_of_main_outlast_the_time_that_their_entries_were_idle() {
        let mut ghosts = Ghosts::default();
        ghosts.remember(hash(0), Queue::Main, 0, 150, 100);
        for n in 1..100 {
            ghosts.remember(hash(n), Queue::Small, 140 + n as u32, 150 + n as u32, 100);
        }
        assert!(ghosts.has(hash(0)));
    }

    #[test]
    fn room_follows_the_resident_entries() {
        let mut ghosts = Ghosts::default();
        for (resident, rows) in [(100, 18), (140, 18), (160, 28), (50, 28), (30, 6), (0, 2)] {
            ghosts.remember(hash(7), Queue::Main, 1, 2, resident);
            assert_eq!(ghosts.rows.len(), rows, "for {resident}");
            ghosts.validate().unwrap();
        }
        assert_eq!(size_of::<Row>(), 64);
    }

    #[test]
    fn keys_that_never_left_are_not_taken_for_ghosts() {
        let mut ghosts = Ghosts::default();
        (0..2000).for_each(|n| ghosts.remember(hash(n), Queue::Small, 0, n as u32, 1000));
        assert_eq!((10_000..210_000).filter(|n| ghosts.has(hash(*n))).count(), 0);
    }
}
