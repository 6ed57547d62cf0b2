//! The reader of a client's frames: bytes in, messages and control frames out.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, BytesMut};

use super::{MAX_CONTROL, Opcode, close_code};

/// The capacity in bytes that a reader keeps while it has nothing to read.
const KEPT: usize = 64 << 10;

/// The room in bytes for one read of the socket; a read may bring more if there is more room.
const READ: usize = 4 << 10;

/// The meaning of a frame; [`MessageReader::payload`] returns its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message. Its payload is that of all its fragments together.
    Message(MessageKind),
    /// A frame of a message that is not complete yet. Its bytes are kept for the message; it is an
    /// event so that a server can count frames.
    Fragment,
    /// A ping: answer with [`Control::pong`](crate::frame::Control::pong) of the same payload.
    Ping,
    /// A pong, requested or not.
    Pong,
    /// A close frame with its code, if there is one; [`close_code::is_sendable`] is true for it. No
    /// event follows. The payload is the code's two bytes and the reason, which is UTF-8.
    Close(Option<u16>),
}

/// The type of a message, by its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageKind {
    /// The payload, once inflated if it is compressed, must be UTF-8. The reader does not check
    /// that: parsing a message of PondSocket does. For any other use check it, and close with
    /// [`close_code::INVALID_PAYLOAD`] if it is not.
    pub is_text: bool,
    /// The payload is compressed by permessage-deflate. Never true unless
    /// [`MaxPayload::compressed`] is set.
    pub is_compressed: bool,
}

/// The reason why a reader refuses all further bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// The client has broken the WebSocket protocol.
    Protocol,
    /// The reason in the client's close frame is not UTF-8.
    NotUtf8,
    /// A message is larger than [`MaxPayload`] allows. Known from the frame's head, before the
    /// payload is buffered.
    TooLarge,
}

impl ReadError {
    /// The code to close the connection with: [`close_code::PROTOCOL_ERROR`],
    /// [`close_code::INVALID_PAYLOAD`] or [`close_code::MESSAGE_TOO_BIG`].
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol => close_code::PROTOCOL_ERROR,
            Self::NotUtf8 => close_code::INVALID_PAYLOAD,
            Self::TooLarge => close_code::MESSAGE_TOO_BIG,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "Invalid WebSocket frame",
            Self::NotUtf8 => "Invalid WebSocket close frame: its reason is not UTF-8",
            Self::TooLarge => "WebSocket message too large",
        })
    }
}

impl std::error::Error for ReadError {}

/// The longest payload of a message, all its fragments together, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPayload {
    /// For a message that is not compressed; [`Limits::max_bytes`](crate::Limits::max_bytes) is
    /// what the parser accepts.
    pub plain: usize,
    /// For a compressed message, before it is inflated; `Inflater::max_payload` has a bound that
    /// every compressor keeps. `None` if permessage-deflate was not agreed on: then RSV1 is an
    /// error.
    pub compressed: Option<usize>,
}

/// Reads the frames of one client, strictly: anything that RFC 6455 forbids is an error.
///
/// It does no I/O. Put received bytes into [`buffer`](Self::buffer), and call
/// [`next_event`](Self::next_event) until it gives `None`. A whole unfragmented message is read in
/// place, without a copy; unmasking changes the buffer. Fragments are copied together.
///
/// Its memory is bounded by one message of [`MaxPayload`] and the bytes of one read of the socket;
/// an idle reader that has consumed all its bytes holds no buffer.
///
/// ```
/// use bytes::BytesMut;
/// use pondwire::websocket::{Event, MaxPayload, MessageKind, MessageReader, ReadError};
///
/// let max_payload = MaxPayload { plain: 1 << 20, compressed: None };
/// let mut reader = MessageReader::new(BytesMut::new(), max_payload);
/// // A text frame, masked as RFC 6455 has clients do it (section 5.7), arrives in two pieces.
/// reader.buffer().extend_from_slice(&[0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F]);
/// assert_eq!(reader.next_event()?, None, "more bytes are needed");
/// reader.buffer().extend_from_slice(&[0x9F, 0x4D, 0x51, 0x58]);
/// let kind = MessageKind { is_text: true, is_compressed: false };
/// assert_eq!(reader.next_event()?, Some(Event::Message(kind)));
/// assert_eq!(reader.payload(), b"Hello");
///
/// reader.buffer().extend_from_slice(&[0x81, 0x05]);
/// assert_eq!(reader.next_event(), Err(ReadError::Protocol), "it is not masked");
/// # Ok::<(), ReadError>(())
/// ```
pub struct MessageReader {
    received: BytesMut,
    /// The type of the message whose last frame has not come yet.
    unfinished: Option<MessageKind>,
    /// The payloads of its frames so far.
    fragments: Vec<u8>,
    /// The place of the last event's payload.
    payload: Place,
    max_payload: MaxPayload,
    is_over: bool,
}

