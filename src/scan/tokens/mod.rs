//! A container in dense tokens: first its blocks are squeezed into a tape, on which a string is one
//! quote, whitespace is gone and a list of numbers has fewer digits, then the grammar is arithmetic
//! on masks of 64 tokens.
//!
//! Most bytes of a document are inside of strings, so the grammar, which is the costly part, reads
//! three to six times fewer of them than in blocks of the text itself. Squeezing a block is one
//! instruction with AVX-512 VBMI2; other instruction sets can do it, for the tests, but gain nothing
//! by it.

mod grammar;
mod squeeze;

use grammar::{Grammar, OVERLAP, Step};
use squeeze::{Flaw, Squeezer};

use super::blocks::{BLOCK, Brackets, ErrorSite, Isa, Prefix, container_end};
use super::{Malformed, Members};

/// A valid container.
pub(super) struct Container {
    /// The byte after its closing bracket.
    pub(super) end: usize,
    /// Not zero if a byte of it, or one that was read beyond it, is not ASCII.
    pub(super) non_ascii: u64,
    /// A CR or LF may occur in it as whitespace.
    pub(super) newlines: bool,
    /// See [`Span::other`](super::Span::other).
    pub(super) mixed: bool,
}

/// Tokens that are read after one that is checked: the rest of a literal and the token behind it.
const AHEAD: usize = 8;

/// The space on a tape for the tokens that are kept from the batch before, for a whole block after
/// the last token, and for the block that is read there.
const MARGIN: usize = 4 * BLOCK;

/// The most blocks of a batch.
const SHORT: usize = 8;
const LONG: usize = 32;

/// The bytes of a tape. A short one is cheap to clear; when it is full, the batch ends, and the places of the tokens
/// that are kept are lost. These hold 39 and 29 tokens of each block, and most payloads have 10 to 35.
const SHORT_TAPE: usize = 384;
const MIDDLE_TAPE: usize = 1024;
const LONG_TAPE: usize = LONG * BLOCK + MARGIN;

/// Why a container is malformed.
enum Stop {
    /// By this error; the mask is not zero if a byte of the container before it is not ASCII.
    Flaw(Malformed, u64),
    Site(Option<ErrorSite>),
}

/// Validates the container after `prefix`, if there is one, and extends `prefix` over it and the
/// compact members behind it, which are passed to `members`. An error is in the prefix, or comes
/// with its site if that is known.
#[inline(always)]
pub(super) fn member<I: Isa>(
    isa: I,
    bytes: &[u8],
    max_depth: usize,
    prefix: &mut Prefix,
    members: &mut impl Members,
) -> Result<(), Option<ErrorSite>> {
    let Some(start) = prefix.container() else { return Ok(()) };
    let blocks = (bytes.len() - start).div_ceil(BLOCK);
    let container = if blocks <= SHORT {
        container::<SHORT, SHORT_TAPE, I>(isa, bytes, start, max_depth, members)
    } else if blocks <= LONG {
        container::<LONG, MIDDLE_TAPE, I>(isa, bytes, start, max_depth, members)
    } else {
        container::<LONG, LONG_TAPE, I>(isa, bytes, start, max_depth, members)
    };
    let container = match container {
        Ok(container) => container,
        Err(Stop::Flaw(flaw, non_ascii)) => {
            prefix.set_flaw(flaw, non_ascii);
            return Ok(());
        }
        Err(Stop::Site(site)) => {
            return Err(site.map(|site| ErrorSite {
                ascii_until: if prefix.is_ascii() { site.ascii_until } else { 0 },
                ..site
            }));
        }
    };
    prefix.pass(isa, bytes, &container, members).map_err(Some)
}

