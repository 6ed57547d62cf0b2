//! The instructions to scan with: the best that this CPU has, or the selected ones.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// A set of instructions to scan with.
///
/// The best that the CPU has is found when the first frame is parsed. The environment variable
/// `PONDWIRE_TIER` (`scalar`, `sse2`, `avx2` or `avx512`), read at that moment, or
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
}

impl Tier {
    /// All tiers, the slowest first.
    pub const ALL: &'static [Self] = &[Self::Scalar, Self::Sse2, Self::Avx2, Self::Avx512];

    /// The name that `PONDWIRE_TIER` takes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Sse2 => "sse2",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
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
        Detected::current().0
    }

    /// Scans with this tier from now on, in all threads. Returns `false`, and changes nothing, if
    /// the CPU lacks it.
    pub fn select(self) -> bool {
        let detected = Detected::of(self);
        if let Some(detected) = detected {
            detected.store();
        }
        detected.is_some()
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
        f.write_str("expected one of scalar, sse2, avx2, avx512")
    }
}

impl std::error::Error for UnknownTier {}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        Self::ALL.iter().copied().find(|tier| tier.as_str() == name).ok_or(UnknownTier)
    }
}

/// A tier that this CPU was found to support. Invariant: made by [`Detected::of`] only, or loaded
/// from [`CURRENT`], where only such tiers are stored.
#[derive(Clone, Copy)]
pub(crate) struct Detected(Tier);

/// The index in [`Tier::ALL`] of the tier to scan with, plus one; 0 before the first use.
static CURRENT: AtomicU8 = AtomicU8::new(0);

impl Detected {
    pub(crate) fn of(tier: Tier) -> Option<Self> {
        super::target::supports(tier).then_some(Self(tier))
    }

    pub(crate) const fn tier(self) -> Tier {
        self.0
    }

    #[inline]
    pub(crate) fn current() -> Self {
        // Relaxed: the value alone is used, no other data is published with it.
        match CURRENT.load(Ordering::Relaxed) {
            0 => Self::choose(),
            stored => Self(Tier::ALL[usize::from(stored - 1)]),
        }
    }

    fn store(self) {
        CURRENT.store(self.0 as u8 + 1, Ordering::Relaxed);
    }

    #[cold]
    fn choose() -> Self {
        let requested = std::env::var("PONDWIRE_TIER").ok().and_then(|name| name.parse().ok());
        let best = Tier::ALL.iter().copied().rev().find_map(Self::of);
        let chosen = requested.and_then(Self::of).or(best).unwrap_or(Self(Tier::Scalar));
        chosen.store();
        chosen
    }
}
