//! When an instance could reach Redis: a connection of its own that asks for an answer again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, pipe};

use super::history::{History, Span};

const EVERY: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_millis(400);
/// A silence that is longer is an outage; one that is shorter is within the stated delay.
const OUTAGE: Duration = Duration::from_millis(100);

/// The longest that it waits for a last answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks until `stop`, and then for one more answer, so that no silence is without an end. Runs on the instance's own
/// runtime: its silences are those of the instance.
pub(super) async fn watch(instance: usize, url: String, history: Arc<History>, stop: Arc<AtomicBool>) {
    let Ok(client) = Client::open(url) else { return };
    let mut connection = None;
    // The last question that was answered was asked then.
    let mut reached = history.now();
    let mut stopped = None;
    loop {
        let asked = history.now();
        // SeqCst: a flag that is seen in the next turn; order does not matter.
        if stopped.is_none() && stop.load(Ordering::SeqCst) {
            stopped = Some(asked);
        }
        let given_up = stopped.is_some_and(|stopped| asked > stopped + PATIENCE);
        if given_up || ask(&client, &mut connection).await.is_ok() {
            let answered = history.now();
            if answered.saturating_sub(reached) > OUTAGE + EVERY {
                let span = Span { begin: reached, end: answered };
                history.note(|events| events.outages[instance].push(span));
            }
            if stopped.is_some() {
                return;
            }
            reached = asked;
        } else {
            connection = None;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn ask(client: &Client, kept: &mut Option<MultiplexedConnection>) -> Result<(), RedisError> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => {
            let settings =
                AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
            client.get_multiplexed_async_connection_with_config(&settings).await?
        }
    };
    let () = pipe().ping().ignore().query_async(&mut connection).await?;
    *kept = Some(connection);
    Ok(())
}
