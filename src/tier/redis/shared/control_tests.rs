//! Changes of many entries at once, and the layout of a namespace.

use super::*;
use crate::shared::Bumps;

fn control(name: &str) -> String {
    format!("tc:{{ns.ctl}}:{name}")
}

impl Bed {
    fn stamp(&self, field: &str) -> Option<u64> {
        match self.server.command(&["HGET", &control("h"), field]) {
            Answer::Text(text) => Some(text.parse().unwrap()),
            _ => None,
        }
    }

    fn bump(&self, bump: Bump) -> Controlled {
        run(self.shared.bump(&bump, 0))
    }
}

fn tag(tag: &str) -> Bump {
    Bump::Tag(tag.into())
}

fn pattern(glob: &str) -> Bump {
    Bump::Pattern(glob.into())
}

#[test]
fn bumps_are_numbered_stamped_and_logged() {
    let Some(bed) = Bed::start() else { return };
    let one = bed.bump(tag("a"));
    assert_eq!(one.what, Control::Tag("a".into()));
    assert_eq!((bed.stamp("t:a"), bed.stamp("_base")), (Some(one.clock), Some(one.clock - 1)));
    let two = bed.bump(pattern("user:*"));
    assert_eq!(two, Controlled { clock: one.clock + 1, what: Control::Pattern("user:*".into()) });
    assert_eq!(bed.stamp("_rmax"), Some(two.clock));
    let score = bed.server.command(&["ZSCORE", &control("r"), "user:*"]);
    assert_eq!(score, Answer::Text(two.clock.to_string()), "to the last digit");
    let three = bed.bump(Bump::Clear);
    assert_eq!(three, Controlled { clock: one.clock + 2, what: Control::Clear });
    assert_eq!((bed.stamp("_clear"), bed.stamp("_rmax")), (Some(three.clock), None));
    assert_eq!(bed.server.command(&["EXISTS", &control("r")]), Answer::Int(0));
    let Answer::List(log) = bed.server.command(&["XRANGE", &control("log"), "-", "+"]) else { panic!() };
    assert_eq!(log.len(), 3);
}

#[test]
fn what_was_lost_counts_as_bumped_and_clear_never_falls() {
    let Some(bed) = Bed::start() else { return };
    let cleared = bed.bump(Bump::Clear).clock;
    bed.server.command(&["DEL", &control("h")]);
    let after = bed.bump(tag("a")).clock;
    assert!(after > cleared);
    assert_eq!((bed.stamp("_clear"), bed.stamp("_base")), (Some(after - 1), Some(after - 1)));

    let rule = bed.bump(pattern("x*")).clock;
    bed.server.command(&["DEL", &control("r")]);
    bed.bump(tag("a"));
    assert_eq!((bed.stamp("_clear"), bed.stamp("_rmax")), (Some(rule), None));

    // Both at once, and the clock itself.
    bed.bump(pattern("y*"));
    let last = bed.bump(tag("a")).clock;
    bed.server.command(&["DEL", &control("h"), &control("r"), &control("seq"), &control("log")]);
    let known = last + 1_000_000_000_000;
    let after = run(bed.shared.bump(&tag("a"), known)).clock;
    assert!(after > known, "{after} is not above what the caller knew");
    assert_eq!(bed.stamp("_clear"), Some(after - 1));
    // The stamps alone keep the clock above them.
    bed.server.command(&["DEL", &control("seq"), &control("log")]);
    assert!(bed.bump(tag("a")).clock > after);
    // Nonsense in the place of a floor is a floor that was lost.
    bed.server.command(&["HSET", &control("h"), "_clear", "x", "_base", "-5", "_last", "1e300", "_rmax", "nan"]);
    let after = bed.bump(tag("a")).clock;
    assert_eq!((bed.stamp("_clear"), bed.stamp("_base")), (Some(after - 1), Some(after - 1)));
}

#[test]
fn the_clock_is_lifted_above_all_that_was_given() {
    let Some(bed) = Bed::start() else { return };
    let first = run(bed.shared.lift_control(0));
    assert!(first > 1_700_000_000_000_000);
    // The server's clock has fallen behind, and its sequence too.
    let ahead = bed.bump(tag("a")).clock + 1_000_000_000_000;
    bed.server.command(&["HSET", &control("h"), "_last", &ahead.to_string()]);
    let lifted = run(bed.shared.lift_control(0));
    assert!(lifted > ahead, "above the stamps");
    let known = lifted + 1_000_000_000;
    let lifted = run(bed.shared.lift_control(known));
    assert!(lifted > known, "above the caller");
    assert!(bed.bump(tag("a")).clock > lifted);
    bed.server.command(&["DEL", &control("h")]);
    bed.server.command(&["SET", &control("seq"), "1000000000001"]);
    assert!(run(bed.shared.lift_control(0)) > first, "above the server's time");
}

