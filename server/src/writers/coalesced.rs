//! The bytes that a writer sends in one turn, each batch once for all connections that have the same frames.

use std::ops::Range;
use std::ptr;

use bytes::Buf;
use pondwire::outbox::{Batch, OutboxFrame};

/// The most bytes of a batch that are copied for several connections: those of any batch but a single
/// larger frame, which is written to each connection without a copy.
pub(super) const SHARED: usize = 256 << 10;

/// The bytes of a turn, and the batches that were taken last.
#[derive(Default)]
pub(super) struct Coalesced {
    bytes: Vec<u8>,
    /// The last batch in its plain form, and the last one deflated.
    last: [LastBatch; 2],
}

/// A broadcast puts the same frames into many outboxes, so the next connection often has the same batch.
#[derive(Default)]
struct LastBatch {
    /// The frames themselves: while they are held, no other frame can have the address of one of them.
    frames: Vec<OutboxFrame>,
    /// The range of the batch's bytes; `None` if only one connection had it so far and was sent the frames
    /// without a copy.
    range: Option<Range<usize>>,
}

impl Coalesced {
    /// Begins a turn: of the turn before, only the bytes of the last batches are kept.
    pub(super) fn begin(&mut self) {
        let [plain, deflated] = &mut self.last;
        let (mut ranges, mut end) = ([&mut plain.range, &mut deflated.range], 0);
        ranges.sort_by_key(|range| range.as_ref().map(|range| range.start));
        for range in ranges.into_iter().flatten() {
            let moved = end..end + range.len();
            if range.start > end {
                self.bytes.copy_within(range.clone(), end);
            }
            (*range, end) = (moved.clone(), moved.end);
        }
        self.bytes.truncate(end);
    }

    /// Drops all frames and bytes. The bytes' memory is kept, at most about 2 MiB: what a turn may copy.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        for last in &mut self.last {
            last.frames.clear();
            last.range = None;
        }
    }

    /// The number of bytes that were copied in this turn, and those of last batches of turns before.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Returns `true` if the batch has exactly the frames of the last one that goes out in the same form, the
    /// very same and not only equal ones. The batch must be in its plain form.
    pub(super) fn is_last(&self, batch: &Batch<'_>, deflates: bool) -> bool {
        let LastBatch { frames, .. } = &self.last[usize::from(deflates)];
        // All of these frames are alive, so the same address means the same frame.
        frames.len() == batch.frames()
            && batch.iter().zip(frames).all(|(wire, frame)| ptr::eq(wire, wire_of(frame)))
    }

    /// The bytes of a batch that [is the last](Self::is_last) again.
    pub(super) fn reuse(&mut self, batch: Batch<'_>, deflates: bool) -> Range<usize> {
        let build = || copy(&mut self.bytes, &in_form(batch, deflates));
        self.last[usize::from(deflates)].range.get_or_insert_with(build).clone()
    }

    /// Appends a batch, already in its form, to a connection's bytes, which may be shared with others.
    pub(super) fn append(&mut self, to: &mut Range<usize>, batch: Batch<'_>, deflates: bool) {
        if to.end != self.bytes.len() {
            let copied = self.bytes.len()..self.bytes.len() + to.len();
            self.bytes.extend_from_within(to.clone());
            *to = copied;
        }
        let range = copy(&mut self.bytes, &batch);
        to.end = range.end;
        self.set_last(batch, deflates, Some(range));
    }

    /// Remembers a batch, already in its form, that was sent without a copy.
    pub(super) fn remember(&mut self, batch: Batch<'_>, deflates: bool) {
        if batch.iter().map(<[u8]>::len).sum::<usize>() <= SHARED {
            self.set_last(batch, deflates, None);
        }
    }

    fn set_last(&mut self, batch: Batch<'_>, deflates: bool, range: Option<Range<usize>>) {
        let last = &mut self.last[usize::from(deflates)];
        last.frames.clear();
        last.frames.extend(batch.into_frames());
        last.range = range;
    }
}

/// The batch as it is sent to a connection with or without permessage-deflate.
pub(crate) fn in_form(batch: Batch<'_>, deflates: bool) -> Batch<'_> {
    if deflates { batch.into_deflated() } else { batch }
}

fn copy(bytes: &mut Vec<u8>, batch: &Batch<'_>) -> Range<usize> {
    let start = bytes.len();
    bytes.reserve(batch.remaining());
    batch.iter().for_each(|frame| bytes.extend_from_slice(frame));
    start..bytes.len()
}

fn wire_of(frame: &OutboxFrame) -> &[u8] {
    match frame {
        OutboxFrame::Message(message) => message.wire(),
        OutboxFrame::Control(control) => control.wire(),
    }
}
