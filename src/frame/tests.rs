use proptest::prelude::*;

use super::*;

fn frame() -> Frame {
    Frame {
        value: Some(Value::encode(&("hello", 42)).unwrap()),
        ttl: Duration::from_secs(300),
        grace: Duration::from_millis(2047 << 3),
        created: Duration::from_millis(1_700_000_000_123),
        wid: 7,
        version: 0,
        cseq: 1_763_828_957_000_001,
        cost_us: 1_500,
        tags: Box::default(),
    }
}

fn tagged() -> Frame {
    Frame { tags: ["user:7", "team:ü"].map(tag_hash).into(), ..frame() }
}

#[test]
fn every_kind_survives_the_round_trip() {
    for value in [Some(Value::encode("text").unwrap()), Some(Value::bytes(&b"raw"[..])), None] {
        for tags in [0, 1, 2, usize::from(u16::MAX)] {
            let frame = Frame { value: value.clone(), tags: (0..tags as u64).collect(), ..frame() };
            assert_eq!(Frame::decode("k", &frame.encode("k").unwrap()), Ok(frame));
        }
    }
}

#[test]
fn more_tags_than_a_frame_has_room_for_are_too_many() {
    let frame = Frame { tags: vec![1; usize::from(u16::MAX) + 1].into(), ..frame() };
    assert!(frame.encode("k").unwrap_err().is_too_large());
}

#[test]
fn the_head_says_what_the_frame_says() {
    for frame in [frame(), tagged(), Frame { value: None, version: 9, ..tagged() }] {
        let Frame { wid, version, created, cseq, .. } = frame;
        let head = Head { wid, version, created, cseq, negative: frame.value.is_none(), held: false };
        assert_eq!(Head::decode(&frame.encode("k").unwrap()), Ok(head));
        assert_eq!(Head::decode(&frame.encode("k").unwrap()[..HEADER]), Ok(head));
    }
}

#[test]
fn a_hold_is_known_and_is_no_value() {
    let hold = hold(7);
    assert_eq!(
        Head::decode(&hold),
        Ok(Head { wid: 7, version: 0, created: Duration::ZERO, cseq: 0, negative: false, held: true })
    );
    assert_eq!(Frame::decode("k", &Bytes::copy_from_slice(&hold)), Err(Refusal::Held));
}

#[test]
fn what_a_server_stamps_is_read_and_breaks_nothing() {
    let mut bytes = tagged().encode("k").unwrap().to_vec();
    bytes[16..24].copy_from_slice(&1_763_828_957_123_456u64.to_le_bytes());
    bytes[24..32].copy_from_slice(&1_763_828_957_123u64.to_le_bytes());
    let stamped =
        Frame { version: 1_763_828_957_123_456, created: Duration::from_millis(1_763_828_957_123), ..tagged() };
    assert_eq!(Frame::decode("k", &bytes.into()), Ok(stamped));
}

