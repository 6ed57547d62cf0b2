//! AVX2: two registers of 32 bytes, and a carry-less multiplication for the parity of quotes.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_loadu_si128,
    _mm_set1_epi8, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    _mm256_sub_epi8, _mm256_subs_epu8, _mm256_testz_si256, _mm256_xor_si256, _pdep_u64,
};
use std::mem::MaybeUninit;

use super::sse2::text_masks;
use super::window;
use crate::scan::arch::isa::isa;
use crate::scan::arch::newlines;
use crate::scan::arch::utf8::{self, HIGH, LOW, SECOND, WINDOW};
use crate::scan::blocks::{self, BLOCK, TextMasks};
use crate::scan::{Malformed, Members};
use crate::scan::{escapes, tokens, walk};

/// 64 bytes, and the number of bits by which their masks must be shifted down.
type Block = ([__m256i; 2], u32);

isa!("avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq", Block, newlines::by_blend, piece_masks);

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8], at: usize) -> (Block, u64) {
    let mut copy = [0; BLOCK];
    let (block, shift) = window(bytes, at, &mut copy);
    let (halves, _) = block.as_chunks::<32>();
    let load = |half: &[u8; 32]| {
        // SAFETY: 32 bytes are readable behind the reference; no alignment is required.
        unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
    };
    (([load(&halves[0]), load(&halves[1])], shift), !0 >> shift)
}

#[inline]
#[target_feature(enable = "avx2")]
fn put_places(mask: u64, base: u8, to: &mut [u8; BLOCK]) {
    blocks::put_places(mask, to.as_chunks_mut().0, |place| base.wrapping_add(place as u8));
}

#[inline]
#[target_feature(enable = "avx2")]
fn squeeze(_: Block, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
    blocks::squeeze(bytes, mask, to);
}

/// The lowest bits of a number, moved to the bits of a mask: of one that has a single bit.
#[inline]
#[target_feature(enable = "bmi2")]
pub(super) fn place(mask: u64, before: u32) -> u32 {
    _pdep_u64(1 << before, mask).trailing_zeros()
}

/// The carry-less product with all ones is the prefix XOR.
#[inline]
#[target_feature(enable = "pclmulqdq")]
pub(super) fn prefix_xor(mask: u64) -> u64 {
    let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(mask as i64), _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product) as u64
}

#[inline]
#[target_feature(enable = "avx2")]
fn high_bits((block, shift): Block) -> u64 {
    let bits = |i: usize| u64::from(_mm256_movemask_epi8(block[i]) as u32);
    (bits(0) | bits(1) << 32) >> shift
}

#[inline]
#[target_feature(enable = "avx2")]
fn equal((block, shift): Block, byte: u8) -> u64 {
    let byte = _mm256_set1_epi8(byte as i8);
    high_bits(([_mm256_cmpeq_epi8(block[0], byte), _mm256_cmpeq_epi8(block[1], byte)], shift))
}

#[inline]
#[target_feature(enable = "avx2")]
fn within((block, shift): Block, first: u8, last: u8) -> u64 {
    let (first, span) = (_mm256_set1_epi8(first as i8), _mm256_set1_epi8((last - first) as i8));
    let test = |i: usize| {
        let above = _mm256_sub_epi8(block[i], first);
        _mm256_cmpeq_epi8(_mm256_min_epu8(above, span), above)
    };
    high_bits(([test(0), test(1)], shift))
}

#[inline]
#[target_feature(enable = "avx2")]
fn specials((block, shift): Block) -> u64 {
    let [quote, backslash, control] = [b'"', b'\\', 0x1F].map(|byte| _mm256_set1_epi8(byte as i8));
    let test = |i: usize| {
        let controls = _mm256_cmpeq_epi8(_mm256_min_epu8(block[i], control), block[i]);
        let quotes = _mm256_cmpeq_epi8(block[i], quote);
        let backslashes = _mm256_cmpeq_epi8(block[i], backslash);
        _mm256_or_si256(controls, _mm256_or_si256(quotes, backslashes))
    };
    high_bits(([test(0), test(1)], shift))
}

