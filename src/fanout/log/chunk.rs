//! A run of slots, allocated together with its header.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::node::{GarbageHeader, NodeHeader};
use super::order::{FOLLOW, LINK};
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

pub(super) type Slot = AtomicPtr<NodeHeader>;

/// The slots of the first chunk and of the largest: few enough for a subject with one subscriber,
/// many enough that the step from chunk to chunk costs nothing.
#[cfg(not(pondwire_loom))]
pub(super) const SLOTS: (usize, usize) = (4, 512);
#[cfg(pondwire_loom)]
pub(super) const SLOTS: (usize, usize) = (2, 4);

/// The longest run of sequence numbers in a chunk, so that 32 bits distinguish them.
pub(super) const MAX_SPAN: u64 = 1 << 32;

/// The header of a chunk; its slots follow it in memory.
#[repr(C)]
pub(super) struct Chunk {
    /// Its `link` is the chunk before it.
    garbage: GarbageHeader,
    next: AtomicPtr<Chunk>,
    /// The chunk is no longer linked, because a merge has taken its nodes over or the log was
    /// closed: a publisher that still walks it finds nodes that were unsubscribed since.
    stale: AtomicBool,
    /// The sequence number of slot 0, or of the node that was in it.
    pub(super) first: u64,
    /// One past the sequence number of the last slot.
    pub(super) end: u64,
    slots: usize,
    /// Whether a merge left out slots, so that a slot's index does not give its sequence number.
    pub(super) merged: bool,
    /// The number of slots that were taken so far. Used only under the lock, like `live`.
    pub(super) used: Cell<usize>,
    /// The number of slots that hold a node.
    pub(super) live: Cell<usize>,
}

impl Chunk {
    /// Relaxed, like the store: only the walking thread itself can rely on seeing its own removal.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    pub(super) fn make_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }
}

fn layout(slots: usize) -> Layout {
    let (layout, at) = Layout::new::<Chunk>()
        .extend(Layout::array::<Slot>(slots).expect("few slots"))
        .expect("few slots");
    debug_assert_eq!(at, size_of::<Chunk>());
    layout
}

/// An empty chunk that no other thread can reach. A merged one has one slot for each node that it
/// takes over.
pub(super) fn allocate(first: u64, end: u64, slots: usize, merged: bool) -> NonNull<Chunk> {
    // SAFETY: the layout's size is not zero, because the header's is not.
    let memory = unsafe { alloc(layout(slots)) };
    let Some(chunk) = NonNull::new(memory.cast::<Chunk>()) else {
        handle_alloc_error(layout(slots))
    };
    let header = Chunk {
        // SAFETY: the header is the start of a chunk, which `free` frees.
        garbage: unsafe { GarbageHeader::new(free) },
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
    unsafe { chunk.write(header) };
    // SAFETY: just made, of this layout.
    let start = unsafe { slots_start(chunk) };
    for index in 0..slots {
        // SAFETY: within the allocation.
        let slot = unsafe { start.add(index) };
        // SAFETY: valid for writes and aligned, by the layout.
        unsafe { slot.write(Slot::new(ptr::null_mut())) };
    }
    chunk
}

/// # Safety
/// `chunk` was made by [`allocate`] and is not freed.
unsafe fn slots_start(chunk: NonNull<Chunk>) -> NonNull<Slot> {
    // SAFETY: the slots start after the header, in the same allocation.
    unsafe { chunk.add(1) }.cast()
}

/// A chunk that is not freed while `'g` lasts: `'g` is within the lifetime of a `ReadGuard`, of a
/// `Locked`, or of the one owner of an unlinked chain (invariant 3). So are the chunks that are
/// reached from it.
///
/// Not a reference, because a reference to the header may not be used to reach the slots after it.
#[derive(Clone, Copy)]
pub(super) struct ChunkRef<'g> {
    chunk: NonNull<Chunk>,
    lifetime: PhantomData<&'g Chunk>,
}

impl PartialEq for ChunkRef<'_> {
    /// Whether both are the same chunk.
    fn eq(&self, other: &Self) -> bool {
        self.chunk == other.chunk
    }
}

impl<'g> ChunkRef<'g> {
    /// # Safety
    /// `chunk` was made by [`allocate`], and neither it nor what is reached from it is freed while
    /// `'g` lasts.
    #[inline]
    pub(super) unsafe fn from_raw(chunk: NonNull<Chunk>) -> Self {
        Self { chunk, lifetime: PhantomData }
    }

    #[inline]
    pub(super) fn as_raw(self) -> NonNull<Chunk> {
        self.chunk
    }

    #[inline]
    pub(super) fn get(self) -> &'g Chunk {
        // SAFETY: not freed while `'g` lasts, by this type's invariant.
        unsafe { self.chunk.as_ref() }
    }

    #[inline]
    pub(super) fn slots(self) -> &'g [Slot] {
        let chunk = self.get();
        chunk.garbage.canary.check();
        // SAFETY: made by `allocate` and not freed, by this type's invariant.
        let start = unsafe { slots_start(self.chunk) };
        // SAFETY: `allocate` wrote so many slots there, and they live as long as the header.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), chunk.slots) }
    }

    pub(super) fn garbage(self) -> NonNull<GarbageHeader> {
        self.chunk.cast()
    }

    /// The chunk before this one; used only under the lock (invariant 4).
    pub(super) fn previous(self) -> Option<Self> {
        let previous = NonNull::new(self.get().garbage.link.get().cast::<Chunk>())?;
        // SAFETY: reached from a chunk of the same lifetime.
        Some(unsafe { Self::from_raw(previous) })
    }

    pub(super) fn set_previous(self, previous: Option<Self>) {
        let previous = previous.map_or(ptr::null_mut(), |previous| previous.garbage().as_ptr());
        self.get().garbage.link.set(previous);
    }

    /// The chunk after this one, for publishers and writers alike.
    #[inline]
    pub(super) fn next(self) -> Option<Self> {
        // SAFETY: reached from a chunk of the same lifetime.
        unsafe { follow(&self.get().next) }
    }

    pub(super) fn set_next(self, next: Option<Self>) {
        link(&self.get().next, next);
    }
}

/// The chunk that `link` points to.
///
/// # Safety
/// As for [`ChunkRef::from_raw`] with that chunk.
#[inline]
pub(super) unsafe fn follow<'g>(link: &AtomicPtr<Chunk>) -> Option<ChunkRef<'g>> {
    let chunk = NonNull::new(link.load(FOLLOW.order()))?;
    // SAFETY: the caller's promise.
    Some(unsafe { ChunkRef::from_raw(chunk) })
}

pub(super) fn link(link: &AtomicPtr<Chunk>, to: Option<ChunkRef<'_>>) {
    link.store(to.map_or(ptr::null_mut(), |to| to.as_raw().as_ptr()), LINK.order());
}

/// Frees a chunk's memory, but not its nodes.
///
/// # Safety
/// `item` is the header of a chunk that is no longer in use.
unsafe fn free(item: NonNull<GarbageHeader>) {
    let chunk = item.cast::<Chunk>();
    // SAFETY: the caller's promise.
    let slots = unsafe { chunk.as_ref() }.slots;
    // A model keeps the memory: the canary, not the allocator, is to detect a use after free.
    if cfg!(not(pondwire_loom)) {
        // SAFETY: allocated with this very layout; neither header nor slots need to be dropped.
        unsafe { dealloc(chunk.as_ptr().cast(), layout(slots)) };
    }
}
