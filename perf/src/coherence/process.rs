//! What this process holds: threads and descriptors, runtimes, panics.

use std::fs;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A count of what has to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) threads: usize,
    pub(super) descriptors: usize,
}

impl Held {
    /// Both 0 where the system does not tell.
    pub(super) fn now() -> Self {
        let count = |folder: &str| fs::read_dir(folder).map_or(0, Iterator::count);
        Self { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd") }
    }

    /// How many more threads and descriptors there are than these, once what ends within `patience` has ended.
    pub(super) fn left(self, patience: Duration) -> (usize, usize) {
        let until = Instant::now() + patience;
        loop {
            let now = Self::now();
            let threads = now.threads.saturating_sub(self.threads);
            let descriptors = now.descriptors.saturating_sub(self.descriptors);
            if threads + descriptors == 0 || Instant::now() >= until {
                return (threads, descriptors);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A runtime of one instance, on a thread of its own until dropped.
pub(super) struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    pub(super) fn start(instance: usize) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(format!("instance-{instance}"));
        let thread = thread.spawn(move || drop(runtime.block_on(stopped))).map_err(|error| error.to_string())?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panics are counted where they happen.
            let _ = thread.join();
        }
    }
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics of this process since it began to count, told of as ever.
pub(super) fn panics() -> u64 {
    static COUNT: Once = Once::new();
    COUNT.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Relaxed: a count orders nothing.
            PANICS.fetch_add(1, Ordering::Relaxed);
            tell(panic);
        }));
    });
    PANICS.load(Ordering::Relaxed)
}
