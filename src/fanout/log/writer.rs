//! What happens under the writers' lock: append, remove, merge, close. No user code.

use std::collections::HashMap;
use std::ptr::NonNull;

use super::chunk::{ChunkPtr, MAX_SPAN, SLOTS, follow, link};
use super::item::{Bag, Item};
use super::node::{Head, NewNode};
use super::order::APPEND;
use super::reclaim::Generations;
use super::{Appended, Log, NodeRef};
use crate::fanout::error::Closed;
use crate::fanout::panics::FirstPanic;
use crate::sync::atomic::Ordering;

/// What the lock protects.
pub(super) struct Writer {
    tail: Option<ChunkPtr>,
    /// How many nodes are linked, counted in `len` or not.
    nodes: usize,
    appended: u64,
    pub(super) closed: bool,
    /// Nodes that were subscribed under an id. Not allocated before the first one.
    pub(super) ids: HashMap<u64, NonNull<Head>>,
    pub(super) generations: Generations,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            tail: None,
            nodes: 0,
            appended: 0,
            closed: false,
            ids: HashMap::new(),
            generations: Generations::new(),
        }
    }

    /// Takes over what publishers retired without the lock.
    pub(super) fn take_retired(&mut self, log: &Log) {
        if log.retired.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut next = log.retired.swap(std::ptr::null_mut(), Ordering::Acquire);
        while let Some(item) = NonNull::new(next) {
            // SAFETY: retired items are not freed before they pass through a bag.
            next = unsafe { item.as_ref() }.link.get();
            self.generations.fresh.push(item);
        }
    }

    /// Appends the node, if it is not closed and there is no other of that id; counting is up to
    /// the caller.
    pub(super) fn link(
        &mut self,
        log: &Log,
        id: Option<u64>,
        node: &mut Option<NewNode>,
    ) -> Result<Appended, Closed> {
        if self.closed {
            return Err(Closed);
        }
        if let Some(id) = id
            && let Some(there) = self.ids.get(&id)
        {
            return Ok(Appended::There(NodeRef(*there)));
        }
        let node = node.take().expect("there is a node to append");
        let head = node.head();
        if let Some(id) = id {
            self.ids.insert(id, head);
        }
        node.link();
        self.append(log, head);
        Ok(Appended::New(NodeRef(head)))
    }

    /// Puts `node` behind all others.
    fn append(&mut self, log: &Log, node: NonNull<Head>) {
        let tail = match self.tail {
            Some(tail) if tail.get().used.get() < tail.slots().len() => tail,
            _ => self.grow(log),
        };
        let chunk = tail.get();
        let index = chunk.used.get();
        let head = head(&node);
        head.item.link.set(tail.item().as_ptr());
        head.index.set(index as u16);
        head.set_sequence(self.appended);
        // Relaxed: publishers read the slot only if they have read the counter below.
        tail.slots()[index].store(node.as_ptr(), Ordering::Relaxed);
        chunk.used.set(index + 1);
        chunk.live.set(chunk.live.get() + 1);
        self.nodes += 1;
        self.appended += 1;
        // An RMW for the behavior subject's sake, where publishers do one too (see `limit_now`).
        log.appended.fetch_add(1, APPEND.order());
    }

    /// A new last chunk. Its size follows the number of nodes, so that a small subject stays small
    /// however often its subscribers change.
    fn grow(&mut self, log: &Log) -> ChunkPtr {
        let slots = self.nodes.next_power_of_two().clamp(SLOTS.0, SLOTS.1);
        let first = self.appended;
        let new = ChunkPtr::allocate(first, first + slots as u64, slots, false);
        let old = self.tail.replace(new);
        new.set_before(old);
        self.link_behind(log, old, Some(new));
        if let Some(old) = old {
            // It could not be unlinked or merged while it was the last.
            self.tidy(log, old);
        }
        new
    }

    fn link_behind(&self, log: &Log, before: Option<ChunkPtr>, to: Option<ChunkPtr>) {
        match before {
            Some(before) => before.set_after(to),
            None => link(&log.head, to),
        }
    }

    /// Makes a node count in `len`.
    pub(super) fn count(&self, log: &Log, node: NonNull<Head>) {
        head(&node).counted.set(true);
        log.len.store(log.len.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Unlinks a linked node.
    pub(super) fn remove(&mut self, log: &Log, node: NonNull<Head>) {
        let head = head(&node);
        let chunk = ChunkPtr::from_link(&head.item).expect("a linked node has a chunk");
        chunk.slots()[usize::from(head.index.get())].store(std::ptr::null_mut(), Ordering::Relaxed);
        // After the slot: who skips the node in a chunk that is not linked any more finds it gone
        // from the one that is, and does not call it again in its next walk.
        head.kill();
        chunk.get().live.set(chunk.get().live.get() - 1);
        self.nodes -= 1;
        if head.counted.get() {
            log.len.store(log.len.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        self.generations.fresh.push(node.cast());
        if Some(chunk) != self.tail {
            self.tidy(log, chunk);
        } else if self.nodes == 0 && chunk.slots().len() > SLOTS.0 {
            // Nobody is left: a subject that was large once keeps nothing of it.
            self.unlink(log, chunk);
        }
    }

    /// Unlinks an empty chunk, or merges one with a neighbour when both are sparse. The last chunk
    /// is let be, nodes are still to come there.
    fn tidy(&mut self, log: &Log, chunk: ChunkPtr) {
        if chunk.get().live.get() == 0 {
            return self.unlink(log, chunk);
        }
        if let Some(after) = chunk.after()
            && Some(after) != self.tail
            && self.merge(log, chunk, after)
        {
            return;
        }
        if let Some(before) = chunk.before() {
            self.merge(log, before, chunk);
        }
    }

    fn unlink(&mut self, log: &Log, chunk: ChunkPtr) {
        let (before, after) = (chunk.before(), chunk.after());
        self.link_behind(log, before, after);
        match after {
            Some(after) => after.set_before(before),
            None => self.tail = before,
        }
        self.generations.fresh.push(chunk.item());
    }

    /// Replaces two neighbours by one chunk without gaps, if at least half of their slots are
    /// empty: each merge is paid for by as many removals as it copies pointers, of which there are
    /// no more than the largest chunk has.
    fn merge(&mut self, log: &Log, left: ChunkPtr, right: ChunkPtr) -> bool {
        let live = left.get().live.get() + right.get().live.get();
        let span = right.get().end - left.get().first;
        if 2 * live > left.slots().len() + right.slots().len() || span > MAX_SPAN {
            return false;
        }
        let new = ChunkPtr::allocate(left.get().first, right.get().end, live, true);
        let nodes = [left, right].into_iter().flat_map(ChunkPtr::slots);
        let nodes = nodes.filter_map(|slot| NonNull::new(slot.load(Ordering::Relaxed)));
        for (index, (node, slot)) in nodes.zip(new.slots()).enumerate() {
            slot.store(node.as_ptr(), Ordering::Relaxed);
            head(&node).item.link.set(new.item().as_ptr());
            head(&node).index.set(index as u16);
        }
        new.get().used.set(live);
        new.get().live.set(live);
        left.get().make_stale();
        right.get().make_stale();
        let (before, after) = (left.before(), right.after());
        new.set_before(before);
        new.set_after(after);
        after.expect("the last chunk is not merged").set_before(Some(new));
        self.link_behind(log, before, Some(new));
        self.generations.fresh.push(left.item());
        self.generations.fresh.push(right.item());
        true
    }
}

/// The head of a node that is linked, or that its creator still holds.
pub(super) fn head(node: &NonNull<Head>) -> &Head {
    // SAFETY: invariant 3.
    unsafe { node.as_ref() }
}

impl Log {
    /// Unlinks everything and lets nothing in again. Costs the lock twice: to mark each chunk, so
    /// that a walk sees the end whoever closed or unsubscribes meanwhile, and for a moment; what is
    /// proportional to the number of nodes is done outside of it.
    pub(in crate::fanout) fn close(&self) {
        let mut panics = FirstPanic::default();
        let mut chain = None;
        // Giving the lock back may drop observers, which may panic: the chain must not go with that.
        panics.run(|| {
            self.write(|writer| {
                if std::mem::replace(&mut writer.closed, true) {
                    return;
                }
                // Seen by who takes the lock after this, and by this thread.
                self.closed.store(true, Ordering::Relaxed);
                self.len.store(0, Ordering::Relaxed);
                writer.ids = HashMap::new();
                writer.nodes = 0;
                writer.tail = None;
                chain = follow(&self.head);
                link(&self.head, None);
                let mut next = chain;
                while let Some(chunk) = next {
                    chunk.get().make_stale();
                    next = chunk.after();
                }
            });
        });
        if chain.is_some() {
            // Writers do not touch it any more (they look at `closed`), so its links are ours.
            let mut garbage = gather(chain);
            panics.run(|| self.write(|writer| writer.generations.fresh.append(&mut garbage)));
        }
        panics.resume();
    }
}

/// The nodes of a chain of chunks in their order, and the chunks.
pub(super) fn gather(mut chain: Option<ChunkPtr>) -> Bag {
    let (mut nodes, mut chunks) = (Bag::new(), Bag::new());
    while let Some(chunk) = chain {
        for slot in chunk.slots() {
            if let Some(node) = NonNull::new(slot.load(Ordering::Relaxed)) {
                nodes.push(node.cast::<Item>());
            }
        }
        chain = chunk.after();
        chunks.push(chunk.item());
    }
    nodes.append(&mut chunks);
    nodes
}
