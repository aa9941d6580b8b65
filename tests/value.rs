//! The laws of `Value`: what is encoded decodes, what is hostile is refused, nothing is misread or leaked.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::{self, DeserializeOwned, IgnoredAny, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tercel::Value;

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
enum Shape {
    Empty,
    New(Box<Shape>),
    Pair(i64, Option<String>),
    Named { x: f64, rest: Vec<Shape> },
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Unit;

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Everything {
    flag: bool,
    signed: Vec<i64>,
    unsigned: Vec<u64>,
    single: f32,
    c: char,
    text: String,
    option: Option<u8>,
    unit: (),
    unit_struct: Unit,
    tuple: (i8, i16, i32),
    shapes: Vec<Shape>,
    map: BTreeMap<i32, String>,
    wide: (i128, u128),
    #[serde(flatten)]
    more: BTreeMap<String, u16>,
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(value: &T) {
    assert_eq!(&Value::encode(value).unwrap().decode::<T>().unwrap(), value);
}

fn refused(bytes: impl Into<Bytes>) {
    assert!(Value::from_msgpack(bytes).unwrap_err().is_codec());
}

#[test]
fn what_is_encoded_decodes() {
    round_trip(&Unit);
    round_trip(&[Shape::Empty, Shape::New(Box::new(Shape::Pair(-1, None)))]);
    round_trip(&Shape::Named { x: 0.5, rest: vec![Shape::Pair(i64::MIN, Some("é\0".into())), Shape::Empty] });
    round_trip(&HashMap::from([((1_u8), vec![vec![0_u16; 70_000]])]));
    round_trip(&"x".repeat(70_000));
    for exponent in 0..64 {
        for near in [-1, 0, 1] {
            let number = (1_u64 << exponent).wrapping_add_signed(near);
            round_trip(&number);
            round_trip(&(number.cast_signed()));
            assert_eq!(Value::from(number), Value::encode(&number).unwrap());
            let expected = rmp_serde::to_vec(&number.cast_signed()).unwrap();
            assert_eq!(Value::from(number.cast_signed()).as_msgpack(), &expected[..]);
        }
    }
}

#[test]
fn conversions_are_what_encode_makes() {
    assert_eq!(Value::from("a"), Value::encode("a").unwrap());
    assert_eq!(Value::from(&"a".to_owned()), Value::from("a".to_owned()));
    assert!(Value::from(true).decode::<bool>().unwrap());
    assert_eq!(Value::from(1.5_f32).decode::<f64>().unwrap(), 1.5);
    assert_eq!(Value::from(7_usize), Value::from(7_i8));
    assert_eq!(Value::from(&Value::from(-7_isize)), Value::from(-7));
    assert_eq!(Value::from(vec![1_u8]), Value::bytes(vec![1_u8]));
    assert_eq!(Value::from(Bytes::from_static(b"x")), Value::bytes("x"));
    assert_ne!(Value::bytes("x"), Value::from("x"));
    fn all<T: Send + Sync + Clone>() {}
    all::<Value>();
    all::<tercel::ValueRef<'_>>();
}

#[test]
fn a_changed_struct_never_misreads() {
    #[derive(Serialize)]
    struct Old {
        id: u32,
        amount: u32,
        gone: u32,
    }
    #[derive(Deserialize, PartialEq, Debug)]
    struct New {
        #[serde(default)]
        added: u32,
        amount: u32,
        id: u32,
    }
    #[derive(Deserialize, Debug)]
    struct Needs {
        #[expect(dead_code)]
        missing: u32,
    }
    let old = Value::encode(&Old { id: 1, amount: 999, gone: 5 }).unwrap();
    assert_eq!(old.decode::<New>().unwrap(), New { added: 0, amount: 999, id: 1 });
    let error = old.decode::<Needs>().unwrap_err();
    assert!(error.is_codec() && error.to_string().contains("missing field `missing`"), "{error}");
}

/// A type of bytes, as `serde_bytes` has it.
#[derive(PartialEq, Debug)]
struct Blob(Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[test]
fn a_raw_payload_decodes_as_bytes_and_as_nothing_else() {
    let value = Value::bytes("12");
    assert_eq!(value.decode::<Vec<u8>>().unwrap(), b"12");
    assert_eq!(value.decode::<[u8; 2]>().unwrap(), *b"12");
    assert_eq!(value.decode::<Option<Blob>>().unwrap(), Some(Blob(b"12".to_vec())));
    assert_eq!(value.decode_borrowed::<&[u8]>().unwrap(), b"12");
    assert!(value.decode::<[u8; 1]>().unwrap_err().is_codec());
    assert!(value.decode::<String>().unwrap_err().is_codec());
    assert!(value.decode_borrowed::<&str>().unwrap_err().is_codec());
    assert!(value.decode::<u16>().unwrap_err().is_codec());
    assert!(value.decode::<Shape>().unwrap_err().is_codec());
    assert_eq!((value.as_bytes(), value.to_bytes()), (Some(&b"12"[..]), Some(Bytes::from("12"))));
    assert_eq!(&value.as_msgpack()[..], b"\xc4\x0212");
    assert_eq!(Value::from_msgpack(value.as_msgpack().into_owned()).unwrap().decode::<Vec<u8>>().unwrap(), b"12");
    assert_eq!((Value::from("12").as_bytes(), Value::from("12").to_bytes()), (None, None));
    for length in [0, 0xff, 0x100, 0xffff, 0x1_0000] {
        let value = Value::bytes(vec![7; length]);
        let document = Value::from_msgpack(value.as_msgpack().into_owned()).unwrap();
        assert_eq!(document.decode::<Blob>().unwrap().0.len(), length);
    }
}

#[test]
fn borrowed_strings_lie_in_the_document() {
    #[derive(Serialize, Deserialize)]
    struct Name<'a> {
        first: &'a str,
    }
    let value = Value::encode(&Name { first: "Ada" }).unwrap();
    let name = value.decode_borrowed::<'_, Name<'_>>().unwrap();
    let document = value.as_msgpack();
    assert!(document.as_ptr_range().contains(&name.first.as_ptr()));
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct Counted;

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        // Gives the other threads every chance to decode as well, should they be let.
        (0..1_000).for_each(|_| std::thread::yield_now());
        u8::deserialize(deserializer).map(|_| Counted)
    }
}

#[test]
fn shared_decodes_once() {
    let value = Value::from(1_u8);
    assert!(value.shared::<String>().unwrap_err().is_codec(), "a failure is not kept");
    let barrier = Barrier::new(8);
    let all: Vec<Arc<Counted>> = std::thread::scope(|scope| {
        let call = || {
            barrier.wait();
            value.shared::<Counted>().unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(DECODED.load(Ordering::Relaxed), 1);
    assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    assert!(Arc::ptr_eq(&value.clone().shared::<Counted>().unwrap(), &all[0]));
    assert_eq!(*value.shared::<u64>().unwrap(), 1, "another type decodes anew");
    assert!(!Arc::ptr_eq(&value.shared::<u64>().unwrap(), &value.shared::<u64>().unwrap()));
}

/// `before` repeated, then `after`.
fn nested(before: &[u8], depth: usize, after: &[u8]) -> Vec<u8> {
    [&before.repeat(depth), after].concat()
}

/// Runs on a stack of 2 MiB, in whatever profile the tests are built.
fn on_a_small_stack(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn_scoped(scope, test).unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn depth_is_bounded_in() {
    on_a_small_stack(|| {
        for (before, after) in [(&b"\x91"[..], &b"\xc0"[..]), (b"\x81\x01", b"\x02"), (b"\x91", b"\xd4\x01\x02")] {
            let deepest = Value::from_msgpack(nested(before, 128, after)).unwrap();
            deepest.decode::<IgnoredAny>().unwrap();
            assert!(!format!("{deepest:?}").is_empty());
            refused(nested(before, 129, after));
            refused(nested(before, 1_000_000, after));
        }
        // serde's own buffer, as untagged and flattened types use it.
        #[derive(Deserialize)]
        #[serde(untagged)]
        #[expect(dead_code)]
        enum Any {
            Leaf(()),
            List(Vec<Any>),
        }
        Value::from_msgpack(nested(b"\x91", 128, b"\xc0")).unwrap().decode::<Any>().unwrap();
        // Enums are the one kind of nesting that the reader itself does not count.
        let deepest = Value::from_msgpack(nested(b"\x81\xa3New", 128, b"\xa5Empty")).unwrap();
        deepest.decode::<Shape>().unwrap();
        refused(nested(b"\x81\xa3New", 129, b"\xa5Empty"));
    });
}

#[derive(Serialize)]
struct Link(Option<Box<Link>>);

#[derive(Serialize)]
struct Tree {
    children: Vec<Tree>,
}

#[test]
fn depth_is_bounded_out() {
    fn shape(depth: usize) -> Shape {
        (0..depth).fold(Shape::Empty, |inner, _| Shape::New(Box::new(inner)))
    }
    fn tree(depth: usize) -> Tree {
        (0..depth).fold(Tree { children: Vec::new() }, |inner, _| Tree { children: vec![inner] })
    }
    on_a_small_stack(|| {
        round_trip(&shape(128));
        assert!(Value::encode(&shape(129)).unwrap_err().is_codec());
        assert!(Value::encode(&shape(2_000)).unwrap_err().is_codec());
        Value::encode(&tree(63)).unwrap();
        assert!(Value::encode(&tree(64)).unwrap_err().is_codec());
        assert!(Value::encode(&tree(2_000)).unwrap_err().is_codec());
        let link = (0..2_000).fold(Link(None), |inner, _| Link(Some(Box::new(inner))));
        assert!(Value::encode(&link).unwrap_err().is_codec(), "nesting that writes no bytes");
    });
}

#[test]
fn claimed_lengths_are_not_believed() {
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9_u8] {
        refused(vec![marker, 0xff, 0xff, 0xff, 0xff]);
        refused(vec![marker, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
        refused(vec![marker, 0xff, 0xff]);
    }
    refused(nested(b"\xdd\xff\xff\xff\xff", 100, b""));
}

#[test]
fn malformed_documents_are_refused() {
    for bytes in [&b""[..], b"\x01\x02", b"\xc0\xc0", b"\xc1", b"\x91\xc1", b"\xa2\xff\xfe", b"\xa5abc", b"\x92\x01"] {
        refused(bytes);
    }
    for bytes in [&b"\xc0"[..], b"\xc7\x03\x05abc", b"\xd8\x010123456789abcdef", b"\xc4\x02\xff\xfe", b"\xe0", b"\x80"]
    {
        Value::from_msgpack(bytes).unwrap();
    }
}

#[test]
fn a_type_that_leaves_bytes_unread_is_refused() {
    #[derive(Debug)]
    struct Lazy;
    impl<'de> Deserialize<'de> for Lazy {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Lazy)
        }
    }
    assert!(Value::from(1).decode::<Lazy>().unwrap_err().is_codec());
    assert!(Value::from_msgpack(&b"\x91\x01"[..]).unwrap().decode::<Lazy>().unwrap_err().is_codec());
}

#[test]
fn a_type_that_announces_another_length_is_refused() {
    struct Liar(usize);
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(Some(self.0))?;
            seq.serialize_element(&1)?;
            seq.end()
        }
    }
    struct Halves;
    impl Serialize for Halves {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_key(&1)?;
            map.end()
        }
    }
    struct Careless;
    impl Serialize for Careless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut seq = serializer.serialize_seq(Some(2))?;
            seq.serialize_element(&1)?;
            let _ = seq.serialize_element(&Liar(2));
            seq.end()
        }
    }
    assert!(Value::encode(&Careless).unwrap_err().is_codec());
    assert!(Value::encode(&Liar(1)).is_ok());
    assert!(Value::encode(&Liar(0)).unwrap_err().is_codec());
    assert!(Value::encode(&Liar(2)).unwrap_err().is_codec());
    assert!(Value::encode(&Halves).unwrap_err().is_codec());
}

