//! The scanner that needs no vector instructions: safe, and the oracle of all others.

use smallvec::SmallVec;

use super::blocks::ErrorSite;
use super::lexeme::{self, has_four_hex_digits, plain_text_end};
use super::{Fault, INNER_ENDS, Ignored, Malformed, Members, RECURSION_LIMIT, Span, Text};

/// See [`document`](super::document). Checks ASCII only: `bytes` must be UTF-8, or errors in
/// strings go unnoticed. Every span begins and ends on a character boundary.
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
    let root = cursor.span(start, end);
    let rest = cursor.space(end);
    if rest == bytes.len() { Ok(root) } else { Err(Malformed::new(Fault::TrailingData, rest)) }
}

/// Continues from the site of an error that the blocks found, to the document's end.
pub(super) fn resume(bytes: &[u8], site: &ErrorSite, max_depth: usize) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes, max_depth);
    let Some(separator) = site.separator else {
        return document(bytes, max_depth, &mut Ignored).map(drop);
    };
    for object in site.brackets.outermost_first() {
        cursor.containers.open(object, separator)?;
    }
    let end = cursor.behind_separator(separator, site.text)?;
    let rest = cursor.space(end);
    if rest == bytes.len() { Ok(()) } else { Err(Malformed::new(Fault::TrailingData, rest)) }
}

/// The continuation after a value.
enum Behind {
    /// Another value, at this byte.
    Value(usize),
    /// The end of all containers above the base depth, at this byte.
    End(usize),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    containers: Containers,
    /// A CR or LF was skipped as whitespace since this was last cleared.
    newlines: bool,
    /// [`Span::is_mixed`] for all values so far.
    mixed: bool,
    /// The ends of the first containers at depth 3 since the count was last cleared.
    inner_ends: [usize; INNER_ENDS],
    inner_count: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], max_depth: usize) -> Self {
        Self {
            bytes,
            containers: Containers::new(max_depth),
            newlines: false,
            mixed: false,
            inner_ends: [0; INNER_ENDS],
            inner_count: 0,
        }
    }

    /// The byte at `at`; NUL past the end, which is never valid JSON.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        lexeme::byte(self.bytes, at)
    }

    /// The span of a value that is not a string.
    fn span(&self, start: usize, end: usize) -> Span {
        Span::other(start, end, self.newlines, self.mixed)
    }

    #[cold]
    fn unexpected(&self, fault: Fault, at: usize) -> Malformed {
        lexeme::unexpected(self.bytes, fault, at)
    }

    /// Skips whitespace.
    #[inline]
    fn space(&mut self, at: usize) -> usize {
        match self.byte(at) {
            b'!'.. => at,
            // Most spaces that are written stand alone.
            b' ' if self.byte(at + 1) > b' ' => at + 1,
            _ => self.space_run(at),
        }
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

    /// The root object, from its brace: as [`Self::value`], but reports each member.
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
                Span::string(value_at, text.end + 1, text.escaped)
            } else {
                self.inner_count = 0;
                let end = self.value(value_at)?;
                for &end in self.inner_ends.iter().take(self.inner_count) {
                    members.inner_end(end);
                }
                self.span(value_at, end)
            };
            members.member(key, value);
            at = self.space(value.end());
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                b'}' => break,
                _ => return Err(self.unexpected(Fault::ExpectedCommaOrBrace, at)),
            }
        }
        self.newlines |= newlines;
        self.containers.close();
        Ok(at + 1)
    }

    /// The rest of the document after the bracket, colon or comma at `separator`. If a string
    /// follows that is known to be valid up to `text`, the scan continues from there.
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

    /// Scans one value of any kind from its first byte; returns where it ends.
    fn value(&mut self, at: usize) -> Result<usize, Malformed> {
        self.values(at, self.containers.depth())
    }

    /// Scans values, from the first byte of one, until no more than `base` containers are open.
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
                _ => at = lexeme::scalar(self.bytes, at)?,
            }
            match self.behind_value(at, base)? {
                Behind::Value(next) => at = next,
                Behind::End(end) => return Ok(end),
            }
        }
    }

    /// The continuation after a value, or from the bracket that closes an empty container.
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
                    if matches!(self.byte(next), b'0'..=b'9' | b'-') {
                        // A list of numbers: there is nothing to open or to decide.
                        at = lexeme::number(self.bytes, next)?;
                        continue;
                    }
                    return Ok(Behind::Value(next));
                }
                (b'}', true) | (b']', false) => {
                    self.containers.close();
                    at += 1;
                    if self.containers.depth() == 2 {
                        self.note_inner_end(at);
                    }
                }
                (_, true) => return Err(self.unexpected(Fault::ExpectedCommaOrBrace, at)),
                (_, false) => return Err(self.unexpected(Fault::ExpectedCommaOrBracket, at)),
            }
        }
    }

    /// Updates [`Span::is_mixed`] for an array's item that starts at `at`.
    #[inline(always)]
    fn note_item(&mut self, at: usize) {
        self.mixed |= self.containers.depth() == 3 && self.byte(at) != b'{';
    }

    fn note_inner_end(&mut self, end: usize) {
        if let Some(slot) = self.inner_ends.get_mut(self.inner_count) {
            *slot = end;
            self.inner_count += 1;
        }
    }

    /// A key and its colon; returns the key and where its value starts.
    #[inline]
    fn key(&mut self, at: usize) -> Result<(Text, usize), Malformed> {
        if self.byte(at) != b'"' {
            return Err(self.unexpected(Fault::ExpectedKey, at));
        }
        let key = self.string(at)?;
        Ok((key, self.colon(key.end + 1)?))
    }

    /// The colon after a key that ends at `at`; returns where the value starts.
    #[inline]
    fn colon(&mut self, at: usize) -> Result<usize, Malformed> {
        let colon = self.space(at);
        if self.byte(colon) != b':' {
            return Err(self.unexpected(Fault::ExpectedColon, colon));
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

    /// The rest of a string whose plain text is interrupted at `at` by a byte other than its end.
    fn escaped_string(&self, start: usize, mut at: usize) -> Result<Text, Malformed> {
        loop {
            match self.byte(at) {
                b'"' => {
                    return Ok(Text { start, end: at, escaped: true });
                }
                b'\\' => at = self.escape(at)?,
                _ => return Err(self.unexpected(Fault::ControlCharacter, at)),
            }
            // Escapes often follow each other.
            if self.byte(at) != b'\\' {
                at = plain_text_end(self.bytes, at);
            }
        }
    }

    #[inline]
    fn escape(&self, backslash: usize) -> Result<usize, Malformed> {
        let at = backslash + 1;
        match self.byte(at) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
            b'u' if has_four_hex_digits(self.bytes, at + 1) => Ok(at + 5),
            _ => Err(self.unexpected(Fault::InvalidEscape, at)),
        }
    }
}