#[test]
fn what_was_bumped_is_read_at_once_and_what_was_lost_counts_as_bumped_now() {
    let Some(bed) = Bed::start() else { return };
    let read = || run(bed.shared.read_control());
    // A namespace that nobody has used, as far as can be told: what is older is not known.
    let new = read();
    assert!(new.clock > 1_700_000_000_000_000);
    assert_eq!(new, Bumps { cleared: new.clock, tag_floor: new.clock, tags: vec![], rules: vec![], ..new.clone() });
    assert_eq!(read(), new);
    run(bed.shared.check_layout());
    let (a, b) = (bed.bump(tag("a")).clock, bed.bump(tag("ä\0")).clock);
    let rule = bed.bump(pattern("x*")).clock;
    let mut found = read();
    found.tags.sort();
    let tags = vec![("a".to_owned(), a), ("ä\0".to_owned(), b)];
    let expected = Bumps { clock: rule, tags, rules: vec![("x*".to_owned(), rule)], ..new };
    assert_eq!(found, expected);
    // The rules were evicted, then all else.
    bed.server.command(&["DEL", &control("r")]);
    assert_eq!((read().cleared, read().rules), (rule, vec![]));
    bed.server.command(&["DEL", &control("h")]);
    assert_eq!((read().cleared, read().tag_floor, read().tags), (rule, rule, vec![]));
    bed.server.command(&["DEL", &control("seq"), &control("h")]);
    let after = read();
    assert!(after.clock > rule);
    assert_eq!((after.cleared, after.tag_floor), (after.clock, after.clock));

    // Nonsense among the stamps is as new as can be, and a name that is no text is nobody's.
    bed.server.command(&["HSET", &control("h"), "t:a", "x", "t:b", "99999999999999999", "other", "1"]);
    bed.server.command_bytes(&[b"HSET", control("h").as_bytes(), b"t:\xff", b"1"]);
    bed.server.command(&["ZADD", &control("r"), "inf", "p*"]);
    let mut found = read();
    found.tags.sort();
    assert_eq!(found.tags, [("a".to_owned(), after.clock), ("b".to_owned(), after.clock)]);
    assert_eq!(found.rules, [("p*".to_owned(), after.clock)]);
}

#[test]
fn too_many_patterns_become_clears_and_too_many_tags_a_floor() {
    let Some(mut bed) = Bed::start() else { return };
    (bed.shared.most_tags, bed.shared.most_rules) = (3, 2);
    let first = bed.bump(pattern("a*")).clock;
    bed.bump(pattern("b*"));
    let third = bed.bump(pattern("c*"));
    assert_eq!(third.what, Control::Rule { cleared: first, pattern: "c*".into() });
    assert_eq!((bed.stamp("_clear"), bed.stamp("_rmax")), (Some(first), Some(third.clock)));
    assert_eq!(bed.server.command(&["ZCARD", &control("r")]), Answer::Int(2));

    let clear = bed.stamp("_clear");
    run(bed.shared.check_layout());
    let mut floor = None;
    for n in 0..10 {
        let bumped = bed.bump(tag(&format!("tag{n}")));
        if bumped.what == Control::TagFloor {
            floor = Some(bumped.clock);
            assert_eq!(bed.server.command(&["HGET", &control("h"), &format!("t:tag{n}")]), Answer::Nil);
            assert_eq!(bed.stamp("_base"), floor);
        }
    }
    assert!(floor.is_some());
    assert_eq!((bed.stamp("_clear"), bed.stamp("_rmax")), (clear, Some(third.clock)));
    assert_eq!((bed.stamp("_layout"), bed.stamp("_partitions")), (Some(1), Some(1)));
    let Answer::Int(fields) = bed.server.command(&["HLEN", &control("h")]) else { panic!() };
    assert!(fields <= 3 + 6, "{fields}");
}

#[test]
fn names_of_any_kind_are_bumped_exactly() {
    let Some(bed) = Bed::start() else { return };
    for name in ["\0", "{x}", "_clear", "t:", "schlüssel", "\r\n"] {
        let bumped = bed.bump(tag(name));
        assert_eq!(bed.stamp(&format!("t:{name}")), Some(bumped.clock), "{name:?}");
        assert_eq!(bed.bump(pattern(name)).what, Control::Pattern(name.into()));
    }
}

#[test]
fn a_namespace_of_another_layout_is_refused_by_name() {
    let Some(bed) = Bed::start() else { return };
    run(bed.shared.check_layout());
    run(bed.another().check_layout());
    let link = bed.shared.runner.link.clone();
    let wider = RedisShared::new(link, "ns", 64, Arc::new(SystemRandom));
    let error = block_on(wider.check_layout()).unwrap_err();
    let text = error.to_string();
    assert!(error.is_config() && text.contains("partition count 1") && text.contains("uses 64"), "{text}");
    bed.server.command(&["HSET", &control("h"), "_layout", "2"]);
    let error = block_on(bed.shared.check_layout()).unwrap_err();
    let text = error.to_string();
    assert!(error.is_config() && text.contains("layout 2") && text.contains("uses 1"), "{text}");
    // Whoever bumps says the layout again where it was lost.
    bed.server.command(&["DEL", &control("h")]);
    bed.bump(Bump::Clear);
    assert!(block_on(wider.check_layout()).is_err());
}

#[test]
fn keys_of_several_partitions_stay_apart() {
    let Some(bed) = Bed::start() else { return };
    let link = bed.shared.runner.link.clone();
    let shared = RedisShared::new(link, "many", 4, Arc::new(SystemRandom));
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    for key in &keys {
        let place = run(shared.put(key, bytes(key, 1, b"v"), MINUTE, false)).place;
        assert_eq!(place.partition, shared.partition(key));
        let name = format!("tc:{{many.p{:02x}}}:d:{key}", place.partition);
        assert_eq!(bed.server.command(&["EXISTS", &name]), Answer::Int(1));
    }
    assert!(run(shared.get_many(&keys)).iter().all(Option::is_some));
    let places = run(shared.invalidate(&keys, Duration::ZERO));
    assert_eq!(places.iter().map(|place| place.partition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(run(shared.get_many(&keys)).iter().all(Option::is_none));
}
