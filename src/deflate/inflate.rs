//! Inflating received messages from untrusted peers, within a bound.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::FLUSHED;
use crate::websocket::close_code;

/// The first size of the output, in bytes.
const CHUNK: usize = 16 << 10;

/// A final empty block. If the input before it consists of whole blocks, the stream ends exactly after
/// it.
const FINAL: [u8; 2] = [0x03, 0x00];

/// An inflater of compressed messages that reuses its memory.
///
/// One for each thread is enough: [`PermessageDeflate`](crate::websocket::PermessageDeflate) negotiates no context
/// takeover, so it keeps no state of a connection. It holds some 40 KB, and an output buffer as large as
/// the largest message so far.
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
    /// Allocates some 40 KB of state; the output buffer is allocated later.
    #[must_use]
    pub fn new() -> Self {
        Self { stream: Decompress::new(false), output: Vec::new() }
    }

    /// The longest compressed payload, in bytes, that is accepted for messages of up to `limit` bytes:
    /// `limit`, an eighth of it and a little more. No compressor needs more; a longer payload, such as
    /// one of empty blocks, is refused unread. A transport should refuse it on reading the frame's head.
    #[must_use]
    pub const fn max_payload(limit: usize) -> usize {
        limit.saturating_add(limit / 8).saturating_add(64)
    }

    /// Inflates the payload of a frame with RSV1 set, or of its fragments put together.
    ///
    /// `limit` bounds the message in bytes; pass [`Limits::max_bytes`](crate::Limits::max_bytes). It also
    /// bounds the memory, to some 5/4 of it while the output grows. Allocates nothing once the output
    /// buffer fits the messages. Any bytes give a message or an error; the inflater can be used again
    /// after either.
    ///
    /// Takes time linear in the payload and the limit: less than a nanosecond a byte for a long ordinary
    /// message, but some hundred a byte for a payload of nothing but code tables, which DEFLATE allows:
    /// more than a tenth of a second for the longest payload within the default limit.
    ///
    /// # Errors
    /// The message is larger than `limit`, or the payload is malformed: not DEFLATE, or it ends within a
    /// block. [`InflateError::close_code`] has the code to close the connection with.
    pub fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<&[u8], InflateError> {
        self.output.clear();
        if payload.len() > Self::max_payload(limit) {
            return Err(InflateError(Fault::TooLarge { limit }));
        }
        self.stream.reset(false);
        self.feed(payload, limit)?;
        let [a, b, c, d] = FLUSHED;
        let [e, f] = FINAL;
        // An error in these bytes means that the payload ended within a block.
        let ended = self.feed(&[a, b, c, d, e, f], limit).map_err(|error| match error.0 {
            Fault::Malformed { .. } => InflateError(Fault::Truncated),
            _ => error,
        })?;
        if ended { Ok(&self.output) } else { Err(InflateError(Fault::Truncated)) }
    }

    /// Inflates `input`. Returns whether a final block ended exactly at its end.
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
                // A message may consist of several streams, each padded to whole bytes.
                Ok(Status::StreamEnd) => {
                    self.stream.reset(false);
                    if at == input.len() {
                        return Ok(true);
                    }
                }
                // The output has room left, so the input has no further output.
                Ok(_) if at == input.len() && self.output.len() < self.output.capacity() => {
                    return Ok(false);
                }
                Ok(_) => {}
            }
        }
    }

    /// Grows the output, up to one byte more than the limit: that byte distinguishes a message of exactly
    /// the limit from a larger one. The size grows fourfold; the last step starts from at most a quarter
    /// of the limit, since both buffers exist while the output is moved.
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
    /// Only its size: the last message does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("output_capacity", &self.output.capacity()).finish()
    }
}

/// The reason why a compressed message was refused. Creating and copying one allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateError(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge { limit: usize },
    Malformed { offset: usize },
    Truncated,
}

impl InflateError {
    /// The WebSocket close code for it: 1009 for a message that is too large, 1007 for a malformed one.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        if self.is_too_large() { close_code::MESSAGE_TOO_BIG } else { close_code::INVALID_PAYLOAD }
    }

    /// Whether the message was refused for its size; the part that was inflated was well-formed.
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
            Fault::Truncated => f.write_str("Compressed data is truncated"),
        }
    }
}

impl std::error::Error for InflateError {}
