//! A subject that keeps the latest value and tells it to whoever subscribes.

use std::fmt;
use std::marker::PhantomData;

use super::error::Closed;
use super::handles::Handles;
use super::log::{Closure, Joining, ValueRef};
use super::observer::Observer;
use super::subscription::Subscription;

/// A [`Subject`](super::Subject) that keeps the latest value: a new subscriber is told it first,
/// then all that are published later, none twice.
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
    handles: Handles<Joining<T, O>>,
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

    /// Tells `observer` the latest value, if there is one, then subscribes it behind all others.
    ///
    /// It does not count in [`len`](Self::len) before it was told. What others publish meanwhile it
    /// is told here too, the latest of it; what it publishes itself, it is not.
    ///
    /// Cost: as for [`Subject::subscribe`](super::Subject::subscribe), and the observer's calls.
    ///
    /// # Errors
    /// [`Closed`] after [`close`](Self::close); the observer was told the value all the same.
    ///
    /// # Panics
    /// With the observer's panic; it is not subscribed then.
    pub fn subscribe(
        &self,
        observer: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Subscription, Closed> {
        let log = self.handles.log();
        let node = log.join_closure(None, observer)?;
        Ok(Subscription::of_node(log.log(), node))
    }

    /// [`subscribe`](Self::subscribe) under an id, once: while something is subscribed under `id`,
    /// that stays, and `observer` is told the latest value and dropped. The handles are equal, as
    /// for [`Subject::subscribe_as`](super::Subject::subscribe_as).
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
        let log = self.handles.log();
        log.join_closure(Some(id), observer)?;
        Ok(Subscription::of_id(log.log(), id))
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
        let log = self.handles.log();
        let node = log.join(None, observer)?;
        Ok(Subscription::of_node(log.log(), node))
    }

    /// [`subscribe_as`](BehaviorSubject::subscribe_as) for an observer of this subject's own type.
    ///
    /// # Errors
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    ///
    /// # Panics
    /// As for [`subscribe`](BehaviorSubject::subscribe).
    pub fn subscribe_observer_as(&self, id: u64, observer: O) -> Result<Subscription, Closed> {
        let log = self.handles.log();
        log.join(Some(id), observer)?;
        Ok(Subscription::of_id(log.log(), id))
    }

    /// Replaces the value, then tells everyone who is subscribed, as
    /// [`Subject::publish`](super::Subject::publish) does. After [`close`](Self::close) it replaces
    /// the value only.
    ///
    /// Publishers on several threads do not wait for each other, so subscribers may hear their
    /// values in different orders; one publisher's values they hear in its order.
    ///
    /// Cost: one allocation, for the value; no lock.
    ///
    /// # Panics
    /// As for [`Subject::publish`](super::Subject::publish).
    pub fn publish(&self, value: T) {
        self.handles.log().replace(value);
    }

    /// The latest value, borrowed without a lock or a reference count of its own: two atomic
    /// operations. It is not for keeping, see [`ValueRef`]; clone what is to be kept.
    pub fn value(&self) -> Option<ValueRef<'_, T>> {
        self.handles.log().value()
    }

    /// How many are subscribed.
    pub fn len(&self) -> usize {
        self.handles.log().log().len()
    }

    /// Whether nobody is subscribed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.handles.log().log().is_closed()
    }

    /// Unsubscribes everyone, for good; the value stays. See
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
