//! The error that a server sends to its users: a code, a channel, and whether to retry.

use std::error::Error;
use std::fmt;

use serde_json::Value;

use super::{BoxError, status};

/// A code below 100, which is invalid for a [`PondError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCode(i64);

impl fmt::Display for InvalidCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PondError code must be >= 100, got {}", self.0)
    }
}

impl Error for InvalidCode {}

/// An error with a status code, for the user whose request failed.
///
/// Its text is `Error in Channel <channel>: <message> (code: <code>)`, or
/// `<message> (code: <code>)` if it has no channel. The cause, if there is one, is its
/// [`source`](Error::source). A constructor copies only the two strings.
///
/// ```
/// use pondwire::error::{PondError, status};
///
/// let error = PondError::too_many_requests("/chat/1", "slow down");
/// assert_eq!(error.to_string(), "Error in Channel /chat/1: slow down (code: 429)");
/// assert_eq!(error.code(), status::TOO_MANY_REQUESTS);
/// assert!(error.is_temporary());
///
/// let error = PondError::wrap("disk full".parse::<u8>().unwrap_err(), "saving");
/// assert_eq!(error.to_string(), "saving: invalid digit found in string (code: 500)");
/// ```
#[derive(Debug)]
pub struct PondError {
    message: String,
    code: i64,
    channel_name: String,
    temporary: bool,
    details: Option<Value>,
    cause: Option<BoxError>,
}

impl PondError {
    /// An error with any code from 100 up, without a channel and not temporary.
    ///
    /// # Errors
    ///
    /// When `code` is below 100. The constructors named after a status never fail.
    pub fn new(message: impl Into<String>, code: i64) -> Result<Self, InvalidCode> {
        if code < 100 {
            return Err(InvalidCode(code));
        }
        Ok(Self::with_code("", message, code))
    }

    /// A temporary error about a channel, with any code from 100 up.
    ///
    /// # Errors
    ///
    /// When `code` is below 100.
    pub fn temporary_error(
        channel_name: impl Into<String>,
        message: impl Into<String>,
        code: i64,
    ) -> Result<Self, InvalidCode> {
        Ok(Self::new(message, code)?.in_channel(channel_name).temporary())
    }

    /// The request is malformed: code 400.
    #[must_use]
    pub fn bad_request(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::BAD_REQUEST)
    }

    /// The client is not authenticated: code 401.
    #[must_use]
    pub fn unauthorized(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::UNAUTHORIZED)
    }

    /// The user lacks the permission: code 403.
    #[must_use]
    pub fn forbidden(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::FORBIDDEN)
    }

    /// The requested object does not exist: code 404.
    #[must_use]
    pub fn not_found(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::NOT_FOUND)
    }

    /// The request conflicts with the current state: code 409.
    #[must_use]
    pub fn conflict(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::CONFLICT)
    }

    /// The client sends too many requests: code 429, temporary.
    #[must_use]
    pub fn too_many_requests(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::TOO_MANY_REQUESTS).temporary()
    }

    /// The server failed: code 500.
    #[must_use]
    pub fn internal(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::INTERNAL_SERVER_ERROR)
    }

    /// The server cannot serve now: code 503, temporary.
    #[must_use]
    pub fn unavailable(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::SERVICE_UNAVAILABLE).temporary()
    }

    /// An operation took too long: code 504, temporary.
    #[must_use]
    pub fn timeout(channel_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::with_code(channel_name, message, status::GATEWAY_TIMEOUT).temporary()
    }

    /// Adds the operation during which `error` happened; the message becomes `message: error`.
    ///
    /// A `PondError` keeps its code, channel, details, cause and whether it is temporary. Any
    /// other error becomes the cause of one with code 500 and no channel.
    #[must_use]
    pub fn wrap(error: impl Into<BoxError>, message: impl fmt::Display) -> Self {
        match error.into().downcast::<Self>() {
            Ok(inner) => Self { message: format!("{message}: {}", inner.message), ..*inner },
            Err(other) => {
                let message = format!("{message}: {other}");
                Self::with_code("", message, status::INTERNAL_SERVER_ERROR).with_cause(other)
            }
        }
    }

    fn with_code(channel_name: impl Into<String>, message: impl Into<String>, code: i64) -> Self {
        debug_assert!(code >= 100);
        Self {
            message: message.into(),
            code,
            channel_name: channel_name.into(),
            temporary: false,
            details: None,
            cause: None,
        }
    }

    /// The same error with another channel; an empty name means no channel.
    #[must_use]
    pub fn in_channel(self, channel_name: impl Into<String>) -> Self {
        Self { channel_name: channel_name.into(), ..self }
    }

    /// The same error, as a temporary one: a retry may succeed.
    #[must_use]
    pub fn temporary(self) -> Self {
        Self { temporary: true, ..self }
    }

    /// The same error with data for the program that receives it.
    #[must_use]
    pub fn with_details(self, details: impl Into<Value>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    /// The same error with a cause.
    #[must_use]
    pub fn with_cause(self, cause: impl Into<BoxError>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// The message, without code and channel.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status code, at least 100: one of [`status`] or of the server's own.
    #[must_use]
    pub const fn code(&self) -> i64 {
        self.code
    }

    /// The channel of the error; empty if there is none.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// Whether a later retry may succeed.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Data for the program that receives the error.
    #[must_use]
    pub const fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }
}

impl fmt::Display for PondError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, code, channel_name, .. } = self;
        if !channel_name.is_empty() {
            write!(f, "Error in Channel {channel_name}: ")?;
        }
        write!(f, "{message} (code: {code})")
    }
}

impl Error for PondError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
