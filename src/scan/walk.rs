//! A walk from token to token that skips the insides of strings 16 or 32 bytes at a time.
//!
//! Most bytes of a message are inside of strings, and which token comes next is predictable, so a
//! walk is faster than blocks for a short document that is mostly text. It is slower on many numbers
//! or escapes: then it gives up early, and the blocks continue at the current member of the root
//! object.

use super::blocks::{Isa, Prefix};
use super::lexeme::{self, byte, has_four_hex_digits, unexpected};
use super::{BEFORE, Fault, Malformed, Members, Span, Text};

/// Numbers and escapes before the walk considers to give up: more than one in
/// [`SPARSE`] bytes are too many.
const MANY: usize = 8;
const SPARSE: usize = 16;

/// How far a document is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// To the root's first member that is an object or an array.
    Container,
    End,
}

/// Why a value has no end.
enum Stop {
    Malformed(Malformed),
    GivenUp,
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Validates `bytes` as one document that starts with `prefix`, passes the members behind that to
/// `members`, and extends the prefix over them. See [`outline`](super::blocks::outline) for the
/// bounds. If it gives up, at once if the root is an array or a string, or stops at a container, the
/// prefix has no root, and the blocks or the tokens are to continue behind it.
///
/// `prefix.non_ascii` covers all bytes before the end of the prefix, or before the error.
#[inline(always)]
pub(super) fn document<I: Isa>(
    isa: I,
    bytes: &[u8],
    max_depth: usize,
    until: Until,
    prefix: &mut Prefix,
    members: &mut impl Members,
) -> Result<(), Malformed> {
    let mut walker = Walker::new(isa, bytes, max_depth);
    walker.non_ascii = prefix.non_ascii;
    let walked = walker.document(until, prefix, members);
    prefix.non_ascii = walker.non_ascii;
    match walked {
        Ok(root) => {
            prefix.root = Some(root);
            Ok(())
        }
        Err(Stop::Malformed(malformed)) => Err(malformed),
        Err(Stop::GivenUp) => {
            prefix.newlines = walker.newlines;
            Ok(())
        }
    }
}

/// The key of a member of the root object.
enum Name<K> {
    Known(K),
    Other(Text),
}

struct Walker<'a, I> {
    isa: I,
    bytes: &'a [u8],
    /// The first stack, of the containers in a member of the root, that is too deep to open another.
    deepest: u128,
    /// Not zero if a byte in a string is not ASCII.
    non_ascii: u64,
    /// A CR or LF was skipped as whitespace since this was last cleared.
    newlines: bool,
    /// See [`Span::other`].
    mixed: bool,
    /// The numbers and escapes since `counted_from`.
    slow: usize,
    counted_from: usize,
}

impl<'a, I: Isa> Walker<'a, I> {
    #[inline(always)]
    const fn new(isa: I, bytes: &'a [u8], max_depth: usize) -> Self {
        let deepest = 1 << (max_depth - 1);
        let (newlines, mixed) = (false, false);
        let (non_ascii, slow, counted_from) = (0, 0, 0);
        Self { isa, bytes, deepest, non_ascii, newlines, mixed, slow, counted_from }
    }

    #[inline(always)]
    fn document<M: Members>(
        &mut self,
        until: Until,
        prefix: &mut Prefix,
        members: &mut M,
    ) -> Result<Span, Stop> {
        let (mut start, mut at) = (0, prefix.end);
        if at == 0 {
            start = self.space(0);
            match self.byte(start) {
                b'{' => {}
                b'[' | b'"' => return Err(Stop::GivenUp),
                _ => {
                    let end = lexeme::scalar(self.bytes, start)?;
                    return Ok(self.end(start, end)?);
                }
            }
            self.newlines = false;
            at = self.space(start + 1);
            if self.byte(at) == b'}' {
                return Ok(self.end(start, at + 1)?);
            }
        }
        loop {
            at = self.space(at);
            let (key, value) = self.root_key::<M>(at)?;
            // The root of a prefix is the first byte.
            if until == Until::Container && start == 0 && matches!(self.byte(value), b'{' | b'[') {
                let name = match key {
                    Name::Other(name) => name,
                    Name::Known(_) => self.key(at)?,
                };
                prefix.set_container(name, value);
                return Err(Stop::GivenUp);
            }
            let (value, end) = self.root_value(value, members)?;
            match key {
                Name::Known(key) => members.known(key, value),
                Name::Other(key) => members.member(key, value),
            }
            at = self.space(end);
            match self.byte(at) {
                b',' => at += 1,
                b'}' => return Ok(self.end(start, at + 1)?),
                _ => return Err(self.no_separator(true, at).into()),
            }
            prefix.end = at;
        }
    }

