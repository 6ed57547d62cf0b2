//! A subject: its subscribers receive every published value.

use std::fmt;
use std::marker::PhantomData;

use super::log::{Closure, TypedLog};
use super::observer::{Closed, Observer};
use super::subscription::Subscription;
use crate::sync::atomic::Ordering;

/// Calls every subscriber with each published value, on the publisher's thread, in the order of
/// subscription, without a lock.
///
/// A subject is a handle: clones share the subscribers, and dropping the last one closes it. An
/// observer that holds a clone therefore keeps it open until it is unsubscribed.
///
/// `Subject<T>` takes closures of any type. `Subject<T, O>` takes observers of the one type `O`,
/// stored inline where the publisher walks: there is no indirect call.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use pondwire::fanout::Subject;
///
/// let subject = Subject::<str>::new();
/// let bytes = Arc::new(AtomicUsize::new(0));
/// let seen = bytes.clone();
/// let subscription = subject.subscribe(move |text| {
///     seen.fetch_add(text.len(), Ordering::Relaxed);
/// })?;
/// subject.publish("four");
/// drop(subscription);
/// subject.publish("more");
/// assert_eq!(bytes.load(Ordering::Relaxed), 4);
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
pub struct Subject<T: ?Sized, O = Closure<T>> {
    handles: Handles<O>,
    values: PhantomData<fn(&T)>,
}

impl<T: ?Sized + 'static> Subject<T> {
    /// A subject of closures, without subscribers. Cost: one allocation.
    pub fn new() -> Self {
        Self::typed()
    }

    /// Subscribes a closure after all others.
    ///
    /// A publish that is running does not call it, every later one does. Cost: one allocation for
    /// the closure and its entry, and occasionally one for a chunk of entries; constant on average,
    /// and never a wait for a publish.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn subscribe(
        &self,
        observer: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Subscription, Closed> {
        self.observers().append_closure(None, observer).map(Subscription::new)
    }

    /// Subscribes a closure under an id, which has one observer at a time: if one is subscribed
    /// under `id` already, it stays in its place, and `observer` is dropped. All handles of an id
    /// are equal: the first that unsubscribes, or is dropped, removes the observer for all.
    ///
    /// Cost: as for [`subscribe`](Self::subscribe), and an entry in a map.
    ///
    /// ```
    /// use pondwire::fanout::Subject;
    ///
    /// let subject = Subject::<str>::new();
    /// let first = subject.subscribe_as(7, |_| ())?;
    /// let second = subject.subscribe_as(7, |_| ())?;
    /// assert_eq!(subject.len(), 1);
    /// first.unsubscribe();
    /// assert_eq!(subject.len(), 0);
    /// # Ok::<(), pondwire::fanout::Closed>(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn subscribe_as(
        &self,
        id: u64,
        observer: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Subscription, Closed> {
        self.observers().append_closure(Some(id), observer).map(Subscription::new)
    }
}

impl<T: ?Sized, O: Observer<T> + 'static> Subject<T, O> {
    /// A subject of observers of type `O`, without subscribers. Cost: one allocation.
    pub fn typed() -> Self {
        Self { handles: Handles::new(), values: PhantomData }
    }

    fn observers(&self) -> &TypedLog<O> {
        self.handles.log()
    }

    /// [`subscribe`](Subject::subscribe) for an observer of this subject's own type.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn subscribe_observer(&self, observer: O) -> Result<Subscription, Closed> {
        self.observers().append(None, observer).map(Subscription::new)
    }

    /// [`subscribe_as`](Subject::subscribe_as) for an observer of this subject's own type.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close).
    pub fn subscribe_observer_as(&self, id: u64, observer: O) -> Result<Subscription, Closed> {
        self.observers().append(Some(id), observer).map(Subscription::new)
    }

    /// Calls every observer that is subscribed now, in the order of subscription. After
    /// [`close`](Self::close) it does nothing.
    ///
    /// Observers may publish, subscribe, unsubscribe and close, this subject too: a nested publish
    /// is delivered at once; an observer that is subscribed during a publish is not called by it;
    /// one that this thread unsubscribes is not called any more.
    ///
    /// Cost: no allocation and no lock; two atomic operations, and a load or two per subscriber.
    ///
    /// # Panics
    /// Panics with the first panic of an observer, after all have been called, or with that of the
    /// `Drop` of an observer that was unsubscribed meanwhile.
    #[inline]
    pub fn publish(&self, value: &T) {
        self.for_each(|observer| observer.notify(value));
    }

    /// Calls `visit` with every observer, exactly as [`publish`](Self::publish) would notify it.
    ///
    /// # Panics
    /// As for [`publish`](Self::publish).
    #[inline]
    pub fn for_each(&self, visit: impl FnMut(&O)) {
        self.observers().for_each(visit);
    }

    /// The number of subscribers.
    pub fn len(&self) -> usize {
        self.observers().log().len()
    }

    /// Whether there is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.observers().log().is_closed()
    }

    /// Unsubscribes all observers for good: later publishes do nothing, and later subscriptions are
    /// refused. A publish on this thread calls no observer after it; one on another thread calls at
    /// most the observer that it is about to call.
    ///
    /// Cost: proportional to the number of subscribers, without making other threads wait.
    ///
    /// # Panics
    /// Panics with the panic of an observer's `Drop`, if that runs here.
    pub fn close(&self) {
        self.observers().log().close();
    }
}

impl<T: ?Sized, O: Observer<T> + 'static> Default for Subject<T, O> {
    fn default() -> Self {
        Self::typed()
    }
}

/// Another handle of the same subject.
impl<T: ?Sized, O> Clone for Subject<T, O> {
    fn clone(&self) -> Self {
        Self { handles: self.handles.clone(), values: PhantomData }
    }
}

impl<T: ?Sized, O> fmt::Debug for Subject<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handles.describe("Subject", f)
    }
}

/// The log of a subject, counted by handle: the last handle to be dropped closes it. Subscriptions
/// share the log too, but do not keep it open.
pub(super) struct Handles<O>(TypedLog<O>);

impl<O: Send + Sync + 'static> Handles<O> {
    pub(super) fn new() -> Self {
        Self(TypedLog::new())
    }
}

impl<O> Handles<O> {
    pub(super) fn log(&self) -> &TypedLog<O> {
        &self.0
    }

    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.0.log();
        f.debug_struct(name)
            .field("len", &log.len())
            .field("closed", &log.is_closed())
            .finish_non_exhaustive()
    }
}

impl<O> Clone for Handles<O> {
    fn clone(&self) -> Self {
        self.0.log().handles.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<O> Drop for Handles<O> {
    fn drop(&mut self) {
        let log = self.0.log();
        if log.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            log.close();
        }
    }
}
