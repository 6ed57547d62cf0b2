//! A document in blocks of 64 bytes: each class of bytes is a `u64` mask, bit *i* for byte *i*, and
//! the grammar is arithmetic on masks. State carries over from one block to the next.
//!
//! The code here is safe and the same for all instruction sets; they differ in how the masks are
//! made, behind [`Isa`] and [`Block`]. It finds *whether* a document is malformed; the scalar
//! scanner, resumed at the last bracket, colon or comma before, finds where and why.

mod brackets;
mod grammar;
mod numbers;
mod outline;
mod prefix;
mod strings;

pub(super) use brackets::Brackets;
pub(super) use grammar::{Charset, ErrorSite, follow, literal, outline};
pub(super) use outline::Outline;
pub(super) use prefix::Prefix;
pub(super) use strings::{StringMasks, Strings};

use std::ops::BitOr;

use super::depth::Depth;
use super::lexeme::plain_text_end;

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// An instruction set that is known to be available: the value is the proof.
pub(super) trait Isa: Copy {
    type Block: Block;

    /// The block at `at`, which must be within `bytes`, and the mask of its valid bytes. In a block
    /// that the input's end cuts short, the masks have no bits after the end, or those of NUL.
    fn load(self, bytes: &[u8], at: usize) -> (Self::Block, u64);

    /// Writes the sum of `base` and the place of each bit of `mask`, in order; the bytes after the
    /// last are arbitrary.
    fn put_places(self, mask: u64, base: u8, to: &mut [u8; BLOCK]);

    /// Writes the bytes of `mask` in `block`, the start of `bytes`, in order; the bytes after the last
    /// are arbitrary.
    fn squeeze(self, block: Self::Block, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]);

    /// The place of the bit of `mask` that comes after `before` others; there must be one.
    fn place(self, mask: u64, before: u32) -> u32;

    /// The end of plain string text from `at` on: a quote, a backslash, a control character or the
    /// end of `bytes`. Adds bits to `non_ascii` if a byte before it, or close behind, is not ASCII.
    fn text_end(self, bytes: &[u8], at: usize, non_ascii: &mut u64) -> usize;

    /// Whether there are quotes, backslashes or control characters: found faster than their places.
    fn has_specials(self, blocks: &[u8; 2 * BLOCK]) -> bool;

    /// Bit *i* of the result is the parity of the bits up to *i*.
    fn prefix_xor(self, mask: u64) -> u64;
}

/// 64 bytes in registers.
pub(super) trait Block: Copy {
    /// The bytes that equal `byte`.
    fn equal(self, byte: u8) -> u64;

    /// The bytes from `first` to `last`.
    fn within(self, first: u8, last: u8) -> u64;

    /// The bytes in which bit 5 is set: it distinguishes `{` from `[` and `}` from `]`.
    fn bit_5(self) -> u64;

    /// Each byte with bit 5 set, so that `[` becomes `{`, `]` becomes `}` and `A` becomes `a`.
    fn with_bit_5(self) -> Self;

    /// Quotes, backslashes and control characters; bits after the input's end may be set too.
    fn specials(self) -> u64;

    /// The bytes that are not ASCII.
    fn non_ascii(self) -> u64;
}

/// `mask` shifted to the next byte, with `carry` as the lowest bit; `carry` becomes the bit that is
/// shifted out.
#[inline(always)]
pub(super) fn next(mask: u64, carry: &mut u64) -> u64 {
    let moved = mask << 1 | *carry;
    *carry = mask >> 63;
    moved
}

/// Runs forward over `through` from each bit of `starts`; returns where the runs end. A run that
/// reaches the block's end continues from the next block's start, by `carry`.
///
/// Each start must be the first bit of its run of `through`.
#[inline(always)]
fn run_ends(starts: u64, through: u64, carry: &mut u64) -> u64 {
    let (sum, first) = through.overflowing_add(starts);
    let (sum, second) = sum.overflowing_add(*carry);
    *carry = u64::from(first | second);
    sum & !through
}

/// The number of places that are written at a time: fewer branches, fewer mispredictions.
const BATCH: usize = 4;

/// Writes the result of `of` for the place of each bit of `mask`, in order, into as many `batches`
/// as needed, or as there are; the values after the last one in its batch are arbitrary.
#[inline(always)]
pub(super) fn put_places<T>(mut mask: u64, batches: &mut [[T; BATCH]], of: impl Fn(u32) -> T) {
    for batch in batches {
        if mask == 0 {
            return;
        }
        for place in batch {
            *place = of(mask.trailing_zeros());
            mask &= mask.wrapping_sub(1);
        }
    }
}

/// The masks of a piece of text of at most 64 / `BITS` bytes, with `BITS` bits for each byte. A marked byte has
/// its one bit set, all of its four, or the highest of its eight.
pub(super) struct TextMasks<const BITS: usize> {
    /// The bytes that are not plain text of a string: quotes, backslashes and control characters.
    pub(super) stops: u64,
    /// The bytes that are not ASCII.
    pub(super) non_ascii: u64,
}

