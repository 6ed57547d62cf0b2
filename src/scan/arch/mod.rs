//! The instruction sets: one file each for how masks are made of 64 bytes, and the choice between
//! them, made once.
//!
//! All unsafe code of the scanner is here. A value of a type that implements
//! [`Isa`](super::blocks::Isa) is the proof that its instructions are there: it is made only
//! behind a check. What it does is to load from references and to compute in registers.

#![allow(unsafe_code)]

mod tier;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(super) use tier::Detected;
pub use tier::{Tier, UnknownTier};

use super::blocks::{Outline, Stopped};

/// Fills `outline` with the tier's instructions; `None` when it has none. See
/// [`blocks::outline`](super::blocks::outline).
#[inline]
pub(super) fn outline(
    tier: Detected,
    bytes: &[u8],
    max_depth: usize,
    outline: &mut Outline,
) -> Option<Result<(), Stopped>> {
    match tier.tier() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Sse2 => Some(unsafe { x86_64::sse2::outline(bytes, max_depth, outline) }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx2 => Some(unsafe { x86_64::avx2::outline(bytes, max_depth, outline) }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as for SSE2.
        Tier::Avx512 => Some(unsafe { x86_64::avx512::outline(bytes, max_depth, outline) }),
        _ => None,
    }
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

/// ASCII as text.
#[inline]
pub(super) fn ascii_text<'a>(bytes: &'a [u8], outline: &Outline) -> Option<&'a str> {
    if !outline.ascii {
        return None;
    }
    debug_assert!(bytes.is_ascii());
    // SAFETY: `outline.ascii` is set only when no byte had its high bit set in a pass over all.
    Some(unsafe { std::str::from_utf8_unchecked(bytes) })
}
