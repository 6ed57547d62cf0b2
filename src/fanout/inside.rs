//! Whether this thread is inside an observer, or holds something that publishers hold too.

use std::cell::Cell;
use std::marker::PhantomData;

#[cfg(not(pondwire_loom))]
thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

#[cfg(pondwire_loom)]
loom::thread_local! {
    static DEPTH: Cell<usize> = Cell::new(0);
}

/// While it lives, this thread must not wait for publishers: it may be one of them.
pub(super) struct Inside {
    /// The depth is this thread's.
    not_send: PhantomData<*const ()>,
}

impl Inside {
    #[inline]
    pub(super) fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self { not_send: PhantomData }
    }

    pub(super) fn any() -> bool {
        DEPTH.with(|depth| depth.get() > 0)
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// A number that no other living thread has.
pub(super) fn this_thread() -> usize {
    DEPTH.with(|depth| std::ptr::from_ref(depth).addr())
}
