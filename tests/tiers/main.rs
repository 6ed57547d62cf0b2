//! The tests that select the scanner's tier. The whole process has one tier, so they run one at a time,
//! apart from the tests of the tier that the process started with.

mod frame_text;
#[cfg(unix)]
mod guard_page;
mod rearranged;

use pondwire::scan::{Algorithm, Tier};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every tier of this CPU with every algorithm, and with the best for each document.
fn scanners() -> Vec<(Tier, Option<Algorithm>)> {
    let tiers = Tier::ALL.iter().filter(|tier| tier.is_supported());
    let choices = || Algorithm::ALL.iter().copied().map(Some).chain([None]);
    tiers.flat_map(|&tier| choices().map(move |algorithm| (tier, algorithm))).collect()
}

/// Selects one of these.
fn select((tier, algorithm): (Tier, Option<Algorithm>)) {
    assert!(algorithm.map_or_else(|| tier.select(), |algorithm| tier.select_with(algorithm)));
}

/// Held by a test for as long as it selects tiers.
fn tier_lock() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}
