#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;

#[test]
fn the_memo_is_set_once() {
    let value = Value::from("four");
    assert_eq!((value.body().len(), value.has_memo()), (5, false));
    let first = Arc::new("first".to_owned());
    value.memoize(Arc::clone(&first));
    value.memoize(Arc::new("second".to_owned()));
    assert!(value.has_memo());
    let before = Arc::strong_count(&first);
    assert!(Arc::ptr_eq(&value.clone().shared::<String>().unwrap(), &first));
    assert!(value.shared::<u8>().unwrap_err().is_codec());
    assert_eq!(Arc::strong_count(&first), before, "another type leaves the count alone");
}

#[test]
fn parts_make_the_value_again_and_are_checked() {
    for value in [Value::from("text"), Value::bytes("raw"), Value::bytes("")] {
        assert_eq!(Value::from_parts(value.kind(), Bytes::copy_from_slice(value.body())).unwrap(), value);
        value.check().unwrap();
    }
    assert!(Value::from_parts(Kind::MessagePack, Bytes::new()).unwrap_err().is_codec());
    assert!(Value::from_parts(Kind::Invalid, Bytes::new()).unwrap_err().is_codec());
    assert!(Value::invalid(Error::codec("a reason")).check().unwrap_err().is_codec());
}

#[test]
fn a_view_shows_the_value() {
    let (text, raw) = (Value::from("text"), Value::bytes("raw"));
    let view = ValueRef::new(text.entry());
    let copied: &str = {
        let copy = view;
        copy.decode_borrowed().unwrap()
    };
    assert_eq!((copied, view.decode::<String>().unwrap()), ("text", "text".to_owned()));
    assert_eq!((view.as_msgpack(), view.as_bytes()), (text.as_msgpack(), None));
    assert_eq!((view.to_value(), format!("{view:?}")), (text.clone(), format!("{text:?}")));
    assert_eq!(ValueRef::new(raw.entry()).as_bytes(), Some(&b"raw"[..]));
}

#[test]
fn a_value_is_one_pointer() {
    assert_eq!(size_of::<Value>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Value>>(), size_of::<usize>());
}
