//! When an instance could reach Redis: a connection of its own that asks for an answer again and again.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, pipe};

use super::history::{History, Span};

const EVERY: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_millis(400);
/// A silence that is longer is an outage; one that is shorter is within the stated delay.
const OUTAGE: Duration = Duration::from_millis(100);

/// Asks until it is aborted. Runs on the instance's own runtime, so that its silences are those of the instance.
pub(super) async fn watch(instance: usize, url: String, history: Arc<History>) {
    let Ok(client) = Client::open(url) else { return };
    let mut connection = None;
    // The last question that was answered was asked then.
    let mut reached = history.now();
    loop {
        let asked = history.now();
        if ask(&client, &mut connection).await.is_ok() {
            let answered = history.now();
            if answered.saturating_sub(reached) > OUTAGE + EVERY {
                let span = Span { begin: reached, end: answered };
                history.note(|events| events.outages[instance].push(span));
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
