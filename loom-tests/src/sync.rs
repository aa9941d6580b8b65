//! The door to synchronisation, of the same shape as the crate's, over loom's types.

pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic;
pub(crate) use loom::thread;

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As the crate's: loom checks that the caller has seen the last store.
///
/// Of an atomic loom remembers one last access. A load here would take the place of a reader's, and the store after it would
/// race with nothing.
pub(crate) trait Own<T> {
    fn own(&self) -> T;
}

impl Own<u64> for atomic::AtomicU64 {
    fn own(&self) -> u64 {
        // SAFETY: loom checks it.
        unsafe { self.unsync_load() }
    }
}

impl<T> Own<*mut T> for atomic::AtomicPtr<T> {
    fn own(&self) -> *mut T {
        // SAFETY: loom checks it.
        unsafe { self.unsync_load() }
    }
}

/// The variable that names the fault planted in this process.
pub(crate) const FAULT: &str = "TERCEL_PLANTED_FAULT";

/// Whether the named fault is planted in this process.
pub(crate) fn planted(fault: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var(FAULT).ok()).as_deref() == Some(fault)
}

/// As the crate's, but not constant: loom's atomics are made at run time.
macro_rules! constructor {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),*) -> Self $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $type),*) -> Self $body
    };
}
pub(crate) use constructor;

/// A value that is written once: the promises of the standard one, kept by loom's atomics.
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    written: atomic::AtomicBool,
    writers: Mutex<()>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        let written = atomic::AtomicBool::new(false);
        Self { value: std::sync::OnceLock::new(), written, writers: Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire, with the Release below: whoever gets the value sees it whole.
        if self.written.load(atomic::Ordering::Acquire) { self.value.get() } else { None }
    }

    pub(crate) fn get_or_init(&self, value: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _writer = self.writers.lock();
        let value = self.value.get_or_init(value);
        self.written.store(true, atomic::Ordering::Release);
        value
    }
}