#[test]
fn a_frame_under_another_key_is_refused() {
    let bytes = frame().encode("a").unwrap();
    assert_eq!(Frame::decode("b", &bytes), Err(Refusal::Checksum));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for bytes in [frame().encode("k").unwrap(), tagged().encode("k").unwrap()] {
        for end in 0..bytes.len() {
            assert!(Frame::decode("k", &bytes.slice(..end)).is_err(), "cut at {end}");
            let head = Head::decode(&bytes[..end]);
            assert_eq!(head.is_ok(), end >= HEADER, "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            // The server's own stamps are outside the checksum.
            if (16 * 8..32 * 8).contains(&bit) {
                continue;
            }
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode("k", &flipped.into()).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn flags_of_later_releases_are_refused() {
    for flags in 0..=u8::MAX {
        let mut bytes = frame().encode("k").unwrap().to_vec();
        bytes[3] = flags;
        let sum = checksum("k", &bytes);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        let expected = match flags {
            0 => Ok(frame()),
            // The payload of a negative frame is not looked at.
            1 => Ok(Frame { value: None, ..frame() }),
            2 => Err(Refusal::Held),
            _ => Err(Refusal::Flags(flags)),
        };
        assert_eq!(Frame::decode("k", &bytes.into()), expected, "{flags}");
    }
}

#[test]
fn what_is_not_of_this_layout_is_refused_although_its_checksum_is_right() {
    for (at, expected) in [
        (0, Refusal::Foreign),
        (1, Refusal::Foreign),
        (2, Refusal::Layout(9)),
        (4, Refusal::Codec(9)),
        (5, Refusal::Codec(1)),
        (6, Refusal::Codec(1)),
        (7, Refusal::Codec(1)),
    ] {
        let mut bytes = frame().encode("k").unwrap().to_vec();
        bytes[at] = 9;
        let sum = checksum("k", &bytes);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Frame::decode("k", &bytes.into()), Err(expected), "{at}");
    }
}

#[test]
fn a_hash_of_a_tag_never_changes() {
    assert_eq!(tag_hash(""), 0x2d06_8005_38d3_94c2);
    assert_eq!(tag_hash("user:7"), 0x0067_b227_f59e_e6b4);
}

/// The bytes of `tests/wire/<file>.hex`, which are captured and not computed.
fn golden(file: &str) -> Vec<u8> {
    let path = format!("{}/tests/wire/{file}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let words = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    words.map(|word| u8::from_str_radix(word, 16).expect("two hexadecimal digits")).collect()
}

#[test]
fn frames_and_holds_are_written_as_ever() {
    assert_eq!(tagged().encode("golden:tagged").unwrap(), golden("0.2/tagged"));
    assert_eq!(hold(7)[..], golden("0.2/hold"));
}

#[test]
fn what_earlier_releases_wrote_is_read() {
    for name in ["document", "text", "raw", "absent", "grace"] {
        let bytes = Bytes::from(golden(&format!("0.1/{name}")));
        let frame = Frame::decode(&format!("golden:{name}"), &bytes).expect(name);
        assert_eq!((frame.version, frame.cseq, frame.cost_us, frame.tags.len()), (0, 0, 0, 0));
        assert_eq!(frame.value.is_none(), name == "absent");
        assert_eq!(frame.encode(&format!("golden:{name}")).unwrap(), bytes);
    }
}

#[test]
fn bytes_of_others_are_foreign() {
    assert_eq!(Frame::decode("k", &Bytes::from_static(b"")), Err(Refusal::Foreign));
    assert_eq!(Frame::decode("k", &Bytes::from(vec![0xff; 1000])), Err(Refusal::Foreign));
    assert_eq!(Frame::decode("k", &Bytes::from_static(b"{\"json\":true}")), Err(Refusal::Foreign));
}

#[test]
fn grace_is_rounded_down_by_less_than_a_thousandth() {
    for millis in [0, 1, 2047, 2048, 4097, 60_000, 86_400_000, u64::from(u32::MAX)] {
        let rounded = round_grace(Duration::from_millis(millis)).as_millis() as u64;
        assert!(rounded <= millis && millis - rounded <= millis / 1000, "{millis} became {rounded}");
    }
    assert!(round_grace(Duration::MAX) > Duration::from_secs(100 * 365 * 86_400));
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        ttl in 0..=u64::MAX, created in 0..=u64::MAX, wid: u64, version: u64, cseq: u64, cost_us: u32,
        tags in proptest::collection::vec(any::<u64>(), 0..40),
        raw in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        key in ".{0,20}",
    ) {
        let frame = Frame {
            value: raw.map(Value::bytes),
            ttl: Duration::from_millis(ttl),
            grace: Duration::from_millis(1_000),
            created: Duration::from_millis(created),
            wid, version, cseq, cost_us,
            tags: tags.into(),
        };
        let bytes = frame.encode(&key).unwrap();
        prop_assert_eq!(Frame::decode(&key, &bytes), Ok(frame));
    }

    /// Whatever bytes: a reason, never a panic; behind a true beginning too, so that the lengths are tried.
    #[test]
    fn any_bytes_are_a_frame_or_are_refused(
        flags: u8, tags: u16, length in 0u32..300, body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Frame::decode("k", &body.clone().into());
        let _ = Head::decode(&body);
        let mut bytes = frame().encode("k").unwrap()[..HEADER].to_vec();
        bytes[3] = flags & 7;
        bytes[52..54].copy_from_slice(&tags.to_le_bytes());
        bytes[56..60].copy_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&body);
        let sum = checksum("k", &bytes);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        if let Ok(frame) = Frame::decode("k", &bytes.into()) {
            prop_assert_eq!(frame.tags.len(), usize::from(tags));
        }
    }
}
