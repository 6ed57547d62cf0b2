//! The strings of a validated document: unescaped, or compared as if they were.

use std::borrow::Cow;

use super::skip::text_end;

/// One piece of a string: plain text, the character that an escape stands for, or a lone surrogate,
/// which no `str` can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Char(char),
    LoneSurrogate,
}

/// The pieces of the inside of a validated string.
struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let plain = text_end(self.rest.as_bytes(), 0);
        if plain > 0 {
            let (text, rest) = self.rest.split_at(plain);
            self.rest = rest;
            return Some(Piece::Plain(text));
        }
        let (piece, length) = escape(self.rest);
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(piece)
    }
}

/// The character that a backslash and `letter` stand for; `None` for the `u` of a number and what is not ASCII.
#[inline]
const fn simple_escape(letter: u8) -> Option<char> {
    match letter {
        b'n' => Some('\n'),
        b'"' | b'\\' | b'/' => Some(letter as char),
        b't' => Some('\t'),
        b'r' => Some('\r'),
        b'b' => Some('\u{8}'),
        b'f' => Some('\u{c}'),
        _ => None,
    }
}

/// The piece that the escape at the start of `text` stands for, and the escape's length.
fn escape(text: &str) -> (Piece<'_>, usize) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'u') => unicode_escape(bytes),
        // Only text that was not validated has others.
        letter => {
            let letter = letter.copied().and_then(simple_escape);
            (Piece::Char(letter.unwrap_or(char::REPLACEMENT_CHARACTER)), 2.min(bytes.len()))
        }
    }
}

fn unicode_escape(bytes: &[u8]) -> (Piece<'static>, usize) {
    let Some(unit) = hexadecimal(bytes, 2) else {
        return (Piece::LoneSurrogate, bytes.len());
    };
    if let Some(character) = char::from_u32(unit) {
        return (Piece::Char(character), 6);
    }
    let low = if bytes[6..].starts_with(b"\\u") { hexadecimal(bytes, 8) } else { None };
    match (unit, low) {
        (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
            let scalar = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            (char::from_u32(scalar).map_or(Piece::LoneSurrogate, Piece::Char), 12)
        }
        _ => (Piece::LoneSurrogate, 6),
    }
}

/// The number that the four bytes at `at` write, if they are hexadecimal digits, as they are in a validated string.
#[inline]
fn hexadecimal(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    // The low half of a digit's byte is its value; of a letter's, its place in the alphabet, which is 9 less.
    let values = (digits & 0x0F0F_0F0F) + 9 * (digits >> 6 & 0x0101_0101);
    let pairs = (values | values >> 4) & 0x00FF_00FF;
    Some((pairs | pairs >> 8) & 0xFFFF)
}

/// The unescaped inside of a validated string: borrowed if it has no escape, owned in one
/// allocation if it has, `None` if it holds a lone surrogate.
pub(crate) fn unescape(inside: &str, escaped: bool) -> Option<Cow<'_, str>> {
    if escaped { decode(inside, None).map(Cow::Owned) } else { Some(Cow::Borrowed(inside)) }
}

/// As [`unescape`], with U+FFFD for a lone surrogate.
#[inline(always)]
pub(crate) fn unescape_lossy(inside: &str, escaped: bool) -> Cow<'_, str> {
    if escaped { Cow::Owned(decode_lossy(inside)) } else { Cow::Borrowed(inside) }
}

#[cold]
fn decode_lossy(inside: &str) -> String {
    decode(inside, Some(char::REPLACEMENT_CHARACTER)).unwrap_or_default()
}

/// Appends the unescaped inside of a validated string to `text`, with U+FFFD for a lone surrogate.
pub(crate) fn push_unescaped(inside: &str, text: &mut String) {
    decode_into(inside, Some(char::REPLACEMENT_CHARACTER), text);
}

/// Appends the unescaped rest of a validated string, from `at` in `json` on, and returns the place of the quote that
/// ends it; `None` if there is a lone surrogate.
pub(crate) fn push_to_quote(json: &str, at: usize, text: &mut String) -> Option<usize> {
    undo(json, at, None, text).filter(|&end| end < json.len())
}

