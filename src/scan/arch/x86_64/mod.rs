//! x86-64: SSE2, which every CPU has, AVX2 and AVX-512.

pub(in crate::scan) use super::isa::without_tier;
use super::tier::{Detected, Tier};
use crate::scan::blocks::BLOCK;

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
        Tier::Neon => false,
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

/// See [`utf8::check`](super::utf8::check). The SSE2 tier uses AVX2 here if the CPU has
/// it, as `simdutf8` would.
#[inline]
pub(super) fn check_utf8(tier: Detected, bytes: &[u8]) -> Option<Result<(), usize>> {
    match tier.tier() {
        // SAFETY: the tier is `Detected`, so the CPU has the features.
        Tier::Avx512 => unsafe { avx512::check_utf8(bytes) },
        // SAFETY: the CPU has the feature.
        Tier::Avx2 | Tier::Sse2 if is_x86_feature_detected!("avx2") => unsafe {
            avx2::check_utf8(bytes)
        },
        _ => None,
    }
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
            Tier::Scalar | Tier::Neon => $otherwise,
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
