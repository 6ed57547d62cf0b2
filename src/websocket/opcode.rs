//! The table of opcodes (RFC 6455, section 11.8).

/// The type of a frame: the low four bits of its first byte.
///
/// ```
/// use pondwire::websocket::Opcode;
///
/// assert_eq!(Opcode::from_bits(0x9), Some(Opcode::Ping));
/// assert_eq!(Opcode::Text.bits(), 0x1);
/// assert!(Opcode::Close.is_control() && !Opcode::Continuation.is_control());
/// assert_eq!(Opcode::from_bits(0x3), None, "reserved");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further frame of a fragmented message.
    Continuation = 0x0,
    /// The first frame of a message that is UTF-8; all messages of PondSocket are.
    Text = 0x1,
    /// The first frame of a message of any bytes.
    Binary = 0x2,
    /// The last frame that its sender sends.
    Close = 0x8,
    /// A request for a [`Pong`](Self::Pong) with the same payload.
    Ping = 0x9,
    /// The answer to a [`Ping`](Self::Ping), or a sign of life that needs no answer.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode with these four bits. `None` if they are reserved, or if a higher bit is set.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// The four bits on the wire.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// Whether frames of this type are control frames: never fragmented, with a payload of at most
    /// 125 bytes, and allowed between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::Opcode;

    #[test]
    fn every_opcode_is_read_as_it_is_written() {
        let known: Vec<u8> =
            (0..=u8::MAX).filter_map(|bits| Opcode::from_bits(bits).map(Opcode::bits)).collect();
        assert_eq!(known, [0x0, 0x1, 0x2, 0x8, 0x9, 0xA]);
    }
}
