//! The one door to atomics, locks and reference counts.
//!
//! Files that are modelled (see `loom-tests/`) import synchronisation from here and from nowhere else; the models supply
//! a `sync` module of the same shape over loom's types and include the very same files.

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Arc, OnceLock};
pub(crate) use std::thread;

/// A mutex without poisoning: a panic while it is held leaves the data as it was at that moment, and every critical
/// section of this crate keeps its invariants at each step that can panic.
#[derive(Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

pub(crate) type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A condition variable without poisoning, as the mutex.
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A word as its writer knows it: the only one, or the holder of the lock that orders them all.
///
/// The models check that it is so. An ordinary load would hide there, from loom, that others' loads race with the store that
/// follows it.
pub(crate) trait Own<T> {
    fn own(&self) -> T;
}

impl Own<u64> for atomic::AtomicU64 {
    #[inline(always)]
    fn own(&self) -> u64 {
        // Relaxed: the caller has seen the last store, or made it.
        self.load(atomic::Ordering::Relaxed)
    }
}

impl<T> Own<*mut T> for atomic::AtomicPtr<T> {
    #[inline(always)]
    fn own(&self) -> *mut T {
        // Relaxed: the caller has seen the last store, or made it.
        self.load(atomic::Ordering::Relaxed)
    }
}

/// Whether the named fault is planted: never here. The models answer with a switch, to show that they would find it.
#[inline(always)]
pub(crate) const fn planted(_fault: &str) -> bool {
    false
}

/// Makes a constructor constant; not so in the models, whose atomics are made at run time.
macro_rules! constructor {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),*) -> Self $body:block) => {
        $(#[$doc])*
        $vis const fn $name($($arg: $type),*) -> Self $body
    };
}
pub(crate) use constructor;
