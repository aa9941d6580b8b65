//! Bad input of any kind is a clear error or just data: nothing is lost, nothing panics, no secret is shown.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/allocations.rs"]
mod allocations;
#[path = "support/hash_map_tier.rs"]
mod hash_map_tier;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use hash_map_tier::HashMapCache;
use serde::{Deserialize, Serialize};
use tercel::{
    CacheManager, CacheManagerBuilder, CacheTier, EntryOptions, Error, L1Cache, L2CacheBackend, Loaded, Lookup,
    MemoryTier, Operation, TierConfig, Value, blocking,
};

const MINUTE: Duration = Duration::from_secs(60);
const LONGEST_KEY: usize = 64 << 10;
const LARGEST_VALUE: usize = 512 << 20;

/// Waits until `done`, or panics after a minute.
fn eventually(what: &str, done: impl Fn() -> bool) {
    let limit = std::time::Instant::now() + MINUTE;
    while !done() {
        assert!(std::time::Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

/// A cache over a tier in memory, and that tier.
fn cache() -> (CacheManager, MemoryTier) {
    let below = MemoryTier::new();
    (CacheManager::builder().tier(Arc::new(below.clone()), TierConfig::as_l2()).build().unwrap(), below)
}

fn operations(tier: &MemoryTier) -> u64 {
    let all = [Operation::Get, Operation::Set, Operation::Remove, Operation::RemovePattern];
    all.iter().map(|operation| tier.calls(*operation)).sum()
}

/// The errors of every call by key, through both handles.
fn errors_of_every_call(cache: &CacheManager, key: &str) -> Vec<Error> {
    let load = || async { tercel::ok(1u8) };
    let mut errors = block_on(async {
        vec![
            cache.get(key).await.unwrap_err(),
            cache.get_typed::<u8>(key).await.unwrap_err(),
            cache.get_shared::<u8>(key).await.unwrap_err(),
            cache.lookup(key).await.unwrap_err(),
            cache.set_with_strategy(key, 1, MINUTE).await.unwrap_err(),
            cache.set_with_broadcast(key, 1, MINUTE).await.unwrap_err(),
            cache.update_cache(key, 1, None).await.unwrap_err(),
            cache.invalidate(key).await.unwrap_err(),
            cache.invalidate_pattern(key).await.unwrap_err(),
            cache.get_or_compute_with(key, MINUTE, load).await.unwrap_err(),
            cache.get_or_compute_optional(key, MINUTE, load).await.unwrap_err(),
            cache.get_or_compute_typed(key, MINUTE, load).await.unwrap_err(),
            cache.get_or_compute_shared(key, MINUTE, load).await.unwrap_err(),
        ]
    });
    let cache = cache.clone().into_blocking();
    let load = || tercel::ok(1u8);
    errors.extend([
        cache.get(key).unwrap_err(),
        cache.get_typed::<u8>(key).unwrap_err(),
        cache.get_shared::<u8>(key).unwrap_err(),
        cache.lookup(key).unwrap_err(),
        cache.set_with_strategy(key, 1, MINUTE).unwrap_err(),
        cache.set_with_broadcast(key, 1, MINUTE).unwrap_err(),
        cache.update_cache(key, 1, None).unwrap_err(),
        cache.invalidate(key).unwrap_err(),
        cache.invalidate_pattern(key).unwrap_err(),
        cache.get_or_compute_with(key, MINUTE, load).unwrap_err(),
        cache.get_or_compute_optional(key, MINUTE, load).unwrap_err(),
        cache.get_or_compute_typed(key, MINUTE, load).unwrap_err(),
        cache.get_or_compute_shared(key, MINUTE, load).unwrap_err(),
    ]);
    errors
}

#[test]
fn an_empty_key_is_refused_before_any_io_whatever_the_namespace() {
    let (cache, below) = cache();
    for cache in [cache.clone(), cache.namespace("user:")] {
        for error in errors_of_every_call(&cache, "") {
            assert!(
                error.is_key() && error.to_string().contains("1 byte") | error.to_string().contains("empty"),
                "{error}"
            );
        }
        assert_eq!(cache.peek(""), None);
        assert_eq!(cache.with_cached("", |_| ()), None);
    }
    assert_eq!((operations(&below), cache.get_stats().computations), (0, 0));
    cache.validate().unwrap();
}

#[test]
fn a_key_of_64_kib_is_taken_and_one_byte_more_is_refused_before_any_io() {
    let (cache, below) = cache();
    let longest = "k".repeat(LONGEST_KEY);
    let longer = "k".repeat(LONGEST_KEY + 1);
    for error in errors_of_every_call(&cache, &longer) {
        assert!(error.is_key() && error.to_string().contains("64 KiB"), "{error}");
        assert!(error.to_string().len() < 200, "the key is not repeated in full");
    }
    // With its prefix it is too long.
    for error in errors_of_every_call(&cache.namespace("n"), &longest) {
        assert!(error.is_key(), "{error}");
    }
    assert_eq!((operations(&below), cache.get_stats().computations), (0, 0));
    let cache = cache.into_blocking();
    cache.set_with_strategy(&longest, 1, MINUTE).unwrap();
    assert!(cache.get(&longest).unwrap().is_some());
    assert!(cache.peek(&longest).is_some());
    assert!(below.keys() == [&*longest]);
    cache.invalidate(&longest).unwrap();
    assert_eq!(cache.get(&longest).unwrap(), None);
    cache.validate().unwrap();
}

const STRANGE_KEYS: [&str; 24] = [
    "a\0b",
    "a",
    "a\0",
    "\0",
    "line\nbreak",
    "line",
    "\r\n",
    "grüße",
    "日本語",
    "🦀",
    "\u{202e}rtl",
    "{tag}key",
    "{",
    "}",
    "{}",
    "*",
    "?",
    "a*",
    "[ab]",
    "[",
    "]",
    "\\",
    "a\\*",
    " ",
];

/// The pattern that matches `key` and nothing else.
fn literally(key: &str) -> String {
    key.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "*?[]\\".contains(c)).chain([c])).collect()
}

#[test]
fn strange_keys_are_just_bytes_for_reads_and_writes() {
    let (cache, below) = cache();
    let cache = cache.into_blocking();
    for key in STRANGE_KEYS {
        cache.set_with_strategy(key, key, MINUTE).unwrap();
    }
    assert_eq!(below.keys().len(), STRANGE_KEYS.len(), "no two keys are one");
    for key in STRANGE_KEYS {
        assert_eq!(cache.get_typed::<String>(key).unwrap().as_deref(), Some(key));
        assert_eq!(cache.peek(key).unwrap().decode::<String>().unwrap(), key);
        let load = || tercel::ok(String::from("unused"));
        assert_eq!(cache.get_or_compute_typed(key, MINUTE, load).unwrap(), key);
        assert_eq!(block_on(cache.as_async().get_typed::<String>(key)).unwrap().as_deref(), Some(key));
    }
    cache.validate().unwrap();
}

#[test]
fn a_strange_key_is_invalidated_alone() {
    let (cache, below) = cache();
    let cache = cache.into_blocking();
    for doomed in STRANGE_KEYS {
        for key in STRANGE_KEYS {
            cache.set_with_strategy(key, key, MINUTE).unwrap();
        }
        cache.invalidate(doomed).unwrap();
        assert_eq!(below.keys().len(), STRANGE_KEYS.len() - 1, "{doomed:?}");
        for key in STRANGE_KEYS {
            assert_eq!(cache.peek(key).is_some(), key != doomed, "{key:?} after {doomed:?}");
        }
    }
}

#[test]
fn an_escaped_pattern_removes_the_one_strange_key_that_it_spells() {
    let (cache, below) = cache();
    for view in [cache.clone(), cache.namespace("[a-z]*\\{}:")] {
        for doomed in STRANGE_KEYS {
            let view = view.clone().into_blocking();
            for key in STRANGE_KEYS {
                view.set_with_strategy(key, key, MINUTE).unwrap();
            }
            let before = below.keys().len();
            view.invalidate_pattern(&literally(doomed)).unwrap();
            assert_eq!(below.keys().len(), before - 1, "{doomed:?}");
            assert_eq!(view.get(doomed).unwrap(), None);
        }
    }
}

/// What Redis makes of patterns is compared with a live server elsewhere; here every tier has to make the same of them.
#[test]
fn a_pattern_that_is_no_valid_glob_matches_what_redis_would_match() {
    let (cache, below) = cache();
    let cache = cache.into_blocking();
    for (pattern, key, matches) in [
        ("[a", "a", true),
        ("[a", "b", false),
        ("a\\", "a\\", true),
        ("[z-a]", "m", true),
        ("**", "anything", true),
        ("[]", "[]", false),
        ("a]", "a]", true),
    ] {
        cache.set_with_strategy(key, 1, MINUTE).unwrap();
        cache.invalidate_pattern(pattern).unwrap();
        assert_eq!(cache.peek(key).is_none(), matches, "{pattern:?} and {key:?}");
        assert_eq!(below.keys().is_empty(), matches, "{pattern:?} and {key:?}");
        cache.invalidate(key).unwrap();
    }
    cache.validate().unwrap();
}

#[test]
fn a_value_above_max_entry_size_skips_l1_and_is_served_from_below() {
    let below = MemoryTier::new();
    let cache = CacheManager::builder()
        .max_entry_size(1024)
        .tier(Arc::new(below.clone()), TierConfig::as_l2())
        .build_blocking()
        .unwrap();
    let large = vec![7u8; 4096];
    cache.set_with_strategy("written", large.clone(), MINUTE).unwrap();
    cache.get_or_compute_with("computed", MINUTE, || tercel::ok(large.clone())).unwrap();
    for key in ["written", "computed"] {
        assert_eq!(cache.peek(key), None);
        assert_eq!(cache.get(key).unwrap().unwrap().as_bytes(), Some(&large[..]));
        let again = cache.get_or_compute_with(key, MINUTE, || tercel::ok("unused")).unwrap();
        assert_eq!(again.as_bytes(), Some(&large[..]));
        assert!(matches!(cache.lookup(key).unwrap(), Lookup::Hit { tier: 2, stale: false, .. }));
    }
    // A larger value in place of one that fits: the one that fits goes.
    cache.set_with_strategy("grown", 1, MINUTE).unwrap();
    cache.set_with_strategy("grown", large.clone(), MINUTE).unwrap();
    assert_eq!(cache.peek("grown"), None);
    assert_eq!(cache.get("grown").unwrap().unwrap().as_bytes(), Some(&large[..]));
    assert!(cache.get_stats().rejected > 0);
    cache.validate().unwrap();
}

#[test]
fn a_value_above_512_mib_is_too_large_before_any_io_and_is_not_copied() {
    let (cache, below) = cache();
    let blocking = cache.clone().into_blocking();
    // Zeroed pages that are never touched.
    let huge = Bytes::from(vec![0u8; LARGEST_VALUE + 1]);
    allocations::largest();
    let load = || async { tercel::ok(huge.clone()) };
    let errors = [
        block_on(cache.set_with_strategy("k", huge.clone(), MINUTE)).unwrap_err(),
        block_on(cache.set_with_broadcast("k", huge.clone(), MINUTE)).unwrap_err(),
        block_on(cache.update_cache("k", huge.clone(), None)).unwrap_err(),
        blocking.set_with_strategy("k", huge.clone(), MINUTE).unwrap_err(),
        block_on(cache.get_or_compute_with("k", MINUTE, load)).unwrap_err(),
        block_on(cache.get_or_compute_optional("k", MINUTE, load)).unwrap_err(),
        blocking.get_or_compute_with("k", MINUTE, || tercel::ok(Loaded::new(huge.clone()))).unwrap_err(),
    ];
    assert!(allocations::largest() < 16 << 20, "nothing of its size is allocated");
    for error in errors {
        assert!(error.is_too_large() && error.to_string().contains("512 MiB"), "{error}");
    }
    assert_eq!(below.calls(Operation::Set), 0);
    assert_eq!(cache.peek("k"), None);
    cache.validate().unwrap();
}

/// The text of the error that `build` fails with.
fn refused(builder: CacheManagerBuilder) -> String {
    let error = builder.build().unwrap_err();
    assert!(error.is_config(), "{error:?}");
    error.to_string()
}

fn memory() -> Arc<dyn L2CacheBackend> {
    Arc::new(MemoryTier::new())
}

#[test]
fn an_l1_that_could_hold_nothing_is_refused_by_the_name_of_the_setting() {
    assert!(refused(CacheManager::builder().l1_capacity(0)).contains("l1_capacity"));
    assert!(refused(CacheManager::builder().l1_weight(0)).contains("l1_weight"));
    assert!(refused(CacheManager::builder().l1_weight(10)).contains("l1_weight"));
    assert!(refused(CacheManager::builder().max_entry_size(0)).contains("max_entry_size"));
    assert!(refused(CacheManager::builder().max_entry_size(10)).contains("max_entry_size"));
    let message = refused(CacheManager::builder().l1_weight(4096).max_entry_size(8192));
    assert!(message.contains("max_entry_size") && message.contains("l1_weight"), "{message}");
    assert!(L1Cache::builder().capacity(0).build().unwrap_err().is_config());
    assert!(L1Cache::builder().weight(1).build().unwrap_err().is_config());
    assert!(L1Cache::builder().max_entry_size(1).build().unwrap_err().is_config());
}

#[test]
fn the_smallest_and_the_greatest_bounds_work() {
    let builders = [
        CacheManager::builder().l1_capacity(1),
        CacheManager::builder().l1_capacity(usize::MAX).l1_weight(u64::MAX).max_entry_size(u64::MAX),
        CacheManager::builder().l1_weight(256),
        CacheManager::builder().load_budget(1),
        CacheManager::builder().load_budget(usize::MAX),
        CacheManager::builder().tier_deadline(Duration::ZERO, Duration::MAX),
        CacheManager::builder().tier(memory(), TierConfig::new(63).with_promotion_frequency(usize::MAX)),
        CacheManager::builder().tier(memory(), TierConfig::as_l2().with_ttl_scale(f64::MIN_POSITIVE)),
        CacheManager::builder().tier(memory(), TierConfig::as_l2().with_ttl_scale(f64::MAX)),
        CacheManager::builder().defaults(Duration::MAX),
    ];
    for builder in builders {
        let shown = format!("{builder:?}");
        let cache = builder.build_blocking().unwrap_or_else(|error| panic!("{shown}: {error}"));
        for key in ["a", "b", "c"] {
            cache.set_with_strategy(key, 1, EntryOptions::new()).unwrap();
            assert_eq!(cache.get_or_compute_typed(key, MINUTE, || tercel::ok(1)).unwrap(), 1);
        }
        assert!(cache.get_stats().resident_entries >= 1, "{shown}");
        cache.validate().unwrap();
    }
}

#[test]
fn tiers_that_are_none_unsorted_or_twice_are_refused() {
    let tier = |level| CacheTier::new(memory(), level, true, 1.0);
    let listed = |tiers| CacheManager::new_with_tiers(tiers, None).unwrap_err();
    let blocking = |tiers| blocking::CacheManager::new_with_tiers(tiers, None).unwrap_err();
    for error in [
        listed(vec![]),
        blocking(vec![]),
        listed(vec![tier(2), tier(1)]),
        blocking(vec![tier(1), tier(3), tier(2)]),
        listed(vec![tier(1), tier(1)]),
        blocking(vec![tier(1), tier(2), tier(2)]),
        listed(vec![tier(0), tier(1)]),
        listed(vec![tier(1), tier(64)]),
    ] {
        assert!(error.is_config() && error.to_string().contains("tier"), "{error}");
    }
    let built = CacheManager::builder().tier(memory(), TierConfig::as_l3()).tier(memory(), TierConfig::as_l2());
    assert!(refused(built).contains("tier 2 comes after tier 3"));
    let twice = CacheManager::builder().tier(memory(), TierConfig::as_l2()).tier(memory(), TierConfig::as_l2());
    assert!(refused(twice).contains("two tiers have level 2"));
}

#[test]
fn the_settings_of_a_tier_that_make_no_sense_are_refused_by_name() {
    for scale in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let config = TierConfig::as_l2().with_ttl_scale(scale);
        assert!(refused(CacheManager::builder().tier(memory(), config)).contains("ttl_scale"), "{scale}");
        let listed = CacheManager::new_with_tiers(vec![CacheTier::new(memory(), 1, true, scale)], None);
        assert!(listed.unwrap_err().to_string().contains("ttl_scale"), "{scale}");
        // That of L1 counts as well.
        let l1 = CacheTier::new(Arc::new(L1Cache::new().unwrap()), 1, true, scale);
        assert!(CacheManager::new_with_tiers(vec![l1], None).unwrap_err().is_config());
    }
    let never = TierConfig::as_l2().with_promotion_frequency(0);
    assert!(refused(CacheManager::builder().tier(memory(), never)).contains("promotion_frequency"));
    let listed = vec![CacheTier::new(memory(), 1, true, 1.0).with_promotion_frequency(0)];
    assert!(CacheManager::new_with_tiers(listed, None).unwrap_err().to_string().contains("promotion_frequency"));
    for level in [0, 64, usize::MAX] {
        assert!(refused(CacheManager::builder().tier(memory(), TierConfig::new(level))).contains("level"));
    }
}

