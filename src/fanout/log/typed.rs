//! A log whose observers all have one type: what makes reading its nodes safe.

use std::marker::PhantomData;

use super::closure::Closure;
use super::node::NewNode;
use super::{Log, NodeRef};
use crate::fanout::error::Closed;
use crate::sync::Arc;

/// A shared log to which only observers of type `O` are appended.
pub(in crate::fanout) struct TypedLog<O> {
    log: Arc<Log>,
    observers: PhantomData<fn(O)>,
}

impl<O: Send + Sync + 'static> TypedLog<O> {
    pub(in crate::fanout) fn new() -> Self {
        Self { log: Arc::new(Log::new()), observers: PhantomData }
    }

    /// Subscribes `observer`; see [`Log::append`].
    pub(in crate::fanout) fn append(
        &self,
        id: Option<u64>,
        observer: O,
    ) -> Result<NodeRef, Closed> {
        self.log.append(id, NewNode::of(observer))
    }
}

impl<T: ?Sized + 'static> TypedLog<Closure<T>> {
    /// Subscribes a closure, which is stored in the node itself; see [`Log::append`].
    pub(in crate::fanout) fn append_closure(
        &self,
        id: Option<u64>,
        closure: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<NodeRef, Closed> {
        self.log.append(id, NewNode::of_closure::<T, Closure<T>, _>(closure))
    }
}

impl<O> TypedLog<O> {
    pub(in crate::fanout) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Calls `visit` with every observer that was there when it began; see [`Log::for_each`].
    #[inline]
    pub(in crate::fanout) fn for_each(&self, visit: impl FnMut(&O)) {
        // SAFETY: nodes are appended by this type only, as `O` or (a closure) as what starts like it.
        unsafe { self.log.for_each::<O>(visit) };
    }
}

impl<O> Clone for TypedLog<O> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), observers: PhantomData }
    }
}
