//! The instruction sets: one file each that makes masks of 64 bytes, and the choice between them,
//! made once.
//!
//! Only a target's module knows which tiers exist: it has `supports`, `by_tier!` and
//! `without_tier`. A target without tiers uses `none`, whose instruction set is never available.
//!
//! All unsafe code of the scanner is here. A value of a type that implements
//! [`Isa`](super::blocks::Isa) is the proof that its instructions are available: it is made only
//! after a check. Its methods load from references and compute in registers.

#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc, reason = "safe functions, whose contract is their features")]

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod aarch64;
mod algorithm;
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
mod isa;
mod newlines;
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
mod none;
mod tier;
#[cfg(any(target_arch = "x86_64", test))]
mod utf8;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use aarch64 as target;
#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_endian = "little")
)))]
use none as target;
#[cfg(target_arch = "x86_64")]
use x86_64 as target;

pub use algorithm::Algorithm;
pub(super) use target::without_tier;
pub(super) use tier::Detected;
pub use tier::{Tier, UnknownTier};

use std::mem::MaybeUninit;

use super::blocks::{self, Charset, ErrorSite, Outline, Prefix};
use super::escapes;
use super::walk::Until;
use super::{Malformed, Members};
use target::by_tier;

/// Finds the document's prefix by the tier's instructions, and returns the bytes as text if the
/// prefix is the whole document and ASCII; `None` for a tier without instructions. See
/// [`blocks::Prefix::find`](super::blocks::Prefix::find).
#[inline(always)]
pub(super) fn prefix<'a>(
    tier: Detected,
    bytes: &'a [u8],
    max_depth: usize,
    prefix: &mut Prefix,
    members: &mut impl Members,
) -> Option<Option<&'a str>> {
    by_tier!(tier, prefix(bytes, max_depth, prefix, members), return None);
    Some(ascii(prefix, bytes))
}

/// Extends the prefix over the containers after it, by the tier's instructions, and over members that
/// are no containers by a walk, and returns the bytes as text as [`prefix`] does. See
/// [`tokens::member`](super::tokens::member).
#[inline]
pub(super) fn tokens<'a>(
    tier: Detected,
    bytes: &'a [u8],
    max_depth: usize,
    prefix: &mut Prefix,
    members: &mut impl Members,
) -> Option<Result<Option<&'a str>, Option<ErrorSite>>> {
    if prefix.container().is_none() {
        let until = Until::Container;
        let walked = by_tier!(tier, walk(bytes, max_depth, until, prefix, members), return None);
        if let Err(malformed) = walked {
            prefix.set_flaw(malformed, 0);
        }
    }
    let checked = by_tier!(tier, tokens(bytes, max_depth, prefix, members), return None);
    Some(checked.map(|()| ascii(prefix, bytes)))
}

/// Extends the prefix over the members behind it, by the tier's instructions, and returns the bytes
/// as text as [`prefix`] does. See [`walk::document`](super::walk::document).
#[inline]
pub(super) fn walk<'a>(
    tier: Detected,
    bytes: &'a [u8],
    max_depth: usize,
    prefix: &mut Prefix,
    members: &mut impl Members,
) -> Option<Result<Option<&'a str>, Malformed>> {
    let until = Until::End;
    let walked = by_tier!(tier, walk(bytes, max_depth, until, prefix, members), return None);
    Some(walked.map(|()| ascii(prefix, bytes)))
}

/// The bytes as text if `prefix` is the whole document and ASCII.
#[inline(always)]
fn ascii<'a>(prefix: &Prefix, bytes: &'a [u8]) -> Option<&'a str> {
    let ascii = prefix.root.is_some() && prefix.is_ascii();
    // SAFETY: a prefix with a root consists of strings and containers, all of whose bytes were
    // checked for ASCII, and of bytes between them that were compared with ASCII bytes.
    unsafe { text_if(ascii, bytes) }
}

/// Fills `outline` by the tier's instructions and returns the bytes as text if they are ASCII;
/// `None` for a tier without instructions. See [`blocks::outline`](super::blocks::outline).
#[inline]
pub(super) fn outline<'a>(
    tier: Detected,
    bytes: &'a [u8],
    prefix: &Prefix,
    max_depth: usize,
    outline: &mut Outline,
) -> Option<Result<Option<&'a str>, ErrorSite>> {
    let checked = by_tier!(tier, outline(bytes, prefix, max_depth, outline), return None);
    // SAFETY: `bytes` are the prefix, checked like a complete one, and the blocks after it.
    Some(checked.map(|charset| unsafe { text_if(charset == Charset::Ascii, bytes) }))
}

/// The bytes as text if they are ASCII.
///
/// # Safety
/// If `ascii`, every byte has its high bit clear.
#[inline(always)]
unsafe fn text_if(ascii: bool, bytes: &[u8]) -> Option<&str> {
    debug_assert!(!ascii || bytes.is_ascii());
    // SAFETY: the caller's promise.
    ascii.then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// `bytes` as text, or the number of bytes before the first that is not UTF-8.
#[inline]
pub(super) fn check_utf8(tier: Detected, bytes: &[u8]) -> Result<&str, usize> {
    let checked = target::check_utf8(tier, bytes).unwrap_or_else(|| {
        // `basic` is faster but gives no place of an error; `compat` finds it.
        simdutf8::basic::from_utf8(bytes).map(drop).or_else(|_| {
            let checked = simdutf8::compat::from_utf8(bytes).map(drop);
            checked.map_err(|error| error.valid_up_to())
        })
    });
    // SAFETY: all bytes were just checked.
    checked.map(|()| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// The end of the container whose bracket is at `start` in a valid document; `None` for a tier
/// without instructions.
#[inline]
pub(super) fn container_end(tier: Detected, bytes: &[u8], start: usize) -> Option<usize> {
    Some(by_tier!(tier, container_end(bytes, start), return None))
}

/// The number of bytes at the start of `bytes` that are plain text of a string: all of them, or whole blocks. See
/// [`blocks::plain_blocks`](super::blocks::plain_blocks).
#[inline]
pub(super) fn plain_blocks(tier: Detected, bytes: &[u8]) -> usize {
    by_tier!(tier, plain_blocks(bytes), blocks::plain_blocks_without_tier(bytes))
}

/// Appends `from`, escaped as in a string.
pub(super) fn append_escaped(tier: Detected, mut from: &[u8], to: &mut Vec<u8>) {
    while !from.is_empty() {
        // Room for the longest escapes is made for a part only.
        let part = &from[..from.len().min(escapes::PART)];
        let last = part.len() == from.len();
        to.reserve(escapes::room(part.len()));
        let room = to.spare_capacity_mut();
        let escapes::Progress { read, written } =
            by_tier!(tier, escape(part, last, room), escapes::write_by_words(part, last, room));
        // SAFETY: the first `written` bytes of the spare capacity were just written, piece after piece without a gap.
        unsafe { to.set_len(to.len() + written) };
        from = &from[read..];
    }
}

/// Copies `from` into `to`, with a space for each CR and LF, and returns the written bytes. Other
/// control characters but the tab may become spaces too.
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
    by_tier!(tier, copy_with_spaces(from, to), newlines::by_clamp(from, to));
    let written = std::ptr::from_mut(to) as *mut [u8];
    // SAFETY: the same memory with the same lifetime, of which every byte was just written: the
    // lengths are equal.
    unsafe { &mut *written }
}
