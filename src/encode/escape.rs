//! JSON strings: only `"`, `\` and control characters are escaped, all others stay raw UTF-8.

use std::ops::Range;

use super::Output;
use super::scratch::Scratch;
use crate::scan;

/// Whether nothing in `text` must be escaped.
#[inline]
pub(crate) fn is_plain(text: &str) -> bool {
    scan::plain_start(text.as_bytes()) == text.len()
}

/// Appends the inside of a string.
pub(crate) fn append_escaped(output: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let (plain, rest) = bytes.split_at(scan::plain_start(bytes));
    output.extend_from_slice(plain);
    if !rest.is_empty() {
        scan::append_escaped(output, rest);
    }
}

/// Escaped texts, one after another, in memory of the thread, which is taken for the first of them.
#[derive(Default)]
pub(super) struct Escaped(Option<Scratch>);

/// The inside of a string.
pub(super) enum Inside<'a> {
    /// Text without anything to escape.
    Plain(&'a str),
    /// The place in [`Escaped`].
    Escaped(Range<usize>),
}

impl<'a> Inside<'a> {
    /// Escapes `text`, if necessary.
    pub(super) fn new(text: &'a str, escaped: &mut Escaped) -> Self {
        let plain = scan::plain_start(text.as_bytes());
        if plain == text.len() { Self::Plain(text) } else { Self::escape(text, plain, escaped) }
    }

    /// Escapes `text`, whose first `plain` bytes are plain.
    #[inline(never)]
    fn escape(text: &str, plain: usize, Escaped(escaped): &mut Escaped) -> Self {
        let output = &mut escaped.get_or_insert_with(Scratch::for_escapes).bytes;
        let start = output.len();
        let (plain, rest) = text.as_bytes().split_at(plain);
        output.extend_from_slice(plain);
        scan::append_escaped(output, rest);
        Self::Escaped(start..output.len())
    }

    /// The bytes that it takes, quotes not counted.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Plain(text) => text.len(),
            Self::Escaped(range) => range.end - range.start,
        }
    }

    pub(super) fn put(&self, Escaped(escaped): &Escaped, output: &mut impl Output) {
        match (self, escaped) {
            (Self::Plain(text), _) => output.put(text.as_bytes()),
            (Self::Escaped(range), Some(escaped)) => output.put(&escaped.bytes[range.clone()]),
            (Self::Escaped(_), None) => {
                unreachable!("escaped texts are in the memory taken for them")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_written_as_serde_json_writes_it(text: &str) {
        let mut output = Vec::new();
        append_escaped(&mut output, text);
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
