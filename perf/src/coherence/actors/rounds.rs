//! Rounds: a key is invalidated, then all instances read it at the same time. How often it is computed is counted later.

use std::sync::Arc;
use std::time::Duration;

use super::writer::invalidate;
use super::{Stage, deaths, rest};
use crate::coherence::history::Round;

const PAUSE: Duration = Duration::from_millis(100);
/// Reads of each instance in a round.
const READS: usize = 2;

pub(super) async fn run(stage: Arc<Stage>) {
    let mut random = stage.random("rounds");
    while !stage.stopped() {
        rest(&mut random, PAUSE).await;
        let key = random.usize(stage.source.keys.rounds());
        let instance = random.usize(..stage.instances.len());
        let slow = Duration::from_micros(random.u64(1_000..20_000));
        let (changer, stage_there) = (instance, stage.clone());
        let change = stage.runtimes[instance].spawn(async move { invalidate(&stage_there, changer, key).await });
        if !change.await.unwrap_or(false) {
            continue;
        }
        // Rarely: it takes as long as a lease.
        if stage.deaths && random.u32(..8) == 0 {
            deaths::round(&stage, key, slow).await;
            continue;
        }
        let begin = stage.history.now();
        let mut reads = Vec::new();
        for (instance, runtime) in stage.runtimes.iter().enumerate() {
            for _ in 0..READS {
                let stage = stage.clone();
                reads.push(runtime.spawn(async move { stage.read(instance, key, slow).await }));
            }
        }
        for read in reads {
            // One that panicked is counted as a panic.
            let _ = read.await;
        }
        let end = stage.history.now();
        stage.history.note(|events| events.rounds.push(Round { key, begin, end, dead: None }));
    }
}
