//! The plain way, as it is mostly written: a map in each process, `GET` and `SETEX` below it, `DEL` and `PUBLISH` to
//! invalidate, and a subscriber that removes from the map what it hears of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, pipe};
use tokio::task::JoinHandle;

use super::history::What;
use super::instance::{Failure, Figures, Instance, Load, Mode, Outcome, Promises};
use super::source::Keys;

const CHANNEL: &str = "plain:invalidate";
/// How long a value that was found in Redis stays in the map, whose age there is not known.
const FOUND: Duration = Duration::from_secs(60);
const ENTRIES: usize = 10_000;
const TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct Plain;

impl Mode for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn start(&self, url: String) -> BoxFuture<'static, Outcome<Arc<dyn Instance>>> {
        Box::pin(async move {
            let client = Client::open(url).map_err(failure)?;
            let shared = Arc::new(Shared { client, l1: Mutex::default(), connection: tokio::sync::Mutex::default() });
            let (heard, ready) = tokio::sync::oneshot::channel();
            let subscriber = tokio::spawn(subscribe(shared.clone(), heard));
            let _ = ready.await;
            Ok(Arc::new(PlainInstance { shared, subscriber }) as Arc<dyn Instance>)
        })
    }

    fn offers(&self, what: What) -> bool {
        matches!(what, What::Invalidate | What::Set)
    }

    fn promises(&self) -> Promises {
        Promises {
            entries: ENTRIES,
            weight: u64::MAX,
            // A connection, a GET and a SETEX, each within its timeout.
            read: 3 * TIMEOUT,
            change: 2 * TIMEOUT,
            flight: 2 * TIMEOUT,
            disconnected: Duration::ZERO,
            detection: TIMEOUT,
        }
    }

    fn name_in_redis(&self, name: &str) -> String {
        in_redis(name)
    }

    fn channel(&self) -> &'static str {
        CHANNEL
    }
}

fn in_redis(name: &str) -> String {
    format!("plain:{name}")
}

fn failure(error: RedisError) -> Failure {
    Failure { here: true, why: error.to_string() }
}

/// What the calls and the subscriber share.
struct Shared {
    client: Client,
    /// Values, and until when.
    l1: Mutex<HashMap<String, (Bytes, Instant)>>,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

impl Shared {
    fn l1<R>(&self, work: impl FnOnce(&mut HashMap<String, (Bytes, Instant)>) -> R) -> R {
        work(&mut self.l1.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisError> {
        let mut connection = self.connect().await?;
        let answer = commands.query_async(&mut connection).await;
        if answer.as_ref().is_err_and(|error: &RedisError| error.is_io_error() || error.is_connection_dropped()) {
            *self.connection.lock().await = None;
        }
        answer
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let settings =
            AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&settings).await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }
}

/// Hears of keys for ever; `heard` is told of the first subscription.
async fn subscribe(shared: Arc<Shared>, heard: tokio::sync::oneshot::Sender<()>) {
    let mut heard = Some(heard);
    loop {
        if let Ok(mut connection) = shared.client.get_async_pubsub().await
            && connection.subscribe(CHANNEL).await.is_ok()
        {
            if let Some(heard) = heard.take() {
                let _ = heard.send(());
            }
            let mut messages = connection.on_message();
            while let Some(message) = messages.next().await {
                if let Ok(name) = message.get_payload::<String>() {
                    shared.l1(|l1| l1.remove(&name));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct PlainInstance {
    shared: Arc<Shared>,
    subscriber: JoinHandle<()>,
}

impl PlainInstance {
    fn keep(&self, name: &str, value: Bytes, ttl: Duration) {
        self.shared.l1(|l1| {
            if l1.len() < ENTRIES {
                l1.insert(name.to_owned(), (value, Instant::now() + ttl));
            }
        });
    }

    async fn look(&self, name: &str) -> Outcome<Option<Bytes>> {
        if let Some(value) = self.peek(name) {
            return Ok(Some(value));
        }
        let (found,): (Option<Vec<u8>>,) = self.shared.ask(pipe().get(in_redis(name))).await.map_err(failure)?;
        let found = found.map(Bytes::from);
        if let Some(value) = &found {
            self.keep(name, value.clone(), FOUND);
        }
        Ok(found)
    }
}

impl Instance for PlainInstance {
    fn read<'a>(&'a self, keys: &'a Keys, key: usize, load: Load) -> BoxFuture<'a, Outcome<Bytes>> {
        Box::pin(async move {
            let name = keys.name(key);
            if let Ok(Some(value)) = self.look(name).await {
                return Ok(value);
            }
            let value = load().await;
            // A cache that cannot be written is no reason to fail a read.
            let ttl = keys.ttl(key);
            let stored: Result<(), _> =
                self.shared.ask(pipe().set_ex(in_redis(name), &value[..], ttl.as_secs()).ignore()).await;
            drop(stored);
            self.keep(name, value.clone(), ttl);
            Ok(value)
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Option<Bytes>>> {
        Box::pin(self.look(name))
    }

    fn peek(&self, name: &str) -> Option<Bytes> {
        self.shared.l1(|l1| {
            let (value, until) = l1.get(name)?;
            (Instant::now() < *until).then(|| value.clone())
        })
    }

    fn invalidate<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move {
            let told = self.shared.ask(pipe().del(in_redis(name)).ignore().publish(CHANNEL, name).ignore()).await;
            self.shared.l1(|l1| l1.remove(name));
            told.map_err(failure)
        })
    }

    fn set<'a>(&'a self, keys: &'a Keys, key: usize, value: Bytes) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move {
            let name = keys.name(key);
            let (ttl, mut commands) = (keys.ttl(key), pipe());
            commands.set_ex(in_redis(name), &value[..], ttl.as_secs()).ignore().publish(CHANNEL, name).ignore();
            let told = self.shared.ask(&commands).await;
            self.keep(name, value, ttl);
            told.map_err(failure)
        })
    }

    fn invalidate_group<'a>(&'a self, what: What, _: &'a str) -> BoxFuture<'a, Outcome<()>> {
        Box::pin(async move { Err(Failure { here: false, why: format!("{} is not offered", what.name()) }) })
    }

    fn figures(&self) -> Figures {
        Figures { entries: self.shared.l1(|l1| l1.len()), ..Figures::default() }
    }

    fn problem(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async {
            let answer: Result<(), _> = self.shared.ask(pipe().ping().ignore()).await;
            answer.err().map(|error| error.to_string())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.subscriber.abort();
            *self.shared.connection.lock().await = None;
        })
    }
}
