//! What a string must not hold as it is, for those who write strings.

use super::{BLOCK, Block, Isa};

/// The bytes of a block that have to be escaped in a string.
#[derive(Clone, Copy)]
pub(crate) struct Specials {
    /// Where the block starts.
    pub(crate) at: usize,
    /// Quotes, backslashes and control characters: bit *i* for the byte at `at + i`.
    pub(crate) all: u64,
    /// Those of `all` that have no escape of one letter, only `\u00` and two digits.
    pub(crate) long: u64,
}

/// Tells `each` of all blocks of 64 bytes in order; the last may be shorter.
#[inline(always)]
pub(crate) fn specials<I: Isa>(isa: I, bytes: &[u8], mut each: impl FnMut(Specials)) {
    for at in (0..bytes.len()).step_by(BLOCK) {
        let (block, valid) = isa.load(bytes, at);
        let (all, mut long) = (block.specials() & valid, 0);
        if all != 0 {
            let short = block.within(0x08, 0x0D) & !block.equal(0x0B);
            long = block.within(0, 0x1F) & valid & !short;
        }
        each(Specials { at, all, long });
    }
}
