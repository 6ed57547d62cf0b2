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
/// use pondwire::frame::Control;
///
/// assert_eq!(Control::pong(b"hi").unwrap().wire(), b"\x8A\x02hi");
/// let close = Control::close(1013, "slow").unwrap();
/// assert_eq!(close.wire(), b"\x88\x06\x03\xF5slow");
/// assert_eq!(close.as_close(), Some((1013, "slow")));
/// assert!(Control::pong(&[0; 126]).is_none());
/// assert!(Control::close(1006, "").is_none(), "this code is never sent");
/// ```
pub struct Control {
    pub(super) shared: Shared,
}

impl Control {
    /// The answer to a ping, whose payload it repeats. `None` if `payload` is longer than 125
    /// bytes; that of a valid ping is not.
    #[must_use]
    pub fn pong(payload: &[u8]) -> Option<Self> {
        (payload.len() <= MAX_CONTROL).then(|| Self::new(Opcode::Pong, &[payload]))
    }

    /// A ping. `None` if `payload` is longer than 125 bytes.
    #[must_use]
    pub fn ping(payload: &[u8]) -> Option<Self> {
        (payload.len() <= MAX_CONTROL).then(|| Self::new(Opcode::Ping, &[payload]))
    }

    /// A close frame with its code and reason. The reason is cut at a character boundary to the 123
    /// bytes that fit.
    ///
    /// `None` for a code that is not [sendable](close_code::is_sendable): 1000–1003, 1007–1014 and
    /// 3000–4999 are.
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

    /// The frame's type: [`Opcode::Close`], [`Opcode::Ping`] or [`Opcode::Pong`].
    #[must_use]
    pub fn opcode(&self) -> Opcode {
        Opcode::from_bits(self.wire()[0] & 0x0F).expect("made of an opcode")
    }

    /// The payload, at most 125 bytes. That of a close frame is the code and the reason; see
    /// [`as_close`](Self::as_close).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.wire()[self.shared.head_len()..]
    }

    /// Code and reason if it is a close frame.
    #[must_use]
    pub fn as_close(&self) -> Option<(u16, &str)> {
        let (code, reason) = self.payload().split_first_chunk().filter(|_| self.is_close())?;
        Some((u16::from_be_bytes(*code), std::str::from_utf8(reason).ok()?))
    }

    pub(crate) fn is_close(&self) -> bool {
        self.opcode() == Opcode::Close
    }

    pub(crate) fn is_pong(&self) -> bool {
        self.opcode() == Opcode::Pong
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.opcode() {
            Opcode::Close => "close",
            Opcode::Ping => "ping",
            _ => "pong",
        };
        write!(f, "Control({name}, {:?})", self.payload().escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, Opcode};

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

    #[test]
    fn only_a_close_frame_has_a_code() {
        let ping = Control::ping(b"\x03\xE8").unwrap();
        assert_eq!((ping.opcode(), ping.payload()), (Opcode::Ping, &b"\x03\xE8"[..]));
        assert_eq!(ping.as_close(), None);
        assert_eq!(Control::close(1000, "").unwrap().as_close(), Some((1000, "")));
    }
}
