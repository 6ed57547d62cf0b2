//! AVX-512: one register of 64 bytes, whose comparisons yield masks directly.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi8, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cmpeq_epi8_mask,
    _mm512_cmple_epu8_mask, _mm512_cmpneq_epi8_mask, _mm512_loadu_si512,
    _mm512_maskz_compress_epi8, _mm512_maskz_loadu_epi8, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_set1_epi8, _mm512_shuffle_epi8, _mm512_srli_epi16, _mm512_storeu_si512, _mm512_sub_epi8,
    _mm512_subs_epu8, _mm512_test_epi8_mask,
};
use std::mem::MaybeUninit;

use super::avx2::{has_specials, piece_masks, place, prefix_xor, table};
use super::sse2::text_masks;
use crate::scan::arch::isa::isa;
use crate::scan::arch::newlines;
use crate::scan::arch::utf8::{self, HIGH, LOW, SECOND, WINDOW};
use crate::scan::blocks::{self, BLOCK};
use crate::scan::{Malformed, Members};
use crate::scan::{escapes, tokens, walk};

isa!(
    "avx512f,avx512bw,avx512vl,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq",
    __m512i,
    newlines::by_blend,
    piece_masks
);

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8], at: usize) -> (__m512i, u64) {
    let rest = &bytes[at..];
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        // SAFETY: 64 bytes are readable behind the reference; no alignment is required.
        return (unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }, !0);
    }
    let valid = !(!0 << rest.len());
    // SAFETY: only the bytes of `valid` are read, and there are that many; no alignment is
    // required, and masked-out bytes cannot fault.
    (unsafe { _mm512_maskz_loadu_epi8(valid, rest.as_ptr().cast()) }, valid)
}

/// The place of each byte in a block.
const PLACES: [u8; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut place = 0;
    while place < BLOCK {
        places[place] = place as u8;
        place += 1;
    }
    places
};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn put_places(mask: u64, base: u8, to: &mut [u8; BLOCK]) {
    // SAFETY: 64 bytes are readable behind the reference; no alignment is required.
    let places = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    let places = _mm512_add_epi8(places, _mm512_set1_epi8(base as i8));
    // Into a register first: some CPUs are slow at compressing into memory.
    let places = _mm512_maskz_compress_epi8(mask, places);
    // SAFETY: 64 bytes are writable behind the reference; no alignment is required.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), places) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
fn squeeze(block: __m512i, _: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
    let squeezed = _mm512_maskz_compress_epi8(mask, block);
    // SAFETY: 64 bytes are writable behind the reference; no alignment is required.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), squeezed) };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn high_bits(block: __m512i) -> u64 {
    _mm512_movepi8_mask(block)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn equal(block: __m512i, byte: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte as i8))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn within(block: __m512i, first: u8, last: u8) -> u64 {
    let above = _mm512_sub_epi8(block, _mm512_set1_epi8(first as i8));
    _mm512_cmple_epu8_mask(above, _mm512_set1_epi8((last - first) as i8))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn specials(block: __m512i) -> u64 {
    equal(block, b'"') | equal(block, b'\\') | within(block, 0, 0x1F)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn bit_5(block: __m512i) -> u64 {
    _mm512_test_epi8_mask(block, _mm512_set1_epi8(0x20))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn with_bit_5(block: __m512i) -> __m512i {
    _mm512_or_si512(block, _mm512_set1_epi8(0x20))
}

/// See [`utf8::check`].
#[target_feature(enable = "avx512f,avx512bw,avx2")]
pub(super) fn check_utf8(bytes: &[u8]) -> Option<Result<(), usize>> {
    utf8::check(bytes, |window| wrong(window))
}

/// As `wrong` of AVX2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx2")]
fn wrong(window: &[u8; WINDOW]) -> u64 {
    let load = |at: usize| load(window, at).0;
    let (fourth, byte) = (load(0), load(3));
    if _mm512_movepi8_mask(_mm512_or_si512(fourth, byte)) == 0 {
        return 0;
    }
    let [nibble, high_bit] = [0x0F, 0x80].map(|byte: u8| _mm512_set1_epi8(byte as i8));
    let tables = [HIGH, LOW, SECOND];
    let [high, low, second] = tables.map(|bytes| _mm512_broadcast_i32x4(table(&bytes)));
    let half = |bytes| _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
    let (third, before) = (load(1), load(2));
    let flags = _mm512_and_si512(
        _mm512_shuffle_epi8(high, half(before)),
        _mm512_shuffle_epi8(low, _mm512_and_si512(before, nibble)),
    );
    let flags = _mm512_and_si512(flags, _mm512_shuffle_epi8(second, half(byte)));
    // The high bit is set where a third byte or a fourth is due.
    let due = _mm512_or_si512(
        _mm512_subs_epu8(third, _mm512_set1_epi8(0xE0_u8.wrapping_sub(0x80) as i8)),
        _mm512_subs_epu8(fourth, _mm512_set1_epi8(0xF0_u8.wrapping_sub(0x80) as i8)),
    );
    _mm512_cmpneq_epi8_mask(flags, _mm512_and_si512(due, high_bit))
}