#[test]
fn a_budget_of_no_loads_and_deadlines_the_wrong_way_round_are_refused_by_name() {
    assert!(refused(CacheManager::builder().load_budget(0)).contains("load_budget"));
    let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
    assert!(refused(CacheManager::builder().tier_deadline(long, short)).contains("tier_deadline"));
    assert!(refused(CacheManager::builder().tier_deadline(Duration::ZERO, Duration::ZERO)).contains("tier_deadline"));
}

#[test]
fn settings_of_l1_beside_a_tier_1_that_was_given_are_refused_by_both_names() {
    let given = |builder: CacheManagerBuilder| builder.tier(Arc::new(MemoryTier::named("mine")), TierConfig::as_l1());
    for (builder, setting) in [
        (CacheManager::builder().l1_capacity(10), "l1_capacity"),
        (CacheManager::builder().l1_weight(1 << 20), "l1_weight"),
        (CacheManager::builder().max_entry_size(1 << 10), "max_entry_size"),
    ] {
        let message = refused(given(builder));
        assert!(message.contains(setting) && message.contains("mine"), "{message}");
    }
    let own = CacheManager::builder().l1_capacity(10).tier(Arc::new(L1Cache::new().unwrap()), TierConfig::as_l1());
    assert!(refused(own).contains("l1_capacity"));
}

