//! Limits on the size and the depth of a received frame, and the options for parsing one.
//!
//! - [`Limits`] bounds the bytes and the nesting of a frame.
//! - [`ParseOptions`] adds whether a message without a payload is accepted.
//!
//! The `parse_with` methods of the [views](crate::view) take either; plain `parse` uses the
//! defaults.

use crate::error::{Detail, ValidationError};

/// Limits on a received frame. The defaults suit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest accepted frame in bytes; checked before the frame is read. By default 1 MiB, as in the
    /// JavaScript and Rust servers.
    pub max_bytes: usize,
    /// The most brackets open at once, the message's own included. By default 127, which every
    /// implementation accepts. With a higher limit frames are scanned without vector instructions, two to
    /// three times slower, and each level beyond 128 takes one bit of memory.
    pub max_depth: usize,
}

impl Limits {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_bytes: 1 << 20, max_depth: 127 }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub const fn with_max_depth(mut self, max_depth: usize) -> Self {
        self.max_depth = max_depth;
        self
    }

    pub(crate) const fn check_size(&self, bytes: usize) -> Result<(), ValidationError> {
        if bytes > self.max_bytes { Err(self.too_large()) } else { Ok(()) }
    }

    /// The error for a frame larger than `max_bytes`, for a transport that refuses the frame before all its
    /// bytes have arrived. [`Frame::invalid_message`](crate::Frame::invalid_message) builds the answer.
    #[must_use]
    pub const fn too_large(&self) -> ValidationError {
        ValidationError::wire(Detail::TooLarge { limit: self.max_bytes }, self.max_bytes)
    }
}

impl Default for Limits {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// The options for parsing a frame: its [`Limits`], and the one leniency in which existing servers
/// differ.
///
/// ```
/// use pondwire::limits::ParseOptions;
/// use pondwire::{ClientMessage, Limits};
///
/// let frame = br#"{"action":"LEAVE_CHANNEL","event":"x","channelName":"/chat/1","requestId":"1"}"#;
/// assert!(ClientMessage::parse(frame).is_err());
///
/// let options = ParseOptions::new().with_default_payload(true);
/// assert_eq!(ClientMessage::parse_with(frame, options)?.payload().as_str(), "{}");
///
/// let limits = Limits::new().with_max_bytes(16);
/// assert!(ClientMessage::parse_with(frame, limits).unwrap_err().is_too_large());
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseOptions {
    /// The limits on the frame.
    pub limits: Limits,
    /// Whether a missing `payload` is read as `{}`, as in the Rust server, or refused.
    pub default_payload: bool,
}

impl ParseOptions {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { limits: Limits::new(), default_payload: false }
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`default_payload`](Self::default_payload).
    #[must_use]
    pub const fn with_default_payload(mut self, default_payload: bool) -> Self {
        self.default_payload = default_payload;
        self
    }
}

impl From<Limits> for ParseOptions {
    fn from(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }
}
