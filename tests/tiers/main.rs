//! The tests that select the scanner's tier. The whole process has one tier, so they run one at a time,
//! apart from the tests of the tier that the process started with.

mod frame_text;
#[cfg(unix)]
mod guard_page;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test for as long as it selects tiers.
fn tier_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