#[test]
fn an_l1_cache_belongs_to_one_manager_and_to_level_1() {
    let l1 = Arc::new(L1Cache::new().unwrap());
    let first = block_on(CacheManager::new_with_backends(l1.clone(), memory(), None)).unwrap();
    let again = block_on(CacheManager::new_with_backends(l1.clone(), memory(), None)).unwrap_err();
    assert!(again.is_config() && again.to_string().contains("L1Cache"), "{again}");
    let tiers = vec![CacheTier::new(l1.clone(), 1, false, 1.0)];
    assert!(CacheManager::new_with_tiers(tiers, None).unwrap_err().is_config());
    assert!(refused(CacheManager::builder().tier(l1.clone(), TierConfig::as_l1())).contains("L1Cache"));
    drop(first);
    let used = block_on(CacheManager::new_with_backends(l1, memory(), None)).unwrap_err();
    assert!(used.is_config(), "also when the first is gone");

    let below = CacheManager::builder().tier(Arc::new(L1Cache::new().unwrap()), TierConfig::as_l2());
    assert!(refused(below).contains("level 1"));
    let pair = block_on(CacheManager::new_with_backends(
        Arc::new(L1Cache::new().unwrap()),
        Arc::new(L1Cache::new().unwrap()),
        None,
    ));
    assert!(pair.unwrap_err().is_config());
}

