//! The latest value beside a log, and subscribers that receive it before they join.
//!
//! The value is swapped in by publishers, read without a lock, and freed like nodes.
//!
//! A new subscriber is appended first, *replaying*: publishers that meet it do not call it, they
//! leave a mark. Its own thread delivers the latest value, and again while there is a mark; then it
//! has joined. So
//! - a value whose publisher did not see the node is read by its thread (both do an RMW on
//!   `Log::appended`: the publisher after putting the value in place, the writer before reading
//!   it);
//! - a value whose publisher saw it replaying is read by its thread, which finds the mark;
//! - a value whose publisher finds it joined was delivered by its thread before if its version is
//!   not above `delivered`: values have versions, in the order in which they were put in place.
//!
//! It does not receive the values that its own observer publishes during the replay, as in all
//! PondSocket packages.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use super::closure::{Closure, ClosureSlot};
use super::lock::ReadGuard;
use super::node::{GarbageHeader, NewNode, Node, NodeHeader};
use super::order::NamedOrdering;
use super::{Appended, Log, Registration, TypedLog};
use crate::fanout::observer::{Closed, FirstPanic, Observer, this_thread};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A publisher puts its value in place; readers take it.
const SWAP: NamedOrdering = NamedOrdering::new("swap", Ordering::AcqRel);
const READ: NamedOrdering = NamedOrdering::new("read", Ordering::Acquire);
/// A publisher leaves its mark: the thread that finds it must see its value.
const MARK: NamedOrdering = NamedOrdering::new("mark", Ordering::AcqRel);
/// The subscriber has joined: publishers must see which version was delivered to it.
const JOIN: NamedOrdering = NamedOrdering::new("join", Ordering::AcqRel);
/// A publisher checks whether the subscriber has joined.
const JOINED: NamedOrdering = NamedOrdering::new("joined", Ordering::Acquire);

/// A published value, as `Log::current` points to it.
#[repr(C)]
struct Value<T> {
    garbage: GarbageHeader,
    /// One more than that of the value it replaced; the first is 1.
    version: u64,
    value: T,
}

impl<T> Value<T> {
    fn new(value: T) -> Self {
        // SAFETY: the header is the start of a `Value<T>`, which `free::<T>` frees.
        let garbage = unsafe { GarbageHeader::new(free::<T>) };
        Self { garbage, version: 1, value }
    }
}

/// # Safety
/// `item` is the header of a `Value<T>` that is no longer in use.
unsafe fn free<T>(item: NonNull<GarbageHeader>) {
    let value = item.cast::<Value<T>>().as_ptr();
    #[cfg(pondwire_loom)]
    // SAFETY: the caller's promise; a model keeps the memory, as for nodes.
    unsafe {
        std::ptr::drop_in_place(&raw mut (*value).value);
    }
    #[cfg(not(pondwire_loom))]
    // SAFETY: allocated as this box, which starts with the header (`repr(C)`).
    drop(unsafe { Box::from_raw(value) });
}

/// A log whose subscribers first receive the latest value, which is always a `T`.
type ValueLog<T, O> = TypedLog<Replaying<T, O>>;

/// The latest value of a [`BehaviorSubject`](crate::fanout::BehaviorSubject), borrowed.
///
/// Use it briefly: while it lives, neither the value nor anything else that the subject has
/// unlinked since is freed, and
/// [`unsubscribe_and_wait`](crate::fanout::Subscription::unsubscribe_and_wait) waits.
pub struct ValueRef<'a, T> {
    /// Not freed while the guard lives.
    value: NonNull<Value<T>>,
    _guard: ReadGuard<'a>,
}

impl<T> Deref for ValueRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: invariant 3, read after the guard had entered.
        &unsafe { self.value.as_ref() }.value
    }
}

impl<T: fmt::Debug> fmt::Debug for ValueRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The value that `current` points to, if any.
///
/// # Safety
/// `current` was read from `Log::current` of a log of `T` values while `_guard`, which is of this
/// log, existed.
unsafe fn value_at<'g, T>(
    _guard: &'g ReadGuard<'_>,
    current: *mut GarbageHeader,
) -> Option<&'g Value<T>> {
    // SAFETY: null, or a value of this type (the caller's promise) that is not freed (invariant 3).
    let value = unsafe { current.cast::<Value<T>>().as_ref() }?;
    value.garbage.canary.check();
    Some(value)
}

