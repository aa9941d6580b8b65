//! Arbitrary bytes as a MessagePack document: refused or decoded, never a panic, and what is accepted survives a round trip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tercel::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = Value::from_msgpack(data.to_vec()) else { return };
    assert_eq!(value.as_msgpack(), data, "an accepted document is kept as it is");
    let _ = format!("{value:?}");
    let _ = value.decode::<serde::de::IgnoredAny>();
    let _ = value.decode::<String>();
    let _ = value.decode::<Vec<Option<u64>>>();
    let _ = value.decode_borrowed::<&str>();
    if let Ok(json) = value.to_json() {
        let again = Value::from_json(json.as_bytes()).expect("what was written as JSON reads as JSON");
        let tree = |value: &Value| serde_json::Value::try_from(value).expect("a JSON document is a tree");
        assert_eq!(tree(&again), tree(&again.clone()));
        assert_eq!(again.to_json().expect("it was JSON before"), json);
    }
});
