//! The counters of an outbox.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The counters of an outbox, read without a lock.
///
/// Each is exact by itself; while other threads push they may not add up. When none does, the
/// number of frames that were offered to an open outbox is
/// `queued_frames + delivered + dropped_oldest + dropped_newest + conflated + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Frames that wait now, except in the control queue.
    pub queued_frames: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Frames that went into a batch, except those of the control queue.
    pub delivered: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Frames of the control queue that went into a batch.
    pub control_delivered: u64,
    /// Frames dropped for newer ones.
    pub dropped_oldest: u64,
    /// New frames dropped because they did not fit. This also happens with `DropOldest`, if a frame
    /// is larger than the bound, or another thread is in the middle of a push or pop.
    pub dropped_newest: u64,
    /// Frames replaced by one with the same key.
    pub conflated: u64,
    /// Frames dropped because the outbox ended before they were delivered.
    pub discarded: u64,
}

impl OutboxStats {
    /// Frames that the connection will never receive, except replaced ones.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.dropped_oldest + self.dropped_newest + self.discarded
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) control_delivered: Counter,
    pub(super) dropped_oldest: Counter,
    pub(super) dropped_newest: Counter,
    pub(super) discarded: Counter,
}

/// A number that only grows. Relaxed: no other access depends on it.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// [`add`](Self::add) where only one thread at a time counts, which costs less.
    #[inline]
    pub(super) fn add_alone(&self, count: u64) {
        self.0.store(self.get() + count, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
