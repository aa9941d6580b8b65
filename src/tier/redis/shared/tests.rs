//! The shared tier against real servers, each test with its own.

use std::future::Future;

use futures::executor::block_on;

use super::super::tests::patient;
use super::super::tests::redis_server::{Answer, RedisServer};
use super::super::{RedisOptions, Wiring};
use super::change::{KEY_BYTES, portions};
use super::*;
use crate::frame::{Frame, Head, hold};
use crate::random::SystemRandom;
use crate::runtime::Runtime;
use crate::shared::{Control, Life};

#[path = "answers_tests.rs"]
mod answers;
#[path = "contract_tests.rs"]
mod contract;
#[path = "control_tests.rs"]
mod control_clock;
#[path = "denied_tests.rs"]
mod denied;
#[path = "foreign_tests.rs"]
mod foreign;
#[path = "settle_tests.rs"]
mod settle;

const MINUTE: Duration = Duration::from_secs(60);
const A: LeaseToken = LeaseToken(*b"AAAAAAAAAAAAAAAA");
const B: LeaseToken = LeaseToken(*b"BBBBBBBBBBBBBBBB");

/// A server, and an instance's view of it.
struct Bed {
    shared: RedisShared,
    runtime: Arc<Runtime>,
    server: RedisServer,
}

impl Bed {
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Option<Self> {
        let server = RedisServer::start_with(arguments)?;
        let runtime = Runtime::start().unwrap();
        let shared = instance(&runtime, patient(&server));
        Some(Self { shared, runtime, server })
    }

    /// Another instance.
    fn another(&self) -> RedisShared {
        instance(&self.runtime, patient(&self.server))
    }

    /// What lies under a name of the partition.
    fn raw(&self, name: &str) -> Option<Vec<u8>> {
        self.server.command(&["GET", &under(name)]).into_bytes()
    }

    fn number(&self) -> u64 {
        std::str::from_utf8(&self.raw("seq").expect("the sequence is there")).unwrap().parse().unwrap()
    }

    /// Keys of payloads that wait for a script.
    fn staged(&self) -> usize {
        match self.server.command(&["KEYS", &under("s:*")]) {
            Answer::List(keys) => keys.len(),
            other => panic!("{other:?}"),
        }
    }

