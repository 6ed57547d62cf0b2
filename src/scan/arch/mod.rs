//! The instruction sets: one file each for how masks are made of 64 bytes, and the choice between
//! them, made once.
//!
//! All unsafe code of the scanner is here. A value of a type that implements
//! [`Isa`](super::blocks::Isa) is the proof that its instructions are there: it is made only
//! behind a check. What it does is to load from references and to compute in registers.

#![allow(unsafe_code)]

mod spaces;
mod tier;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(super) use tier::Detected;
pub use tier::{Tier, UnknownTier};

use std::mem::MaybeUninit;

use super::Members;
use super::blocks::{Outline, Prefix, Seen, Specials, Stopped};

/// How the document starts, with the tier's instructions; `None` when it has none. With it the
/// bytes as text, when it is a complete one in ASCII. See [`blocks::prefix`].
#[inline(always)]
pub(super) fn prefix<'a>(
    tier: Detected,
    bytes: &'a [u8],
    max_depth: usize,
    members: &mut impl Members,
) -> Option<(Prefix, Option<&'a str>)> {
    let prefix = match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => unsafe { x86_64::sse2::prefix(bytes, max_depth, members) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => unsafe { x86_64::avx2::prefix(bytes, max_depth, members) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => unsafe { x86_64::avx512::prefix(bytes, max_depth, members) },
        _ => return None,
    };
    let ascii = prefix.complete && prefix.is_ascii();
    // SAFETY: what a complete prefix has seen is all of `bytes`.
    Some((prefix, unsafe { text_if(ascii, bytes) }))
}

/// Fills `outline` with the tier's instructions; `None` when it has none. Returns the bytes as text
/// when they are ASCII. See [`blocks::outline`](super::blocks::outline).
#[inline]
pub(super) fn outline<'a>(
    tier: Detected,
    bytes: &'a [u8],
    prefix: &Prefix,
    max_depth: usize,
    outline: &mut Outline,
) -> Option<Result<Option<&'a str>, Stopped>> {
    let seen = match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => unsafe { x86_64::sse2::outline(bytes, prefix, max_depth, outline) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => unsafe { x86_64::avx2::outline(bytes, prefix, max_depth, outline) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => unsafe { x86_64::avx512::outline(bytes, prefix, max_depth, outline) },
        _ => return None,
    };
    // SAFETY: the prefix and the blocks behind it are all of `bytes`.
    Some(seen.map(|seen| unsafe { text_if(seen == Seen::Ascii, bytes) }))
}

/// The bytes as text if they are ASCII.
///
/// # Safety
/// `ascii` only if no byte had its high bit set in a pass over all of them.
#[inline(always)]
unsafe fn text_if(ascii: bool, bytes: &[u8]) -> Option<&str> {
    debug_assert!(!ascii || bytes.is_ascii());
    // SAFETY: as the caller says.
    ascii.then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// Where the container whose bracket is at `start` ends in a valid document; `None` when the tier
/// has no instructions for it.
#[inline]
pub(super) fn container_end(tier: Detected, bytes: &[u8], start: usize) -> Option<usize> {
    match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => Some(unsafe { x86_64::sse2::container_end(bytes, start) }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => Some(unsafe { x86_64::avx2::container_end(bytes, start) }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => Some(unsafe { x86_64::avx512::container_end(bytes, start) }),
        _ => None,
    }
}

/// Tells `each` of all blocks of `bytes` in order with the tier's instructions; `false`, and tells
/// nothing, when it has none. See [`blocks::specials`](super::blocks::specials).
#[inline]
pub(super) fn each_specials(tier: Detected, bytes: &[u8], each: impl FnMut(Specials)) -> bool {
    match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => unsafe { x86_64::sse2::each_specials(bytes, each) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => unsafe { x86_64::avx2::each_specials(bytes, each) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => unsafe { x86_64::avx512::each_specials(bytes, each) },
        _ => return false,
    }
    true
}

/// Copies `from` into `to`, with a space for each CR and LF, and returns what is written there.
/// Other control characters, the tab aside, may become spaces too.
///
/// # Panics
/// The lengths differ.
#[inline]
pub(super) fn copy_with_spaces<'a>(
    tier: Detected,
    from: &[u8],
    to: &'a mut [MaybeUninit<u8>],
) -> &'a mut [u8] {
    assert_eq!(from.len(), to.len());
    match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => unsafe { x86_64::sse2::copy_with_spaces(from, to) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => unsafe { x86_64::avx2::copy_with_spaces(from, to) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => unsafe { x86_64::avx512::copy_with_spaces(from, to) },
        _ => spaces::by_clamp(from, to),
    }
    let written = std::ptr::from_mut(to) as *mut [u8];
    // SAFETY: the same memory with the same lifetime, of which every byte was just written: the
    // lengths are equal.
    unsafe { &mut *written }
}
