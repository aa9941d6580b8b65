//! What the cache counts, and how it is.

/// Why an entry left L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// A newer value took its place.
    Replaced,
    /// It was invalidated, here or by another instance.
    Invalidated,
    /// Its time passed.
    Expired,
    /// It went to make room.
    Evicted,
    /// It was heavier than L1 takes, and never resident.
    Rejected,
}

impl RemovalCause {
    /// Every cause, in the order of their numbers.
    pub(crate) const ALL: [RemovalCause; 5] =
        [Self::Replaced, Self::Invalidated, Self::Expired, Self::Evicted, Self::Rejected];
}

/// A snapshot of the manager's counters, exact when nothing runs.
///
/// `total_requests` = hits + misses + stale + absent. `peek` and `with_cached` are no requests.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheManagerStats {
    /// Reads and loads: every `get*`, `get_or_compute*` and `lookup`.
    pub total_requests: u64,
    /// Requests served fresh from L1.
    pub l1_hits: u64,
    /// Requests served fresh from the tier below L1.
    pub l2_hits: u64,
    /// Requests served fresh from any tier, or from a flight that another caller led.
    pub total_hits: u64,
    /// Requests that found nothing, and loads that ran their closure or failed.
    pub misses: u64,
    /// Requests served a stale value or a fallback because a computation failed (fail-safe).
    pub stale: u64,
    /// Requests answered "the source has none" from the cache.
    pub absent: u64,
    /// `total_hits` in percent of `total_requests`; 0 without requests.
    pub hit_rate: f64,
    /// `l1_hits` in percent of `total_requests`; 0 without requests.
    pub l1_hit_rate: f64,
    /// Values copied to a faster tier after a hit below.
    pub promotions: usize,
    /// Computations that run now.
    pub in_flight_requests: usize,
    /// Closures that were run.
    pub computations: u64,
    /// Closures that ran outside a flight, because waiting for its leader could never have ended.
    pub lone_computations: u64,
    /// Values in lower tiers that were damaged, foreign, or not of the type asked for; each was a miss.
    pub codec_misses: u64,
    /// Writes and removals that a lower tier did not take and that are being retried.
    pub pending_repairs: usize,
    /// Entries resident in L1.
    pub resident_entries: usize,
    /// What they weigh, in bytes.
    pub resident_weight: u64,
    /// Rounds of reclamation that the oldest reader of L1 has held back: 0 or 1 while reads are short. A figure that keeps
    /// growing tells of a closure of `with_cached` that does not return; nothing removed from L1 since is freed until it does.
    pub reclamation_held_back: u64,
    /// Values offered to L1.
    pub inserted: u64,
    /// Entries that a newer value replaced.
    pub replaced: u64,
    /// Entries that were invalidated.
    pub invalidated: u64,
    /// Entries whose time passed.
    pub expired: u64,
    /// Entries that went to make room.
    pub evicted: u64,
    /// Values that were too heavy for L1.
    pub rejected: u64,
}

/// A snapshot of one tier's counters: `lookups` = hits + misses + errors + skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// 1 for L1, and so on down.
    pub tier_level: usize,
    /// The backend's own name.
    pub backend_name: String,
    /// Lookups that found a fresh value.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Lookups that failed.
    pub errors: u64,
    /// Lookups that were not made, because the tier is down or its copy of the key waits for repair.
    pub skipped: u64,
}

impl TierStats {
    /// Lookups that found a fresh value.
    #[must_use]
    pub fn hit_count(&self) -> u64 {
        self.hits
    }

    /// All lookups.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.hits + self.misses + self.errors + self.skipped
    }
}

/// How every tier is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// One row per tier, L1 first.
    pub tiers: Vec<TierHealth>,
    /// Why this instance does not hear the invalidations of others; `None` if it does, or has no others.
    pub invalidation: Option<String>,
    /// What keeps memory from being freed, and what to do about it: a closure of `with_cached` that does not end. The cache
    /// serves all the same.
    pub reclamation: Option<String>,
}

/// How one tier is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierHealth {
    /// 1 for L1, and so on down.
    pub tier_level: usize,
    /// The backend's own name.
    pub backend_name: String,
    /// Why the tier cannot serve; `None` if it can.
    pub problem: Option<String>,
}

impl Health {
    /// Whether every tier can serve and this instance hears the others.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.tiers.iter().all(|tier| tier.problem.is_none()) && self.invalidation.is_none()
    }
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, tier) in self.tiers.iter().enumerate() {
            let end = if n + 1 < self.tiers.len() { "\n" } else { "" };
            let problem = tier.problem.as_deref().unwrap_or("ok");
            write!(f, "L{} {}: {problem}{end}", tier.tier_level, tier.backend_name)?;
        }
        match &self.invalidation {
            Some(problem) => write!(f, "\ninvalidation: {problem}"),
            None => Ok(()),
        }
    }
}