    /// The ids of the log, without their `-1`, and the fields.
    fn log(&self) -> Vec<(u64, String)> {
        let Answer::List(entries) = self.server.command(&["XRANGE", &under("log"), "-", "+"]) else { panic!() };
        let entry = |entry| match entry {
            Answer::List(parts) => match &parts[..] {
                [Answer::Text(id), Answer::List(fields)] => {
                    let Answer::Text(field) = &fields[0] else { panic!("{fields:?}") };
                    (id.strip_suffix("-1").expect("ids end with -1").parse().unwrap(), field.clone())
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        entries.into_iter().map(entry).collect()
    }
}

fn instance(runtime: &Runtime, options: RedisOptions) -> RedisShared {
    let wiring = Wiring::new(&options, runtime.spawner()).unwrap();
    RedisShared::new(Link::start(wiring), "ns", 1, Arc::new(SystemRandom))
}

fn under(name: &str) -> String {
    format!("tc:{{ns.p00}}:{name}")
}

fn run<T>(future: impl Future<Output = Result<T>>) -> T {
    block_on(future).unwrap()
}

fn frame(wid: u64, payload: &[u8]) -> Frame {
    Frame {
        value: Some(crate::value::Value::bytes(payload.to_vec())),
        ttl: MINUTE,
        grace: Duration::ZERO,
        created: Duration::ZERO,
        wid,
        version: 0,
        cseq: 0,
        cost_us: 0,
        tags: Box::default(),
    }
}

fn bytes(key: &str, wid: u64, payload: &[u8]) -> Bytes {
    frame(wid, payload).encode(key).unwrap()
}

/// The frame that is stored under `key` and its stamps put apart: version and creation.
fn stored(bed: &Bed, key: &str) -> Option<(Frame, u64, Duration)> {
    let stored = run(bed.shared.get(key))?;
    let frame = Frame::decode(key, &stored.frame).expect("it is a frame");
    let (version, created) = (frame.version, frame.created);
    Some((Frame { version: 0, created: Duration::ZERO, ..frame }, version, created))
}

#[test]
fn a_lease_is_had_by_one_and_is_not_had_again_by_asking() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    for token in [A, B] {
        let Leased::Waits(left) = run(shared.lease("k", token, MINUTE, None)) else { panic!() };
        assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    }
    assert_eq!(bed.raw("l:k").unwrap(), b"AAAAAAAAAAAAAAAA\x01", "somebody waits");
    assert!(run(shared.renew("k", A, 2 * MINUTE)));
    assert!(!run(shared.renew("k", B, MINUTE)));
    let Leased::Waits(left) = run(shared.lease("k", B, MINUTE, None)) else { panic!() };
    assert!(left > MINUTE, "{left:?}");
}

#[test]
fn an_invalidation_takes_the_lease_for_good() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    run(bed.another().invalidate(&["k"], Duration::ZERO));
    assert!(!run(shared.renew("k", A, MINUTE)));
    assert_eq!(bed.raw("l:k"), None, "a renewal does not bring it back");
    assert!(!run(shared.commit("k", A, bytes("k", 1, b"old"), MINUTE)));
    assert_eq!(run(shared.get("k")), None);
    assert_eq!(bed.staged(), 0);
}

#[test]
fn a_write_takes_the_lease_too() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    run(bed.another().put("k", bytes("k", 2, b"new"), MINUTE, false));
    assert!(!run(shared.commit("k", A, bytes("k", 1, b"old"), MINUTE)));
    assert_eq!(stored(&bed, "k").unwrap().0, frame(2, b"new"));
    assert_eq!(bed.staged(), 0);
}

#[test]
fn a_commit_stores_stamps_and_ends_the_lease() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    assert!(!run(shared.commit("k", B, bytes("k", 1, b"other"), MINUTE)));
    assert_eq!((bed.staged(), bed.raw("d:k")), (0, None));
    assert!(run(shared.commit("k", A, bytes("k", 1, b"v"), MINUTE)));
    let (found, version, created) = stored(&bed, "k").unwrap();
    assert_eq!((found, version), (frame(1, b"v"), bed.number()));
    assert!(created > Duration::from_secs(1_700_000_000), "{created:?}");
    assert_eq!((bed.staged(), bed.raw("l:k")), (0, None));
    let Some(Stored { life: Life::Left(left), .. }) = run(shared.get("k")) else { panic!() };
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    // Nobody is told of a value that only was not there, and it takes no number.
    assert_eq!(bed.log(), []);
    // The second of two commits under one lease finds it ended.
    assert!(!run(shared.commit("k", A, bytes("k", 1, b"w"), MINUTE)));
}

#[test]
fn whoever_asks_for_a_lease_is_handed_a_value_that_it_does_not_know() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    for payload in [vec![7; 100], vec![7; 1 << 20]] {
        let sent = bytes("k", 1, &payload);
        let written = run(shared.put("k", sent, MINUTE, false));
        assert!(written.stored);
        let Leased::Stored(found) = run(shared.lease("k", A, MINUTE, Some(9))) else { panic!() };
        assert!(matches!(found.life, Life::Left(left) if left <= MINUTE && left > MINUTE / 2));
        let found = Frame::decode("k", &found.frame).unwrap();
        assert_eq!((found.value, found.version), (frame(1, &payload).value, written.place.sequence));
        assert!(matches!(run(shared.lease("k", A, MINUTE, None)), Leased::Stored(_)));
        assert_eq!(run(shared.lease("k", A, MINUTE, Some(1))), Leased::Granted);
        run(shared.release("k", A));
    }
}

