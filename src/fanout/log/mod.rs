//! The ordered log of subscribers, which publishers walk without a lock.
//!
//! The numbered invariants that `SAFETY` comments refer to are in `fanout/internals.md`, below.
#![doc = include_str!("../internals.md")]
#![allow(unsafe_code)]

mod chunk;
mod closure;
mod lock;
mod node;
pub(in crate::fanout) mod order;
mod prefetch;
mod reclaim;
mod value;
mod walk;
mod writer;

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
// Not modelled: set under the log's lock, or by the handle's only owner.
use std::sync::atomic::AtomicBool as Flag;

pub use closure::Closure;
pub use value::ValueRef;

use super::observer::Closed;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Arc, Mutex};
use chunk::Chunk;
use node::{GarbageHeader, NewNode, NodeHeader};
use reclaim::Readers;
pub(in crate::fanout) use value::Replaying;
use writer::{Writer, gather};

/// The subscribers of one subject. Only [`TypedLog`] knows the type of their observers.
pub(in crate::fanout) struct Log {
    head: AtomicPtr<Chunk>,
    /// The number of nodes that were ever appended: the sequence number of the next one.
    appended: AtomicU64,
    readers: Readers,
    closed: AtomicBool,
    len: AtomicUsize,
    /// The number of the subject's handles.
    pub(in crate::fanout) handles: AtomicUsize,
    /// The latest value of a behavior subject.
    current: AtomicPtr<GarbageHeader>,
    /// Items that publishers unlinked without the lock; the newest first.
    retired: AtomicPtr<GarbageHeader>,
    writer: Mutex<Writer>,
}

// SAFETY: nodes are made of observers that are `Send + Sync` (required by `append`), chunks of
// atomics and of cells that only the holder of the lock uses (invariant 4).
unsafe impl Send for Log {}
// SAFETY: as for `Send`.
unsafe impl Sync for Log {}

/// The outcome of linking a node.
enum Appended {
    New(NonNull<NodeHeader>),
    /// Another node is subscribed under its id.
    IdInUse,
}

impl Log {
    pub(in crate::fanout) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            appended: AtomicU64::new(0),
            readers: Readers::new(),
            closed: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            handles: AtomicUsize::new(1),
            current: AtomicPtr::new(ptr::null_mut()),
            retired: AtomicPtr::new(ptr::null_mut()),
            writer: Mutex::new(Writer::new()),
        }
    }

    pub(in crate::fanout) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline]
    pub(in crate::fanout) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Subscribes a node; under `id`, if that is given and not in use yet.
    fn append(&self, id: Option<u64>, node: NewNode) -> Result<Appended, Closed> {
        let mut node = Some(node);
        self.write(|locked| {
            let appended = locked.link(id, &mut node)?;
            if let Appended::New(new) = appended {
                // SAFETY: linked just now.
                unsafe { locked.count(new) };
            }
            Ok(appended)
        })
    }

    /// Hands over an item for the next holder of the lock to free: see `reclaim`.
    ///
    /// # Safety
    /// `item` is not freed, and is in no bag; the caller unlinked it without the lock and has
    /// entered the log, or owns all of it.
    unsafe fn retire(&self, item: NonNull<GarbageHeader>) {
        // SAFETY: the caller's promise.
        let header = unsafe { item.as_ref() };
        let mut next = self.retired.load(Ordering::Relaxed);
        loop {
            header.link.set(next);
            let push = self.retired.compare_exchange_weak(
                next,
                item.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match push {
                Ok(_) => return,
                Err(newer) => next = newer,
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The rest is dropped with the generations.
        if let Some(current) = NonNull::new(self.current.load(Ordering::Relaxed)) {
            // SAFETY: `&mut`: this is the owner of the value, which nothing else frees.
            unsafe { self.retire(current) };
            self.writer.lock().take_retired(&self.retired);
        }
        let chain = NonNull::new(self.head.load(Ordering::Relaxed));
        // SAFETY: the chain of a log that is dropped.
        drop(unsafe { gather(chain) });
    }
}

/// A shared log to which only observers of type `O` are appended: that makes reading its nodes
/// safe.
pub(in crate::fanout) struct TypedLog<O> {
    log: Arc<Log>,
    observers: PhantomData<fn(O)>,
}

impl<O: Send + Sync + 'static> TypedLog<O> {
    pub(in crate::fanout) fn new() -> Self {
        Self { log: Arc::new(Log::new()), observers: PhantomData }
    }

    /// Subscribes `observer`; under `id`, if that is given and not in use yet.
    pub(in crate::fanout) fn append(
        &self,
        id: Option<u64>,
        observer: O,
    ) -> Result<Registration, Closed> {
        let appended = self.log.append(id, NewNode::of(observer))?;
        // SAFETY: appended to this log just now, under this id.
        Ok(unsafe { Registration::new(&self.log, id, &appended) })
    }
}

impl<T: ?Sized + 'static> TypedLog<Closure<T>> {
    /// [`append`](Self::append) for a closure, which is stored in the node itself.
    pub(in crate::fanout) fn append_closure(
        &self,
        id: Option<u64>,
        closure: impl Fn(&T) + Send + Sync + 'static,
    ) -> Result<Registration, Closed> {
        let node = NewNode::of_closure::<T, Closure<T>, _>(closure);
        let appended = self.log.append(id, node)?;
        // SAFETY: appended to this log just now, under this id.
        Ok(unsafe { Registration::new(&self.log, id, &appended) })
    }
}

