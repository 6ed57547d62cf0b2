//! AVX-512: one register of 64 bytes, whose comparisons give masks at once.

use std::arch::x86_64::{
    __m512i, _mm512_cmpeq_epi8_mask, _mm512_cmple_epu8_mask, _mm512_maskz_loadu_epi8,
    _mm512_movepi8_mask, _mm512_or_si512, _mm512_set1_epi8, _mm512_sub_epi8, _mm512_test_epi8_mask,
};
use std::mem::MaybeUninit;

use super::avx2::prefix_xor;
use crate::scan::Members;
use crate::scan::arch::spaces;
use crate::scan::blocks::{self, BLOCK};

isa!("avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq", __m512i, spaces::by_blend);

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8], at: usize) -> (__m512i, u64) {
    let rest = &bytes[at..];
    let valid = match rest.len() {
        length @ 0..BLOCK => !(!0 << length),
        _ => !0,
    };
    // SAFETY: only the bytes of `valid` are read, and there are that many; no alignment is asked
    // for, and what is masked out cannot fault.
    (unsafe { _mm512_maskz_loadu_epi8(valid, rest.as_ptr().cast()) }, valid)
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
