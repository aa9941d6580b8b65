//! The laws of every shared tier, and the tier within a process held against this one, call by call.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::super::tests::redis_server::Listening;
use super::*;
use crate::shared::CONTROL;
use crate::shared::contract::{Ground, LAWS, partitions_stay_apart};
use crate::shared::memory::tests::Bed as InProcess;
use crate::shared::message::{How, Message, Origin, Said, What};
use crate::sync::Mutex;

/// A namespace of its own.
struct Namespace<'b> {
    bed: &'b Bed,
    name: String,
    partitions: u16,
    ears: Mutex<BTreeMap<u16, Listening>>,
}

impl<'b> Namespace<'b> {
    fn new(bed: &'b Bed, name: String, partitions: u16) -> Self {
        let mut new = Self { bed, name, partitions, ears: Mutex::default() };
        let ears = (0..partitions).chain([CONTROL]).map(|index| (index, bed.server.listen(&new.channel(index))));
        new.ears = Mutex::new(ears.collect());
        new
    }

    fn channel(&self, index: u16) -> String {
        self.under(index, "inv")
    }

    fn under(&self, index: u16, name: &str) -> String {
        match index {
            CONTROL => format!("tc:{{{}.ctl}}:{name}", self.name),
            index => format!("tc:{{{}.p{index:02x}}}:{name}", self.name),
        }
    }
}

impl Ground for Namespace<'_> {
    fn instance(&self) -> (Box<dyn SharedTier>, Origin) {
        let link = self.bed.shared.runner.link.clone();
        let shared = RedisShared::new(link, &self.name, self.partitions, Arc::new(SystemRandom));
        let origin = shared.origin();
        (Box::new(shared), origin)
    }

    fn told(&self, partition: u16) -> Vec<Vec<u8>> {
        self.bed.server.command(&["PUBLISH", &self.channel(partition), "enough"]);
        let mut ears = self.ears.lock();
        let ear = ears.get_mut(&partition).unwrap();
        std::iter::from_fn(|| Some(ear.message()).filter(|message| message != b"enough")).collect()
    }

    fn log(&self, partition: u16) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let list = |answer| match answer {
            Answer::List(parts) => parts.into_iter(),
            other => panic!("{other:?}"),
        };
        let bytes = |answer: Option<Answer>| answer.and_then(Answer::into_bytes).expect("there are bytes");
        let entries = list(self.bed.server.command(&["XRANGE", &self.under(partition, "log"), "-", "+"]));
        let entry = |entry| {
            let mut entry = list(entry);
            let id = String::from_utf8(bytes(entry.next())).unwrap();
            let mut fields = list(entry.next().expect("an entry has fields"));
            (id, bytes(fields.next()), bytes(fields.next()))
        };
        entries.map(entry).collect()
    }

    fn until(&self, so: &mut dyn FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !so() {
            assert!(Instant::now() < limit, "it does not come about");
            std::thread::yield_now();
        }
    }
}

#[test]
fn it_keeps_the_laws_of_every_shared_tier() {
    let Some(bed) = Bed::start() else { return };
    for (at, (law, check)) in LAWS.into_iter().enumerate() {
        println!("{law}");
        check(&Namespace::new(&bed, format!("law{at}"), 1));
    }
    partitions_stay_apart(&Namespace::new(&bed, "four".into(), 4));
}

