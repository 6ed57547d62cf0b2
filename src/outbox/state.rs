//! What the handles of one outbox share, and its end.

use super::OutboxOptions;
use super::OutboxStats;
use super::Policy;
use super::age::Ages;
use super::conflated::Conflated;
use super::lane::Lane;
use super::reason::{CloseReason, FirstReason};
use super::ring::{Bounds, Ring};
use super::stats::{Counter, Counters};
use crate::frame::Prepared;
use crate::sync::atomic::AtomicU32;

/// A line of the cache; pushes and batches touch two of them, side by side.
#[repr(C, align(64))]
pub(super) struct State {
    pub(super) kind: Kind,
    /// What only the reader counts.
    pub(super) delivered: Counter,
    pub(super) delivered_bytes: Counter,
    pub(super) ring: Ring<Prepared>,
    // Seldom touched from here on.
    pub(super) lane: Lane,
    pub(super) counters: Counters,
    /// Handles that can push.
    pub(super) producers: AtomicU32,
    pub(super) reason: FirstReason,
}

/// The policy, with what only it needs.
pub(super) enum Kind {
    DropOldest,
    DropNewest,
    /// These frames do not go through the ring, which then only wakes and closes.
    Conflate(Box<Conflated<Prepared>>),
    Disconnect(Option<Box<Ages>>),
}

impl State {
    pub(super) fn new(options: &OutboxOptions) -> Self {
        let bounds = Bounds::new(options.max_frames, options.max_bytes);
        Self {
            kind: match options.policy {
                Policy::DropOldest => Kind::DropOldest,
                Policy::DropNewest => Kind::DropNewest,
                Policy::Conflate => Kind::Conflate(Box::new(Conflated::new(bounds))),
                Policy::Disconnect { max_age } => {
                    Kind::Disconnect(max_age.map(|max| Box::new(Ages::new(max, bounds.frames()))))
                }
            },
            delivered: Counter::default(),
            delivered_bytes: Counter::default(),
            ring: Ring::new(bounds, options.policy == Policy::DropOldest),
            lane: Lane::new(options.max_control_frames, options.max_control_bytes),
            reason: FirstReason::default(),
            producers: AtomicU32::new(1),
            counters: Counters::default(),
        }
    }

    /// Lets nothing in any more; what waits is still delivered.
    pub(super) fn finish(&self) {
        self.reason.give(CloseReason::Finished);
        self.ring.close();
    }

    /// Lets nothing in any more. The reader, which is woken, drops the frames that wait; where
    /// producers pop, they are dropped now.
    #[cold]
    pub(super) fn abort(&self, reason: CloseReason) {
        self.reason.give(reason);
        self.ring.close();
        self.lane.wake_at_abort();
        match &self.kind {
            Kind::DropOldest => self.counters.discarded.add(self.ring.clear(false)),
            Kind::Conflate(conflated) => self.counters.discarded.add(conflated.clear()),
            Kind::DropNewest | Kind::Disconnect(_) => {}
        }
    }

    /// Drops what waits in a closed outbox; only for the reader. When `all`, also what is about
    /// to be pushed.
    pub(super) fn discard(&self, all: bool) {
        let mut dropped = self.ring.clear(all);
        if let Kind::Conflate(conflated) = &self.kind {
            dropped += conflated.clear();
        }
        self.counters.discarded.add(dropped);
    }

    /// Why it is closed, if it is.
    pub(super) fn closed(&self) -> Option<CloseReason> {
        if self.ring.is_closed() { self.reason.get() } else { None }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        let ((frames, bytes), conflated) = match &self.kind {
            Kind::Conflate(conflated) => (conflated.queued(), conflated.replaced.get()),
            _ => (self.ring.queued(), 0),
        };
        let counters = &self.counters;
        OutboxStats {
            queued_frames: frames as usize,
            queued_bytes: bytes as usize,
            delivered: self.delivered.get(),
            delivered_bytes: self.delivered_bytes.get(),
            control_delivered: counters.control_delivered.get(),
            dropped_oldest: counters.dropped_oldest.get(),
            dropped_newest: counters.dropped_newest.get(),
            conflated,
            discarded: counters.discarded.get(),
        }
    }
}
