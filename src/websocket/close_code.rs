//! The table of status codes that a close frame may carry (RFC 6455, section 7.4, and IANA's
//! registry of WebSocket close codes).
//!
//! Codes are plain numbers, as in the APIs of WebSocket libraries: an application has its own ones,
//! from 4000 to 4999.

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// The server shuts down, or the user has left the page.
pub const GOING_AWAY: u16 = 1001;
/// The peer has broken the WebSocket protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// The peer has sent a type of message that is not accepted, such as binary.
pub const UNSUPPORTED_DATA: u16 = 1003;
/// The payload of a message is not what its type promises, such as text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// The peer has broken a rule of the application; also the code when no other fits.
pub const POLICY_VIOLATION: u16 = 1008;
/// A message is larger than the receiver accepts.
pub const MESSAGE_TOO_BIG: u16 = 1009;
/// The client requires an extension that the server has not agreed on; servers do not send it.
pub const MANDATORY_EXTENSION: u16 = 1010;
/// The server cannot go on because of a failure of its own.
pub const INTERNAL_ERROR: u16 = 1011;
/// The server restarts: the client may connect again after a random delay.
pub const SERVICE_RESTART: u16 = 1012;
/// The server is overloaded, or the client too slow for what it is sent: connect again later.
pub const TRY_AGAIN_LATER: u16 = 1013;
/// A gateway has received an invalid answer from the server behind it.
pub const BAD_GATEWAY: u16 = 1014;

/// Whether a close frame may carry `code`: the codes of this table, 3000 to 3999 (registered by
/// libraries and frameworks) and 4000 to 4999 (private use). 1005, 1006 and 1015 are for APIs to
/// report, never for the wire; all other codes are reserved.
///
/// ```
/// use pondwire::websocket::close_code;
///
/// assert!(close_code::is_sendable(close_code::GOING_AWAY) && close_code::is_sendable(4000));
/// assert!(!close_code::is_sendable(1006));
/// ```
#[must_use]
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, NORMAL..=UNSUPPORTED_DATA | INVALID_PAYLOAD..=BAD_GATEWAY | 3000..=4999)
}
