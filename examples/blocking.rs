//! The cache for threads: no runtime, no `async`.
//!
//! `cargo run --example blocking`

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tercel::blocking::CacheManager;

#[derive(Serialize, Deserialize, Debug)]
struct Weather {
    town: String,
    degrees: f64,
}

/// Stands for a slow service.
fn ask_the_service(town: &str) -> Result<Weather, std::io::Error> {
    println!("asking the service for {town}");
    thread::sleep(Duration::from_millis(100));
    Ok(Weather { town: town.to_owned(), degrees: 20.5 })
}

fn main() -> tercel::Result<()> {
    let cache = CacheManager::builder().l1_capacity(1_000).build_blocking()?;
    let minute = Duration::from_secs(60);

    // Eight threads, one question to the service.
    thread::scope(|scope| {
        for n in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                let weather: tercel::Result<Weather> =
                    cache.get_or_compute_typed("weather:Ulm", minute, || ask_the_service("Ulm"));
                println!("thread {n}: {weather:?}");
            });
        }
    });

    cache.set_with_strategy("motto", "slow and steady", minute)?;
    println!("{:?}", cache.get_typed::<String>("motto")?);
    cache.invalidate("motto")?;
    println!("{:?}", cache.get("motto")?);

    let stats = cache.get_stats();
    println!("{} requests, {} closures run, {:.0} % hits", stats.total_requests, stats.computations, stats.hit_rate);
    cache.close()
}