#[test]
fn a_release_ends_a_lease_of_ones_own_only() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    run(shared.release("k", B));
    assert_eq!(bed.raw("l:k").unwrap(), A.0);
    run(shared.release("k", A));
    assert_eq!(bed.raw("l:k"), None);
    assert_eq!(run(shared.lease("k", B, MINUTE, None)), Leased::Granted);
}

#[test]
fn changes_are_numbered_without_a_gap_and_to_the_last_digit() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let first = run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).place;
    let mut numbers = vec![first.sequence];
    // A double that is printed with the usual fourteen digits would repeat itself.
    assert!((1_700_000_000_000_000..9_000_000_000_000_000).contains(&first.sequence), "{first:?}");
    for n in 0..20 {
        let place = match n % 2 {
            0 => run(shared.invalidate(&["k", "j"], Duration::ZERO))[0],
            _ => run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).place,
        };
        assert_eq!(place.partition, 0);
        numbers.push(place.sequence);
    }
    assert_eq!(numbers, (first.sequence..=first.sequence + 20).collect::<Vec<_>>());
    assert_eq!(bed.log().iter().map(|(id, _)| *id).collect::<Vec<_>>(), numbers);
    assert_eq!(bed.log()[1].1, "i");
    assert_eq!((bed.log()[2].1.as_str(), bed.number()), ("p", first.sequence + 20));
}

#[test]
fn a_lost_sequence_goes_on_above_all_that_was_given() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let before = run(shared.invalidate(&["k"], Duration::ZERO))[0].sequence;
    bed.server.command(&["DEL", &under("seq")]);
    let after = run(shared.invalidate(&["k"], Duration::ZERO))[0].sequence;
    assert!(after > before);
    // The log is ahead of the server's clock, as after a step of that.
    let ahead = after + 1_000_000_000_000;
    bed.server.command(&["XADD", &under("log"), &format!("{ahead}-1"), "i", "x"]);
    bed.server.command(&["DEL", &under("seq")]);
    assert_eq!(run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).place.sequence, ahead + 1);
    bed.server.command(&["DEL", &under("seq")]);
    assert_eq!(run(shared.lease("l", A, MINUTE, None)), Leased::Granted);
    assert!(run(shared.commit("l", A, bytes("l", 1, b"v"), MINUTE)));
    assert_eq!(stored(&bed, "l").unwrap().1, ahead + 2);
}

#[test]
fn nothing_is_stored_under_a_hold() {
    let Some(bed) = Bed::start() else { return };
    let (shared, other) = (&bed.shared, bed.another());
    run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
    run(shared.invalidate(&["k"], MINUTE));
    let Leased::Held(left) = run(other.lease("k", A, MINUTE, None)) else { panic!() };
    assert!(left <= MINUTE && left > MINUTE / 2, "{left:?}");
    assert_eq!(bed.raw("l:k"), None);
    let before = bed.number();
    let written = run(other.put("k", bytes("k", 2, b"w"), MINUTE, false));
    assert_eq!(written, Written { stored: false, place: Place { partition: 0, sequence: before + 1 } });
    assert_eq!(bed.log().last().unwrap(), &(before + 1, "p".to_owned()), "all are told");
    assert_eq!(bed.staged(), 0);
    let head = run(shared.header("k")).unwrap();
    assert!(Head::decode(&head).unwrap().held);
    // Another's invalidation leaves it, one with a shorter hold too, and a longer one replaces it.
    run(other.invalidate(&["k"], Duration::ZERO));
    run(other.invalidate(&["k"], Duration::from_millis(1)));
    let Leased::Held(left) = run(other.lease("k", A, MINUTE, None)) else { panic!() };
    assert!(left > MINUTE / 2, "{left:?}");
    run(other.invalidate(&["k"], 3 * MINUTE));
    let Leased::Held(left) = run(other.lease("k", A, MINUTE, None)) else { panic!() };
    assert!(left > 2 * MINUTE, "{left:?}");
    bed.server.command(&["PEXPIRE", &under("d:k"), "1"]);
    while run(shared.header("k")).is_some() {}
    assert!(run(other.put("k", bytes("k", 2, b"w"), MINUTE, false)).stored);
}

