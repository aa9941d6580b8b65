use proptest::prelude::*;

use super::*;

const ORIGIN: Origin = *b"12345678";

fn numbered(kind: u8, number: u64, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &number.to_le_bytes(), &ORIGIN, body].concat()
}

#[test]
fn the_bytes_are_those_of_the_scripts() {
    // struct.pack('<BI8', kind, number) .. origin .. body, and so on.
    let keys = b"\x02\0\0\0ab\x01\0\0\0c";
    let packed = Keys::pack(&["ab", "c"]).unwrap();
    assert_eq!(packed, keys);
    let changed = |how| What::Changed(how, Keys::read(&packed).unwrap());
    let cases: [(u8, &str, What<'_>, &[u8]); 7] = [
        (73, "i", changed(Change::Removed), keys),
        (80, "p", changed(Change::Updated), keys),
        (67, "c", What::Bump(How::Tag, "tag"), b"t\x03\0\0\0tag"),
        (67, "c", What::Bump(How::Rule, "a*"), b"r\x02\0\0\0a*"),
        (67, "c", What::Bump(How::Clear, ""), b"c\0\0\0\0"),
        (67, "c", What::Bump(How::TagFloor, "tag"), b"b\x03\0\0\0tag"),
        (67, "c", What::Bump(How::RuleAfter(258), "a*"), b"x\x02\0\0\0a*\x02\x01\0\0\0\0\0\0"),
    ];
    for (kind, field, what, body) in cases {
        let said = Said { origin: ORIGIN, what };
        let bytes = numbered(kind, 0x0102_0304_0506_0708, body);
        assert_eq!(bytes[1..9], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(Message::read(&bytes), Ok(Message::Numbered(0x0102_0304_0506_0708, said)));
        assert_eq!(Message::Numbered(0x0102_0304_0506_0708, said).write(), bytes);
        let value = [&ORIGIN, body].concat();
        assert_eq!((said.field(), said.write()), (field, value.clone()));
        assert_eq!(Said::read(field.as_bytes(), &value), Ok(said));
    }
    let settled = [&[70][..], &[0; 16], b"key"].concat();
    assert_eq!(Message::read(&settled), Ok(Message::Settled("key")));
    assert_eq!(Message::Settled("key").write(), settled);
    let suspect = [&[83][..], &[0; 8], &ORIGIN].concat();
    assert_eq!(Message::read(&suspect), Ok(Message::SuspectAll(ORIGIN)));
    assert_eq!(Message::SuspectAll(ORIGIN).write(), suspect);
}

#[test]
fn a_bump_is_told_as_what_it_is() {
    let cases = [
        (How::Tag, Control::Tag("n".into())),
        (How::Rule, Control::Pattern("n".into())),
        (How::Clear, Control::Clear),
        (How::TagFloor, Control::TagFloor),
        (How::RuleAfter(7), Control::Rule { cleared: 7, pattern: "n".into() }),
    ];
    for (how, told) in cases {
        assert_eq!(how.control("n"), told);
    }
}

#[test]
fn every_cut_and_every_length_is_refused_with_its_number() {
    for whole in [numbered(b'I', 9, b"\x03\0\0\0key"), numbered(b'C', 9, b"t\x03\0\0\0tag")] {
        for length in (0..HEAD).chain(HEAD + 1..whole.len()) {
            let refused = Message::read(&whole[..length]).unwrap_err();
            assert_eq!(refused.number, (length > HEAD).then_some(9), "{length}");
        }
        let at = whole.len() - 7;
        for length in [0, 2, 4, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(length));
            assert_eq!(Message::read(&bytes).unwrap_err().number, Some(9), "{length}");
        }
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let refused: [(&str, Vec<u8>, Option<u64>); 12] = [
        ("an unknown kind", numbered(b'Z', 9, b""), Some(9)),
        ("a key that is not UTF-8", numbered(b'P', 9, b"\x02\0\0\0\xff\xfe"), Some(9)),
        ("a change without a number", numbered(b'I', 0, b"\x01\0\0\0k"), Some(0)),
        ("an unknown bump", numbered(b'C', 9, b"z\x01\0\0\0k"), Some(9)),
        ("a clear with a name", numbered(b'C', 9, b"c\x01\0\0\0k"), Some(9)),
        ("a tag with more behind it", numbered(b'C', 9, b"t\x01\0\0\0k0"), Some(9)),
        ("a rule that does not say what it cleared", numbered(b'C', 9, b"x\x01\0\0\0k"), Some(9)),
        ("an empty bump", numbered(b'C', 9, b""), Some(9)),
        ("a numbered wake-up", [&[b'F', 9][..], &[0; 15], b"key"].concat(), Some(9)),
        ("a wake-up for nobody", [&[b'F'][..], &[0; 16]].concat(), None),
        ("a wake-up that is not UTF-8", [&[b'F'][..], &[0; 16], &[0xff]].concat(), None),
        ("a suspicion with a body", numbered(b'S', 0, b"x"), Some(0)),
    ];
    for (what, bytes, number) in refused {
        assert_eq!(Message::read(&bytes).map_err(|refused| refused.number), Err(number), "{what}");
    }
    for (field, value) in [("I", &b"12345678"[..]), ("", b"12345678"), ("i", b"1234567"), ("c", b"12345678")] {
        assert!(Said::read(field.as_bytes(), value).is_err(), "{field:?}");
    }
    assert_eq!(Keys::pack(&["a", ""]), None);
}

#[test]
fn keys_are_handed_on_in_order_whatever_their_number() {
    for count in [0, 1, 31, 32, 33, 64, 100] {
        let given: Vec<String> = (0..count).map(|n| format!("key {n}")).collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let packed = Keys::pack(&given).unwrap();
        let mut told = Vec::new();
        Keys::read(&packed).unwrap().each(|some| told.extend_from_slice(some));
        assert_eq!(told, given);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_written_as_they_were_read(
        kind in prop_oneof![any::<u8>(), Just(b'I'), Just(b'P'), Just(b'C'), Just(b'F'), Just(b'S')],
        number in prop_oneof![any::<u64>(), Just(0)],
        origin in prop_oneof![any::<Origin>(), Just([0; 8])],
        texts in proptest::collection::vec("\\PC{0,3}", 0..3),
        body in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let texts: Vec<u8> =
            texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).collect();
        for body in [&texts[..], &[b"t", &texts[..]].concat(), &body, b"", b"key"] {
            let bytes = [&[kind][..], &number.to_le_bytes(), &origin, body].concat();
            if let Ok(message) = Message::read(&bytes) {
                prop_assert_eq!(message.write(), &bytes[..]);
            }
            for field in ["i", "p", "c"] {
                if let Ok(said) = Said::read(field.as_bytes(), &bytes) {
                    prop_assert_eq!((said.field(), said.write()), (field, bytes.clone()));
                }
            }
        }
    }
}
