//! Reads keys, a few of them most of the time; now and then it goes away before it has an answer.

use std::sync::Arc;
use std::time::Duration;

use super::{Stage, any_of, rest, slowness};

pub(super) async fn run(stage: Arc<Stage>, instance: usize, number: usize, pause: Duration) {
    let mut random = stage.random(("reader", instance, number));
    while !stage.stopped() {
        let key = any_of(&mut random, stage.source.keys.read(), 40);
        let slow = slowness(&mut random);
        if random.u32(..50) == 0 {
            let patience = Duration::from_micros(random.u64(..10_000));
            if tokio::time::timeout(patience, stage.read(instance, key, slow)).await.is_err() {
                stage.history.note(|events| events.cancelled += 1);
            }
        } else {
            stage.read(instance, key, slow).await;
        }
        rest(&mut random, pause).await;
    }
}
