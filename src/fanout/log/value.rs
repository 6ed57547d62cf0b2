//! The latest value beside a log: swapped in by publishers, read without a lock, freed like nodes.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use super::closure::Closure;
use super::item::Item;
use super::joining::Joining;
use super::node::{NewNode, Node};
use super::order::Site;
use super::reclaim::Entered;
use super::typed::TypedLog;
use super::{Appended, NodeRef};
use crate::fanout::error::Closed;
use crate::fanout::observer::Observer;
use crate::fanout::panics::FirstPanic;
use crate::sync::atomic::Ordering;

/// A publisher puts its value in place; readers take it.
const SWAP: Site = Site::new("swap", Ordering::AcqRel);
const READ: Site = Site::new("read", Ordering::Acquire);

/// A published value, as it lies behind `Log::current`.
#[repr(C)]
struct Value<T> {
    item: Item,
    /// One more than that of the value it replaced: 1 is the first.
    version: u64,
    value: T,
}

/// # Safety
/// `item` is the head of a `Value<T>` that nobody uses any more.
unsafe fn free<T>(item: NonNull<Item>) {
    let value = item.cast::<Value<T>>().as_ptr();
    #[cfg(pondwire_loom)]
    // SAFETY: the caller's promise; a model keeps the memory, as for nodes.
    unsafe {
        std::ptr::drop_in_place(&raw mut (*value).value);
    }
    #[cfg(not(pondwire_loom))]
    // SAFETY: allocated as this box, which starts with the item (`repr(C)`).
    drop(unsafe { Box::from_raw(value) });
}

/// A log whose subscribers are first told the latest value.
pub(in crate::fanout) type ValueLog<T, O> = TypedLog<Joining<T, O>>;

/// The latest value of a [`BehaviorSubject`](crate::fanout::BehaviorSubject), borrowed.
///
/// Take what is needed out of it and let it go: while it lives, neither what it borrows nor
/// anything else that the subject has let go of since is freed, and
/// [`unsubscribe_and_wait`](crate::fanout::Subscription::unsubscribe_and_wait) waits.
pub struct ValueRef<'a, T> {
    value: &'a Value<T>,
    _entered: Entered<'a>,
}

impl<T> Deref for ValueRef<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value.value
    }
}

impl<T: fmt::Debug> fmt::Debug for ValueRef<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Send + Sync + 'static, O: Observer<T> + 'static> ValueLog<T, O> {
    /// Replaces the value and tells everyone who is subscribed.
    pub(in crate::fanout) fn replace(&self, value: T) {
        let log = self.log();
        let entered = log.enter();
        let new = Box::new(Value { item: Item::new(free::<T>), version: 1, value });
        let new = NonNull::from(Box::leak(new));
        let mut old = log.current.load(READ.order());
        loop {
            let version = Self::at(old).map_or(1, |old| old.version + 1);
            // SAFETY: nobody else knows of it yet.
            unsafe { (*new.as_ptr()).version = version };
            let item = new.cast().as_ptr();
            match log.current.compare_exchange(old, item, SWAP.order(), READ.order()) {
                Ok(_) => break,
                Err(newer) => old = newer,
            }
        }
        if let Some(old) = NonNull::new(old) {
            log.retire(old);
        }
        // SAFETY: it is not freed before this publisher leaves, whoever replaces it.
        let value = unsafe { new.as_ref() };
        let limit = log.limit_now();
        let visit = |joining: &Joining<T, O>| {
            if joining.hears(value.version) {
                joining.observer.notify(&value.value);
            }
        };
        // SAFETY: the log is of this type of observer.
        unsafe { log.for_each_up_to::<Joining<T, O>>(entered, limit, visit) };
    }

    /// The value behind `Log::current`; the caller has entered.
    fn at<'a>(current: *mut Item) -> Option<&'a Value<T>> {
        // SAFETY: null, or a value that `publish` put there, of the one type of this log; not
        // freed, because the caller has entered.
        let value = unsafe { current.cast::<Value<T>>().as_ref() }?;
        value.item.canary.check();
        Some(value)
    }

    pub(in crate::fanout) fn value(&self) -> Option<ValueRef<'_, T>> {
        let log = self.log();
        let entered = log.enter();
        let value = Self::at(log.current.load(READ.order()))?;
        Some(ValueRef { value, _entered: entered })
    }

    /// Tells the latest value, then subscribes; see `joining` for what is published meanwhile.
    pub(in crate::fanout) fn join(&self, id: Option<u64>, observer: O) -> Result<NodeRef, Closed> {
        self.join_node(id, NewNode::of(Joining::<T, O>::new(observer)))
    }

    /// `node` is of a `Joining<T, O>`.
    fn join_node(&self, id: Option<u64>, node: NewNode) -> Result<NodeRef, Closed> {
        let log = self.log();
        // Until it is joined, the node is not freed, whoever unsubscribes it or closes the subject.
        let entered = log.enter();
        let head = node.head();
        // SAFETY: of this type, and freed after `entered` or `unused` goes.
        let joining = unsafe { Node::<Joining<T, O>>::observer(head) };
        let mut unused = Some(node);
        let appended = log.append_uncounted(id, &mut unused);
        let mut panics = FirstPanic::default();
        let mut replay = |version: u64| {
            if let Some(latest) = Self::at(log.current.load(READ.order()))
                && latest.version > version
            {
                joining.given(latest.version);
                panics.run(|| joining.observer.notify(&latest.value))
            } else {
                true
            }
        };
        let told = match &appended {
            Ok(Appended::New(_)) => joining.join(replay),
            Ok(Appended::There(_)) | Err(Closed) => replay(0),
        };
        let joined = match appended {
            Ok(Appended::New(node)) if told => log.count(node).map(|()| node),
            Ok(Appended::New(node)) => {
                log.give_up(node, id);
                Ok(node)
            }
            Ok(Appended::There(node)) => Ok(node),
            Err(Closed) => Err(Closed),
        };
        panics.run(|| drop(unused));
        panics.run(|| drop(entered));
        panics.resume();
        joined
    }
}

impl<T: Send + Sync + 'static> ValueLog<T, Closure<T>> {
    /// [`join`](Self::join) for a closure, which is stored in the node itself.
    pub(in crate::fanout) fn join_closure(
        &self,
        id: Option<u64>,
        closure: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<NodeRef, Closed> {
        self.join_node(id, NewNode::of_closure::<T, Joining<T, Closure<T>>, _>(closure))
    }
}