#[test]
fn a_failed_build_takes_nothing_away() {
    let l1 = Arc::new(L1Cache::new().unwrap());
    let wrong = vec![CacheTier::new(l1.clone(), 1, false, 1.0), CacheTier::new(memory(), 2, true, f64::NAN)];
    assert!(CacheManager::new_with_tiers(wrong, None).unwrap_err().is_config());
    let right = vec![CacheTier::new(l1, 1, false, 1.0), CacheTier::new(memory(), 2, true, 1.0)];
    let cache = CacheManager::new_with_tiers(right, None).unwrap().into_blocking();
    cache.set_with_strategy("k", 1, MINUTE).unwrap();
    assert!(cache.peek("k").is_some());
}

/// A list inside a list, so many deep.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Nest(Vec<Nest>);

fn nest(depth: usize) -> Nest {
    (1..depth).fold(Nest(Vec::new()), |inner, _| Nest(vec![inner]))
}

#[test]
fn a_document_nested_too_deep_is_a_codec_error_of_every_load_and_is_stored_nowhere() {
    let (cache, below) = cache();
    let blocking = cache.clone().into_blocking();
    assert_eq!(
        block_on(cache.get_or_compute_typed("fits", MINUTE, || async { tercel::ok(nest(128)) })).unwrap(),
        nest(128)
    );
    let deep = || async { tercel::ok(nest(129)) };
    for error in [
        block_on(cache.get_or_compute_typed("k", MINUTE, deep)).unwrap_err(),
        block_on(cache.get_or_compute_shared("k", MINUTE, deep)).unwrap_err(),
        block_on(cache.get_or_compute_with("k", MINUTE, || async { Value::encode(&nest(129)) })).unwrap_err(),
        blocking.get_or_compute_typed("k", MINUTE, || tercel::ok(nest(129))).unwrap_err(),
        blocking.get_or_compute_shared("k", MINUTE, || tercel::ok(nest(129))).unwrap_err(),
        Value::encode(&nest(129)).unwrap_err(),
    ] {
        assert!(error.is_codec(), "{error:?}");
    }
    assert_eq!(below.keys(), ["fits"]);
    assert_eq!(cache.peek("k"), None);
    cache.validate().unwrap();
}

