//! The scanner that needs nothing of the machine: safe, and the oracle of all others.

use super::blocks::{BLOCK, Specials, Stopped};
use super::containers::Containers;
use super::text::four_hex_digits;
use super::{Ignored, Malformed, Members, Span, Text, word};
use crate::error::Detail;

/// See [`document`](super::document). Looks at ASCII only: `bytes` must be UTF-8, or what is
/// wrong in strings goes unnoticed. Every span begins and ends on a character boundary.
pub(super) fn document(
    bytes: &[u8],
    max_depth: usize,
    members: &mut impl Members,
) -> Result<Span, Malformed> {
    let mut cursor = Cursor::new(bytes, max_depth);
    let start = cursor.space(0);
    cursor.newlines = false;
    let end = if cursor.byte(start) == b'{' {
        cursor.root_object(start, members)?
    } else {
        cursor.value(start)?
    };
    let root = cursor.span(start, end, false);
    let rest = cursor.space(end);
    if rest == bytes.len() { Ok(root) } else { Err(json("trailing data", rest)) }
}

/// Goes on where the blocks stopped, to the document's end.
pub(super) fn resume(bytes: &[u8], stopped: &Stopped, max_depth: usize) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes, max_depth);
    let Some(separator) = stopped.separator else {
        return document(bytes, max_depth, &mut Ignored).map(drop);
    };
    for object in stopped.brackets.outermost_first() {
        cursor.containers.open(object, separator)?;
    }
    let end = cursor.behind_separator(separator, stopped.in_text.then_some(stopped.block))?;
    let rest = cursor.space(end);
    if rest == bytes.len() { Ok(()) } else { Err(json("trailing data", rest)) }
}