/// Validates the object or array at `start`, the value of a member of the root object. It is read in
/// batches of up to `BATCH` blocks, on a tape of `TAPE` bytes. See [`outline`](super::blocks::outline)
/// for the bounds. An error comes with its site if that is known.
#[inline(always)]
fn container<const BATCH: usize, const TAPE: usize, I: Isa>(
    isa: I,
    bytes: &[u8],
    start: usize,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<Container, Stop> {
    // Each batch takes a block, though up to BLOCK + AHEAD tokens are kept.
    const { assert!(TAPE >= 2 * (BLOCK + AHEAD)) };
    let (mut tokens, mut masks) = ([0; TAPE], [0; BATCH]);
    let mut tape = Tape::new(bytes, &mut tokens, &mut masks, start);
    let mut squeezer = Squeezer::default();
    let mut grammar = Grammar::default();
    let mut inner_ends = InnerEnds { wanted: members.wants_inner_ends() };
    loop {
        let mut flaw = None;
        // Whole blocks have a loop of their own, in which the compiler drops the mask of a block that is
        // cut short.
        while tape.has_space() && bytes.len() - tape.next_block() >= BLOCK {
            if let Err(error) = tape.push_block(isa, bytes, &mut squeezer) {
                flaw = Some(error);
                break;
            }
        }
        if flaw.is_none() && tape.has_space() && tape.next_block() < bytes.len() {
            flaw = tape.push_block(isa, bytes, &mut squeezer).err();
        }
        let last = tape.next_block() >= bytes.len() || flaw.is_some();
        let mut from = 0;
        loop {
            let left = tape.len - from;
            if left < BLOCK + AHEAD && !last {
                break;
            }
            let have = if left < BLOCK { !(!0 << left) } else { !0 };
            let before = grammar.brackets;
            let step = grammar.step(isa, tape.tokens, tape.len, from, have, max_depth);
            inner_ends.report(isa, &tape, from, grammar.inner_ends, members);
            match step {
                Step::Valid => {}
                Step::End(token) => {
                    return Ok(Container {
                        end: match tape.place(isa, from + token) {
                            Some(place) => place + 1,
                            None => container_end(isa, bytes, start),
                        },
                        non_ascii: squeezer.non_ascii,
                        newlines: squeezer.newlines,
                        mixed: grammar.mixed,
                    });
                }
                Step::Error(token) => {
                    return Err(Stop::Site(
                        tape.site_of_error(isa, before, from, token, &squeezer),
                    ));
                }
            }
            if left <= BLOCK {
                break;
            }
            from += BLOCK - OVERLAP;
        }
        if last {
            // The text ends too early, or has a flaw and is not read any further.
            let text = match flaw {
                Some(Flaw { flaw: Ok(malformed), .. }) => {
                    return Err(Stop::Flaw(malformed, squeezer.non_ascii));
                }
                Some(Flaw { flaw: Err(text), .. }) => text,
                None => squeezer.text_at(bytes.len()),
            };
            return Err(Stop::Site(tape.site_of_end(isa, grammar.brackets, text, &squeezer)));
        }
        tape.keep_from(isa, from);
    }
}

/// Reports where the containers in the container end, if that is wanted, until one has no known place.
struct InnerEnds {
    wanted: bool,
}

impl InnerEnds {
    /// Reports those of the step at `from`.
    #[inline(always)]
    fn report<const BATCH: usize, const TAPE: usize>(
        &mut self,
        isa: impl Isa,
        tape: &Tape<'_, BATCH, TAPE>,
        from: usize,
        mut ends: u64,
        members: &mut impl Members,
    ) {
        while self.wanted && ends != 0 {
            match tape.place(isa, from + ends.trailing_zeros() as usize) {
                Some(place) => members.inner_end(place + 1),
                None => self.wanted = false,
            }
            ends &= ends - 1;
        }
    }
}

/// The tokens of up to `BATCH` blocks, after some tokens of the blocks before. It borrows what is
/// large, so as not to be moved with it.
struct Tape<'a, const BATCH: usize, const TAPE: usize> {
    tokens: &'a mut [u8; TAPE],
    len: usize,
    /// The number of tokens that are kept from the batch before.
    kept: usize,
    /// The last bracket, colon or comma among the first of these, as token and as place.
    separator: Option<(usize, usize)>,
    /// The start of the batch, and for each block of it the bytes that became tokens.
    base: usize,
    masks: &'a mut [u64; BATCH],
    blocks: usize,
}

impl<'a, const BATCH: usize, const TAPE: usize> Tape<'a, BATCH, TAPE> {
    /// An empty tape before the value at `start`, after a key, its colon and spaces.
    #[inline(always)]
    fn new(
        bytes: &[u8],
        tokens: &'a mut [u8; TAPE],
        masks: &'a mut [u64; BATCH],
        start: usize,
    ) -> Self {
        tokens[..OVERLAP].copy_from_slice(b"\0\0\0{\":");
        let colon = bytes[..start].iter().rposition(|&byte| byte == b':').unwrap_or(0);
        Self {
            tokens,
            len: OVERLAP,
            kept: OVERLAP,
            separator: Some((OVERLAP - 1, colon)),
            base: start,
            masks,
            blocks: 0,
        }
    }

