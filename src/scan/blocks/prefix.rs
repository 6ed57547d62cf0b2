//! The usual start of a message: an object whose members are written compactly and without escapes.
//! Then the quotes determine the structure: in `{"key":"value","key":"value",` the place of each
//! follows from the one before, and the bytes within strings need no further check. A short message
//! often consists of nothing else.

use super::{BLOCK, Block, Brackets, ErrorSite, Isa};
use crate::scan::lexeme::{self, byte, scalar_end, unexpected};
use crate::scan::tokens::Container;
use crate::scan::{BEFORE, Fault, Malformed, Members, Span, Text};

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
    behind: Behind,
    /// A CR or LF occurs as whitespace.
    pub(crate) newlines: bool,
    /// Not zero if a byte is not ASCII; covers the bytes from the start to `end` at least, and all
    /// bytes if the prefix is the whole document.
    pub(in crate::scan) non_ascii: u64,
}

/// What follows the prefix.
#[derive(Clone, Copy)]
enum Behind {
    Unknown,
    /// A member with this key; its value, which starts at this place, is an object or an array.
    Container(Text, usize),
    /// The first error of the JSON. All bytes before it are covered by `non_ascii` or were compared with ASCII bytes.
    Flaw(Malformed),
}

impl Prefix {
    /// No compact start.
    pub(crate) const NONE: Self =
        Self { end: 0, root: None, behind: Behind::Unknown, newlines: false, non_ascii: 0 };

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
            let stop = stops & valid;
            if stop != 0 {
                base += stop.trailing_zeros() as usize;
                break;
            }
            if !starts_compactly {
                break;
            }
            base += BLOCK;
        }
        self.non_ascii |= non_ascii;
        let places = &places[..count];
        let mut quotes = Quotes { bytes, start, pairs: places.as_chunks().0.iter() };
        let mut at = quotes.string_members(start.max(1), members);
        if at > 1 {
            self.end = at;
        }
        let stopped = loop {
            let (key, value) = match quotes.key(at) {
                Ok(key) => key,
                Err(stopped) => break stopped,
            };
            let start = value;
            let value = match quotes.value(start) {
                Ok(value) => value,
                Err(stopped) => {
                    if matches!(bytes.get(start), Some(b'{' | b'[')) {
                        self.behind = Behind::Container(key, start);
                    }
                    break stopped;
                }
            };
            if !self.end_member(bytes, value.end()) {
                break Stopped::due(Fault::ExpectedCommaOrBrace, value.end());
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
        };
        // Without quotes left, a short document is hardly valid.
        if quotes.pairs.len() == 0 && rest.len() <= WITHIN {
            self.find_flaw(bytes, start, places, at, stopped, start + base);
        }
    }

    /// Takes in why the members from the one at `at` on are not compact, if that is an error. The quotes at `places` are
    /// those from `start` on, up to `until` at least if the last one opens a string: its text is plain up to there.
    #[cold]
    #[inline(never)]
    fn find_flaw(
        &mut self,
        bytes: &[u8],
        start: usize,
        places: &[u8],
        at: usize,
        Stopped(stopped): Stopped,
        until: usize,
    ) {
        let flaw = if stopped & !Stopped::DUE >= bytes.len() {
            Some(Malformed::new(Fault::UnexpectedEnd, bytes.len()))
        } else if let (_, [open]) = places.as_chunks::<2>()
            && start + usize::from(*open) == stopped
        {
            let flaw = unexpected(bytes, Fault::ControlCharacter, until);
            (byte(bytes, until) < b' ').then_some(flaw)
        } else {
            Quotes::flaw(bytes, start, places, at)
        };
        if let Some(flaw) = flaw {
            self.behind = Behind::Flaw(flaw);
        }
    }

    /// Takes in a member that ends at `end`; returns `false`, and does not, if something else than
    /// the next one or the document's end follows it.
    #[inline(always)]
    fn end_member(&mut self, bytes: &[u8], end: usize) -> bool {
        match bytes.get(end) {
            Some(b',') => self.end = end + 1,
            Some(b'}') if bytes[end + 1..].iter().all(is_space) => {
                self.root = Some(Span::other(0, end + 1, self.newlines, false));
            }
            _ => return false,
        }
        true
    }

    /// The object or array that is the value of the next member, if it is known.
    #[inline(always)]
    pub(crate) const fn container(&self) -> Option<usize> {
        match self.behind {
            Behind::Container(_, start) => Some(start),
            _ => None,
        }
    }

    /// Takes in that the value of the next member starts at `start` and is an object or an array.
    #[inline(always)]
    pub(in crate::scan) const fn set_container(&mut self, key: Text, start: usize) {
        self.behind = Behind::Container(key, start);
    }

    /// The first error of the JSON, if it is known.
    #[inline(always)]
    pub(crate) const fn flaw(&self) -> Option<Malformed> {
        match self.behind {
            Behind::Flaw(flaw) => Some(flaw),
            _ => None,
        }
    }

    /// Takes in the first error of the JSON. `non_ascii` is not zero if a byte of that container before it is not ASCII.
    #[cold]
    pub(in crate::scan) const fn set_flaw(&mut self, flaw: Malformed, non_ascii: u64) {
        self.behind = Behind::Flaw(flaw);
        self.non_ascii |= non_ascii;
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
        let Behind::Container(key, start) = self.behind else { return Ok(()) };
        self.behind = Behind::Unknown;
        self.non_ascii |= container.non_ascii;
        self.newlines |= container.newlines;
        if container.end == bytes.len() {
            self.set_flaw(Malformed::new(Fault::UnexpectedEnd, container.end), 0);
            return Ok(());
        }
        let next = bytes.get(container.end).copied().unwrap_or(0);
        if !matches!(next, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r') {
            let brackets = Brackets::in_root_object();
            let separator = Some(container.end - 1);
            let ascii_until = if self.is_ascii() { container.end } else { 0 };
            return Err(ErrorSite { separator, brackets, text: None, ascii_until });
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
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The number of bytes of whitespace at `at`.
fn space_len(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().take_while(|byte| is_space(byte)).count()
}

/// Why a member is not compact.
trait Reason {
    /// A container that is not flat.
    const NESTED: Self;

    /// No quote is known for the string that is due at this place.
    fn no_quote(at: usize) -> Self;

    /// Something else stands where this is due.
    fn due(what: Fault, at: usize) -> Self;

    /// No number and no literal stands where one is due.
    fn no_scalar(at: usize) -> Self;
}

/// The place at which a member stops being compact, in one register; with [`DUE`](Self::DUE), unless quotes are missing.
/// It is the document's length only if that is valid so far.
#[derive(Clone, Copy)]
struct Stopped(usize);

impl Stopped {
    const DUE: usize = 1 << (usize::BITS - 1);
}

impl Reason for Stopped {
    const NESTED: Self = Self(Self::DUE);

    #[inline(always)]
    fn no_quote(at: usize) -> Self {
        Self(at)
    }

    #[inline(always)]
    fn due(_: Fault, at: usize) -> Self {
        Self(at | Self::DUE)
    }

    #[inline(always)]
    fn no_scalar(at: usize) -> Self {
        Self(at | Self::DUE)
    }
}

/// The same in full.
#[derive(Clone, Copy)]
enum Stop {
    Nested,
    NoQuote(usize),
    Due(Fault, usize),
    NoScalar(usize),
}

impl Reason for Stop {
    const NESTED: Self = Self::Nested;

    fn no_quote(at: usize) -> Self {
        Self::NoQuote(at)
    }

    fn due(what: Fault, at: usize) -> Self {
        Self::Due(what, at)
    }

    fn no_scalar(at: usize) -> Self {
        Self::NoScalar(at)
    }
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
    fn string<R: Reason>(&mut self, at: usize) -> Result<usize, R> {
        let (open, close) = places(self.start, self.pairs.next().ok_or_else(|| R::no_quote(at))?);
        if open == at { Ok(close + 1) } else { Err(R::due(Fault::ExpectedKey, at)) }
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

    /// The members from `at` on that are strings and followed by a comma; returns where the next one
    /// starts. One comparison of the bytes before a value recognises a known key with its quotes and
    /// colon; for any other key only the colon is checked.
    #[inline(always)]
    fn string_members<M: Members>(&mut self, mut at: usize, members: &mut M) -> usize {
        let mut pairs = self.pairs.as_slice();
        while let [key, value, rest @ ..] = pairs {
            let (open, close) = places(self.start, key);
            let (start, end) = places(self.start, value);
            let Some(before) = self.before(start) else { break };
            let comma = self.bytes.get(end + 1) == Some(&b',');
            let value = Span::string(start, end + 1, false);
            if open != at || start != close + 2 || !comma {
                break;
            }
            if !members.known_member(&before, close - open - 1, value) {
                if self.bytes[close + 1] != b':' {
                    break;
                }
                if !M::KNOWS_BEFORE {
                    members.member(Text { start: open + 1, end: close, escaped: false }, value);
                }
            }
            at = end + 2;
            pairs = rest;
        }
        self.pairs = pairs.iter();
        at
    }

    /// The key at `at` and its colon; returns where the value starts.
    #[inline(always)]
    fn key<R: Reason>(&mut self, at: usize) -> Result<(Text, usize), R> {
        let end = self.string(at)?;
        let key = Text { start: at + 1, end: end - 1, escaped: false };
        match self.bytes.get(end) {
            Some(b':') => Ok((key, end + 1)),
            _ => Err(R::due(Fault::ExpectedColon, end)),
        }
    }

    /// The string, flat object, number or literal that starts at `start`.
    #[inline(always)]
    fn value<R: Reason>(&mut self, start: usize) -> Result<Span, R> {
        let end = match self.bytes.get(start) {
            Some(b'"') => return Ok(Span::string(start, self.string(start)?, false)),
            Some(b'{') => self.flat_object(start + 1)?,
            Some(b'[') => return Err(R::NESTED),
            _ => scalar_end(self.bytes, start).ok_or_else(|| R::no_scalar(start))?,
        };
        Ok(Span::other(start, end, false, false))
    }

    /// An object's inside that starts at `at`; returns where the object ends.
    #[inline(always)]
    fn flat_object<R: Reason>(&mut self, mut at: usize) -> Result<usize, R> {
        if self.bytes.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        loop {
            let (_, start) = self.key(at)?;
            let end = match self.bytes.get(start) {
                Some(b'"') => self.string(start)?,
                _ => scalar_end(self.bytes, start).ok_or_else(|| R::no_scalar(start))?,
            };
            match self.bytes.get(end) {
                Some(b',') => at = end + 1,
                Some(b'}') => return Ok(end + 1),
                _ => return Err(R::due(Fault::ExpectedCommaOrBrace, end)),
            }
        }
    }

    /// The first error of the root's member at `at`, if there is one and it is known. The quotes at `places` are those
    /// from `start` on, up to a place behind the member or up to the first byte that is no plain text.
    #[cold]
    #[inline(never)]
    fn flaw(bytes: &[u8], start: usize, places: &[u8], at: usize) -> Option<Malformed> {
        let first = places.iter().rposition(|&place| start + usize::from(place) == at);
        let places = first.map_or(&[][..], |first| &places[first..]);
        let (pairs, _) = places.as_chunks();
        let mut quotes = Quotes { bytes, start, pairs: pairs.iter() };
        let (what, at) = match quotes.key(at).and_then(|(_, start)| quotes.value(start)) {
            Ok(value) if byte(bytes, value.end()) == b'}' => {
                let end = value.end() + 1;
                return Some(Malformed::new(Fault::TrailingData, end + space_len(bytes, end)));
            }
            Ok(value) => (Fault::ExpectedCommaOrBrace, value.end()),
            Err(Stop::Nested) => return None,
            Err(Stop::NoQuote(at)) if byte(bytes, at) == b'"' => return None,
            Err(Stop::NoQuote(at)) => (Fault::ExpectedKey, at),
            Err(Stop::Due(what, at)) => (what, at),
            Err(Stop::NoScalar(at)) => match byte(bytes, at) {
                b'{' | b'[' | b' ' | b'\t' | b'\n' | b'\r' => return None,
                _ => return lexeme::scalar(bytes, at).err(),
            },
        };
        if space_len(bytes, at) > 0 { None } else { Some(unexpected(bytes, what, at)) }
    }
}
