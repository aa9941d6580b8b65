//! Changes the source and tells the cache: by an invalidation where many write, by a write through the cache where one does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Stage, any_of, rest, slowness};
use crate::coherence::history::{Done, What};
use crate::coherence::instance::done;

/// Commits and invalidates keys that every instance writes.
pub(super) async fn shared(stage: Arc<Stage>, instance: usize, pause: Duration) {
    let mut random = stage.random(("writer", instance));
    while !stage.stopped() {
        let key = any_of(&mut random, stage.source.keys.shared(), 25);
        if random.u32(..30) == 0 {
            abandon(&stage, instance, key, Duration::from_micros(random.u64(..2_000))).await;
        } else {
            invalidate(&stage, instance, key).await;
        }
        if random.bool() {
            stage.read(instance, key, slowness(&mut random)).await;
        }
        rest(&mut random, pause).await;
    }
}

/// Writes keys that no other instance writes: a write still under way may land after a newer change by somebody else.
pub(super) async fn owned(stage: Arc<Stage>, instance: usize, pause: Duration) {
    let mut random = stage.random(("owner", instance));
    let keys = stage.source.keys.owned(instance, stage.instances.len());
    while !stage.stopped() && !keys.is_empty() {
        let key = keys[random.usize(..keys.len())];
        if random.u32(..3) == 0 {
            invalidate(&stage, instance, key).await;
        } else {
            set(&stage, instance, key).await;
        }
        if random.bool() {
            stage.read(instance, key, slowness(&mut random)).await;
        }
        rest(&mut random, pause).await;
    }
}

/// A new version and the invalidation of the old ones; whether it was acknowledged.
pub(super) async fn invalidate(stage: &Stage, instance: usize, key: usize) -> bool {
    let version = stage.source.commit(key);
    let begin = stage.history.now();
    let outcome = stage.instances[instance].invalidate(stage.source.keys.name(key)).await;
    stage.changed(instance, &[(key, version)], begin, What::Invalidate, done(&outcome));
    outcome.is_ok()
}

/// A new version, and an invalidation that its caller leaves after `patience`: it has to come to its end all the same,
/// whenever that is.
async fn abandon(stage: &Stage, instance: usize, key: usize, patience: Duration) {
    let version = stage.source.commit(key);
    let begin = stage.history.now();
    let invalidation = stage.instances[instance].invalidate(stage.source.keys.name(key));
    let done = match tokio::time::timeout(patience, invalidation).await {
        Ok(outcome) => done(&outcome),
        Err(_) => {
            stage.history.note(|events| events.cancelled += 1);
            Done::Unknown
        }
    };
    stage.changed(instance, &[(key, version)], begin, What::Invalidate, done);
}

async fn set(stage: &Stage, instance: usize, key: usize) {
    let version = stage.source.commit(key);
    let value = Bytes::from(stage.source.bytes(key, instance as u64, version));
    let begin = stage.history.now();
    let outcome = stage.instances[instance].set(&stage.source.keys, key, value).await;
    stage.changed(instance, &[(key, version)], begin, What::Set, done(&outcome));
}
