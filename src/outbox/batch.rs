//! The frames of one write to the socket, and a single one of them.

use std::io::IoSlice;
use std::slice;
use std::sync::OnceLock;

use bytes::{Buf, Bytes};

use crate::frame::{Control, Form, Frame, WireFrame};

/// Frames that were taken out of an outbox together, or that a [`RoomReader`](crate::room::RoomReader) reads
/// next, as one [`Buf`].
///
/// `chunks_vectored` returns all of them in place, so one vectored write sends them without a copy.
/// Dropping a batch drops its unwritten rest; if a frame was half written, the connection cannot
/// continue.
///
/// The bytes are WebSocket frames, unless the batch was turned into another form; that form of a
/// frame is made once for all its recipients.
#[derive(Debug)]
pub struct Batch<'a> {
    frames: Frames<'a>,
    form: Form,
    /// The number of bytes of the next frame that have been written.
    offset: usize,
    lagged: u64,
}

/// The frames of a batch.
enum Frames<'a> {
    /// Taken out of an outbox; so many have been written to their end.
    Taken { frames: Taken<'a>, written: usize },
    /// Some of those that many readers share: the bits of `chosen` name their slots, which are filled.
    Shared { slots: &'a [OnceLock<WireFrame>], chosen: u64, unwritten: u64 },
}

/// The reader's memory; emptied with the batch, and kept.
struct Taken<'a>(&'a mut Vec<WireFrame>);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Some of the frames, in their order.
enum Iter<'a> {
    Taken(slice::Iter<'a, WireFrame>),
    Shared(&'a [OnceLock<WireFrame>], u64),
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a WireFrame;

    #[inline]
    fn next(&mut self) -> Option<&'a WireFrame> {
        match self {
            Iter::Taken(frames) => frames.next(),
            Iter::Shared(slots, chosen) => slots[take_lowest(chosen)?].get(),
        }
    }
}

/// Clears the lowest bit that is set and returns its place.
#[inline]
const fn take_lowest(bits: &mut u64) -> Option<usize> {
    if *bits == 0 {
        return None;
    }
    let lowest = bits.trailing_zeros() as usize;
    *bits &= *bits - 1;
    Some(lowest)
}

impl Frames<'_> {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Taken { frames, .. } => frames.0.len(),
            Self::Shared { chosen, .. } => chosen.count_ones() as usize,
        }
    }

    #[inline]
    fn all(&self) -> Iter<'_> {
        match self {
            Self::Taken { frames, .. } => Iter::Taken(frames.0.iter()),
            Self::Shared { slots, chosen, .. } => Iter::Shared(slots, *chosen),
        }
    }

    /// Those that have not been written to their end.
    #[inline]
    fn unwritten(&self) -> Iter<'_> {
        match self {
            Self::Taken { frames, written } => Iter::Taken(frames.0[*written..].iter()),
            Self::Shared { slots, unwritten, .. } => Iter::Shared(slots, *unwritten),
        }
    }

    fn count_unwritten(&self) -> usize {
        match self {
            Self::Taken { frames, written } => frames.0.len() - written,
            Self::Shared { unwritten, .. } => unwritten.count_ones() as usize,
        }
    }

    /// The first of these has been written to its end.
    #[inline]
    const fn written_one(&mut self) {
        match self {
            Self::Taken { written, .. } => *written += 1,
            Self::Shared { unwritten, .. } => *unwritten &= unwritten.wrapping_sub(1),
        }
    }

    /// The frames themselves.
    fn into_owned(mut self) -> impl Iterator<Item = WireFrame> {
        if let Self::Taken { frames, .. } = &mut self {
            frames.0.reverse();
        }
        std::iter::from_fn(move || match &mut self {
            Self::Taken { frames, .. } => frames.0.pop(),
            Self::Shared { slots, chosen, .. } => slots[take_lowest(chosen)?].get().cloned(),
        })
    }
}

impl std::fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} frames", self.len())
    }
}

impl<'a> Batch<'a> {
    #[inline]
    pub(super) fn new(frames: &'a mut Vec<WireFrame>, lagged: u64) -> Self {
        Self::of(Frames::Taken { frames: Taken(frames), written: 0 }, lagged)
    }

    /// A batch of the frames in these slots, which are filled, whose bits are set in `chosen`.
    #[inline]
    pub(crate) fn of_shared(slots: &'a [OnceLock<WireFrame>], chosen: u64, lagged: u64) -> Self {
        Self::of(Frames::Shared { slots, chosen, unwritten: chosen }, lagged)
    }

