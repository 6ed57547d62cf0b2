//! A target whose vector instructions no tier uses.
//!
//! [`Absent`] has no value, so the code that takes one is compiled, checked and never run: the code
//! for all instruction sets needs no exception for a target without them.

use std::mem::MaybeUninit;

use super::newlines;
use super::tier::{Detected, Tier};
use crate::scan::blocks::{self, Block, Isa, TextMasks};
use crate::scan::{Malformed, Members};
use crate::scan::{escapes, tokens, walk};

pub(super) const fn supports(tier: Tier) -> bool {
    matches!(tier, Tier::Scalar)
}

/// Calls `scan`, which uses no tier: on this target that is the rule.
#[inline(always)]
pub(in crate::scan) fn without_tier<T>(scan: impl FnOnce() -> T) -> T {
    scan()
}

/// No check of UTF-8 by this target's instructions.
#[inline(always)]
pub(super) const fn check_utf8(_: Detected, _: &[u8]) -> Option<Result<(), usize>> {
    None
}

/// Calls `$function`; evaluates `$otherwise` for a tier without instructions.
macro_rules! by_tier {
    ($tier:expr, $function:ident($($argument:expr),*), $otherwise:expr) => {
        match target::$function($tier, $($argument),*) {
            Some(done) => done,
            None => $otherwise,
        }
    };
}
pub(super) use by_tier;

/// An instruction set that is never available.
#[derive(Clone, Copy)]
enum Absent {}

fn isa(tier: Detected) -> Option<Absent> {
    debug_assert_eq!(tier.tier(), Tier::Scalar, "nothing else is supported");
    None
}

/// See [`blocks::Prefix::find`].
#[inline(always)]
pub(super) fn prefix(
    tier: Detected,
    bytes: &[u8],
    max_depth: usize,
    prefix: &mut blocks::Prefix,
    members: &mut impl Members,
) -> Option<()> {
    isa(tier).map(|isa| prefix.find(isa, bytes, max_depth, members))
}

/// See [`blocks::outline`].
#[inline(always)]
pub(super) fn outline(
    tier: Detected,
    bytes: &[u8],
    prefix: &blocks::Prefix,
    max_depth: usize,
    outline: &mut blocks::Outline,
) -> Option<Result<blocks::Charset, blocks::ErrorSite>> {
    isa(tier).map(|isa| blocks::outline(isa, bytes, prefix, max_depth, outline))
}

/// See [`walk::document`].
#[inline(always)]
pub(super) fn walk(
    tier: Detected,
    bytes: &[u8],
    max_depth: usize,
    until: walk::Until,
    prefix: &mut blocks::Prefix,
    members: &mut impl Members,
) -> Option<Result<(), Malformed>> {
    isa(tier).map(|isa| walk::document(isa, bytes, max_depth, until, prefix, members))
}

/// See [`tokens::member`].
#[inline(always)]
pub(super) fn tokens(
    tier: Detected,
    bytes: &[u8],
    max_depth: usize,
    prefix: &mut blocks::Prefix,
    members: &mut impl Members,
) -> Option<Result<(), Option<blocks::ErrorSite>>> {
    isa(tier).map(|isa| tokens::member(isa, bytes, max_depth, prefix, members))
}

/// See [`blocks::container_end`].
#[inline(always)]
pub(super) fn container_end(tier: Detected, bytes: &[u8], start: usize) -> Option<usize> {
    isa(tier).map(|isa| blocks::container_end(isa, bytes, start))
}

/// See [`blocks::plain_blocks`].
#[inline(always)]
pub(super) fn plain_blocks(tier: Detected, bytes: &[u8]) -> Option<usize> {
    isa(tier).map(|isa| blocks::plain_blocks(isa, bytes))
}

/// See [`escapes::write`].
#[inline(always)]
pub(super) fn escape(
    tier: Detected,
    from: &[u8],
    last: bool,
    to: &mut [MaybeUninit<u8>],
) -> Option<escapes::Progress> {
    isa(tier).map(|_| escapes::write_by_words(from, last, to))
}

/// See [`newlines`].
#[inline(always)]
pub(super) fn copy_with_spaces(
    tier: Detected,
    from: &[u8],
    to: &mut [MaybeUninit<u8>],
) -> Option<()> {
    isa(tier).map(|_| newlines::by_blend(from, to))
}

impl Isa for Absent {
    type Block = Self;

    fn load(self, _: &[u8], _: usize) -> (Self, u64) {
        match self {}
    }

    fn put_places(self, _: u64, _: u8, _: &mut [u8; blocks::BLOCK]) {
        match self {}
    }

    fn squeeze(self, _: Self, bytes: &[u8], mask: u64, to: &mut [u8; blocks::BLOCK]) {
        blocks::squeeze(bytes, mask, to);
    }

    fn place(self, mask: u64, before: u32) -> u32 {
        blocks::place(mask, before)
    }

    fn text_end(self, bytes: &[u8], at: usize, non_ascii: &mut u64) -> usize {
        blocks::text_end(bytes, at, non_ascii, |_: &[u8; 16]| -> TextMasks<1> { match self {} })
    }

    fn has_specials(self, _: &[u8; 2 * blocks::BLOCK]) -> bool {
        match self {}
    }

    fn prefix_xor(self, _: u64) -> u64 {
        match self {}
    }
}

impl Block for Absent {
    fn equal(self, _: u8) -> u64 {
        match self {}
    }

    fn within(self, _: u8, _: u8) -> u64 {
        match self {}
    }

    fn bit_5(self) -> u64 {
        match self {}
    }

    fn with_bit_5(self) -> Self {
        match self {}
    }

    fn specials(self) -> u64 {
        match self {}
    }

    fn non_ascii(self) -> u64 {
        match self {}
    }
}
