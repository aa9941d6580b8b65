//! The permission to compute a key that is nowhere: one instance of those that share a tier has it.
//!
//! A lease keeps the others from computing the same. What keeps an old value from being stored is the token that it is stored
//! under: every change of the key takes it away, and a lease that ended by itself only means that somebody computes twice.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::shared::Shared;
use super::{Core, Mark};
use crate::clock::Clock;
use crate::error::Result;
use crate::options::Settings;
use crate::runtime::Spawn;
use crate::shared::{LeaseToken, Leased, Stored};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tier::shield::timeout;

/// How long a lease lasts unless it is renewed, which it is every third of that: for so long the others wait in vain for an
/// instance that has died.
const LEASE: Duration = Duration::from_secs(1);
/// How long to wait for another instance before computing all the same.
const MOST_WAITED: Duration = Duration::from_secs(2);
/// How often to ask anew, should the word that the lease has ended be lost.
const POLL: Duration = Duration::from_millis(250);
/// How long a value stays that the shared tier has not got: nobody can tell that it has changed, but this instance.
pub(super) const SHORT: Duration = Duration::from_secs(2);

/// What may be done with what is computed.
pub(super) enum Permission {
    /// Stored wherever it belongs: nothing is shared.
    Free,
    /// Stored everywhere, in the shared tier under this lease.
    Leased(Leasehold),
    /// Kept in L1 for a short time only: the shared tier gave no lease.
    Alone,
    /// Stored nowhere: the key is under a hold.
    Held,
}

/// The answer to who asks for permission.
pub(super) enum Asked {
    Compute(Permission),
    /// Another instance has stored something meanwhile.
    Stored(Stored),
    /// Another instance computes, and there is a stale value for the meantime.
    Busy,
}

impl Core {
    /// Asks to be the one who computes. `known`: the write id of what is in the shared tier and is not wanted. `within`: how
    /// long an answer may take.
    pub(super) async fn permission(
        &self,
        mark: &Mark,
        settings: &Settings,
        known: Option<u64>,
        can_do_without: bool,
        within: Duration,
    ) -> Asked {
        let Some((shared, index)) = self.shared.as_ref().and_then(|shared| Some((shared, shared.at?))) else {
            return Asked::Compute(Permission::Free);
        };
        if settings.skipped.has(self.tiers[index].level()) {
            return Asked::Compute(Permission::Free);
        }
        if self.repairs.bypasses(index, &mark.key) || !self.judges() {
            return Asked::Compute(Permission::Alone);
        }
        let give_up = self.now().saturating_add(MOST_WAITED.min(settings.hard_timeout));
        loop {
            let waiter = shared.waiters.enter(&mark.key);
            let mut ended = pin!(waiter.ended().notified());
            // From here on no word is missed.
            ended.as_mut().enable();
            let token = self.token();
            let until = self.now().saturating_add(within);
            match self.within(until, shared.tier.lease(&mark.key, token, LEASE, known)).await {
                Ok(Leased::Granted) => {
                    return Asked::Compute(Permission::Leased(Leasehold::new(self, shared, &mark.key, token)));
                }
                Ok(Leased::Stored(stored)) => return Asked::Stored(stored),
                Ok(Leased::Held(_)) => return Asked::Compute(Permission::Held),
                Ok(Leased::Waits(_)) if can_do_without => return Asked::Busy,
                Ok(Leased::Waits(left)) => {
                    let now = self.now();
                    if now >= give_up {
                        return Asked::Compute(Permission::Alone);
                    }
                    // A lease that is left to itself ends then; one millisecond later somebody else can have it.
                    let next = now.saturating_add(POLL.min(left.saturating_add(Duration::from_millis(1))));
                    let _ = timeout(&*self.clock, next.min(give_up), ended).await;
                }
                Err(_) => return Asked::Compute(Permission::Alone),
            }
            if self.admit_any().is_err() || !self.judges() {
                return Asked::Compute(Permission::Alone);
            }
        }
    }

    /// A token that nobody has used.
    fn token(&self) -> LeaseToken {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&self.random.bits().to_le_bytes());
        token[8..].copy_from_slice(&self.random.bits().to_le_bytes());
        LeaseToken(token)
    }
}

/// A lease that was granted, and is renewed in the background: the closure may hold its thread. Dropped, it is given back.
pub(super) struct Leasehold {
    shared: Arc<Shared>,
    tasks: Arc<dyn Spawn>,
    key: Arc<str>,
    token: LeaseToken,
    /// The server has said that it is somebody else's.
    lost: Arc<AtomicBool>,
    /// It was used.
    ended: bool,
    /// Ends the renewal when it goes.
    _renewed: oneshot::Sender<()>,
}

impl Leasehold {
    fn new(core: &Core, shared: &Arc<Shared>, key: &Arc<str>, token: LeaseToken) -> Self {
        let (lost, (_renewed, ended)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
        let (shared, tasks, key) = (shared.clone(), core.tasks.clone(), key.clone());
        let renewal = renew(shared.clone(), core.clock.clone(), key.clone(), token, lost.clone(), ended);
        tasks.spawn(Box::pin(renewal));
        Self { shared, tasks, key, token, lost, ended: false, _renewed }
    }

    /// Stores the frame under the lease; false if it was lost. An error says nothing of whether it is stored, and does no
    /// harm: it is stored as long as nothing has changed, or never.
    pub(super) async fn commit(mut self, frame: Bytes, ttl: Duration) -> Result<bool> {
        self.ended = true;
        // Relaxed: a hint; the server knows whose the lease is.
        if self.lost.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.shared.tier.commit(&self.key, self.token, frame, ttl).await
    }
}

/// Renews a lease every third of its time until it is lost, or has `ended`.
async fn renew(
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    key: Arc<str>,
    token: LeaseToken,
    lost: Arc<AtomicBool>,
    mut ended: oneshot::Receiver<()>,
) {
    loop {
        let soon = clock.now().saturating_add(LEASE / 3);
        if timeout(&*clock, soon, &mut ended).await.is_some() {
            return;
        }
        let within = clock.now().saturating_add(LEASE / 3);
        match timeout(&*clock, within, shared.tier.renew(&key, token, LEASE)).await {
            // Relaxed: see `commit`.
            Some(Ok(false)) => return lost.store(true, Ordering::Relaxed),
            Some(Err(error)) if error.is_closed() => return,
            // One that is not answered says nothing; the next is soon.
            _ => {}
        }
    }
}

impl Drop for Leasehold {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (shared, key, token) = (self.shared.clone(), self.key.clone(), self.token);
        self.tasks.spawn(Box::pin(async move {
            // One that is not given back ends by itself.
            let _ = shared.tier.release(&key, token).await;
        }));
    }
}