/// The open brackets around the cursor: a stack of bits. The first 128 levels, one more than the
/// default limit, take no allocation; deeper ones, which only a raised limit admits, take one bit
/// each.
struct Containers {
    /// Bit `d % 64` of word `d / 64`: the bracket at depth `d` is an object's.
    objects: SmallVec<[u64; 2]>,
    depth: usize,
    /// The innermost open bracket is an object's.
    in_object: bool,
    max_depth: usize,
}

impl Containers {
    fn new(max_depth: usize) -> Self {
        Self { objects: SmallVec::from_buf([0; 2]), depth: 0, in_object: false, max_depth }
    }

    #[inline]
    const fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    fn open(&mut self, object: bool, at: usize) -> Result<(), Malformed> {
        if self.depth >= RECURSION_LIMIT.min(self.max_depth) {
            self.admit_deep(at)?;
        }
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
        self.in_object = object;
        Ok(())
    }

    #[cold]
    fn admit_deep(&mut self, at: usize) -> Result<(), Malformed> {
        if self.depth >= self.max_depth {
            return Err(Malformed::new(Fault::TooDeep, at));
        }
        if self.depth / 64 == self.objects.len() {
            self.objects.push(0);
        }
        Ok(())
    }

    #[inline]
    fn close(&mut self) {
        self.depth -= 1;
        let outer = self.depth.saturating_sub(1);
        self.in_object = self.objects[outer / 64] >> (outer % 64) & 1 == 1;
    }

    /// Whether the innermost open bracket is an object's. There must be one.
    #[inline]
    const fn in_object(&self) -> bool {
        self.in_object
    }
}
