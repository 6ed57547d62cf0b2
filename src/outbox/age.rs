//! How long the oldest frame has waited.

use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU32, Ordering};

/// When each waiting frame came, for outboxes that limit the age.
///
/// Beside the ring and not in it: the others would pay for it with half as much memory again.
pub(super) struct Ages {
    max: u32,
    start: Instant,
    /// By position; as many as may wait, rounded up to a power of two, so that the stamp of a
    /// waiting frame is not overwritten. In milliseconds, which wrap after 49 days.
    stamps: Box<[AtomicU32]>,
}

impl Ages {
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

    /// Relaxed here and below: the ring shows the frame after its stamp, and who asks for its age
    /// has seen it there.
    pub(super) fn came(&self, position: u32, now: u32) {
        self.stamp(position).store(now, Ordering::Relaxed);
    }

    /// Whether the frame of `position`, which waits, has waited for longer than it may.
    pub(super) fn is_too_old(&self, position: u32, now: u32) -> bool {
        let age = now.wrapping_sub(self.stamp(position).load(Ordering::Relaxed));
        // More than half of the range is a frame that came after `now` was looked at.
        age > self.max && age < u32::MAX / 2
    }
}