impl<T: Send + Sync + 'static, O: Observer<T> + 'static> ValueLog<T, O> {
    /// Replaces the value and notifies all subscribers.
    pub(in crate::fanout) fn replace(&self, value: T) {
        let log = &*self.log;
        let guard = log.enter();
        let new = NonNull::from(Box::leak(Box::new(Value::new(value))));
        let mut old = log.current.load(READ.order());
        loop {
            // SAFETY: read from this log, by this guard.
            let replaced: Option<&Value<T>> = unsafe { value_at(&guard, old) };
            let version = replaced.map_or(1, |old| old.version + 1);
            // SAFETY: no other thread can reach it yet.
            unsafe { (*new.as_ptr()).version = version };
            let item = new.cast().as_ptr();
            match log.current.compare_exchange(old, item, SWAP.order(), READ.order()) {
                Ok(_) => break,
                Err(newer) => old = newer,
            }
        }
        if let Some(old) = NonNull::new(old) {
            // SAFETY: the exchange unlinked it, and this thread has entered.
            unsafe { log.retire(old) };
        }
        // SAFETY: even if it is replaced, it is not freed before this publisher leaves.
        let value = unsafe { new.as_ref() };
        let limit = log.limit_now();
        let visit = |subscriber: &Replaying<T, O>| {
            if subscriber.is_due(value.version) {
                subscriber.observer.notify(&value.value);
            }
        };
        // SAFETY: the log is of this type of observer, and so is the guard.
        unsafe { log.for_each_up_to::<Replaying<T, O>>(guard, limit, visit) };
    }

    pub(in crate::fanout) fn value(&self) -> Option<ValueRef<'_, T>> {
        let guard = self.log.enter();
        // SAFETY: read from this log, by this guard.
        let value = unsafe { value_at::<T>(&guard, self.log.current.load(READ.order())) }?;
        Some(ValueRef { value: NonNull::from(value), _guard: guard })
    }

    /// Delivers the latest value to `observer`, then subscribes it; see this module for the values
    /// that are published meanwhile.
    pub(in crate::fanout) fn join(
        &self,
        id: Option<u64>,
        observer: O,
    ) -> Result<Registration, Closed> {
        // SAFETY: a node of this type.
        unsafe { self.join_node(id, NewNode::of(Replaying::<T, O>::new(observer))) }
    }

    /// # Safety
    /// `node` is of a `Replaying<T, O>`, or of a type that starts like it.
    unsafe fn join_node(&self, id: Option<u64>, node: NewNode) -> Result<Registration, Closed> {
        let log = &*self.log;
        // The node is not freed before this thread leaves, even if it is unsubscribed or the
        // subject is closed meanwhile.
        let guard = log.enter();
        let header = node.header();
        // SAFETY: of this type, and freed after `guard` or `unused` is dropped.
        let subscriber = unsafe { Node::<Replaying<T, O>>::observer(header) };
        let mut unused = Some(node);
        let appended = log.write(|locked| locked.link(id, &mut unused));
        let mut panics = FirstPanic::default();
        let mut replay = |version: u64| {
            // SAFETY: read from this log, by this guard.
            let latest = unsafe { value_at::<T>(&guard, log.current.load(READ.order())) };
            if let Some(latest) = latest
                && latest.version > version
            {
                subscriber.set_delivered(latest.version);
                panics.run(|| subscriber.observer.notify(&latest.value))
            } else {
                true
            }
        };
        let returned = match &appended {
            Ok(Appended::New(_)) => subscriber.join(replay),
            Ok(Appended::IdInUse) | Err(Closed) => replay(0),
        };
        let joined = match appended {
            Ok(Appended::New(node)) if returned => {
                // SAFETY: appended after `guard` had entered.
                unsafe { log.count_joined(&guard, node) }.and(appended)
            }
            Ok(Appended::New(node)) => {
                // SAFETY: appended after `guard` had entered.
                unsafe { log.remove_unjoined(&guard, node, id) };
                appended
            }
            other => other,
        };
        panics.run(|| drop(unused));
        panics.run(|| drop(guard));
        panics.resume();
        let joined = joined?;
        // SAFETY: appended to this log just now, under this id.
        Ok(unsafe { Registration::new(&self.log, id, &joined) })
    }
}

