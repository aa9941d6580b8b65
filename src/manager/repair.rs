//! What a tier did not take: the key is removed there as soon as the tier answers, and until then this instance does not
//! read that tier's copy.
//!
//! # Invariants
//! - R1: a key that is owed to a tier is not read from it.
//! - R2: the other instances hear of a removal again once it was paid: they may have read the tier's old copy after they
//!   heard of it first, or never have heard of it. So whatever a tier has taken late is owed to the shared tier, which tells.
//! - R3: the debts are bounded. Beyond the bound a tier is not read at all, until everything in it was removed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Core;
use crate::glob;
use crate::hash::stable_hash;
use crate::shared::Bump;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Keys owed in all before the debts of a tier become "everything".
const MOST_KEYS: usize = 65_536;
const MOST_PATTERNS: usize = 64;
const MOST_TAGS: usize = 1024;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Repairs {
    debts: Mutex<Debts>,
    /// How many there are, so that a reader with none pays one load.
    count: AtomicUsize,
    wake: Notify,
}

/// Tiers are sets of bits, by index.
#[derive(Default)]
struct Debts {
    keys: HashMap<Arc<str>, u64>,
    patterns: HashMap<Arc<str>, u64>,
    everything: u64,
    /// Debts of patterns and of everything entered so far. One that is entered again while it is being paid is a new one.
    entered: u64,
    /// Tags that the shared tier does not know to be invalid, by their stable hash.
    tags: HashMap<u64, Arc<str>>,
}

impl Debts {
    fn count(&self) -> usize {
        self.keys.len() + self.patterns.len() + self.everything.count_ones() as usize + self.tags.len()
    }
}

impl Repairs {
    /// Whether a tier's copy of `key` must not be read (R1).
    pub(super) fn bypasses(&self, tier: usize, key: &str) -> bool {
        // Acquire, edge `debt`: whoever sees the count of a debt entered before its operation returned finds the debt.
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let (debts, bit) = (self.debts.lock(), 1u64 << tier);
        debts.everything & bit != 0
            || debts.keys.get(key).is_some_and(|tiers| tiers & bit != 0)
            || debts.patterns.iter().any(|(p, tiers)| tiers & bit != 0 && glob::matches(p.as_bytes(), key.as_bytes()))
    }

    pub(super) fn len(&self) -> usize {
        // Relaxed: a figure for statistics.
        self.count.load(Ordering::Relaxed)
    }

    /// Enters a debt: `key` is to be removed from the tier.
    pub(super) fn owe(&self, tier: usize, key: &str) {
        self.change(|debts| {
            if debts.keys.len() >= MOST_KEYS && !debts.keys.contains_key(key) {
                debts.everything |= 1 << tier;
                debts.entered += 1;
            } else {
                *debts.keys.entry(key.into()).or_default() |= 1 << tier;
            }
        });
        self.wake.notify_one();
    }

    pub(super) fn owe_pattern(&self, tier: usize, pattern: &str) {
        self.change(|debts| {
            debts.entered += 1;
            if debts.patterns.len() >= MOST_PATTERNS && !debts.patterns.contains_key(pattern) {
                debts.everything |= 1 << tier;
            } else {
                *debts.patterns.entry(pattern.into()).or_default() |= 1 << tier;
            }
        });
        self.wake.notify_one();
    }

    /// Enters a change of many entries that the shared tier has not taken.
    pub(super) fn owe_bump(&self, tier: usize, bump: &Bump) {
        match bump {
            Bump::Pattern(pattern) => return self.owe_pattern(tier, pattern),
            Bump::Tag(tag) => self.change(|debts| {
                if debts.tags.len() < MOST_TAGS {
                    debts.tags.insert(stable_hash(tag), tag.as_str().into());
                } else {
                    debts.everything |= 1 << tier;
                }
                debts.entered += 1;
            }),
            Bump::Clear => self.change(|debts| {
                debts.everything |= 1 << tier;
                debts.entered += 1;
            }),
        }
        self.wake.notify_one();
    }

