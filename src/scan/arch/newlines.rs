//! Copying JSON with its newlines, which only whitespace can contain, replaced by spaces.
//!
//! No instruction is chosen here: the compiler vectorises these loops with the features that are
//! enabled around them. Each fills the start of `to` with as much of `from` as fits.

use std::mem::MaybeUninit;

/// A space for each CR and LF: best where the instruction set can blend registers.
#[inline(always)]
pub(super) fn by_blend(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    for (to, &byte) in to.iter_mut().zip(from) {
        to.write(if byte == b'\n' || byte == b'\r' { b' ' } else { byte });
    }
}

/// A space for each control character but the tab, in four operations on registers: the other loop
/// takes eight on SSE2, which cannot blend.
#[inline(always)]
pub(super) fn by_clamp(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    for (to, &byte) in to.iter_mut().zip(from) {
        let too_much = if byte == b'\t' { b' ' - b'\t' } else { 0 };
        to.write(byte.max(b' ') - too_much);
    }
}
