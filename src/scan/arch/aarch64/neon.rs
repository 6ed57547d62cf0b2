//! NEON: four registers of 16 bytes, byte *i* of the block in register *i* mod 4.
//!
//! NEON has no instruction that makes a mask of a register. Of four registers that are interleaved
//! like this, four instructions make one of 64 bits.

use std::arch::aarch64::{
    uint8x16_t, uint8x16x4_t, vaddq_u8, vceqq_u8, vcleq_u8, vcltzq_s8, vdupq_n_u8, vget_lane_u64,
    vld1q_u8, vld1q_u8_x4, vld4q_u8, vmaxvq_u8, vorrq_u8, vqtbl4q_u8, vreinterpret_u64_u8,
    vreinterpretq_s8_u8, vreinterpretq_u16_u8, vshrn_n_u16, vsubq_u8, vtstq_u8,
};
use std::arch::asm;
use std::mem::MaybeUninit;

use crate::scan::arch::isa::isa;
use crate::scan::arch::newlines;
use crate::scan::blocks::{self, BLOCK, TextMasks};
use crate::scan::{Malformed, Members};
use crate::scan::{escapes, tokens, walk};

/// 64 bytes, every fourth in each register; NULs after the input's end.
type Block = uint8x16x4_t;

isa!("neon", Block, newlines::by_blend, text_masks);

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8], at: usize) -> (Block, u64) {
    let rest = &bytes[at..];
    match rest.first_chunk::<BLOCK>() {
        // SAFETY: 64 bytes are readable behind the reference; no alignment is required.
        Some(block) => (unsafe { vld4q_u8(block.as_ptr()) }, !0),
        None => load_end(bytes, rest),
    }
}

/// A block that the input's end cuts short: the input's last 64 bytes, or `rest` after NULs if the
/// input is shorter, moved down by the number of missing bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load_end(bytes: &[u8], rest: &[u8]) -> (Block, u64) {
    const EVERY_FOURTH: [u8; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60];
    let missing = (BLOCK - rest.len()) as u8;
    let mut copy = [0; BLOCK];
    let block = match bytes.last_chunk::<BLOCK>() {
        Some(block) => block,
        None => {
            copy[BLOCK - rest.len()..].copy_from_slice(rest);
            &copy
        }
    };
    // SAFETY: 64 bytes are readable behind the reference; no alignment is required.
    let table = unsafe { vld1q_u8_x4(block.as_ptr()) };
    // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
    let places = unsafe { vld1q_u8(EVERY_FOURTH.as_ptr()) };
    // A place is at most 60 + 63 + 3, so none wraps; those from 64 on yield NUL.
    let from = |first| vqtbl4q_u8(table, vaddq_u8(places, vdupq_n_u8(missing + first)));
    (uint8x16x4_t(from(0), from(1), from(2), from(3)), !0 >> missing)
}

#[inline]
#[target_feature(enable = "neon")]
fn put_places(mask: u64, base: u8, to: &mut [u8; BLOCK]) {
    blocks::put_places(mask, to.as_chunks_mut().0, |place| base.wrapping_add(place as u8));
}

#[inline]
#[target_feature(enable = "neon")]
fn squeeze(_: Block, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
    blocks::squeeze(bytes, mask, to);
}

#[inline]
#[target_feature(enable = "neon")]
fn place(mask: u64, before: u32) -> u32 {
    blocks::place(mask, before)
}

/// Four bits for each byte, since one instruction makes such a mask.
#[inline]
#[target_feature(enable = "neon")]
fn text_masks(piece: &[u8; 16]) -> TextMasks<4> {
    // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
    let piece = unsafe { vld1q_u8(piece.as_ptr()) };
    TextMasks { stops: nibbles(is_special(piece)), non_ascii: nibbles(is_non_ascii(piece)) }
}

/// Four bits for each byte, of a register whose bytes are all ones or all zeros.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles(bytes: uint8x16_t) -> u64 {
    // The middle of each pair of bytes.
    vget_lane_u64::<0>(vreinterpret_u64_u8(vshrn_n_u16::<4>(vreinterpretq_u16_u8(bytes))))
}

