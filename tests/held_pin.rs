//! A closure of `with_cached` that does not end holds back reclamation: that is counted, and health says what to do.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tercel::CacheManager;

#[test]
fn a_closure_that_does_not_end_is_told_of_until_it_ends() {
    const MINUTE: Duration = Duration::from_secs(60);
    let cache = CacheManager::builder().build_blocking().unwrap();
    cache.set_with_strategy("held", "v", MINUTE).unwrap();
    let problem = || cache.health_check().reclamation;
    let (begun, begins) = channel();
    let (go, end) = channel();
    thread::scope(|scope| {
        let reader = &cache;
        scope.spawn(move || {
            reader.with_cached("held", |_| {
                begun.send(()).unwrap();
                end.recv().unwrap();
            })
        });
        begins.recv().unwrap();
        assert_eq!(problem(), None, "so far it is short");
        // Each write retires what it replaces, and now and then one of them begins a round.
        let mut writes = 0;
        while problem().is_none() {
            (0..64).for_each(|_| cache.set_with_strategy("replaced", "v", MINUTE).unwrap());
            writes += 64;
            assert!(writes < 10_000_000, "never told");
        }
        assert!(problem().unwrap().contains("with_cached"));
        assert!(cache.get_stats().reclamation_held_back > 256);
        go.send(()).unwrap();
    });
    let mut writes = 0;
    while problem().is_some() {
        (0..64).for_each(|_| cache.set_with_strategy("replaced", "v", MINUTE).unwrap());
        writes += 64;
        assert!(writes < 10_000_000, "told for ever");
    }
}