    /// The root from `start` to `end`, after which nothing may follow.
    #[inline(always)]
    fn end(&mut self, start: usize, end: usize) -> Result<Span, Malformed> {
        let root = Span::other(start, end, self.newlines, self.mixed);
        let rest = self.space(end);
        if rest < self.bytes.len() {
            return Err(Malformed::new(Fault::TrailingData, rest));
        }
        Ok(root)
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        byte(self.bytes, at)
    }

    /// Skips whitespace.
    #[inline(always)]
    fn space(&mut self, at: usize) -> usize {
        if self.byte(at) > b' ' { at } else { self.space_run(at) }
    }

    #[inline]
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

    /// A key of the root object and its colon; returns the key and where its value starts.
    #[inline(always)]
    fn root_key<M: Members>(&mut self, at: usize) -> Result<(Name<M::Key>, usize), Stop> {
        // A known key is found by one comparison, whose outcome is predicted: the next byte is read
        // without waiting for a search.
        if let Some(from) = self.bytes.get(at..)
            && let Some(start) = from.first_chunk::<BEFORE>()
            && let Some((key, length)) = M::known_key(start)
        {
            return Ok((Name::Known(key), self.space(at + length + 3)));
        }
        let key = self.key(at)?;
        Ok((Name::Other(key), self.colon(key.end + 1)?))
    }

    /// The value of a member of the root object, and its end: to unpack that from the span, on which
    /// the next member waits, takes as long as four additions.
    #[inline(always)]
    fn root_value(&mut self, at: usize, members: &mut impl Members) -> Result<(Span, usize), Stop> {
        self.slow = 0;
        self.counted_from = at;
        if self.byte(at) == b'"' {
            let text = self.string(at)?;
            let end = text.end + 1;
            return Ok((Span::string(at, end, text.escaped), end));
        }
        let outside = std::mem::replace(&mut self.newlines, false);
        let end = self.value(at, members);
        let inside = self.newlines;
        self.newlines |= outside;
        let end = end?;
        Ok((Span::other(at, end, inside, self.mixed), end))
    }

