//! One flight per key: whoever asks first leads, whoever asks meanwhile follows, and all of them get the leader's outcome.
//!
//! A caller [enters](Flights::enter) a key and is told that it leads (it holds a [`Lease`]), that it follows (it polls a
//! [`Follow`]), or that it asked for a key whose load is running further up its own stack. A lease ends once: it
//! lands an outcome, or it is dropped (a cancelled future, a panic) and exactly one follower takes over.
//!
//! # Invariants
//! - **F1** A flight has at most one lease. A lead that is given up goes to the follower that waits longest, by name: no
//!   newcomer overtakes it.
//! - **F2** A follower that waits is woken by the outcome or by the lead. A follower that is granted the lead and goes away
//!   passes the grant on.
//! - **F3** A flight is over once, by landing or because nobody is left; it then keeps its outcome for those who still
//!   follow, and is in the table no more.
//! - **F4** A flight leaves the table by identity: what removes it never removes another flight of the same key.
//! - **F5** After `unlink` has returned no caller joins the flight that was there.
//! - **F6** Memory follows the waiters alive: one that leaves gives its place back at once.
//!
//! Checked by `loom-tests/` (F1 to F5) and the tests beside each file.

mod core;
mod nesting;
mod table;
mod waiters;

pub(crate) use nesting::is_loading;
pub(crate) use table::{Entered, Flights, Follow, Followed, Lease};
