//! A subscriber: a head that the log knows, and the observer behind it in the same allocation.

use std::cell::Cell;
use std::ptr::NonNull;

use super::item::{Bag, Item};
use super::order::{DEAD, KILL};
use crate::sync::atomic::AtomicBool;

/// What the log knows of a node.
#[repr(C)]
pub(in crate::fanout) struct Head {
    pub(super) item: Item,
    /// Its place in the order of subscription, cut to 32 bits: every byte of a node is read from
    /// memory when there are many. Set before the node is linked, then constant.
    sequence: Cell<u32>,
    /// Its slot in the chunk that `item.link` names. Like that, only used under the lock.
    pub(super) index: Cell<u16>,
    /// Whether it is part of `len`. Only used under the lock.
    pub(super) counted: Cell<bool>,
    /// Cleared when it is unsubscribed: a merge may have left its pointer in an unlinked chunk
    /// that a publisher is still walking.
    alive: AtomicBool,
}

impl Head {
    pub(super) fn set_sequence(&self, sequence: u64) {
        self.sequence.set(sequence as u32);
    }

    /// How many nodes were appended from `first`, which is of its chunk, to this one: less than
    /// [`MAX_SPAN`](super::chunk::MAX_SPAN).
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

/// A node and its observer. The log handles it as its `Head`.
#[repr(C)]
pub(super) struct Node<O> {
    head: Head,
    observer: O,
}

impl<O> Node<O> {
    /// Bytes from the head to the observer.
    pub(super) const OFFSET: usize = std::mem::offset_of!(Self, observer);

    /// Where the observer of a node is.
    pub(super) fn place(head: NonNull<Head>) -> NonNull<O> {
        // SAFETY: within the node's allocation.
        unsafe { head.byte_add(Self::OFFSET) }.cast()
    }

    /// Where the observer of a node would be; any address when there is none.
    #[inline]
    pub(super) fn place_of(head: *mut Head) -> *const O {
        head.wrapping_byte_add(Self::OFFSET).cast()
    }

    /// The observer of a node.
    ///
    /// # Safety
    /// `head` is of a node of this very type (or of one that starts like it), and the node is not
    /// freed while `'a` lasts.
    #[inline]
    pub(super) unsafe fn observer<'a>(head: NonNull<Head>) -> &'a O {
        // SAFETY: the caller promises both type and life.
        let node = unsafe { head.cast::<Self>().as_ref() };
        &node.observer
    }
}

/// A node that is not linked yet; dropping it drops the observer.
pub(super) struct NewNode(Bag);

impl NewNode {
    pub(super) fn of<O: Send + Sync + 'static>(observer: O) -> Self {
        let head = Head {
            item: Item::new(free::<O>),
            sequence: Cell::new(0),
            index: Cell::new(0),
            counted: Cell::new(false),
            alive: AtomicBool::new(true),
        };
        let mut bag = Bag::new();
        bag.push(NonNull::from(Box::leak(Box::new(Node { head, observer }))).cast());
        Self(bag)
    }

    pub(super) fn head(&self) -> NonNull<Head> {
        self.0.first().expect("holds its node until it is linked").cast()
    }

    /// Leaves the node to the log.
    pub(super) fn link(mut self) {
        self.0.forget();
    }
}

/// Drops the observer and gives the node's memory back.
///
/// # Safety
/// `item` is the head of a `Node<O>` that nobody uses any more.
unsafe fn free<O>(item: NonNull<Item>) {
    let node = item.cast::<Node<O>>().as_ptr();
    // A model keeps the memory: a use after free is to meet the canary, not the allocator.
    #[cfg(pondwire_loom)]
    // SAFETY: the caller's promise.
    unsafe {
        std::ptr::drop_in_place(&raw mut (*node).observer);
    }
    #[cfg(not(pondwire_loom))]
    // SAFETY: allocated as this box; both structs start with the item (`repr(C)`).
    drop(unsafe { Box::from_raw(node) });
}
