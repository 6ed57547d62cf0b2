//! JSON strings: only `"`, `\` and control characters are escaped, the rest stays raw UTF-8.

use super::Output;
use crate::scan;

/// What a byte becomes inside a string: itself, a backslash and a letter, or `\u00` and two
/// digits. The value is the letter, `b'u'` for the long form, 0 for itself.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// The bytes that `text` takes inside a string, quotes not counted.
pub(super) fn escaped_len(text: &str) -> usize {
    if scan::plain_text_end(text.as_bytes(), 0) == text.len() {
        return text.len();
    }
    let extra = |byte: u8| match ESCAPES[usize::from(byte)] {
        0 => 0,
        b'u' => 5,
        _ => 1,
    };
    text.len() + text.bytes().map(extra).sum::<usize>()
}

/// Writes the inside of a string; `escaped_len` is what [`escaped_len`] said of it.
pub(super) fn put_escaped(output: &mut impl Output, text: &str, escaped_len: usize) {
    if escaped_len == text.len() {
        return output.put(text.as_bytes());
    }
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| ESCAPES[usize::from(byte)] != 0) {
        let (plain, special) = rest.split_at(at);
        output.put(plain);
        let byte = special[0];
        match ESCAPES[usize::from(byte)] {
            b'u' => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                output.put(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
            letter => output.put(&[b'\\', letter]),
        }
        rest = &special[1..];
    }
    output.put(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_written_as_serde_json_writes_it() {
        let all: String =
            (0..=0x2FF).filter_map(char::from_u32).chain("😀\u{2028}".chars()).collect();
        for text in [all.as_str(), "", "plain", "\n", "ends with \"", "\\"] {
            let mut output = Vec::new();
            let length = escaped_len(text);
            put_escaped(&mut output, text, length);
            assert_eq!(output.len(), length);
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(std::str::from_utf8(&output).unwrap(), &expected[1..expected.len() - 1]);
        }
    }
}
