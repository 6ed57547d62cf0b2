//! WebSocket control frames (RFC 6455, section 5.5) as wire bytes.

use std::fmt;

use super::shared::Shared;
use crate::encode::Output;
use crate::scan::text;
use crate::websocket::{MAX_CONTROL, Opcode, close_code};

/// A close, ping or pong frame of a server, unmasked and ready to be sent.
///
/// One word and one allocation, as a [`Frame`](crate::Frame). Its payload is at most 125 bytes.
///
/// ```
/// use pondwire::Control;
///
/// assert_eq!(Control::pong(b"hi").unwrap().wire(), b"\x8A\x02hi");
/// assert_eq!(Control::close(1013, "slow").unwrap().wire(), b"\x88\x06\x03\xF5slow");
/// assert!(Control::pong(&[0; 126]).is_none());
/// assert!(Control::close(1006, "").is_none(), "this code is never sent");
/// ```
pub struct Control {
    pub(super) shared: Shared,
}

impl Control {
    /// The answer to a ping, whose payload it repeats. `None` if that is longer than 125 bytes,
    /// which no ping's is.
    #[must_use]
    pub fn pong(payload: &[u8]) -> Option<Self> {
        (payload.len() <= MAX_CONTROL).then(|| Self::new(Opcode::Pong, &[payload]))
    }

    /// A ping. `None` if `payload` is longer than 125 bytes.
    #[must_use]
    pub fn ping(payload: &[u8]) -> Option<Self> {
        (payload.len() <= MAX_CONTROL).then(|| Self::new(Opcode::Ping, &[payload]))
    }

    /// The end of the connection and why. The reason is cut to the 123 bytes that there is space
    /// for, at a character's border.
    ///
    /// `None` unless [`close_code::is_sendable`]: 1000–1003, 1007–1014 and 3000–4999 are.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Option<Self> {
        if !close_code::is_sendable(code) {
            return None;
        }
        let code = code.to_be_bytes();
        let reason = text::excerpt(reason, MAX_CONTROL - code.len());
        Some(Self::new(Opcode::Close, &[&code, reason.as_bytes()]))
    }

    fn new(opcode: Opcode, parts: &[&[u8]]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut builder = Shared::control_builder(opcode, length);
        parts.iter().for_each(|part| builder.put(part));
        Self { shared: builder.finish() }
    }

    /// The whole frame: 2 bytes of head and the payload.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.shared.wire()
    }

    fn opcode(&self) -> u8 {
        self.wire()[0] & 0x0F
    }

    pub(crate) fn is_close(&self) -> bool {
        self.opcode() == Opcode::Close.bits()
    }

    pub(crate) fn is_pong(&self) -> bool {
        self.opcode() == Opcode::Pong.bits()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match Opcode::from_bits(self.opcode()) {
            Some(Opcode::Close) => "close",
            Some(Opcode::Ping) => "ping",
            _ => "pong",
        };
        write!(f, "Control({name}, {:?})", self.wire()[2..].escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let reason = "é".repeat(100);
        let close = Control::close(4000, &reason).unwrap();
        assert_eq!(close.wire()[..4], [0x88, 124, 0x0F, 0xA0]);
        assert_eq!(&close.wire()[4..], "é".repeat(61).as_bytes());
        assert!(close.is_close());
        let full = Control::close(1000, &"x".repeat(123)).unwrap();
        assert_eq!(full.wire().len(), 127);
    }

    #[test]
    fn codes_that_only_stand_for_something_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(Control::close(code, "").is_none(), "{code}");
        }
        for code in [1000, 1003, 1007, 1014, 3000, 4999] {
            assert!(Control::close(code, "").is_some(), "{code}");
        }
    }

    #[test]
    fn debug_shows_kind_and_payload() {
        assert_eq!(format!("{:?}", Control::ping(b"a\xff").unwrap()), r#"Control(ping, "a\\xff")"#);
        assert!(Control::pong(&[7; 125]).unwrap().is_pong());
    }
}
