//! The instruction sets: one file each for how masks are made of 64 bytes, and the choice between
//! them, made once.
//!
//! A target's module, and only it, knows which tiers there are: it has `supports`, `by_tier!` and
//! `beside_tiers`. A target without any has `none`, whose instruction set is never there.
//!
//! All unsafe code of the scanner is here. A value of a type that implements
//! [`Isa`](super::blocks::Isa) is the proof that its instructions are there: it is made only
//! behind a check. What it does is to load from references and to compute in registers.

#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
mod none;
mod spaces;
mod tier;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
use none as target;
#[cfg(target_arch = "x86_64")]
use x86_64 as target;

pub(super) use target::beside_tiers;
pub(super) use tier::Detected;
pub use tier::{Tier, UnknownTier};

use std::mem::MaybeUninit;

use super::Members;
use super::blocks::{Outline, Prefix, Seen, Specials, Stopped};
use target::by_tier;

/// How the document starts, with the tier's instructions; `None` when it has none. With it the
/// bytes as text, when it is a complete one in ASCII. See [`blocks::prefix`](super::blocks::prefix).
#[inline(always)]
pub(super) fn prefix<'a>(
    tier: Detected,
    bytes: &'a [u8],
    max_depth: usize,
    members: &mut impl Members,
) -> Option<(Prefix, Option<&'a str>)> {
    let prefix = by_tier!(tier, prefix(bytes, max_depth, members), return None);
    let ascii = prefix.complete && prefix.is_ascii();
    // SAFETY: a complete prefix is strings, all of whose bytes are in the blocks that it has seen,
    // and between them bytes that it has compared with ASCII.
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
    let seen = by_tier!(tier, outline(bytes, prefix, max_depth, outline), return None);
    // SAFETY: the prefix, of which the same is true as of a complete one, and the blocks behind it
    // are all of `bytes`.
    Some(seen.map(|seen| unsafe { text_if(seen == Seen::Ascii, bytes) }))
}

/// The bytes as text if they are ASCII.
///
/// # Safety
/// `ascii` only if each of them was found to have its high bit clear.
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
    Some(by_tier!(tier, container_end(bytes, start), return None))
}

/// Tells `each` of all blocks of `bytes` in order with the tier's instructions; `false`, and tells
/// nothing, when it has none. See [`blocks::specials`](super::blocks::specials).
#[inline]
pub(super) fn each_specials(tier: Detected, bytes: &[u8], each: impl FnMut(Specials)) -> bool {
    by_tier!(tier, each_specials(bytes, each), return false);
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
    by_tier!(tier, copy_with_spaces(from, to), spaces::by_clamp(from, to));
    let written = std::ptr::from_mut(to) as *mut [u8];
    // SAFETY: the same memory with the same lifetime, of which every byte was just written: the
    // lengths are equal.
    unsafe { &mut *written }
}
