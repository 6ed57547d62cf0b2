//! The places that are kept of the root object while its blocks pass, and its members made of them.

use super::{BATCH, Prefix, put_places};
use crate::scan::{INNER_ENDS, Members, Span, Text, skip};

/// An envelope has 18 to 20 quotes of its own; a few unknown keys fit too.
const QUOTES: usize = 40;

const CONTAINERS: usize = 4;

/// The places at depth 1 of a valid document, after its prefix. If there are more than fit, the
/// members are found by skipping instead.
pub(crate) struct Outline {
    quotes: [u32; QUOTES + BATCH],
    quote_count: usize,
    /// The ends of containers at depth 1, in order.
    closes: [u32; CONTAINERS],
    close_count: usize,
    /// The ends of the first containers at depth 2, in order.
    inner_ends: [u32; INNER_ENDS],
    inner_count: usize,
    /// A backslash occurs in a string at depth 1.
    pub(super) escapes: bool,
    /// A CR or LF occurs outside of strings.
    pub(super) newlines: bool,
    /// An array at depth 3 holds an element that is not an object.
    pub(super) mixed: bool,
}

impl Outline {
    pub(crate) fn new() -> Self {
        Self {
            quotes: [0; QUOTES + BATCH],
            quote_count: 0,
            closes: [0; CONTAINERS],
            close_count: 0,
            inner_ends: [0; INNER_ENDS],
            inner_count: 0,
            escapes: false,
            newlines: false,
            mixed: false,
        }
    }

    /// Records the places of `quotes`, bits of the block at `base`.
    #[inline(always)]
    pub(super) fn push_quotes(&mut self, quotes: u64, base: usize) {
        if quotes == 0 {
            return;
        }
        let free = self.quotes.get_mut(self.quote_count..).unwrap_or_default();
        put_places(quotes, free.as_chunks_mut().0, |place| (base as u32).wrapping_add(place));
        self.quote_count += quotes.count_ones() as usize;
    }

    /// Records the bracket at `at`, which leaves `depth` containers open: 0, 1 or 2.
    #[inline(always)]
    pub(super) fn close_container(&mut self, depth: usize, at: usize) {
        if depth == 1 {
            if let Some(slot) = self.closes.get_mut(self.close_count) {
                *slot = at as u32;
            }
            self.close_count += 1;
        } else if let Some(slot) = self.inner_ends.get_mut(self.inner_count)
            && depth == 2
        {
            *slot = at as u32 + 1;
            self.inner_count += 1;
        }
    }

    /// The document without the whitespace around it.
    pub(crate) fn root(&self, bytes: &[u8]) -> Span {
        let is_space = |byte: &&u8| **byte <= b' ';
        let start = bytes.iter().take_while(is_space).count();
        let end = bytes.len() - bytes.iter().rev().take_while(is_space).count();
        self.span(start, end)
    }

    /// Passes each member after `prefix` of the root object that starts at `start` to `members`.
    #[inline(always)]
    pub(crate) fn members(
        &self,
        bytes: &[u8],
        start: usize,
        prefix: &Prefix,
        members: &mut impl Members,
    ) -> Option<()> {
        for end in &self.inner_ends[..self.inner_count] {
            members.inner_end(*end as usize);
        }
        if self.quote_count > QUOTES || self.close_count > CONTAINERS {
            return self.members_by_skipping(bytes, start, prefix, members);
        }
        let mut quotes = self.quotes[..self.quote_count].iter().map(|&at| at as usize);
        let mut closes = self.closes[..self.close_count].iter().map(|&at| at as usize);
        while let Some(open) = quotes.next() {
            let key = self.text(bytes, open, quotes.next()?);
            let start = match bytes.get(key.end + 1..) {
                Some([b':', first, ..]) if *first > b' ' => key.end + 2,
                _ => past_space(bytes, past_space(bytes, key.end + 1) + 1),
            };
            let value = match bytes.get(start)? {
                b'"' => {
                    let text = self.text(bytes, quotes.next()?, quotes.next()?);
                    Span::string(start, text.end + 1, text.escaped)
                }
                b'{' | b'[' => self.span(start, closes.next()? + 1),
                _ => self.span(start, skip::value(bytes, start)),
            };
            members.member(key, value);
        }
        Some(())
    }

    #[cold]
    fn members_by_skipping(
        &self,
        bytes: &[u8],
        root: usize,
        prefix: &Prefix,
        members: &mut impl Members,
    ) -> Option<()> {
        for (key, start, end) in skip::Items::new(&bytes[root..]) {
            let key = key?;
            let key = Text { start: root + key.start, end: root + key.end, ..key };
            if key.start < prefix.end {
                continue;
            }
            let (start, end) = (root + start, root + end);
            let value = match bytes[start] {
                b'"' => Span::string(start, end, bytes[start..end].contains(&b'\\')),
                _ => self.span(start, end),
            };
            members.member(key, value);
        }
        Some(())
    }

    /// The span of a value that is not a string, with the flags of the whole document, which may
    /// hold for any of its parts.
    #[inline(always)]
    fn span(&self, start: usize, end: usize) -> Span {
        Span::other(start, end, self.newlines, self.mixed)
    }

    #[inline(always)]
    fn text(&self, bytes: &[u8], open: usize, close: usize) -> Text {
        let start = open + 1;
        let escaped = self.escapes && bytes[start..close].contains(&b'\\');
        Text { start, end: close, escaped }
    }
}

/// Skips whitespace of a valid document.
#[inline(always)]
fn past_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|&byte| byte <= b' ') {
        at += 1;
    }
    at
}
