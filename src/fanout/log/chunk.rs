//! A run of slots, allocated together with its head.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::item::Item;
use super::node::Head;
use super::order::{FOLLOW, LINK};
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

pub(super) type Slot = AtomicPtr<Head>;

/// How many slots the first chunk has, and how many the largest: small enough for a subject with
/// one subscriber, large enough that the walk from chunk to chunk costs nothing.
#[cfg(not(pondwire_loom))]
pub(super) const SLOTS: (usize, usize) = (4, 512);
#[cfg(pondwire_loom)]
pub(super) const SLOTS: (usize, usize) = (2, 4);

/// The longest run of sequence numbers in a chunk, so that 32 bits tell them apart.
pub(super) const MAX_SPAN: u64 = 1 << 32;

/// The head of a chunk; its slots follow it in memory.
#[repr(C)]
pub(super) struct Chunk {
    /// Its `link` is the chunk before it.
    item: Item,
    next: AtomicPtr<Chunk>,
    /// It is not linked any more, because a merge has taken its nodes over or the log was closed:
    /// who is still walking it finds nodes there that were unsubscribed since.
    stale: AtomicBool,
    /// The sequence number of slot 0, or of what was in it.
    pub(super) first: u64,
    /// Behind the sequence number of the last slot.
    pub(super) end: u64,
    slots: usize,
    /// Whether slots were left out between, so that a slot's number does not tell the sequence.
    pub(super) merged: bool,
    /// How many slots are taken. Only used under the lock, like `live`.
    pub(super) used: Cell<usize>,
    /// How many slots hold a node.
    pub(super) live: Cell<usize>,
}

impl Chunk {
    /// Relaxed, like the store: who removes a node and knows of a walk, is on the walk's thread.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    pub(super) fn make_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }
}

/// A pointer to a chunk that is not freed (invariant 3): everyone who has one is either entered or
/// holds the lock.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct ChunkPtr(NonNull<Chunk>);

fn layout(slots: usize) -> Layout {
    let (layout, at) = Layout::new::<Chunk>()
        .extend(Layout::array::<Slot>(slots).expect("few slots"))
        .expect("few slots");
    debug_assert_eq!(at, size_of::<Chunk>());
    layout
}

impl ChunkPtr {
    /// An empty chunk that nobody knows of. A merged one has room for what it takes over.
    pub(super) fn allocate(first: u64, end: u64, slots: usize, merged: bool) -> Self {
        // SAFETY: the layout's size is not zero, the head alone has some.
        let memory = unsafe { alloc(layout(slots)) };
        let Some(memory) = NonNull::new(memory.cast::<Chunk>()) else {
            handle_alloc_error(layout(slots))
        };
        let head = Chunk {
            item: Item::new(free),
            next: AtomicPtr::new(ptr::null_mut()),
            stale: AtomicBool::new(false),
            first,
            end,
            slots,
            merged,
            used: Cell::new(0),
            live: Cell::new(0),
        };
        // SAFETY: valid for writes and aligned, by the layout.
        unsafe { memory.write(head) };
        let chunk = Self(memory);
        for index in 0..slots {
            // SAFETY: within the allocation.
            let slot = unsafe { chunk.slots_start().add(index) };
            // SAFETY: valid for writes and aligned, by the layout.
            unsafe { slot.write(Slot::new(ptr::null_mut())) };
        }
        chunk
    }

    fn slots_start(self) -> NonNull<Slot> {
        // SAFETY: the slots start behind the head, in the same allocation.
        unsafe { self.0.add(1) }.cast()
    }

    #[inline]
    pub(super) fn get<'a>(self) -> &'a Chunk {
        // SAFETY: invariant 3; who asks keeps it alive for as long as it uses the answer.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn slots<'a>(self) -> &'a [Slot] {
        let chunk = self.get();
        chunk.item.canary.check();
        // SAFETY: so many were written behind the head, and as in `get`.
        unsafe { std::slice::from_raw_parts(self.slots_start().as_ptr(), chunk.slots) }
    }

    pub(super) fn as_ptr(self) -> *mut Chunk {
        self.0.as_ptr()
    }

    pub(super) fn item(self) -> NonNull<Item> {
        self.0.cast()
    }

    /// The chunk that a node or a chunk names by its link.
    pub(super) fn from_link(item: &Item) -> Option<Self> {
        NonNull::new(item.link.get().cast::<Chunk>()).map(Self)
    }

    pub(super) fn before(self) -> Option<Self> {
        Self::from_link(&self.get().item)
    }

    pub(super) fn set_before(self, before: Option<Self>) {
        let before = before.map_or(ptr::null_mut(), |before| before.item().as_ptr());
        self.get().item.link.set(before);
    }

    /// The chunk after this one, for publishers and writers alike.
    #[inline]
    pub(super) fn after(self) -> Option<Self> {
        follow(&self.get().next)
    }

    pub(super) fn set_after(self, after: Option<Self>) {
        link(&self.get().next, after);
    }
}

#[inline]
pub(super) fn follow(link: &AtomicPtr<Chunk>) -> Option<ChunkPtr> {
    NonNull::new(link.load(FOLLOW.order())).map(ChunkPtr)
}

pub(super) fn link(link: &AtomicPtr<Chunk>, to: Option<ChunkPtr>) {
    link.store(to.map_or(ptr::null_mut(), ChunkPtr::as_ptr), LINK.order());
}

/// Gives a chunk's memory back; not its nodes.
///
/// # Safety
/// `item` is the head of a chunk that nobody uses any more.
unsafe fn free(item: NonNull<Item>) {
    let chunk = item.cast::<Chunk>();
    // SAFETY: the caller's promise.
    let slots = unsafe { chunk.as_ref() }.slots;
    // A model keeps the memory: a use after free is to meet the canary, not the allocator.
    if cfg!(not(pondwire_loom)) {
        // SAFETY: allocated with this very layout; neither head nor slots need to be dropped.
        unsafe { dealloc(chunk.as_ptr().cast(), layout(slots)) };
    }
}
