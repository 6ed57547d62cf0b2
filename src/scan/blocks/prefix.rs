//! The usual start of a message: an object whose members are written compactly and without escapes.
//! Then the quotes determine the structure: in `{"key":"value","key":"value",` the place of each
//! follows from the one before, and the bytes within strings need no further check. A short message
//! often consists of nothing else.

use super::{BLOCK, Block, Isa};
use crate::scan::lexeme::scalar_end;
use crate::scan::{Members, Span, Text};

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
    pub(super) end: usize,
    /// The prefix is the whole document, without whitespace.
    pub(crate) complete: bool,
    /// Not zero if a byte is not ASCII; covers the bytes from the start to `end` at least, and all
    /// bytes if the prefix is `complete`.
    pub(super) non_ascii: u64,
}

impl Prefix {
    /// Whether all bytes of a `complete` prefix are ASCII.
    #[inline(always)]
    pub(crate) const fn is_ascii(&self) -> bool {
        self.non_ascii == 0
    }
}

/// Scans the first members that are strings, numbers, literals or objects of these, all written
/// compactly, and passes them to `members`.
#[inline(always)]
pub(crate) fn prefix<I: Isa, M: Members>(
    isa: I,
    bytes: &[u8],
    max_depth: usize,
    members: &mut M,
) -> Prefix {
    let mut prefix = Prefix { end: 0, complete: false, non_ascii: 0 };
    if !bytes.starts_with(b"{\"") || max_depth < 2 {
        return prefix;
    }
    let wanted = if bytes.len() > WITHIN { M::QUOTES_AHEAD } else { ENOUGH };
    prefix.extend(isa, bytes, 0, wanted, members);
    let is_nearly_all = bytes.len() > WITHIN && bytes.len() - prefix.end <= SHORT;
    if is_nearly_all && !prefix.complete {
        prefix.extend(isa, bytes, prefix.end, ENOUGH, members);
    }
    prefix
}

impl Prefix {
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
        let (mut count, mut base) = (0, 0);
        while base < rest.len().min(WITHIN) && count < wanted {
            let (block, valid) = isa.load(rest, base);
            let quotes = block.equal(b'"');
            let stops = block.specials() & !quotes;
            let quotes = quotes & (stops & stops.wrapping_neg()).wrapping_sub(1);
            let free = places[count..].first_chunk_mut().expect("a block more than is wanted");
            isa.put_places(quotes, base as u8, free);
            count += quotes.count_ones() as usize;
            self.non_ascii |= block.non_ascii() & valid;
            let starts_compactly = count >= 3 && places[2] == places[1] + 2;
            if stops & valid != 0 || !starts_compactly {
                break;
            }
            base += BLOCK;
        }
        let (places, _) = places[..count].as_chunks();
        let mut quotes = Quotes { bytes, start, pairs: places.iter() };
        let mut at = start.max(1);
        while let Some((key, value)) = quotes.key(at)
            && let Some(value) = quotes.value(value)
        {
            let end = value.end();
            let next = bytes.get(end);
            self.complete = next == Some(&b'}') && end + 1 == bytes.len();
            if !self.complete && next != Some(&b',') {
                break;
            }
            members.member(key, value);
            if self.complete {
                break;
            }
            at = end + 1;
            self.end = at;
        }
    }
}

/// The strings ahead, by the places of their quotes.
struct Quotes<'a> {
    bytes: &'a [u8],
    /// The byte that the places are relative to.
    start: usize,
    pairs: std::slice::Iter<'a, [u8; 2]>,
}

impl Quotes<'_> {
    /// The string that starts at `at`, with its quotes; returns where it ends.
    #[inline(always)]
    fn string(&mut self, at: usize) -> Option<usize> {
        let [open, close] = self.pairs.next()?.map(|place| self.start + usize::from(place));
        (open == at).then_some(close + 1)
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
