//! The engine itself: one `CacheManager` an instance, all on one Redis.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tercel::{CacheManager, EntryOptions, Error, InvalidationConfig, Value};

use super::history::What;
use super::instance::{Failure, Figures, Instance, Load, Mode, Outcome, Promises};
use super::source::Keys;

const NAMESPACE: &str = "check";
/// Fewer than there are keys, so that entries are evicted and come back from Redis.
const ENTRIES: usize = 56;
const WEIGHT: u64 = 1 << 20;
/// The engine's tier deadline.
const TIER: Duration = Duration::from_millis(500);

pub(super) struct Full;

impl Mode for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn start(&self, url: String) -> BoxFuture<'static, Outcome<Arc<dyn Instance>>> {
        Box::pin(async move {
            let config = InvalidationConfig {
                channel: NAMESPACE.into(),
                auto_broadcast_on_write: true,
                ..InvalidationConfig::default()
            };
            let builder = CacheManager::builder().l1_capacity(ENTRIES).l1_weight(WEIGHT);
            let cache = builder.redis(url.as_str()).invalidation(config).build().map_err(failure)?;
            cache.ready().await.map_err(failure)?;
            Ok(Arc::new(FullInstance(cache)) as Arc<dyn Instance>)
        })
    }

    fn offers(&self, _: What) -> bool {
        true
    }

    fn promises(&self) -> Promises {
        Promises {
            // And one insertion that is under way on each of the threads that insert: the caller's, the engine's.
            entries: ENTRIES + 2,
            weight: WEIGHT,
            // And the wait for another instance that computes.
            read: 2 * TIER + Duration::from_secs(2),
            // Its own turn, and that of a write of the same key before it.
            change: 2 * TIER,
            flight: TIER,
            disconnected: Duration::from_secs(2),
            detection: Duration::from_millis(1500),
        }
    }

    fn name_in_redis(&self, name: &str) -> String {
        format!("tc:{{{NAMESPACE}.p00}}:d:{name}")
    }

    fn channel(&self) -> &'static str {
        "tc:{check.p00}:inv"
    }
}

fn failure(error: Error) -> Failure {
    Failure { here: error.is_partial_write(), why: error.to_string() }
}

/// The payload of a value of the checker's.
fn payload(value: &Value) -> Outcome<Bytes> {
    value.to_bytes().ok_or_else(|| Failure { here: false, why: "a document where bytes were stored".into() })
}

struct FullInstance(CacheManager);

impl Instance for FullInstance {
    fn read<'a>(&'a self, keys: &'a Keys, key: usize, load: Load) -> BoxFuture<'a, Outcome<Bytes>> {
        Box::pin(async move {
            let load = || async { tercel::ok(Value::bytes(load().await)) };
            let value = self.0.get_or_compute_with(keys.name(key), options(keys, key), load).await;
            payload(&value.map_err(failure)?)
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Option<Bytes>>> {
        Box::pin(async move { self.0.get(name).await.map_err(failure)?.as_ref().map(payload).transpose() })
    }

    fn peek(&self, name: &str) -> Option<Bytes> {
        // What is no payload is wrong whatever it is: no bytes are no value of the checker's either.
        self.0.peek(name).map(|value| value.to_bytes().unwrap_or_default())
    }

    fn invalidate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move { self.0.invalidate(name).await.map_err(failure) })
    }

    fn set<'a>(&'a self, keys: &'a Keys, key: usize, value: Bytes) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move {
            let value = Value::bytes(value);
            self.0.set_with_broadcast(keys.name(key), value, options(keys, key)).await.map_err(failure)
        })
    }

    fn invalidate_group<'a>(&'a self, what: What, name: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move {
            match what {
                What::Tag => self.0.invalidate_tag(name).await.map_err(failure),
                What::Pattern => self.0.invalidate_pattern(name).await.map_err(failure),
                What::Clear => self.0.clear().await.map_err(failure),
                What::Invalidate | What::Set => {
                    Err(Failure { here: false, why: format!("{} is not offered", what.name()) })
                }
            }
        })
    }

    fn figures(&self) -> Figures {
        let (stats, heard) = (self.0.get_stats(), self.0.get_invalidation_stats());
        Figures {
            entries: stats.resident_entries,
            weight: stats.resident_weight,
            flights: stats.in_flight_requests,
            pending: stats.pending_repairs,
            replayed: heard.as_ref().map(|heard| heard.replayed),
            revalidated: heard.as_ref().map(|heard| heard.revalidated),
        }
    }

    fn problem(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            let health = self.0.health_check().await;
            (!health.is_healthy()).then(|| health.to_string())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // It returns no error.
            let _ = self.0.close().await;
        })
    }
}

fn options(keys: &Keys, key: usize) -> EntryOptions {
    EntryOptions::new().ttl(keys.ttl(key)).tags(keys.tag(key).map(|tag| keys.tag_name(tag)))
}