    /// Whether the tier is owed a removal of this very key.
    pub(super) fn owes(&self, tier: usize, key: &str) -> bool {
        // Acquire: see `bypasses`.
        self.count.load(Ordering::Acquire) > 0
            && self.debts.lock().keys.get(key).is_some_and(|tiers| tiers & 1u64 << tier != 0)
    }

    /// Whether what has these tags is not to be used, wherever it was found.
    pub(super) fn refuses(&self, tags: &[u64]) -> bool {
        // Acquire: see `bypasses`.
        if tags.is_empty() || self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let debts = self.debts.lock();
        tags.iter().any(|tag| debts.tags.contains_key(tag))
    }

    /// The tier has taken a newer write or removal of `key`: whether it was owed one.
    fn settled(&self, tier: usize, key: &str) -> bool {
        // Acquire: see `bypasses`.
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut owed = false;
        self.change(|debts| {
            if let Some(tiers) = debts.keys.get_mut(key) {
                owed = *tiers & 1 << tier != 0;
                *tiers &= !(1 << tier);
                if *tiers == 0 {
                    debts.keys.remove(key);
                }
            }
        });
        owed
    }

    fn change(&self, change: impl FnOnce(&mut Debts)) {
        let mut debts = self.debts.lock();
        change(&mut debts);
        // Release, edge `debt`: the debt is entered before its count is seen, and the operation returns after this.
        self.count.store(debts.count(), Ordering::Release);
    }

    fn keys(&self) -> Vec<Arc<str>> {
        self.debts.lock().keys.keys().cloned().collect()
    }
}

