//! How an instance hears: a line to the server, kept up by a task, and a follower for each partition.
//!
//! Everything on a line comes in the order in which the server put it there, and is taken by the task alone. After a listener
//! has panicked nothing that it was told counts: everything begins with suspicion.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Weak;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::Inner;
use super::state::{Ask, Delivery};
use crate::error::{Error, Kind, Result};
use crate::runtime::BoxFuture;
use crate::shared::follow::{Action, Bounds, Follow, Partition};
use crate::shared::message::Origin;
use crate::shared::replay::{Entry, Missing};
use crate::shared::{CONTROL, Hear, Heard, Watching};
use crate::sync::{Arc, Mutex};

/// How closely the server is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How often it is asked for the newest numbers.
    pub(crate) heartbeat: Duration,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// For how long what is held may be used after the server was lost.
    pub(crate) staleness: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            patience: Duration::from_millis(500),
            staleness: Duration::from_secs(2),
        }
    }
}

/// An instance that listens. Dropping it ends its line.
pub(crate) struct MemoryWatch {
    server: Arc<Inner>,
    live: watch::Receiver<bool>,
    heard: Arc<Mutex<Heard>>,
    _stop: oneshot::Sender<()>,
}

impl MemoryWatch {
    pub(super) fn start(
        server: Arc<Inner>,
        at: usize,
        own: Origin,
        pace: Pace,
        listener: Weak<dyn Hear>,
    ) -> (Self, Run) {
        let (announce, live) = watch::channel(false);
        let (stop, stopped) = oneshot::channel::<()>();
        let heard = Arc::new(Mutex::default());
        let bounds = Bounds { staleness: pace.staleness, notice: pace.heartbeat + pace.patience };
        let data = (0..server.partitions).map(|index| (index, Follow::new(Partition::Data, own, bounds)));
        let control = (CONTROL, Follow::new(Partition::Control, own, bounds));
        let followed = data.chain([control]).collect();
        let shared = server.clone();
        let watcher = Watcher { server, at, pace, listener, followed, announce, heard: heard.clone(), lines: 0 };
        (Self { server: shared, live, heard, _stop: stop }, watcher.run_until(stopped))
    }

    /// Whether all partitions are followed.
    pub(crate) fn is_live(&self) -> bool {
        *self.live.borrow()
    }

    /// The server's time since the epoch: what ages are counted on.
    pub(crate) fn server_time(&self) -> Duration {
        self.server.with(|state, now| now.wall + state.ahead)
    }
}

impl Watching for MemoryWatch {
    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        let mut live = self.live.clone();
        Box::pin(async move { live.wait_for(|live| *live).await.map(drop).map_err(|_| Error::closed()) })
    }

    fn deaf(&self) -> Option<Error> {
        let why = "the line to the server of this process is down";
        (!self.is_live()).then(|| Error::new(Kind::TIER, why))
    }

    fn is_down(&self) -> bool {
        !self.is_live()
    }

    fn heard(&self) -> Heard {
        *self.heard.lock()
    }
}

pub(super) type Run = crate::runtime::Task;

struct Watcher {
    server: Arc<Inner>,
    at: usize,
    pace: Pace,
    listener: Weak<dyn Hear>,
    followed: Vec<(u16, Follow)>,
    announce: watch::Sender<bool>,
    heard: Arc<Mutex<Heard>>,
    /// How many there have been.
    lines: u64,
}

/// The instance's end of a line.
struct Line {
    server: Arc<Inner>,
    at: usize,
    id: u64,
    end: mpsc::UnboundedReceiver<Delivery>,
    /// By when the answers are due, in the order in which they come; whether they are those of a heartbeat.
    due: VecDeque<(Duration, bool)>,
}

/// Why a line is given up.
enum End {
    Broken,
    /// Nobody listens any more.
    Unheard,
}

impl Line {
    fn ask(&mut self, ask: Ask, due: Duration) {
        match ask {
            Ask::Subscribe => {}
            Ask::Numbers(_) => self.due.push_back((due, true)),
            Ask::Replay(..) => self.due.push_back((due, false)),
        }
        self.server.with(|state, _| state.ask(self.at, self.id, ask));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.server.with(|state, _| state.close(self.at, self.id));
    }
}