#[test]
fn errors_name_the_type_and_hide_the_content() {
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code)]
    struct Strict {
        a: u8,
    }
    #[derive(Debug)]
    struct Talkative;
    impl<'de> Deserialize<'de> for Talkative {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Err(de::Error::custom(format!("bad {}", String::deserialize(deserializer)?)))
        }
    }
    fn text<T: DeserializeOwned + fmt::Debug>(value: impl Serialize) -> String {
        let error = Value::encode(&value).unwrap().decode::<T>().unwrap_err();
        assert!(error.is_codec());
        let text = format!("{error} {error:?}");
        assert!(text.contains(std::any::type_name::<T>()), "{text}");
        assert!(!text.contains("hunter") && !text.contains("4711"), "{text}");
        text
    }
    let secret = "hunter, expected hunter";
    assert!(text::<u8>(secret).contains("a string"));
    assert!(text::<u8>(false).contains("bool"));
    assert!(text::<u8>([false]).contains("an array"));
    assert!(text::<u8>(4711).contains("u8"));
    assert!(text::<Vec<u8>>(secret).contains("invalid type: string, expected a sequence"));
    assert!(text::<Strict>(HashMap::from([(secret, 1)])).contains("unknown field, expected `a`"));
    assert!(text::<Shape>(secret).contains("unknown variant, expected one of `Empty`"));
    assert!(text::<Talkative>(secret).contains("refuses"));
    assert!(text::<IpAddr>(secret).contains("refuses"));
    assert!(text::<(u8, u8)>([4711 % 100]).contains("length"));
}