/// [`Isa::text_end`] in pieces of `N` bytes; the last piece is read backwards from the end.
#[inline(always)]
pub(super) fn text_end<const N: usize, const BITS: usize>(
    bytes: &[u8],
    mut at: usize,
    non_ascii: &mut u64,
    masks: impl Fn(&[u8; N]) -> TextMasks<BITS>,
) -> usize {
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((piece, behind)) = rest.split_first_chunk() {
        let masks = masks(piece);
        *non_ascii |= masks.non_ascii;
        if masks.stops != 0 {
            return at + masks.stops.trailing_zeros() as usize / BITS;
        }
        (rest, at) = (behind, at + N);
    }
    let Some(piece) = bytes.last_chunk() else {
        *non_ascii |= u64::from(!rest.is_ascii());
        return plain_text_end(bytes, at);
    };
    let masks = masks(piece);
    *non_ascii |= masks.non_ascii;
    let stops = masks.stops.checked_shr(((N - rest.len()) * BITS) as u32).unwrap_or(0);
    if stops != 0 { at + stops.trailing_zeros() as usize / BITS } else { bytes.len() }
}

/// [`Isa::place`] bit by bit.
#[inline(always)]
pub(super) fn place(mask: u64, before: u32) -> u32 {
    (0..before).fold(mask, |mask, _| mask & mask.wrapping_sub(1)).trailing_zeros()
}

/// [`Isa::squeeze`] byte by byte.
#[inline(always)]
pub(super) fn squeeze(bytes: &[u8], mut mask: u64, to: &mut [u8; BLOCK]) {
    for to in to {
        if mask == 0 {
            return;
        }
        *to = bytes[mask.trailing_zeros() as usize];
        mask &= mask - 1;
    }
}

/// The number of bytes before the first block that holds a quote, a backslash or a control character; the length of
/// `bytes` if there are none.
#[inline(always)]
pub(super) fn plain_blocks<I: Isa>(isa: I, bytes: &[u8]) -> usize {
    let (pairs, _) = bytes.as_chunks();
    let plain = pairs.iter().take_while(|blocks| !isa.has_specials(blocks)).count();
    let mut at = plain * 2 * BLOCK;
    while at < bytes.len() {
        let (block, valid) = isa.load(bytes, at);
        if block.specials() & valid != 0 {
            return at;
        }
        at += BLOCK;
    }
    bytes.len()
}

/// [`plain_blocks`] without a tier, by the vector instructions that every CPU of the target has, if there
/// are any.
pub(super) fn plain_blocks_without_tier(bytes: &[u8]) -> usize {
    let mut plain = 0;
    if COMPILER_HAS_VECTORS {
        let (long, _) = bytes.as_chunks::<{ 4 * BLOCK }>();
        plain += long.iter().take_while(|text| is_plain_long(*text)).count() * 4 * BLOCK;
        let (blocks, _) = bytes[plain..].as_chunks::<BLOCK>();
        plain += blocks.iter().take_while(|text| is_plain(*text)).count() * BLOCK;
        if bytes.len() - plain >= BLOCK {
            // Where the block is interrupted does not matter.
            return plain;
        }
    }
    let end = plain_text_end(bytes, plain);
    if end == bytes.len() { end } else { end / BLOCK * BLOCK }
}

/// Whether the compiler may use vector instructions everywhere, so that [`is_plain`] is fast.
pub(super) const COMPILER_HAS_VECTORS: bool =
    cfg!(any(target_feature = "sse2", target_feature = "neon", target_feature = "simd128"));

/// Whether no byte interrupts plain string text. Without a branch for each byte, so that the compiler compares many at
/// a time.
#[inline(always)]
pub(super) fn is_plain(text: &[u8]) -> bool {
    !text.iter().map(|&byte| turned(byte) <= b' ' || byte == b'\\').fold(false, BitOr::bitor)
}

/// [`is_plain`] for long text: fewer instructions for each byte, but more at the end, to find the least byte.
#[inline(always)]
fn is_plain_long(text: &[u8]) -> bool {
    let least = text.iter().map(|&byte| turned(byte)).fold(u8::MAX, u8::min);
    let backslash = text.iter().map(|&byte| byte == b'\\').fold(false, BitOr::bitor);
    (least > b' ') & !backslash
}

/// `byte` with bit 1 turned over: a quote becomes a space and a space a quote, so that the bytes up to a space are the
/// quote and the control characters.
const fn turned(byte: u8) -> u8 {
    byte ^ 2
}

/// The end of the container whose bracket is at `start` in a valid document, found by counting
/// brackets; the text's length if it does not end.
#[inline(always)]
pub(crate) fn container_end<I: Isa>(isa: I, bytes: &[u8], start: usize) -> usize {
    let (mut strings, mut depth, mut at) = (Strings::default(), Depth::default(), start);
    while at < bytes.len() {
        let (block, valid) = isa.load(bytes, at);
        let (quotes, inside) = strings.valid_masks(isa, block);
        let outside = !(quotes | inside) & valid;
        let folded = block.with_bit_5();
        let open = folded.equal(b'{') & outside;
        let close = folded.equal(b'}') & outside;
        if let Some(end) = depth.ends_within(open, close, u64::count_ones) {
            return at + end as usize;
        }
        at += BLOCK;
    }
    bytes.len()
}
