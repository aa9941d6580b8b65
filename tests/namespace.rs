//! Views of one engine: a prefix, and defaults of their own.

#![allow(clippy::unwrap_used, reason = "a test")]

#[macro_use]
#[path = "support/bed.rs"]
mod bed;

use bed::{Bed, MINUTE, SECOND, Via};
use tercel::EntryOptions;

both![
    keys_are_prefixed_by_concatenation,
    views_nest,
    the_statistics_are_the_engines,
    patterns_take_the_prefix_literally,
    defaults_are_laid_over_defaults,
    an_empty_key_stays_empty,
    a_flight_is_shared_between_views,
    closing_a_view_closes_the_engine,
];

fn keys_are_prefixed_by_concatenation(via: Via) {
    let bed = Bed::two(via);
    let users = bed.view(|cache| cache.namespace("user:"));
    users.set("1", "Ada", MINUTE).unwrap();
    assert_eq!(bed.text("user:1").as_deref(), Some("Ada"));
    assert_eq!(users.text_or("2", MINUTE, "Grace"), "Grace");
    assert_eq!(bed.peek("user:2").as_deref(), Some("Grace"));
    assert_eq!((users.text("user:1"), bed.text("1")), (None, None));
    users.invalidate("1").unwrap();
    assert_eq!(bed.text("user:1"), None);
    assert_eq!(bed.below.keys(), ["user:2"]);
    assert_eq!((users.peek("2").as_deref(), users.tasks.with_cached("2", |_| ())), (Some("Grace"), Some(())));
    assert!(users.get_shared::<String>("2").unwrap().is_some());
    assert!(matches!(users.lookup("2").unwrap(), tercel::Lookup::Hit { .. }));
}

fn views_nest(via: Via) {
    let bed = Bed::l1(via);
    let inner = bed.view(|cache| cache.namespace("a:").namespace("").namespace("b"));
    inner.set("k", "v", MINUTE).unwrap();
    assert_eq!(bed.text("a:bk").as_deref(), Some("v"));
    // A view inside a view's own borrowed read.
    let seen = inner.tasks.with_cached("k", |_| bed.tasks.namespace("a:").with_cached("bk", |_| inner.peek("k")));
    assert_eq!(seen.flatten().flatten().as_deref(), Some("v"));
}

fn the_statistics_are_the_engines(via: Via) {
    let bed = Bed::l1(via);
    let view = bed.view(|cache| cache.namespace("n:").with_defaults(MINUTE));
    view.text("k");
    assert_eq!(bed.stats().total_requests, 1);
    assert_eq!(view.stats(), bed.stats());
}

fn patterns_take_the_prefix_literally(via: Via) {
    for prefix in ["*", "?", "[ab]", "[^a]", "\\", "a*b?[c]\\", "]", "-", "^"] {
        let bed = Bed::two(via);
        let view = bed.view(|cache| cache.namespace(prefix));
        for key in ["x1", "x2", "y"] {
            view.set(key, "in", MINUTE).unwrap();
            for other in ["a", "ab", "", "xx", "aXbYc"] {
                bed.set(&format!("{other}{key}"), "out", MINUTE).unwrap();
            }
        }
        let outside = bed.below.keys().len() - 3;
        view.invalidate_pattern("x[12]").unwrap();
        assert_eq!((view.text("x1"), view.text("x2"), view.text("y").as_deref()), (None, None, Some("in")), "{prefix}");
        view.invalidate_pattern("*").unwrap();
        assert_eq!(view.text("y"), None, "{prefix}");
        assert_eq!(bed.below.keys().len(), outside, "nothing outside went: {prefix}");
        assert_eq!(bed.stats().resident_entries, outside, "{prefix}");
    }
}

fn defaults_are_laid_over_defaults(via: Via) {
    let bed = Bed::two(via);
    let view = bed.view(|cache| {
        cache.with_defaults(EntryOptions::from(10 * SECOND).grace(MINUTE)).with_defaults(EntryOptions::from(5 * SECOND))
    });
    view.set("k", "v", EntryOptions::new()).unwrap();
    assert_eq!(bed.below.ttl("k"), Some(65 * SECOND), "the ttl of the inner one, the grace of the outer one");
    view.set("own", "v", EntryOptions::from(SECOND).grace(SECOND)).unwrap();
    assert_eq!(bed.below.ttl("own"), Some(2 * SECOND));
    bed.set("plain", "v", EntryOptions::new()).unwrap();
    assert_eq!(bed.below.ttl("plain"), Some(5 * MINUTE), "the handle that the view was made of is as it was");
}

fn an_empty_key_stays_empty(via: Via) {
    let bed = Bed::l1(via);
    let view = bed.view(|cache| cache.namespace("n:"));
    assert!(view.get("").unwrap_err().is_key());
    assert!(view.set("", "v", MINUTE).unwrap_err().is_key());
    assert!(view.invalidate_pattern("").unwrap_err().is_key());
    assert_eq!(view.peek(""), None);
}

fn a_flight_is_shared_between_views(via: Via) {
    let bed = Bed::l1(via);
    let view = bed.tasks.namespace("n:");
    let gate = bed::Gate::shut();
    let load = || async {
        gate.pass().await;
        tercel::ok("v".to_owned())
    };
    let leader = bed::Hand::begun(view.get_or_compute_with("k", MINUTE, load));
    let follower = bed::Hand::begun(bed.tasks.get_or_compute_with("n:k", MINUTE, load));
    gate.open();
    leader.end().unwrap();
    follower.end().unwrap();
    bed.made(2);
    assert_eq!(bed.stats().computations, 1);
}

fn closing_a_view_closes_the_engine(via: Via) {
    let bed = Bed::l1(via);
    bed.view(|cache| cache.namespace("n:")).close().unwrap();
    assert!(bed.get("k").unwrap_err().is_closed());
    bed.unchecked();
}
