//! What nodes, chunks and values have in common: they become garbage and are freed later.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::canary::Canary;
use crate::fanout::inside::Inside;
use crate::fanout::panics::FirstPanic;

/// The head of everything that is freed by the scheme in `reclaim`.
#[repr(C)]
pub(in crate::fanout) struct Item {
    /// A node's chunk, a chunk's predecessor; the next one of its bag once it is garbage. Only
    /// touched by who holds the writers' lock, or owns the bag (invariant 4).
    pub(super) link: Cell<*mut Item>,
    free: unsafe fn(NonNull<Item>),
    pub(super) canary: Canary,
}

impl Item {
    /// `free` must free the allocation that this is the head of.
    pub(super) fn new(free: unsafe fn(NonNull<Item>)) -> Self {
        Self { link: Cell::new(ptr::null_mut()), free, canary: Canary::new() }
    }
}

/// A list of unlinked items, in the order they were unlinked; dropping it frees them.
pub(super) struct Bag {
    first: *mut Item,
    last: *mut Item,
}

impl Bag {
    pub(super) const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Takes over `item`, which must be unlinked and in no other bag (invariant 5).
    pub(super) fn push(&mut self, item: NonNull<Item>) {
        // SAFETY: invariant 3, it is not freed before it leaves a bag.
        let head = unsafe { item.as_ref() };
        head.link.set(ptr::null_mut());
        self.append(&mut Self { first: item.as_ptr(), last: item.as_ptr() });
    }

    /// Moves all of `other` behind its own.
    pub(super) fn append(&mut self, other: &mut Self) {
        let (first, last) = (other.first, other.last);
        (other.first, other.last) = (ptr::null_mut(), ptr::null_mut());
        if first.is_null() {
            return;
        }
        // SAFETY: null or an item of this bag, which are not freed before they leave it.
        match unsafe { self.last.as_ref() } {
            Some(mine) => mine.link.set(first),
            None => self.first = first,
        }
        self.last = last;
    }

    pub(super) fn first(&self) -> Option<NonNull<Item>> {
        NonNull::new(self.first)
    }

    /// Lets go of its items without freeing them.
    pub(super) fn forget(&mut self) {
        std::mem::forget(self.take());
    }

    /// All of it, leaving none.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }
}

/// Frees the items and with them drops observers, which is user code: every one is freed, then the
/// first panic goes on.
impl Drop for Bag {
    fn drop(&mut self) {
        if self.is_empty() {
            return;
        }
        let _inside = Inside::enter();
        let mut panics = FirstPanic::default();
        let mut next = self.first;
        while let Some(item) = NonNull::new(next) {
            // SAFETY: an item of this bag is not freed yet.
            let head = unsafe { item.as_ref() };
            next = head.link.get();
            head.canary.free();
            let free = head.free;
            panics.run(|| {
                // SAFETY: who made the item says that `free` frees it; this is done once, because
                // an item is in one bag (invariant 5), and nobody can reach it any more, because
                // bags are dropped only when `reclaim` hands them out (invariant 6) or the whole
                // log goes.
                unsafe { free(item) };
            });
        }
        panics.resume();
    }
}
