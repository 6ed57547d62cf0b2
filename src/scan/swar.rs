//! Eight bytes at a time in a general-purpose register (SWAR).
//!
//! Each test sets the high bit of the bytes that match. A carry can mark a byte *after* a match by
//! mistake, but never one before the first match: only the lowest set bit is read.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The next eight bytes, the first in the lowest byte; `None` when fewer are left.
#[inline]
pub(super) fn load(bytes: &[u8], at: usize) -> Option<u64> {
    let chunk = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*chunk))
}

/// The bytes that equal `byte`.
#[inline]
pub(super) const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & HIGHS
}

/// Quotes, backslashes and control characters: all bytes that end or interrupt plain string text.
#[inline]
pub(super) const fn interrupts_string(word: u64) -> u64 {
    // With bit 1 turned over a quote becomes a space, a space a quote, and control characters remain the bytes below.
    let turned = word ^ (ONES * 2);
    let least = turned.wrapping_sub(ONES * (b' ' + 1) as u64) & !turned & HIGHS;
    least | equal(word, b'\\')
}

/// The same bytes as an exact mask of eight bits: bit *i* for byte *i*.
#[inline]
pub(super) const fn specials(word: u64) -> u64 {
    const LOWS: u64 = !HIGHS;
    /// Sets the high bit of the bytes that are not 0. No sum carries into the next byte.
    const fn not_zero(word: u64) -> u64 {
        ((word & LOWS) + LOWS) | word
    }
    let quotes = not_zero(word ^ (ONES * b'"' as u64));
    let backslashes = not_zero(word ^ (ONES * b'\\' as u64));
    let controls = not_zero(word & (ONES * 0xE0));
    let found = !(quotes & backslashes & controls) & HIGHS;
    (found >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Quotes and brackets of both kinds: all bytes that matter when skipping a validated container.
#[inline]
pub(super) const fn structural(word: u64) -> u64 {
    // Only bit 5 distinguishes `[` from `{` and `]` from `}`.
    let folded = word | (ONES * 0x20);
    equal(word, b'"') | equal(folded, b'{') | equal(folded, b'}')
}

/// The index of the first byte whose bit is set.
#[inline]
pub(super) const fn first(mask: u64) -> usize {
    (mask.trailing_zeros() / 8) as usize
}
