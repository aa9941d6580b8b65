//! What a handle and its futures can be moved into: tasks, threads, statics, other executors.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/memory_streams.rs"]
mod memory_streams;

use std::fmt::{Debug, Display};
use std::num::ParseIntError;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use memory_streams::MemoryStreams;
use tercel::{
    BoxError, CacheBackend, CacheManager, CacheManagerStats, CacheStrategy, CacheTier, EntryOptions, Error, Health,
    InvalidationConfig, InvalidationStats, L1Cache, L2CacheBackend, Loaded, Lookup, MemoryTier, StreamingBackend,
    TierConfig, TierStats, Value, blocking,
};

const MINUTE: Duration = Duration::from_secs(60);

fn cache() -> CacheManager {
    let builder = CacheManager::builder().streams(Arc::new(MemoryStreams::default()));
    builder.tier(Arc::new(MemoryTier::new()), TierConfig::as_l2()).build().unwrap()
}

#[test]
fn the_public_types_go_where_they_have_to() {
    fn handle<T: Clone + Send + Sync + Debug + Default + Unpin + 'static>() {}
    fn error<T: std::error::Error + Clone + Send + Sync + Debug + Display + 'static>() {}
    fn plain<T: Clone + Send + Sync + Debug + 'static>() {}
    fn shared<T: Send + Sync + 'static + ?Sized>() {}
    handle::<CacheManager>();
    handle::<blocking::CacheManager>();
    error::<Error>();
    plain::<Value>();
    plain::<EntryOptions>();
    plain::<Loaded>();
    plain::<Lookup>();
    plain::<CacheStrategy>();
    plain::<CacheTier>();
    plain::<TierConfig>();
    plain::<CacheManagerStats>();
    plain::<TierStats>();
    plain::<Health>();
    plain::<InvalidationConfig>();
    plain::<InvalidationStats>();
    shared::<tercel::CacheManagerBuilder>();
    shared::<L1Cache>();
    shared::<dyn CacheBackend>();
    shared::<dyn L2CacheBackend>();
    shared::<dyn StreamingBackend>();
    #[cfg(feature = "redis")]
    {
        shared::<tercel::L2Cache>();
        shared::<tercel::RedisStreams>();
        plain::<tercel::RedisOptions>();
    }
    assert!(size_of::<CacheManager>() == size_of::<usize>() && size_of::<Value>() == size_of::<usize>());
    assert!(size_of::<tercel::Result<()>>() <= 2 * size_of::<usize>());
}

#[test]
fn an_error_converts_into_a_boxed_error_and_back() {
    let boxed: BoxError = Error::tier("down").into();
    assert!(boxed.downcast_ref::<Error>().unwrap().is_tier());
    let error: Box<dyn std::error::Error> = Box::new(Error::absent());
    assert!(error.downcast::<Error>().unwrap().is_absent());
}

/// The `?` of code whose own error is a box that cannot be sent.
#[test]
fn an_error_leaves_through_any_boxed_error() {
    fn with_plain_box(cache: &blocking::CacheManager) -> Result<Option<Value>, Box<dyn std::error::Error>> {
        Ok(cache.get("k")?)
    }
    fn with_sendable_box(cache: &blocking::CacheManager) -> Result<Option<Value>, BoxError> {
        Ok(cache.get("k")?)
    }
    let cache = cache().into_blocking();
    assert_eq!(with_plain_box(&cache).unwrap(), None);
    assert_eq!(with_sendable_box(&cache).unwrap(), None);
}

