//! What every shared tier has to do, whatever it stands on: laws that are written once, and run against each of them.

use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;

use super::message::{How, Message, Origin, Said, What};
use super::{Bump, Bumps, CONTROL, Control, Controlled, LeaseToken, Leased, Life, Place, SharedTier, Stored, Written};
use crate::error::Result;
use crate::frame::{Frame, HEADER, Head};
use crate::value::Value;

/// A tier of its own for each law, in which nothing has happened yet.
pub(crate) trait Ground {
    /// Another instance, and what its messages carry.
    fn instance(&self) -> (Box<dyn SharedTier>, Origin);

    /// Every message of a partition since the last time, in order.
    fn told(&self, partition: u16) -> Vec<Vec<u8>>;

    /// The log of a partition: id, field and value of each entry.
    fn log(&self, partition: u16) -> Vec<(String, Vec<u8>, Vec<u8>)>;

    /// Lets time pass until it is so.
    fn until(&self, so: &mut dyn FnMut() -> bool);
}

/// A law, and its name.
type Law = (&'static str, fn(&dyn Ground));

/// For a tier of one partition.
pub(crate) const LAWS: [Law; 14] = [
    ("a lease is had by one, and not again by asking", lease_is_had_by_one),
    ("every change takes the lease for good", changes_take_the_lease),
    ("a commit stores, stamps, tells nobody, and ends the lease", commit_stores),
    ("whoever waits is woken", waiting_ends),
    ("a value that is not known is handed out", unknown_value_is_handed_out),
    ("changes are numbered without a gap, and told", changes_are_numbered),
    ("nothing is stored under a hold, and a longer one stays", holds_hold),
    ("many are read in their order, with their ages", many_are_read),
    ("everything ends in time", everything_ends),
    ("keys and lives may be any", any_key_and_life),
    ("what is settled is gone", settled_is_gone),
    ("bumps are numbered above all that is known, and told", bumps_are_numbered),
    ("what was bumped is read, and the clock lifted above it", control_is_read),
    ("a change of no keys is none", no_keys_no_change),
];

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const A: LeaseToken = LeaseToken(*b"AAAAAAAAAAAAAAAA");
pub(crate) const B: LeaseToken = LeaseToken(*b"BBBBBBBBBBBBBBBB");

pub(crate) fn run<T>(future: impl Future<Output = Result<T>>) -> T {
    block_on(future).unwrap()
}

/// The bytes of a frame that no server has stamped.
pub(crate) fn frame(key: &str, wid: u64, payload: &[u8]) -> Bytes {
    let frame = Frame {
        value: Some(Value::bytes(payload.to_vec())),
        ttl: MINUTE,
        grace: Duration::ZERO,
        created: Duration::ZERO,
        wid,
        version: 0,
        cseq: 0,
        cost_us: 0,
        tags: Box::default(),
    };
    frame.encode(key).unwrap()
}

fn head(stored: &Stored) -> Head {
    Head::decode(&stored.frame).unwrap()
}

fn wid(tier: &dyn SharedTier, key: &str) -> Option<u64> {
    run(tier.get(key)).map(|stored| Frame::decode(key, &stored.frame).unwrap().wid)
}

/// Whether it is that long, or a little less, since time may have passed.
fn is_about(left: Duration, lasts: Duration) -> bool {
    left <= lasts && left > lasts - MINUTE / 2
}

fn number_of(place: Place) -> u64 {
    assert_eq!(place.partition, 0);
    place.sequence
}

fn put(tier: &dyn SharedTier, key: &str, wid: u64) -> u64 {
    let written = run(tier.put(key, frame(key, wid, b"v"), MINUTE, false));
    assert!(written.stored);
    number_of(written.place)
}

fn invalidate(tier: &dyn SharedTier, keys: &[&str], hold: Duration) -> u64 {
    let places = run(tier.invalidate(keys, hold));
    assert_eq!(places.len(), 1);
    number_of(places[0])
}

/// What a message says, in words.
fn words(bytes: &[u8]) -> (u64, Origin, String) {
    match Message::read(bytes).unwrap() {
        Message::Numbered(number, Said { origin, what: What::Changed(how, keys) }) => {
            (number, origin, format!("{how:?} {}", keys.collect::<Vec<_>>().join(" ")))
        }
        Message::Numbered(number, Said { origin, what: What::Bump(how, name) }) => {
            (number, origin, format!("{how:?} {name}"))
        }
        Message::Settled(key) => (0, [0; 8], format!("Settled {key}")),
        Message::SuspectAll(origin) => (0, origin, "SuspectAll".to_owned()),
    }
}

fn told(ground: &dyn Ground, partition: u16) -> Vec<(u64, Origin, String)> {
    ground.told(partition).iter().map(|bytes| words(bytes)).collect()
}

fn lease_is_had_by_one(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    assert_eq!(run(tier.lease("k", A, MINUTE, None)), Leased::Granted);
    for token in [A, B] {
        let Leased::Waits(left) = run(tier.lease("k", token, 5 * MINUTE, None)) else { panic!() };
        assert!(is_about(left, MINUTE), "{left:?}");
    }
    assert!(run(tier.renew("k", A, 3 * MINUTE)));
    assert!(!run(tier.renew("k", B, 9 * MINUTE)));
    let Leased::Waits(left) = run(tier.lease("k", B, MINUTE, None)) else { panic!() };
    assert!(is_about(left, 3 * MINUTE), "{left:?}");
    run(tier.release("k", B));
    assert!(run(tier.renew("k", A, MINUTE)));
    run(tier.release("k", A));
    assert!(!run(tier.renew("k", A, MINUTE)));
    assert_eq!(run(tier.lease("k", B, MINUTE, None)), Leased::Granted);
}

fn changes_take_the_lease(ground: &dyn Ground) {
    let (tier, other) = (ground.instance().0, ground.instance().0);
    let changes: [&dyn Fn() -> u64; 4] = [
        &|| invalidate(&*other, &["k"], Duration::ZERO),
        &|| invalidate(&*other, &["j", "k"], Duration::ZERO),
        &|| run(other.settle("k")).sequence,
        &|| put(&*other, "k", 7),
    ];
    for (at, change) in changes.iter().enumerate() {
        assert_eq!(run(tier.lease("k", A, MINUTE, None)), Leased::Granted);
        change();
        assert!(!run(tier.renew("k", A, MINUTE)));
        assert!(!run(tier.commit("k", A, frame("k", 1, b"old"), MINUTE)));
        assert_eq!(wid(&*tier, "k"), (at == 3).then_some(7));
    }
    assert_eq!(run(tier.lease("k", A, MINUTE, Some(7))), Leased::Granted, "nobody has it");
}

fn commit_stores(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    let number = invalidate(&*tier, &["x"], Duration::ZERO);
    assert_eq!(run(tier.lease("k", A, MINUTE, None)), Leased::Granted);
    assert!(!run(tier.commit("k", B, frame("k", 1, b"other"), MINUTE)));
    assert_eq!(run(tier.get("k")), None);
    assert!(run(tier.commit("k", A, frame("k", 2, b"v"), 5 * MINUTE)));
    let stored = run(tier.get("k")).unwrap();
    assert_eq!((head(&stored).wid, head(&stored).version), (2, number));
    assert!(head(&stored).created > Duration::from_secs(1_600_000_000), "the server's time");
    assert!(matches!(stored.life, Life::Left(left) if is_about(left, 5 * MINUTE)), "{stored:?}");
    assert_eq!(run(tier.header("k")), Some(stored.frame.slice(..HEADER)));
    assert!(!run(tier.commit("k", A, frame("k", 3, b"again"), MINUTE)));
    assert_eq!(wid(&*tier, "k"), Some(2));
    assert_eq!(told(ground, 0).len(), 1, "only the invalidation");
}

fn waiting_ends(ground: &dyn Ground) {
    let (tier, other) = (ground.instance().0, ground.instance().0);
    let expect = |keys: &[&str]| {
        let told: Vec<_> = ground.told(0).iter().map(|bytes| words(bytes).2).collect();
        assert_eq!(told, keys.iter().map(|key| format!("Settled {key}")).collect::<Vec<_>>());
    };
    assert_eq!(run(tier.lease("k", A, MINUTE, None)), Leased::Granted);
    assert!(run(tier.commit("k", A, frame("k", 1, b"v"), MINUTE)));
    expect(&[]);
    assert_eq!(run(tier.lease("k", A, MINUTE, Some(1))), Leased::Granted);
    assert!(matches!(run(other.lease("k", B, MINUTE, Some(1))), Leased::Waits(_)));
    // A renewal does not forget who waits.
    assert!(run(tier.renew("k", A, MINUTE)));
    assert!(run(tier.commit("k", A, frame("k", 2, b"v"), MINUTE)));
    expect(&["k"]);
    assert_eq!(run(tier.lease("j", A, MINUTE, None)), Leased::Granted);
    run(tier.release("j", A));
    expect(&[]);
    assert_eq!(run(tier.lease("j", A, MINUTE, None)), Leased::Granted);
    assert!(matches!(run(other.lease("j", B, MINUTE, None)), Leased::Waits(_)));
    run(other.release("j", B));
    expect(&[]);
    run(tier.release("j", A));
    expect(&["j"]);
    // Whoever changes the key tells that, and nothing more.
    assert_eq!(run(tier.lease("j", A, MINUTE, None)), Leased::Granted);
    assert!(matches!(run(other.lease("j", B, MINUTE, None)), Leased::Waits(_)));
    invalidate(&*other, &["j"], Duration::ZERO);
    assert_eq!(told(ground, 0).len(), 1);
}

fn unknown_value_is_handed_out(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    for payload in [vec![7; 100], vec![7; 100 << 10]] {
        let written = run(tier.put("k", frame("k", 1, &payload), MINUTE, false));
        for known in [None, Some(9)] {
            let Leased::Stored(found) = run(tier.lease("k", A, MINUTE, known)) else { panic!() };
            assert!(matches!(found.life, Life::Left(left) if is_about(left, MINUTE)));
            assert_eq!(head(&found).version, written.place.sequence);
            assert_eq!(found.frame.len(), HEADER + payload.len());
        }
        assert_eq!(run(tier.lease("k", A, MINUTE, Some(1))), Leased::Granted);
        // The value is there beside the lease.
        assert!(matches!(run(tier.lease("k", B, MINUTE, None)), Leased::Stored(_)));
        assert!(matches!(run(tier.lease("k", B, MINUTE, Some(1))), Leased::Waits(_)));
        run(tier.release("k", A));
        ground.told(0);
    }
}

fn changes_are_numbered(ground: &dyn Ground) {
    let ((tier, own), (other, others)) = (ground.instance(), ground.instance());
    assert_ne!(own, others);
    let first = put(&*tier, "a", 1);
    assert!((1_600_000_000_000_000..9_000_000_000_000_000).contains(&first), "{first}");
    assert_eq!(invalidate(&*other, &["b", "a", "b"], Duration::ZERO), first + 1);
    assert_eq!(invalidate(&*tier, &["c"], MINUTE), first + 2);
    assert_eq!(run(tier.settle("d")), Place { partition: 0, sequence: first + 3 });
    assert_eq!(run(tier.lease("e", A, MINUTE, None)), Leased::Granted);
    assert!(run(tier.commit("e", A, frame("e", 1, b"v"), MINUTE)));
    assert_eq!(put(&*other, "e", 2), first + 4);
    let expected: Vec<_> =
        [(own, "Updated a"), (others, "Removed b a b"), (own, "Removed c"), (own, "Removed d"), (others, "Updated e")]
            .into_iter()
            .zip(first..)
            .map(|((origin, what), number)| (number, origin, what.to_owned()))
            .collect();
    assert_eq!(told(ground, 0), expected);
    let stored = run(tier.get("e")).unwrap();
    assert_eq!(head(&stored).version, first + 4);
    // Of many keys too.
    let keys: Vec<String> = (0..600).map(|n| format!("n{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    put(&*tier, keys[0], 1);
    put(&*tier, keys[599], 1);
    let last = invalidate(&*tier, &keys, Duration::ZERO);
    assert_eq!(run(tier.get_many(&[keys[0], keys[599]])), [None, None]);
    let told = told(ground, 0);
    assert_eq!(told.last().unwrap().0, last);
    let names: Vec<&str> = told[2..].iter().flat_map(|(_, _, what)| what.split(' ').skip(1)).collect();
    assert_eq!(names, keys);
}

fn holds_hold(ground: &dyn Ground) {
    let (tier, other) = (ground.instance().0, ground.instance().0);
    let held = |lasts: Duration| {
        let Leased::Held(left) = run(other.lease("k", A, MINUTE, None)) else { panic!() };
        assert!(is_about(left, lasts), "{left:?} of {lasts:?}");
    };
    put(&*tier, "k", 1);
    let number = invalidate(&*tier, &["k"], 2 * MINUTE);
    held(2 * MINUTE);
    assert!(!run(other.commit("k", A, frame("k", 2, b"w"), MINUTE)));
    let written = run(other.put("k", frame("k", 2, b"w"), MINUTE, false));
    assert_eq!(written, Written { stored: false, place: Place { partition: 0, sequence: number + 1 } });
    assert_eq!(told(ground, 0).last().unwrap().2, "Updated k", "all are told");
    assert!(Head::decode(&run(tier.header("k")).unwrap()).unwrap().held);
    assert!(head(&run(tier.get("k")).unwrap()).held);
    invalidate(&*other, &["k"], Duration::ZERO);
    invalidate(&*other, &["k"], MINUTE);
    run(other.settle("k"));
    held(2 * MINUTE);
    invalidate(&*other, &["k"], 4 * MINUTE);
    held(4 * MINUTE);
    // A lease that was had before goes with the hold.
    assert_eq!(run(tier.lease("j", A, MINUTE, None)), Leased::Granted);
    invalidate(&*other, &["j"], MINUTE);
    assert!(!run(tier.commit("j", A, frame("j", 1, b"v"), MINUTE)));
    assert!(matches!(run(tier.lease("j", A, MINUTE, Some(1))), Leased::Held(_)));
}

fn many_are_read(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    assert_eq!(run(tier.get_many(&[])), []);
    put(&*tier, "a", 1);
    put(&*tier, "c", 3);
    let found = run(tier.get_many(&["c", "b", "a", "c"]));
    let wids: Vec<_> = found.iter().map(|stored| stored.as_ref().map(|stored| head(stored).wid)).collect();
    assert_eq!(wids, [Some(3), None, Some(1), Some(3)]);
    for stored in found.iter().flatten() {
        assert!(matches!(stored.life, Life::Age(age) if age < MINUTE), "{stored:?}");
    }
    assert_eq!((run(tier.header("b")), run(tier.get("b"))), (None, None));
}

fn everything_ends(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    let moment = Duration::from_millis(20);
    run(tier.put("k", frame("k", 1, b"v"), moment, false));
    ground.until(&mut || run(tier.get("k")).is_none());
    assert_eq!((run(tier.header("k")), run(tier.get_many(&["k"]))), (None, vec![None]));
    assert_eq!(run(tier.lease("k", A, moment, None)), Leased::Granted);
    ground.until(&mut || run(tier.lease("k", B, MINUTE, None)) == Leased::Granted);
    assert!(!run(tier.renew("k", A, MINUTE)) && !run(tier.commit("k", A, frame("k", 2, b"late"), MINUTE)));
    assert!(run(tier.commit("k", B, frame("k", 3, b"w"), moment)));
    ground.until(&mut || run(tier.get("k")).is_none());
    // An end that nobody brings about wakes nobody.
    assert_eq!(told(ground, 0).into_iter().map(|(_, _, what)| what).collect::<Vec<_>>(), ["Updated k"]);
    invalidate(&*tier, &["h"], moment);
    assert!(matches!(run(tier.lease("h", A, MINUTE, None)), Leased::Held(_) | Leased::Granted));
    ground.until(&mut || run(tier.put("h", frame("h", 1, b"v"), MINUTE, false)).stored);
}

fn any_key_and_life(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    let long = "k".repeat(64 << 10);
    for key in ["\0", "a\0b", "{x}", "}{", "*", "line\r\nbreak", "schlüssel", &long] {
        assert_eq!(run(tier.lease(key, A, Duration::MAX, None)), Leased::Granted, "{key:?}");
        assert!(run(tier.renew(key, A, Duration::MAX)));
        assert!(run(tier.commit(key, A, frame(key, 1, b"v"), Duration::MAX)));
        assert!(run(tier.put(key, frame(key, 2, b"w"), Duration::MAX, false)).stored);
        let stored = run(tier.get(key)).unwrap();
        assert_eq!(Frame::decode(key, &stored.frame).unwrap().wid, 2);
        assert!(matches!(stored.life, Life::Left(left) if left > Duration::from_secs(1 << 40)), "{stored:?}");
        invalidate(&*tier, &[key], Duration::ZERO);
        assert_eq!(run(tier.get(key)), None, "{key:?}");
        invalidate(&*tier, &[key], Duration::MAX);
        assert!(matches!(run(tier.lease(key, A, MINUTE, None)), Leased::Held(_)), "{key:?}");
        let said: Vec<_> = ground.told(0).iter().map(|bytes| words(bytes).2).collect();
        assert_eq!(said, ["Updated", "Removed", "Removed"].map(|how| format!("{how} {key}")));
    }
    run(tier.put("zero", frame("zero", 1, b"v"), Duration::ZERO, false));
    ground.until(&mut || run(tier.get("zero")).is_none());
    assert_eq!(run(tier.lease("zero", A, Duration::ZERO, None)), Leased::Granted);
    ground.until(&mut || run(tier.lease("zero", A, MINUTE, None)) == Leased::Granted);
}

fn settled_is_gone(ground: &dyn Ground) {
    let (tier, other) = (ground.instance().0, ground.instance().0);
    let number = put(&*tier, "k", 1);
    assert_eq!(run(tier.settle("k")), Place { partition: 0, sequence: number + 1 });
    assert_eq!(run(other.get("k")), None);
    assert_eq!(put(&*other, "k", 2), number + 2);
    assert_eq!(wid(&*tier, "k"), Some(2));
}

fn bumps_are_numbered(ground: &dyn Ground) {
    let (tier, own) = ground.instance();
    let one = run(tier.bump(&Bump::Tag("a".into()), 0));
    assert!((1_600_000_000_000_000..9_000_000_000_000_000).contains(&one.clock), "{one:?}");
    assert_eq!(one.what, Control::Tag("a".into()));
    let two = run(tier.bump(&Bump::Pattern("user:*".into()), one.clock));
    assert_eq!(two, Controlled { clock: one.clock + 1, what: Control::Pattern("user:*".into()) });
    let known = two.clock + 1000;
    let three = run(tier.bump(&Bump::Clear, known));
    assert_eq!(three, Controlled { clock: known + 1, what: Control::Clear });
    let four = run(tier.bump(&Bump::Tag("\0{}\r\n".into()), u64::MAX));
    assert_eq!(four.clock, known + 2, "what is no number is not known");
    let expected = [
        (one.clock, own, format!("{:?} a", How::Tag)),
        (two.clock, own, format!("{:?} user:*", How::Rule)),
        (three.clock, own, format!("{:?} ", How::Clear)),
        (four.clock, own, format!("{:?} \0{{}}\r\n", How::Tag)),
    ];
    assert_eq!(told(ground, CONTROL), expected);
    // The 257th pattern turns the oldest into a clear.
    let rules: Vec<u64> = (0..256).map(|n| run(tier.bump(&Bump::Pattern(format!("{n}*")), 0)).clock).collect();
    assert_eq!(rules[255], four.clock + 256);
    // One that is said again is the newest, not one more.
    assert_eq!(run(tier.bump(&Bump::Pattern("0*".into()), 0)).what, Control::Pattern("0*".into()));
    let last = run(tier.bump(&Bump::Pattern("z*".into()), 0));
    assert_eq!(last.what, Control::Rule { cleared: rules[1], pattern: "z*".into() });
    let told = told(ground, CONTROL);
    assert_eq!(told.last().unwrap().2, format!("{:?} z*", How::RuleAfter(rules[1])));
    assert_eq!(ground.told(0), Vec::<Vec<u8>>::new(), "data have numbers of their own");
}

fn control_is_read(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    let read = || {
        let mut bumps = run(tier.bumps());
        bumps.tags.sort();
        bumps
    };
    let first = read();
    assert!(first.clock > 1_600_000_000_000_000);
    let worst = Bumps { cleared: first.clock, tag_floor: first.clock, tags: vec![], rules: vec![], ..first };
    assert_eq!((read(), read()), (worst.clone(), worst.clone()), "what never was counts as bumped, once");
    let tags = ["b", "a", "b"].map(|tag| run(tier.bump(&Bump::Tag(tag.into()), 0)).clock);
    let rules = ["x*", "a*"].map(|glob| run(tier.bump(&Bump::Pattern(glob.into()), 0)).clock);
    assert_eq!(tags[0], first.clock + 1);
    let named = |name: &str, number| (name.to_owned(), number);
    let bumps = Bumps {
        clock: rules[1],
        tags: vec![named("a", tags[1]), named("b", tags[2])],
        rules: vec![named("x*", rules[0]), named("a*", rules[1])],
        ..worst
    };
    assert_eq!(read(), bumps);
    let cleared = run(tier.bump(&Bump::Clear, 0)).clock;
    assert_eq!(read(), Bumps { clock: cleared, cleared, rules: vec![], ..bumps });
    let known = cleared + 1_000_000_000_000;
    assert_eq!(run(tier.lift(known)), known + 1);
    assert!(run(tier.lift(0)) > known + 1);
    assert_eq!(told(ground, CONTROL).len(), 6, "neither is told");
}

fn no_keys_no_change(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    let number = invalidate(&*tier, &["k"], Duration::ZERO);
    assert_eq!(run(tier.invalidate(&[], Duration::ZERO)), []);
    assert_eq!(run(tier.invalidate(&[], MINUTE)), []);
    assert_eq!(invalidate(&*tier, &["k"], Duration::ZERO), number + 1);
    assert_eq!(told(ground, 0).len(), 2);
}

/// For a tier of four partitions.
pub(crate) fn partitions_stay_apart(ground: &dyn Ground) {
    let (tier, _) = ground.instance();
    assert_eq!(tier.partitions(), 4);
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    let mut count = [0; 4];
    for key in &keys {
        let place = run(tier.put(key, frame(key, 1, b"v"), MINUTE, false)).place;
        assert_eq!(place.partition, tier.partition(key));
        assert_eq!(u64::from(place.partition), crate::hash::stable_hash(key) % 4, "all tiers agree");
        count[usize::from(place.partition)] += 1;
    }
    assert!(run(tier.get_many(&keys)).iter().all(Option::is_some));
    let places = run(tier.invalidate(&keys, Duration::ZERO));
    assert_eq!(places.iter().map(|place| place.partition).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(run(tier.get_many(&keys)).iter().all(Option::is_none));
    for (partition, count) in (0..).zip(count) {
        let told = told(ground, partition);
        assert_eq!((told.len(), told.last().unwrap().0), (count + 1, places[usize::from(partition)].sequence));
        let keys = told.last().unwrap().2.split(' ').skip(1).count();
        assert_eq!((keys, &told[0].2[..7]), (count, "Updated"));
    }
}