enum Place {
    Received(Range<usize>),
    Fragments,
}

/// A frame whose head has been read.
struct Frame {
    is_last: bool,
    opcode: Opcode,
    is_compressed: bool,
    mask: [u8; 4],
    /// The place of its payload in the received bytes.
    payload: Range<usize>,
}

impl MessageReader {
    /// A reader of a connection whose handshake is done. `received` holds the bytes that followed
    /// the client's request, usually none. Allocates nothing.
    #[must_use]
    pub const fn new(received: BytesMut, max_payload: MaxPayload) -> Self {
        Self {
            received,
            unfinished: None,
            fragments: Vec::new(),
            payload: Place::Received(0..0),
            max_payload,
            is_over: false,
        }
    }

    /// The buffer for received bytes, with room for 4 KiB or more: append to those that are there.
    /// Drops the last event's payload.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.drop_payload();
        // Moves the rest to the front, so that the capacity below is all of the memory.
        self.received.reserve(READ);
        if self.received.is_empty() && self.received.capacity() > KEPT {
            self.received = BytesMut::with_capacity(READ);
        }
        &mut self.received
    }

    /// The memory of the reader's buffers in bytes: what has arrived of a message that is not complete, and room for
    /// more. 0 while it holds no buffer.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.received.capacity() + self.fragments.capacity()
    }

    /// The unmasked payload of the last event, until the next call of
    /// [`next_event`](Self::next_event) or [`buffer`](Self::buffer).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match &self.payload {
            Place::Received(range) => &self.received[range.clone()],
            Place::Fragments => &self.fragments,
        }
    }

    /// The event of the next frame, at most one frame a call, so that a server can count frames and
    /// give other connections their turn. `None` when more bytes are needed, and always after a
    /// close frame or an error.
    ///
    /// Takes time linear in the frame's length.
    ///
    /// # Errors
    /// The client has broken the protocol or a message is too large: close the connection with
    /// [`ReadError::close_code`].
    pub fn next_event(&mut self) -> Result<Option<Event>, ReadError> {
        self.drop_payload();
        if !self.is_over
            && let Some(frame) = self.frame().inspect_err(|_| self.is_over = true)?
        {
            unmask(&mut self.received[frame.payload.clone()], frame.mask);
            let event = self.take(frame).inspect_err(|_| self.is_over = true)?;
            return Ok(Some(event));
        }
        self.release();
        Ok(None)
    }

    /// Drops the last event's payload, and frees the buffer unless it has bytes that were not read: for a
    /// connection that waits for something other than bytes before it asks for the next event. Most connections
    /// are silent most of the time, so [`next_event`](Self::next_event) does it, too, when it has none.
    pub fn release(&mut self) {
        self.drop_payload();
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }

    /// Drops the last event's payload, and returns memory beyond what a reader keeps.
    fn drop_payload(&mut self) {
        match std::mem::replace(&mut self.payload, Place::Received(0..0)) {
            Place::Received(range) => self.received.advance(range.end),
            Place::Fragments => {
                self.fragments.clear();
                self.fragments.shrink_to(KEPT);
            }
        }
    }

    /// The next frame, once all of it is there. Its head is checked as soon as it is there.
    fn frame(&self) -> Result<Option<Frame>, ReadError> {
        let Some(&[first, second]) = self.received.first_chunk() else { return Ok(None) };
        let (is_last, rsv) = (first & 0x80 != 0, first & 0x70);
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(ReadError::Protocol)?;
        let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
        let is_control = opcode.is_control();
        let continues = opcode == Opcode::Continuation;
        let is_compressed = rsv == 0x40 && starts && self.max_payload.compressed.is_some();
        let short = usize::from(second & 0x7F);
        let is_valid = (rsv == 0 || is_compressed)
            && second & 0x80 != 0
            && (!is_control || is_last && short < 126)
            && (!starts || self.unfinished.is_none())
            && (!continues || self.unfinished.is_some());
        if !is_valid {
            return Err(ReadError::Protocol);
        }
        let (len, mask_at) = match short {
            126 => {
                let Some(&[_, _, a, b]) = self.received.first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes([a, b])), 4)
            }
            127 => {
                let Some(&[_, _, ref len @ ..]) = self.received.first_chunk::<10>() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*len), 10)
            }
            short => (short as u64, 2),
        };
        // Only the shortest form of a length is valid.
        if short == 126 && len < 126 || short == 127 && !(0x1_0000..1 << 63).contains(&len) {
            return Err(ReadError::Protocol);
        }
        let max = match self.unfinished {
            _ if is_control => MAX_CONTROL,
            Some(MessageKind { is_compressed: true, .. }) => {
                self.max_payload.compressed.unwrap_or(0)
            }
            None if is_compressed => self.max_payload.compressed.unwrap_or(0),
            _ => self.max_payload.plain,
        };
        // Control frames come between fragments and do not count.
        let before = if is_control { 0 } else { self.fragments.len() };
        if len > (max - before) as u64 {
            return Err(ReadError::TooLarge);
        }
        let Some(&mask) = self.received[mask_at.min(self.received.len())..].first_chunk() else {
            return Ok(None);
        };
        // A frame longer than the address space, if the limit allows it, is never complete.
        let payload_at = mask_at + 4;
        let payload = payload_at..payload_at.saturating_add(len as usize);
        let is_whole = payload.end <= self.received.len();
        Ok(is_whole.then_some(Frame { is_last, opcode, is_compressed, mask, payload }))
    }

    /// The event of a frame, whose payload becomes the reader's.
    fn take(&mut self, frame: Frame) -> Result<Event, ReadError> {
        let payload = frame.payload.clone();
        self.payload = Place::Received(frame.payload);
        match frame.opcode {
            Opcode::Ping => Ok(Event::Ping),
            Opcode::Pong => Ok(Event::Pong),
            Opcode::Close => {
                self.is_over = true;
                code_of(&self.received[payload]).map(Event::Close)
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let is_compressed = frame.is_compressed;
                let first = MessageKind { is_text: frame.opcode == Opcode::Text, is_compressed };
                let kind = self.unfinished.take();
                if kind.is_none() && frame.is_last {
                    return Ok(Event::Message(first));
                }
                let kind = kind.unwrap_or(first);
                self.fragments.extend_from_slice(&self.received[payload]);
                if frame.is_last {
                    self.drop_payload();
                    self.payload = Place::Fragments;
                    return Ok(Event::Message(kind));
                }
                self.unfinished = Some(kind);
                Ok(Event::Fragment)
            }
        }
    }
}

impl fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageReader")
            .field("received", &self.received.len())
            .field("fragments", &self.fragments.len())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let (words, rest) = payload.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The code in the payload of a close frame.
fn code_of(payload: &[u8]) -> Result<Option<u16>, ReadError> {
    match *payload {
        [] => Ok(None),
        [_] => Err(ReadError::Protocol),
        [a, b, ref reason @ ..] => {
            let code = u16::from_be_bytes([a, b]);
            if !close_code::is_sendable(code) {
                Err(ReadError::Protocol)
            } else if std::str::from_utf8(reason).is_err() {
                Err(ReadError::NotUtf8)
            } else {
                Ok(Some(code))
            }
        }
    }
}
