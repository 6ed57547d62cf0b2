//! The first stage: blocks of text become tokens.

use crate::scan::blocks::{BLOCK, Block, Isa, Strings, follow, next};

use super::is_separator;

/// The state that carries over between blocks.
#[derive(Default)]
pub(super) struct Squeezer {
    strings: Strings,
    /// Bit 0: the next block's first byte follows a number or literal.
    scalar: u64,
    /// Bit 0: the next byte that is not a space follows a number or literal.
    behind_scalar: u64,
    pub(super) non_ascii: u64,
    /// A CR or LF occurs outside of strings.
    pub(super) newlines: bool,
}

impl Squeezer {
    /// Whether the next byte is inside a string and not part of an escape.
    #[inline(always)]
    pub(super) const fn in_text(&self) -> bool {
        self.strings.in_text()
    }

    /// Writes the tokens of the block at `at` to the start of `to`; the bytes after them are
    /// arbitrary. Returns the mask of the bytes that became tokens: the opening quotes of strings
    /// and what is outside of strings and no space. `None` if a string or an escape is invalid, if
    /// a space is, or if one stands between two numbers or literals, which would become one.
    #[inline(always)]
    pub(super) fn block<I: Isa>(
        &mut self,
        isa: I,
        bytes: &[u8],
        at: usize,
        to: &mut [u8; BLOCK],
    ) -> Option<u64> {
        let (block, valid) = isa.load(bytes, at);
        let controls = block.within(0, 0x1F);
        self.non_ascii |= block.non_ascii();
        let strings = self.strings.masks(isa, block, controls);
        let mut error = strings.error;
        if strings.quotes == 0 && strings.inside == !0 {
            return (error == 0).then_some(0);
        }
        let outside = !(strings.inside | strings.quotes) & valid;
        let spaces = (block.equal(b' ') | controls) & outside;
        let kept = outside & !spaces;
        if spaces | self.behind_scalar == 0 {
            let last = kept >> 63 != 0 && !is_separator(bytes[at + BLOCK - 1]);
            self.scalar = u64::from(last);
            self.behind_scalar = self.scalar;
        } else {
            error |= self.spaces(block, spaces, kept);
        }
        if error != 0 {
            return None;
        }
        let tokens = kept | strings.quotes & strings.inside;
        isa.squeeze(block, &bytes[at..], tokens, to);
        Some(tokens)
    }

    /// The errors of a block with spaces, or after one.
    #[inline(always)]
    fn spaces<B: Block>(&mut self, block: B, spaces: u64, kept: u64) -> u64 {
        let newlines = (block.equal(b'\n') | block.equal(b'\r')) & spaces;
        self.newlines |= newlines != 0;
        let wrong = spaces & !(newlines | block.equal(b' ') | block.equal(b'\t'));
        let folded = block.with_bit_5();
        let brackets = folded.equal(b'{') | folded.equal(b'}');
        let scalars = kept & !(brackets | block.equal(b':') | block.equal(b','));
        let adjacent = next(scalars, &mut self.scalar);
        let behind = follow(scalars, spaces, &mut self.behind_scalar);
        wrong | behind & scalars & !adjacent
    }
}
