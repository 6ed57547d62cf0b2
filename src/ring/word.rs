//! One end of the ring in one word, so that one atomic operation changes all its parts together.
//!
//! ```text
//!  63       62         61…59     58 … 29    28 … 0
//!  closed │ sleeping │ segment │ position │ bytes
//! ```
//!
//! `position` counts the items that ever passed this end, `bytes` sums their lengths, both modulo
//! the size of their field. The contents between two ends are a difference, which is never so large
//! that it is ambiguous ([`MAX_FRAMES`], [`MAX_BYTES`]).

use super::INLINE;

const BYTES_BITS: u32 = 29;
const POSITION_BITS: u32 = 30;
const SEGMENT_AT: u32 = BYTES_BITS + POSITION_BITS;
const BYTES: u32 = (1 << BYTES_BITS) - 1;
const POSITION: u32 = (1 << POSITION_BITS) - 1;

/// The most bytes that can be counted: 512 MiB less one.
pub(crate) const MAX_BYTES: u32 = BYTES;

/// The most frames that a ring has slots for; far fewer than would make positions ambiguous.
pub(crate) const MAX_FRAMES: u32 = 1 << 17;

/// Set in the tail when the ring is closed to pushes.
pub(crate) const CLOSED: u64 = 1 << 63;

/// Set in the tail by a consumer that is about to wait.
pub(crate) const SLEEPING: u64 = 1 << 62;

/// The value of an end of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(super) u64);

impl Word {
    #[inline]
    pub(crate) const fn position(self) -> u32 {
        (self.0 >> BYTES_BITS) as u32 & POSITION
    }

    #[inline]
    const fn bytes(self) -> u32 {
        self.0 as u32 & BYTES
    }

    /// The segment that the next item goes to.
    #[inline]
    pub(crate) const fn segment(self) -> usize {
        (self.0 >> SEGMENT_AT) as usize & 7
    }

    #[inline]
    pub(crate) const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    #[inline]
    pub(crate) const fn is_sleeping(self) -> bool {
        self.0 & SLEEPING != 0
    }

    /// This end after `frames` more of `bytes` in total; neither closed nor sleeping.
    #[inline]
    pub(crate) const fn advanced(self, frames: u32, bytes: u32, segment: usize) -> Self {
        let position = after(self.position(), frames) as u64;
        let bytes = (self.bytes().wrapping_add(bytes) & BYTES) as u64;
        Self((segment as u64) << SEGMENT_AT | position << BYTES_BITS | bytes)
    }

    /// A tail that waits for the next push, which will go to segment 0.
    #[inline]
    pub(crate) const fn asleep(self) -> Self {
        Self((self.0 & ((1 << SEGMENT_AT) - 1)) | SLEEPING)
    }

    /// The number of frames between `head` and this tail.
    #[inline]
    pub(crate) const fn frames_since(self, head: Self) -> u32 {
        distance(head.position(), self.position())
    }

    /// The number of bytes between `head` and this tail.
    #[inline]
    pub(crate) const fn bytes_since(self, head: Self) -> u32 {
        self.bytes().wrapping_sub(head.bytes()) & BYTES
    }
}

/// The position `count` after `position`.
#[inline]
pub(crate) const fn after(position: u32, count: u32) -> u32 {
    position.wrapping_add(count) & POSITION
}

/// The position `count` before `position`.
#[inline]
pub(crate) const fn before(position: u32, count: u32) -> u32 {
    position.wrapping_sub(count) & POSITION
}

/// The distance from one position to a later one.
#[inline]
pub(crate) const fn distance(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from) & POSITION
}

/// The bounds of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: u32,
    pub(crate) bytes: u32,
    /// The slots that the largest segment needs.
    pub(crate) slots: u32,
}

impl Bounds {
    /// At least one frame, at most [`MAX_FRAMES`] and [`MAX_BYTES`].
    pub(crate) fn new(frames: usize, bytes: usize) -> Self {
        let frames = u32::try_from(frames).unwrap_or(MAX_FRAMES);
        let bytes = u32::try_from(bytes).unwrap_or(MAX_BYTES);
        let frames = frames.clamp(1, MAX_FRAMES);
        let slots = frames.next_power_of_two().max(INLINE);
        Self { frames, bytes: bytes.min(MAX_BYTES), slots }
    }

    pub(crate) const fn frames(self) -> u32 {
        self.frames
    }

    pub(crate) const fn bytes(self) -> u32 {
        self.bytes
    }
}

#[cfg(all(test, not(pondwire_loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let full = Word(!0);
        let next = full.advanced(1, 1, 5);
        assert_eq!((next.position(), next.bytes(), next.segment()), (0, 0, 5));
        assert!(!next.is_closed() && !next.is_sleeping());
        assert_eq!((next.frames_since(full), next.bytes_since(full)), (1, 1));
        let asleep = next.asleep();
        assert!(asleep.is_sleeping() && !asleep.is_closed());
        assert_eq!((asleep.position(), asleep.bytes(), asleep.segment()), (0, 0, 0));
        let far = Word(0).advanced(MAX_FRAMES, MAX_BYTES, 0);
        assert_eq!((far.frames_since(Word(0)), far.bytes_since(Word(0))), (MAX_FRAMES, MAX_BYTES));
    }
}
