//! The ordered log: who is subscribed, in which order, for publishers that take no lock.
//!
//! The numbered invariants that `SAFETY` comments refer to are in `fanout/internals.md`, below.
#![doc = include_str!("../internals.md")]
#![allow(unsafe_code)]

mod canary;
mod chunk;
mod closure;
mod item;
mod joining;
mod node;
pub(in crate::fanout) mod order;
mod prefetch;
mod reclaim;
mod typed;
mod value;
mod writer;

use std::ptr::{self, NonNull};

use chunk::{Chunk, ChunkPtr, Slot, follow};
pub use closure::Closure;
use item::Item;
pub(in crate::fanout) use joining::Joining;
use node::{Head, NewNode, Node};
use order::{APPEND, LIMIT};
use prefetch::prefetch;
use reclaim::{Entered, Readers};
pub(in crate::fanout) use typed::TypedLog;
pub use value::ValueRef;
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
    /// The latest value of a behavior subject.
    current: AtomicPtr<Item>,
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

/// What became of a node that was to be appended.
enum Appended {
    New(NodeRef),
    /// Something is subscribed under its id.
    There(NodeRef),
}

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

    /// Subscribes a node, under `id` if there is one: then an entry of that id stays as it is, and
    /// there is no new one.
    fn append(&self, id: Option<u64>, node: NewNode) -> Result<NodeRef, Closed> {
        let mut node = Some(node);
        self.write(|writer| match writer.link(self, id, &mut node)? {
            Appended::There(there) => Ok(there),
            Appended::New(new) => {
                writer.count(self, new.0);
                Ok(new)
            }
        })
    }

    /// [`append`](Self::append) that leaves `node` there if it is not used, and does not count it.
    fn append_uncounted(
        &self,
        id: Option<u64>,
        node: &mut Option<NewNode>,
    ) -> Result<Appended, Closed> {
        self.write(|writer| writer.link(self, id, node))
    }

    /// Unsubscribes a node if `claim`, called under the lock, says that it was not before.
    pub(in crate::fanout) fn remove(&self, node: NodeRef, claim: impl FnOnce() -> bool) {
        self.write(|writer| {
            if claim() && !writer.closed {
                writer.remove(self, node.0);
            }
        });
    }

    /// Counts a node that was appended uncounted; the caller has not left since.
    fn count(&self, node: NodeRef) -> Result<(), Closed> {
        self.write(|writer| {
            if writer.closed {
                return Err(Closed);
            }
            if writer::head(&node.0).is_alive() {
                writer.count(self, node.0);
            }
            Ok(())
        })
    }

    /// Unsubscribes a node that was not counted yet; the caller has not left since it appended it.
    fn give_up(&self, node: NodeRef, id: Option<u64>) {
        self.write(|writer| {
            if !writer.closed && writer::head(&node.0).is_alive() {
                if let Some(id) = id {
                    writer.ids.remove(&id);
                }
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
    unsafe fn for_each<O>(&self, visit: impl FnMut(&O)) {
        let entered = self.enter();
        let limit = self.appended.load(LIMIT.order());
        // SAFETY: passed on.
        unsafe { self.for_each_up_to(entered, limit, visit) };
    }

    /// [`for_each`](Self::for_each) of those before `limit`, which was read after entering.
    ///
    /// # Safety
    /// As for `for_each`.
    #[inline]
    unsafe fn for_each_up_to<O>(
        &self,
        entered: Entered<'_>,
        limit: u64,
        mut visit: impl FnMut(&O),
    ) {
        let mut panics = FirstPanic::default();
        let mut cursor = Cursor { chunk: follow(&self.head), index: 0 };
        // SAFETY: passed on; entered.
        while !panics.run(|| unsafe { self.walk(limit, &mut cursor, &mut visit) }) {}
        panics.run(|| drop(entered));
        panics.resume();
    }

    /// How many were appended up to now, in one order for all who append and ask (a release
    /// sequence): who appends after this sees what the asker did before.
    fn limit_now(&self) -> u64 {
        self.appended.fetch_add(0, APPEND.order())
    }

    /// Hands over what this thread has unlinked without the lock; it must have entered. Freed by
    /// the next one who holds the lock: see `reclaim`.
    fn retire(&self, item: NonNull<Item>) {
        // SAFETY: unlinked, but not freed: it is in no bag yet.
        let head = unsafe { item.as_ref() };
        let mut next = self.retired.load(Ordering::Relaxed);
        loop {
            head.link.set(next);
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

    /// Goes on from `cursor`, which is past a node when that is visited: a panic skips nobody.
    ///
    /// # Safety
    /// As for `for_each`, and this thread has entered.
    #[inline]
    unsafe fn walk<O>(&self, limit: u64, cursor: &mut Cursor, visit: &mut impl FnMut(&O)) {
        while let Some(at) = cursor.chunk {
            let (chunk, slots) = (at.get(), at.slots());
            let before_limit = limit.saturating_sub(chunk.first);
            let reach = if chunk.merged {
                reach_of_merged(slots, chunk, limit)
            } else {
                slots.len().min(usize::try_from(before_limit).unwrap_or(usize::MAX))
            };
            let start = cursor.index;
            for (index, slot) in slots[..reach].iter().enumerate().skip(start) {
                // Relaxed: whoever reads a slot has read the counter or the link behind its store.
                let node = slot.load(Ordering::Relaxed);
                let Some(node) = NonNull::new(node) else { continue };
                if let Some(ahead) = slots.get(index + AHEAD) {
                    prefetch(Node::<O>::place_of(ahead.load(Ordering::Relaxed)));
                }
                // SAFETY: invariant 3, this publisher has entered.
                let head = unsafe { node.as_ref() };
                head.item.canary.check();
                // The slot has told, but for a chunk that is no longer linked. So the head of the
                // node is not touched, which may be in another line of the cache than the observer.
                if chunk.is_stale() {
                    if self.is_closed() {
                        // Nobody further on either: a chunk may not be marked yet.
                        cursor.chunk = None;
                        return;
                    }
                    if !head.is_alive() {
                        continue;
                    }
                }
                // Only written here: to read it again would wait for the store, at each node.
                cursor.index = index + 1;
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

/// How many slots ahead the CPU is told of an observer: about as many as it takes to call while one
/// comes from the third level of the cache. It finds typed observers by itself, those behind an
/// indirect call it does not.
const AHEAD: usize = 12;

/// How many slots of a merged chunk are older than `limit`. Some may be newer, and only the nodes
/// tell; they are in order.
fn reach_of_merged(slots: &[Slot], chunk: &Chunk, limit: u64) -> usize {
    if chunk.end <= limit {
        return slots.len();
    }
    let before_limit = limit.saturating_sub(chunk.first);
    slots
        .iter()
        .position(|slot| {
            // SAFETY: null, or a node, by invariant 3: the publisher has entered.
            let head = unsafe { slot.load(Ordering::Relaxed).as_ref() };
            head.is_some_and(|head| head.sequence_from(chunk.first) >= before_limit)
        })
        .unwrap_or(slots.len())
}

impl Drop for Log {
    fn drop(&mut self) {
        // The rest goes with the generations.
        if let Some(current) = NonNull::new(self.current.load(Ordering::Relaxed)) {
            self.retire(current);
            self.writer.lock().take_retired(self);
        }
        drop(gather(follow(&self.head)));
    }
}
