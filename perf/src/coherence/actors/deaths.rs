//! Rounds in which whoever computes first dies of it: its wire is cut, its loader does not return until all others have
//! been served. What they compute in its place is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Stage;
use crate::coherence::faults::Kind;
use crate::coherence::history::{Round, Span, Strike};
use crate::coherence::wire::State;

const NOBODY: usize = usize::MAX;
/// Nobody waits longer for the others: what is late by then is a budget's matter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who dies in a round.
pub(super) struct Death {
    victim: AtomicUsize,
    over: watch::Sender<bool>,
}

impl Death {
    fn new() -> Self {
        Self { victim: AtomicUsize::new(NOBODY), over: watch::channel(false).0 }
    }

    fn victim(&self) -> Option<usize> {
        // SeqCst: one word, asked for again and again.
        Some(self.victim.load(Ordering::SeqCst)).filter(|victim| *victim != NOBODY)
    }

    /// Dies here, if nobody has died yet: returns when the round is over.
    pub(super) async fn strike(&self, stage: &Stage, instance: usize) {
        // SeqCst: one word; who writes it first is the victim.
        if self.victim.compare_exchange(NOBODY, instance, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            stage.wires[instance].be(State { cut: true, ..State::default() });
            // An error is an end too.
            let _ = self.over.subscribe().wait_for(|over| *over).await;
        }
    }
}

/// One such round of `key`, which was just invalidated.
pub(super) async fn round(stage: &Arc<Stage>, key: usize, slow: Duration) {
    let (death, begin, patience) = (Arc::new(Death::new()), stage.history.now(), Instant::now() + PATIENCE);
    let read = |instance: usize| {
        let (there, death) = (stage.clone(), death.clone());
        stage.runtimes[instance].spawn(async move { there.read_or_die(instance, key, slow, death).await })
    };
    let reads: Vec<_> = (0..stage.instances.len()).map(read).collect();
    let late =
        |victim| reads.iter().enumerate().any(|(instance, read)| !read.is_finished() && Some(instance) != victim);
    while late(death.victim()) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (end, victim) = (stage.history.now(), death.victim());
    death.over.send_replace(true);
    if let Some(victim) = victim {
        stage.wires[victim].be(State::default());
        let (fault, span) = (Kind::KillHolder.name(), Span { begin, end });
        let strike = Strike { fault, span, instance: Some(victim), cuts: true, loses_leases: false };
        stage.history.note(|events| {
            events.strikes.push(strike);
            events.rounds.push(Round { key, begin, end, dead: Some(victim) });
        });
    }
    for (instance, read) in reads.into_iter().enumerate() {
        // One that panicked is counted as a panic; what the dead were told counts for nothing.
        if let Ok(read) = read.await
            && Some(instance) != victim
        {
            stage.history.note(|events| events.reads.push(read));
        }
    }
}