/// As with SSE2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn has_specials(blocks: &[u8; 2 * BLOCK]) -> bool {
    let [bit_1, space, backslash] = [2, b' ', b'\\'].map(|byte| _mm256_set1_epi8(byte as i8));
    let (mut least, mut backslashes) = (_mm256_set1_epi8(-1), _mm256_setzero_si256());
    for piece in blocks.as_chunks::<32>().0 {
        // SAFETY: 32 bytes are readable behind the reference; no alignment is required.
        let piece = unsafe { _mm256_loadu_si256(piece.as_ptr().cast()) };
        least = _mm256_min_epu8(least, _mm256_xor_si256(piece, bit_1));
        backslashes = _mm256_or_si256(backslashes, _mm256_cmpeq_epi8(piece, backslash));
    }
    let others = _mm256_cmpeq_epi8(_mm256_min_epu8(least, space), least);
    _mm256_movemask_epi8(_mm256_or_si256(backslashes, others)) != 0
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn piece_masks(piece: &[u8; 32]) -> TextMasks<1> {
    let [bit_1, space, backslash] = [2, b' ', b'\\'].map(|byte| _mm256_set1_epi8(byte as i8));
    // SAFETY: 32 bytes are readable behind the reference; no alignment is required.
    let piece = unsafe { _mm256_loadu_si256(piece.as_ptr().cast()) };
    let turned = _mm256_xor_si256(piece, bit_1);
    let others = _mm256_cmpeq_epi8(_mm256_min_epu8(turned, space), turned);
    let stops = _mm256_or_si256(others, _mm256_cmpeq_epi8(piece, backslash));
    let bits = |bytes| u64::from(_mm256_movemask_epi8(bytes) as u32);
    TextMasks { stops: bits(stops), non_ascii: bits(piece) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn bit_5((block, shift): Block) -> u64 {
    high_bits(([_mm256_slli_epi16::<2>(block[0]), _mm256_slli_epi16::<2>(block[1])], shift))
}

#[inline]
#[target_feature(enable = "avx2")]
fn with_bit_5((block, shift): Block) -> Block {
    let bit = _mm256_set1_epi8(0x20);
    ([_mm256_or_si256(block[0], bit), _mm256_or_si256(block[1], bit)], shift)
}

/// See [`utf8::check`].
#[target_feature(enable = "avx2")]
pub(super) fn check_utf8(bytes: &[u8]) -> Option<Result<(), usize>> {
    utf8::check(bytes, |window| wrong(window))
}

/// A table of 16 entries in a register.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn table(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// A mask of the window's last 64 bytes: those that do not fit the three bytes before each. Returns early
/// for a window of ASCII.
#[inline]
#[target_feature(enable = "avx2")]
fn wrong(window: &[u8; WINDOW]) -> u64 {
    let load = |at: usize| {
        let bytes: &[u8; 32] = window[at..].first_chunk().expect("at most half of a window");
        // SAFETY: 32 bytes are readable behind the reference; no alignment is required.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    };
    let any = _mm256_or_si256(_mm256_or_si256(load(0), load(32)), load(WINDOW - 32));
    if _mm256_movemask_epi8(any) == 0 {
        return 0;
    }
    let [nibble, high_bit] = [0x0F, 0x80].map(|byte: u8| _mm256_set1_epi8(byte as i8));
    let tables = [HIGH, LOW, SECOND];
    let [high, low, second] = tables.map(|bytes| _mm256_broadcastsi128_si256(table(&bytes)));
    let half = |bytes| _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
    let test = |at: usize| {
        let [fourth, third, before, byte] = [0, 1, 2, 3].map(|behind| load(at + behind));
        let flags = _mm256_and_si256(
            _mm256_shuffle_epi8(high, half(before)),
            _mm256_shuffle_epi8(low, _mm256_and_si256(before, nibble)),
        );
        let flags = _mm256_and_si256(flags, _mm256_shuffle_epi8(second, half(byte)));
        // The high bit is set where a third byte (two behind 0xE0 or more) or a fourth (three behind
        // 0xF0 or more) is due.
        let due = _mm256_or_si256(
            _mm256_subs_epu8(third, _mm256_set1_epi8(0xE0_u8.wrapping_sub(0x80) as i8)),
            _mm256_subs_epu8(fourth, _mm256_set1_epi8(0xF0_u8.wrapping_sub(0x80) as i8)),
        );
        _mm256_xor_si256(flags, _mm256_and_si256(due, high_bit))
    };
    let (first, last) = (test(0), test(32));
    let any = _mm256_or_si256(first, last);
    if _mm256_testz_si256(any, any) == 1 {
        return 0;
    }
    let zero = _mm256_setzero_si256();
    let right = |bytes| _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, zero)) as u32;
    !(u64::from(right(first)) | u64::from(right(last)) << 32)
}