#[test]
fn debug_shows_the_document_and_ends() {
    let document = (1, -2, 1.5, "a\"b", Option::<u8>::None, BTreeMap::from([(1, true)]));
    assert_eq!(format!("{:?}", Value::encode(&document).unwrap()), r#"[1,-2,1.5,"a\"b",null,{1:true}]"#);
    assert_eq!(format!("{:?}", Value::bytes(&b"a\0"[..])), r#"bytes(2, b"a\x00")"#);
    assert_eq!(format!("{:?}", Value::bytes(vec![b'x'; 40])), format!("bytes(40, b\"{}\"…)", "x".repeat(32)));
    for long in [Value::from("é".repeat(1_000)), Value::encode(&vec![7; 10_000]).unwrap()] {
        let text = format!("{long:?}");
        assert!(text.ends_with('…') && (190..=204).contains(&text.len()), "{text}");
    }
}

#[cfg(feature = "json")]
mod json {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn numbers_keep_their_value() {
        let text = r#"[0,-1,18446744073709551615,-9223372036854775808,0.1,1e300,5e-324,122.41629403378658]"#;
        let value = Value::from_json(text.as_bytes()).unwrap();
        #[rustfmt::skip]
        let typed: (u8, i8, u64, i64, f64, f64, f64, f64) = value.decode().unwrap();
        assert_eq!(typed, (0, -1, u64::MAX, i64::MIN, 0.1, 1e300, 5e-324, 122.416_294_033_786_58));
        assert_eq!(Value::from_json(value.to_json().unwrap().as_bytes()).unwrap(), value);
    }

    #[test]
    fn a_document_from_json_decodes_typed() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        struct Host {
            address: IpAddr,
            shape: Shape,
        }
        let json = json!({"address": "::1", "shape": {"Pair": [1, null]}});
        let host = Host { address: "::1".parse().unwrap(), shape: Shape::Pair(1, None) };
        let value = Value::from(json.clone());
        assert_eq!(value.decode::<Host>().unwrap(), host);
        assert_eq!(Json::try_from(&Value::encode(&host).unwrap()).unwrap(), json);
    }

    #[test]
    fn what_json_has_not_is_an_error() {
        assert!(Value::bytes("x").to_json().unwrap_err().is_codec());
        assert!(Value::from_msgpack(&b"\x91\xc4\x01x"[..]).unwrap().to_json().unwrap_err().is_codec());
        assert!(Value::encode(&BTreeMap::from([(1, 2)])).unwrap().to_json().unwrap_err().is_codec());
        assert_eq!(Value::from(f64::NAN).to_json().unwrap(), "null");
    }

    #[test]
    fn bad_json_is_refused() {
        for text in ["", "{", "[1] 2", "nul", "[\"\\x\"]"] {
            assert!(Value::from_json(text.as_bytes()).unwrap_err().is_codec());
        }
        on_a_small_stack(|| {
            for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
                let text = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let deepest = Value::from_json(text(128).as_bytes()).unwrap();
                assert_eq!(deepest.to_json().unwrap(), text(128));
                assert!(Value::from_json(text(129).as_bytes()).unwrap_err().is_codec());
                assert!(Value::from_json(open.repeat(100_000).as_bytes()).unwrap_err().is_codec());
            }
            // A bracket in a string nests nothing, whatever stands before it.
            let text = format!(r#"["\\\"{}", "\u005b\\"]"#, "[".repeat(200));
            assert_eq!(Value::from_json(text.as_bytes()).unwrap().decode::<Vec<String>>().unwrap()[0].len(), 202);
        });
    }

    #[test]
    fn a_tree_too_deep_is_an_error_later() {
        fn tree(depth: usize) -> Json {
            (0..depth).fold(Json::Null, |inner, _| Json::Array(vec![inner]))
        }
        on_a_small_stack(|| {
            assert_eq!(Json::try_from(&Value::from(tree(128))).unwrap(), tree(128));
            let value = Value::from(tree(129));
            assert!(value.decode::<Json>().unwrap_err().is_codec());
            assert!(value.shared::<Vec<u8>>().unwrap_err().is_codec());
            assert!(value.to_json().unwrap_err().is_codec());
            refused(value.as_msgpack().into_owned());
            assert_eq!(value.as_bytes(), None);
            assert_eq!(value, value.clone());
            assert_ne!(value, Value::from(tree(129)));
            assert!(format!("{value:?}").starts_with("invalid("));
            assert!(Value::from(tree(100_000)).decode::<Json>().unwrap_err().is_codec());
            let object =
                (0..100_000).fold(Json::Null, |inner, _| Json::Object([("k".to_owned(), inner)].into_iter().collect()));
            assert!(Value::from(object).decode::<Json>().unwrap_err().is_codec());
        });
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Empty),
        (any::<i64>(), any::<Option<String>>()).prop_map(|(number, text)| Shape::Pair(number, text)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|shape| Shape::New(Box::new(shape))),
            (-1e9..1e9, prop::collection::vec(inner, 0..4)).prop_map(|(x, rest)| Shape::Named { x, rest }),
        ]
    })
}