    #[inline]
    fn of(frames: Frames<'a>, lagged: u64) -> Self {
        Self { frames, form: Form::WebSocket, offset: 0, lagged }
    }

    /// The batch as server-sent events: the messages' [`Frame::sse`](crate::Frame::sse). Control
    /// frames are left out: an event stream has none.
    ///
    /// Allocates only the forms of messages that were not made before.
    ///
    /// ```
    /// use pondwire::frame::Control;
    /// use pondwire::{Frame, Outbox, OutboxOptions, Payload};
    ///
    /// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
    /// let frame = Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY);
    /// outbox.push(frame.clone());
    /// outbox.control(Control::ping(b"").unwrap());
    /// let batch = reader.try_batch().unwrap().into_sse();
    /// let events: Vec<&[u8]> = batch.iter().collect();
    /// assert_eq!(events, [frame.sse()]);
    /// ```
    ///
    /// # Panics
    /// Some of it has been written.
    #[must_use]
    pub fn into_sse(mut self) -> Self {
        // Only outboxes have control frames.
        if let Frames::Taken { frames, .. } = &mut self.frames {
            frames.0.retain(WireFrame::is_message);
        }
        self.in_form(Form::Sse)
    }

    /// The batch for a connection that has agreed on
    /// [`PermessageDeflate`](crate::websocket::PermessageDeflate): each message's
    /// [`Frame::deflated`](crate::Frame::deflated) where compressing pays, all other frames as they
    /// are.
    ///
    /// Allocates only the forms of messages that were not made before, and costs their compression.
    ///
    /// # Panics
    /// Some of it has been written.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn into_deflated(self) -> Self {
        self.in_form(Form::Deflated)
    }

    fn in_form(mut self, form: Form) -> Self {
        let is_unwritten = self.offset == 0 && self.frames.count_unwritten() == self.frames.len();
        assert!(is_unwritten, "some of the batch has been written");
        self.form = form;
        self
    }

    /// The number of frames that the policy dropped since the previous batch. Frames dropped as the oldest came right
    /// before this batch's frames; frames dropped as the newest may have come anywhere. For a
    /// [`RoomReader`](crate::room::RoomReader), the number of frames that it missed right before this batch, including
    /// any that were not for it.
    #[must_use]
    pub const fn lagged(&self) -> u64 {
        self.lagged
    }

    /// The number of its frames in its form, written or not.
    #[must_use]
    #[inline]
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// The bytes of each frame in the batch's form, written or not.
    ///
    /// They are the frames' own memory, which all recipients share. A writer of many connections can
    /// therefore recognize the batch that it has just prepared for another one by the addresses, as
    /// long as it keeps the frames: the memory of a dropped frame may become another's.
    ///
    /// ```
    /// use std::ptr;
    /// use pondwire::outbox::OutboxFrame;
    /// use pondwire::{Frame, Outbox, OutboxOptions};
    ///
    /// let frame = Frame::acknowledge("/chat/42", "r-1");
    /// let (first, mut reader) = Outbox::new(OutboxOptions::default());
    /// first.push(frame.clone());
    /// let kept: Vec<OutboxFrame> = reader.try_batch().unwrap().into_frames().collect();
    ///
    /// let (second, mut reader) = Outbox::new(OutboxOptions::default());
    /// second.push(frame);
    /// let batch = reader.try_batch().unwrap();
    /// let is_same = batch.frames() == kept.len()
    ///     && batch.iter().zip(&kept).all(|(wire, kept)| match kept {
    ///         OutboxFrame::Message(kept) => ptr::eq(wire, kept.wire()),
    ///         OutboxFrame::Control(kept) => ptr::eq(wire, kept.wire()),
    ///     });
    /// assert!(is_same);
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.all().map(|frame| frame.bytes(self.form))
    }

    /// [`iter`](Self::iter) as [`Bytes`] that share the frames' memory and may outlive the batch.
    /// One small allocation for each, no copy.
    pub fn bytes(&self) -> impl Iterator<Item = Bytes> {
        self.frames.all().map(|frame| frame.shared_bytes(self.form))
    }

    /// The messages as JSON text, in any form of the batch: for a WebSocket library, which writes
    /// the heads itself. Control frames are left out. Allocates nothing.
    ///
    /// ```
    /// use pondwire::frame::Control;
    /// use pondwire::{Frame, Outbox, OutboxOptions};
    ///
    /// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
    /// let frame = Frame::acknowledge("/chat/42", "r-1");
    /// outbox.push(frame.clone());
    /// outbox.control(Control::ping(b"").unwrap());
    /// let batch = reader.try_batch().unwrap();
    /// let texts: Vec<&str> = batch.texts().collect();
    /// assert_eq!(texts, [frame.as_str()]);
    /// ```
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.frames.all().filter_map(WireFrame::text)
    }

    /// The messages and control frames themselves, written or not, in their order. Allocates nothing, and takes a
    /// reference only for each frame of a [`RoomReader`](crate::room::RoomReader). Dropping the iterator drops
    /// the frames that it has not returned.
    pub fn into_frames(self) -> impl Iterator<Item = OutboxFrame> + use<'a> {
        self.into_wire_frames().map(OutboxFrame::from)
    }

    /// [`into_frames`](Self::into_frames), without telling messages from control frames.
    pub(crate) fn into_wire_frames(self) -> impl Iterator<Item = WireFrame> + use<'a> {
        self.frames.into_owned()
    }
}

