//! Writes and invalidations.

use std::time::Duration;

use super::CacheManager;
use crate::error::Result;
use crate::glob;
use crate::options::EntryOptions;
use crate::value::Value;

/// Writes and invalidations.
impl CacheManager {
    /// Writes `value` into every tier, each with its share of the time to live. A time to live of zero stores nothing and
    /// removes what is there.
    ///
    /// Loads of the key that run keep their callers but store nothing.
    ///
    /// # Cancel safety
    /// Once polled, the write goes on to its end although the future is dropped.
    ///
    /// # Errors
    /// [`is_partial_write`](crate::Error::is_partial_write) if it took effect here but not in a tier below: the text names
    /// the tiers, which are not read for this key until they were repaired. [`is_codec`](crate::Error::is_codec),
    /// [`is_too_large`](crate::Error::is_too_large) and [`is_key`](crate::Error::is_key) before anything is done.
    pub async fn set_with_strategy(
        &self,
        key: &str,
        value: impl Into<Value>,
        options: impl Into<EntryOptions>,
    ) -> Result<()> {
        self.write(key, value.into(), options.into(), false).await
    }

    /// Writes as [`set_with_strategy`](CacheManager::set_with_strategy) does and tells the other instances, which stop
    /// serving the old value. Without a time to live the defaults hold.
    ///
    /// # Errors
    /// As [`set_with_strategy`](CacheManager::set_with_strategy).
    pub async fn update_cache(&self, key: &str, value: impl Into<Value>, ttl: Option<Duration>) -> Result<()> {
        self.write(key, value.into(), ttl.map(EntryOptions::from).unwrap_or_default(), true).await
    }

    /// Writes as [`set_with_strategy`](CacheManager::set_with_strategy) does and tells the other instances, which stop
    /// serving the old value.
    ///
    /// # Errors
    /// As [`set_with_strategy`](CacheManager::set_with_strategy).
    pub async fn set_with_broadcast(
        &self,
        key: &str,
        value: impl Into<Value>,
        options: impl Into<EntryOptions>,
    ) -> Result<()> {
        self.write(key, value.into(), options.into(), true).await
    }

    async fn write(&self, key: &str, value: Value, options: EntryOptions, announce: bool) -> Result<()> {
        let settings = self.0.settings(options);
        let key = self.0.key(key);
        Box::pin(self.0.core.set(&key, value, &settings, announce)).await
    }

    /// Removes `key` from every tier and tells the other instances. Once it is `Ok`, no call on this instance that starts
    /// afterwards gets an older value: loads that run give theirs to the callers that wait for it and store nothing.
    ///
    /// # Cancel safety
    /// Once polled, the invalidation goes on to its end although the future is dropped.
    ///
    /// # Errors
    /// [`is_partial_write`](crate::Error::is_partial_write): done here, not yet in the tiers that the text names; it is
    /// retried in the background, and until then those tiers are not read for this key.
    pub async fn invalidate(&self, key: &str) -> Result<()> {
        let key = self.0.key(key);
        Box::pin(self.0.core.invalidate(&key)).await
    }

    /// Removes every key that `pattern` matches, with the meaning of Redis `MATCH` (`*`, `?`, `[a-z]`, `[^a]`, `\`), as
    /// [`invalidate`](CacheManager::invalidate) does for one.
    ///
    /// # Cost
    /// Walks all of L1, and all keys of a tier below that cannot match by itself.
    ///
    /// # Errors
    /// As [`invalidate`](CacheManager::invalidate), and [`is_unsupported`](crate::Error::is_unsupported) if a tier cannot
    /// remove by pattern.
    pub async fn invalidate_pattern(&self, pattern: &str) -> Result<()> {
        let view = &*self.0;
        let whole = match (view.prefix.is_empty(), pattern.is_empty()) {
            (true, _) | (_, true) => pattern.to_owned(),
            (false, false) => format!("{}{pattern}", glob::escape(&view.prefix)),
        };
        Box::pin(view.core.invalidate_pattern(&whole)).await
    }

    /// Makes every entry invalid that has this tag ([`EntryOptions::tags`]), as [`invalidate`](CacheManager::invalidate) does
    /// for one key. A view's tags are its own.
    ///
    /// # Cost
    /// One step, however many entries there are: they are looked at when they are asked for, and reclaimed by and by.
    ///
    /// # Errors
    /// [`is_key`](crate::Error::is_key) for an empty tag or one above 64 KiB.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.invalidate_tags([tag]).await
    }

    /// As [`invalidate_tag`](CacheManager::invalidate_tag), for several.
    ///
    /// # Errors
    /// As there; none of them is done then.
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) -> Result<()> {
        let view = &*self.0;
        let whole = |tag: &str| if tag.is_empty() { String::new() } else { format!("{}{tag}", view.prefix) };
        let tags = tags.into_iter().map(|tag| whole(tag.as_ref())).collect();
        Box::pin(view.core.invalidate_tags(tags)).await
    }

    /// Makes everything in this view invalid, in every tier.
    ///
    /// # Cost
    /// With L1 alone one step, however many entries there are, for a handle that is no view; else as
    /// [`invalidate_pattern`](CacheManager::invalidate_pattern).
    ///
    /// # Errors
    /// As [`invalidate_pattern`](CacheManager::invalidate_pattern).
    pub async fn clear(&self) -> Result<()> {
        Box::pin(self.0.core.clear(&self.0.prefix)).await
    }
}
