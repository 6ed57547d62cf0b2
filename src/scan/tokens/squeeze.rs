//! The first stage: blocks of text become tokens.

use crate::scan::Malformed;
use crate::scan::blocks::{BLOCK, Block, Isa, StringMasks, Strings, follow, next};

use super::is_separator;

/// The state that carries over between blocks.
#[derive(Default)]
pub(super) struct Squeezer {
    strings: Strings,
    /// Bit 0: the last byte is outside of strings and no space.
    kept: u64,
    /// Bit 0: the last bytes are spaces after a number or literal.
    behind_scalar: u64,
    pub(super) non_ascii: u64,
    /// A CR or LF occurs outside of strings.
    pub(super) newlines: bool,
}

/// The first error of a block.
pub(super) struct Flaw {
    /// The bytes before it that became tokens; none if the error is not known.
    pub(super) tokens: u64,
    /// The document's first error, if all tokens are right; or where the string ends in which the block starts, if in one.
    pub(super) flaw: Result<Malformed, Option<usize>>,
}

impl Flaw {
    /// The first of `error` in the block at `at`, whose tokens are right if there is no error.
    #[cold]
    #[inline(never)]
    fn of(strings: StringMasks, error: u64, tokens: u64, bytes: &[u8], at: usize) -> Self {
        let first = error & error.wrapping_neg();
        if strings.error & first == 0 {
            let starts_in_string = (strings.inside ^ strings.quotes) & 1 == 1;
            let string_end = at + strings.quotes.trailing_zeros() as usize;
            return Self { tokens: 0, flaw: Err(starts_in_string.then_some(string_end)) };
        }
        Self { tokens: tokens & (first - 1), flaw: Ok(strings.first_flaw(bytes, at)) }
    }
}

/// From so many bytes outside of strings on, a block is searched for digits that can be left out: a list of
/// numbers has more. See profiles/README.md.
const DENSE: u32 = 40;

/// `kept` without the digits behind another, but for the digit behind a leading zero: whether a number is
/// valid does not depend on them. A digit at the start of the block is always kept.
#[inline(always)]
fn without_digits(block: impl Block, kept: u64) -> u64 {
    let digits = block.within(b'0', b'9') & kept;
    let leading_zeros = block.equal(b'0') & digits & !(digits << 1);
    kept & !(digits & (digits & !leading_zeros) << 1)
}

impl Squeezer {
    /// See [`Strings::text_at`].
    #[inline(always)]
    pub(super) const fn text_at(&self, at: usize) -> Option<usize> {
        self.strings.text_at(at)
    }

    /// Writes the tokens of the block at `at` to the start of `to`; the bytes after them are
    /// arbitrary. Returns the mask of the bytes that became tokens: the opening quotes of strings
    /// and what is outside of strings and no space, without most digits of numbers. Fails if a string or an escape is invalid, if
    /// a space is, or if one stands between two numbers or literals, which would become one.
    #[inline(always)]
    pub(super) fn block<I: Isa>(
        &mut self,
        isa: I,
        bytes: &[u8],
        at: usize,
        to: &mut [u8; BLOCK],
    ) -> Result<u64, Flaw> {
        let (block, valid) = isa.load(bytes, at);
        let controls = block.within(0, 0x1F);
        self.non_ascii |= block.non_ascii();
        let strings = self.strings.masks(isa, block, controls);
        let mut error = strings.error;
        if strings.quotes == 0 && strings.inside == !0 {
            return if error == 0 { Ok(0) } else { Err(Flaw::of(strings, error, 0, bytes, at)) };
        }
        let outside = !(strings.inside | strings.quotes) & valid;
        let spaces = (block.equal(b' ') | controls) & outside;
        let kept = outside & !spaces;
        if spaces | self.behind_scalar != 0 {
            error |= self.spaces(block, spaces, kept, bytes[at - 1]);
        }
        self.kept = kept >> 63;
        let is_dense = kept.count_ones() >= DENSE;
        let kept = if is_dense { without_digits(block, kept) } else { kept };
        let tokens = kept | strings.quotes & strings.inside;
        if error != 0 {
            let flaw = Flaw::of(strings, error, tokens, bytes, at);
            isa.squeeze(block, &bytes[at..], flaw.tokens, to);
            return Err(flaw);
        }
        isa.squeeze(block, &bytes[at..], tokens, to);
        Ok(tokens)
    }

    /// The errors of a block with spaces, or after one; `before` is the byte before it.
    #[inline(always)]
    fn spaces<B: Block>(&mut self, block: B, spaces: u64, kept: u64, before: u8) -> u64 {
        let newlines = (block.equal(b'\n') | block.equal(b'\r')) & spaces;
        self.newlines |= newlines != 0;
        let wrong = spaces & !(newlines | block.equal(b' ') | block.equal(b'\t'));
        let folded = block.with_bit_5();
        let brackets = folded.equal(b'{') | folded.equal(b'}');
        let scalars = kept & !(brackets | block.equal(b':') | block.equal(b','));
        // Only now does it matter what the last byte was.
        let mut scalar = self.kept & u64::from(!is_separator(before));
        let mut behind_scalar = self.behind_scalar | scalar;
        let adjacent = next(scalars, &mut scalar);
        let behind = follow(scalars, spaces, &mut behind_scalar);
        self.behind_scalar = behind_scalar & !scalar;
        wrong | behind & scalars & !adjacent
    }
}
