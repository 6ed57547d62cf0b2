//! The head of an unmasked WebSocket text frame (RFC 6455, section 5.2).

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

#[cfg(test)]
mod tests {
    use super::text_head;

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
