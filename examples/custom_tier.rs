//! A tier of your own below L1: here a folder with a file for every key.
//!
//! `cargo run --example custom_tier`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use bytes::Bytes;
use tercel::{BoxFuture, CacheBackend, CacheManager, CacheTier, Error, L1Cache, L2CacheBackend, Result};

/// The end of a value's life is the file's modification time.
struct Folder(PathBuf);

impl Folder {
    fn file(&self, key: &str) -> PathBuf {
        self.0.join(key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn read(&self, key: &str) -> io::Result<Option<(Bytes, Option<Duration>)>> {
        let bytes = match fs::read(self.file(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let end = fs::metadata(self.file(key))?.modified()?;
        Ok(end.duration_since(SystemTime::now()).ok().map(|left| (bytes.into(), Some(left))))
    }

    fn write(&self, key: &str, value: &[u8], ttl: Duration) -> io::Result<()> {
        let new = self.file(key).with_extension("new");
        fs::write(&new, value)?;
        let year = Duration::from_secs(365 * 24 * 3600);
        fs::File::options().write(true).open(&new)?.set_modified(SystemTime::now() + ttl.min(year))?;
        fs::rename(new, self.file(key))
    }
}

/// "Not there" is `Ok(None)`, a failure is an error and never a miss.
impl CacheBackend for Folder {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { Ok(self.get_with_ttl(key).await?.map(|(bytes, _)| bytes)) })
    }

    fn set_with_ttl<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.write(key, &value, ttl).map_err(Error::tier) })
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match fs::remove_file(self.file(key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::tier(error)),
                _ => Ok(()),
            }
        })
    }

    fn health_check(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.0.is_dir() })
    }

    fn name(&self) -> &str {
        "folder"
    }
}

impl L2CacheBackend for Folder {
    fn get_with_ttl<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<(Bytes, Option<Duration>)>>> {
        Box::pin(async move { self.read(key).map_err(Error::tier) })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("tercel-custom-tier-{}", std::process::id()));
    fs::create_dir_all(&dir).map_err(Error::tier)?;
    let start = || {
        let l1 = CacheTier::new(Arc::new(L1Cache::new()?), 1, false, 1.0);
        let folder = CacheTier::new(Arc::new(Folder(dir.clone())), 2, true, 1.0);
        CacheManager::new_with_tiers(vec![l1, folder], None)
    };
    start()?.set_with_strategy("greeting", "written before the restart", Duration::from_secs(60)).await?;

    // Another engine with an empty L1, as after a restart: the folder has it, and then L1 has it too.
    let cache = start()?;
    println!("{:?}", cache.get("greeting").await?);
    println!("{:?}", cache.get("greeting").await?);
    for tier in cache.get_tier_stats().unwrap_or_default() {
        println!("L{} {}: {} hits", tier.tier_level, tier.backend_name, tier.hit_count());
    }
    // It has no way to remove by pattern, and says so.
    if let Err(error) = cache.invalidate_pattern("greet*").await {
        println!("unsupported: {} ({error})", error.is_unsupported());
    }
    cache.close().await?;
    fs::remove_dir_all(dir).map_err(Error::tier)
}
