//! The observer trait, the scope in which a thread runs observers and the first of their panics, and the
//! errors of subscribing.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Something that receives every published value.
///
/// Every `Fn(&T) + Send + Sync` is one. A type of your own that implements it can be stored inline
/// in a [`Subject<T, O>`](super::Subject), which saves the indirect call.
///
/// An observer runs on the publisher's thread, and several publishers may call it at once.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use pondwire::fanout::{Observer, Subject};
///
/// #[derive(Default)]
/// struct Bytes(AtomicUsize);
///
/// impl Observer<str> for Bytes {
///     fn notify(&self, text: &str) {
///         self.0.fetch_add(text.len(), Ordering::Relaxed);
///     }
/// }
///
/// let subject: Subject<str, Bytes> = Subject::typed();
/// let _kept = subject.subscribe_observer(Bytes::default())?;
/// subject.publish("four");
/// subject.for_each(|bytes| assert_eq!(bytes.0.load(Ordering::Relaxed), 4));
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
pub trait Observer<T: ?Sized>: Send + Sync {
    /// Called once per published value.
    fn notify(&self, value: &T);
}

impl<T: ?Sized, F: Fn(&T) + Send + Sync> Observer<T> for F {
    #[inline]
    fn notify(&self, value: &T) {
        self(value);
    }
}

/// The subject was closed: it takes no more subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cannot subscribe to a closed subject")
    }
}

impl Error for Closed {}

/// A wait was requested inside an observer: it might wait for its own thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsideObserver;

impl fmt::Display for InsideObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cannot wait for publishers inside an observer")
    }
}

impl Error for InsideObserver {}

#[cfg(not(pondwire_loom))]
thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

#[cfg(pondwire_loom)]
loom::thread_local! {
    static DEPTH: Cell<usize> = Cell::new(0);
}

/// While one lives, this thread must not wait for publishers: it may be one of them.
pub(super) struct ObserverScope {
    /// The depth is this thread's.
    not_send: PhantomData<*const ()>,
}

impl ObserverScope {
    #[inline]
    pub(super) fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Self { not_send: PhantomData }
    }

    /// Whether this thread is in one.
    pub(super) fn is_active() -> bool {
        DEPTH.with(|depth| depth.get() > 0)
    }
}

impl Drop for ObserverScope {
    #[inline]
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// The first panic of several pieces of user code: a panic in one must not skip the others.
#[derive(Default)]
pub(super) struct FirstPanic(Option<Box<dyn Any + Send>>);

impl FirstPanic {
    /// Runs `code` and reports whether it returned.
    ///
    /// Asserting unwind safety is right because [`resume`](Self::resume) lets the caller see the
    /// panic: it is hidden only while the others run.
    #[inline]
    pub(super) fn run(&mut self, code: impl FnOnce()) -> bool {
        // A panic in a model is the model's failure, not an observer's.
        if cfg!(pondwire_loom) {
            code();
            return true;
        }
        let Err(panic) = catch_unwind(AssertUnwindSafe(code)) else { return true };
        self.keep(panic);
        false
    }

    #[cold]
    fn keep(&mut self, panic: Box<dyn Any + Send>) {
        if self.0.is_none() {
            self.0 = Some(panic);
            return;
        }
        // A payload's own drop may panic; that payload is forgotten, or this would not end.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
    }

    /// Resumes the first panic, if there was one and this thread is not panicking already.
    #[inline]
    pub(super) fn resume(self) {
        if let Some(panic) = self.0
            && !std::thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// A number that no other living thread has.
pub(super) fn this_thread() -> usize {
    DEPTH.with(|depth| std::ptr::from_ref(depth).addr())
}
