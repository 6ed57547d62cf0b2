//! Whitespace that may not leave, replaced as it is copied.
//!
//! No instruction is chosen here: the compiler makes of these loops what the features around them
//! allow. Each fills the start of `to` with as much of `from` as fits.

use std::mem::MaybeUninit;

/// A space for each CR and LF: best where registers can be blended.
#[inline(always)]
pub(super) fn by_blend(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    for (to, &byte) in to.iter_mut().zip(from) {
        to.write(if byte == b'\n' || byte == b'\r' { b' ' } else { byte });
    }
}

/// A space for each control character but the tab, in four operations on registers: the other loop
/// takes eight of SSE2, which cannot blend.
#[inline(always)]
pub(super) fn by_clamp(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    for (to, &byte) in to.iter_mut().zip(from) {
        let too_much = if byte == b'\t' { b' ' - b'\t' } else { 0 };
        to.write(byte.max(b' ') - too_much);
    }
}
