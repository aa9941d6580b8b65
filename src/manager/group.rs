//! Many entries at once: by tag, and all of them.
//!
//! Nothing is walked: what is invalid is noticed when it is looked at (`crate::trust`), in L1 by its stamp and in a tier below
//! by the control clock that its frame carries.

use std::sync::Arc;

use super::Core;
use super::write::{Untaken, settle};
use crate::error::{Error, Kind, Result};
use crate::glob;
use crate::hash::stable_hash;
use crate::shared::Bump;
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
        if self.shared.is_none() {
            for tag in &tags {
                self.trust.sweep_alone(Sweeping::Tag(stable_hash(tag)), self.wall_micros());
                self.after_event();
            }
            return Ok(());
        }
        let core = self.clone();
        let bumped = async move {
            let mut untaken = Vec::new();
            for tag in tags {
                if let Err(error) = core.bump(Bump::Tag(tag)).await {
                    untaken.push(Untaken { by: core.shared_name(), error });
                }
            }
            settle("the invalidation of tags", untaken)
        };
        self.to_the_end(bumped).await?
    }

    /// Makes every entry invalid whose key begins with `prefix`.
    pub(crate) async fn clear(self: &Arc<Self>, prefix: &str) -> Result<()> {
        self.admit_any()?;
        if !prefix.is_empty() || !self.has_no_other_tier() {
            return self.invalidate_pattern(&format!("{}*", glob::escape(prefix))).await;
        }
        if self.shared.is_none() {
            self.trust.sweep_alone(Sweeping::Clear, self.wall_micros());
            self.after_event();
            self.unlink_where(|_| true);
            return Ok(());
        }
        let core = self.clone();
        self.to_the_end(async move { core.bump_alone(Bump::Clear, "the clear").await }).await?
    }

    /// What is to be done after each event.
    pub(super) fn after_event(&self) {
        if self.trust.is_crowded() {
            self.l1.stamp_all();
        }
    }

    /// A change of many entries that no tier but the shared one has to know.
    pub(super) async fn bump_alone(&self, bump: Bump, what: &str) -> Result<()> {
        let untaken = self.bump(bump).await.err().map(|error| Untaken { by: self.shared_name(), error });
        settle(what, untaken.into_iter().collect())
    }

    /// Whether there is no tier below L1 but the shared one.
    pub(super) fn has_no_other_tier(&self) -> bool {
        (0..self.tiers.len()).all(|index| self.is_shared(index))
    }
}
