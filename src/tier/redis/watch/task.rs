//! The task behind a watch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

use ::redis::{PushKind, Value, cmd};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::super::connection::{Wiring, open_stream};
use super::super::fault;
use super::super::link::{LinkState, pause};
use super::answers::{self, Role};
use super::line::{Asked, Line, range};
use super::server_time::ServerTime;
use super::{Shared, WatchOptions, WatchStats, Watched};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::shared::follow::{Action, Bounds, Follow, Identity, Partition};
use crate::shared::{CONTROL, Hear};
use crate::sync::Arc;

/// One partition, and its follower.
struct Followed {
    /// As [`Hear`] names it.
    number: u16,
    names: Watched,
    follow: Follow,
}

/// The task that keeps the connection up.
pub(super) struct Watcher {
    wiring: Wiring,
    options: WatchOptions,
    clock: Arc<dyn Clock>,
    listener: Weak<dyn Hear>,
    shared: Arc<Shared>,
    announce: watch::Sender<LinkState>,
    followed: Vec<Followed>,
    server_time: ServerTime,
    connections: u64,
    panics: u64,
}

/// Why a connection ends.
enum End {
    /// Something is wrong with it.
    Fault(Error),
    /// Nobody listens any more.
    Unheard,
}

impl From<Error> for End {
    fn from(why: Error) -> Self {
        Self::Fault(why)
    }
}

impl Watcher {
    pub(super) fn new(
        wiring: Wiring,
        options: WatchOptions,
        clock: Arc<dyn Clock>,
        listener: Weak<dyn Hear>,
        shared: Arc<Shared>,
        announce: watch::Sender<LinkState>,
    ) -> Self {
        let bounds = Bounds { staleness: options.staleness, notice: options.heartbeat + options.patience };
        let follow = |partition| Follow::new(partition, options.origin, bounds);
        let data = options.data.iter().zip(0..).map(|(names, number)| Followed {
            number,
            names: names.clone(),
            follow: follow(Partition::Data),
        });
        let control = Followed { number: CONTROL, names: options.control.clone(), follow: follow(Partition::Control) };
        let followed = data.chain([control]).collect();
        let server_time = ServerTime::default();
        Self { wiring, options, clock, listener, shared, announce, followed, server_time, connections: 0, panics: 0 }
    }

