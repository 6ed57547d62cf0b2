//! The walk of a publisher: without a lock, over the nodes that were there when they began.

use std::ptr::NonNull;

use super::Log;
use super::chunk::{Chunk, ChunkRef, Slot};
use super::lock::ReadGuard;
use super::node::Node;
use super::order::{APPEND, LIMIT};
use super::prefetch::prefetch;
use crate::fanout::observer::FirstPanic;
use crate::sync::atomic::Ordering;

/// The position of a walk.
struct Cursor<'g> {
    chunk: Option<ChunkRef<'g>>,
    index: usize,
}

/// The number of slots that the CPU is asked to fetch observers ahead: about as many calls as one
/// fetch from the third level of the cache takes. The CPU finds typed observers by itself, but not
/// those behind an indirect call.
const AHEAD: usize = 12;

impl Log {
    /// Calls `visit` with the observer of every node that was there when it began, in order; then
    /// resumes the first panic.
    ///
    /// # Safety
    /// Every node's observer is an `O`, or starts as one does.
    #[inline]
    pub(super) unsafe fn for_each<O>(&self, visit: impl FnMut(&O)) {
        let guard = self.enter();
        let limit = self.appended.load(LIMIT.order());
        // SAFETY: passed on.
        unsafe { self.for_each_up_to(guard, limit, visit) };
    }

    /// [`for_each`](Self::for_each) of the nodes before `limit`, which was read after entering.
    ///
    /// # Safety
    /// As for `for_each`; and `guard` is of this log.
    #[inline]
    pub(super) unsafe fn for_each_up_to<O>(
        &self,
        guard: ReadGuard<'_>,
        limit: u64,
        mut visit: impl FnMut(&O),
    ) {
        let mut panics = FirstPanic::default();
        let mut cursor = Cursor { chunk: guard.first_chunk(), index: 0 };
        // SAFETY: passed on.
        while !panics.run(|| unsafe { self.walk(limit, &mut cursor, &mut visit) }) {}
        panics.run(|| drop(guard));
        panics.resume();
    }

    /// The number of nodes that were appended up to now, in one order with all appends and other
    /// calls (a release sequence): an append after this call sees all that the caller did before
    /// it.
    pub(super) fn limit_now(&self) -> u64 {
        self.appended.fetch_add(0, APPEND.order())
    }

    /// Continues from `cursor`, which is past a node when that is visited: a panic skips no other
    /// observer.
    ///
    /// # Safety
    /// As for `for_each`; and the cursor is of this log.
    #[inline]
    unsafe fn walk<O>(&self, limit: u64, cursor: &mut Cursor<'_>, visit: &mut impl FnMut(&O)) {
        while let Some(at) = cursor.chunk {
            let (chunk, slots) = (at.get(), at.slots());
            let before_limit = limit.saturating_sub(chunk.first);
            let reach = if chunk.merged {
                reach_of_merged(at, limit)
            } else {
                slots.len().min(usize::try_from(before_limit).unwrap_or(usize::MAX))
            };
            let start = cursor.index;
            for (index, slot) in slots[..reach].iter().enumerate().skip(start) {
                // Relaxed: a reader of a slot has read the counter or the link that was stored
                // after it.
                let node = slot.load(Ordering::Relaxed);
                let Some(node) = NonNull::new(node) else { continue };
                if let Some(ahead) = slots.get(index + AHEAD) {
                    prefetch(Node::<O>::observer_address(ahead.load(Ordering::Relaxed)));
                }
                // SAFETY: invariant 3, the cursor's lifetime is within a guard's.
                let header = unsafe { node.as_ref() };
                header.garbage.canary.check();
                // In a linked chunk the slot alone decides. So the node's header is not read, which
                // may be in another cache line than the observer.
                if chunk.is_stale() {
                    if self.is_closed() {
                        // Skip the rest too: a later chunk may not be marked yet.
                        cursor.chunk = None;
                        return;
                    }
                    if !header.is_alive() {
                        continue;
                    }
                }
                // Only written here: reading it again would wait for the store, at each node.
                cursor.index = index + 1;
                // SAFETY: the type by this function's contract, the lifetime as above.
                let observer = unsafe { Node::<O>::observer(node) };
                visit(observer);
            }
            cursor.chunk = match before_limit {
                0 => None,
                _ => at.next(),
            };
            cursor.index = 0;
        }
    }
}

/// The number of slots of a merged chunk that are older than `limit`. Some may be newer, which only
/// the nodes show; they are in order.
fn reach_of_merged(at: ChunkRef<'_>, limit: u64) -> usize {
    let (chunk, slots): (&Chunk, &[Slot]) = (at.get(), at.slots());
    if chunk.end <= limit {
        return slots.len();
    }
    let before_limit = limit.saturating_sub(chunk.first);
    slots
        .iter()
        .position(|slot| {
            // SAFETY: null, or a node of a chunk that is not freed, which is not freed either
            // (invariant 3).
            let header = unsafe { slot.load(Ordering::Relaxed).as_ref() };
            header.is_some_and(|header| header.sequence_from(chunk.first) >= before_limit)
        })
        .unwrap_or(slots.len())
}
