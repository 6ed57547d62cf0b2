//! One slot of the ring: an item, and the position that it belongs to.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicU32, Ordering};

/// The tag of an empty slot.
const FREE: u32 = 0;

/// The tag of a slot that holds the item of `position`, which has 30 bits; never [`FREE`].
#[inline]
const fn full(position: u32) -> u32 {
    position << 1 | 1
}

/// Sixteen bytes if the item is a frame: four slots fill a cache line.
pub(crate) struct Slot<T> {
    tag: AtomicU32,
    /// Valid while the tag is full; atomic because poppers read it before they own the item.
    len: AtomicU32,
    /// Initialised while the tag is full (invariant 4).
    item: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            tag: AtomicU32::new(FREE),
            len: AtomicU32::new(0),
            item: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Acquire: the thread that emptied it no longer uses the item.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        self.tag.load(Ordering::Acquire) == FREE
    }

    /// Acquire: the thread that filled it has finished writing the item.
    #[inline]
    pub(crate) fn holds(&self, position: u32) -> bool {
        self.tag.load(Ordering::Acquire) == full(position)
    }

    /// The length of the item, if the slot still holds the one that [`holds`](Self::holds) saw.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Puts an item in and publishes it to the poppers.
    ///
    /// # Safety
    /// The caller has claimed `position`, which belongs to this slot, and saw the slot free
    /// before (invariants 1 and 3).
    #[inline]
    pub(crate) unsafe fn fill(&self, position: u32, item: T, len: u32) {
        self.item.with_mut(|cell| {
            // SAFETY: the claim makes this the only access until the tag below is stored.
            unsafe { cell.write(MaybeUninit::new(item)) }
        });
        self.len.store(len, Ordering::Relaxed);
        // Release: a thread that reads this tag sees item and length.
        self.tag.store(full(position), Ordering::Release);
    }

    /// Calls `read` with the item.
    ///
    /// # Safety
    /// The slot was seen full, and nobody takes the item before this returns.
    #[inline]
    pub(crate) unsafe fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        self.item.with(|cell| {
            // SAFETY: valid and aligned; other threads only read it meanwhile, by the contract.
            let item = unsafe { &*cell };
            // SAFETY: initialised (invariant 4), and by the contract it stays so.
            read(unsafe { item.assume_init_ref() })
        })
    }

    /// Takes the item out and lets the slot be used again.
    ///
    /// # Safety
    /// The caller has claimed the position for which it saw the slot full (invariants 2 and 4).
    #[inline]
    pub(crate) unsafe fn take(&self) -> T {
        let item = self.item.with_mut(|cell| {
            // SAFETY: it is initialised (invariant 4), and the claim makes this the only access
            // until the tag below is stored.
            unsafe { cell.read() }
        });
        // Release: the item is out before another comes in.
        self.tag.store(FREE, Ordering::Release);
        // SAFETY: invariant 4; the tag that said so has been overwritten, so it is not read twice.
        unsafe { item.assume_init() }
    }

    /// Drops the item if there is one.
    pub(crate) fn clear(&mut self) {
        if self.tag.load(Ordering::Relaxed) != FREE {
            // SAFETY: full, so initialised (invariant 4), and `&mut` is the only access.
            drop(unsafe { self.take() });
        }
    }
}
