//! A global allocator that counts, thread by thread, for the test that includes it.

#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]
#![allow(dead_code, reason = "each test uses a part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator. Growing is the trait's own: a new place,
// a copy, and the old place freed, so that both count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + layout.size() as isize);
        PEAK.set(PEAK.get().max(LIVE.get()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations this thread has made.
pub(crate) fn count() -> usize {
    ALLOCATIONS.get()
}

/// How many bytes this thread has allocated and not freed; what it freed of others' counts too.
pub(crate) fn live() -> isize {
    LIVE.get()
}

/// The most bytes that were alive at once since the last [`reset_peak`].
pub(crate) fn peak() -> isize {
    PEAK.get()
}

pub(crate) fn reset_peak() {
    PEAK.set(LIVE.get());
}
