//! The usual start of a message: an object whose members are written compactly and without escapes.
//! Then the quotes determine the structure: in `{"key":"value","key":"value",` the place of each
//! follows from the one before, and the bytes within strings need no further check. A short message
//! often consists of nothing else.

use super::{BLOCK, Block, Brackets, ErrorSite, Isa};
use crate::scan::lexeme::scalar_end;
use crate::scan::tokens::Container;
use crate::scan::{BEFORE, Members, Span, Text};

/// The number of bytes from the start that are searched; an envelope is shorter.
const WITHIN: usize = 4 * BLOCK;

/// If at most this many bytes follow the prefix, they are searched in the same way.
const SHORT: usize = 2 * BLOCK;

/// The most quotes that are searched.
const ENOUGH: usize = BLOCK;

/// The compact start of a document.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    /// The start of the next key, after a comma; 0 if the document does not start compactly.
    pub(in crate::scan) end: usize,
    /// The root, if the prefix is the whole document.
    pub(in crate::scan) root: Option<Span>,
    /// The member at `end`, if its key is compact and its value an object or an array.
    container: Option<(Text, usize)>,
    /// A CR or LF occurs as whitespace.
    pub(crate) newlines: bool,
    /// Not zero if a byte is not ASCII; covers the bytes from the start to `end` at least, and all
    /// bytes if the prefix is the whole document.
    pub(in crate::scan) non_ascii: u64,
}

impl Prefix {
    /// No compact start.
    pub(crate) const NONE: Self =
        Self { end: 0, root: None, container: None, newlines: false, non_ascii: 0 };

    /// Whether all bytes that `non_ascii` covers are ASCII.
    #[inline(always)]
    pub(crate) const fn is_ascii(&self) -> bool {
        self.non_ascii == 0
    }

    /// Scans the first members that are strings, numbers, literals or objects of these, all written
    /// compactly, and passes them to `members`. `self` must be [`NONE`](Self::NONE).
    #[inline(always)]
    pub(crate) fn find<I: Isa, M: Members>(
        &mut self,
        isa: I,
        bytes: &[u8],
        max_depth: usize,
        members: &mut M,
    ) {
        if !bytes.starts_with(b"{\"") || max_depth < 2 {
            return;
        }
        let wanted = if bytes.len() > WITHIN { M::QUOTES_AHEAD } else { ENOUGH };
        self.extend(isa, bytes, 0, wanted, members);
        let is_nearly_all = bytes.len() > WITHIN && bytes.len() - self.end <= SHORT;
        if is_nearly_all && self.root.is_none() {
            self.extend(isa, bytes, self.end, ENOUGH, members);
        }
    }

    /// Continues from the key or the brace at `start`.
    #[inline(always)]
    fn extend<I: Isa>(
        &mut self,
        isa: I,
        bytes: &[u8],
        start: usize,
        wanted: usize,
        members: &mut impl Members,
    ) {
        let rest = &bytes[start..];
        let mut places = [0_u8; ENOUGH + BLOCK];
        let (mut count, mut base, mut non_ascii) = (0, 0, 0);
        while base < rest.len().min(WITHIN) && count < wanted {
            let (block, valid) = isa.load(rest, base);
            let quotes = block.equal(b'"');
            let stops = block.specials() & !quotes;
            let quotes = quotes & (stops & stops.wrapping_neg()).wrapping_sub(1);
            let free = places[count..].first_chunk_mut().expect("a block more than is wanted");
            isa.put_places(quotes, base as u8, free);
            count += quotes.count_ones() as usize;
            non_ascii |= block.non_ascii() & valid;
            let starts_compactly = base > 0 || count >= 3 && places[2] == places[1] + 2;
            if stops & valid != 0 || !starts_compactly {
                break;
            }
            base += BLOCK;
        }
        self.non_ascii |= non_ascii;
        let (places, _) = places[..count].as_chunks();
        let mut quotes = Quotes { bytes, start, pairs: places.iter() };
        let mut at = quotes.known_members(start.max(1), members);
        if at > 1 {
            self.end = at;
        }
        loop {
            let Some((key, value)) = quotes.key(at) else { return };
            let start = value;
            let Some(value) = quotes.value(start) else {
                if matches!(bytes.get(start), Some(b'{' | b'[')) {
                    self.container = Some((key, start));
                }
                return;
            };
            if !self.end_member(bytes, value.end()) {
                return;
            }
            let known = quotes
                .before(value.start())
                .is_some_and(|before| members.known_member(&before, key.end - key.start, value));
            if !known {
                members.member(key, value);
            }
            if self.root.is_some() {
                return;
            }
            at = self.end;
        }
    }

    /// Takes in a member that ends at `end`; returns `false`, and does not, if something else than
    /// the next one or the document's end follows it.
    #[inline(always)]
    fn end_member(&mut self, bytes: &[u8], end: usize) -> bool {
        match bytes.get(end) {
            Some(b',') => self.end = end + 1,
            Some(b'}') if is_space(&bytes[end + 1..]) => {
                self.root = Some(Span::other(0, end + 1, self.newlines, false));
            }
            _ => return false,
        }
        true
    }