#[test]
fn everybody_is_told_under_the_number_of_the_change() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let mut heard = bed.server.listen(&under("inv"));
    let message = |kind: &[u8], place: Place, keys: &[&str]| {
        let mut message = [kind, &place.sequence.to_le_bytes(), &shared.origin()].concat();
        for key in keys {
            message.extend_from_slice(&(key.len() as u32).to_le_bytes());
            message.extend_from_slice(key.as_bytes());
        }
        message
    };
    let place = run(shared.put("kä\0", bytes("kä\0", 1, b"v"), MINUTE, false)).place;
    assert_eq!(heard.message(), message(b"P", place, &["kä\0"]));
    let place = run(shared.invalidate(&["a", "b{}"], Duration::ZERO))[0];
    assert_eq!(heard.message(), message(b"I", place, &["a", "b{}"]));
    let place = run(shared.invalidate(&["a"], MINUTE))[0];
    assert_eq!(heard.message(), message(b"I", place, &["a"]));
    let place = run(shared.put("a", bytes("a", 1, b"v"), MINUTE, false)).place;
    assert_eq!(heard.message(), message(b"P", place, &["a"]));
    // The log says the same, behind the number.
    let id = format!("{}-1", place.sequence);
    let Answer::List(mut entries) = bed.server.command(&["XRANGE", &under("log"), &id, &id]) else { panic!() };
    let Some(Answer::List(mut entry)) = entries.pop() else { panic!() };
    let Some(Answer::List(mut fields)) = entry.pop() else { panic!() };
    assert_eq!(fields.pop().unwrap().into_bytes().unwrap(), message(b"P", place, &["a"])[9..]);

    let mut heard = bed.server.listen("tc:{ns.ctl}:inv");
    let clock = run(shared.bump(&Bump::Tag("t".into()), 0)).clock;
    let place = Place { partition: 0, sequence: clock };
    assert_eq!(heard.message(), [&message(b"C", place, &[])[..], b"t", &[1, 0, 0, 0], b"t"].concat());
}

#[test]
fn whoever_waits_for_a_lease_is_woken_when_it_ends() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let mut heard = bed.server.listen(&under("inv"));
    let woken = [b"F", &[0; 16][..], b"k\0"].concat();
    for waits in [true, false] {
        for commits in [true, false] {
            assert_eq!(run(shared.lease("k\0", A, MINUTE, Some(1))), Leased::Granted);
            if waits {
                assert!(matches!(run(shared.lease("k\0", B, MINUTE, Some(1))), Leased::Waits(_)));
                assert!(run(shared.renew("k\0", A, MINUTE)));
            }
            match commits {
                true => assert!(run(shared.commit("k\0", A, bytes("k\0", 1, b"v"), MINUTE))),
                false => run(shared.release("k\0", A)),
            }
            if waits {
                assert_eq!(heard.message(), woken);
            }
        }
    }
    // Where nobody waited nobody was woken.
    run(shared.invalidate(&["k"], Duration::ZERO));
    assert_eq!(heard.message()[0], b'I');
}

