//! Whitespace that may not leave, replaced as it is copied.

use std::mem::MaybeUninit;

/// Fills the start of `to` with as much of `from` as fits, with a space for each control character
/// but the tab.
///
/// No instruction is chosen here: the compiler makes of this loop what the features around it
/// allow, and that runs at the speed of a copy.
#[inline(always)]
pub(super) fn copy_with_spaces(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    for (to, &byte) in to.iter_mut().zip(from) {
        // Four operations on registers. To look for CR and LF takes eight of SSE2, which cannot
        // blend.
        let too_much = if byte == b'\t' { b' ' - b'\t' } else { 0 };
        to.write(byte.max(b' ') - too_much);
    }
}
