//! x86-64: SSE2, which every CPU has, AVX2 and AVX-512.
//!
//! Each file has the same functions over its registers, safe within their target features;
//! [`isa`] makes an [`Isa`](crate::scan::blocks::Isa) of them.

#![allow(clippy::missing_safety_doc, reason = "safe functions, whose contract is their features")]

use super::tier::Tier;
use crate::scan::blocks::BLOCK;

/// Defines, from the functions `load`, `put_places`, `squeeze`, `text_masks`, `prefix_xor`, `equal`, `within`, `specials`,
/// `bit_5`, `with_bit_5` and `high_bits` over `$registers`, the functions `prefix`, `walk`, `tokens`,
/// `outline`, `container_end`, `each_specials` and `copy_with_spaces`, which is `$copy`, with all of
/// `$features`.
macro_rules! isa {
    ($features:literal, $registers:ty, $copy:path) => {
        /// See [`blocks::Prefix::find`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn prefix(
            bytes: &[u8],
            max_depth: usize,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) {
            prefix.find(Proof(()), bytes, max_depth, members);
        }

        /// See [`blocks::outline`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn outline(
            bytes: &[u8],
            prefix: &blocks::Prefix,
            max_depth: usize,
            outline: &mut blocks::Outline,
        ) -> Result<blocks::Charset, blocks::ErrorSite> {
            blocks::outline(Proof(()), bytes, prefix, max_depth, outline)
        }

        /// See [`walk::document`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn walk(
            bytes: &[u8],
            max_depth: usize,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) -> Result<walk::Walk, Malformed> {
            walk::document(Proof(()), bytes, max_depth, prefix, members)
        }

        /// See [`tokens::member`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn tokens(
            bytes: &[u8],
            max_depth: usize,
            prefix: &mut blocks::Prefix,
            members: &mut impl Members,
        ) -> Result<(), Option<blocks::ErrorSite>> {
            tokens::member(Proof(()), bytes, max_depth, prefix, members)
        }

        /// See [`blocks::container_end`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn container_end(bytes: &[u8], start: usize) -> usize {
            blocks::container_end(Proof(()), bytes, start)
        }

        /// See [`blocks::specials`].
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn each_specials(
            bytes: &[u8],
            each: impl FnMut(blocks::Specials),
        ) {
            blocks::specials(Proof(()), bytes, each);
        }

        /// See [`newlines`](crate::scan::arch::newlines).
        #[target_feature(enable = $features)]
        pub(in crate::scan::arch) fn copy_with_spaces(from: &[u8], to: &mut [MaybeUninit<u8>]) {
            $copy(from, to);
        }

        /// Proof that the instructions are available. Invariant: made only in functions with their
        /// features.
        #[derive(Clone, Copy)]
        struct Proof(());

        /// A block in registers. Invariant: made only from a [`Proof`] or from other `Registers`.
        #[derive(Clone, Copy)]
        struct Registers($registers);

        impl blocks::Isa for Proof {
            type Block = Registers;

            #[inline(always)]
            fn load(self, bytes: &[u8], at: usize) -> (Registers, u64) {
                // SAFETY: by the invariant of `Proof` the features are available.
                let (registers, valid) = unsafe { load(bytes, at) };
                (Registers(registers), valid)
            }

            #[inline(always)]
            fn put_places(self, mask: u64, base: u8, to: &mut [u8; BLOCK]) {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { put_places(mask, base, to) }
            }

            #[inline(always)]
            fn squeeze(self, block: Registers, bytes: &[u8], mask: u64, to: &mut [u8; BLOCK]) {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { squeeze(block.0, bytes, mask, to) }
            }

            #[inline(always)]
            fn text_end(self, bytes: &[u8], at: usize, non_ascii: &mut u64) -> usize {
                // SAFETY: by the invariant of `Proof` the features are available.
                blocks::text_end(bytes, at, non_ascii, |piece| unsafe { text_masks(piece) })
            }

            #[inline(always)]
            fn prefix_xor(self, mask: u64) -> u64 {
                // SAFETY: by the invariant of `Proof` the features are available.
                unsafe { prefix_xor(mask) }
            }
        }

        impl blocks::Block for Registers {
            #[inline(always)]
            fn equal(self, byte: u8) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { equal(self.0, byte) }
            }

            #[inline(always)]
            fn within(self, first: u8, last: u8) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { within(self.0, first, last) }
            }

            #[inline(always)]
            fn specials(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { specials(self.0) }
            }

            #[inline(always)]
            fn bit_5(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { bit_5(self.0) }
            }

            #[inline(always)]
            fn with_bit_5(self) -> Self {
                // SAFETY: by the invariant of `Registers` the features are available.
                Self(unsafe { with_bit_5(self.0) })
            }

            #[inline(always)]
            fn non_ascii(self) -> u64 {
                // SAFETY: by the invariant of `Registers` the features are available.
                unsafe { high_bits(self.0) }
            }
        }
    };
}

/// The 64 bytes to load for the block at `at`, and the number of bits by which its masks must be
/// shifted down: a block that the input's end cuts short is loaded backwards from that end, or from
/// `copy` if the whole input is shorter than a block.
#[inline(always)]
fn window<'a>(bytes: &'a [u8], at: usize, copy: &'a mut [u8; BLOCK]) -> (&'a [u8; BLOCK], u32) {
    let rest = &bytes[at..];
    if let Some(block) = rest.first_chunk() {
        return (block, 0);
    }
    let missing = (BLOCK - rest.len()) as u32;
    match bytes.last_chunk() {
        Some(block) => (block, missing),
        None => {
            copy[BLOCK - rest.len()..].copy_from_slice(rest);
            (copy, missing)
        }
    }
}

pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod sse2;

pub(super) fn supports(tier: Tier) -> bool {
    match tier {
        Tier::Scalar | Tier::Sse2 => true,
        Tier::Avx2 => has_avx2(),
        Tier::Avx512 => has_avx2() && has_avx512(),
    }
}

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("pclmulqdq")
}

fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
}

/// Calls `scan`, which uses no tier: on this target that is the exception.
#[cold]
pub(in crate::scan) fn without_tier<T>(scan: impl FnOnce() -> T) -> T {
    scan()
}

/// Calls `$function` of the tier's file; evaluates `$otherwise` for a tier without a file.
macro_rules! by_tier {
    ($tier:expr, $function:ident($($argument:expr),*), $otherwise:expr) => {
        match $tier.tier() {
            // SAFETY: the tier is `Detected`, so the CPU has the features.
            Tier::Sse2 => unsafe { target::sse2::$function($($argument),*) },
            // SAFETY: as for SSE2.
            Tier::Avx2 => unsafe { target::avx2::$function($($argument),*) },
            // SAFETY: as for SSE2.
            Tier::Avx512 => unsafe { target::avx512::$function($($argument),*) },
            Tier::Scalar => $otherwise,
        }
    };
}
pub(super) use by_tier;

#[cfg(test)]
mod tests {
    use super::Tier;

    #[test]
    fn there_is_always_a_tier_to_compare_with_the_scalar_scanner() {
        assert!(Tier::Sse2.is_supported());
    }
}
