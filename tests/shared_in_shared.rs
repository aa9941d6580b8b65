//! A `Deserialize` that asks for decoded forms itself: of the very value that it decodes, or of one whose own asks back. Nobody
//! waits for ever.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;

use serde::{Deserialize, Deserializer};
use tercel::Value;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Runs `inner` one level deeper, unless that is too deep.
fn deeper<R>(most: usize, inner: impl FnOnce() -> R) -> Option<R> {
    let depth = DEPTH.get();
    if depth == most {
        return None;
    }
    DEPTH.set(depth + 1);
    let result = inner();
    DEPTH.set(depth);
    Some(result)
}

#[derive(Debug)]
struct OfItself {
    number: u64,
    inner: Option<Arc<OfItself>>,
}

static ITSELF: OnceLock<Value> = OnceLock::new();

impl<'de> Deserialize<'de> for OfItself {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let inner = deeper(2, || ITSELF.get().unwrap().shared::<OfItself>().unwrap());
        Ok(Self { number, inner })
    }
}

#[test]
fn the_value_that_is_being_decoded_is_decoded_once_more() {
    let value = ITSELF.get_or_init(|| Value::from(7u64));
    let decoded = value.shared::<OfItself>().unwrap();
    let inner = decoded.inner.as_ref().unwrap();
    assert_eq!((decoded.number, inner.number), (7, 7));
    assert!(Arc::ptr_eq(&decoded, &value.shared::<OfItself>().unwrap()), "the outermost is kept");
}

struct OfTheOther(u64);

static PAIR: OnceLock<[Value; 2]> = OnceLock::new();
static BOTH_ARE_AT_IT: Barrier = Barrier::new(2);

impl<'de> Deserialize<'de> for OfTheOther {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        deeper(1, || {
            BOTH_ARE_AT_IT.wait();
            let other = &PAIR.get().unwrap()[1 - number as usize];
            assert_eq!(other.shared::<OfTheOther>().unwrap().0, 1 - number);
        });
        Ok(Self(number))
    }
}

#[test]
fn two_threads_that_need_each_others_value_do_not_wait_for_each_other() {
    let pair = PAIR.get_or_init(|| [Value::from(0u64), Value::from(1u64)]);
    let threads = [0, 1].map(|own| thread::spawn(move || pair[own].shared::<OfTheOther>().unwrap().0));
    assert_eq!(threads.map(|thread| thread.join().unwrap()), [0, 1]);
}
