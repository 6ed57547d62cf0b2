//! The insides of strings, and the validity of escapes.

use super::{Block, Isa};
use crate::scan::lexeme::{byte, unexpected};
use crate::scan::{Fault, Malformed};

/// The state that carries over between blocks.
#[derive(Clone, Copy, Default)]
pub(in crate::scan) struct Strings {
    /// Bit 0: the next block's first byte is escaped.
    escaped: u64,
    /// All ones while inside a string.
    pub(super) inside: u64,
    /// Bits 0 to 3: the next block's bytes that must be hexadecimal digits.
    hex: u64,
}

/// The strings of a block.
#[derive(Clone, Copy)]
pub(in crate::scan) struct StringMasks {
    /// Quotes that open or close.
    pub(in crate::scan) quotes: u64,
    /// From an opening quote to the byte before the closing one.
    pub(in crate::scan) inside: u64,
    pub(super) backslashes: u64,
    /// Bytes that end an escape which is none.
    escape_errors: u64,
    pub(in crate::scan) error: u64,
}

impl StringMasks {
    /// If the block at `base` starts in a string: where to read on in that, at its end or at its first error.
    #[cold]
    #[inline(never)]
    pub(super) fn text_in(self, bytes: &[u8], base: usize) -> Option<usize> {
        if (self.inside ^ self.quotes) & 1 == 0 {
            return None;
        }
        let end = self.quotes.trailing_zeros();
        let bit = self.error.trailing_zeros();
        if end < bit || bit == u64::BITS {
            return Some(base + end as usize);
        }
        let is_escape = self.escape_errors >> bit & 1 == 1;
        Some(self.first_flaw(bytes, base).at - usize::from(is_escape))
    }

    /// The error at the first bit of `error` in the block at `base`, if all before it is valid.
    #[cold]
    pub(in crate::scan) fn first_flaw(self, bytes: &[u8], base: usize) -> Malformed {
        let bit = self.error.trailing_zeros();
        let mut at = base + bit as usize;
        if self.escape_errors >> bit & 1 == 0 {
            return unexpected(bytes, Fault::ControlCharacter, at);
        }
        // The byte behind a backslash, or one of the four behind a `u`, of which those before are digits.
        if byte(bytes, at - 1) != b'\\' {
            at -= 1;
            while byte(bytes, at) != b'u' {
                at -= 1;
            }
        }
        unexpected(bytes, Fault::InvalidEscape, at)
    }
}

/// Every other bit, from bit 1.
const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;

impl Strings {
    /// If the next byte, at `at`, is inside a string: where to read on in that, at `at` or at the escape that `at` is in.
    #[cold]
    pub(in crate::scan) const fn text_at(self, at: usize) -> Option<usize> {
        let digits = self.hex.count_ones() as usize;
        match (self.inside, self.escaped, digits) {
            (0, _, _) => None,
            (_, 0, 0) => Some(at),
            (_, 0, _) => Some(at + digits - r"\u0000".len()),
            _ => Some(at - r"\".len()),
        }
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
        let escape_errors = error;
        error |= controls & inside;
        StringMasks { quotes, inside, backslashes, escape_errors, error }
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