#[inline]
#[target_feature(enable = "neon")]
fn has_specials(blocks: &[u8; 2 * BLOCK]) -> bool {
    let mut special = vdupq_n_u8(0);
    for piece in blocks.as_chunks::<16>().0 {
        // SAFETY: 16 bytes are readable behind the reference; no alignment is required.
        special = vorrq_u8(special, is_special(unsafe { vld1q_u8(piece.as_ptr()) }));
    }
    vmaxvq_u8(special) != 0
}

/// By doubling, each step one instruction. A carry-less multiplication would not be shorter: the
/// mask would have to be moved to a vector register and back.
#[inline]
#[target_feature(enable = "neon")]
fn prefix_xor(mut mask: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        mask ^= mask << shift;
    }
    mask
}

#[inline]
#[target_feature(enable = "neon")]
fn each(block: Block, test: impl Fn(uint8x16_t) -> uint8x16_t) -> Block {
    uint8x16x4_t(test(block.0), test(block.1), test(block.2), test(block.3))
}

/// One bit for each byte, of registers whose bytes are all ones or all zeros: bits 0 to 3 of each
/// byte are combined from the four registers, twice, and the middle of each pair of bytes is kept.
#[inline]
#[target_feature(enable = "neon")]
fn mask(block: Block) -> u64 {
    let odd = vdupq_n_u8(0xAA);
    let upper = vdupq_n_u8(0xCC);
    nibbles(insert(insert(block.0, block.1, odd), insert(block.2, block.3, odd), upper))
}

/// `to` with the bits of `from` where `bits` are set.
#[inline]
#[target_feature(enable = "neon")]
fn insert(mut to: uint8x16_t, from: uint8x16_t, bits: uint8x16_t) -> uint8x16_t {
    // SAFETY: computes in registers. Given the intrinsic `vbslq_u8`, LLVM 22 sees which bits count
    // in the end, and makes seven instructions of three.
    unsafe {
        asm!("bit {to:v}.16b, {from:v}.16b, {bits:v}.16b",
            to = inout(vreg) to, from = in(vreg) from, bits = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    to
}

#[inline]
#[target_feature(enable = "neon")]
fn is_non_ascii(bytes: uint8x16_t) -> uint8x16_t {
    vcltzq_s8(vreinterpretq_s8_u8(bytes))
}

#[inline]
#[target_feature(enable = "neon")]
fn is_special(bytes: uint8x16_t) -> uint8x16_t {
    let [quote, backslash, control] = [b'"', b'\\', 0x1F].map(|byte| vdupq_n_u8(byte));
    let of_strings = vorrq_u8(vceqq_u8(bytes, quote), vceqq_u8(bytes, backslash));
    vorrq_u8(vcleq_u8(bytes, control), of_strings)
}

#[inline]
#[target_feature(enable = "neon")]
fn high_bits(block: Block) -> u64 {
    mask(each(block, |bytes| is_non_ascii(bytes)))
}

#[inline]
#[target_feature(enable = "neon")]
fn equal(block: Block, byte: u8) -> u64 {
    let byte = vdupq_n_u8(byte);
    mask(each(block, |bytes| vceqq_u8(bytes, byte)))
}

#[inline]
#[target_feature(enable = "neon")]
fn within(block: Block, first: u8, last: u8) -> u64 {
    let (first, span) = (vdupq_n_u8(first), vdupq_n_u8(last - first));
    mask(each(block, |bytes| vcleq_u8(vsubq_u8(bytes, first), span)))
}

#[inline]
#[target_feature(enable = "neon")]
fn specials(block: Block) -> u64 {
    mask(each(block, |bytes| is_special(bytes)))
}

#[inline]
#[target_feature(enable = "neon")]
fn bit_5(block: Block) -> u64 {
    let bit = vdupq_n_u8(0x20);
    mask(each(block, |bytes| vtstq_u8(bytes, bit)))
}

#[inline]
#[target_feature(enable = "neon")]
fn with_bit_5(block: Block) -> Block {
    let bit = vdupq_n_u8(0x20);
    each(block, |bytes| vorrq_u8(bytes, bit))
}
