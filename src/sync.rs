//! The primitives of the concurrent modules: std's atomics and `parking_lot`'s lock, or loom's
//! models of them under `--cfg pondwire_loom`.
//!
//! A separate cfg, because plain `--cfg loom` changes tokio and other crates of the tree too.

// Positions in logs and queues, and all counters, are 64 bits long on every target.
#[cfg(not(target_has_atomic = "64"))]
compile_error!("pondwire needs a target with 64-bit atomics");

#[cfg(not(pondwire_loom))]
mod real {
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic;

    pub(crate) use atomic_waker::AtomicWaker;
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::hint::spin_loop;
    pub(crate) use std::thread::yield_now;

    /// Std's cell with the signature of loom's, which watches every access.
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
            access(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }

    /// `AtomicWaker::register`, whose name in loom is `register_by_ref`.
    #[inline]
    pub(crate) fn register(place: &AtomicWaker, waker: &std::task::Waker) {
        place.register(waker);
    }
}

#[cfg(pondwire_loom)]
#[allow(unused_imports, dead_code, reason = "each concurrent module uses a part")]
mod modelled {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::future::AtomicWaker;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::{Arc, MutexGuard, atomic};
    pub(crate) use loom::thread::yield_now;

    pub(crate) fn register(place: &AtomicWaker, waker: &std::task::Waker) {
        place.register_by_ref(waker);
    }

    /// Runs a model with at most so many preemptions, or with `LOOM_MAX_PREEMPTIONS`.
    #[cfg(test)]
    pub(crate) fn model_within(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
        builder.check(run);
    }

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
