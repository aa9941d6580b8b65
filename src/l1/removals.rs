//! The word of removals, carried from under the shards' locks to a listener on a thread of its own.
//!
//! # Invariants
//! - R1: an entry is told of once, by whoever takes it out, under the lock of its shard: so in order for each key.
//! - R2: the entry is kept until it was told of.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::entry::Counted;
use crate::error::{Error, Result};
use crate::listener::Listener;
use crate::stats::RemovalCause;
use crate::value::ValueRef;

struct Removal {
    entry: Counted,
    cause: RemovalCause,
}

/// Where removals are told.
pub(crate) struct Removals(Sender<Removal>);

impl Removals {
    /// Starts the listener's thread. It ends when nobody is left who could tell it anything.
    ///
    /// # Errors
    /// [`is_config`](Error::is_config) if the system gives no thread.
    pub(crate) fn start(listener: Arc<dyn Listener>) -> Result<Self> {
        let (told, removals) = channel();
        thread::Builder::new()
            .name("tercel-listener".into())
            .spawn(move || listen(&*listener, &removals))
            .map_err(|error| Error::config(format!("the thread of the listener does not start: {error}")))?;
        Ok(Self(told))
    }

    pub(super) fn tell(&self, entry: Counted, cause: RemovalCause) {
        // The thread listens for as long as this is here.
        let _ = self.0.send(Removal { entry, cause });
    }
}

fn listen(listener: &dyn Listener, removals: &Receiver<Removal>) {
    for removal in removals {
        // A listener that panics, or a value whose drop does, must not silence those that follow.
        let told = catch_unwind(AssertUnwindSafe(move || {
            let entry = removal.entry.entry();
            listener.removed(entry.key(), ValueRef::of(entry).as_ref(), removal.cause);
        }));
        if let Err(panicked) = told {
            // Its own drop may panic too.
            std::mem::forget(panicked);
        }
    }
}