/// What a value is followed by.
enum Behind {
    /// Another value, at this byte.
    Value(usize),
    /// The end of all containers that count, at this byte.
    End(usize),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    containers: Containers,
    /// A CR or LF was passed as whitespace since this was last cleared.
    newlines: bool,
    /// See [`Span::mixed`], of all so far.
    mixed: bool,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], max_depth: usize) -> Self {
        Self { bytes, containers: Containers::new(max_depth), newlines: false, mixed: false }
    }

    /// The byte at `at`; NUL, which is nowhere right, behind the end.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn span(&self, start: usize, end: usize, escaped: bool) -> Span {
        Span { start, end, escaped, newlines: self.newlines, mixed: self.mixed }
    }

    /// An error at `at`, or that the input ends there.
    #[cold]
    fn unexpected(&self, reason: &'static str, at: usize) -> Malformed {
        if at < self.bytes.len() {
            json(reason, at)
        } else {
            json("unexpected end", self.bytes.len())
        }
    }

    /// Passes whitespace.
    #[inline]
    fn space(&mut self, at: usize) -> usize {
        if self.byte(at) > b' ' { at } else { self.space_run(at) }
    }

    fn space_run(&mut self, mut at: usize) -> usize {
        loop {
            match self.byte(at) {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.newlines = true,
                _ => return at,
            }
            at += 1;
        }
    }

    /// The root object, from its brace: as [`Self::value`], but telling of each member.
    fn root_object(
        &mut self,
        start: usize,
        members: &mut impl Members,
    ) -> Result<usize, Malformed> {
        self.containers.open(true, start)?;
        let mut newlines = false;
        let mut at = self.space(start + 1);
        if self.byte(at) == b'}' {
            self.containers.close();
            return Ok(at + 1);
        }
        loop {
            let (key, value_at) = self.key(at)?;
            newlines |= self.newlines;
            self.newlines = false;
            let value = if self.byte(value_at) == b'"' {
                let text = self.string(value_at)?;
                self.span(value_at, text.end + 1, text.escaped)
            } else {
                let end = self.value(value_at)?;
                self.span(value_at, end, false)
            };
            members.member(key, value);
            at = self.space(value.end);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b'}' => break,
                _ => return Err(self.unexpected("expected ',' or '}'", at)),
            }
        }
        self.newlines |= newlines;
        self.containers.close();
        Ok(at + 1)
    }

    /// The rest of the document behind the bracket, colon or comma at `separator`. When a string
    /// follows of which all before `text` is known to be right, it goes on from there.
    fn behind_separator(
        &mut self,
        separator: usize,
        text: Option<usize>,
    ) -> Result<usize, Malformed> {
        let kind = self.byte(separator);
        let next = self.space(separator + 1);
        let string_end = match text {
            Some(text) => {
                let text = plain_text_end(self.bytes, text);
                Some(self.escaped_string(next + 1, text)?.end)
            }
            None => None,
        };
        let empty = matches!((kind, self.byte(next)), (b'{', b'}') | (b'[', b']'));
        let key = kind == b'{' || kind == b',' && self.containers.in_object();
        let behind = match string_end {
            _ if empty => self.behind_value(next, 0)?,
            _ if matches!(kind, b'}' | b']') => self.behind_value(separator + 1, 0)?,
            Some(end) if key => Behind::Value(self.colon(end + 1)?),
            Some(end) => self.behind_value(end + 1, 0)?,
            None if key => Behind::Value(self.key(next)?.1),
            None => Behind::Value(next),
        };
        match behind {
            Behind::Value(value) => self.values(value, 0),
            Behind::End(end) => Ok(end),
        }
    }

    /// One value of any kind, from its first byte to behind its last.
    fn value(&mut self, at: usize) -> Result<usize, Malformed> {
        self.values(at, self.containers.depth())
    }

    /// Values, from the first byte of one, until no more than `base` containers are open.
    #[inline]
    fn values(&mut self, mut at: usize, base: usize) -> Result<usize, Malformed> {
        loop {
            match self.byte(at) {
                b'"' => at = self.string(at)?.end + 1,
                b'{' => {
                    self.containers.open(true, at)?;
                    at = self.space(at + 1);
                    if self.byte(at) != b'}' {
                        at = self.key(at)?.1;
                        continue;
                    }
                }
                b'[' => {
                    self.containers.open(false, at)?;
                    at = self.space(at + 1);
                    if self.byte(at) != b']' {
                        self.note_item(at);
                        continue;
                    }
                }
                _ => at = self.scalar(at)?,
            }
            match self.behind_value(at, base)? {
                Behind::Value(next) => at = next,
                Behind::End(end) => return Ok(end),
            }
        }
    }

    /// What comes behind a value, or from the bracket that closes an empty container.
    #[inline(always)]
    fn behind_value(&mut self, mut at: usize, base: usize) -> Result<Behind, Malformed> {
        loop {
            if self.containers.depth() == base {
                return Ok(Behind::End(at));
            }
            at = self.space(at);
            match (self.byte(at), self.containers.in_object()) {
                (b',', true) => {
                    let next = self.space(at + 1);
                    return Ok(Behind::Value(self.key(next)?.1));
                }
                (b',', false) => {
                    let next = self.space(at + 1);
                    self.note_item(next);
                    return Ok(Behind::Value(next));
                }
                (b'}', true) | (b']', false) => {
                    self.containers.close();
                    at += 1;
                }
                (_, true) => return Err(self.unexpected("expected ',' or '}'", at)),
                (_, false) => return Err(self.unexpected("expected ',' or ']'", at)),
            }
        }
    }

    /// What an array's item that starts at `at` says of [`Span::mixed`].
    #[inline(always)]
    fn note_item(&mut self, at: usize) {
        self.mixed |= self.containers.depth() == 3 && self.byte(at) != b'{';
    }

    /// A key and its colon; returns the key and where its value starts.
    #[inline]
    fn key(&mut self, at: usize) -> Result<(Text, usize), Malformed> {
        if self.byte(at) != b'"' {
            return Err(self.unexpected("expected a key", at));
        }
        let key = self.string(at)?;
        Ok((key, self.colon(key.end + 1)?))
    }

    /// The colon behind a key that ends at `at`; returns where the value starts.
    #[inline]
    fn colon(&mut self, at: usize) -> Result<usize, Malformed> {
        let colon = self.space(at);
        if self.byte(colon) != b':' {
            return Err(self.unexpected("expected ':'", colon));
        }
        Ok(self.space(colon + 1))
    }

    /// A string, from its opening quote.
    #[inline]
    fn string(&self, quote: usize) -> Result<Text, Malformed> {
        let start = quote + 1;
        let end = plain_text_end(self.bytes, start);
        if self.byte(end) == b'"' {
            Ok(Text { start, end, escaped: false })
        } else {
            self.escaped_string(start, end)
        }
    }

    /// The rest of a string that is interrupted at `at` by something other than its end.
    fn escaped_string(&self, start: usize, mut at: usize) -> Result<Text, Malformed> {
        loop {
            match self.byte(at) {
                b'"' => {
                    return Ok(Text { start, end: at, escaped: true });
                }
                b'\\' => at = self.escape(at)?,
                _ => return Err(self.unexpected("control character in a string", at)),
            }
            at = plain_text_end(self.bytes, at);
        }
    }

    #[inline]
    fn escape(&self, backslash: usize) -> Result<usize, Malformed> {
        let at = backslash + 1;
        match self.byte(at) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
            b'u' if four_hex_digits(self.bytes, at + 1).is_some() => Ok(at + 5),
            _ => Err(self.unexpected("invalid escape", at)),
        }
    }

    /// A number or a literal.
    #[inline(always)]
    fn scalar(&self, at: usize) -> Result<usize, Malformed> {
        match self.byte(at) {
            b'-' | b'0'..=b'9' => self.number(at),
            b't' => self.literal(at, b"true"),
            b'f' => self.literal(at, b"false"),
            b'n' => self.literal(at, b"null"),
            _ => Err(self.unexpected("expected a value", at)),
        }
    }

    /// A number, from its sign or first digit.
    #[inline]
    fn number(&self, start: usize) -> Result<usize, Malformed> {
        let mut at = start + usize::from(self.byte(start) == b'-');
        at = if self.byte(at) == b'0' { at + 1 } else { self.digits(at)? };
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if self.byte(at) | 0x20 == b'e' {
            at += 1;
            at = self.digits(at + usize::from(matches!(self.byte(at), b'+' | b'-')))?;
        }
        Ok(at)
    }

    /// One digit or more.
    #[inline]
    fn digits(&self, start: usize) -> Result<usize, Malformed> {
        let mut at = start;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at > start { Ok(at) } else { Err(self.unexpected("expected a digit", at)) }
    }

    #[inline]
    fn literal(&self, at: usize, word: &'static [u8]) -> Result<usize, Malformed> {
        if self.bytes[at..].starts_with(word) {
            return Ok(at + word.len());
        }
        let same = std::iter::zip(&self.bytes[at..], word).take_while(|(a, b)| a == b).count();
        Err(self.unexpected("invalid literal", at + same))
    }
}

