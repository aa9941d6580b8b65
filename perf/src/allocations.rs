//! The allocations of a thread, counted, and the bytes that the process has allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

/// Whether bytes are counted: a number that all threads write would slow down what is timed.
static COUNTS_BYTES: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);

/// From now on bytes are counted.
pub(crate) fn count_bytes() {
    // Relaxed: set once, before there is anything to count.
    COUNTS_BYTES.store(true, Ordering::Relaxed);
}

/// The bytes allocated and not freed since [`count_bytes`], as they were asked for.
pub(crate) fn bytes() -> isize {
    // Relaxed: read when all is quiet.
    BYTES.load(Ordering::Relaxed)
}

fn add_bytes(grown: isize) {
    // Relaxed: a plain counter.
    if COUNTS_BYTES.load(Ordering::Relaxed) {
        BYTES.fetch_add(grown, Ordering::Relaxed);
    }
}

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread allocates or reallocates while `work` runs.
pub(crate) fn during(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread whose locals are gone is not measured.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe")]
// SAFETY: every call goes to the system's allocator as it came; counting touches numbers alone, a thread-local one among
// them that has no destructor, and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        add_bytes(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        add_bytes(layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        add_bytes(size as isize - layout.size() as isize);
        // SAFETY: as in `alloc`; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add_bytes(-(layout.size() as isize));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
