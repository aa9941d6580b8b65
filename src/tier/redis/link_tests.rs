//! The supervisor over pipes in memory, in time that stands still unless everybody waits: the same at every run.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::cmd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Handle;

use super::super::endpoint::RedisOptions;
use super::super::transport::{Transport, Writer};
use super::*;
use crate::sync::Mutex;
use crate::tier::BoxFuture;

const LIMIT: Duration = Duration::from_millis(500);

/// How the server behaves on one connection.
#[derive(Clone, Copy, PartialEq)]
enum Server {
    /// Answers everything.
    Up,
    /// Answers this many commands and then nothing.
    Freezes(usize),
    /// Answers this many commands and then hangs up.
    HangsUp(usize),
    /// Keeps the answer to the first `ECHO` back for this long, and all that follow it.
    Lags(Duration),
    /// Answers everything twice.
    Stutters,
    /// Begins one more answer after its first ones to `ECHO`, and never ends it.
    Mutters,
    /// Refuses the connection.
    Refuses,
    /// Never accepts it.
    Swallows,
}

/// A transport with one behaviour per connection, the last one for all that follow.
struct Pipes {
    script: Vec<Server>,
    made: Mutex<Vec<Instant>>,
    heard: Arc<Mutex<Vec<String>>>,
    /// Writes of the client that arrived, each with one command or more.
    reads: Arc<AtomicUsize>,
    /// The bytes that fit into a pipe.
    room: usize,
}

impl Stream for DuplexStream {
    fn into_halves(self: Box<Self>) -> (Reader, Writer) {
        let (reader, writer) = tokio::io::split(*self);
        (Box::new(reader), Box::new(writer))
    }
}

impl Transport for Pipes {
    fn connect<'a>(&'a self, _: &'a Endpoint) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let mut made = self.made.lock();
        let behaviour = self.script[made.len().min(self.script.len() - 1)];
        made.push(Instant::now());
        Box::pin(async move {
            match behaviour {
                Server::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
                Server::Swallows => std::future::pending().await,
                _ => {
                    let (ours, theirs) = duplex(self.room);
                    tokio::spawn(serve(theirs, behaviour, self.heard.clone(), self.reads.clone()));
                    Ok(Box::new(ours) as Box<dyn Stream>)
                }
            }
        })
    }
}