/// Where the number or literal at `at` ends; `None` when there is none.
pub(super) fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    let cursor = Cursor::new(bytes, 0);
    cursor.scalar(at).ok()
}

/// Where plain string text ends: at a quote, a backslash, a control character or the input's end.
#[inline]
pub(crate) fn plain_text_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(next) = word::load(bytes, at) {
        let mask = word::interrupts_string(next);
        if mask != 0 {
            return at + word::first(mask);
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count()
}

/// See [`blocks::specials`](super::blocks::specials).
pub(super) fn each_specials(bytes: &[u8], mut each: impl FnMut(Specials)) {
    for (block, at) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        let mut all = 0;
        // Mostly there are none, which is found sooner than which they are.
        if plain_text_end(block, 0) < block.len() {
            let (words, tail) = block.as_chunks::<8>();
            let mut last = [b' '; 8];
            last[..tail.len()].copy_from_slice(tail);
            for (word, place) in words.iter().chain([&last]).zip((0..BLOCK).step_by(8)) {
                all |= word::specials(u64::from_le_bytes(*word)) << place;
            }
        }
        let (mut rest, mut long) = (all, 0);
        while rest != 0 {
            let lowest = rest & rest.wrapping_neg();
            let byte = block[rest.trailing_zeros() as usize];
            if byte < 0x20 && !matches!(byte, 0x08..=0x0A | 0x0C | 0x0D) {
                long |= lowest;
            }
            rest ^= lowest;
        }
        each(Specials { at, all, long });
    }
}

#[cold]
fn json(reason: &'static str, at: usize) -> Malformed {
    Malformed { detail: Detail::Json(reason), at }
}
