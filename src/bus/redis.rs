//! The bus over Redis Pub/Sub: changes are published on the commands' way, and heard on a connection that does nothing
//! else.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::message::{Origin, TooLong, decode, encode, is_from};
use super::{Bus, Change, InvalidationConfig, InvalidationStats, Receiver};
use crate::error::{Error, Kind, Result};
use crate::sync::Arc;
use crate::tier::BoxFuture;
use crate::tier::redis::{Connection, Link, LinkState, Wiring, accept, append, dropped, late, pause, stopped};

/// How often the connection is proven alive, and how long a proof may take: a peer that has vanished sends nothing, not
/// even an error.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long a connection has to live for the pauses between attempts to start over.
const STEADY: Duration = Duration::from_secs(1);

/// A bus over one server. Dropping it ends its connections.
pub(crate) struct RedisBus {
    link: Link,
    inbox: Arc<Inbox>,
    config: InvalidationConfig,
    state: watch::Receiver<LinkState>,
    _stop: oneshot::Sender<()>,
}

impl RedisBus {
    /// Connects in the background. The channel is `tc:{<config.channel>.p00}:inv`.
    pub(crate) fn start(wiring: Wiring, config: InvalidationConfig, receiver: Arc<dyn Receiver>) -> Self {
        let random = &wiring.random;
        let origin = ((u128::from(random.bits()) << 64) | u128::from(random.bits())).to_le_bytes();
        let channel = format!("tc:{{{}.p00}}:inv", config.channel);
        let inbox = Arc::new(Inbox { origin, channel, receiver, counts: Counts::default() });
        let (announce, state) = watch::channel(LinkState::Connecting);
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = Listener { wiring: wiring.clone(), inbox: inbox.clone(), announce };
        wiring.spawn.spawn(Box::pin(async move {
            tokio::select! { biased; _ = stopped => {}, () = listener.run() => {} }
        }));
        Self { link: Link::start(wiring), inbox, config, state, _stop: stop }
    }

    async fn send(&self, change: Change) -> Result<()> {
        let messages = encode(&self.inbox.origin, &change)
            .map_err(|TooLong| Error::new(Kind::KEY, "a key or pattern is too long to be announced"))?;
        if messages.is_empty() {
            return Ok(());
        }
        let sent = messages.len();
        let mut commands: Vec<_> = messages.iter().map(|message| self.publish(message)).collect();
        if self.config.enable_audit_stream {
            let fields = audit(&change, &self.inbox.origin);
            commands.push(append(&self.config.audit_stream, &fields, self.config.audit_stream_maxlen));
        }
        let mut answers = self.link.call_all(&commands).await?.into_iter();
        for answer in answers.by_ref().take(sent) {
            accept(self.link.endpoint(), answer)?;
            self.inbox.counts.sent.add();
        }
        // The change is announced; that the log of announcements lacks it is no reason to fail.
        if answers.any(|answer| matches!(answer, Value::ServerError(_))) {
            self.inbox.counts.errors.add();
        }
        Ok(())
    }

    fn publish(&self, message: &[u8]) -> ::redis::Cmd {
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.inbox.channel).arg(message);
        publish
    }
}

impl Bus for RedisBus {
    fn announce(&self, change: Change) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.send(change))
    }

    fn stats(&self) -> InvalidationStats {
        self.inbox.counts.snapshot()
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let mut state = self.state.clone();
            let live = state.wait_for(|state| matches!(state, LinkState::Live)).await;
            live.map(drop).map_err(|_| stopped())
        })
    }

    fn deaf(&self) -> Option<Error> {
        match &*self.state.borrow() {
            LinkState::Live => None,
            LinkState::Connecting => Some(dropped(self.link.endpoint(), "the bus is connecting")),
            LinkState::Down(why) => Some(why.clone()),
        }
    }
}

