//! The background threads: one that all I/O and all timers run on, and one for foreign tiers.

use std::future::Future;
use std::pin::Pin;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, watch};

use crate::clock::Timers;
use crate::error::{BoxError, Error, Kind, Result};
use crate::sync::Arc;

/// A boxed future; the same type as `futures::future::BoxFuture`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Work for a background thread.
pub(crate) type Task = BoxFuture<'static, ()>;

/// Where background work is started: the engine's own runtime, or the simulator's.
pub(crate) trait Spawn: Send + Sync {
    /// Starts `task`; it runs until it ends or the runtime stops, which drops it.
    fn spawn(&self, task: Task);
}

impl Spawn for Handle {
    fn spawn(&self, task: Task) {
        // The join handle is of no use: a task that matters to somebody announces its own end.
        drop(Handle::spawn(self, task));
    }
}

/// One thread, named `tercel-io` or `tercel-worker`, that drives a single-threaded runtime until this value is dropped.
///
/// A task holds the [`Handle`], never this value: it would keep its own runtime alive.
pub(crate) struct Runtime {
    handle: Handle,
    timers: Timers,
    stop: Arc<Notify>,
    /// Closed once the thread has dropped every task.
    ended: watch::Receiver<()>,
    thread: thread::ThreadId,
}

impl Runtime {
    /// Starts the thread that drives the engine's I/O.
    pub(crate) fn start() -> Result<Arc<Self>> {
        Self::start_named("tercel-io", crate::park::mark_io_thread)
    }

    /// Starts a thread for foreign tiers: one that blocks there blocks no I/O of the engine's.
    pub(crate) fn start_worker() -> Result<Arc<Self>> {
        Self::start_named("tercel-worker", || {})
    }

    fn start_named(name: &str, begin: fn()) -> Result<Arc<Self>> {
        let mut builder = Builder::new_current_thread();
        // I/O too, where anybody's features have it: foreign tiers run here.
        builder.enable_all().thread_name("tercel-resolve");
        let runtime = builder.build().map_err(|error| failed(error.into()))?;
        let handle = runtime.handle().clone();
        let timers = Timers::new(handle.clone());
        let ending_timers = timers.clone();
        let stop = Arc::new(Notify::new());
        let (ending, ended) = watch::channel(());
        let stopping = stop.clone();
        let body = move || {
            // Declared first, dropped last: it closes after the tasks are gone, also when one of them panics in its drop.
            let _ending = ending;
            begin();
            runtime.block_on(stopping.notified());
            ending_timers.shut();
            // In the background: a name lookup that hangs in the system's resolver must not hold this thread.
            runtime.shutdown_background();
        };
        let spawned = thread::Builder::new().name(name.into()).spawn(body).map_err(|error| failed(error.into()))?;
        let thread = spawned.thread().id();
        Ok(Arc::new(Self { handle, timers, stop, ended, thread }))
    }

    /// Whether this is called on the runtime's own thread.
    pub(crate) fn is_current(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// The runtime, to start tasks and timers on.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Its timers, which may be awaited anywhere.
    pub(crate) fn timers(&self) -> Timers {
        self.timers.clone()
    }

    /// The runtime as the seam that tasks are started through.
    pub(crate) fn spawner(&self) -> Arc<dyn Spawn> {
        Arc::new(self.handle.clone())
    }

    /// Stops the thread and ends when it has dropped every task. May be awaited on any executor but this one.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the thread stopping.
    pub(crate) async fn stop(&self) {
        self.stop.notify_one();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Spawn for Runtime {
    fn spawn(&self, task: Task) {
        Spawn::spawn(&self.handle, task);
    }
}

impl Drop for Runtime {
    /// Tells the thread to end and does not wait for it: this may run inside a task, or on the thread itself.
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

fn failed(source: BoxError) -> Error {
    Error::with_source(Kind::CONFIG, "a background thread cannot start", source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    /// Reports its own drop.
    struct Gone(Option<tokio::sync::oneshot::Sender<()>>);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.take().map(|gone| gone.send(()));
        }
    }

    fn endless(runtime: &Runtime) -> tokio::sync::oneshot::Receiver<()> {
        let (gone, dropped) = tokio::sync::oneshot::channel();
        let gone = Gone(Some(gone));
        Spawn::spawn(
            runtime,
            Box::pin(async move {
                let _gone = gone;
                std::future::pending::<()>().await;
            }),
        );
        dropped
    }

    #[test]
    fn tasks_run_on_the_named_thread() {
        let runtime = Runtime::start().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = async move { drop(tell.send(thread::current().name().map(String::from))) };
        Spawn::spawn(&*runtime, Box::pin(task));
        assert_eq!(block_on(told).unwrap().as_deref(), Some("tercel-io"));
    }

    #[test]
    fn stop_waits_until_the_tasks_are_gone() {
        let runtime = Runtime::start().unwrap();
        let mut dropped = endless(&runtime);
        block_on(runtime.stop());
        assert_eq!(dropped.try_recv(), Ok(()));
        block_on(runtime.stop());
    }

    #[test]
    fn the_last_handle_may_go_inside_a_task_and_on_the_thread_itself() {
        let inside = Runtime::start().unwrap();
        let dropped = endless(&inside);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async move { drop(inside) });
        block_on(dropped).unwrap();

        let own = Runtime::start().unwrap();
        let dropped = endless(&own);
        let handle = own.handle().clone();
        Spawn::spawn(&handle, Box::pin(async move { drop(own) }));
        block_on(dropped).unwrap();
    }
}
