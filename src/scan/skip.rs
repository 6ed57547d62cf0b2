//! Walking JSON that [`document`](super::document) has accepted, without a second validation: a
//! value is skipped by its quotes and brackets alone.
//!
//! Every function is total: on other text the spans would be wrong, but nothing panics, loops
//! forever or reads outside the text.

use super::arch::{Detected, container_end, plain_blocks};
use super::depth::Depth;
use super::lexeme::plain_text_end;
use super::{Text, swar};

/// The members of the object or elements of the array that `json` is, in order; nothing for any
/// other value.
#[derive(Clone)]
pub(crate) struct Items<'a> {
    json: &'a [u8],
    at: usize,
    object: bool,
}

/// A member's key, absent in an array, and where its value starts and ends.
pub(crate) type Item = (Option<Text>, usize, usize);

impl<'a> Items<'a> {
    /// `json` must start at the value's first byte.
    pub(crate) fn new(json: &'a [u8]) -> Self {
        let (at, object) = match json.first() {
            Some(b'{') => (1, true),
            Some(b'[') => (1, false),
            _ => (json.len(), false),
        };
        Self { json, at, object }
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.next_by(|_| None)
    }
}

impl Items<'_> {
    /// The next item; `end_of` may know where a value ends, from where it starts.
    pub(crate) fn next_by(&mut self, end_of: impl FnOnce(usize) -> Option<usize>) -> Option<Item> {
        let mut at = separator(self.json, self.at);
        let key = if self.object {
            if *self.json.get(at)? != b'"' {
                return None;
            }
            let key = string(self.json, at);
            at = separator(self.json, key.end + 1);
            Some(key)
        } else {
            None
        };
        if matches!(self.json.get(at)?, b']' | b'}') {
            self.at = self.json.len();
            return None;
        }
        let end = match self.json[at] {
            b'{' | b'[' => end_of(at),
            _ => None,
        };
        let end = end.unwrap_or_else(|| value(self.json, at));
        self.at = end.max(at + 1);
        Some((key, at, end))
    }
}

/// Skips whitespace, commas and colons.
#[inline]
fn separator(json: &[u8], at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    let is_separator = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
    at + rest.iter().take_while(|&byte| is_separator(byte)).count()
}

/// The bytes of a text that are looked at before vector instructions are used.
const SHORT: usize = 64;

/// The end of the plain text that starts at `at`.
#[inline]
pub(crate) fn text_end(json: &[u8], at: usize) -> usize {
    let Some(short) = json.get(at..).and_then(|rest| rest.first_chunk::<SHORT>()) else {
        return plain_text_end(json, at);
    };
    let end = plain_text_end(short, 0);
    if end < SHORT { at + end } else { long_text_end(json, at + SHORT) }
}

#[inline(never)]
fn long_text_end(json: &[u8], at: usize) -> usize {
    let blocks = plain_blocks(Detected::current(), json.get(at..).unwrap_or_default());
    plain_text_end(json, at + blocks)
}

/// The string whose opening quote is at `quote`.
#[inline]
pub(crate) fn string(json: &[u8], quote: usize) -> Text {
    let start = quote + 1;
    let (mut at, mut escaped) = (start, false);
    loop {
        at = text_end(json, at);
        match json.get(at) {
            Some(b'\\') => {
                escaped = true;
                at += 2;
            }
            Some(b'"') => {
                return Text { start, end: at, escaped };
            }
            Some(_) => at += 1,
            None => {
                return Text { start, end: json.len().max(start), escaped };
            }
        }
    }
}

/// The end of the value that starts at `start`.
#[inline]
pub(crate) fn value(json: &[u8], start: usize) -> usize {
    match json.get(start) {
        Some(b'"') => (string(json, start).end + 1).min(json.len()),
        Some(b'{' | b'[') => container(json, start),
        _ => {
            let rest = json.get(start..).unwrap_or_default();
            let is_scalar =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
            start + rest.iter().take_while(|&byte| is_scalar(byte)).count()
        }
    }
}

/// The end of the container whose bracket is at `start`.
#[inline]
fn container(json: &[u8], start: usize) -> usize {
    let tier = Detected::current();
    container_end(tier, json, start).unwrap_or_else(|| container_by_words(json, start))
}

/// The same with general-purpose registers only: brackets outside of strings are counted eight bytes at a time.
pub(super) fn container_by_words(json: &[u8], start: usize) -> usize {
    let (mut at, mut inside, mut depth) = (start, false, Depth::default());
    loop {
        let word = swar::load(json, at).filter(|&word| swar::equal(word, b'\\') == 0);
        let quotes = word.map_or(0, |word| swar::exactly(word, b'"'));
        if inside && quotes == 0 {
            // A long string, one with escapes, or the end of the text.
            at = string(json, at - 1).end + 1;
            inside = false;
            continue;
        }
        let Some(word) = word else {
            // A string with escapes is near, or the end of the text.
            let Some(&byte) = json.get(at) else {
                return json.len();
            };
            let open = u64::from(matches!(byte, b'{' | b'['));
            let close = u64::from(matches!(byte, b'}' | b']'));
            at += 1;
            if depth.ends_within(open, close, |bit| bit as u32).is_some() {
                return at;
            }
            inside = byte == b'"';
            continue;
        };
        let strings = swar::parity(quotes, inside);
        inside = strings >> 63 == 1;
        let folded = swar::with_bit_5(word);
        let open = swar::exactly(folded, b'{') & !strings;
        let close = swar::exactly(folded, b'}') & !strings;
        if let Some(bits) = depth.ends_within(open, close, swar::count) {
            return at + bits as usize / 8;
        }
        at += 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No input makes skipping panic, stand still or leave the text.
    #[test]
    fn skipping_is_total() {
        const BYTES: &[u8] = b"{}[]\",:\\ 1a-@\n\xC3";
        let mut state = 1_u64;
        for length in 0..40 {
            for _ in 0..2000 {
                let text: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        BYTES[(state >> 33) as usize % BYTES.len()]
                    })
                    .collect();
                assert!(container_by_words(&text, 0) <= text.len());
                let items: Vec<Item> = Items::new(&text).collect();
                assert!(items.len() <= text.len());
                for (key, start, end) in items {
                    assert!(start <= end && end <= text.len());
                    assert!(key.is_none_or(|key| key.start <= key.end && key.end <= text.len()));
                }
            }
        }
    }

    #[test]
    fn items_are_found_around_any_whitespace() {
        let json = b"{ \"a\\\"}\" :\t[1, {\"]\":2}] ,\n\"b\":-1.5e3\r, \"c\":{}}";
        let items: Vec<&[u8]> = Items::new(json).map(|(_, start, end)| &json[start..end]).collect();
        assert_eq!(items, [&b"[1, {\"]\":2}]"[..], b"-1.5e3", b"{}"]);
        assert_eq!(Items::new(b"[]").count() + Items::new(b"{ }").count(), 0);
        assert_eq!(Items::new(b"[ 1 ,[] ,\"x\"]").count(), 3);
        assert_eq!(Items::new(b"17").count(), 0);
    }
}
