//! Inflating a received message, of which nothing is trusted, within a bound.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::FLUSHED;
use crate::websocket::close_code;

/// What the output grows by at first, in bytes.
const CHUNK: usize = 16 << 10;

/// A final empty block: the stream has ended behind it, and nowhere else, if all before it is a
/// sequence of whole blocks.
const FINAL: [u8; 2] = [0x03, 0x00];

/// An inflater of compressed messages, whose memory is used again for the next.
///
/// One per thread is enough, and right: without context takeover, which
/// [`PermessageDeflate`](crate::websocket::PermessageDeflate) makes sure of, nothing of a connection stays in
/// it. It holds some 40 KB, and an output as large as the largest message so far.
///
/// ```
/// use pondwire::deflate::Inflater;
///
/// let mut inflater = Inflater::new();
/// let hello = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]; // RFC 7692, section 7.2.3.1
/// assert_eq!(inflater.inflate(&hello, 5), Ok(&b"Hello"[..]));
/// assert_eq!(inflater.inflate(&hello, 4).unwrap_err().close_code(), 1009);
/// assert_eq!(inflater.inflate(b"Hello", 5).unwrap_err().close_code(), 1007);
/// ```
pub struct Inflater {
    stream: Decompress,
    output: Vec<u8>,
}

impl Inflater {
    /// Allocates its state of some 40 KB, and nothing for the output yet.
    #[must_use]
    pub fn new() -> Self {
        Self { stream: Decompress::new(false), output: Vec::new() }
    }

    /// The longest payload, in bytes, that is worth reading when a message may have `limit` bytes:
    /// an eighth more and a little. No compressor needs more, and a payload that does, of empty
    /// blocks say, is refused unread; a transport does well to refuse it by the frame's head.
    #[must_use]
    pub const fn max_payload(limit: usize) -> usize {
        limit.saturating_add(limit / 8).saturating_add(64)
    }

    /// The message in the payload of a frame, or of the frames put together, that came with RSV1.
    ///
    /// At most `limit` bytes of it, which is [`Limits::max_bytes`](crate::Limits::max_bytes): it
    /// bounds the memory too, to some 5/4 of it while the output grows. Allocates nothing once the
    /// output has grown to what the messages need. Any bytes give a message or an error, after
    /// which the inflater is as good as new.
    ///
    /// Takes time linear in the payload and the limit: less than a nanosecond a byte of a long
    /// ordinary message, but some hundred a byte of a payload that is all descriptions of codes, as
    /// DEFLATE allows: more than a tenth of a second for the longest within the default limit.
    ///
    /// # Errors
    /// The message is larger than `limit`, or the payload is no such message: not DEFLATE, or it
    /// breaks off within a block. [`InflateError::close_code`] says how to close the connection.
    pub fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<&[u8], InflateError> {
        self.output.clear();
        if payload.len() > Self::max_payload(limit) {
            return Err(InflateError(Fault::TooLarge { limit }));
        }
        self.stream.reset(false);
        self.feed(payload, limit)?;
        let [a, b, c, d] = FLUSHED;
        let [e, f] = FINAL;
        // What fails behind the payload's end is that it ended there.
        let ended = self.feed(&[a, b, c, d, e, f], limit).map_err(|error| match error.0 {
            Fault::Malformed { .. } => InflateError(Fault::Truncated),
            _ => error,
        })?;
        if ended { Ok(&self.output) } else { Err(InflateError(Fault::Truncated)) }
    }

    /// Inflates `input`; whether a final block ended with it.
    fn feed(&mut self, input: &[u8], limit: usize) -> Result<bool, InflateError> {
        let mut at = 0;
        loop {
            if self.output.len() == self.output.capacity() {
                self.grow(limit);
            }
            let before = self.stream.total_in();
            let flush = FlushDecompress::None;
            let status = self.stream.decompress_vec(&input[at..], &mut self.output, flush);
            at += (self.stream.total_in() - before) as usize;
            if self.output.len() > limit {
                return Err(InflateError(Fault::TooLarge { limit }));
            }
            match status {
                Err(_) => return Err(InflateError(Fault::Malformed { offset: at })),
                // A message may be several streams, each padded to whole bytes.
                Ok(Status::StreamEnd) => {
                    self.stream.reset(false);
                    if at == input.len() {
                        return Ok(true);
                    }
                }
                // With room left in the output, nothing more comes out of what was read.
                Ok(_) if at == input.len() && self.output.len() < self.output.capacity() => {
                    return Ok(false);
                }
                Ok(_) => {}
            }
        }
    }

    /// More room, up to one byte more than the limit: that byte tells a message of just the
    /// limit's size from a larger one. Steps by four, the last one from a quarter of the limit or
    /// less, since both places exist while the output moves.
    fn grow(&mut self, limit: usize) {
        let larger = self.output.capacity().saturating_mul(4).max(CHUNK);
        let larger = if larger > limit / 4 { limit.saturating_add(1) } else { larger };
        self.output.reserve_exact(larger - self.output.len());
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    /// Its size; the last message is none of a log's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("output_capacity", &self.output.capacity()).finish()
    }
}

/// Why a compressed message was refused. Making and copying one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateError(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge { limit: usize },
    Malformed { offset: usize },
    Truncated,
}

impl InflateError {
    /// The WebSocket close code that tells the client: 1009 for a message that is too large, 1007
    /// for one that is malformed.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        if self.is_too_large() { close_code::MESSAGE_TOO_BIG } else { close_code::INVALID_PAYLOAD }
    }

    /// Whether the message was refused for its size; what there was of it was well-formed then.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self.0, Fault::TooLarge { .. })
    }
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::TooLarge { limit } => write!(f, "Message exceeds {limit} bytes"),
            Fault::Malformed { offset } => write!(f, "Invalid compressed data at byte {offset}"),
            Fault::Truncated => f.write_str("Compressed data breaks off"),
        }
    }
}

impl std::error::Error for InflateError {}
