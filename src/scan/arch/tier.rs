//! The instructions to scan with: the best that this CPU has, or the selected ones.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Algorithm;

/// A set of instructions to scan with.
///
/// The best that the CPU has is found when the first frame is parsed. The environment variable
/// `PONDWIRE_TIER` (`scalar`, `sse2`, `avx2`, `avx512` or `neon`), read at that moment, or
/// [`select`](Self::select) at any time, chooses another; all give the same views and errors.
/// Another value of the variable, or a tier that the CPU lacks, is ignored;
/// [`current`](Self::current) returns the tier in use.
///
/// ```
/// use pondwire::scan::Tier;
///
/// assert!(Tier::Scalar.is_supported());
/// println!("scanning with {}", Tier::current());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// General-purpose registers, on every CPU.
    Scalar,
    /// 16 bytes at a time, on every x86-64.
    Sse2,
    /// 32 bytes at a time: x86-64 with AVX2, BMI1, BMI2, LZCNT, POPCNT and PCLMULQDQ.
    Avx2,
    /// 64 bytes at a time: the same with AVX-512 F, BW, VL and VBMI2.
    Avx512,
    /// 16 or 64 bytes at a time: every AArch64 that is little-endian.
    Neon,
}

impl Tier {
    /// All tiers, the slowest first.
    pub const ALL: &'static [Self] =
        &[Self::Scalar, Self::Sse2, Self::Avx2, Self::Avx512, Self::Neon];

    /// The name that `PONDWIRE_TIER` takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse2 => "sse2",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn is_supported(self) -> bool {
        Detected::of(self).is_some()
    }

    /// The tier that frames are scanned with now.
    #[must_use]
    pub fn current() -> Self {
        Detected::current().tier()
    }

    /// Scans with this tier from now on, in all threads, and with its best algorithm for each
    /// document. Returns `false`, and changes nothing, if the CPU lacks it.
    pub fn select(self) -> bool {
        Detected::of(self).map(Detected::store).is_some()
    }

    /// [`select`](Self::select), but with the same algorithm for all documents. The scalar tier has
    /// one of its own and ignores it.
    pub fn select_with(self, algorithm: Algorithm) -> bool {
        Detected::of(self).map(|tier| tier.with(algorithm).store()).is_some()
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a name that is not a tier's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTier;

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of scalar, sse2, avx2, avx512, neon")
    }
}

impl std::error::Error for UnknownTier {}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        Self::ALL.iter().copied().find(|tier| tier.as_str() == name).ok_or(UnknownTier)
    }
}

/// A tier that this CPU was found to support, and the algorithm for all documents if one was selected,
/// in one byte, as [`CURRENT`] has it: what is not asked for need not be decoded. Invariant: made by
/// [`Detected::of`] only, or loaded from `CURRENT`, where only such values are stored.
#[derive(Clone, Copy)]
pub(crate) struct Detected(u8);

/// The index in [`Tier::ALL`] of the tier to scan with, plus one; 0 before the first use. The upper
/// half is that of the selected algorithm in [`Algorithm::ALL`], plus one, or 0.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The values of a half of [`CURRENT`].
const HALF: u8 = 16;

impl Detected {
    const SCALAR: Self = Self(Tier::Scalar as u8 + 1);

    pub(crate) fn of(tier: Tier) -> Option<Self> {
        super::target::supports(tier).then_some(Self(tier as u8 + 1))
    }

    #[inline(always)]
    pub(crate) const fn tier(self) -> Tier {
        match self.0 % HALF {
            2 => Tier::Sse2,
            3 => Tier::Avx2,
            4 => Tier::Avx512,
            5 => Tier::Neon,
            _ => Tier::Scalar,
        }
    }

    pub(crate) const fn with(self, algorithm: Algorithm) -> Self {
        Self(self.0 % HALF + (algorithm as u8 + 1) * HALF)
    }

    /// The algorithm for the document `bytes`; see [`Algorithm::best`].
    #[inline(always)]
    pub(crate) fn algorithm(self, bytes: &[u8]) -> Algorithm {
        match self.0 / HALF {
            0 => Algorithm::best(self.tier(), bytes),
            selected => Algorithm::ALL[selected as usize - 1],
        }
    }

    /// Whether a document of `bytes` is begun by its quotes. A walk needs them less than the blocks
    /// do, and it is selected for tests with them.
    #[inline(always)]
    pub(crate) const fn begins_by_quotes(self, bytes: usize) -> bool {
        self.0 >= HALF || Algorithm::begins_by_quotes(self.tier(), bytes)
    }

    #[inline]
    pub(crate) fn current() -> Self {
        // Relaxed: the value alone is used, no other data is published with it.
        match CURRENT.load(Ordering::Relaxed) {
            0 => Self::choose(),
            stored => Self(stored),
        }
    }

    fn store(self) {
        CURRENT.store(self.0, Ordering::Relaxed);
    }

    #[cold]
    fn choose() -> Self {
        let requested = std::env::var("PONDWIRE_TIER").ok().and_then(|name| name.parse().ok());
        let best = Tier::ALL.iter().copied().rev().find_map(Self::of);
        let chosen = requested.and_then(Self::of).or(best).unwrap_or(Self::SCALAR);
        chosen.store();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_holds_each_tier_and_algorithm() {
        for tier in Tier::ALL.iter().copied().filter(|tier| tier.is_supported()) {
            let detected = Detected::of(tier).unwrap();
            for bytes in [0, 300, 5000].map(|bytes| vec![b' '; bytes]) {
                assert_eq!(detected.tier(), tier);
                let best = Algorithm::best(tier, &bytes);
                assert_eq!(detected.algorithm(&bytes), best);
                for &algorithm in Algorithm::ALL {
                    assert_eq!(detected.with(algorithm).tier(), tier);
                    assert_eq!(detected.with(algorithm).algorithm(&bytes), algorithm);
                }
            }
        }
    }
}