#[cfg(feature = "json")]
#[test]
fn json_nested_too_deep_is_a_codec_error_of_every_write_and_is_stored_nowhere() {
    let (cache, below) = cache();
    let blocking = cache.clone().into_blocking();
    let deep = |depth| (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::Value::Array(vec![inner]));
    blocking.set_with_strategy("fits", deep(128), MINUTE).unwrap();
    for depth in [129, 100_000] {
        let value = || Value::from(deep(depth));
        let load = || async { tercel::ok(value()) };
        for error in [
            block_on(cache.set_with_strategy("k", value(), MINUTE)).unwrap_err(),
            block_on(cache.set_with_broadcast("k", value(), MINUTE)).unwrap_err(),
            block_on(cache.update_cache("k", value(), None)).unwrap_err(),
            blocking.set_with_strategy("k", value(), MINUTE).unwrap_err(),
            blocking.set_with_broadcast("k", value(), MINUTE).unwrap_err(),
            blocking.update_cache("k", value(), None).unwrap_err(),
            block_on(cache.get_or_compute_with("k", MINUTE, load)).unwrap_err(),
            block_on(cache.get_or_compute_optional("k", MINUTE, load)).unwrap_err(),
            blocking.get_or_compute_with("k", MINUTE, || tercel::ok(Loaded::new(value()))).unwrap_err(),
            blocking.get_or_compute_with("k", Duration::ZERO, || tercel::ok(value())).unwrap_err(),
            value().decode::<serde_json::Value>().unwrap_err(),
        ] {
            assert!(error.is_codec(), "{error:?}");
        }
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::from_json(text.as_bytes()).unwrap_err().is_codec());
    }
    assert_eq!(below.keys(), ["fits"]);
    assert_eq!(cache.peek("k"), None);
    cache.validate().unwrap();
}