    pub(super) async fn run(mut self) {
        let mut attempt = 0;
        loop {
            self.announce.send_replace(LinkState::Connecting);
            let login = self.wiring.endpoint.push_login();
            let why = match open_stream(&self.wiring, &login, None).await {
                Ok(opened) => {
                    let (reader, writer) = opened.stream.into_halves();
                    let end = self.listen(Line::new(reader, writer)).await;
                    if self.tell(|followed, act| followed.follow.lost(act)).is_err() {
                        self.forget();
                    }
                    if matches!(*self.announce.borrow(), LinkState::Live) {
                        // It has answered everything: the server is well, and what is missed meanwhile is served.
                        attempt = 0;
                    }
                    match end {
                        End::Fault(why) => why,
                        End::Unheard => return,
                    }
                }
                Err(why) => why,
            };
            if self.listener.strong_count() == 0 {
                return;
            }
            self.count();
            self.announce.send_replace(LinkState::Down(why));
            sleep(pause(attempt, &*self.wiring.random)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Drives a connection until it is of no more use; says why.
    async fn listen(&mut self, mut line: Line) -> End {
        self.connections += 1;
        self.followed.iter_mut().for_each(|followed| followed.follow.subscribed());
        self.subscribe(&mut line);
        loop {
            if let Err(end) = self.turn(&mut line).await {
                return end;
            }
        }
    }

    /// Sends what is to be sent, and takes what comes next, be it the time for a question.
    async fn turn(&mut self, line: &mut Line) -> Result<(), End> {
        let endpoint = self.wiring.endpoint.clone();
        let patience = self.options.patience;
        let late = || fault::late(&endpoint, "no answer on the listening connection", patience);
        let broken = |error: std::io::Error| fault::broken(&endpoint, &error.into());
        if !line.unsent.is_empty() {
            let sent = timeout_at(Instant::now() + patience, line.flush()).await;
            sent.map_err(|_| late())?.map_err(broken)?;
        }
        let deadline = line.asked.front().map_or(line.due, |(_, deadline)| line.due.min(*deadline));
        tokio::select! {
            // What has come counts as come, however late this task is.
            biased;
            read = line.read() => {
                if read.map_err(broken)? == 0 {
                    return Err(fault::dropped(&endpoint, "the server closed the listening connection").into());
                }
            }
            () = sleep_until(deadline) => {}
        }
        while let Some(value) = line.replies.next().map_err(|error| fault::broken(&endpoint, &error))? {
            self.take(value, line)?;
        }
        self.count();
        let now = Instant::now();
        if line.asked.front().is_some_and(|(_, deadline)| *deadline <= now) {
            return Err(late().into());
        }
        if line.due <= now {
            self.ask(line);
        }
        Ok(())
    }

    fn subscribe(&mut self, line: &mut Line) {
        let mut subscribe = cmd("SUBSCRIBE");
        for followed in &self.followed {
            subscribe.arg(&followed.names.channel);
        }
        line.send(&subscribe, Asked::Subscribe(self.followed.len()), self.options.patience);
        let mut info = cmd("INFO");
        info.arg("server");
        line.send(&info, Asked::RunId, self.options.patience);
        self.ask(line);
    }

    /// Asks for the newest numbers, for the time, and last for the history that they are of.
    fn ask(&mut self, line: &mut Line) {
        line.due = Instant::now() + self.options.heartbeat.max(Duration::from_millis(1));
        if line.asked.iter().any(|(asked, _)| matches!(asked, Asked::History)) {
            return;
        }
        let (sent, patience) = (self.clock.now(), self.options.patience);
        for (index, followed) in self.followed.iter().enumerate() {
            let mut get = cmd("GET");
            get.arg(&followed.names.sequence);
            line.send(&get, Asked::Number(index, sent), patience);
        }
        line.send(&cmd("TIME"), Asked::Time(sent), patience);
        let mut info = cmd("INFO");
        info.arg("replication");
        line.send(&info, Asked::History, patience);
    }

    /// Takes what has come, in its place.
    fn take(&mut self, value: Value, line: &mut Line) -> Result<(), End> {
        let endpoint = self.wiring.endpoint.clone();
        match value {
            Value::Push { kind: PushKind::Message, data } => {
                if let [Value::BulkString(channel), Value::BulkString(bytes)] = &data[..] {
                    let heard = |index: usize| (index, channel == self.followed[index].names.channel.as_bytes());
                    let index = (0..self.followed.len()).map(heard).find(|(_, is)| *is);
                    if let Some((index, _)) = index {
                        return self.act(index, line, |follow, act| follow.heard(bytes, act));
                    }
                }
                Ok(())
            }
            Value::Push { kind: PushKind::Subscribe, .. } => match line.asked.front_mut() {
                Some((Asked::Subscribe(left), _)) => {
                    *left -= 1;
                    if *left == 0 {
                        line.asked.pop_front();
                    }
                    Ok(())
                }
                _ => Err(fault::unexpected(&endpoint, "SUBSCRIBE").into()),
            },
            Value::Push { kind: PushKind::Unsubscribe | PushKind::SUnsubscribe, .. } => {
                Err(fault::dropped(&endpoint, "the server ended the subscription").into())
            }
            Value::Push { .. } => Ok(()),
            answer => match line.asked.pop_front() {
                Some((asked, _)) => self.answered(asked, answer, line),
                None => Err(fault::dropped(&endpoint, "the server sent an answer that nobody asked for").into()),
            },
        }
    }

    fn answered(&mut self, asked: Asked, answer: Value, line: &mut Line) -> Result<(), End> {
        let endpoint = self.wiring.endpoint.clone();
        match asked {
            Asked::Subscribe(_) => {
                fault::accept(&endpoint, answer)?;
                Err(fault::unexpected(&endpoint, "SUBSCRIBE").into())
            }
            Asked::Number(index, sent) => {
                let number = answers::number(&endpoint, answer)?;
                self.act(index, line, |follow, act| follow.number(number, sent, act))
            }
            Asked::Time(sent) => {
                let time = answers::time(&endpoint, answer)?;
                self.server_time.sample(sent, self.clock.now(), time);
                *self.shared.ahead.lock() = self.server_time.ahead();
                Ok(())
            }
            Asked::RunId => {
                line.run_id = Some(answers::run_id(&endpoint, answer)?);
                Ok(())
            }
            Asked::History => match answers::role(&endpoint, answer)? {
                Role::Replica => {
                    let what = "this server is a replica, which may lag behind what its master has acknowledged";
                    Err(fault::dropped(&endpoint, what).into())
                }
                Role::Master { replication_id } => {
                    let run_id = line.run_id.clone().unwrap_or_default();
                    let identity = Identity { run_id, replication_id };
                    (0..self.followed.len())
                        .try_for_each(|index| self.act(index, line, |follow, act| follow.identity(&identity, act)))
                }
            },
            Asked::Replay(index, missing) => {
                let log = answers::log(&endpoint, &answer)?;
                // Trusted only once another question is answered.
                line.due = Instant::now();
                self.act(index, line, |follow, act| follow.replayed(missing, log.as_deref(), act))
            }
        }
    }

    /// Lets a follower take an event, and does what it says.
    fn act(
        &mut self,
        index: usize,
        line: &mut Line,
        event: impl FnOnce(&mut Follow, &mut dyn FnMut(Action<'_>)),
    ) -> Result<(), End> {
        let listener = self.listener.upgrade().ok_or(End::Unheard)?;
        let Followed { number, names, follow } = &mut self.followed[index];
        let mut dropped = None;
        let done = catch_unwind(AssertUnwindSafe(|| {
            event(follow, &mut |action| match action {
                Action::Replay(missing) => {
                    let range = range(names, missing);
                    line.send(&range, Asked::Replay(index, missing), self.options.patience);
                }
                Action::Drop(why) => dropped = Some(why),
                told => say(&*listener, *number, told),
            });
        }));
        if done.is_err() {
            self.forget();
            return Err(fault::dropped(&self.wiring.endpoint, "a listener panicked").into());
        }
        if let Some(why) = dropped {
            return Err(fault::dropped(&self.wiring.endpoint, why).into());
        }
        // Live from the first time on: what is read again from the log meanwhile is a matter of moments.
        if !matches!(*self.announce.borrow(), LinkState::Live) && self.followed.iter().all(|one| one.follow.is_live()) {
            self.announce.send_replace(LinkState::Live);
        }
        Ok(())
    }

    /// What every follower has to say, with no connection to act on.
    fn tell(&mut self, mut event: impl FnMut(&mut Followed, &mut dyn FnMut(Action<'_>))) -> std::thread::Result<()> {
        let Some(listener) = self.listener.upgrade() else { return Ok(()) };
        catch_unwind(AssertUnwindSafe(|| {
            for followed in &mut self.followed {
                let number = followed.number;
                event(followed, &mut |action| say(&*listener, number, action));
            }
        }))
    }

    /// See A4.
    fn forget(&mut self) {
        self.panics += 1;
        self.followed.iter_mut().for_each(|followed| followed.follow.forget());
    }

    /// Lets others see the counts.
    fn count(&self) {
        let mut stats =
            WatchStats { reconnects: self.connections.saturating_sub(1), panics: self.panics, ..WatchStats::default() };
        for counts in self.followed.iter().map(|followed| followed.follow.counts()) {
            stats.messages += counts.messages;
            stats.refused += counts.refused;
            stats.gaps += counts.gaps;
            stats.replayed += counts.replayed;
            stats.suspects += counts.suspects;
        }
        *self.shared.stats.lock() = stats;
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
        // These are for the connection.
        Action::Replay(_) | Action::Drop(_) => {}
    }
}
