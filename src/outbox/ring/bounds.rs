//! How much a ring may hold.

use super::INLINE;
use super::word::{MAX_BYTES, MAX_FRAMES};

/// How much a ring may hold.
#[derive(Clone, Copy, Debug)]
pub(in crate::outbox) struct Bounds {
    pub(super) frames: u32,
    pub(super) bytes: u32,
    /// Slots that the largest place needs.
    pub(super) slots: u32,
}

impl Bounds {
    /// At least one frame, at most [`MAX_FRAMES`] and [`MAX_BYTES`].
    pub(in crate::outbox) fn new(frames: usize, bytes: usize) -> Self {
        let frames = u32::try_from(frames).unwrap_or(MAX_FRAMES);
        let bytes = u32::try_from(bytes).unwrap_or(MAX_BYTES);
        let frames = frames.clamp(1, MAX_FRAMES);
        let slots = frames.next_power_of_two().max(INLINE);
        Self { frames, bytes: bytes.min(MAX_BYTES), slots }
    }

    pub(in crate::outbox) const fn frames(self) -> u32 {
        self.frames
    }

    pub(in crate::outbox) const fn bytes(self) -> u32 {
        self.bytes
    }
}
