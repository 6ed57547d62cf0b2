//! How large and how deep a frame may be.

use crate::error::{Detail, ValidationError};

/// What a received frame may measure. The default is what a server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame in bytes, that size included; checked before anything is read.
    /// By default 1 MiB, as the JavaScript and Rust servers have it.
    pub max_bytes: usize,
    /// How many brackets may be open at once, the message's own included. By default 127, which
    /// every implementation accepts. With a higher limit frames are scanned without vector
    /// instructions, two to three times slower, and nesting beyond 128 costs a bit a level.
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

    /// The error of a frame larger than `max_bytes`, for a transport that refuses one before it
    /// has all its bytes; [`Frame::invalid_message`](crate::Frame::invalid_message) answers it.
    #[must_use]
    pub const fn too_large(&self) -> ValidationError {
        ValidationError::wire(Detail::TooLarge { limit: self.max_bytes }, self.max_bytes)
    }
}

/// How a frame is read: its [`Limits`] and the one leniency that existing servers differ in.
///
/// ```
/// use pondwire::limits::ParseOptions;
/// use pondwire::{ClientMessage, Limits};
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
    /// What the frame may measure.
    pub limits: Limits,
    /// Reads a missing `payload` as `{}`, as the Rust server does, instead of refusing the frame.
    pub default_payload: bool,
}

impl From<Limits> for ParseOptions {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}