    /// The object or array that is the value of the next member, if that has a compact key.
    #[inline(always)]
    pub(crate) fn container(&self) -> Option<usize> {
        self.container.map(|(_, start)| start)
    }

    /// Takes in the member whose value is that container, now that it was validated, and the
    /// compact members behind it. Fails if no comma and no bracket follows.
    #[inline(always)]
    pub(crate) fn pass<I: Isa>(
        &mut self,
        isa: I,
        bytes: &[u8],
        container: &Container,
        members: &mut impl Members,
    ) -> Result<(), ErrorSite> {
        let Some((key, start)) = self.container.take() else { return Ok(()) };
        self.non_ascii |= container.non_ascii;
        self.newlines |= container.newlines;
        let next = bytes.get(container.end).copied().unwrap_or(0);
        if !matches!(next, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r') {
            let brackets = Brackets::in_root_object();
            let separator = Some(container.end - 1);
            let ascii_until = if self.is_ascii() { container.end } else { 0 };
            return Err(ErrorSite { block: 0, separator, brackets, in_text: false, ascii_until });
        }
        if self.end_member(bytes, container.end) {
            let value = Span::other(start, container.end, container.newlines, container.mixed);
            members.member(key, value);
            if self.root.is_none() {
                self.extend(isa, bytes, self.end, ENOUGH, members);
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn is_space(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// The strings ahead, by the places of their quotes.
struct Quotes<'a> {
    bytes: &'a [u8],
    /// The byte that the places are relative to.
    start: usize,
    pairs: std::slice::Iter<'a, [u8; 2]>,
}

/// The places of a string's quotes. Reads byte by byte: they were just written block by block, and
/// a read that covers the ends of two writes would wait for both.
#[inline(always)]
fn places(start: usize, pair: &[u8; 2]) -> (usize, usize) {
    (start + usize::from(pair[0]), start + usize::from(pair[1]))
}

impl Quotes<'_> {
    /// The string that starts at `at`, with its quotes; returns where it ends.
    #[inline(always)]
    fn string(&mut self, at: usize) -> Option<usize> {
        let (open, close) = places(self.start, self.pairs.next()?);
        (open == at).then_some(close + 1)
    }

    /// The bytes before `at`, after NULs if there are fewer; `None` if the whole document is
    /// shorter.
    #[inline(always)]
    fn before(&self, at: usize) -> Option<[u8; BEFORE]> {
        match self.bytes.get(..at)?.last_chunk() {
            Some(before) => Some(*before),
            None => {
                let first = u128::from_le_bytes(*self.bytes.first_chunk()?);
                Some((first << (8 * (BEFORE - at))).to_le_bytes())
            }
        }
    }

    /// The members from `at` on that are strings of known keys and followed by a comma; returns
    /// where the next one starts. One comparison of the bytes before a value tells its whole key.
    #[inline(always)]
    fn known_members(&mut self, mut at: usize, members: &mut impl Members) -> usize {
        let mut pairs = self.pairs.as_slice();
        while let [key, value, rest @ ..] = pairs {
            let (open, close) = places(self.start, key);
            let (start, end) = places(self.start, value);
            let Some(before) = self.before(start) else { break };
            let comma = self.bytes.get(end + 1) == Some(&b',');
            let value = Span::string(start, end + 1, false);
            let is_next = open == at && start == close + 2 && comma;
            if !is_next || !members.known_member(&before, close - open - 1, value) {
                break;
            }
            at = end + 2;
            pairs = rest;
        }
        self.pairs = pairs.iter();
        at
    }

    /// The key at `at` and its colon; returns where the value starts.
    #[inline(always)]
    fn key(&mut self, at: usize) -> Option<(Text, usize)> {
        let end = self.string(at)?;
        let key = Text { start: at + 1, end: end - 1, escaped: false };
        (*self.bytes.get(end)? == b':').then_some((key, end + 1))
    }

    /// The string, flat object, number or literal that starts at `start`.
    #[inline(always)]
    fn value(&mut self, start: usize) -> Option<Span> {
        let end = match self.bytes.get(start)? {
            b'"' => return Some(Span::string(start, self.string(start)?, false)),
            b'{' => self.flat_object(start + 1)?,
            b'[' => return None,
            _ => scalar_end(self.bytes, start)?,
        };
        Some(Span::other(start, end, false, false))
    }

    /// An object's inside that starts at `at`; returns where the object ends.
    #[inline(always)]
    fn flat_object(&mut self, mut at: usize) -> Option<usize> {
        if *self.bytes.get(at)? == b'}' {
            return Some(at + 1);
        }
        loop {
            let (_, start) = self.key(at)?;
            let end = match self.bytes.get(start)? {
                b'"' => self.string(start)?,
                _ => scalar_end(self.bytes, start)?,
            };
            match self.bytes.get(end)? {
                b',' => at = end + 1,
                b'}' => return Some(end + 1),
                _ => return None,
            }
        }
    }
}
