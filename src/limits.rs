//! The limits of a received frame's size and depth.

use crate::error::{Detail, ValidationError};

/// The limits of a received frame. The default suits a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame in bytes, inclusive; checked before any byte is read. By default 1 MiB, as
    /// in the JavaScript and Rust servers.
    pub max_bytes: usize,
    /// The number of brackets that may be open at once, the message's own included. By default 127,
    /// which every implementation accepts. With a higher limit frames are scanned without vector
    /// instructions, two to three times slower, and nesting beyond 128 takes one bit per level.
    pub max_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_depth: 127 }
    }
}

impl Limits {
    pub(crate) const fn check_size(&self, bytes: usize) -> Result<(), ValidationError> {
        if bytes > self.max_bytes { Err(self.too_large()) } else { Ok(()) }
    }

    /// The error of a frame larger than `max_bytes`, for a transport that refuses a frame before it
    /// has received all of it; [`Frame::invalid_message`](crate::Frame::invalid_message) makes the
    /// answer.
    #[must_use]
    pub const fn too_large(&self) -> ValidationError {
        ValidationError::wire(Detail::TooLarge { limit: self.max_bytes }, self.max_bytes)
    }
}

/// Options for parsing a frame: its [`Limits`], and the one leniency in which existing servers
/// differ.
///
/// ```
/// use pondwire::{ClientMessage, Limits, ParseOptions};
///
/// let frame = br#"{"action":"LEAVE_CHANNEL","event":"x","channelName":"/chat/1","requestId":"1"}"#;
/// assert!(ClientMessage::parse(frame).is_err());
///
/// let options = ParseOptions { default_payload: true, ..ParseOptions::default() };
/// assert_eq!(ClientMessage::parse_with(frame, options)?.payload().as_str(), "{}");
///
/// let limits = Limits { max_bytes: 16, ..Limits::default() };
/// assert!(ClientMessage::parse_with(frame, limits).unwrap_err().is_too_large());
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// The limits of the frame.
    pub limits: Limits,
    /// Reads a missing `payload` as `{}`, as the Rust server does, instead of refusing the frame.
    pub default_payload: bool,
}

impl From<Limits> for ParseOptions {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}
