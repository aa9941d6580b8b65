//! Models of the engine's protocols: every interleaving of two or three threads, up to a bound of preemptions.
//!
//! The files under model are the crate's own, included by path; `sync` stands in for the crate's door to synchronisation.
//! Each model asks one question and has a twin that plants a fault in the very file and must find it: the twin
//! runs the model in a process of its own, for a failing model may abort.
//!
//! `LOOM_MAX_PREEMPTIONS` sets the bound [3]; `--nocapture` shows how many executions each model took.
#![cfg(test)]
#![allow(dead_code)]

mod sync;

#[path = "../../src/hint.rs"]
mod hint;
#[path = "../../src/entry/refs.rs"]
mod refs;
#[path = "../../src/park/signal.rs"]
mod signal;
#[path = "../../src/entry/slot.rs"]
mod slot;

#[path = "../../src/l1"]
mod l1 {
    mod balance;
    mod ghost;
    mod list;
    pub(crate) mod marker;
    mod policy;
    mod shard;
    pub(crate) mod table;

    // What a shard has is for `l1` alone.
    #[path = "../../loom-tests/src/shard.rs"]
    mod models;
}

#[path = "../../src/flight"]
mod flight {
    pub(crate) mod core;
    pub(crate) mod waiters;
}

#[path = "../../src/counter"]
mod counter {
    mod stripes;

    // What stripes have is for `counter` alone.
    #[path = "../../loom-tests/src/counting.rs"]
    mod models;
}

#[path = "../../src/epoch"]
mod epoch {
    pub(crate) mod domain;
    pub(crate) mod limbo;
    pub(crate) mod slot;

    pub(crate) use crate::process::{domain, pin};
    pub(crate) use domain::{Pinned, Tag};
    pub(crate) use limbo::Limbo;
}

#[path = "../../src/tier/redis/lane.rs"]
mod lane;

mod calls;
mod counts;
mod entry;
mod harness;
mod lanes;
mod links;
mod loading;
mod parking;
mod process;
mod reclaim;
mod table;
