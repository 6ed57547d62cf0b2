//! Limits on the size and the depth of a received frame, and the options for parsing one.
//!
//! - [`Limits`] bounds the bytes and the nesting of a frame.
//! - [`ParseOptions`] adds whether a message without a payload is accepted.
//!
//! The `parse_with` methods of the [views](crate::view) take either; plain `parse` uses the
//! defaults.

use crate::error::{Detail, ValidationError};

/// The size from which frames are refused whatever the limits say: the scanner has 30 bits for a
/// place.
pub(crate) const MOST_BYTES: usize = (1 << 30) - 1;

/// Limits on a received frame. The defaults suit a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest accepted frame in bytes; checked before the frame is read. By default 1 MiB, as in the
    /// JavaScript and Rust servers. A frame of 1 GiB or more is always refused.
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
        if bytes > self.most_bytes() { Err(self.too_large()) } else { Ok(()) }
    }

    const fn most_bytes(&self) -> usize {
        if self.max_bytes < MOST_BYTES { self.max_bytes } else { MOST_BYTES }
    }

    /// The error for a frame larger than the limit, for a transport that refuses the frame before all its
    /// bytes have arrived. [`Frame::invalid_message`](crate::Frame::invalid_message) builds the answer.
    #[must_use]
    pub const fn too_large(&self) -> ValidationError {
        let limit = self.most_bytes();
        ValidationError::wire(Detail::TooLarge { limit }, limit)
    }
}

impl Default for Limits {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// The options for parsing a frame: its [`Limits`], and whether a missing payload is accepted, in
/// which existing servers differ.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_admits_more_than_places_can_tell() {
        let limits = Limits::new().with_max_bytes(usize::MAX);
        assert_eq!(limits.check_size(MOST_BYTES), Ok(()));
        let error = limits.check_size(MOST_BYTES + 1).unwrap_err();
        assert_eq!((error.is_too_large(), error.offset()), (true, MOST_BYTES));
        assert_eq!(error, limits.too_large());
    }
}
