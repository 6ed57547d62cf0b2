//! The heads of unmasked WebSocket frames (RFC 6455, sections 5.2 and 5.5).

/// The longest head in bytes.
const MAX_HEAD: usize = 10;

/// The head of a final text frame of `payload_len` bytes, and how many of its bytes count: 2, 4
/// or 10.
pub(crate) const fn text_head(payload_len: usize) -> ([u8; MAX_HEAD], usize) {
    const FINAL_TEXT: u8 = 0x81;
    let mut head = [0; MAX_HEAD];
    head[0] = FINAL_TEXT;
    let length = (payload_len as u64).to_be_bytes();
    match payload_len {
        0..=125 => {
            head[1] = length[7];
            (head, 2)
        }
        126..=0xFFFF => {
            head[1] = 126;
            head[2] = length[6];
            head[3] = length[7];
            (head, 4)
        }
        _ => {
            head[1] = 127;
            let mut i = 0;
            while i < 8 {
                head[2 + i] = length[i];
                i += 1;
            }
            (head, 10)
        }
    }
}

/// The longest payload of a control frame.
pub(crate) const MAX_CONTROL: usize = 125;

/// The head of a control frame of `payload_len` bytes: control frames are never fragmented, and
/// their length takes seven bits.
pub(crate) fn control_head(opcode: u8, payload_len: usize) -> [u8; 2] {
    const FINAL: u8 = 0x80;
    debug_assert!(opcode & 0x08 != 0, "a control opcode");
    let length =
        u8::try_from(payload_len).ok().filter(|&length| usize::from(length) <= MAX_CONTROL);
    [FINAL | opcode, length.expect("whoever makes a control frame checks its length")]
}

#[cfg(test)]
mod tests {
    use super::{control_head, text_head};

    #[test]
    fn control_frames_have_two_bytes_of_head() {
        assert_eq!(control_head(0x8, 0), [0x88, 0]);
        assert_eq!(control_head(0xA, 125), [0x8A, 125]);
    }

    #[test]
    #[should_panic(expected = "checks its length")]
    fn control_frames_are_short() {
        control_head(0x9, 126);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let head = |length| {
            let (bytes, count) = text_head(length);
            bytes[..count].to_vec()
        };
        assert_eq!(head(0), [0x81, 0]);
        assert_eq!(head(125), [0x81, 125]);
        assert_eq!(head(126), [0x81, 126, 0, 126]);
        assert_eq!(head(0xFFFF), [0x81, 126, 0xFF, 0xFF]);
        assert_eq!(head(0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
