//! SSE2: four registers of 16 bytes. Part of every x86-64, so no detection is needed.

use std::arch::x86_64::{
    __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
    _mm_set1_epi8, _mm_setzero_si128, _mm_slli_epi16, _mm_sub_epi8, _mm_xor_si128,
};
use std::mem::MaybeUninit;

use super::window;
use crate::scan::arch::isa::isa;
use crate::scan::arch::newlines;
use crate::scan::blocks::{self, BLOCK, TextMasks};
use crate::scan::{Malformed, Members};
use crate::scan::{escapes, tokens, walk};

/// 64 bytes, and the number of bits by which their masks must be shifted down.
type Block = ([__m128i; 4], u32);

isa!("sse2", Block, newlines::by_clamp, piece_masks);

#[inline]
#[target_feature(enable = "sse2")]
fn load(bytes: &[u8], at: usize) -> (Block, u64) {
    let mut copy = [0; BLOCK];
    let (block, shift) = window(bytes, at, &mut copy);
    let (quarters, _) = block.as_chunks::<16>();
    let load = |quarter: &[u8; 16]| {
        // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
        unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) }
    };
    let registers =
        [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])];
    ((registers, shift), !0 >> shift)
}

#[inline]
#[target_feature(enable = "sse2")]
fn put_places(mask: u64, base: u8, to: &mut [u8; BLOCK]) {
    blocks::put_places(mask, to.as_chunks_mut().0, |place| base.wrapping_add(place as u8));
}

#[inline]
#[target_feature(enable = "sse2")]
fn squeeze(_: Block, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
    blocks::squeeze(bytes, mask, to);
}

#[inline]
#[target_feature(enable = "sse2")]
fn place(mask: u64, before: u32) -> u32 {
    blocks::place(mask, before)
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn text_masks(piece: &[u8; 16]) -> TextMasks<1> {
    let [quote, backslash, control] = [b'"', b'\\', 0x1F].map(|byte| _mm_set1_epi8(byte as i8));
    // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
    let piece = unsafe { _mm_loadu_si128(piece.as_ptr().cast()) };
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(piece, control), piece);
    let quotes = _mm_cmpeq_epi8(piece, quote);
    let backslashes = _mm_cmpeq_epi8(piece, backslash);
    let or = |a, b| _mm_or_si128(a, b);
    let bits = |bytes| u64::from(_mm_movemask_epi8(bytes) as u16);
    TextMasks { stops: bits(or(controls, or(quotes, backslashes))), non_ascii: bits(piece) }
}

/// By the smallest byte of each column: with bit 1 turned over a quote becomes a space, a space a quote, and control
/// characters remain the bytes below.
#[inline]
#[target_feature(enable = "sse2")]
fn has_specials(blocks: &[u8; 2 * BLOCK]) -> bool {
    let [bit_1, space, backslash] = [2, b' ', b'\\'].map(|byte| _mm_set1_epi8(byte as i8));
    let (mut least, mut backslashes) = (_mm_set1_epi8(-1), _mm_setzero_si128());
    for piece in blocks.as_chunks::<16>().0 {
        // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
        let piece = unsafe { _mm_loadu_si128(piece.as_ptr().cast()) };
        least = _mm_min_epu8(least, _mm_xor_si128(piece, bit_1));
        backslashes = _mm_or_si128(backslashes, _mm_cmpeq_epi8(piece, backslash));
    }
    let others = _mm_cmpeq_epi8(_mm_min_epu8(least, space), least);
    _mm_movemask_epi8(_mm_or_si128(backslashes, others)) != 0
}

/// Of two registers: a random text has fewer branches to mispredict than with one.
#[inline]
#[target_feature(enable = "sse2")]
fn piece_masks(piece: &[u8; 32]) -> TextMasks<1> {
    let (halves, _) = piece.as_chunks::<16>();
    let [low, high] = [text_masks(&halves[0]), text_masks(&halves[1])];
    TextMasks {
        stops: low.stops | high.stops << 16,
        non_ascii: low.non_ascii | high.non_ascii << 16,
    }
}

/// By doubling: SSE2 has no carry-less multiplication.
#[inline]
#[target_feature(enable = "sse2")]
fn prefix_xor(mut mask: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        mask ^= mask << shift;
    }
    mask
}

#[inline]
#[target_feature(enable = "sse2")]
fn high_bits((block, shift): Block) -> u64 {
    let bits = |i: usize| u64::from(_mm_movemask_epi8(block[i]) as u16);
    (bits(0) | bits(1) << 16 | bits(2) << 32 | bits(3) << 48) >> shift
}

#[inline]
#[target_feature(enable = "sse2")]
fn equal((block, shift): Block, byte: u8) -> u64 {
    let byte = _mm_set1_epi8(byte as i8);
    let test = |i: usize| _mm_cmpeq_epi8(block[i], byte);
    high_bits(([test(0), test(1), test(2), test(3)], shift))
}

#[inline]
#[target_feature(enable = "sse2")]
fn within((block, shift): Block, first: u8, last: u8) -> u64 {
    let (first, span) = (_mm_set1_epi8(first as i8), _mm_set1_epi8((last - first) as i8));
    let test = |i: usize| {
        let above = _mm_sub_epi8(block[i], first);
        _mm_cmpeq_epi8(_mm_min_epu8(above, span), above)
    };
    high_bits(([test(0), test(1), test(2), test(3)], shift))
}

#[inline]
#[target_feature(enable = "sse2")]
fn specials((block, shift): Block) -> u64 {
    let [quote, backslash, control] = [b'"', b'\\', 0x1F].map(|byte| _mm_set1_epi8(byte as i8));
    let test = |i: usize| {
        let controls = _mm_cmpeq_epi8(_mm_min_epu8(block[i], control), block[i]);
        let quotes = _mm_cmpeq_epi8(block[i], quote);
        let backslashes = _mm_cmpeq_epi8(block[i], backslash);
        _mm_or_si128(controls, _mm_or_si128(quotes, backslashes))
    };
    high_bits(([test(0), test(1), test(2), test(3)], shift))
}

#[inline]
#[target_feature(enable = "sse2")]
fn bit_5((block, shift): Block) -> u64 {
    let to_high = |i: usize| _mm_slli_epi16::<2>(block[i]);
    high_bits(([to_high(0), to_high(1), to_high(2), to_high(3)], shift))
}

#[inline]
#[target_feature(enable = "sse2")]
fn with_bit_5((block, shift): Block) -> Block {
    let set = |i: usize| _mm_or_si128(block[i], _mm_set1_epi8(0x20));
    ([set(0), set(1), set(2), set(3)], shift)
}
