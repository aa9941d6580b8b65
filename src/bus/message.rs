//! A change as bytes: version (1) · origin (16) · kind (1) · texts, each a length (`u32`, little endian) and UTF-8 bytes.
//!
//! Bytes from the channel may be anybody's. Whatever they are, decoding them neither panics nor allocates more than a
//! small multiple of a bounded length.

use super::Change;

/// Tells the messages of one instance from those of the others.
pub(super) type Origin = [u8; 16];

const VERSION: u8 = 1;
const HEAD: usize = 1 + size_of::<Origin>() + 1;

/// The longest message; what is longer was not sent by an instance.
const LONGEST: usize = 1 << 20;
/// The longest text that fits into a message.
const LONGEST_TEXT: usize = LONGEST - HEAD - 4;

const REMOVE: u8 = 1;
const UPDATE: u8 = 2;
const PATTERN: u8 = 3;
const CLEAR: u8 = 4;

/// A text that no message can carry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The change as one message, or as several if it has more keys than one can carry.
pub(super) fn encode(origin: &Origin, change: &Change) -> Result<Vec<Vec<u8>>, TooLong> {
    match change {
        Change::Remove(keys) => pack(origin, REMOVE, keys),
        Change::Update(keys) => pack(origin, UPDATE, keys),
        Change::Pattern(glob) => pack(origin, PATTERN, std::slice::from_ref(glob)),
        Change::Clear => Ok(vec![head(origin, CLEAR)]),
    }
}

/// Whether these are the bytes of a message of `origin`.
pub(super) fn is_from(origin: &Origin, bytes: &[u8]) -> bool {
    matches!(bytes, [VERSION, rest @ ..] if rest.starts_with(origin))
}

/// What the message says; `None` if it is no message.
pub(super) fn decode(bytes: &[u8]) -> Option<Change> {
    if bytes.len() > LONGEST {
        return None;
    }
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let [VERSION, .., kind] = head else { return None };
    Some(match *kind {
        REMOVE => Change::Remove(texts(body)?),
        UPDATE => Change::Update(texts(body)?),
        PATTERN => match <[String; 1]>::try_from(texts(body)?) {
            Ok([glob]) => Change::Pattern(glob),
            Err(_) => return None,
        },
        CLEAR if body.is_empty() => Change::Clear,
        _ => return None,
    })
}

fn head(origin: &Origin, kind: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + 64);
    bytes.push(VERSION);
    bytes.extend_from_slice(origin);
    bytes.push(kind);
    bytes
}

fn pack(origin: &Origin, kind: u8, texts: &[String]) -> Result<Vec<Vec<u8>>, TooLong> {
    let mut messages = Vec::new();
    let mut message = head(origin, kind);
    for text in texts {
        if text.len() > LONGEST_TEXT {
            return Err(TooLong);
        }
        if message.len() + 4 + text.len() > LONGEST {
            messages.push(std::mem::replace(&mut message, head(origin, kind)));
        }
        let length = u32::try_from(text.len()).map_err(|_| TooLong)?;
        message.extend_from_slice(&length.to_le_bytes());
        message.extend_from_slice(text.as_bytes());
    }
    if message.len() > HEAD {
        messages.push(message);
    }
    Ok(messages)
}

/// At least one text, none of them empty: no key and no pattern is.
fn texts(mut body: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length > 0)?;
        let (text, rest) = rest.split_at_checked(length)?;
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        body = rest;
    }
    (!texts.is_empty()).then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGIN: Origin = [7; 16];

    fn one(change: &Change) -> Vec<u8> {
        let messages = encode(&ORIGIN, change).unwrap();
        assert_eq!(messages.len(), 1);
        messages.into_iter().next().unwrap()
    }

    #[test]
    fn a_change_survives_the_trip() {
        let keys = vec!["a".to_owned(), "ü{}*\n\0".into(), "k".repeat(65_536)];
        let changes =
            [Change::Remove(keys.clone()), Change::Update(keys), Change::Pattern("user:*".into()), Change::Clear];
        for change in changes {
            let message = one(&change);
            assert!(is_from(&ORIGIN, &message) && !is_from(&[8; 16], &message));
            assert_eq!(decode(&message), Some(change));
        }
    }

    #[test]
    fn the_bytes_are_fixed() {
        let mut expected = vec![1];
        expected.extend_from_slice(&ORIGIN);
        expected.extend_from_slice(b"\x01\x02\0\0\0ab\x01\0\0\0c");
        assert_eq!(one(&Change::Remove(vec!["ab".into(), "c".into()])), expected);
    }

    #[test]
    fn many_keys_travel_in_several_messages() {
        let keys: Vec<String> = (0..40).map(|n| n.to_string() + &"k".repeat(65_000)).collect();
        let messages = encode(&ORIGIN, &Change::Remove(keys.clone())).unwrap();
        assert!(messages.len() > 1);
        let heard: Vec<String> = messages
            .iter()
            .flat_map(|message| match decode(message) {
                Some(Change::Remove(keys)) => keys,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heard, keys);
        assert_eq!(encode(&ORIGIN, &Change::Remove(Vec::new())), Ok(Vec::new()));
        assert_eq!(encode(&ORIGIN, &Change::Pattern("*".repeat(LONGEST))), Err(TooLong));
    }

    #[test]
    fn every_cut_and_every_length_is_refused() {
        let whole = one(&Change::Remove(vec!["key".into()]));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
        let with_length = |length: u32| {
            let mut bytes = whole.clone();
            bytes[HEAD..HEAD + 4].copy_from_slice(&length.to_le_bytes());
            bytes
        };
        for length in [0, 2, 4, u32::MAX] {
            assert_eq!(decode(&with_length(length)), None, "{length}");
        }
        assert_eq!(decode(&vec![1; LONGEST + 1]), None);
        assert_eq!(decode(&[one(&Change::Clear), vec![0]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let framed = [&[VERSION][..], &ORIGIN, &bytes].concat();
            if let Some(change) = decode(&framed) {
                prop_assert_eq!(encode(&ORIGIN, &change).unwrap(), vec![framed]);
            }
        }
    }
}