/// The fields of an announcement in the audit stream.
fn audit(change: &Change, origin: &Origin) -> Vec<(&'static str, String)> {
    let (kind, detail) = match change {
        Change::Remove(keys) if keys.len() > 1 => ("remove_bulk", Some(("count", keys.len().to_string()))),
        Change::Remove(keys) => ("remove", keys.first().map(|key| ("key", key.clone()))),
        Change::Update(keys) if keys.len() > 1 => ("update", Some(("count", keys.len().to_string()))),
        Change::Update(keys) => ("update", keys.first().map(|key| ("key", key.clone()))),
        Change::Pattern(glob) => ("remove_pattern", Some(("key", glob.clone()))),
        Change::Clear => ("clear", None),
    };
    let origin = format!("{:032x}", u128::from_be_bytes(*origin));
    [Some(("type", kind.to_owned())), detail, Some(("origin", origin))].into_iter().flatten().collect()
}

/// What is done with the bytes of the channel. Runs in the connection's driver.
struct Inbox {
    origin: Origin,
    channel: String,
    receiver: Arc<dyn Receiver>,
    counts: Counts,
}

impl Inbox {
    fn take(&self, push: &PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        match push.data.as_slice() {
            [Value::BulkString(channel), Value::BulkString(bytes)] if *channel == self.channel.as_bytes() => {
                self.hear(bytes);
            }
            _ => self.counts.errors.add(),
        }
    }

    fn hear(&self, bytes: &[u8]) {
        if is_from(&self.origin, bytes) {
            return;
        }
        match decode(bytes) {
            None => self.counts.errors.add(),
            Some(change) => {
                self.counts.received(&change);
                self.receiver.apply(&change);
            }
        }
    }
}

/// The task that keeps the subscription up.
struct Listener {
    wiring: Wiring,
    inbox: Arc<Inbox>,
    announce: watch::Sender<LinkState>,
}

impl Listener {
    async fn run(self) {
        let mut attempt = 0;
        loop {
            self.announce.send_replace(LinkState::Connecting);
            let why = match self.subscribe().await {
                Ok(connection) => {
                    let since = Instant::now();
                    let why = self.listen(connection).await;
                    if since.elapsed() >= STEADY {
                        attempt = 0;
                    }
                    why
                }
                Err(why) => why,
            };
            self.announce.send_replace(LinkState::Down(why));
            sleep(pause(attempt, &*self.wiring.random)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// A connection that hears the channel.
    async fn subscribe(&self) -> Result<Connection> {
        let inbox = self.inbox.clone();
        let receiver = move |push: PushInfo| {
            inbox.take(&push);
            Ok::<(), ()>(())
        };
        Connection::subscribe(&self.wiring, &self.inbox.channel, receiver).await
    }

    /// Watches over the connection until it is of no more use; says why.
    async fn listen(&self, mut connection: Connection) -> Error {
        // Whatever was published before the subscription began was not heard.
        self.inbox.receiver.gap();
        self.announce.send_replace(LinkState::Live);
        let endpoint = &self.wiring.endpoint;
        loop {
            tokio::select! {
                biased;
                () = connection.closed() => return dropped(endpoint, "the server closed the bus's connection"),
                () = sleep(HEARTBEAT) => {}
            }
            match timeout(HEARTBEAT, connection.ping(endpoint)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return why,
                Err(_) => return late(endpoint, "no answer on the bus's connection", HEARTBEAT),
            }
        }
    }
}

/// A number of events.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self) {
        // Relaxed: a count orders nothing.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        // Relaxed: see `add`.
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Counts {
    sent: Count,
    received: Count,
    removes: Count,
    updates: Count,
    patterns: Count,
    bulk_removes: Count,
    errors: Count,
}

impl Counts {
    fn received(&self, change: &Change) {
        self.received.add();
        match change {
            Change::Remove(keys) if keys.len() == 1 => self.removes.add(),
            Change::Remove(_) | Change::Clear => self.bulk_removes.add(),
            Change::Update(_) => self.updates.add(),
            Change::Pattern(_) => self.patterns.add(),
        }
    }

    fn snapshot(&self) -> InvalidationStats {
        InvalidationStats {
            messages_sent: self.sent.get(),
            messages_received: self.received.get(),
            removes_received: self.removes.get(),
            updates_received: self.updates.get(),
            patterns_received: self.patterns.get(),
            bulk_removes_received: self.bulk_removes.get(),
            processing_errors: self.errors.get(),
        }
    }
}
