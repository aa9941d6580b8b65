//! The system's allocator, which counts what each thread takes.

#![allow(dead_code, unreachable_pub)]
#![expect(unsafe_code, reason = "an allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// How many allocations this thread has made.
pub fn made_by_this_thread() -> u64 {
    MADE.get()
}

/// The size of the largest allocation that any thread has made since the last call.
pub fn largest() -> usize {
    // SeqCst: the plainest order is the right one for a test.
    LARGEST.swap(0, Ordering::SeqCst)
}

fn count(size: usize) {
    MADE.with(|made| made.set(made.get() + 1));
    LARGEST.fetch_max(size, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator unchanged; the counters have no destructors and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}
