//! AArch64: NEON, which every such CPU that runs an operating system has.

pub(in crate::scan) use super::isa::without_tier;
use super::tier::{Detected, Tier};

pub(super) mod neon;

pub(super) fn supports(tier: Tier) -> bool {
    match tier {
        Tier::Scalar => true,
        Tier::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        Tier::Sse2 | Tier::Avx2 | Tier::Avx512 => false,
    }
}

/// No check of UTF-8 by this target's instructions.
#[inline(always)]
pub(super) const fn check_utf8(_: Detected, _: &[u8]) -> Option<Result<(), usize>> {
    None
}

/// Calls `$function` of the tier's file; evaluates `$otherwise` for a tier without a file.
macro_rules! by_tier {
    ($tier:expr, $function:ident($($argument:expr),*), $otherwise:expr) => {
        match $tier.tier() {
            // SAFETY: the tier is `Detected`, so the CPU has the features.
            Tier::Neon => unsafe { target::neon::$function($($argument),*) },
            Tier::Scalar | Tier::Sse2 | Tier::Avx2 | Tier::Avx512 => $otherwise,
        }
    };
}
pub(super) use by_tier;

#[cfg(test)]
mod tests {
    use super::Tier;

    #[test]
    fn there_is_always_a_tier_to_compare_with_the_scalar_scanner() {
        assert!(Tier::Neon.is_supported());
    }
}
