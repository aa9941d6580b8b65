//! The door to synchronisation, of the same shape as the crate's, over loom's types.

pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic;
pub(crate) use loom::thread;

use std::sync::OnceLock;

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The variable that names the fault planted in this process.
pub(crate) const FAULT: &str = "TERCEL_PLANTED_FAULT";

/// Whether the named fault is planted in this process.
pub(crate) fn planted(fault: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED.get_or_init(|| std::env::var(FAULT).ok()).as_deref() == Some(fault)
}
