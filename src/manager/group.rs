//! Many entries at once: by tag, and all of them.
//!
//! Nothing is walked: what is invalid is noticed when it is looked at (`crate::trust`), in L1 by its stamp and in a tier below
//! by the control clock that its frame carries.

use std::sync::Arc;

use super::Core;
use crate::error::{Error, Kind, Result};
use crate::hash::stable_hash;
use crate::trust::Sweeping;

impl Core {
    /// Makes every entry invalid that has one of these tags.
    pub(crate) async fn invalidate_tags(self: &Arc<Self>, tags: Vec<String>) -> Result<()> {
        self.admit_any()?;
        for tag in &tags {
            if tag.is_empty() || tag.len() > super::LONGEST_KEY {
                return Err(Error::new(Kind::KEY, format!("a tag has 1 byte to 64 KiB, this has {}", tag.len())));
            }
        }
        for tag in &tags {
            self.trust.sweep_alone(Sweeping::Tag(stable_hash(tag)), self.wall_micros());
        }
        Ok(())
    }

    /// Makes every entry invalid whose key begins with `prefix`.
    pub(crate) async fn clear(self: &Arc<Self>, prefix: &str) -> Result<()> {
        self.admit_any()?;
        if !prefix.is_empty() || !self.tiers.is_empty() || self.bus.is_some() {
            return self.invalidate_pattern(&format!("{}*", crate::glob::escape(prefix))).await;
        }
        self.trust.sweep_alone(Sweeping::Clear, self.wall_micros());
        self.unlink_where(|_| true);
        Ok(())
    }
}
