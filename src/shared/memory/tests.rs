//! The tier within the process: the laws of every shared tier, and the faults that can be ordered of this one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::sync::mpsc;

use super::history::Entry;
use super::state::{Ask, Delivery};
use super::*;
use crate::clock::ManualClock;
use crate::error::Result;
use crate::runtime::{BoxFuture, Task};
use crate::shared::contract::{Ground, LAWS, partitions_stay_apart};
use crate::shared::replay::Missing;
use crate::shared::{Bump, Controlled, Leased, SharedTier, Written};

#[path = "line_tests.rs"]
mod line;
#[path = "request_tests.rs"]
mod request;
#[path = "world_tests.rs"]
mod world;

/// Draws from a seed.
struct Seeded(AtomicU64);

impl Seeded {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed)))
    }
}

impl Random for Seeded {
    /// SplitMix64.
    fn bits(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bits = self.0.fetch_add(step, Ordering::SeqCst).wrapping_add(step);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// Runs tasks when it is told to, on the caller's thread, one after the other.
#[derive(Default)]
struct Stage {
    tasks: Mutex<Vec<Task>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Spawn for Stage {
    fn spawn(&self, task: Task) {
        self.tasks.lock().push(task);
    }
}

impl Stage {
    /// Runs all tasks until none of them can go on.
    fn run(&self) {
        let waker = Waker::from(self.woken.clone());
        loop {
            let before = self.woken.0.load(Ordering::SeqCst);
            let mut tasks = std::mem::take(&mut *self.tasks.lock());
            tasks.retain_mut(|task| task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let mut left = self.tasks.lock();
            let begun = !left.is_empty();
            tasks.append(&mut left);
            *left = tasks;
            if !begun && self.woken.0.load(Ordering::SeqCst) == before {
                break;
            }
        }
    }
}

/// A line that hears everything, and what has been heard.
struct Tap {
    end: mpsc::UnboundedReceiver<Delivery>,
    heard: Vec<(u16, Vec<u8>)>,
}

/// A server in this process, its clock, and what runs on it.
pub(crate) struct Bed {
    clock: Arc<ManualClock>,
    stage: Arc<Stage>,
    server: MemoryServer,
    tap: Mutex<Tap>,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with_partitions(1)
    }

    fn with_partitions(partitions: u16) -> Self {
        let clock = Arc::new(ManualClock::new());
        let server = MemoryServer::new(clock.clone(), Seeded::new(1), partitions);
        let (sender, end) = mpsc::unbounded_channel();
        let at = server.instance().at;
        server.0.with(|state, _| {
            let id = state.connect(at, sender).unwrap();
            state.ask(at, id, Ask::Subscribe);
        });
        Self { clock, stage: Arc::default(), server, tap: Mutex::new(Tap { end, heard: Vec::new() }) }
    }

    /// Lets time pass, in steps of ten milliseconds.
    fn pass(&self, time: Duration) {
        self.stage.run();
        for _ in 0..time.as_millis() / 10 {
            self.clock.advance(Duration::from_millis(10));
            self.stage.run();
        }
    }
}

impl Ground for Bed {
    fn instance(&self) -> (Box<dyn SharedTier>, Origin) {
        let instance = self.server.instance();
        let origin = instance.origin();
        (Box::new(instance), origin)
    }

    fn told(&self, partition: u16) -> Vec<Vec<u8>> {
        let mut tap = self.tap.lock();
        let Tap { end, heard } = &mut *tap;
        while let Ok(Delivery::Message(index, bytes)) = end.try_recv() {
            heard.push((index, bytes));
        }
        let is_it = |message: &(u16, Vec<u8>)| message.0 == partition;
        let (told, others): (Vec<_>, Vec<_>) = std::mem::take(heard).into_iter().partition(is_it);
        *heard = others;
        told.into_iter().map(|(_, bytes)| bytes).collect()
    }

    fn log(&self, partition: u16) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let all = Missing { after: 0, through: u64::MAX };
        let entries = self.server.0.with(|state, _| state.sequence(partition).read(all));
        let entry = |entry: Entry| (format!("{}-1", entry.number), entry.field.as_bytes().to_vec(), entry.value);
        entries.into_iter().map(entry).collect()
    }

    fn until(&self, so: &mut dyn FnMut() -> bool) {
        for _ in 0..1000 {
            if so() {
                return;
            }
            self.clock.advance(Duration::from_millis(1));
        }
        panic!("it does not come about");
    }
}

#[test]
fn it_keeps_the_laws_of_every_shared_tier() {
    for (law, check) in LAWS {
        println!("{law}");
        check(&Bed::new());
    }
    partitions_stay_apart(&Bed::with_partitions(4));
}
