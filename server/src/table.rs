//! Open channels by name, in parts with a lock each: what visits all of them, as the counting of memory does, keeps
//! joins and leaves waiting for one part at most.

use std::sync::Arc;

use ahash::{HashMap, RandomState};
use parking_lot::{Mutex, MutexGuard};

/// Of 200,000 channels 1,600 are in each.
const PARTS: usize = 128;

pub(crate) type Part<T> = HashMap<Arc<str>, Arc<T>>;

pub(crate) struct Table<T> {
    parts: Box<[Mutex<Part<T>>]>,
    hasher: RandomState,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        let parts = std::iter::repeat_with(Mutex::default).take(PARTS).collect();
        Self { parts, hasher: RandomState::new() }
    }

    /// The part with the channel of this name, if that is open.
    pub(crate) fn lock(&self, name: &str) -> MutexGuard<'_, Part<T>> {
        self.parts[self.hasher.hash_one(name) as usize % PARTS].lock()
    }

    pub(crate) const fn parts(&self) -> &[Mutex<Part<T>>] {
        &self.parts
    }
}
