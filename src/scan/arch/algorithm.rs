//! The algorithms to scan with, and the choice between them.

use std::fmt;

use super::Tier;
use crate::scan::swar;

/// How a tier scans a document after its compact start, whose quotes alone show its structure.
///
/// All give the same views and errors. The tier, the document's size and whether it starts compactly
/// choose one for each document; [`Tier::select_with`] selects one for tests and measurements.
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

/// Up to this many bytes a document is walked with AVX-512: the tape must pay. This limit and the next are a
/// compromise: lists and numbers would want smaller ones, texts larger ones; `profiles/README.md` has the sweep.
const SHORT: usize = 256;

/// Up to this many bytes a document is walked with SSE2 and NEON, and with AVX2 if it starts compactly:
/// a compromise likewise. With NEON the walk takes fewer instructions on all workloads of this size but
/// one, and more on larger ones; it was never timed.
const MEDIUM: usize = 600;

impl Algorithm {
    /// All algorithms.
    pub const ALL: &'static [Self] = &[Self::Blocks, Self::Tokens, Self::Walk];

    /// The one for the document `bytes`.
    #[inline(always)]
    pub(super) fn best(tier: Tier, bytes: &[u8]) -> Self {
        match tier {
            Tier::Avx512 if bytes.len() > SHORT => Self::Tokens,
            Tier::Sse2 | Tier::Avx2 | Tier::Neon if bytes.len() > MEDIUM => Self::Blocks,
            Tier::Avx2 if is_spaced(bytes) => Self::Blocks,
            Tier::Avx512 | Tier::Avx2 | Tier::Neon | Tier::Sse2 | Tier::Scalar => Self::Walk,
        }
    }

    /// Whether a document of `bytes` is begun by the quotes of its compact start. Not with SSE2 and AVX2
    /// for `SHORT` to `MEDIUM` bytes: the compact start is seldom most of such a document, and the walk
    /// alone was faster.
    #[inline(always)]
    pub(super) const fn begins_by_quotes(tier: Tier, bytes: usize) -> bool {
        match tier {
            Tier::Sse2 | Tier::Avx2 => bytes <= SHORT || bytes > MEDIUM,
            Tier::Avx512 | Tier::Neon | Tier::Scalar => true,
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

/// Whether the document does not start compactly: its second byte is no quote, or a space follows the
/// first colon, which is looked for where a message's key may end. A wrong guess costs only time.
#[inline(always)]
fn is_spaced(bytes: &[u8]) -> bool {
    const SHORTEST: usize = "{\"event\"".len();
    let spaced_colon = |word| {
        let colon = SHORTEST + swar::first(swar::equal(word, b':'));
        bytes.get(colon + 1) == Some(&b' ')
    };
    bytes.get(1) != Some(&b'"') || swar::load(bytes, SHORTEST).is_some_and(spaced_colon)
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
