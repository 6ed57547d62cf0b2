//! The usual start of a message: an object whose members are written compactly and without
//! escapes. Then the quotes tell where everything is: `{"key":"value","key":"value",` has them at
//! places that follow from each other, and what is between them needs no look. A short message is
//! often all of this kind.

use super::{BLOCK, Block, Isa};
use crate::scan::scalar::scalar_end;
use crate::scan::{Members, Span, Text};

/// Only the start of a message is looked at; an envelope is shorter.
const WITHIN: usize = 4 * BLOCK;

/// When no more than this is left behind it, that is looked at in the same way.
const SHORT: usize = 2 * BLOCK;

/// More quotes than this are not looked for.
const ENOUGH: usize = BLOCK;

/// What the start of a document was found to be.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    /// Where the next key starts, behind a comma; 0 when the document does not start like this.
    pub(super) end: usize,
    /// This was all: a whole document without whitespace.
    pub(crate) complete: bool,
    /// Bits of bytes that are not ASCII, from the start to `end` at least, and of all if it is
    /// `complete`.
    pub(super) non_ascii: u64,
}

impl Prefix {
    /// Whether all bytes of a `complete` one are ASCII.
    #[inline(always)]
    pub(crate) const fn is_ascii(&self) -> bool {
        self.non_ascii == 0
    }
}

/// Passes the members in front that are strings, numbers, literals or objects of these, all of them
/// compact, and tells `members` of them.
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
    /// Goes on from the key at `start`, or from the brace there, within the bytes behind.
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
            && let Some(end) = quotes.value(value)
        {
            let next = bytes.get(end);
            self.complete = next == Some(&b'}') && end + 1 == bytes.len();
            if !self.complete && next != Some(&b',') {
                break;
            }
            members.member(key, Span::plain(value, end));
            if self.complete {
                break;
            }
            at = end + 1;
            self.end = at;
        }
    }
}

/// The strings ahead, told by their quotes, and what is between them.
struct Quotes<'a> {
    bytes: &'a [u8],
    /// Where the places are counted from.
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

    /// A string, a flat object, a number or a literal; returns where it ends.
    #[inline(always)]
    fn value(&mut self, start: usize) -> Option<usize> {
        match self.bytes.get(start)? {
            b'"' => self.string(start),
            b'{' => self.flat_object(start + 1),
            b'[' => None,
            _ => scalar_end(self.bytes, start),
        }
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
