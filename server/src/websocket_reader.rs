//! What a WebSocket client sends, read strictly (RFC 6455): bytes in, messages and control frames
//! out. It knows no socket.

use std::ops::Range;

use bytes::{Buf, BytesMut};

/// Memory that a connection keeps when it has nothing to read.
const KEPT: usize = 64 << 10;

/// What one read of the socket brings, or more if there is room.
const READ: usize = 4 << 10;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What was received; [`MessageReader::payload`] has its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Message(Kind),
    /// A frame of a message of which more is to come.
    Fragment,
    Ping,
    Pong,
    /// With the code, if there is one. Nothing comes after it.
    Close(Option<u16>),
}

/// What the first frame of a message says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The payload, inflated if it is compressed, must be UTF-8. That is not checked here.
    pub is_text: bool,
    /// The payload is what RFC 7692 makes of it.
    pub is_compressed: bool,
}

/// Why nothing more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client breaks the protocol.
    Protocol,
    /// The reason of its close frame is not UTF-8.
    NotUtf8,
    /// A message is larger than the limit. Told by the frame's head, before it is buffered.
    TooLarge,
}

impl Fault {
    /// The code to close with.
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// How long the payload of a message may be, in bytes.
#[derive(Clone, Copy)]
pub struct MaxPayload {
    pub plain: usize,
    /// Of a compressed message; `None` where that was not agreed on.
    pub compressed: Option<usize>,
}

/// Reads one connection. It holds the bytes of one message at most, beside what one read of the
/// socket brought.
pub struct MessageReader {
    received: BytesMut,
    /// The message whose last frame has not come yet, and what there is of it.
    unfinished: Option<Kind>,
    fragments: Vec<u8>,
    /// Where the last event's payload is.
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
    opcode: u8,
    is_compressed: bool,
    mask: [u8; 4],
    /// Where its payload is in what was received.
    payload: Range<usize>,
}

impl MessageReader {
    /// `received` is what came behind the handshake.
    pub fn new(received: BytesMut, max_payload: MaxPayload) -> Self {
        Self {
            received,
            unfinished: None,
            fragments: Vec::new(),
            payload: Place::Received(0..0),
            max_payload,
            is_over: false,
        }
    }

    /// Where the socket's bytes are put, behind those that are there.
    pub fn space(&mut self) -> &mut BytesMut {
        // Moves what is left to the front, so that all of the memory counts below.
        self.received.reserve(READ);
        if self.received.is_empty() && self.received.capacity() > KEPT {
            self.received = BytesMut::with_capacity(READ);
        }
        &mut self.received
    }

    /// The payload of the last event, until the next is asked for.
    pub fn payload(&self) -> &[u8] {
        match &self.payload {
            Place::Received(range) => &self.received[range.clone()],
            Place::Fragments => &self.fragments,
        }
    }

    /// What the next frame means; `None` when more bytes are needed, and for ever after a close
    /// frame or a fault. Reads one frame, so that the caller can count them.
    pub fn next(&mut self) -> Result<Option<Event>, Fault> {
        self.forget();
        if !self.is_over
            && let Some(frame) = self.frame().inspect_err(|_| self.is_over = true)?
        {
            unmask(&mut self.received[frame.payload.clone()], frame.mask);
            let event = self.take(frame).inspect_err(|_| self.is_over = true)?;
            return Ok(Some(event));
        }
        if self.received.is_empty() {
            // Most connections are silent most of the time.
            self.received = BytesMut::new();
        }
        Ok(None)
    }

    /// Lets go of the last event's payload.
    fn forget(&mut self) {
        match std::mem::replace(&mut self.payload, Place::Received(0..0)) {
            Place::Received(range) => self.received.advance(range.end),
            Place::Fragments => {
                self.fragments.clear();
                self.fragments.shrink_to(KEPT);
            }
        }
    }

    /// The next frame, once all of it is there. What its head tells is checked before.
    fn frame(&self) -> Result<Option<Frame>, Fault> {
        let Some(&[first, second]) = self.received.first_chunk() else { return Ok(None) };
        let (is_last, rsv, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
        let starts = matches!(opcode, TEXT | BINARY);
        let is_control = matches!(opcode, CLOSE | PING | PONG);
        let continues = opcode == CONTINUATION;
        let is_compressed = rsv == 0x40 && starts && self.max_payload.compressed.is_some();
        let short = usize::from(second & 0x7F);
        let is_lawful = (starts || is_control || continues)
            && (rsv == 0 || is_compressed)
            && second & 0x80 != 0
            && (!is_control || is_last && short < 126)
            && (!starts || self.unfinished.is_none())
            && (!continues || self.unfinished.is_some());
        if !is_lawful {
            return Err(Fault::Protocol);
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
        // The shortest way to write a length is the only one.
        if short == 126 && len < 126 || short == 127 && !(0x1_0000..1 << 63).contains(&len) {
            return Err(Fault::Protocol);
        }
        let max = match self.unfinished {
            _ if is_control => 125,
            Some(Kind { is_compressed: true, .. }) => self.max_payload.compressed.unwrap_or(0),
            None if is_compressed => self.max_payload.compressed.unwrap_or(0),
            _ => self.max_payload.plain,
        };
        // Control frames come between fragments and do not count.
        let before = if is_control { 0 } else { self.fragments.len() };
        if len > (max - before) as u64 {
            return Err(Fault::TooLarge);
        }
        let Some(&mask) = self.received[mask_at.min(self.received.len())..].first_chunk() else {
            return Ok(None);
        };
        // A length beyond the memory there is, allowed by a limit of as much, never gets whole.
        let payload_at = mask_at + 4;
        let payload = payload_at..payload_at.saturating_add(len as usize);
        let is_whole = payload.end <= self.received.len();
        Ok(is_whole.then_some(Frame { is_last, opcode, is_compressed, mask, payload }))
    }

    /// What the frame means.
    fn take(&mut self, frame: Frame) -> Result<Event, Fault> {
        let payload = frame.payload.clone();
        self.payload = Place::Received(frame.payload);
        match frame.opcode {
            PING => Ok(Event::Ping),
            PONG => Ok(Event::Pong),
            CLOSE => {
                self.is_over = true;
                close_code(&self.received[payload]).map(Event::Close)
            }
            opcode => {
                let is_compressed = frame.is_compressed;
                let first = Kind { is_text: opcode == TEXT, is_compressed };
                let kind = self.unfinished.take();
                if kind.is_none() && frame.is_last {
                    return Ok(Event::Message(first));
                }
                let kind = kind.unwrap_or(first);
                self.fragments.extend_from_slice(&self.received[payload]);
                if frame.is_last {
                    self.forget();
                    self.payload = Place::Fragments;
                    return Ok(Event::Message(kind));
                }
                self.unfinished = Some(kind);
                Ok(Event::Fragment)
            }
        }
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

/// The code in the payload of a close frame; a client may send those that have a meaning when
/// sent (RFC 6455, section 7.4, and IANA's registry).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match *payload {
        [] => Ok(None),
        [_] => Err(Fault::Protocol),
        [a, b, ref reason @ ..] => {
            let code = u16::from_be_bytes([a, b]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                Err(Fault::Protocol)
            } else if std::str::from_utf8(reason).is_err() {
                Err(Fault::NotUtf8)
            } else {
                Ok(Some(code))
            }
        }
    }
}