prop_compose! {
    fn everything()(
        flag: bool, signed: Vec<i64>, unsigned: Vec<u64>, single in -1e9_f32..1e9, c: char, text: String, option: Option<u8>,
        tuple: (i8, i16, i32), shapes in prop::collection::vec(shapes(), 0..3), map: BTreeMap<i32, String>,
        wide: (i128, u128), more in prop::collection::btree_map("x[a-z]{3}", any::<u16>(), 0..20),
    ) -> Everything {
        let (unit, unit_struct) = ((), Unit);
        Everything { flag, signed, unsigned, single, c, text, option, unit, unit_struct, tuple, shapes, map, wide, more }
    }
}

proptest! {
    #[test]
    fn the_form_is_that_of_rmp_serde(value in everything()) {
        let mut expected = Vec::new();
        let mut reference = rmp_serde::Serializer::new(&mut expected).with_struct_map().with_human_readable();
        value.serialize(&mut reference).unwrap();
        let document = Value::encode(&value).unwrap();
        prop_assert_eq!(&document.as_msgpack()[..], &expected[..]);
        prop_assert_eq!(&Value::from_msgpack(expected).unwrap(), &document);
        prop_assert_eq!(document.decode::<Everything>().unwrap(), value);
        let shown = format!("{document:?}");
        prop_assert!(shown.len() <= 203);
    }

    #[cfg(feature = "json")]
    #[test]
    fn floats_survive_json(number in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
        let there = Value::from(number).to_json().unwrap();
        prop_assert_eq!(Value::from_json(there.as_bytes()).unwrap(), Value::from(number));
    }

    #[test]
    fn shapes_round_trip(shape in shapes()) {
        round_trip(&shape);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees(bytes)?;
    }

    #[test]
    fn likely_bytes_never_panic(parts in prop::collection::vec(prop::sample::select(vec![
        &b"\x00"[..], b"\x80", b"\x81", b"\x90", b"\x91", b"\x92", b"\xa0", b"\xa1a", b"\xa2\xc3\xa9", b"\xc0", b"\xc1",
        b"\xc3", b"\xc4\x01x", b"\xc7\x01\x05y", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd4\x01\x02", b"\xdc\0\x01", b"\xde\0\x01", b"\xdd\xff\xff\xff\xff", b"\xe0",
    ]), 0..12)) {
        agrees(parts.concat())?;
    }
}

/// Whatever is accepted decodes and prints; and what `rmp_serde` reads to the end is what is accepted.
fn agrees(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let mut rest = &bytes[..];
    let read = rmp_serde::from_read::<_, IgnoredAny>(&mut rest).is_ok() && rest.is_empty();
    match Value::from_msgpack(bytes.clone()) {
        Ok(value) => {
            prop_assert!(read);
            prop_assert!(value.decode::<IgnoredAny>().is_ok());
            let shown = format!("{value:?}");
            prop_assert!(!shown.is_empty());
            let _ = (value.decode::<Everything>(), value.decode::<Shape>(), value.decode::<Vec<u8>>());
            #[cfg(feature = "json")]
            if let Ok(json) = value.decode::<serde_json::Value>() {
                prop_assert_eq!(
                    Value::from(json).decode::<serde_json::Value>().unwrap(),
                    value.decode::<serde_json::Value>().unwrap()
                );
            }
        }
        // Strings that are not UTF-8 are the one thing that the reader lets through and a document may not hold.
        Err(error) => prop_assert!(!read || error.to_string().contains("UTF-8"), "{}", error),
    }
    Ok(())
}