/// Answers `ECHO text` with the text and all else with `+OK`.
async fn serve(mut stream: DuplexStream, behaviour: Server, heard: Arc<Mutex<Vec<String>>>, reads: Arc<AtomicUsize>) {
    let mut input = Vec::with_capacity(1 << 20);
    let (mut answered, mut lagged) = (0, false);
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        reads.fetch_add(1, Ordering::Relaxed);
        let mut answers = String::new();
        while let Some((command, length)) = parse(&input) {
            input.drain(..length);
            // The driver's own introduction is not the test's business.
            let counts = matches!(command[0].as_str(), "PING" | "ECHO");
            match behaviour {
                Server::Freezes(most) if counts && answered >= most => continue,
                Server::HangsUp(most) if counts && answered >= most => return,
                _ => {}
            }
            answered += usize::from(counts);
            match command.as_slice() {
                [echo, text] if echo == "ECHO" => {
                    heard.lock().push(text.clone());
                    answers += &format!("${}\r\n{text}\r\n", text.len());
                }
                _ => answers += "+OK\r\n",
            }
        }
        match behaviour {
            Server::Lags(time) if answers.starts_with('$') && !std::mem::replace(&mut lagged, true) => {
                sleep(time).await
            }
            Server::Mutters if answers.starts_with('$') && !std::mem::replace(&mut lagged, true) => {
                answers += "$1000\r\nx";
            }
            Server::Stutters if answers.starts_with('$') => answers += &answers.clone(),
            _ => {}
        }
        if stream.write_all(answers.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The first command of `input` and its length, if it is all there.
fn parse(input: &[u8]) -> Option<(Vec<String>, usize)> {
    let text = std::str::from_utf8(input).unwrap();
    let mut rest = text;
    let mut line = || {
        let (line, after) = rest.split_once("\r\n")?;
        rest = after;
        Some(line)
    };
    let count: usize = line()?.strip_prefix('*').unwrap().parse().unwrap();
    let mut words = Vec::new();
    for _ in 0..count {
        let length: usize = line()?.strip_prefix('$').unwrap().parse().unwrap();
        let word = line()?;
        assert_eq!(word.len(), length);
        words.push(word.to_owned());
    }
    Some((words, text.len() - rest.len()))
}

fn pipes(script: &[Server]) -> (Link, Arc<Pipes>) {
    pipes_of(1 << 20, script)
}

fn pipes_of(room: usize, script: &[Server]) -> (Link, Arc<Pipes>) {
    pipes_with(room, script, |options| options)
}

fn pipes_with(room: usize, script: &[Server], set: impl FnOnce(RedisOptions) -> RedisOptions) -> (Link, Arc<Pipes>) {
    let pipes = Arc::new(Pipes {
        script: script.to_vec(),
        made: Mutex::default(),
        heard: Arc::default(),
        reads: Arc::default(),
        room,
    });
    let options = set(RedisOptions::new("redis://memory:1"));
    let endpoint = Arc::new(options.endpoint().unwrap());
    let wiring = Wiring::over(endpoint, &options, pipes.clone(), Arc::new(Handle::current()));
    (Link::start(wiring), pipes)
}

fn echo(text: impl ToString) -> Cmd {
    let mut echo = cmd("ECHO");
    echo.arg(text.to_string());
    echo
}

fn said(text: impl ToString) -> Value {
    Value::BulkString(text.to_string().into_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_connection_and_not_beyond_its_deadline() {
    let (link, pipes) = pipes(&[Server::Swallows, Server::Up]);
    let start = Instant::now();
    let error = link.call(echo(1)).await.unwrap_err();
    assert!(error.is_tier() && error.is_timeout(), "{error}");
    assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT * 2);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_link_is_down_requests_fail_without_time_passing() {
    let (link, _) = pipes(&[Server::Refuses]);
    let error = link.call(echo(1)).await.unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("refused"), "{error}");
    let start = Instant::now();
    for _ in 0..1000 {
        link.call(echo(1)).await.unwrap_err();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_pauses_between_attempts_double_up_to_two_seconds() {
    let (_link, pipes) = pipes(&[Server::Refuses]);
    sleep(Duration::from_secs(60)).await;
    let made = pipes.made.lock();
    assert!(made.len() > 30);
    for (attempt, pair) in made.windows(2).enumerate() {
        let full = (10 << attempt.min(8)).min(2000);
        // A timer may be late by its own resolution.
        let range = Duration::from_millis(full / 2)..=Duration::from_millis(full + 2);
        assert!(range.contains(&(pair[1] - pair[0])), "{attempt}: {:?}", pair[1] - pair[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_answers_is_given_up_after_three_deadlines() {
    let (link, pipes) = pipes(&[Server::Freezes(1), Server::Up]);
    link.ready().await.unwrap();
    for n in 0..3 {
        assert_eq!(pipes.made.lock().len(), 1, "{n}");
        assert!(link.call(echo(n)).await.unwrap_err().is_timeout());
    }
    assert_eq!(link.call(echo("back")).await.unwrap(), said("back"));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_between_keeps_a_slow_connection() {
    let (link, pipes) = pipes(&[Server::Freezes(2)]);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(0)).await.unwrap(), said(0));
    link.call(echo(1)).await.unwrap_err();
    link.call(echo(2)).await.unwrap_err();
    assert!(matches!(link.state(), LinkState::Live));
    assert_eq!(pipes.made.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_on_the_wire_of_a_lost_connection_fails_as_the_tier_does() {
    let (link, pipes) = pipes(&[Server::HangsUp(1), Server::Up]);
    link.ready().await.unwrap();
    let error = link.call(echo(1)).await.unwrap_err();
    assert!(error.is_tier() && !error.is_closed() && !error.is_timeout(), "{error}");
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_together_travels_together_and_in_order() {
    let (link, pipes) = pipes(&[Server::Up]);
    link.ready().await.unwrap();
    let before = pipes.reads.load(Ordering::Relaxed);
    let answers = futures::future::join_all((0..1000).map(|n| link.call(echo(n)))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), said(n));
    }
    let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(*pipes.heard.lock(), expected);
    assert!(pipes.reads.load(Ordering::Relaxed) - before <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_is_written_at_its_first_poll() {
    let (link, pipes) = pipes(&[Server::Up]);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(0)).await.unwrap(), said(0));
    let lane = link.lane.clone();
    let mut call = Box::pin(link.call(echo(1)));
    // The caller's poll, and nothing else ran.
    assert!(futures::poll!(&mut call).is_pending());
    assert_eq!(lane.awaited_and_unwritten(), (1, 0));
    let mut other = Box::pin(link.call(echo(2)));
    assert!(futures::poll!(&mut other).is_pending());
    assert_eq!(lane.awaited_and_unwritten(), (1, 0));
    assert_eq!((call.await.unwrap(), other.await.unwrap()), (said(1), said(2)));
    assert_eq!(*pipes.heard.lock(), ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_pipe_arrives_whole_and_in_order() {
    let (link, pipes) = pipes_of(64, &[Server::Up]);
    link.ready().await.unwrap();
    let text = |n: usize| format!("{n}{}", ".".repeat(5000));
    for n in 0..3 {
        assert_eq!(link.call(echo(text(n))).await.unwrap(), said(text(n)));
    }
    let answers = futures::future::join_all((3..20).map(|n| link.call(echo(text(n))))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), said(text(n + 3)));
    }
    assert_eq!(*pipes.heard.lock(), (0..20).map(text).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_is_nobody_elses() {
    let (link, pipes) = pipes(&[Server::Lags(LIMIT + LIMIT / 2)]);
    link.ready().await.unwrap();
    let start = Instant::now();
    assert!(link.call(echo(1)).await.unwrap_err().is_timeout());
    assert!(start.elapsed() < LIMIT + Duration::from_millis(2), "{:?}", start.elapsed());
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
    assert_eq!(pipes.made.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_asked_for_ends_the_connection() {
    let (link, pipes) = pipes(&[Server::Stutters, Server::Up]);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(1)).await.unwrap(), said(1));
    while pipes.made.lock().len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_an_answer_that_nobody_asked_for_is_not_collected() {
    let (link, pipes) = pipes(&[Server::Mutters, Server::Up]);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(1)).await.unwrap(), said(1));
    let replaced = async {
        while pipes.made.lock().len() < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, replaced).await.expect("the connection is given up");
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_left_is_left_at_once_and_once() {
    let (link, pipes) = pipes(&[Server::Freezes(1), Server::Up]);
    link.ready().await.unwrap();
    let (stuck, ()) = futures::join!(link.call(echo(1)), async { link.leave() });
    let error = stuck.unwrap_err();
    assert!(error.is_tier() && !error.is_timeout() && error.to_string().contains("given up"), "{error}");
    sleep(LIMIT).await;
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_left_also_where_the_connection_is_only_being_made() {
    let (link, pipes) = pipes(&[Server::Up]);
    link.leave();
    link.ready().await.unwrap();
    sleep(LIMIT).await;
    assert_eq!(link.call(echo(1)).await.unwrap(), said(1));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_connection_with_no_room_left_is_given_up_too() {
    let (link, pipes) = pipes(&[Server::Freezes(1), Server::Up]);
    link.ready().await.unwrap();
    for answer in futures::future::join_all((0..3000).map(|n| link.call(echo(n)))).await {
        assert!(answer.unwrap_err().is_timeout());
    }
    for n in 0..2 {
        assert_eq!(pipes.made.lock().len(), 1, "{n}");
        assert!(link.call(echo(n)).await.unwrap_err().is_timeout());
    }
    assert_eq!(link.call(echo("back")).await.unwrap(), said("back"));
    assert_eq!(pipes.made.lock().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_several_requests_wait_through_is_one_deadline_and_no_reason_to_hang_up() {
    let (link, pipes) = pipes(&[Server::Lags(LIMIT + LIMIT / 5)]);
    link.ready().await.unwrap();
    let step = Duration::from_millis(10);
    let calls = (0..40).map(|n| {
        let link = link.clone();
        async move {
            sleep(step * n).await;
            link.call(echo(n)).await
        }
    });
    let answers = futures::future::join_all(calls).await;
    // Those that were made before the pause was a fifth over have waited too long.
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(answer) => assert!(n > 9 && answer == said(n), "{n}"),
            Err(error) => assert!(n < 11 && error.is_timeout(), "{n}: {error}"),
        }
    }
    assert_eq!(pipes.made.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_goes_while_the_server_is_frozen_leaves_no_task_behind() {
    let (link, pipes) = pipes(&[Server::Freezes(1)]);
    link.ready().await.unwrap();
    let mut call = Box::pin(link.call(echo(1)));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    drop(link);
    let ended = async {
        while Arc::strong_count(&pipes) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT * 2, ended).await.expect("the request's time is up, and nobody can ask again");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_without_end_is_one() {
    let (link, _pipes) = pipes_with(1 << 20, &[Server::Up], |options| options.response_timeout(Duration::MAX));
    assert_eq!(link.call(echo(1)).await.unwrap(), said(1));
    assert_eq!(link.call(echo(2)).await.unwrap(), said(2));
}

#[tokio::test(start_paused = true)]
async fn a_request_after_an_idle_hour_has_its_deadline_too() {
    let (link, _pipes) = pipes(&[Server::Freezes(2)]);
    link.ready().await.unwrap();
    assert_eq!(link.call(echo(0)).await.unwrap(), said(0));
    sleep(Duration::from_secs(3600)).await;
    let start = Instant::now();
    assert!(link.call(echo(1)).await.unwrap_err().is_timeout());
    assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT + Duration::from_millis(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_queue_for_a_connection_that_is_being_made() {
    let (link, pipes) = pipes(&[Server::Up]);
    // Nothing has run yet: the supervisor has not even been polled.
    assert_eq!(link.call(echo("early")).await.unwrap(), said("early"));
    assert_eq!(pipes.made.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_task_after_what_was_asked() {
    let (link, pipes) = pipes(&[Server::Up]);
    link.ready().await.unwrap();
    let mut call = Box::pin(link.call(echo("last")));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    drop(link);
    while Arc::strong_count(&pipes) > 1 || Arc::strong_count(&pipes.heard) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*pipes.heard.lock(), ["last"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_once_is_not_asked_again_at_once() {
    let (_link, pipes) = pipes(&[Server::HangsUp(0)]);
    sleep(Duration::from_secs(10)).await;
    assert!(pipes.made.lock().len() < 20);
}