impl Log {
    /// Counts a node that was linked but not counted.
    ///
    /// # Safety
    /// The node was appended to this log after `_guard`, which is of this log, had entered.
    unsafe fn count_joined(
        &self,
        _guard: &ReadGuard<'_>,
        node: NonNull<NodeHeader>,
    ) -> Result<(), Closed> {
        self.write(|locked| {
            if locked.is_closed() {
                return Err(Closed);
            }
            // SAFETY: not freed before the guard leaves.
            if unsafe { node.as_ref() }.is_alive() {
                // SAFETY: alive, and the log is open: linked.
                unsafe { locked.count(node) };
            }
            Ok(())
        })
    }

    /// Unlinks a node that was linked but not counted, and its id.
    ///
    /// # Safety
    /// As for [`count_joined`](Self::count_joined); `id` is the one that it was appended under.
    unsafe fn remove_unjoined(
        &self,
        _guard: &ReadGuard<'_>,
        node: NonNull<NodeHeader>,
        id: Option<u64>,
    ) {
        self.write(|locked| {
            // SAFETY: not freed before the guard leaves.
            if locked.is_closed() || !unsafe { node.as_ref() }.is_alive() {
                return;
            }
            match id {
                // The map's node is this one, since it is alive.
                Some(id) => locked.remove_id(id),
                // SAFETY: alive, and the log is open: linked.
                None => unsafe { locked.remove(node) },
            }
        });
    }
}

impl<T: Send + Sync + 'static> ValueLog<T, Closure<T>> {
    /// [`join`](Self::join) for a closure, which is stored in the node itself.
    pub(in crate::fanout) fn join_closure(
        &self,
        id: Option<u64>,
        closure: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Registration, Closed> {
        let node = NewNode::of_closure::<T, Replaying<T, Closure<T>>, _>(closure);
        // SAFETY: a node that starts like one of this type.
        unsafe { self.join_node(id, node) }
    }
}

const REPLAYING: u8 = 1;
const MARKED: u8 = 2;

/// An observer that receives the latest value before the values that are published. A log of these
/// has only values of type `T`.
pub(in crate::fanout) struct Replaying<T, O> {
    state: AtomicU8,
    /// The version of the last value that its own thread delivered to it.
    delivered: AtomicU64,
    thread: usize,
    observer: O,
    values: PhantomData<fn(T)>,
}

impl<T, O> Replaying<T, O> {
    fn new(observer: O) -> Self {
        Self {
            state: AtomicU8::new(REPLAYING),
            delivered: AtomicU64::new(0),
            thread: this_thread(),
            observer,
            values: PhantomData,
        }
    }

    /// Whether a publisher that meets it must call it with the value of this version.
    #[inline]
    fn is_due(&self, version: u64) -> bool {
        let joined = self.state.load(JOINED.order()) & REPLAYING == 0 || self.mark(version);
        joined && self.delivered.load(Ordering::Relaxed) < version
    }

    /// Leaves the publisher's mark; `true` if the subscriber has joined meanwhile.
    #[cold]
    fn mark(&self, version: u64) -> bool {
        if self.thread == this_thread() {
            self.set_delivered(version);
            return false;
        }
        self.state.fetch_or(MARKED, MARK.order()) & REPLAYING == 0
    }

    /// Notes, on its own thread, that it received the value of this version or must not receive it.
    fn set_delivered(&self, version: u64) {
        self.delivered.store(version, Ordering::Relaxed);
    }

    /// Joins: calls `replay`, which delivers the latest value if it is above a version, until no
    /// publisher has left a mark. Returns `false` as soon as `replay` does.
    fn join(&self, mut replay: impl FnMut(u64) -> bool) -> bool {
        loop {
            if !replay(self.delivered.load(Ordering::Relaxed)) {
                return false;
            }
            let join = self.state.compare_exchange(REPLAYING, 0, JOIN.order(), Ordering::Relaxed);
            if join.is_ok() {
                return true;
            }
            self.state.fetch_and(!MARKED, MARK.order());
        }
    }
}

impl<T: 'static> ClosureSlot<T> for Replaying<T, Closure<T>> {
    fn with_closure(closure: Closure<T>) -> Self {
        Self::new(closure)
    }

    fn closure_mut(&mut self) -> &mut Closure<T> {
        &mut self.observer
    }
}