    /// The end of the value that starts at `at`.
    #[inline(always)]
    fn value(&mut self, mut at: usize, members: &mut impl Members) -> Result<usize, Stop> {
        // One bit for each open container, set for objects, above all of them a bit that is set.
        let mut stack: u128 = 1;
        loop {
            match self.byte(at) {
                b'"' => at = self.string(at)?.end + 1,
                open @ (b'{' | b'[') => {
                    if stack >= self.deepest {
                        return Err(Malformed::new(Fault::TooDeep, at).into());
                    }
                    stack = stack << 1 | u128::from(open == b'{');
                    at = self.space(at + 1);
                    if open == b'{' {
                        if self.byte(at) != b'}' {
                            at = self.member(at)?;
                            continue;
                        }
                    } else if self.byte(at) != b']' {
                        self.note_item(stack, at);
                        continue;
                    }
                    (stack, at) = self.closed(stack, at, members);
                }
                _ => {
                    at = lexeme::scalar(self.bytes, at)?;
                    self.slow += 1;
                    self.check_pace(at)?;
                }
            }
            // Behind a value.
            loop {
                if stack == 1 {
                    return Ok(at);
                }
                at = self.space(at);
                let in_object = stack & 1 != 0;
                match self.byte(at) {
                    b',' => {
                        at = self.space(at + 1);
                        if in_object {
                            at = self.member(at)?;
                        } else {
                            self.note_item(stack, at);
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return Err(self.no_separator(in_object, at).into()),
                }
                (stack, at) = self.closed(stack, at, members);
            }
        }
    }

    /// The stack without the container that the bracket at `at` closes, and the byte behind it.
    #[inline(always)]
    fn closed(&self, stack: u128, at: usize, members: &mut impl Members) -> (u128, usize) {
        let (stack, at) = (stack >> 1, at + 1);
        if matches!(stack, 0b10 | 0b11) {
            members.inner_end(at);
        }
        (stack, at)
    }

    /// Gives up if numbers and escapes up to `at` come too close to each other.
    #[inline(always)]
    fn check_pace(&mut self, at: usize) -> Result<(), Stop> {
        if self.slow < MANY {
            return Ok(());
        }
        let too_many = at - self.counted_from < self.slow * SPARSE;
        self.slow = 0;
        self.counted_from = at;
        if too_many { Err(Stop::GivenUp) } else { Ok(()) }
    }

    /// Updates `mixed` for an array's item that starts at `at`.
    #[inline(always)]
    const fn note_item(&mut self, stack: u128, at: usize) {
        // The stack of an array at depth 3, in an object or an array at depth 2.
        if stack | 0b10 == 0b110 && at < self.bytes.len() {
            self.mixed |= self.bytes[at] != b'{';
        }
    }

    /// A key and its colon, from the key's quote; returns where the value starts.
    #[inline(always)]
    fn member(&mut self, at: usize) -> Result<usize, Stop> {
        let key = self.key(at)?;
        Ok(self.colon(key.end + 1)?)
    }

    #[inline(always)]
    fn key(&mut self, at: usize) -> Result<Text, Stop> {
        if self.byte(at) != b'"' {
            return Err(unexpected(self.bytes, Fault::ExpectedKey, at).into());
        }
        self.string(at)
    }

    /// The colon after a key that ends at `at`; returns where the value starts.
    #[inline(always)]
    fn colon(&mut self, at: usize) -> Result<usize, Malformed> {
        let colon = self.space(at);
        if self.byte(colon) != b':' {
            return Err(unexpected(self.bytes, Fault::ExpectedColon, colon));
        }
        Ok(self.space(colon + 1))
    }

    /// A string, from its opening quote.
    #[inline(always)]
    fn string(&mut self, quote: usize) -> Result<Text, Stop> {
        let start = quote + 1;
        let end = self.isa.text_end(self.bytes, start, &mut self.non_ascii);
        if self.byte(end) == b'"' {
            Ok(Text { start, end, escaped: false })
        } else {
            self.escaped_string(start, end)
        }
    }

    /// The rest of a string whose plain text is interrupted at `at` by a byte other than its end.
    #[inline]
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Result<Text, Stop> {
        loop {
            match self.byte(at) {
                b'"' => return Ok(Text { start, end: at, escaped: true }),
                b'\\' => {
                    self.slow += 1;
                    self.check_pace(at)?;
                    at = self.escapes(at)?;
                }
                _ => {
                    return Err(unexpected(self.bytes, Fault::ControlCharacter, at).into());
                }
            }
            at = self.isa.text_end(self.bytes, at, &mut self.non_ascii);
        }
    }

    /// An escape, and those of four digits that follow it at once, as in text that is not Latin.
    #[inline(always)]
    fn escapes(&self, backslash: usize) -> Result<usize, Malformed> {
        let mut at = backslash;
        loop {
            match self.byte(at + 1) {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => return Ok(at + 2),
                b'u' if has_four_hex_digits(self.bytes, at + 2) => at += 6,
                _ => return Err(unexpected(self.bytes, Fault::InvalidEscape, at + 1)),
            }
            if self.byte(at) != b'\\' {
                return Ok(at);
            }
        }
    }

    #[cold]
    fn no_separator(&self, in_object: bool, at: usize) -> Malformed {
        let fault =
            if in_object { Fault::ExpectedCommaOrBrace } else { Fault::ExpectedCommaOrBracket };
        unexpected(self.bytes, fault, at)
    }
}
