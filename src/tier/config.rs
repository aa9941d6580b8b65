//! How a tier takes part: its level, its share of the time to live, and what it hands upwards.

use std::sync::Arc;

use super::L2CacheBackend;
use crate::error::{Error, Result};

/// Settings of a tier.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct TierConfig {
    /// 1 is the fastest tier.
    pub tier_level: usize,
    /// Whether a hit here is copied to the tiers above.
    pub promotion_enabled: bool,
    /// About one in this many hits is copied upwards; 1 copies every one.
    pub promotion_frequency: usize,
    /// The time to live here, as a multiple of the one that the write was given.
    pub ttl_scale: f64,
}

impl TierConfig {
    /// A tier that hands every hit upwards and keeps values as long as they were given.
    pub fn new(tier_level: usize) -> Self {
        Self { tier_level, promotion_enabled: true, promotion_frequency: 1, ttl_scale: 1.0 }
    }

    /// Level 1, with nothing above it.
    pub fn as_l1() -> Self {
        Self::new(1).with_promotion(false)
    }

    /// Level 2.
    pub fn as_l2() -> Self {
        Self::new(2)
    }

    /// Level 3, which keeps values twice as long.
    pub fn as_l3() -> Self {
        Self::new(3).with_ttl_scale(2.0)
    }

    /// Level 4, which keeps values eight times as long.
    pub fn as_l4() -> Self {
        Self::new(4).with_ttl_scale(8.0)
    }

    /// Whether a hit here is copied to the tiers above.
    pub fn with_promotion(mut self, enabled: bool) -> Self {
        self.promotion_enabled = enabled;
        self
    }

    /// Copies about one in `n` hits upwards.
    pub fn with_promotion_frequency(mut self, n: usize) -> Self {
        self.promotion_frequency = n;
        self
    }

    /// The time to live here, as a multiple of the one that the write was given.
    pub fn with_ttl_scale(mut self, scale: f64) -> Self {
        self.ttl_scale = scale;
        self
    }

    /// The level; 1 is the fastest.
    pub fn with_level(mut self, level: usize) -> Self {
        self.tier_level = level;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let level = self.tier_level;
        if level == 0 || level > 63 {
            return Err(Error::config(format!("tier level {level}: levels are 1 to 63")));
        }
        if !(self.ttl_scale.is_finite() && self.ttl_scale > 0.0) {
            return Err(Error::config(format!("ttl_scale {} of tier {level} must be above 0", self.ttl_scale)));
        }
        if self.promotion_frequency == 0 {
            return Err(Error::config(format!("promotion_frequency 0 of tier {level}: 1 copies every hit upwards")));
        }
        Ok(())
    }
}

/// A backend with its settings.
#[derive(Clone)]
pub struct CacheTier {
    pub(crate) backend: Arc<dyn L2CacheBackend>,
    pub(crate) config: TierConfig,
}

impl CacheTier {
    /// A tier over `backend`. With `promotion_enabled` every hit is copied upwards; see
    /// [`with_promotion_frequency`](CacheTier::with_promotion_frequency).
    #[must_use]
    pub fn new(backend: Arc<dyn L2CacheBackend>, tier_level: usize, promotion_enabled: bool, ttl_scale: f64) -> Self {
        let config = TierConfig::new(tier_level).with_promotion(promotion_enabled).with_ttl_scale(ttl_scale);
        Self { backend, config }
    }

    /// Copies about one in `n` hits upwards.
    #[must_use]
    pub fn with_promotion_frequency(mut self, n: usize) -> Self {
        self.config = self.config.with_promotion_frequency(n);
        self
    }
}

impl std::fmt::Debug for CacheTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheTier").field("backend", &self.backend.name()).field("config", &self.config).finish()
    }
}
