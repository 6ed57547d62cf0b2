//! The changes that are made under the writers' lock: append, remove, merge, close. No user code
//! runs here.

use std::collections::HashMap;
use std::ptr::{self, NonNull};

use super::chunk::{self, Chunk, ChunkRef, MAX_SPAN, SLOTS, follow, link};
use super::node::{Bag, GarbageHeader, NewNode, NodeHeader};
use super::order::APPEND;
use super::reclaim::Generations;
use super::{Appended, Log};
use crate::fanout::observer::{Closed, FirstPanic};
use crate::sync::atomic::{AtomicPtr, Ordering};

/// The state that the lock protects.
pub(super) struct Writer {
    /// The last linked chunk.
    tail: Option<NonNull<Chunk>>,
    /// The number of nodes that are linked, whether or not `len` counts them.
    nodes: usize,
    appended: u64,
    closed: bool,
    /// The linked nodes that were subscribed under an id. Not allocated before the first one.
    ids: HashMap<u64, NonNull<NodeHeader>>,
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

    /// Takes over the items that publishers have put on the log's list `retired` without the lock.
    pub(super) fn take_retired(&mut self, retired: &AtomicPtr<GarbageHeader>) {
        if retired.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut next = retired.swap(ptr::null_mut(), Ordering::Acquire);
        while let Some(item) = NonNull::new(next) {
            // SAFETY: retired items are not freed before they pass through a bag.
            next = unsafe { item.as_ref() }.link.get();
            // SAFETY: as above; by the contract of `retire` it is unlinked and in no bag.
            unsafe { self.generations.fresh.push(item) };
        }
    }
}

/// The log while its lock is held. Nothing that can be reached is freed while `'g` lasts.
pub(super) struct Locked<'g> {
    log: &'g Log,
    writer: &'g mut Writer,
}

impl<'g> Locked<'g> {
    /// # Safety
    /// `writer` is the log's own, whose lock is held while `'g` lasts.
    pub(super) const unsafe fn new(log: &'g Log, writer: &'g mut Writer) -> Self {
        Self { log, writer }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.writer.closed
    }

    pub(super) const fn generations(&mut self) -> &mut Generations {
        &mut self.writer.generations
    }

