//! What the concurrent modules are made of: std's atomics and `parking_lot`'s lock, or loom's
//! models of them under `--cfg pondwire_loom`.
//!
//! A cfg of its own, because plain `--cfg loom` changes tokio and other crates of the tree too.

#[cfg(not(pondwire_loom))]
#[allow(unused_imports, reason = "each concurrent module uses a part")]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic;

    pub(crate) use atomic_waker::AtomicWaker;
    pub(crate) use parking_lot::{Mutex, MutexGuard};
}

#[cfg(pondwire_loom)]
#[allow(unused_imports, dead_code, reason = "as above")]
mod modelled {
    pub(crate) use loom::future::AtomicWaker;
    pub(crate) use loom::sync::{Arc, MutexGuard, atomic};

    /// loom's lock with `parking_lot`'s signatures; a model that panics has failed anyway.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics while it holds the lock")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

#[cfg(pondwire_loom)]
pub(crate) use modelled::*;
#[cfg(not(pondwire_loom))]
pub(crate) use real::*;
