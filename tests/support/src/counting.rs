//! An allocator that counts, thread by thread. A test installs it for its process:
//!
//! ```
//! use pondwire_test_support::counting::Counting;
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//! ```

#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system allocator, with counters.
#[derive(Debug)]
pub struct Counting;

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

/// The number of allocations that this thread has made; 0 unless [`Counting`] is installed.
pub fn count() -> usize {
    ALLOCATIONS.get()
}

/// The bytes that this thread has allocated and not freed. Freeing memory of other threads lowers it, too.
pub fn live() -> isize {
    LIVE.get()
}

/// The most bytes that were alive at once since the last [`reset_peak`].
pub fn peak() -> isize {
    PEAK.get()
}

pub fn reset_peak() {
    PEAK.set(LIVE.get());
}
