//! Eight bytes at a time in a general-purpose register (SWAR).
//!
//! Each test sets the high bit of the bytes that match. `equal` and `interrupts_string` may also mark
//! bytes after the first match, by a carry, but never one before it; `exactly` marks no others.

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

/// The bytes that equal `byte`, and no others.
#[inline]
pub(super) const fn exactly(word: u64, byte: u8) -> u64 {
    !not_zero(word ^ (ONES * byte as u64)) & HIGHS
}

/// Sets the high bit of the bytes that are not 0; other bits are arbitrary. No sum carries into the next byte.
const fn not_zero(word: u64) -> u64 {
    ((word & !HIGHS) + !HIGHS) | word
}

/// Each byte with bit 5 set, so that `[` becomes `{` and `]` becomes `}`.
#[inline]
pub(super) const fn with_bit_5(word: u64) -> u64 {
    word | (ONES * 0x20)
}

/// Whether an odd number of bytes up to each is marked, one more if `odd` says so. The bits between the marks must
/// be 0.
#[inline]
pub(super) const fn parity(mut mask: u64, odd: bool) -> u64 {
    mask ^= mask << 8;
    mask ^= mask << 16;
    mask ^= mask << 32;
    mask ^ (HIGHS * odd as u64)
}

/// The number of bytes that are marked. The bits between the marks must be 0.
#[inline]
pub(super) const fn count(mask: u64) -> u32 {
    ((mask >> 7).wrapping_mul(ONES) >> 56) as u32
}

/// The index of the first byte whose bit is set.
#[inline]
pub(super) const fn first(mask: u64) -> usize {
    (mask.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_equal_bytes_are_found_and_counted() {
        for byte in [b'"', b'{', b'}'] {
            for other in (0..=u8::MAX).filter(|&other| other != byte) {
                for pattern in 0..=u8::MAX {
                    let matches = |place: &u32| pattern >> place & 1 == 1;
                    let bytes =
                        [0, 1, 2, 3, 4, 5, 6, 7].map(|i| if matches(&i) { byte } else { other });
                    let expected = (0..8).filter(matches).fold(0, |mask, i| mask | 0x80 << (8 * i));
                    let found = exactly(u64::from_le_bytes(bytes), byte);
                    assert_eq!(found, expected, "{byte} and {other}, {pattern:#b}");
                    assert_eq!(count(found), pattern.count_ones());
                }
            }
        }
    }
}