    fn tail(&self) -> Option<ChunkRef<'g>> {
        // SAFETY: linked, and what is unlinked is not freed before the lock is released.
        self.writer.tail.map(|tail| unsafe { ChunkRef::from_raw(tail) })
    }

    /// A new chunk, which is linked before the lock is released.
    fn allocate(first: u64, end: u64, slots: usize, merged: bool) -> ChunkRef<'g> {
        let chunk = chunk::allocate(first, end, slots, merged);
        // SAFETY: as for `tail`.
        unsafe { ChunkRef::from_raw(chunk) }
    }

    /// Hands an unlinked item to the garbage.
    ///
    /// # Safety
    /// `item` was linked, and is no longer since this lock was taken.
    unsafe fn discard(&mut self, item: NonNull<GarbageHeader>) {
        // SAFETY: linked items are not freed and in no bag; this is the lock's holder.
        unsafe { self.writer.generations.fresh.push(item) };
    }

    /// Appends the node unless the log is closed or the id is in use, in which case it stays in
    /// `node`. Counting it is up to the caller.
    pub(super) fn link(
        &mut self,
        id: Option<u64>,
        node: &mut Option<NewNode>,
    ) -> Result<Appended, Closed> {
        if self.writer.closed {
            return Err(Closed);
        }
        if id.is_some_and(|id| self.writer.ids.contains_key(&id)) {
            return Ok(Appended::IdInUse);
        }
        let node = node.take().expect("there is a node to append");
        let header = self.append(node);
        if let Some(id) = id {
            self.writer.ids.insert(id, header);
        }
        Ok(Appended::New(header))
    }

    /// Puts `node` after all others.
    fn append(&mut self, node: NewNode) -> NonNull<NodeHeader> {
        let tail = match self.tail() {
            Some(tail) if tail.get().used.get() < tail.slots().len() => tail,
            _ => self.grow(),
        };
        let chunk = tail.get();
        let index = chunk.used.get();
        let node = node.into_raw();
        // SAFETY: not linked yet, so no other thread frees it.
        let header = unsafe { node.as_ref() };
        header.garbage.link.set(tail.garbage().as_ptr());
        header.index.set(index as u16);
        header.set_sequence(self.writer.appended);
        // Relaxed: publishers read the slot only if they have read the counter below.
        tail.slots()[index].store(node.as_ptr(), Ordering::Relaxed);
        chunk.used.set(index + 1);
        chunk.live.set(chunk.live.get() + 1);
        self.writer.nodes += 1;
        self.writer.appended += 1;
        // An RMW for the sake of the behavior subject, where publishers do one too (`limit_now`).
        self.log.appended.fetch_add(1, APPEND.order());
        node
    }

    /// Links a new last chunk. Its size follows the number of nodes, so that a small subject stays
    /// small however often its subscribers change.
    fn grow(&mut self) -> ChunkRef<'g> {
        let slots = self.writer.nodes.next_power_of_two().clamp(SLOTS.0, SLOTS.1);
        let first = self.writer.appended;
        let new = Self::allocate(first, first + slots as u64, slots, false);
        let old = self.tail();
        self.writer.tail = Some(new.as_raw());
        new.set_previous(old);
        self.link_behind(old, Some(new));
        if let Some(old) = old {
            // It could not be unlinked or merged while it was the last.
            self.tidy(old);
        }
        new
    }

    fn link_behind(&self, previous: Option<ChunkRef<'g>>, to: Option<ChunkRef<'g>>) {
        match previous {
            Some(previous) => previous.set_next(to),
            None => link(&self.log.head, to),
        }
    }

    /// Makes `len` count a node.
    ///
    /// # Safety
    /// `node` was appended to this log and is still linked.
    pub(super) unsafe fn count(&self, node: NonNull<NodeHeader>) {
        // SAFETY: linked nodes are not freed.
        unsafe { node.as_ref() }.counted.set(true);
        self.log.len.store(self.log.len.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Unlinks a node.
    ///
    /// # Safety
    /// `node` was appended to this log and is still linked.
    pub(super) unsafe fn remove(&mut self, node: NonNull<NodeHeader>) {
        // SAFETY: linked nodes are not freed, and this one is not before the lock is released.
        let header = unsafe { node.as_ref() };
        let chunk = NonNull::new(header.garbage.link.get()).expect("a linked node has a chunk");
        // SAFETY: the chunk of a linked node is linked; as for `tail`.
        let chunk: ChunkRef<'g> = unsafe { ChunkRef::from_raw(chunk.cast()) };
        chunk.slots()[usize::from(header.index.get())].store(ptr::null_mut(), Ordering::Relaxed);
        // After the slot: a publisher that skips the node in a chunk that is no longer linked finds
        // it gone from the one that is, and does not call it again in its next walk.
        header.kill();
        chunk.get().live.set(chunk.get().live.get() - 1);
        self.writer.nodes -= 1;
        if header.counted.get() {
            self.log.len.store(self.log.len.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        }
        // SAFETY: unlinked just now.
        unsafe { self.discard(node.cast()) };
        if Some(chunk) != self.tail() {
            self.tidy(chunk);
        } else if self.writer.nodes == 0 && chunk.slots().len() > SLOTS.0 {
            // No node is left: a subject that was large once keeps no large chunk.
            self.unlink(chunk);
        }
    }

    /// Unlinks the node of that id, if there is one.
    pub(super) fn remove_id(&mut self, id: u64) {
        if let Some(node) = self.writer.ids.remove(&id) {
            // SAFETY: the map holds linked nodes only.
            unsafe { self.remove(node) };
        }
    }

    /// Unlinks an empty chunk, or merges one with a neighbour when both are sparse. Not for the
    /// last chunk, to which nodes are still appended.
    fn tidy(&mut self, chunk: ChunkRef<'g>) {
        if chunk.get().live.get() == 0 {
            return self.unlink(chunk);
        }
        if let Some(next) = chunk.next()
            && Some(next) != self.tail()
            && self.merge(chunk, next)
        {
            return;
        }
        if let Some(previous) = chunk.previous() {
            self.merge(previous, chunk);
        }
    }

    fn unlink(&mut self, chunk: ChunkRef<'g>) {
        let (previous, next) = (chunk.previous(), chunk.next());
        self.link_behind(previous, next);
        match next {
            Some(next) => next.set_previous(previous),
            None => self.writer.tail = previous.map(ChunkRef::as_raw),
        }
        // SAFETY: unlinked just now.
        unsafe { self.discard(chunk.garbage()) };
    }

    /// Replaces two neighbours by one chunk without gaps, if at least half of their slots are
    /// empty: as many removals pay for a merge as it copies pointers, which are no more than the
    /// largest chunk has.
    fn merge(&mut self, left: ChunkRef<'g>, right: ChunkRef<'g>) -> bool {
        let live = left.get().live.get() + right.get().live.get();
        let span = right.get().end - left.get().first;
        if 2 * live > left.slots().len() + right.slots().len() || span > MAX_SPAN {
            return false;
        }
        let new = Self::allocate(left.get().first, right.get().end, live, true);
        let nodes = [left, right].into_iter().flat_map(ChunkRef::slots);
        let nodes = nodes.filter_map(|slot| NonNull::new(slot.load(Ordering::Relaxed)));
        for (index, (node, slot)) in nodes.zip(new.slots()).enumerate() {
            slot.store(node.as_ptr(), Ordering::Relaxed);
            // SAFETY: linked nodes are not freed.
            let header = unsafe { node.as_ref() };
            header.garbage.link.set(new.garbage().as_ptr());
            header.index.set(index as u16);
        }
        new.get().used.set(live);
        new.get().live.set(live);
        left.get().make_stale();
        right.get().make_stale();
        let (previous, next) = (left.previous(), right.next());
        new.set_previous(previous);
        new.set_next(next);
        next.expect("the last chunk is not merged").set_previous(Some(new));
        self.link_behind(previous, Some(new));
        for old in [left, right] {
            // SAFETY: unlinked just now.
            unsafe { self.discard(old.garbage()) };
        }
        true
    }

    /// Closes the log and takes the chain of its chunks out; `None` if it was closed before.
    fn close(&mut self) -> Option<NonNull<Chunk>> {
        if std::mem::replace(&mut self.writer.closed, true) {
            return None;
        }
        // Seen by every later holder of the lock, and by this thread.
        self.log.closed.store(true, Ordering::Relaxed);
        self.log.len.store(0, Ordering::Relaxed);
        self.writer.ids = HashMap::new();
        self.writer.nodes = 0;
        self.writer.tail = None;
        // SAFETY: as for `tail`.
        let first: Option<ChunkRef<'g>> = unsafe { follow(&self.log.head) };
        link(&self.log.head, None);
        let mut next = first;
        while let Some(chunk) = next {
            chunk.get().make_stale();
            next = chunk.next();
        }
        first.map(ChunkRef::as_raw)
    }
}

impl Log {
    /// Unlinks everything, for good. Takes the lock twice: to mark each chunk, so that a walk sees
    /// the end whatever other threads close or unsubscribe meanwhile, and for a moment; the work
    /// that is proportional to the number of nodes is done outside of it.
    pub(in crate::fanout) fn close(&self) {
        let mut panics = FirstPanic::default();
        let mut chain = None;
        // Releasing the lock may drop observers, which may panic: that must not lose the chain.
        panics.run(|| self.write(|locked| chain = locked.close()));
        if chain.is_some() {
            // SAFETY: taken out of the log, whose writers look at `closed` and so leave the links
            // to this thread.
            let mut garbage = unsafe { gather(chain) };
            panics.run(|| self.write(|locked| locked.generations().fresh.append(&mut garbage)));
        }
        panics.resume();
    }
}

/// The nodes of a chain of chunks in their order, then the chunks.
///
/// # Safety
/// `chain` is null or the first chunk of a chain that was taken out of its log or belongs to one
/// that is dropped, and is the caller's alone but for publishers that still walk it.
pub(super) unsafe fn gather(chain: Option<NonNull<Chunk>>) -> Bag {
    let (mut nodes, mut chunks) = (Bag::new(), Bag::new());
    // SAFETY: nothing of it is freed before it leaves the bags.
    let mut chain = chain.map(|chunk| unsafe { ChunkRef::from_raw(chunk) });
    while let Some(chunk) = chain {
        for slot in chunk.slots() {
            if let Some(node) = NonNull::new(slot.load(Ordering::Relaxed)) {
                // SAFETY: it was linked in this chain, and is in no bag.
                unsafe { nodes.push(node.cast::<GarbageHeader>()) };
            }
        }
        chain = chunk.next();
        // SAFETY: as for the nodes.
        unsafe { chunks.push(chunk.garbage()) };
    }
    nodes.append(&mut chunks);
    nodes
}
