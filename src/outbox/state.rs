//! The state that the handles of one outbox share, and its end.

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use super::OutboxOptions;
use super::OutboxStats;
use super::Policy;
use super::conflated::Conflated;
use super::control_queue::ControlQueue;
use super::reason::{CloseReason, OnceReason};
use super::stats::{Counter, Counters};
use crate::frame::WireFrame;
use crate::ring::{Bounds, Ring};
use crate::sync::atomic::{AtomicU32, Ordering};

/// Aligned to a cache line; pushes and batches touch two of them, side by side.
#[repr(C, align(64))]
pub(super) struct State {
    pub(super) kind: Kind,
    /// Counted by the reader only, like the bytes.
    pub(super) delivered: Counter,
    pub(super) delivered_bytes: Counter,
    pub(super) ring: Ring<WireFrame>,
    // Seldom accessed from here on.
    pub(super) controls: ControlQueue,
    pub(super) counters: Counters,
    /// The number of handles that can push.
    pub(super) producers: AtomicU32,
    pub(super) reason: OnceReason,
}

/// The policy, with its own data.
pub(super) enum Kind {
    DropOldest,
    DropNewest,
    /// Frames do not go through the ring, which then only wakes and closes.
    Conflate(Box<Conflated<WireFrame>>),
    Disconnect(Option<Box<FrameAges>>),
}

impl State {
    pub(super) fn new(options: &OutboxOptions) -> Self {
        let bounds = Bounds::new(options.max_frames, options.max_bytes);
        Self {
            kind: match options.policy {
                Policy::DropOldest => Kind::DropOldest,
                Policy::DropNewest => Kind::DropNewest,
                Policy::Conflate => Kind::Conflate(Box::new(Conflated::new(bounds))),
                Policy::Disconnect { max_age } => Kind::Disconnect(
                    max_age.map(|max| Box::new(FrameAges::new(max, bounds.frames()))),
                ),
            },
            delivered: Counter::default(),
            delivered_bytes: Counter::default(),
            ring: Ring::new(bounds, options.policy == Policy::DropOldest),
            controls: ControlQueue::new(options.max_control_frames, options.max_control_bytes),
            reason: OnceReason::default(),
            producers: AtomicU32::new(1),
            counters: Counters::default(),
        }
    }

    /// Refuses further frames; queued frames are still delivered.
    pub(super) fn finish(&self) {
        self.reason.set(CloseReason::Finished);
        self.ring.close();
    }

    /// Refuses further frames. The reader, which is woken, drops the queued frames; with a policy
    /// under which producers pop, they are dropped now.
    #[cold]
    pub(super) fn abort(&self, reason: CloseReason) {
        self.reason.set(reason);
        self.ring.close();
        self.controls.wake_at_abort();
        match &self.kind {
            Kind::DropOldest => {
                // SAFETY: with this policy any thread may pop (`State::new`).
                self.counters.discarded.add(unsafe { self.ring.clear(false) });
            }
            Kind::Conflate(conflated) => self.counters.discarded.add(conflated.clear()),
            Kind::DropNewest | Kind::Disconnect(_) => {}
        }
    }

    /// Drops the queued frames of a closed outbox; if `all`, also those that are about to be
    /// pushed.
    ///
    /// # Safety
    /// The caller is the reader.
    pub(super) unsafe fn discard(&self, all: bool) {
        // SAFETY: the reader is the one consumer.
        let mut dropped = unsafe { self.ring.clear(all) };
        if let Kind::Conflate(conflated) = &self.kind {
            dropped += conflated.clear();
        }
        self.counters.discarded.add(dropped);
    }

    /// The reason why it is closed; `None` while it is open.
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

/// The arrival time of each waiting frame, for outboxes that limit the age.
///
/// Kept outside of the ring: inside, all other outboxes would need half as much memory again.
pub(super) struct FrameAges {
    max: u32,
    start: Instant,
    /// By position; as many as frames may wait, rounded up to a power of two, so that the stamp of
    /// a waiting frame is not overwritten. In milliseconds, which wrap after 49 days.
    stamps: Box<[AtomicU32]>,
}

impl FrameAges {
    pub(super) fn new(max: Duration, frames: u32) -> Self {
        Self {
            max: u32::try_from(max.as_millis()).unwrap_or(u32::MAX),
            start: Instant::now(),
            stamps: (0..frames.next_power_of_two()).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(super) fn now(&self) -> u32 {
        self.start.elapsed().as_millis() as u32
    }

    fn stamp(&self, position: u32) -> &AtomicU32 {
        &self.stamps[position as usize & (self.stamps.len() - 1)]
    }

    /// Relaxed here and below: the ring publishes the frame after its stamp, and only a thread that
    /// has seen the frame there asks for its age.
    pub(super) fn record(&self, position: u32, now: u32) {
        self.stamp(position).store(now, Ordering::Relaxed);
    }

    /// Whether the frame of `position`, which is still queued, has waited longer than allowed.
    pub(super) fn is_too_old(&self, position: u32, now: u32) -> bool {
        let age = now.wrapping_sub(self.stamp(position).load(Ordering::Relaxed));
        // More than half of the range means that the frame came after `now` was read.
        age > self.max && age < u32::MAX / 2
    }
}