/// Undoes the escapes, with `instead` for a lone surrogate; `None` if there is one and no
/// `instead`.
fn decode(inside: &str, instead: Option<char>) -> Option<String> {
    // An escape is at least as long as the character that it stands for.
    let mut text = String::with_capacity(inside.len());
    decode_into(inside, instead, &mut text).then_some(text)
}

/// Appends to `text` until a lone surrogate has no `instead`; returns `false` then.
fn decode_into(inside: &str, instead: Option<char>, text: &mut String) -> bool {
    undo(inside, 0, instead, text).is_some()
}

/// Appends the text from `at` on, unescaped, up to a quote or the end of `json`, and returns the place of that; `None`
/// if a lone surrogate has no `instead`.
fn undo(json: &str, mut at: usize, instead: Option<char>, text: &mut String) -> Option<usize> {
    let bytes = json.as_bytes();
    loop {
        // Often the first of several escapes.
        while let Some([b'\\', letter]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            if let Some(simple) = simple_escape(*letter) {
                text.push(simple);
                at += 2;
            } else {
                let (piece, length) = escape(json.get(at..)?);
                text.push(if let Piece::Char(character) = piece { character } else { instead? });
                at += length;
            }
        }
        let plain = text_end(bytes, at);
        text.push_str(json.get(at..plain)?);
        match bytes.get(plain) {
            Some(b'"') | None => return Some(plain),
            Some(b'\\') if plain + 1 < bytes.len() => at = plain,
            // Only text that was not validated has others.
            Some(_) => return None,
        }
    }
}

/// The start of a long text for a `Debug` output: at most `limit` bytes, whole characters.
pub(crate) fn excerpt(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Whether a lone surrogate occurs; allocates nothing.
pub(crate) fn has_lone_surrogate(inside: &str) -> bool {
    Pieces { rest: inside }.any(|piece| piece == Piece::LoneSurrogate)
}

/// Whether the inside of a validated string, unescaped, equals `expected`; allocates nothing.
pub(crate) fn unescapes_to(inside: &str, expected: &str) -> bool {
    let mut expected = expected;
    for piece in (Pieces { rest: inside }) {
        let rest = match piece {
            Piece::Plain(plain) => expected.strip_prefix(plain),
            Piece::Char(character) => expected.strip_prefix(character),
            Piece::LoneSurrogate => None,
        };
        match rest {
            Some(rest) => expected = rest,
            None => return false,
        }
    }
    expected.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hexadecimal_number_is_read() {
        for number in 0..=0xFFFF_u32 {
            for text in [format!("{number:04x}"), format!("{number:04X}")] {
                assert_eq!(hexadecimal(text.as_bytes(), 0), Some(number), "{text}");
            }
        }
    }

    #[test]
    fn escapes_are_undone() {
        let inside = r#"a\"\\\/\b\f\n\r\tz\u00e9\ud83d\ude00\u4e2D"#;
        let expected = "a\"\\/\u{8}\u{c}\n\r\tz\u{e9}\u{1f600}\u{4e2d}";
        assert_eq!(unescape(inside, true).as_deref(), Some(expected));
        assert!(unescapes_to(inside, expected));
        assert!(!unescapes_to(inside, "a\""));
        assert!(!unescapes_to(inside, &format!("{expected}!")));
    }

    #[test]
    fn a_lone_surrogate_is_no_string() {
        for inside in [r"\ud800", r"x\udc00y", r"\ud800\ud800", r"\ud83dx\ude00", r"\ud83d\n"] {
            assert_eq!(unescape(inside, true), None, "{inside}");
            assert!(has_lone_surrogate(inside), "{inside}");
            assert!(!unescapes_to(inside, "x"), "{inside}");
        }
        assert!(!has_lone_surrogate(r"\ud83d\ude00"));
        assert_eq!(unescape_lossy(r"x\udc00y", true), "x\u{fffd}y");
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(unescape("plain é", false), Some(Cow::Borrowed("plain é"))));
    }
}
