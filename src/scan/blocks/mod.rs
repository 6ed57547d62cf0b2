//! A document in blocks of 64 bytes: each class of bytes is a `u64` mask, bit *i* for byte *i*, and
//! the grammar is arithmetic on masks. What crosses from one block to the next is a carry.
//!
//! The code here is safe and the same for all instruction sets; what they differ in is how the
//! masks are made, behind [`Isa`] and [`Block`]. It finds *whether* a document is malformed; where
//! and why is told by the scalar scanner, resumed at the last bracket, colon or comma before.

mod brackets;
mod compact;
mod envelope;
mod grammar;
mod numbers;
mod skip;
mod specials;
mod strings;

pub(super) use compact::{Prefix, prefix};
pub(super) use envelope::Outline;
pub(super) use grammar::{Seen, Stopped, outline};
pub(super) use skip::container_end;
pub(crate) use specials::Specials;
pub(super) use specials::specials;

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// An instruction set that is known to be there: the value is the proof.
pub(super) trait Isa: Copy {
    type Block: Block;

    /// The block at `at`, which must be within `bytes`, and which of its bits are of bytes that
    /// there are. The masks of a block that is cut short have no bits beyond, or those of NUL.
    fn load(self, bytes: &[u8], at: usize) -> (Self::Block, u64);

    /// Writes `base` and the place of each bit of `mask`, added, in order; behind the last anything.
    fn put_places(self, mask: u64, base: u8, to: &mut [u8; BLOCK]);

    /// Bit *i* of the result is the parity of the bits up to *i*.
    fn prefix_xor(self, mask: u64) -> u64;
}

/// 64 bytes in registers.
pub(super) trait Block: Copy {
    /// The bytes that equal `byte`.
    fn equal(self, byte: u8) -> u64;

    /// The bytes from `first` to `last`.
    fn within(self, first: u8, last: u8) -> u64;

    /// The bytes in which bit 5 is set: it tells `{` from `[` and `}` from `]`.
    fn bit_5(self) -> u64;

    /// Each byte with bit 5 set, so that `[` becomes `{`, `]` becomes `}` and `A` becomes `a`.
    fn with_bit_5(self) -> Self;

    /// Quotes, backslashes and control characters; also those behind the input's end.
    fn specials(self) -> u64;

    /// The bytes that are not ASCII.
    fn non_ascii(self) -> u64;
}

/// `mask` moved to the next byte, `carry` in at the bottom; `carry` becomes what falls out.
#[inline(always)]
fn next(mask: u64, carry: &mut u64) -> u64 {
    let moved = mask << 1 | *carry;
    *carry = mask >> 63;
    moved
}

/// From each bit of `starts` runs forward over `through`; returns where the runs end. A run that
/// reaches the block's end goes on from the next block's start by `carry`.
///
/// Each start must be the first bit of its run of `through`.
#[inline(always)]
fn run_ends(starts: u64, through: u64, carry: &mut u64) -> u64 {
    let (sum, first) = through.overflowing_add(starts);
    let (sum, second) = sum.overflowing_add(*carry);
    *carry = u64::from(first | second);
    sum & !through
}

/// Places are written so many at a time, so that there is little for the CPU to predict wrongly.
const BATCH: usize = 4;

/// Writes what `of` makes of the place of each bit of `mask`, in order, into as many `batches` as it
/// takes, or as there are; behind the last place in its batch it writes anything.
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