#[test]
fn msgpack_nested_too_deep_or_broken_is_a_codec_error_and_no_value() {
    for bytes in
        [vec![0x91; 129], vec![0x91; 1 << 20], vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![0xc1], vec![], vec![1, 2]]
    {
        assert!(Value::from_msgpack(bytes).unwrap_err().is_codec());
    }
}

#[test]
fn times_of_any_length_are_taken() {
    let (cache, below) = cache();
    let cache = cache.into_blocking();
    let nanosecond = Duration::from_nanos(1);
    for ttl in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(u64::from(u32::MAX)), MINUTE] {
        let options = EntryOptions::new().ttl(ttl).grace(Duration::MAX).jitter(nanosecond).hard_timeout(Duration::MAX);
        cache.set_with_strategy("k", 1, &options).unwrap();
        assert_eq!(cache.get_typed::<u8>("k").unwrap(), Some(1), "{ttl:?} is not at once over");
        cache.invalidate("k").unwrap();
        assert_eq!(cache.get_or_compute_typed("k", &options, || tercel::ok(2)).unwrap(), 2);
        assert_eq!(cache.get_or_compute_typed("k", &options, || tercel::ok(3)).unwrap(), 2, "{ttl:?}");
        cache.invalidate("k").unwrap();
        let absent = || tercel::ok(None::<Value>);
        let negative = options.clone().negative_ttl(Duration::MAX).l1_ttl(Duration::MAX).max_age(Duration::MAX);
        assert_eq!(cache.get_or_compute_optional("k", negative, absent).unwrap(), None);
        assert_eq!(cache.lookup("k").unwrap(), Lookup::Absent);
        cache.invalidate("k").unwrap();
    }
    cache.set_with_strategy("k", 1, nanosecond).unwrap();
    cache.set_with_strategy("k", 1, EntryOptions::new().ttl(MINUTE).jitter(Duration::MAX)).unwrap();
    cache.set_with_strategy("k", 1, MINUTE).unwrap();
    cache.set_with_strategy("k", 2, Duration::ZERO).unwrap();
    assert_eq!(cache.get("k").unwrap(), None, "a time of zero removes what is there");
    assert!(below.keys().is_empty());
    cache.validate().unwrap();
}

#[test]
fn a_level_that_no_tier_has_may_be_skipped() {
    let (cache, _) = cache();
    let cache = cache.into_blocking();
    for level in [0, 3, 63, 64, usize::MAX] {
        let options = EntryOptions::new().skip_tier(level);
        assert_eq!(cache.get_or_compute_typed("k", options, || tercel::ok(1)).unwrap(), 1);
    }
    let nowhere = EntryOptions::new().skip_tier(1).skip_tier(2);
    assert_eq!(cache.get_or_compute_typed("other", nowhere, || tercel::ok(1)).unwrap(), 1);
    assert_eq!(cache.get("other").unwrap(), None);
}

/// The texts in which a setting could be shown.
#[cfg(feature = "redis")]
fn texts(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text += &format!(" {source} {source:?}");
        next = source.source();
    }
    text
}

#[cfg(feature = "redis")]
mod redis {
    use tercel::{InvalidationConfig, L2Cache, RedisOptions, RedisStreams};

    use super::*;

    const BAD_URLS: [&str; 12] = [
        "",
        "nonsense",
        "redis://",
        "http://user:hunter2@127.0.0.1:6379",
        "redis://user:hunter2@127.0.0.1:port",
        "redis://user:hunter2@127.0.0.1:99999",
        "redis://user:hunter2@127.0.0.1/not-a-number",
        "redis://user:hunter2@127.0.0.1/-1",
        "redis://user:hunter2#@127.0.0.1:6379",
        "redis://user:hunter2/@127.0.0.1:6379",
        "redis://user:hunter2@[::1:6379",
        "rediss://user:hunter2@127.0.0.1:6379",
    ];

    fn l1() -> Arc<L1Cache> {
        Arc::new(L1Cache::new().unwrap())
    }

    fn invalidation(channel: &str) -> InvalidationConfig {
        InvalidationConfig { channel: channel.into(), ..Default::default() }
    }