impl Watcher {
    fn run_until(self, mut stopped: oneshot::Receiver<()>) -> Run {
        Box::pin(async move {
            let mut run = pin!(self.run());
            poll_fn(|cx| match Pin::new(&mut stopped).poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => run.as_mut().poll(cx),
            })
            .await;
        })
    }

    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            if let Some(mut line) = self.connect() {
                attempt = 0;
                self.lines += 1;
                let end = self.listen(&mut line).await;
                drop(line);
                self.announce.send_replace(false);
                self.lose();
                if matches!(end, End::Unheard) {
                    return;
                }
            }
            if self.listener.strong_count() == 0 {
                return;
            }
            let full = Duration::from_millis(10 << attempt).min(Duration::from_secs(2));
            let pause = full.mul_f64(0.5 + self.server.random.fraction() / 2.0);
            attempt = 8.min(attempt + 1);
            self.server.clock.sleep_until(self.server.clock.now() + pause).await;
        }
    }

    fn connect(&self) -> Option<Line> {
        let (sender, end) = mpsc::unbounded_channel();
        let id = self.server.with(|state, _| state.connect(self.at, sender))?;
        Some(Line { server: self.server.clone(), at: self.at, id, end, due: VecDeque::new() })
    }

    /// Takes what comes over a line until that is of no more use.
    async fn listen(&mut self, line: &mut Line) -> End {
        self.followed.iter_mut().for_each(|(_, follow)| follow.subscribed());
        let now = self.server.clock.now();
        line.ask(Ask::Subscribe, now);
        let mut heartbeat = now;
        loop {
            let now = self.server.clock.now();
            if line.due.front().is_some_and(|(due, _)| *due <= now) {
                return End::Broken;
            }
            if heartbeat <= now {
                heartbeat = now + self.pace.heartbeat;
                if !line.due.iter().any(|(_, is_heartbeat)| *is_heartbeat) {
                    line.ask(Ask::Numbers(now), now + self.pace.patience);
                }
            }
            let until = line.due.front().map_or(heartbeat, |(due, _)| heartbeat.min(*due));
            let mut timer = self.server.clock.sleep_until(until);
            // What has come counts as come, however late this task is.
            let come = poll_fn(|cx| match line.end.poll_recv(cx) {
                Poll::Ready(come) => Poll::Ready(Some(come)),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
            });
            let taken = match come.await {
                Some(Some(delivery)) => self.take(delivery, line),
                Some(None) => Err(End::Broken),
                None => Ok(()),
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    fn take(&mut self, delivery: Delivery, line: &mut Line) -> Result<(), End> {
        match delivery {
            Delivery::Message(index, bytes) => self.act(index, line, |follow, act| follow.heard(&bytes, act)),
            Delivery::Number(index, number, sent) => {
                self.act(index, line, |follow, act| follow.number(number, sent, act))
            }
            Delivery::Identity(identity) => {
                line.due.pop_front();
                let indices: Vec<u16> = self.followed.iter().map(|(index, _)| *index).collect();
                let mut each = indices.into_iter();
                each.try_for_each(|index| self.act(index, line, |follow, act| follow.identity(&identity, act)))
            }
            Delivery::Entries(index, missing, entries) => {
                line.due.pop_front();
                let ids: Vec<String> = entries.iter().map(|entry| format!("{}-1", entry.number)).collect();
                let read = ids.iter().zip(&entries);
                let read = read.map(|(id, entry)| Entry {
                    id: id.as_bytes(),
                    field: entry.field.as_bytes(),
                    value: &entry.value,
                });
                let entries: Vec<Entry<'_>> = read.collect();
                self.act(index, line, |follow, act| follow.replayed(missing, Some(&entries), act))
            }
        }
    }

    /// Lets a follower take an event, and does what it says.
    fn act(
        &mut self,
        index: u16,
        line: &mut Line,
        event: impl FnOnce(&mut Follow, &mut dyn FnMut(Action<'_>)),
    ) -> Result<(), End> {
        let listener = self.listener.upgrade().ok_or(End::Unheard)?;
        let Some((_, follow)) = self.followed.iter_mut().find(|(own, _)| *own == index) else { return Ok(()) };
        let mut replays: Vec<Missing> = Vec::new();
        let mut dropped = false;
        let done = catch_unwind(AssertUnwindSafe(|| {
            event(follow, &mut |action| match action {
                Action::Replay(missing) => replays.push(missing),
                Action::Drop(_) => dropped = true,
                told => say(&*listener, index, told),
            });
        }));
        self.count();
        if done.is_err() {
            self.followed.iter_mut().for_each(|(_, follow)| follow.forget());
            return Err(End::Broken);
        }
        let due = self.server.clock.now() + self.pace.patience;
        replays.into_iter().for_each(|missing| line.ask(Ask::Replay(index, missing), due));
        if self.followed.iter().all(|(_, follow)| follow.is_live()) {
            self.announce.send_if_modified(|live| !std::mem::replace(live, true));
        }
        if dropped { Err(End::Broken) } else { Ok(()) }
    }

    fn lose(&mut self) {
        let Some(listener) = self.listener.upgrade() else { return };
        for (index, follow) in &mut self.followed {
            let mut lose = || follow.lost(&mut |action| say(&*listener, *index, action));
            if catch_unwind(AssertUnwindSafe(&mut lose)).is_err() {
                follow.forget();
            }
        }
    }

    fn count(&self) {
        let mut sum = Heard { reconnects: self.lines.saturating_sub(1), ..Heard::default() };
        for counts in self.followed.iter().map(|(_, follow)| follow.counts()) {
            sum.messages += counts.messages;
            sum.refused += counts.refused;
            sum.gaps += counts.gaps;
            sum.replayed += counts.replayed;
            sum.suspects += counts.suspects;
        }
        *self.heard.lock() = sum;
    }
}

/// Tells the listener.
fn say(listener: &dyn Hear, partition: u16, action: Action<'_>) {
    match action {
        Action::Changed(keys, how) => keys.each(|keys| listener.changed(keys, how)),
        Action::Settled(key) => listener.settled(key),
        Action::Bumped(bump) => listener.bumped(&bump),
        Action::Suspect => listener.suspect(partition),
        Action::ReadControl => listener.read_control(),
        Action::Replaced => listener.replaced(partition),
        Action::Trusted(until) => listener.trusted(partition, until),
        // These are for the line.
        Action::Replay(_) | Action::Drop(_) => {}
    }
}