#[test]
fn what_was_not_staged_is_not_stored() {
    let Some(bed) = Bed::start() else { return };
    let (shared, names) = (&bed.shared, bed.shared.names.partition(0));
    assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
    for staged in ["", "short"] {
        let name = names.staged(7);
        let stage = || bed.server.command(&["SET", &name, staged]);
        stage();
        let keys = [&*names.data("k"), &names.lease("k"), &names.sequence, &names.log, &name];
        let call = shared.runner.call(&scripts::COMMIT, &keys).arg(&A.0[..]).arg(60_000).arg(70).arg("c").arg("k");
        assert!(matches!(block_on(shared.runner.run(call)), Ok(Value::Int(-1))));
        assert_eq!((bed.raw("d:k"), bed.staged(), bed.raw("l:k").as_deref()), (None, 0, Some(&A.0[..])));
        stage();
        let keys = [&*names.sequence, &names.log, &names.data("k"), &names.lease("k"), &name];
        let call = shared.runner.call(&scripts::PUT, &keys).arg("c").arg(&A.0[..8]).arg(60_000).arg(70).arg(9).arg("k");
        let answer = block_on(shared.runner.run(call));
        assert!(matches!(answer, Ok(Value::Array(parts)) if parts == [Value::Int(-1)]));
        assert_eq!((bed.raw("d:k"), bed.staged(), bed.log()), (None, 0, vec![]));
    }
}

#[test]
fn many_are_read_in_order_with_their_ages() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.get_many(&[])), []);
    run(shared.put("a", bytes("a", 1, b"v"), MINUTE, false));
    run(shared.put("c", bytes("c", 3, &vec![1; 1 << 20]), MINUTE, false));
    // Not stamped by a server: of a release that knew no scripts.
    let old = bytes("d", 4, b"x");
    bed.server.command_bytes(&[b"SET", under("d:d").as_bytes(), &old, b"PX", b"60000"]);
    bed.server.command(&["RPUSH", &under("d:e"), "x"]);
    bed.server.command(&["SET", &under("d:f"), "foreign"]);
    let found = run(shared.get_many(&["a", "b", "c", "a", "d", "e", "f"]));
    let wid = |at: usize, key: &str| found[at].as_ref().map(|stored| Frame::decode(key, &stored.frame).unwrap().wid);
    assert_eq!((wid(0, "a"), wid(2, "c"), wid(3, "a"), wid(4, "d")), (Some(1), Some(3), Some(1), Some(4)));
    assert_eq!((&found[1], &found[5]), (&None, &None));
    for at in [0, 2, 3] {
        assert!(matches!(found[at].as_ref().unwrap().life, Life::Age(age) if age < MINUTE), "{at}");
    }
    assert!(matches!(found[4].as_ref().unwrap().life, Life::Left(left) if left <= MINUTE && left > MINUTE / 2));
    assert_eq!(found[6].as_ref().unwrap().life, Life::Unknown);

    let keys: Vec<String> = (0..2 * KEYS + 1).map(|n| format!("n{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    run(shared.put(keys[2 * KEYS], bytes(keys[2 * KEYS], 5, b"v"), MINUTE, false));
    let found = run(shared.get_many(&keys));
    assert_eq!(found.iter().filter(|found| found.is_some()).count(), 1);
    assert!(found[2 * KEYS].is_some());
}

#[test]
fn many_are_removed_under_few_numbers() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    assert_eq!(run(shared.invalidate(&[], Duration::ZERO)), []);
    let keys: Vec<String> = (0..KEYS + 1).map(|n| format!("n{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    for key in [keys[0], keys[KEYS]] {
        run(shared.put(key, bytes(key, 1, b"v"), MINUTE, false));
    }
    let before = bed.number();
    assert_eq!(run(shared.invalidate(&keys, Duration::ZERO)), [Place { partition: 0, sequence: before + 2 }]);
    assert_eq!(run(shared.get_many(&[keys[0], keys[KEYS]])), [None, None]);

    let long = "x".repeat(KEY_BYTES - 1);
    let portion = |keys: &[&str]| portions(keys).map(<[&str]>::len).collect::<Vec<_>>();
    assert_eq!(portion(&[&long, "a", "b"]), [2, 1]);
    assert_eq!(portion(&["a", &format!("{long}xx"), "b"]), [1, 1, 1]);
    assert_eq!(portion(&[]), [0usize; 0]);
}

#[test]
fn the_log_is_bounded_in_bytes_too() {
    let Some(bed) = Bed::start() else { return };
    assert_eq!((log_length(0), log_length(1 << 10), log_length(2 << 10)), (LOG, LOG, LOG / 2));
    assert_eq!(log_length(usize::MAX), 16);
    let long = ["a", "b", "c", "d"].map(|letter| letter.repeat(60 << 10));
    let keys: Vec<&str> = long.iter().map(|key| &**key).collect();
    for _ in 0..30 {
        run(bed.shared.invalidate(&keys, Duration::ZERO));
    }
    let log = bed.log();
    assert!((16..25).contains(&log.len()), "{}", log.len());
    // What is left is the newest, without a gap.
    let newest = bed.number();
    assert!(log.iter().rev().zip((0..).map(|ago| newest - ago)).all(|((id, _), number)| *id == number));
}

#[test]
fn keys_and_lives_of_any_kind_are_kept_exactly() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    for key in ["\0", "a\0b", "{x}", "}{", "*", "line\r\nbreak", "schlüssel", "{ns.p00}:d:k", &"k".repeat(64 << 10)] {
        assert_eq!(run(shared.lease(key, A, Duration::MAX, None)), Leased::Granted, "{key:?}");
        assert!(run(shared.renew(key, A, Duration::MAX)));
        assert!(run(shared.commit(key, A, bytes(key, 1, b"v"), Duration::MAX)));
        assert_eq!(stored(&bed, key).unwrap().0, frame(1, b"v"), "{key:?}");
        assert!(run(shared.put(key, bytes(key, 2, b"w"), Duration::MAX, false)).stored);
        let Life::Left(left) = run(shared.get(key)).unwrap().life else { panic!() };
        assert!(left > Duration::from_secs(1 << 40), "{left:?}");
        assert_eq!(stored(&bed, key).unwrap().0, frame(2, b"w"), "{key:?}");
        run(shared.invalidate(&[key], Duration::ZERO));
        assert_eq!(run(shared.get(key)), None, "{key:?}");
        run(shared.invalidate(&[key], Duration::MAX));
        assert!(matches!(run(shared.lease(key, A, MINUTE, None)), Leased::Held(_)), "{key:?}");
    }
    // A time to live of nothing is over at once.
    run(shared.put("zero", bytes("zero", 1, b"v"), MINUTE, false));
    run(shared.put("zero", bytes("zero", 2, b"w"), Duration::ZERO, false));
    while run(shared.get("zero")).is_some() {}
}