    #[test]
    fn a_bad_url_is_refused_wherever_it_is_given_and_its_password_is_not_shown() {
        let good = || Arc::new(block_on(L2Cache::with_url("redis://127.0.0.1:1")).unwrap());
        for url in BAD_URLS {
            let errors = [
                block_on(L2Cache::with_url(url)).map(drop).unwrap_err(),
                L2Cache::with_options(url).map(drop).unwrap_err(),
                block_on(RedisStreams::new(url)).map(drop).unwrap_err(),
                CacheManager::builder().redis(url).build().unwrap_err(),
                CacheManager::builder().redis(RedisOptions::new(url)).build_blocking().map(drop).unwrap_err(),
                block_on(CacheManager::new_with_invalidation(l1(), good(), url, invalidation("shop"))).unwrap_err(),
                blocking::CacheManager::new_with_invalidation(l1(), good(), url, invalidation("shop")).unwrap_err(),
            ];
            for error in errors {
                assert!(error.is_config(), "{url}: {error:?}");
                assert!(error.to_string().contains("redis URL"), "{url}: {error}");
                assert!(!texts(&error).contains("hunter2"), "{url}: {}", texts(&error));
            }
            let shown = format!("{:?}{:?}", RedisOptions::new(url), CacheManager::builder().redis(url));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_timeout_of_zero_is_refused_by_name() {
        let options = RedisOptions::new("redis://127.0.0.1:1");
        let connect = CacheManager::builder().redis(options.clone().connect_timeout(Duration::ZERO));
        assert!(refused(connect).contains("connect_timeout"));
        assert!(
            refused(CacheManager::builder().redis(options.response_timeout(Duration::ZERO)))
                .contains("response_timeout")
        );
    }

    #[test]
    fn redis_and_another_tier_2_are_refused_by_both_names() {
        let both = CacheManager::builder().redis("redis://127.0.0.1:1").tier(memory(), TierConfig::as_l2());
        let message = refused(both);
        assert!(message.contains("redis") && message.contains("memory") && message.contains("tier 2"), "{message}");
    }

    #[test]
    fn invalidation_without_redis_is_refused_by_both_names() {
        let message = refused(CacheManager::builder().invalidation(invalidation("shop")));
        assert!(message.contains("invalidation") && message.contains("redis"), "{message}");
    }

    #[test]
    fn a_cluster_namespace_or_channel_that_is_empty_or_has_braces_is_refused_by_name() {
        let with_redis = || CacheManager::builder().redis("redis://127.0.0.1:1");
        for name in ["", "{", "}", "{shop}", "sh{op"] {
            assert!(refused(with_redis().cluster_namespace(name)).contains("cluster_namespace"), "{name:?}");
            let message = refused(with_redis().invalidation(invalidation(name)));
            assert!(message.contains("channel"), "{name:?}: {message}");
            let l2 = Arc::new(block_on(L2Cache::with_url("redis://127.0.0.1:1")).unwrap());
            let told = CacheManager::new_with_invalidation(l1(), l2, "redis://127.0.0.1:1", invalidation(name));
            let error = block_on(told).unwrap_err();
            assert!(error.is_config() && error.to_string().contains("channel"), "{name:?}: {error}");
        }
        let two = with_redis().cluster_namespace("shop").invalidation(invalidation("store"));
        let message = refused(two);
        assert!(message.contains("cluster_namespace") && message.contains("channel"), "{message}");
    }

    #[test]
    fn a_cluster_namespace_without_redis_is_refused() {
        assert!(refused(CacheManager::builder().cluster_namespace("shop")).contains("cluster_namespace"));
    }

    #[test]
    fn one_redis_tier_cannot_have_two_namespaces() {
        let l2 = Arc::new(block_on(L2Cache::with_url("redis://127.0.0.1:1")).unwrap());
        let first =
            CacheManager::builder().tier(l2.clone(), TierConfig::as_l2()).cluster_namespace("shop").build().unwrap();
        let second = CacheManager::builder().tier(l2, TierConfig::as_l2()).cluster_namespace("store");
        assert!(refused(second).contains("cluster_namespace"));
        drop(first);
    }
}

#[test]
fn the_last_handle_may_go_while_writes_are_under_way() {
    let (cache, below) = cache();
    below.hold();
    let mut write = Box::pin(async move {
        let _ = cache.set_with_strategy("k", 1, MINUTE).await;
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(write.as_mut().poll(&mut context).is_pending());
    drop(write);
    below.release();
    // Begun, so it goes on to its end.
    eventually("the write goes on", || !below.keys().is_empty());
}

#[test]
fn the_last_handle_may_go_inside_a_task_and_inside_a_closure() {
    for runtime in [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
    ] {
        runtime.block_on(async {
            let (cache, _) = cache();
            cache.set_with_strategy("k", 1, MINUTE).await.unwrap();
            tokio::task::yield_now().await;
            drop(cache);
        });
    }
    let inner = CacheManager::default();
    let outer = blocking::CacheManager::default();
    outer
        .get_or_compute_with("k", MINUTE, move || {
            drop(inner);
            tercel::ok(1)
        })
        .unwrap();
}

#[test]
fn a_runtime_that_ends_with_a_load_under_way_hands_it_to_a_thread_that_waits() {
    let (cache, _) = cache();
    let began = Arc::new(Barrier::new(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (leader, entered) = (cache.clone(), began.clone());
    runtime.spawn(async move {
        leader
            .get_or_compute_typed("k", MINUTE, || async {
                entered.wait();
                std::future::pending::<Result<u8, String>>().await
            })
            .await
    });
    began.wait();
    let mut follower = Box::pin(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(2u8) }));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(follower.as_mut().poll(&mut context).is_pending());
    runtime.shutdown_timeout(MINUTE);
    assert_eq!(block_on(follower).unwrap(), 2);
    assert_eq!(cache.into_blocking().get_typed::<u8>("k").unwrap(), Some(2));
}

#[test]
fn a_runtime_that_ends_with_reads_and_writes_under_way_leaves_the_cache_whole() {
    let (cache, below) = cache();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    below.hold();
    for n in 0..8 {
        let cache = cache.clone();
        runtime.spawn(async move {
            let key = format!("k{}", n / 2);
            let _ = if n % 2 == 0 { cache.get(&key).await.map(drop) } else { cache.invalidate(&key).await };
        });
    }
    eventually("the tier is asked", || below.waiting() >= 4);
    runtime.shutdown_background();
    below.release();
    let cache = cache.into_blocking();
    for n in 0..4 {
        let key = format!("k{n}");
        cache.set_with_strategy(&key, n, MINUTE).unwrap();
        assert_eq!(cache.get_typed::<i32>(&key).unwrap(), Some(n));
    }
    cache.close().unwrap();
}

/// A computation that never ends.
async fn endless() -> Result<Value, String> {
    std::future::pending().await
}

#[test]
fn callers_that_wait_when_the_cache_is_closed_are_told_so() {
    let below = MemoryTier::new();
    let builder = CacheManager::builder().load_budget(1).tier(Arc::new(below.clone()), TierConfig::as_l2());
    let cache = builder.tier_deadline(MINUTE, MINUTE).build().unwrap();
    below.hold();
    let began = Barrier::new(2);
    let blocking = cache.clone().into_blocking();
    let above = EntryOptions::new().skip_tier(2);
    std::thread::scope(|scope| {
        let lead = scope.spawn(|| {
            let load = async || {
                began.wait();
                endless().await
            };
            block_on(cache.get_or_compute_with("load", &above, load))
        });
        began.wait();
        let follow = scope.spawn(|| block_on(cache.get_or_compute_with("load", &above, endless)));
        let queue = scope.spawn(|| block_on(cache.get_or_compute_with("queue", &above, endless)));
        let read = scope.spawn(|| blocking.get("read"));
        let lookup = scope.spawn(|| block_on(cache.lookup("lookup")));
        eventually("the tier is asked", || below.waiting() == 2);
        eventually("both loads are under way", || cache.get_stats().in_flight_requests == 2);
        block_on(cache.close()).unwrap();
        for load in [lead, follow, queue] {
            assert!(load.join().unwrap().unwrap_err().is_closed());
        }
        assert!(read.join().unwrap().unwrap_err().is_closed());
        assert!(lookup.join().unwrap().unwrap_err().is_closed());
    });
    below.release();
}

#[test]
fn callers_that_wait_for_a_foreign_tier_when_the_cache_is_closed_are_told_so() {
    let hour = Duration::from_secs(3600);
    let below = Arc::new(HashMapCache::with_latency(hour));
    let builder = CacheManager::builder().tier(below.clone(), TierConfig::as_l2());
    let cache = builder.tier_deadline(hour, hour).build_blocking().unwrap();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| cache.get("read"));
        let load = scope.spawn(|| cache.get_or_compute_with("load", MINUTE, || tercel::ok(1)));
        eventually("the tier is asked", || below.waiting() == 2);
        cache.close().unwrap();
        assert!(read.join().unwrap().unwrap_err().is_closed());
        // A failing tier never fails a load.
        drop(load.join().unwrap());
    });
}

#[cfg(all(feature = "redis", feature = "quick-cache"))]
#[test]
fn a_tier_that_cannot_hear_other_instances_is_refused_beside_invalidation() {
    let middle = Arc::new(tercel::QuickCacheBackend::new(10).unwrap());
    let cache = CacheManager::builder()
        .redis("redis://127.0.0.1:1/")
        .tier(middle, TierConfig::as_l3())
        .invalidation(tercel::InvalidationConfig::default());
    let error = cache.build().unwrap_err();
    assert!(error.is_config(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("invalidation") && text.contains("tier 3") && text.contains("QuickCacheBackend"), "{text}");
}
