//! The heads of unmasked frames, which a server sends (RFC 6455, sections 5.2 and 5.5).

use super::Opcode;

/// The longest payload of a control frame in bytes.
pub(crate) const MAX_CONTROL: usize = 125;

const FINAL: u8 = 0x80;
const RSV1: u8 = 0x40;

/// The head of an unmasked frame that is a whole message or a control frame; the payload follows
/// it on the wire.
///
/// ```
/// use pondwire::websocket::{Head, Opcode};
///
/// assert_eq!(Head::new(Opcode::Text, 5).as_bytes(), [0x81, 5]);
/// assert_eq!(Head::new(Opcode::Binary, 300).as_bytes(), [0x82, 126, 1, 44]);
/// assert_eq!(Head::new(Opcode::Text, 5).compressed().as_bytes(), [0xC1, 5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; Self::MAX_LEN],
    /// The number of bytes in use: 2, 4 or 10.
    len: u8,
}

impl Head {
    /// The length of the longest head in bytes.
    pub const MAX_LEN: usize = 10;

    /// The head of a frame of this type with FIN set, for a payload of `payload_len` bytes, whose
    /// length takes the shortest of its three forms.
    ///
    /// # Panics
    /// `opcode` is of a control frame and `payload_len` greater than 125.
    #[must_use]
    #[inline]
    pub const fn new(opcode: Opcode, payload_len: usize) -> Self {
        assert!(
            !opcode.is_control() || payload_len <= MAX_CONTROL,
            "the payload of a control frame has at most 125 bytes"
        );
        let mut bytes = [0; Self::MAX_LEN];
        bytes[0] = FINAL | opcode.bits();
        let length = (payload_len as u64).to_be_bytes();
        let len = match payload_len {
            0..=125 => {
                bytes[1] = length[7];
                2
            }
            126..=0xFFFF => {
                bytes[1] = 126;
                bytes[2] = length[6];
                bytes[3] = length[7];
                4
            }
            _ => {
                bytes[1] = 127;
                let mut i = 0;
                while i < 8 {
                    bytes[2 + i] = length[i];
                    i += 1;
                }
                10
            }
        };
        Self { bytes, len }
    }

    /// The same head with RSV1 set: the payload is compressed as permessage-deflate specifies. Only
    /// for messages, and only where both sides have agreed on the extension.
    #[must_use]
    pub const fn compressed(mut self) -> Self {
        self.bytes[0] |= RSV1;
        self
    }

    /// The 2, 4 or 10 bytes on the wire.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, Opcode};

    #[test]
    fn control_frames_have_two_bytes_of_head() {
        assert_eq!(Head::new(Opcode::Close, 0).as_bytes(), [0x88, 0]);
        assert_eq!(Head::new(Opcode::Pong, 125).as_bytes(), [0x8A, 125]);
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn control_frames_are_short() {
        let _ = Head::new(Opcode::Ping, 126);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let head = |length| Head::new(Opcode::Text, length).as_bytes().to_vec();
        assert_eq!(head(0), [0x81, 0]);
        assert_eq!(head(125), [0x81, 125]);
        assert_eq!(head(126), [0x81, 126, 0, 126]);
        assert_eq!(head(0xFFFF), [0x81, 126, 0xFF, 0xFF]);
        assert_eq!(head(0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
