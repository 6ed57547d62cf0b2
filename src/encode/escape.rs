//! JSON strings: only `"`, `\` and control characters are escaped, all others stay raw UTF-8.

use super::Output;
use crate::scan::{self, Specials};

/// The bytes that represent a byte inside a string; the last of the eight is their number.
const ESCAPES: [[u8; 8]; 256] = {
    const fn short(letter: u8) -> [u8; 8] {
        [b'\\', letter, 0, 0, 0, 0, 0, 2]
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0x08 => short(b'b'),
            0x09 => short(b't'),
            0x0A => short(b'n'),
            0x0C => short(b'f'),
            0x0D => short(b'r'),
            special @ (b'"' | b'\\') => short(special),
            0..0x20 => [b'\\', b'u', b'0', b'0', DIGITS[byte >> 4], DIGITS[byte & 15], 0, 6],
            plain => [plain, 0, 0, 0, 0, 0, 0, 1],
        };
        byte += 1;
    }
    table
};

/// The bytes that `text` takes inside a string, quotes not counted.
pub(crate) fn escaped_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    // A text shorter than a block must be copied to be loaded as one, which is seldom necessary.
    if bytes.len() < BLOCK && scan::plain_text_end(bytes, 0) == bytes.len() {
        return bytes.len();
    }
    let mut extra = 0;
    scan::each_specials(bytes, |Specials { all, long, .. }| {
        if all != 0 {
            extra += all.count_ones() as usize + 4 * long.count_ones() as usize;
        }
    });
    bytes.len() + extra
}

/// Writes the inside of a string, whose [`escaped_len`] is given.
pub(crate) fn put_escaped(output: &mut impl Output, text: &str, escaped_len: usize) {
    let bytes = text.as_bytes();
    if escaped_len == bytes.len() {
        return output.put(bytes);
    }
    let (mut room, mut written) = (Room::new(), 0);
    scan::each_specials(bytes, |Specials { at, all, .. }| {
        if all == 0 {
            return;
        }
        if written < at {
            room.flush(output);
            output.put(&bytes[written..at]);
        }
        room.expand(&bytes[at..], all);
        written = at + BLOCK;
        if room.is_full() {
            room.flush(output);
        }
    });
    room.flush(output);
    output.put(bytes.get(written..).unwrap_or_default());
}

/// Bytes of a mask.
const BLOCK: usize = u64::BITS as usize;

/// The number of bytes that are copied at a time; surplus ones are overwritten.
const STEP: usize = 16;

/// A buffer before the output: a call to copy a few bytes takes longer than the copy.
struct Room {
    bytes: [u8; Self::SIZE],
    filled: usize,
}

impl Room {
    /// The size of a block in which every byte becomes `\u00` and two digits, and of a surplus
    /// copy.
    const EXPANDED: usize = 6 * BLOCK + STEP;
    const SIZE: usize = 2 * Self::EXPANDED;

    fn new() -> Self {
        Self { bytes: [0; Self::SIZE], filled: 0 }
    }

    fn is_full(&self) -> bool {
        self.filled > Self::SIZE - Self::EXPANDED
    }

    fn flush(&mut self, output: &mut impl Output) {
        output.put(&self.bytes[..self.filled]);
        self.filled = 0;
    }

    /// Adds the first block of `text`, in which the bytes of `specials` must be escaped.
    #[inline(always)]
    fn expand(&mut self, text: &[u8], mut specials: u64) {
        let mut copy = [0; BLOCK + STEP];
        let block = text.first_chunk().unwrap_or_else(|| {
            copy[..text.len()].copy_from_slice(text);
            &copy
        });
        let mut from = 0;
        while specials != 0 {
            let special = specials.trailing_zeros() as usize;
            self.add(block, from, special);
            let escape = &ESCAPES[usize::from(block[special])];
            self.bytes[self.filled..][..8].copy_from_slice(escape);
            self.filled += usize::from(escape[7]);
            from = special + 1;
            specials &= specials - 1;
        }
        self.add(block, from, text.len().min(BLOCK));
    }

    /// Adds the bytes of `block` from `from` to `to`, both at most [`BLOCK`].
    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK + STEP], mut from: usize, to: usize) {
        let filled = self.filled + (to - from);
        while from < to {
            self.bytes[self.filled..][..STEP].copy_from_slice(&block[from..][..STEP]);
            self.filled += STEP;
            from += STEP;
        }
        self.filled = filled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_written_as_serde_json_writes_it(text: &str) {
        let mut output = Vec::new();
        let length = escaped_len(text);
        put_escaped(&mut output, text, length);
        assert_eq!(output.len(), length);
        let expected = serde_json::to_string(text).unwrap();
        assert_eq!(std::str::from_utf8(&output).unwrap(), &expected[1..expected.len() - 1]);
    }

    #[test]
    fn every_character_is_written_as_serde_json_writes_it() {
        let all: String =
            (0..=0x2FF).filter_map(char::from_u32).chain("😀\u{2028}".chars()).collect();
        for text in [all.as_str(), "", "plain", "\n", "ends with \"", "\\"] {
            is_written_as_serde_json_writes_it(text);
        }
    }

    #[test]
    fn escapes_at_every_place_and_length() {
        for special in ["\"", "\\", "\n", "\u{1}", "\u{1F}\u{0}", "\"é\\"] {
            for length in 0..200 {
                let text = "x".repeat(length);
                for at in 0..=length {
                    let (before, behind) = text.split_at(at);
                    is_written_as_serde_json_writes_it(&format!("{before}{special}{behind}"));
                }
            }
        }
    }

    /// More escapes than the buffer holds, and plain text between them.
    #[test]
    fn nothing_but_escapes() {
        for special in ["\"", "\u{1}", "\u{1}\n"] {
            for count in 0..1000 {
                let text = special.repeat(count);
                is_written_as_serde_json_writes_it(&text);
                is_written_as_serde_json_writes_it(&format!("{text}{:200}{text}", ""));
            }
        }
    }
}