/// Each future is made from owned values, as in a handler of a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_future_of_every_call_can_be_spawned() {
    let cache = cache();
    macro_rules! spawned {
        ($name:ident => $call:expr) => {{
            let $name = cache.clone();
            tokio::spawn(async move { $call.await }).await.unwrap()
        }};
    }
    spawned!(c => c.set_with_strategy("k", "v", MINUTE)).unwrap();
    spawned!(c => c.update_cache("k", String::from("v"), None)).unwrap();
    spawned!(c => c.set_with_broadcast("k", 7u64, CacheStrategy::RealTime)).unwrap();
    spawned!(c => c.get("k")).unwrap();
    spawned!(c => c.get_typed::<u64>("k")).unwrap();
    spawned!(c => c.get_shared::<u64>("k")).unwrap();
    spawned!(c => c.lookup("k")).unwrap();
    spawned!(c => c.invalidate("k")).unwrap();
    spawned!(c => c.invalidate_pattern("k*")).unwrap();
    spawned!(c => c.publish_to_stream("s", vec![("a".into(), "b".into())], None)).unwrap();
    spawned!(c => c.read_stream_latest("s", 1)).unwrap();
    spawned!(c => c.read_stream("s", "0", 1, None)).unwrap();
    assert!(spawned!(c => c.health_check()).is_healthy());
    spawned!(c => c.ready()).unwrap();
    spawned!(c => CacheManager::new_with_backends(
        Arc::new(L1Cache::new().unwrap()),
        Arc::new({ drop(c); MemoryTier::new() }),
        None
    ))
    .unwrap();
    spawned!(c => c.close()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_can_be_spawned_whatever_the_closure_fails_with() {
    async fn parse(text: &str) -> Result<u64, ParseIntError> {
        tokio::task::yield_now().await;
        text.parse()
    }
    let cache = cache();
    let text: Arc<str> = "42".into();
    macro_rules! spawned {
        ($cache:ident, $text:ident => $call:expr) => {{
            let ($cache, $text) = (cache.clone(), text.clone());
            tokio::spawn(async move { $call.await }).await.unwrap().unwrap()
        }};
    }
    spawned!(c, t => c.get_or_compute_typed::<u64>("a", MINUTE, || parse(&t)));
    spawned!(c, t => c.get_or_compute_typed("b", MINUTE, || async { tercel::ok(parse(&t).await?) }));
    spawned!(c, t => c.get_or_compute_typed("c", MINUTE, async || tercel::ok(parse(&t).await?)));
    spawned!(c, t => c.get_or_compute_typed("d", MINUTE, async move || Ok::<_, BoxError>(parse(&t).await?)));
    spawned!(c, t => c.get_or_compute_with("e", MINUTE, async || parse(&t).await.map_err(|e| e.to_string())));
    spawned!(c, t => c.get_or_compute_with("f", MINUTE, async || parse(&t).await.map_err(|_| "a str")));
    spawned!(c, t => c.get_or_compute_optional("g", MINUTE, async || tercel::ok(Some(parse(&t).await?))));
    spawned!(c, t => c.get_or_compute_shared("h", MINUTE, async || tercel::ok(vec![parse(&t).await?])));
    spawned!(c, t => c.get_or_compute_typed("i", EntryOptions::new().ttl(MINUTE), || async move {
        Err::<u64, Box<dyn std::error::Error + Send + Sync>>(t.to_string().into()).or(tercel::ok(1))
    }));
    assert_eq!(cache.get_stats().computations, 9);
}

/// Functions of a user that are generic over the computation.
#[tokio::test]
async fn a_load_can_be_passed_through_generic_functions_and_spawned_there() {
    fn spawn<F>(cache: CacheManager, key: String, load: F) -> tokio::task::JoinHandle<tercel::Result<u64>>
    where
        F: tercel::Load<u64, Err: Into<BoxError> + Send, Fut: Send> + Send + 'static,
    {
        tokio::spawn(async move { cache.get_or_compute_typed(&key, MINUTE, load).await })
    }
    #[expect(clippy::manual_async_fn, reason = "the bound on the future is what is tested")]
    fn classic<F, Fut>(cache: CacheManager, load: F) -> impl Future<Output = tercel::Result<u64>> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<u64, BoxError>> + Send,
    {
        async move { cache.get_or_compute_typed("classic", MINUTE, load).await }
    }
    let cache = cache();
    assert_eq!(spawn(cache.clone(), "k".into(), async || tercel::ok(1)).await.unwrap().unwrap(), 1);
    assert_eq!(classic(cache, || async { tercel::ok(2) }).await.unwrap(), 2);
}

/// What neither can be sent nor shared is fine where nothing is spawned.
#[test]
fn a_closure_need_not_be_send_where_the_future_is_not_sent() {
    let cache = cache();
    let local = std::rc::Rc::new(41u64);
    let load = async || {
        let kept = local.clone();
        // The tier below is asked before, so that the future has waited already.
        tercel::ok(*kept + 1)
    };
    assert_eq!(futures::executor::block_on(cache.get_or_compute_typed("k", MINUTE, load)).unwrap(), 42);
    let blocking = cache.into_blocking();
    assert_eq!(blocking.get_or_compute_typed("b", MINUTE, || tercel::ok(*local)).unwrap(), 41);
}

#[test]
fn no_call_needs_a_tokio_runtime_around_it() {
    let cache = cache();
    futures::executor::block_on(async {
        cache.ready().await.unwrap();
        cache.set_with_strategy("k", 1, MINUTE).await.unwrap();
        cache.update_cache("k", 2, None).await.unwrap();
        cache.set_with_broadcast("k", 3, MINUTE).await.unwrap();
        assert_eq!(cache.get_typed::<u8>("k").await.unwrap(), Some(3));
        cache.invalidate("k").await.unwrap();
        assert_eq!(cache.get_or_compute_typed("k", MINUTE, || async { tercel::ok(4u8) }).await.unwrap(), 4);
        assert_eq!(*cache.get_or_compute_shared("k", MINUTE, || async { tercel::ok(5u8) }).await.unwrap(), 4);
        cache.invalidate_pattern("*").await.unwrap();
        let hung = EntryOptions::new().hard_timeout(Duration::from_millis(1));
        let late = cache.get_or_compute_typed("hung", hung, std::future::pending::<Result<u8, BoxError>>).await;
        assert!(late.unwrap_err().is_timeout());
        cache.publish_to_stream("s", Vec::new(), None).await.unwrap();
        assert!(cache.health_check().await.is_healthy());
        cache.close().await.unwrap();
    });
}

#[test]
fn a_cache_can_be_a_static() {
    static CACHE: LazyLock<CacheManager> = LazyLock::new(CacheManager::default);
    static THREADS: LazyLock<blocking::CacheManager> = LazyLock::new(|| CACHE.clone().into());
    THREADS.set_with_strategy("k", 1, MINUTE).unwrap();
    let readers: Vec<_> = (0..4).map(|_| std::thread::spawn(|| THREADS.get_typed::<u8>("k").unwrap())).collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), Some(1));
    }
    assert!(futures::executor::block_on(CACHE.get("k")).unwrap().is_some());
}

#[tokio::test]
async fn a_spawned_load_may_return_a_borrowed_value() {
    let cache = CacheManager::default();
    let handle = cache.clone();
    let loaded = tokio::spawn(async move {
        let text = handle.get_or_compute_with("k", Duration::from_secs(60), || async { tercel::ok("v") }).await?;
        let bytes =
            handle.get_or_compute_optional("o", Duration::from_secs(60), || async { tercel::ok(Some("v")) }).await?;
        Ok::<_, tercel::Error>((text, bytes))
    });
    assert_eq!(loaded.await.unwrap().unwrap(), ("v".into(), Some("v".into())));
}

/// What is sent to another thread is not shared between threads: a closure need not be `Sync`.
#[test]
fn a_closure_that_is_not_sync_may_be_spawned() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let cache = tercel::CacheManager::default();
    let count = std::cell::Cell::new(7);
    let load = async move {
        cache
            .get_or_compute_with(
                "k",
                std::time::Duration::from_secs(60),
                move || async move { tercel::ok(count.get()) },
            )
            .await
    };
    let value = runtime.block_on(runtime.spawn(load)).unwrap().unwrap();
    assert_eq!(value.decode::<i32>().unwrap(), 7);
}
