//! The algorithms to scan with, and the choice between them by measured sizes.

use std::fmt;

use super::Tier;

/// How a tier scans a document after its compact start, whose quotes alone show its structure.
///
/// All give the same views and errors. The best one for the tier and the document's size is chosen
/// for each document; [`Tier::select_with`] selects one for tests and measurements.
///
/// ```
/// use pondwire::scan::{Algorithm, Tier};
///
/// for tier in Tier::ALL.iter().filter(|tier| tier.is_supported()) {
///     for algorithm in Algorithm::ALL {
///         assert!(tier.select_with(*algorithm));
///     }
///     tier.select();
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The grammar as arithmetic on masks of 64 bytes of the text.
    Blocks,
    /// The same on masks of 64 tokens, into which the text was squeezed.
    Tokens,
    /// From token to token, searching for the ends of strings 16 or 32 bytes at a time.
    Walk,
}

/// Up to this many bytes a tape is not worth clearing, with AVX-512.
const SHORT: usize = 256;

/// Up to this many bytes a walk is faster than blocks with AVX2.
const MEDIUM: usize = 600;

impl Algorithm {
    /// All algorithms.
    pub const ALL: &'static [Self] = &[Self::Blocks, Self::Tokens, Self::Walk];

    /// The best one for a document of `bytes` that starts compactly, measured on Sapphire Rapids.
    #[inline(always)]
    pub(super) const fn best(tier: Tier, bytes: usize) -> Self {
        match tier {
            Tier::Avx512 if bytes > SHORT => Self::Tokens,
            Tier::Avx2 if bytes > MEDIUM => Self::Blocks,
            Tier::Avx512 | Tier::Avx2 | Tier::Sse2 | Tier::Scalar => Self::Walk,
        }
    }

    /// A lower-case name: `blocks`, `tokens` or `walk`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Tokens => "tokens",
            Self::Walk => "walk",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
