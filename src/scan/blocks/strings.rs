//! The insides of strings, and the validity of escapes.

use super::{Block, Isa};

/// The state that carries over between blocks.
#[derive(Default)]
pub(in crate::scan) struct Strings {
    /// Bit 0: the next block's first byte is escaped.
    escaped: u64,
    /// All ones while inside a string.
    pub(super) inside: u64,
    /// Bits 0 to 3: the next block's bytes that must be hexadecimal digits.
    hex: u64,
}

/// The strings of a block.
pub(in crate::scan) struct StringMasks {
    /// Quotes that open or close.
    pub(in crate::scan) quotes: u64,
    /// From an opening quote to the byte before the closing one.
    pub(in crate::scan) inside: u64,
    pub(super) backslashes: u64,
    pub(in crate::scan) error: u64,
}

/// Every other bit, from bit 1.
const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;

impl Strings {
    /// Whether the next byte is inside a string and not part of an escape.
    #[inline(always)]
    pub(in crate::scan) const fn in_text(&self) -> bool {
        self.inside != 0 && self.escaped | self.hex == 0
    }

    #[inline(always)]
    pub(in crate::scan) fn masks<I: Isa>(
        &mut self,
        isa: I,
        block: I::Block,
        controls: u64,
    ) -> StringMasks {
        let mut quotes = block.equal(b'"');
        let backslashes = block.equal(b'\\');
        let mut error = 0;
        if backslashes | self.escaped | self.hex != 0 {
            let escaped = self.escaped_bytes(backslashes);
            error = self.escape_errors(block, escaped);
            quotes &= !escaped;
        }
        let inside = isa.prefix_xor(quotes) ^ self.inside;
        self.inside = ((inside as i64) >> 63) as u64;
        error |= controls & inside;
        StringMasks { quotes, inside, backslashes, error }
    }

    /// The quotes and insides of the strings of a block that is known to be valid.
    #[inline(always)]
    pub(super) fn valid_masks<I: Isa>(&mut self, isa: I, block: I::Block) -> (u64, u64) {
        let mut quotes = block.equal(b'"');
        let backslashes = block.equal(b'\\');
        if backslashes | self.escaped != 0 {
            quotes &= !self.escaped_bytes(backslashes);
        }
        let inside = isa.prefix_xor(quotes) ^ self.inside;
        self.inside = ((inside as i64) >> 63) as u64;
        (quotes, inside)
    }

    /// The bytes after an odd number of backslashes, found by a subtraction that ripples
    /// through each run.
    #[inline(always)]
    fn escaped_bytes(&mut self, backslashes: u64) -> u64 {
        let starts = backslashes & !self.escaped;
        let ends = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = ends ^ (backslashes | self.escaped);
        self.escaped = (ends & backslashes) >> 63;
        escaped
    }

    /// Invalid escapes. Not masked by the inside of strings: the quote of `\u12"` is such an error,
    /// and a backslash outside of strings is an error anyway.
    #[inline(always)]
    fn escape_errors<B: Block>(&mut self, block: B, escaped: u64) -> u64 {
        let unicode = block.equal(b'u') & escaped;
        let mut error = 0;
        if escaped & !unicode != 0 {
            let simple = [b'"', b'\\', b'/', b'b', b'f', b'n', b'r', b't'];
            let known = simple.iter().fold(unicode, |known, &byte| known | block.equal(byte));
            error = escaped & !known;
        }
        if unicode | self.hex != 0 {
            let digits = unicode << 1 | unicode << 2 | unicode << 3 | unicode << 4 | self.hex;
            self.hex = unicode >> 63 | unicode >> 62 | unicode >> 61 | unicode >> 60;
            let hex = block.within(b'0', b'9') | block.with_bit_5().within(b'a', b'f');
            error |= digits & !hex;
        }
        error
    }
}
