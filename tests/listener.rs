//! Listeners hear of each entry that leaves L1, once, with the cause, and delay nobody.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bed::{Bed, MINUTE, SECOND, Via};
use tercel::{Listener, RemovalCause, ValueRef};

both![
    each_cause_is_told_once_in_order_and_with_the_value,
    what_leaves_in_a_crowd_is_told_as_often_as_it_is_counted,
    one_that_blocks_delays_no_writer,
    one_that_panics_hears_what_comes_next,
];

type Heard = (String, Option<Vec<u8>>, RemovalCause);

/// Sends what it hears, and does what it is told for a key.
struct Log(Sender<Heard>);

impl Listener for Log {
    fn removed(&self, key: &str, value: Option<&ValueRef<'_>>, cause: RemovalCause) {
        self.0.send((key.to_owned(), value.and_then(|value| value.as_bytes()).map(<[u8]>::to_vec), cause)).unwrap();
    }
}

fn bed(via: Via, capacity: usize) -> (Bed, Receiver<Heard>) {
    let (log, heard) = channel();
    (
        Bed::with(via, |builder, _| builder.l1_capacity(capacity).max_entry_size(1000).listener(Arc::new(Log(log)))),
        heard,
    )
}

fn bytes(text: &str) -> tercel::Value {
    tercel::Value::bytes(text.as_bytes().to_vec())
}

fn each_cause_is_told_once_in_order_and_with_the_value(via: Via) {
    let (bed, heard) = bed(via, 2);
    bed.set("a", bytes("1"), MINUTE).unwrap();
    bed.set("a", bytes("2"), MINUTE).unwrap();
    bed.invalidate("a").unwrap();
    bed.set("b", bytes("3"), SECOND).unwrap();
    bed.clock.advance(Duration::from_secs(2));
    bed.set("b", bytes("4"), MINUTE).unwrap();
    bed.set("heavy", tercel::Value::bytes(vec![0; 2000]), MINUTE).unwrap();
    bed.set("c", bytes("5"), MINUTE).unwrap();
    bed.set("d", bytes("6"), MINUTE).unwrap();
    drop(bed);
    let (told, rest): (Vec<_>, Vec<_>) = heard.iter().partition(|(key, ..)| key == "a" || key == "b");
    assert!(rest.iter().any(|(key, _, cause)| key == "heavy" && *cause == RemovalCause::Rejected), "{rest:?}");
    let entry = |key: &str, value: &str, cause| (key.to_owned(), Some(value.as_bytes().to_vec()), cause);
    let first = [entry("a", "1", RemovalCause::Replaced), entry("a", "2", RemovalCause::Invalidated)];
    assert_eq!(told[..2], first);
    assert!(matches!(told[2].2, RemovalCause::Replaced | RemovalCause::Expired), "{told:?}");
}

fn what_leaves_in_a_crowd_is_told_as_often_as_it_is_counted(via: Via) {
    let (bed, heard) = bed(via, 50);
    for n in 0..2000u32 {
        let key = (n * 7 % 101).to_string();
        match n % 5 {
            0 => bed.invalidate(&key).unwrap(),
            1 => bed.set(&key, tercel::Value::bytes(vec![0; 2000]), MINUTE).unwrap(),
            2 => bed.set(&key, bytes("v"), Duration::from_millis(1)).unwrap(),
            3 => drop(bed.load_optional(&key, MINUTE, || tercel::ok(None::<String>)).unwrap()),
            _ => bed.set(&key, bytes("v"), MINUTE).unwrap(),
        }
        if n % 64 == 0 {
            bed.clock.advance(Duration::from_millis(2));
        }
    }
    let stats = bed.stats();
    let counted = stats.replaced + stats.invalidated + stats.expired + stats.evicted + stats.rejected;
    // The sweep may take more meanwhile: so many at least, and each cause that there was.
    let mut causes = HashMap::new();
    for told in 0..counted {
        let (_, _, cause) =
            heard.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{told} of {counted}"));
        *causes.entry(cause).or_insert(0u64) += 1;
    }
    assert_eq!(causes[&RemovalCause::Rejected], stats.rejected);
    assert_eq!(causes[&RemovalCause::Invalidated], stats.invalidated);
    assert!(causes[&RemovalCause::Evicted] > 0 && causes[&RemovalCause::Replaced] > 0, "{causes:?}");
}

/// Waits for the word to go on, at each removal.
struct Blocked(Mutex<Receiver<()>>, Sender<String>);

impl Listener for Blocked {
    fn removed(&self, key: &str, _: Option<&ValueRef<'_>>, _: RemovalCause) {
        self.0.lock().unwrap().recv().unwrap();
        self.1.send(key.to_owned()).unwrap();
    }
}

fn one_that_blocks_delays_no_writer(via: Via) {
    let (go, going) = channel();
    let (log, heard) = channel();
    let listener = Arc::new(Blocked(Mutex::new(going), log));
    let bed = Bed::with(via, |builder, _| builder.listener(listener));
    for n in 0..100 {
        bed.set(&n.to_string(), bytes("v"), MINUTE).unwrap();
        bed.invalidate(&n.to_string()).unwrap();
    }
    assert!(heard.try_recv().is_err(), "it is blocked, and all writes are done");
    for n in 0..100 {
        go.send(()).unwrap();
        assert_eq!(heard.recv().unwrap(), n.to_string());
    }
}

/// Panics at the key `bad`.
struct Panics(Sender<String>);

impl Listener for Panics {
    fn removed(&self, key: &str, _: Option<&ValueRef<'_>>, _: RemovalCause) {
        assert_ne!(key, "bad", "on purpose");
        self.0.send(key.to_owned()).unwrap();
    }
}

fn one_that_panics_hears_what_comes_next(via: Via) {
    let (log, heard) = channel();
    let bed = Bed::with(via, |builder, _| builder.listener(Arc::new(Panics(log))));
    for key in ["bad", "good"] {
        bed.set(key, bytes("v"), MINUTE).unwrap();
        bed.invalidate(key).unwrap();
    }
    assert_eq!(heard.recv().unwrap(), "good");
}
