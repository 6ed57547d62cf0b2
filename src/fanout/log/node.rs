//! A subscriber's node, and the header that nodes, chunks and values share: the log unlinks them,
//! collects them in bags and frees them later.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::order::{DEAD, KILL};
use crate::fanout::observer::{FirstPanic, ObserverScope};
use crate::sync::atomic::AtomicBool;

/// Detects a use after free in the models; empty outside of them.
pub(super) struct Canary {
    /// loom fails a model in which the reads and the one write are not ordered; a read after the
    /// write fails the assertion.
    #[cfg(pondwire_loom)]
    freed: loom::cell::Cell<bool>,
}

impl Canary {
    /// Writes once: publishers must be ordered after the creation of its owner, too.
    pub(super) fn new() -> Self {
        #[cfg(pondwire_loom)]
        let freed = {
            let freed = loom::cell::Cell::new(false);
            freed.set(false);
            freed
        };
        Self {
            #[cfg(pondwire_loom)]
            freed,
        }
    }

    /// To be called before each use of its owner by a publisher.
    #[inline]
    pub(super) fn check(&self) {
        #[cfg(pondwire_loom)]
        assert!(!self.freed.get(), "used after it was freed");
    }

    /// To be called before its owner is freed.
    #[inline]
    pub(super) fn free(&self) {
        #[cfg(pondwire_loom)]
        {
            assert!(!self.freed.get(), "freed twice");
            self.freed.set(true);
        }
    }
}

/// The first field of everything that `reclaim` frees: nodes, chunks and values.
#[repr(C)]
pub(in crate::fanout) struct GarbageHeader {
    /// A node's chunk, or a chunk's predecessor; once it is garbage, the next item of its bag.
    /// Used only by the holder of the writers' lock or the owner of the bag (invariant 4).
    pub(super) link: Cell<*mut GarbageHeader>,
    free: unsafe fn(NonNull<GarbageHeader>),
    pub(super) canary: Canary,
}

impl GarbageHeader {
    /// # Safety
    /// `free`, called with the address of this header, must free the allocation that the header is
    /// the start of.
    pub(super) unsafe fn new(free: unsafe fn(NonNull<GarbageHeader>)) -> Self {
        Self { link: Cell::new(ptr::null_mut()), free, canary: Canary::new() }
    }
}

/// A list of unlinked items in the order in which they were unlinked; dropping it frees them.
///
/// Invariants: its items are valid and in no other bag (invariant 5); it is dropped only when no
/// thread can reach them any more (invariant 6).
pub(super) struct Bag {
    first: *mut GarbageHeader,
    last: *mut GarbageHeader,
}

impl Bag {
    pub(super) const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Takes ownership of `item`.
    ///
    /// # Safety
    /// `item` is not freed, is unlinked and in no other bag, and the caller holds the writers' lock
    /// or is the only owner of the item.
    pub(super) unsafe fn push(&mut self, item: NonNull<GarbageHeader>) {
        // SAFETY: the caller promises that it is not freed, and nothing frees it before it leaves
        // the bag.
        let header = unsafe { item.as_ref() };
        header.link.set(ptr::null_mut());
        self.append(&mut Self { first: item.as_ptr(), last: item.as_ptr() });
    }

    /// Moves all of `other` after its own.
    pub(super) fn append(&mut self, other: &mut Self) {
        let (first, last) = (other.first, other.last);
        (other.first, other.last) = (ptr::null_mut(), ptr::null_mut());
        if first.is_null() {
            return;
        }
        // SAFETY: null or an item of this bag, and those are not freed before they leave it.
        match unsafe { self.last.as_ref() } {
            Some(mine) => mine.link.set(first),
            None => self.first = first,
        }
        self.last = last;
    }

    pub(super) fn first(&self) -> Option<NonNull<GarbageHeader>> {
        NonNull::new(self.first)
    }

    /// Gives up its items without freeing them.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.take());
    }

    /// Moves all items out and leaves it empty.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }
}

/// Frees the items. That drops observers, which is user code: all are freed, then the first panic
/// resumes.
impl Drop for Bag {
    fn drop(&mut self) {
        if self.is_empty() {
            return;
        }
        let _scope = ObserverScope::enter();
        let mut panics = FirstPanic::default();
        let mut next = self.first;
        while let Some(item) = NonNull::new(next) {
            // SAFETY: an item of this bag is not freed yet.
            let header = unsafe { item.as_ref() };
            next = header.link.get();
            header.canary.free();
            let free = header.free;
            panics.run(|| {
                // SAFETY: `free` frees the item, by the contract of `GarbageHeader::new`. It is
                // called once, because an item is in one bag (invariant 5), and no thread can reach
                // the item any more, because bags are dropped only when `reclaim` hands them out
                // (invariant 6) or with the whole log.
                unsafe { free(item) };
            });
        }
        panics.resume();
    }
}