/// [`remaining`](Buf::remaining) adds up the frames; [`has_remaining`](Buf::has_remaining) need not.
impl Buf for Batch<'_> {
    fn remaining(&self) -> usize {
        let lens = self.frames.unwritten().map(|frame| frame.bytes(self.form).len());
        lens.sum::<usize>() - self.offset
    }

    #[inline]
    fn has_remaining(&self) -> bool {
        self.frames.unwritten().next().is_some()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        let first = self.frames.unwritten().next();
        first.map_or(&[], |frame| &frame.bytes(self.form)[self.offset..])
    }

    fn chunks_vectored<'b>(&'b self, slices: &mut [IoSlice<'b>]) -> usize {
        let mut offset = self.offset;
        for (slice, frame) in slices.iter_mut().zip(self.frames.unwritten()) {
            *slice = IoSlice::new(&frame.bytes(self.form)[offset..]);
            offset = 0;
        }
        slices.len().min(self.frames.count_unwritten())
    }

    fn advance(&mut self, count: usize) {
        self.offset += count;
        // No frame is empty, so this never moves past a frame that is not written.
        while let Some(frame) = self.frames.unwritten().next() {
            let Some(beyond) = self.offset.checked_sub(frame.bytes(self.form).len()) else {
                break;
            };
            self.frames.written_one();
            self.offset = beyond;
        }
        // Beyond the last frame.
        assert!(self.offset == 0 || self.has_remaining(), "a batch cannot go {count} on");
    }
}

/// A frame that was taken out of an outbox, from [`Batch::into_frames`](super::Batch::into_frames)
/// or from the reader as a `Stream`.
///
/// A message of a WebSocket library is made from it: [`Frame::json_bytes`] shares the memory of all
/// recipients, and [`Control::as_close`] has the code that ends the connection. The section "On a
/// WebSocket library" of [`docs::patterns`](crate::docs::patterns) shows how.
///
/// ```
/// use pondwire::outbox::OutboxFrame;
/// use pondwire::frame::Control;
/// use pondwire::{Frame, Outbox, OutboxOptions};
///
/// let (outbox, mut reader) = Outbox::new(OutboxOptions::default());
/// let frame = Frame::acknowledge("/chat/42", "r-1");
/// outbox.reply(frame.clone());
/// outbox.control(Control::close(1000, "bye").unwrap());
/// let mut frames = reader.try_batch().unwrap().into_frames();
/// assert!(matches!(frames.next(), Some(OutboxFrame::Message(first)) if first == frame));
/// let Some(OutboxFrame::Control(close)) = frames.next() else { panic!("a close frame") };
/// assert_eq!(close.as_close(), Some((1000, "bye")));
/// assert!(frames.next().is_none());
/// ```
#[derive(Debug)]
pub enum OutboxFrame {
    /// A message of PondSocket.
    Message(Frame),
    /// A close, ping or pong frame of the WebSocket. Nothing follows a close frame.
    Control(Control),
}

impl From<WireFrame> for OutboxFrame {
    fn from(frame: WireFrame) -> Self {
        match frame.into_message() {
            Ok(message) => Self::Message(message),
            Err(control) => Self::Control(control),
        }
    }
}