/// A call, of one of two instances.
#[derive(Debug, Clone)]
enum Call {
    Get(&'static str),
    GetMany(Vec<&'static str>),
    Header(&'static str),
    /// The write id that is known is one of the first few.
    Lease(&'static str, LeaseToken, Option<u64>),
    Renew(&'static str, LeaseToken),
    Commit(&'static str, LeaseToken, u64),
    Release(&'static str, LeaseToken),
    /// Whether nobody is told.
    Put(&'static str, u64, bool),
    Reclaim(&'static str, u64),
    /// For so many minutes.
    Invalidate(Vec<&'static str>, u32),
    Settle(&'static str),
    /// By a caller who knows numbers up to so far above the first.
    Bump(Bump, u64),
    ReadControl,
}

fn calls() -> impl Strategy<Value = Vec<(usize, Call)>> {
    let key = || prop::sample::select(&["a", "b", "\0ü"][..]);
    let keys = || prop::collection::vec(key(), 1..4);
    let token = || prop::sample::select(&[A, B][..]);
    let wid = || 1..4_u64;
    let bump = prop_oneof![
        prop::sample::select(&["s", "t", ""][..]).prop_map(|tag| Bump::Tag(tag.into())),
        prop::sample::select(&["a*", "?"][..]).prop_map(|glob| Bump::Pattern(glob.into())),
        Just(Bump::Clear),
    ];
    let call = prop_oneof![
        1 => key().prop_map(Call::Get),
        1 => keys().prop_map(Call::GetMany),
        1 => key().prop_map(Call::Header),
        4 => (key(), token(), prop::option::of(wid())).prop_map(|(key, token, known)| Call::Lease(key, token, known)),
        1 => (key(), token()).prop_map(|(key, token)| Call::Renew(key, token)),
        3 => (key(), token(), wid()).prop_map(|(key, token, wid)| Call::Commit(key, token, wid)),
        1 => (key(), token()).prop_map(|(key, token)| Call::Release(key, token)),
        2 => (key(), wid(), any::<bool>()).prop_map(|(key, wid, quiet)| Call::Put(key, wid, quiet)),
        1 => (prop::sample::select(&["a", "?", "*"][..]), 0..2_u64).prop_map(|(glob, clock)| Call::Reclaim(glob, clock)),
        2 => (keys(), prop::sample::select(&[0, 0, 0, 1, 3][..])).prop_map(|(keys, hold)| Call::Invalidate(keys, hold)),
        1 => key().prop_map(Call::Settle),
        1 => Just(Call::ReadControl),
        2 => (bump, 0..300_u64).prop_map(|(bump, known)| Call::Bump(bump, known)),
    ];
    prop::collection::vec((0..2_usize, call), 1..60)
}

/// Two instances of a tier, and where its numbers begin.
struct Pair<'g> {
    ground: &'g dyn Ground,
    instances: [(Box<dyn SharedTier>, Origin); 2],
    data: u64,
    control: u64,
}

impl<'g> Pair<'g> {
    fn new(ground: &'g dyn Ground) -> Self {
        let instances = [ground.instance(), ground.instance()];
        let data = run(instances[0].0.invalidate(&["first"], Duration::ZERO))[0].sequence;
        let control = run(instances[0].0.bump(&Bump::Clear, 0)).clock;
        Self { ground, instances, data, control }
    }

    /// What comes of a call, in words that two tiers should have in common: numbers are counted from the first one, and
    /// times in minutes, rounded up.
    fn answer(&self, by: usize, call: &Call) -> String {
        let tier = &*self.instances[by].0;
        let none = Duration::ZERO;
        match call {
            Call::Get(key) => format!("{:?}", run(tier.get(key)).map(|stored| self.stored(&stored))),
            Call::GetMany(keys) => {
                let found = run(tier.get_many(keys)).into_iter();
                format!("{:?}", found.map(|stored| stored.map(|stored| self.stored(&stored))).collect::<Vec<_>>())
            }
            Call::Header(key) => format!("{:?}", run(tier.header(key)).map(|head| self.frame(&head))),
            Call::Lease(key, token, known) => match run(tier.lease(key, *token, 5 * MINUTE, *known)) {
                Leased::Granted => "granted".to_owned(),
                Leased::Stored(stored) => self.stored(&stored),
                Leased::Waits(left) => format!("waits {}", minutes(left)),
                Leased::Held(left) => format!("held {}", minutes(left)),
            },
            Call::Renew(key, token) => format!("{}", run(tier.renew(key, *token, 7 * MINUTE))),
            Call::Commit(key, token, wid) => {
                format!("{}", run(tier.commit(key, *token, bytes(key, *wid, b"v"), 9 * MINUTE)))
            }
            Call::Release(key, token) => format!("{:?}", run(tier.release(key, *token))),
            Call::Reclaim(glob, clock) => format!("{:?}", run(tier.reclaim(glob, *clock))),
            Call::Put(key, wid, quiet) => {
                let written = run(tier.put(key, bytes(key, *wid, b"w"), 11 * MINUTE, *quiet));
                format!("{} {:?}", written.stored, self.place(written.place))
            }
            Call::Invalidate(keys, hold) => {
                let places = run(tier.invalidate(keys, if *hold == 0 { none } else { *hold * MINUTE }));
                format!("{:?}", places.into_iter().map(|place| self.place(place)).collect::<Vec<_>>())
            }
            Call::Settle(key) => format!("{:?}", self.place(run(tier.settle(key)))),
            Call::ReadControl => {
                let Bumps { clock, cleared, tag_floor, tags, rules } = run(tier.bumps());
                let all = |numbers: Vec<(String, u64)>| {
                    let mut all: Vec<_> = numbers.into_iter().map(|(name, at)| (at - self.control, name)).collect();
                    all.sort();
                    all
                };
                let [clock, cleared, floor] = [clock, cleared, tag_floor].map(|at| at as i64 - self.control as i64);
                format!("{clock} {cleared} {floor} {:?} {:?}", all(tags), all(rules))
            }
            Call::Bump(bump, known) => {
                let Controlled { clock, what } = run(tier.bump(bump, self.control + known));
                match what {
                    Control::Rule { cleared, pattern } => {
                        format!("{} rule {} {pattern}", clock - self.control, cleared - self.control)
                    }
                    what => format!("{} {what:?}", clock - self.control),
                }
            }
        }
    }

    fn place(&self, place: Place) -> (u16, u64) {
        (place.partition, place.sequence - self.data)
    }

    fn frame(&self, bytes: &[u8]) -> String {
        let head = Head::decode(bytes).unwrap();
        // The write id of a hold is drawn.
        let wid = if head.held { 0 } else { head.wid };
        let version = head.version.checked_sub(self.data);
        format!("{} bytes, wid {wid}, version {version:?}, held {}", bytes.len(), head.held)
    }

    fn stored(&self, stored: &Stored) -> String {
        let life = match stored.life {
            Life::Left(left) => format!("left {}", minutes(left)),
            Life::Age(_) => "age".to_owned(),
            Life::Unknown => "unknown".to_owned(),
        };
        format!("{}, {life}", self.frame(&stored.frame))
    }

    /// A change, and who made it.
    fn said(&self, number: u64, Said { origin, what }: Said<'_>) -> String {
        let by = self.instances.iter().position(|(_, own)| *own == origin);
        match what {
            What::Bump(How::RuleAfter(cleared), name) => {
                format!("{number} by {by:?}: rule {} {name}", cleared - self.control)
            }
            what => format!("{number} by {by:?}: {what:?}"),
        }
    }

    /// What the logs have.
    fn logged(&self) -> Vec<String> {
        let words = |first: u64, (id, field, value): (String, Vec<u8>, Vec<u8>)| {
            let number: u64 = id.strip_suffix("-1").unwrap().parse().unwrap();
            self.said(number - first, Said::read(&field, &value).unwrap())
        };
        let data = self.ground.log(0).into_iter().map(|entry| words(self.data, entry));
        let control = self.ground.log(CONTROL).into_iter().map(|entry| words(self.control, entry));
        data.chain(control.collect::<Vec<_>>()).collect()
    }

    /// What has been told since the last time, by whom.
    fn told(&self) -> Vec<String> {
        let words = |first: u64, bytes: Vec<u8>| match Message::read(&bytes).unwrap() {
            Message::Numbered(number, said) => self.said(number - first, said),
            message => format!("{message:?}"),
        };
        let data = self.ground.told(0).into_iter().map(|bytes| words(self.data, bytes));
        let control: Vec<_> = self.ground.told(CONTROL).into_iter().map(|bytes| words(self.control, bytes)).collect();
        data.chain(control).collect()
    }
}

fn minutes(time: Duration) -> u64 {
    time.as_secs_f64().div_euclid(60.0) as u64 + u64::from(time.as_secs_f64() % 60.0 > 0.0)
}

#[test]
fn the_tier_within_a_process_answers_and_tells_as_this_one_does() {
    let Some(bed) = Bed::start() else { return };
    let names = std::cell::Cell::new(0);
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let law = |calls: Vec<(usize, Call)>| {
        names.set(names.get() + 1);
        let (far, near) = (Namespace::new(&bed, format!("case{}", names.get()), 1), InProcess::new());
        let (far, near) = (Pair::new(&far), Pair::new(&near));
        for (by, call) in &calls {
            prop_assert_eq!(far.answer(*by, call), near.answer(*by, call), "{:?} of {}", call, by);
        }
        let told = far.told();
        prop_assert_eq!(&told, &near.told());
        let changes = told.iter().filter(|told| told.contains(" by ")).cloned();
        prop_assert_eq!(far.logged(), changes.collect::<Vec<_>>());
        prop_assert_eq!(far.logged(), near.logged());
        Ok(())
    };
    TestRunner::new(config).run(&calls(), law).unwrap();
}