impl<O> TypedLog<O> {
    pub(in crate::fanout) fn log(&self) -> &Log {
        &self.log
    }

    /// Calls `visit` with every observer that was there when it began; see [`Log::for_each`].
    #[inline]
    pub(in crate::fanout) fn for_each(&self, visit: impl FnMut(&O)) {
        // SAFETY: nodes are appended by this type only, as `O` or (a closure) as a type that starts
        // like it.
        unsafe { self.log.for_each::<O>(visit) };
    }
}

impl<O> Clone for TypedLog<O> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), observers: PhantomData }
    }
}

/// The right to unsubscribe an observer that was appended.
pub(in crate::fanout) struct Registration {
    log: Arc<Log>,
    target: Target,
    /// Set under the log's lock by a removal: a thread that finds it set knows that it is done.
    used: Flag,
}

enum Target {
    /// A node without an id. Only its one registration removes it, unless the log closes.
    Node(NonNull<NodeHeader>),
    Id(u64),
}

// SAFETY: the node is an address that is followed under the log's lock only.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`.
unsafe impl Sync for Registration {}

impl Registration {
    /// The registration of an appended node, or of its id.
    ///
    /// # Safety
    /// `appended` is the result of appending to `log` under `id`, and has no other registration.
    unsafe fn new(log: &Arc<Log>, id: Option<u64>, appended: &Appended) -> Self {
        let target = match (id, appended) {
            (Some(id), _) => Target::Id(id),
            (None, Appended::New(node)) => Target::Node(*node),
            (None, Appended::IdInUse) => unreachable!("there is no id"),
        };
        Self { log: log.clone(), target, used: Flag::new(false) }
    }

    /// Unsubscribes: a node without an id once, an id each time.
    pub(in crate::fanout) fn remove(&self) {
        match self.target {
            Target::Node(node) => self.log.write(|locked| {
                if !self.used.swap(true, Ordering::Relaxed) && !locked.is_closed() {
                    // SAFETY: appended to this log, which is open; and the flag says that it was
                    // not removed before.
                    unsafe { locked.remove(node) };
                }
            }),
            Target::Id(id) => {
                self.used.store(true, Ordering::Relaxed);
                self.log.write(|locked| locked.remove_id(id));
            }
        }
    }

    /// Gives up the right of a node without an id, which then stays until the log closes.
    pub(in crate::fanout) fn give_up(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether it was removed or given up.
    pub(in crate::fanout) fn is_used(&mut self) -> bool {
        *self.used.get_mut()
    }

    /// Returns when every publisher that had entered the log before has left.
    pub(in crate::fanout) fn wait(&self) {
        self.log.wait();
    }
}
