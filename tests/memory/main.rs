//! Allocations and memory, counted for each thread by the allocator of this process.

mod allocations;
#[cfg(feature = "deflate")]
mod batch_forms;
#[cfg(feature = "deflate")]
mod deflate_memory;
mod outbox_memory;
mod readers;

use pondwire_test_support::counting::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the documentation says of 64-bit machines was just measured.
fn assert_documented(figure: &str) {
    let page = include_str!("../../src/docs/performance.md");
    assert!(cfg!(not(target_pointer_width = "64")) || page.contains(figure), "{figure}");
}