/// The part of a node that the log knows.
#[repr(C)]
pub(in crate::fanout) struct NodeHeader {
    pub(super) garbage: GarbageHeader,
    /// Its number in the order of subscription, cut to 32 bits: with many nodes, every byte of a
    /// node is read from memory. Set before the node is linked, then constant.
    sequence: Cell<u32>,
    /// Its slot in the chunk that `garbage.link` points to. Like the link, used only under the
    /// lock.
    pub(super) index: Cell<u16>,
    /// Whether `len` counts it. Used only under the lock.
    pub(super) counted: Cell<bool>,
    /// Cleared when it is unsubscribed: a merge may have left its pointer in an unlinked chunk
    /// that a publisher is still walking.
    alive: AtomicBool,
}

impl NodeHeader {
    pub(super) fn set_sequence(&self, sequence: u64) {
        self.sequence.set(sequence as u32);
    }

    /// The number of nodes that were appended from `first`, which is of the same chunk, to this
    /// one: less than [`MAX_SPAN`](super::chunk::MAX_SPAN).
    #[inline]
    pub(super) fn sequence_from(&self, first: u64) -> u64 {
        u64::from(self.sequence.get().wrapping_sub(first as u32))
    }

    #[inline]
    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(DEAD.order())
    }

    pub(super) fn kill(&self) {
        self.alive.store(false, KILL.order());
    }
}

/// A node with its observer. The log handles it by its header.
#[repr(C)]
pub(super) struct Node<O> {
    header: NodeHeader,
    observer: O,
}

impl<O> Node<O> {
    /// Bytes from the header to the observer.
    pub(super) const OFFSET: usize = std::mem::offset_of!(Self, observer);

    /// The address of a node's observer.
    ///
    /// # Safety
    /// `header` is of a node of this type (or of one that starts like it) that is not freed.
    pub(super) unsafe fn observer_ptr(header: NonNull<NodeHeader>) -> NonNull<O> {
        // SAFETY: within the node's allocation, by the caller's promise.
        unsafe { header.byte_add(Self::OFFSET) }.cast()
    }

    /// The address that a node's observer has; meaningless if `header` is of no node.
    #[inline]
    pub(super) fn observer_address(header: *mut NodeHeader) -> *const O {
        header.wrapping_byte_add(Self::OFFSET).cast()
    }

    /// The observer of a node.
    ///
    /// # Safety
    /// `header` is of a node of this type (or of one that starts like it), and the node is not
    /// freed while `'g` lasts.
    #[inline]
    pub(super) unsafe fn observer<'g>(header: NonNull<NodeHeader>) -> &'g O {
        // SAFETY: the caller promises both type and lifetime.
        let node = unsafe { header.cast::<Self>().as_ref() };
        &node.observer
    }
}

/// A node that is not linked yet; dropping it drops the observer.
pub(super) struct NewNode(Bag);

impl NewNode {
    pub(super) fn of<O: Send + Sync + 'static>(observer: O) -> Self {
        let header = NodeHeader {
            // SAFETY: the header is the start of a `Node<O>`, which `free::<O>` frees.
            garbage: unsafe { GarbageHeader::new(free::<O>) },
            sequence: Cell::new(0),
            index: Cell::new(0),
            counted: Cell::new(false),
            alive: AtomicBool::new(true),
        };
        let mut bag = Bag::new();
        let node = NonNull::from(Box::leak(Box::new(Node { header, observer })));
        // SAFETY: just made, so it is in no bag and no other thread can reach it.
        unsafe { bag.push(node.cast()) };
        Self(bag)
    }

    pub(super) fn header(&self) -> NonNull<NodeHeader> {
        self.0.first().expect("holds its node until it is linked").cast()
    }

    /// Hands the node to the log, which frees it from now on.
    pub(super) fn into_raw(mut self) -> NonNull<NodeHeader> {
        let header = self.header();
        self.0.forget();
        header
    }
}

/// Drops the observer and frees the node's memory.
///
/// # Safety
/// `item` is the header of a `Node<O>` that is no longer in use.
unsafe fn free<O>(item: NonNull<GarbageHeader>) {
    let node = item.cast::<Node<O>>().as_ptr();
    // A model keeps the memory: the canary, not the allocator, is to detect a use after free.
    #[cfg(pondwire_loom)]
    // SAFETY: the caller's promise.
    unsafe {
        ptr::drop_in_place(&raw mut (*node).observer);
    }
    #[cfg(not(pondwire_loom))]
    // SAFETY: allocated as this box; both structs start with the header (`repr(C)`).
    drop(unsafe { Box::from_raw(node) });
}
