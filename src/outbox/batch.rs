//! What one write to the socket carries.

use std::io::IoSlice;

use bytes::Buf;

use crate::frame::Prepared;

/// Frames that were taken out of an outbox together, as one [`Buf`].
///
/// `chunks_vectored` shows all of them where they lie, so one vectored write sends them without a
/// copy. Dropping a batch drops what of it has not been written; if that was half of a frame,
/// the connection cannot go on.
#[derive(Debug)]
pub struct Batch<'a> {
    frames: Taken<'a>,
    /// How many of them have been written to their end.
    written: usize,
    /// How much of the next one has been written.
    offset: usize,
    remaining: usize,
    lagged: u64,
}

/// The reader's memory; emptied with the batch, and kept.
struct Taken<'a>(&'a mut Vec<Prepared>);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl std::fmt::Debug for Taken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} frames", self.0.len())
    }
}

impl<'a> Batch<'a> {
    #[inline]
    pub(super) fn new(frames: &'a mut Vec<Prepared>, lagged: u64) -> Self {
        let remaining = frames.iter().map(|frame| frame.wire().len()).sum();
        Self { frames: Taken(frames), written: 0, offset: 0, remaining, lagged }
    }

    /// How many frames the policy dropped since the batch before: those that came before this
    /// batch's frames were dropped right there, unless they were dropped as the newest.
    #[must_use]
    pub const fn lagged(&self) -> u64 {
        self.lagged
    }

    /// How many frames it has, written or not.
    #[must_use]
    #[inline]
    pub fn frames(&self) -> usize {
        self.frames.0.len()
    }

    /// The wire bytes of each frame, written or not.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.0.iter().map(Prepared::wire)
    }
}

impl Buf for Batch<'_> {
    #[inline]
    fn remaining(&self) -> usize {
        self.remaining
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        self.frames.0.get(self.written).map_or(&[], |frame| &frame.wire()[self.offset..])
    }

    fn chunks_vectored<'b>(&'b self, slices: &mut [IoSlice<'b>]) -> usize {
        let mut offset = self.offset;
        let unwritten = &self.frames.0[self.written..];
        for (slice, frame) in slices.iter_mut().zip(unwritten) {
            *slice = IoSlice::new(&frame.wire()[offset..]);
            offset = 0;
        }
        slices.len().min(unwritten.len())
    }

    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.remaining,
            "a batch of {} bytes cannot go {count} on",
            self.remaining
        );
        self.remaining -= count;
        self.offset += count;
        // Every frame has bytes, so a border is never passed without need.
        while let Some(frame) = self.frames.0.get(self.written) {
            let Some(beyond) = self.offset.checked_sub(frame.wire().len()) else { break };
            self.written += 1;
            self.offset = beyond;
        }
    }
}