/// Pays debts until the engine is gone.
pub(super) async fn repair(core: Weak<Core>) {
    let mut delay = FIRST_DELAY;
    loop {
        let Some(strong) = core.upgrade().filter(|core| core.admit_any().is_ok()) else { return };
        let progress = strong.pay().await;
        let owing = strong.repairs.len() > 0;
        delay = if progress { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
        let until = strong.now().saturating_add(delay.mul_f64(0.75 + strong.random.fraction() / 2.0));
        let (clock, debts) = (strong.clock.clone(), strong.repairs.clone());
        // The engine may go while this waits.
        drop(strong);
        if owing {
            clock.sleep_until(until).await;
        } else {
            delay = FIRST_DELAY;
            debts.wake.notified().await;
        }
    }
}

impl Core {
    /// The tier has taken a newer write or removal of `key`.
    pub(super) fn settled(&self, tier: usize, key: &str) {
        if self.repairs.settled(tier, key)
            && let Some(shared) = self.shared_index().filter(|shared| *shared != tier)
        {
            self.repairs.owe(shared, key);
        }
    }

    /// Tries every debt once; whether any was paid.
    async fn pay(&self) -> bool {
        let before = self.repairs.len();
        if before == 0 {
            return false;
        }
        for index in (0..self.tiers.len()).filter(|index| !self.is_shared(*index)) {
            self.pay_everything(index).await;
            self.pay_patterns(index).await;
            self.pay_keys(index).await;
        }
        // Last, since it tells of what the others have taken.
        self.pay_shared().await;
        self.repairs.len() < before
    }

    async fn pay_everything(&self, index: usize) {
        let (tier, bit) = (&self.tiers[index], 1u64 << index);
        let (owed, entered) = {
            let debts = self.repairs.debts.lock();
            (debts.everything & bit != 0, debts.entered)
        };
        if !owed || tier.remove_pattern("*").await.is_err() {
            return;
        }
        self.repairs.change(|debts| {
            if debts.entered == entered {
                debts.everything &= !bit;
            }
        });
        self.clear_above(index, "*").await;
        self.owe_shared(&Bump::Clear);
    }

    fn owe_shared(&self, bump: &Bump) {
        if let Some(shared) = self.shared_index() {
            self.repairs.owe_bump(shared, bump);
        }
    }

    /// Other instances may have promoted what the tier still had.
    async fn clear_above(&self, index: usize, pattern: &str) {
        let above = if self.shared.is_some() { index } else { 0 };
        for (index, tier) in self.tiers[..above].iter().enumerate().filter(|(index, _)| !self.is_shared(*index)) {
            if tier.remove_pattern(pattern).await.is_err_and(|error| !error.is_unsupported()) {
                self.repairs.owe_pattern(index, pattern);
            }
        }
    }

    async fn pay_patterns(&self, index: usize) {
        let (tier, bit) = (&self.tiers[index], 1u64 << index);
        let (owed, entered): (Vec<Arc<str>>, u64) = {
            let debts = self.repairs.debts.lock();
            let owed = debts.patterns.iter().filter(|(_, tiers)| **tiers & bit != 0);
            (owed.map(|(pattern, _)| pattern.clone()).collect(), debts.entered)
        };
        for pattern in owed {
            if tier.remove_pattern(&pattern).await.is_err() {
                return;
            }
            self.repairs.change(|debts| {
                if debts.entered != entered {
                    return;
                }
                if let Some(tiers) = debts.patterns.get_mut(&pattern) {
                    *tiers &= !bit;
                    if *tiers == 0 {
                        debts.patterns.remove(&pattern);
                    }
                }
            });
            self.clear_above(index, &pattern).await;
            self.owe_shared(&Bump::Pattern(pattern.to_string()));
        }
    }

    async fn pay_keys(&self, index: usize) {
        let (tier, bit) = (&self.tiers[index], 1u64 << index);
        for key in self.repairs.keys() {
            let _lane = self.lane(&key).await;
            let owed = self.repairs.debts.lock().keys.get(&key).is_some_and(|tiers| tiers & bit != 0);
            if !owed {
                continue;
            }
            let until = self.now().saturating_add(self.deadlines.hard);
            if tier.remove(&key, until).await.is_err() {
                // The tier is still down: the rest can wait as well.
                return;
            }
            // Other instances may have promoted what the tier still had. Before the word, which `settled` owes them.
            let above = if self.shared.is_some() { index } else { 0 };
            for (index, tier) in self.tiers[..above].iter().enumerate().filter(|(index, _)| !self.is_shared(*index)) {
                if tier.remove(&key, until).await.is_err() {
                    self.repairs.owe(index, &key);
                }
            }
            self.settled(index, &key);
        }
    }

    /// Pays what is owed to the tier that instances share.
    async fn pay_shared(&self) {
        let Some(index) = self.shared_index() else { return };
        let bit = 1u64 << index;
        let (bumps, entered) = {
            let debts = self.repairs.debts.lock();
            let everything = (debts.everything & bit != 0).then_some(Bump::Clear);
            let patterns = debts.patterns.iter().filter(|(_, tiers)| **tiers & bit != 0);
            let patterns = patterns.map(|(pattern, _)| Bump::Pattern(pattern.to_string()));
            let tags = debts.tags.values().map(|tag| Bump::Tag(tag.to_string()));
            (everything.into_iter().chain(patterns).chain(tags).collect::<Vec<_>>(), debts.entered)
        };
        for bump in bumps {
            if self.bump_once(&bump).await.is_err() {
                // The tier is still down: the rest can wait as well.
                return;
            }
            self.repairs.change(|debts| match &bump {
                _ if debts.entered != entered => {}
                Bump::Clear => debts.everything &= !bit,
                Bump::Tag(tag) => drop(debts.tags.remove(&stable_hash(tag))),
                Bump::Pattern(pattern) => {
                    if let Some(tiers) = debts.patterns.get_mut(&**pattern) {
                        *tiers &= !bit;
                    }
                    debts.patterns.retain(|_, tiers| *tiers != 0);
                }
            });
        }
        for key in self.repairs.keys() {
            let _lane = self.lane(&key).await;
            if !self.repairs.owes(index, &key) {
                continue;
            }
            let until = self.now().saturating_add(self.deadlines.hard);
            if self.remove_shared(&key, until).await.is_err() {
                return;
            }
            // What was read before it was paid, and is old, goes; its word was this instance's own, which it does not hear.
            self.kill(&key);
        }
    }
}
