//! A thousand tasks and a hundred threads miss the same key at once: one of them computes, the others wait for it.
//! Then the first leader is cancelled half way, and one follower takes over.
//!
//! `cargo run --release --example stampede`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tercel::{CacheManager, CacheStrategy};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

const TASKS: usize = 1_000;
const THREADS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), tercel::BoxError> {
    let cache = CacheManager::default();
    let computed = Arc::new(AtomicUsize::new(0));

    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (cache, computed) = (cache.clone(), computed.clone());
        tasks.spawn(async move {
            let work = || async {
                computed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
                tercel::ok("the report".to_owned())
            };
            cache.get_or_compute_with("report", CacheStrategy::ShortTerm, work).await
        });
    }
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (cache, computed) = (cache.clone().into_blocking(), computed.clone());
            thread::spawn(move || {
                cache.get_or_compute_with("report", CacheStrategy::ShortTerm, || {
                    computed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(50));
                    tercel::ok("the report".to_owned())
                })
            })
        })
        .collect();
    while let Some(answer) = tasks.join_next().await {
        answer??;
    }
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    let (times, took) = (computed.load(Ordering::Relaxed), began.elapsed());
    println!("{TASKS} tasks and {THREADS} threads: computed {times} time, all served in {took:.0?}");

    // A leader that never ends, and is cancelled.
    let (begun, has_begun) = oneshot::channel();
    let leader = tokio::spawn({
        let cache = cache.clone();
        async move {
            let work = || async {
                let _ = begun.send(());
                std::future::pending::<Result<String, std::io::Error>>().await
            };
            cache.get_or_compute_with("other report", CacheStrategy::ShortTerm, work).await
        }
    });
    has_begun.await?;
    let work = || async { tercel::ok("computed by a follower") };
    let mut follower = Box::pin(cache.get_or_compute_with("other report", CacheStrategy::ShortTerm, work));
    let early = tokio::time::timeout(Duration::from_millis(20), &mut follower).await;
    println!("while the leader computes, the follower waits: {}", early.is_err());
    leader.abort();
    println!("the leader was cancelled: {}", follower.await?.decode::<String>()?);
    Ok(())
}