#[test]
fn a_server_that_forgets_the_scripts_is_sent_them() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let forget = || assert_eq!(bed.server.command(&["SCRIPT", "FLUSH"]), Answer::Text("OK".into()));
    let big = vec![3; 1 << 20];
    for round in 0..2 {
        forget();
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted, "{round}");
        forget();
        assert!(run(shared.renew("k", A, MINUTE)));
        forget();
        assert!(run(shared.commit("k", A, bytes("k", 1, &big), MINUTE)));
        assert_eq!((stored(&bed, "k").unwrap().0, bed.staged()), (frame(1, &big), 0));
        forget();
        assert_eq!(run(shared.lease("k", B, MINUTE, Some(1))), Leased::Granted);
        forget();
        run(shared.release("k", B));
        assert_eq!(bed.raw("l:k"), None);
        forget();
        assert!(run(shared.put("k", bytes("k", 2, b"w"), MINUTE, false)).stored);
        assert_eq!(stored(&bed, "k").unwrap().0, frame(2, b"w"));
        forget();
        assert_eq!(run(shared.invalidate(&["k"], Duration::ZERO))[0].sequence, bed.number());
        assert_eq!(run(shared.get("k")), None);
        forget();
        assert!(matches!(run(shared.bump(&Bump::Clear, 0)).what, Control::Clear));
        forget();
        run(shared.settle("k"));
    }
}
