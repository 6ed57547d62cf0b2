//! What a connection has not taken yet.

use std::collections::VecDeque;
use std::fmt;

use crate::frame::{Form, WireFrame};
use crate::outbox::OutboxReader;

/// The bytes that a connection's socket has not taken: the rest of a frame that it took in part, and whole
/// frames. They are held as the frames that all members share, not as copies.
///
/// ```
/// # use std::task::{Context, Waker};
/// # use pondwire::frame::Form;
/// # use pondwire::room::Shard;
/// # use pondwire::{Frame, OutboxOptions, Payload};
/// # let mut shard = Shard::new(OutboxOptions::default());
/// # let seat = shard.handle().open(Form::WebSocket);
/// # seat.push(Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY));
/// # assert!(shard.poll_round(&mut Context::from_waker(Waker::noop())).is_ready());
/// # shard.fell_short(seat.number(), 2);
/// let mut unsent = shard.end(seat.number());
/// let mut written = 0;
/// while let Some(bytes) = unsent.peek() {
///     let len = bytes.len(); // a socket takes them
///     unsent.advance(len);
///     written += len;
/// }
/// assert!(written > 0);
/// ```
///
/// By default it is empty.
pub struct Unsent {
    form: Form,
    /// Frames that come before those of the outbox.
    frames: VecDeque<WireFrame>,
    /// The number of bytes that were sent of the first of them.
    offset: usize,
    /// The bytes of all frames, the first as a whole.
    bytes: usize,
    reader: Option<OutboxReader>,
}

impl Unsent {
    pub(super) const fn new(form: Form, reader: Option<OutboxReader>) -> Self {
        Self { form, frames: VecDeque::new(), offset: 0, bytes: 0, reader }
    }

    /// Appends a frame of which the first `sent` bytes were sent; only the first may have some.
    pub(super) fn push(&mut self, frame: WireFrame, sent: usize) {
        debug_assert!(sent == 0 || self.frames.is_empty());
        self.offset += sent;
        self.bytes += frame.bytes(self.form).len();
        self.frames.push_back(frame);
    }

    /// The bytes to be sent next, at least one; `None` if nothing is left.
    pub fn peek(&mut self) -> Option<&[u8]> {
        // Some frames have no bytes in some form: a pong for an event stream.
        while self.frames.front().is_none_or(|frame| frame.bytes(self.form).is_empty()) {
            if self.frames.pop_front().is_none() {
                let batch = self.reader.as_mut()?.try_batch()?;
                let form = self.form;
                let bytes = &mut self.bytes;
                let counted = |frame: &WireFrame| *bytes += frame.bytes(form).len();
                self.frames.extend(batch.into_wire_frames().inspect(counted));
            }
        }
        let frame = self.frames.front()?;
        Some(&frame.bytes(self.form)[self.offset..])
    }

    /// The number of frames besides those of the outbox.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The bytes besides those of the outbox.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes - self.offset
    }

    /// Reports that the first `sent` of these bytes were sent.
    ///
    /// # Panics
    /// There are fewer bytes to be sent next.
    pub fn advance(&mut self, sent: usize) {
        let len = self.frames.front().map_or(0, |frame| frame.bytes(self.form).len());
        self.offset += sent;
        assert!(self.offset <= len, "more bytes were sent than there are");
        if self.offset == len && len > 0 {
            self.offset = 0;
            self.bytes -= len;
            self.frames.pop_front();
        }
    }

    /// Drops everything but the rest of a frame of which some was sent.
    pub(super) fn into_partial(mut self) -> Self {
        self.frames.truncate(usize::from(self.offset > 0));
        self.bytes = self.frames.iter().map(|frame| frame.bytes(self.form).len()).sum();
        self.reader = None;
        self
    }
}

impl Default for Unsent {
    fn default() -> Self {
        Self::new(Form::WebSocket, None)
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("offset", &self.offset).finish_non_exhaustive()
    }
}
