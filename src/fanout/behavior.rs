//! A subject that keeps the latest value and delivers it to every new subscriber.

use std::fmt;
use std::marker::PhantomData;

use super::log::{Closure, Replaying, ValueRef};
use super::observer::{Closed, Observer};
use super::subject::Handles;
use super::subscription::Subscription;

/// A [`Subject`](super::Subject) that keeps the latest value: a new subscriber first receives that
/// value, then all values that are published later, none of them twice.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use pondwire::fanout::BehaviorSubject;
///
/// let topic = BehaviorSubject::new("hello".to_owned());
/// let seen = Arc::new(Mutex::new(Vec::new()));
/// let log = seen.clone();
/// let _kept = topic.subscribe(move |text| log.lock().unwrap().push(text.clone()))?;
/// topic.publish("bye".to_owned());
/// assert_eq!(*seen.lock().unwrap(), ["hello", "bye"]);
/// assert_eq!(*topic.value().unwrap(), "bye");
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
pub struct BehaviorSubject<T, O = Closure<T>> {
    handles: Handles<Replaying<T, O>>,
    values: PhantomData<fn(T)>,
}

impl<T: Send + Sync + 'static> BehaviorSubject<T> {
    /// A subject of closures with a first value. Cost: two allocations.
    pub fn new(value: T) -> Self {
        Self::typed(value)
    }

    /// A subject of closures without a value yet: nothing is replayed before the first publish.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Calls `observer` with the latest value, if there is one, then subscribes it after all
    /// others.
    ///
    /// [`len`](Self::len) does not count it before that call returns. Of the values that others
    /// publish meanwhile it receives the latest here too; values that it publishes itself it does
    /// not receive.
    ///
    /// Cost: as for [`Subject::subscribe`](super::Subject::subscribe), and the observer's calls.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close); the observer was called with the value all the
    /// same.
    ///
    /// # Panics
    /// Panics with the observer's panic; the observer is then not subscribed.
    pub fn subscribe(
        &self,
        observer: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Subscription, Closed> {
        self.handles.log().join_closure(None, observer).map(Subscription::new)
    }

    /// [`subscribe`](Self::subscribe) under an id, which has one observer at a time: if one is
    /// subscribed under `id` already, it stays, and `observer` is called with the latest value and
    /// dropped. The handles are equal, as for
    /// [`Subject::subscribe_as`](super::Subject::subscribe_as).
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    ///
    /// # Panics
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_as(
        &self,
        id: u64,
        observer: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Subscription, Closed> {
        self.handles.log().join_closure(Some(id), observer).map(Subscription::new)
    }
}

impl<T: Send + Sync + 'static, O: Observer<T> + 'static> BehaviorSubject<T, O> {
    /// A subject of observers of type `O` with a first value; without one, it is
    /// [`default`](Self::default). Cost: two allocations.
    pub fn typed(value: T) -> Self {
        let subject = Self::default();
        subject.publish(value);
        subject
    }

    /// [`subscribe`](BehaviorSubject::subscribe) for an observer of this subject's own type.
    ///
    /// # Errors
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    ///
    /// # Panics
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    pub fn subscribe_observer(&self, observer: O) -> Result<Subscription, Closed> {
        self.handles.log().join(None, observer).map(Subscription::new)
    }

    /// [`subscribe_as`](BehaviorSubject::subscribe_as) for an observer of this subject's own type.
    ///
    /// # Errors
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    ///
    /// # Panics
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    pub fn subscribe_observer_as(&self, id: u64, observer: O) -> Result<Subscription, Closed> {
        self.handles.log().join(Some(id), observer).map(Subscription::new)
    }

    /// Replaces the value, then calls every subscriber, as
    /// [`Subject::publish`](super::Subject::publish) does. After [`close`](Self::close) it replaces
    /// the value only.
    ///
    /// Publishers on several threads do not wait for each other, so subscribers may receive their
    /// values in different orders; the values of one publisher arrive in its order.
    ///
    /// Cost: one allocation, for the value; no lock.
    ///
    /// # Panics
    /// As for [`Subject::publish`](super::Subject::publish).
    pub fn publish(&self, value: T) {
        self.handles.log().replace(value);
    }

    /// The latest value, borrowed without a lock or a reference count of its own: two atomic operations. Do not
    /// hold it for long (see [`ValueRef`]); clone what you keep. While any thread holds it, replaced values are
    /// not freed, and [`unsubscribe_and_wait`](super::Subscription::unsubscribe_and_wait) waits: for ever, if it
    /// is leaked.
    pub fn value(&self) -> Option<ValueRef<'_, T>> {
        self.handles.log().value()
    }

    /// The number of subscribers.
    pub fn len(&self) -> usize {
        self.handles.log().log().len()
    }

    /// Whether there is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.handles.log().log().is_closed()
    }

    /// Unsubscribes all observers for good; the value stays. See
    /// [`Subject::close`](super::Subject::close).
    ///
    /// # Panics
    /// As for [`Subject::close`](super::Subject::close).
    pub fn close(&self) {
        self.handles.log().log().close();
    }
}

/// A subject without a value yet.
impl<T: Send + Sync + 'static, O: Observer<T> + 'static> Default for BehaviorSubject<T, O> {
    fn default() -> Self {
        Self { handles: Handles::new(), values: PhantomData }
    }
}

/// Another handle of the same subject.
impl<T, O> Clone for BehaviorSubject<T, O> {
    fn clone(&self) -> Self {
        Self { handles: self.handles.clone(), values: PhantomData }
    }
}

impl<T, O> fmt::Debug for BehaviorSubject<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handles.describe("BehaviorSubject", f)
    }
}
