//! The ordered log: who is subscribed, in which order, for publishers that take no lock.
#![allow(unsafe_code)]

mod canary;
mod chunk;
mod closure;
mod item;
mod node;
pub(in crate::fanout) mod order;
mod reclaim;
mod typed;
mod writer;

use std::ptr::{self, NonNull};

use chunk::{Chunk, ChunkPtr, follow};
pub use closure::Closure;
use item::Item;
use node::{Head, NewNode, Node};
use order::LIMIT;
use reclaim::Readers;
pub(in crate::fanout) use typed::TypedLog;
use writer::{Writer, gather};

use super::error::Closed;
use super::panics::FirstPanic;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The subscribers of one subject. What their observers are, only those who append and walk know.
pub(in crate::fanout) struct Log {
    head: AtomicPtr<Chunk>,
    /// How many nodes were ever appended: the sequence number of the next one.
    appended: AtomicU64,
    readers: Readers,
    closed: AtomicBool,
    len: AtomicUsize,
    /// How many handles of the subject there are.
    pub(in crate::fanout) handles: AtomicUsize,
    /// Unlinked by publishers without the lock; the newest first.
    retired: AtomicPtr<Item>,
    writer: Mutex<Writer>,
}

// SAFETY: nodes are made of observers that are `Send + Sync` (required by `append`), chunks of
// atomics and of cells that only the holder of the lock uses (invariant 4).
unsafe impl Send for Log {}
// SAFETY: as for `Send`.
unsafe impl Sync for Log {}

/// A node that was appended; valid until it is removed or the log closes.
#[derive(Clone, Copy)]
pub(in crate::fanout) struct NodeRef(NonNull<Head>);

// SAFETY: an address; the log decides under its lock whether it may be followed.
unsafe impl Send for NodeRef {}
// SAFETY: as for `Send`.
unsafe impl Sync for NodeRef {}

/// Where a walk has got to.
struct Cursor {
    chunk: Option<ChunkPtr>,
    index: usize,
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
            retired: AtomicPtr::new(ptr::null_mut()),
            writer: Mutex::new(Writer::new()),
        }
    }

    pub(in crate::fanout) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(in crate::fanout) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Subscribes a node, under `id` if there is one: then an entry of that id stays as it is, and
    /// there is no new one.
    fn append(&self, id: Option<u64>, node: NewNode) -> Result<NodeRef, Closed> {
        let mut node = Some(node);
        self.write(|writer| {
            if writer.closed {
                return Err(Closed);
            }
            if let Some(id) = id
                && let Some(there) = writer.ids.get(&id)
            {
                return Ok(NodeRef(*there));
            }
            let node = node.take().expect("taken once");
            let head = node.head();
            if let Some(id) = id {
                writer.ids.insert(id, head);
            }
            node.link();
            writer.append(self, head);
            writer.count(self, head);
            Ok(NodeRef(head))
        })
    }

    /// Unsubscribes a node if `claim`, called under the lock, says that it was not before.
    pub(in crate::fanout) fn remove(&self, node: NodeRef, claim: impl FnOnce() -> bool) {
        self.write(|writer| {
            if claim() && !writer.closed {
                writer.remove(self, node.0);
            }
        });
    }

    /// Unsubscribes the node of that id, if there is one.
    pub(in crate::fanout) fn remove_id(&self, id: u64) {
        self.write(|writer| {
            if let Some(node) = writer.ids.remove(&id) {
                writer.remove(self, node);
            }
        });
    }

    /// Calls `visit` with the observer of every node that was there when it began, in order; then
    /// goes on with the first panic.
    ///
    /// # Safety
    /// Every node's observer is an `O`, or starts as one does.
    #[inline]
    unsafe fn for_each<O>(&self, mut visit: impl FnMut(&O)) {
        let entered = self.enter();
        let mut panics = FirstPanic::default();
        let limit = self.appended.load(LIMIT.order());
        let mut cursor = Cursor { chunk: follow(&self.head), index: 0 };
        // SAFETY: passed on; entered above.
        while !panics.run(|| unsafe { self.walk(limit, &mut cursor, &mut visit) }) {}
        panics.run(|| drop(entered));
        panics.resume();
    }

    /// Goes on from `cursor`, which is past a node when that is visited: a panic skips nobody.
    ///
    /// # Safety
    /// As for `for_each`, and this thread has entered.
    #[inline]
    unsafe fn walk<O>(&self, limit: u64, cursor: &mut Cursor, visit: &mut impl FnMut(&O)) {
        while let Some(at) = cursor.chunk {
            let (chunk, slots) = (at.get(), at.slots());
            let before_limit = limit.saturating_sub(chunk.first);
            let reach = match chunk.merged {
                true => slots.len(),
                false => slots.len().min(usize::try_from(before_limit).unwrap_or(usize::MAX)),
            };
            // Some of a merged chunk may be newer than this walk; only its nodes tell.
            let all_older = !chunk.merged || chunk.end <= limit;
            while cursor.index < reach {
                // Relaxed: whoever reads a slot has read the counter or the link behind its store.
                let node = slots[cursor.index].load(Ordering::Relaxed);
                cursor.index += 1;
                let Some(node) = NonNull::new(node) else { continue };
                // SAFETY: invariant 3, this publisher has entered.
                let head = unsafe { node.as_ref() };
                head.item.canary.check();
                if !all_older && head.sequence.get() >= limit {
                    break;
                }
                if !head.is_alive() || self.is_closed() {
                    continue;
                }
                // SAFETY: the type by this function's contract, the life as above.
                let observer = unsafe { Node::<O>::observer(node) };
                visit(observer);
            }
            cursor.chunk = match before_limit {
                0 => None,
                _ => at.after(),
            };
            cursor.index = 0;
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // The rest goes with the generations.
        self.writer.lock().take_retired(self);
        drop(gather(follow(&self.head)));
    }
}
