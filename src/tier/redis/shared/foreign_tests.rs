//! What somebody else has put under our names: a miss or an error, never a panic, never a value.

use super::*;

impl Bed {
    fn plant(&self, name: &str, kind: &str) {
        let name = under(name);
        self.server.command(&["DEL", &name]);
        match kind {
            "list" => self.server.command(&["RPUSH", &name, "x"]),
            "stream" => self.server.command(&["XADD", &name, "1-1", "x", "y"]),
            "short" => self.server.command(&["SET", &name, "x"]),
            "long" => self.server.command(&["SET", &name, &"x".repeat(200)]),
            "huge" => self.server.command(&["SET", &name, "9223372036854775807"]),
            "negative" => self.server.command(&["SET", &name, "-5"]),
            // Its fourth byte looks like a hold.
            "held" => self.server.command(&["SET", &name, &"\u{2}".repeat(64)]),
            // A hold without an end.
            "endless" => self.server.command_bytes(&[b"SET", name.as_bytes(), &hold(1)]),
            _ => unreachable!("{kind}"),
        };
    }
}

const KINDS: [&str; 8] = ["list", "stream", "short", "long", "huge", "negative", "held", "endless"];

#[test]
fn a_foreign_value_is_no_value_and_is_overwritten() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    for kind in KINDS {
        bed.plant("d:k", kind);
        let found = [run(shared.get("k")), run(shared.get_many(&["k"])).remove(0)];
        for stored in found.into_iter().flatten() {
            assert!(Frame::decode("k", &stored.frame).is_err(), "{kind}");
        }
        let _ = run(shared.header("k")).map(|head| Head::decode(&head));
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted, "{kind}");
        assert!(run(shared.commit("k", A, bytes("k", 1, b"v"), MINUTE)), "{kind}");
        assert_eq!(stored(&bed, "k").unwrap().0, frame(1, b"v"), "{kind}");
        bed.plant("d:k", kind);
        assert!(run(shared.put("k", bytes("k", 2, b"w"), MINUTE, false)).stored, "{kind}");
        assert_eq!(stored(&bed, "k").unwrap().0, frame(2, b"w"), "{kind}");
        bed.plant("d:k", kind);
        run(shared.invalidate(&["k"], Duration::ZERO));
        assert_eq!(run(shared.get("k")), None, "{kind}");
        bed.plant("d:k", kind);
        run(shared.invalidate(&["k"], MINUTE));
        assert!(matches!(run(shared.lease("k", A, MINUTE, None)), Leased::Held(_)), "{kind}");
    }
}

#[test]
fn a_garbled_frame_is_handed_out_once_and_then_replaced() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    run(shared.put("k", bytes("k", 5, b"value"), MINUTE, false));
    bed.server.command(&["SETRANGE", &under("d:k"), "66", "X"]);
    let Leased::Stored(found) = run(shared.lease("k", A, MINUTE, None)) else { panic!() };
    assert!(Frame::decode("k", &found.frame).is_err());
    // Its head says what is not wanted.
    let wid = Head::decode(&found.frame).unwrap().wid;
    assert_eq!(run(shared.lease("k", A, MINUTE, Some(wid))), Leased::Granted);
    assert!(run(shared.commit("k", A, bytes("k", 6, b"value"), MINUTE)));
    assert_eq!(stored(&bed, "k").unwrap().0, frame(6, b"value"));

    // Cut off within the head: nothing that a lease would have to respect.
    for length in [0, 3, 63] {
        let cut = bytes("k", 5, b"value").slice(..length);
        bed.server.command_bytes(&[b"SET", under("d:k").as_bytes(), &cut]);
        assert!(run(shared.header("k")).is_none_or(|head| Head::decode(&head).is_err()));
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
        run(shared.release("k", A));
    }
}

#[test]
fn a_foreign_lease_refuses_and_fails_no_load() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    for kind in ["list", "stream", "short", "long"] {
        bed.plant("l:k", kind);
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Held(Duration::ZERO), "{kind}");
        assert!(!run(shared.renew("k", A, MINUTE)), "{kind}");
        assert!(!run(shared.commit("k", A, bytes("k", 1, b"v"), MINUTE)), "{kind}");
        run(shared.release("k", A));
        assert_eq!((run(shared.get("k")), bed.staged()), (None, 0), "{kind}");
        // The next change makes room.
        run(shared.invalidate(&["k"], Duration::ZERO));
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted, "{kind}");
        bed.plant("l:k", kind);
        run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
        assert_eq!(run(shared.lease("k", A, MINUTE, Some(1))), Leased::Granted, "{kind}");
        run(shared.invalidate(&["k"], Duration::ZERO));
    }
}

#[test]
fn a_foreign_sequence_or_log_is_a_lost_one() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let mut last = 0;
    for kind in KINDS {
        for name in ["seq", "log"] {
            bed.plant(name, kind);
            let place = run(shared.invalidate(&["k"], Duration::ZERO))[0];
            assert!(place.sequence > last && place.sequence < 9_000_000_000_000_000, "{kind} {name}: {place:?}");
            last = place.sequence;
            assert_eq!((bed.number(), bed.log().last().unwrap().0), (last, last), "{kind} {name}");
            bed.plant(name, kind);
            assert_eq!(run(shared.lease("j", A, MINUTE, None)), Leased::Granted);
            assert!(run(shared.commit("j", A, bytes("j", 1, b"v"), MINUTE)));
            let version = stored(&bed, "j").unwrap().1;
            assert!(version >= last, "{kind} {name}");
            last = run(shared.put("j", bytes("j", 1, b"v"), MINUTE, false)).place.sequence;
            assert!(last >= version, "{kind} {name}");
            run(shared.invalidate(&["j"], Duration::ZERO));
            last += 1;
        }
    }
    // A log that claims an impossible number does not carry the sequence there.
    bed.server.command(&["XADD", &under("log"), "18446744073709551615-1", "x", "y"]);
    bed.server.command(&["DEL", &under("seq")]);
    let place = run(shared.invalidate(&["k"], Duration::ZERO))[0];
    assert!(place.sequence > last && place.sequence < 9_000_000_000_000_000);
    assert_eq!(bed.log(), [(place.sequence, "i".to_owned())]);
}

#[test]
fn foreign_stamps_and_rules_are_lost_ones() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let mut last = 0;
    for name in ["h", "r", "seq", "log"] {
        for kind in ["SET", "RPUSH"] {
            let name = format!("tc:{{ns.ctl}}:{name}");
            bed.server.command(&["DEL", &name]);
            bed.server.command(&[kind, &name, "x"]);
            run(shared.check_layout());
            assert!(run(shared.read_control()).clock >= last);
            bed.server.command(&["DEL", &name]);
            bed.server.command(&[kind, &name, "x"]);
            for bump in [Bump::Tag("a".into()), Bump::Pattern("b*".into()), Bump::Clear] {
                let bumped = run(shared.bump(&bump, last));
                assert!(bumped.clock > last && bumped.clock < 9_000_000_000_000_000, "{kind} {name} {bumped:?}");
                last = bumped.clock;
            }
        }
    }
}