    #[inline(always)]
    fn next_block(&self) -> usize {
        self.base + self.blocks * BLOCK
    }

    /// Whether another block fits, however many of its bytes become tokens, and what is read behind its last one.
    #[inline(always)]
    fn has_space(&self) -> bool {
        let holds_all = TAPE >= BATCH * BLOCK + MARGIN;
        self.blocks < BATCH && (holds_all || self.len <= TAPE - BLOCK - AHEAD)
    }

    /// Squeezes the next block; if it has a flaw, only what is before that.
    #[inline(always)]
    fn push_block<I: Isa>(
        &mut self,
        isa: I,
        bytes: &[u8],
        squeezer: &mut Squeezer,
    ) -> Result<(), Flaw> {
        let at = self.next_block();
        let free = self.tokens[self.len..].first_chunk_mut().expect("the margin has space");
        let squeezed = squeezer.block(isa, bytes, at, free);
        let (Ok(mask) | Err(Flaw { tokens: mask, .. })) = squeezed;
        self.masks[self.blocks] = mask;
        self.blocks += 1;
        self.len += mask.count_ones() as usize;
        squeezed.map(drop)
    }

    /// Starts the next batch with the tokens from `from` on.
    #[inline(always)]
    fn keep_from(&mut self, isa: impl Isa, from: usize) {
        let last = (from..from + OVERLAP).rev().find(|&token| is_separator(self.tokens[token]));
        let place = |token| Some((token - from, self.place(isa, token)?));
        self.separator = last.and_then(place);
        self.base = self.next_block();
        self.blocks = 0;
        self.tokens.copy_within(from..self.len, 0);
        self.len -= from;
        self.kept = self.len;
    }

    /// The place of a token in the document; `None` for most that were kept.
    #[inline(always)]
    fn place(&self, isa: impl Isa, token: usize) -> Option<usize> {
        if let Some((separator, place)) = self.separator
            && token == separator
        {
            return Some(place);
        }
        if token < self.kept {
            return None;
        }
        // Most are close to the end: a container's last token, the last separator of a batch.
        let mut left = (self.len - token) as u32;
        for (block, &mask) in self.masks[..self.blocks].iter().enumerate().rev() {
            let count = mask.count_ones();
            if left <= count {
                return Some(self.base + block * BLOCK + isa.place(mask, count - left) as usize);
            }
            left -= count;
        }
        None
    }

    /// The site of an error that token `error` of the step at `from` showed, before which the
    /// brackets were `brackets`.
    #[cold]
    fn site_of_error(
        &self,
        isa: impl Isa,
        mut brackets: Brackets,
        from: usize,
        error: usize,
        squeezer: &Squeezer,
    ) -> Option<ErrorSite> {
        // An error shows at most two tokens after its first one.
        let (fresh, until) = (from + OVERLAP, from + error.saturating_sub(2));
        let token = self.last_separator(until.max(fresh))?;
        for &byte in self.tokens.get(fresh..=token).unwrap_or_default() {
            if !matches!(byte, b':' | b',') && is_separator(byte) {
                brackets = brackets.after(byte)?;
            }
        }
        let separator = Some(self.place(isa, token)?);
        let ascii_until = self.ascii_until(squeezer);
        Some(ErrorSite { separator, brackets, text: None, ascii_until })
    }

    /// The site of an error after the last token, with the `brackets` there. `text` is where to read on in the string that
    /// is the last token, if the error is not before.
    #[cold]
    fn site_of_end(
        &self,
        isa: impl Isa,
        brackets: Brackets,
        text: Option<usize>,
        squeezer: &Squeezer,
    ) -> Option<ErrorSite> {
        let token = self.last_separator(self.len)?;
        let separator = Some(self.place(isa, token)?);
        // The string must be the token behind the separator.
        let text = text.filter(|_| token + 2 == self.len);
        let ascii_until = self.ascii_until(squeezer);
        Some(ErrorSite { separator, brackets, text, ascii_until })
    }

    /// The end of the blocks of the container that are known to be ASCII; 0 if not all of them are.
    fn ascii_until(&self, squeezer: &Squeezer) -> usize {
        if squeezer.non_ascii == 0 { self.next_block() } else { 0 }
    }

    fn last_separator(&self, until: usize) -> Option<usize> {
        self.tokens[..until].iter().rposition(|&byte| is_separator(byte))
    }
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',')
}
