//! The places of strings and values in a document.

use std::num::NonZeroU64;
use std::ops::Range;

use crate::limits::MOST_BYTES;

/// The inside of a string: the bytes between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// A backslash occurs: the bytes must be unescaped.
    pub(crate) escaped: bool,
}

/// The span of a value in a document of at most [`MOST_BYTES`], quotes and brackets included: 8
/// bytes, as an `Option` too.
///
/// ```text
///  63           34  33    32    31            2    1     0
/// |      end      |mixed|flag |      start     |string|  1  |
/// ```
/// The flag is [`is_escaped`](Self::is_escaped) for a string and
/// [`has_newlines`](Self::has_newlines) for any other value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(NonZeroU64);

impl Span {
    const STRING: u64 = 1 << 1;
    const FLAG: u64 = 1 << 32;
    const MIXED: u64 = 1 << 33;

    #[inline(always)]
    fn new(start: usize, end: usize, flags: u64) -> Self {
        debug_assert!(start <= end && end <= MOST_BYTES);
        // The lowest bit makes it other than zero.
        Self(NonZeroU64::MIN | ((end as u64) << 34 | (start as u64) << 2 | flags))
    }

    /// A string; `escaped` if a backslash occurs in it.
    #[inline(always)]
    pub(crate) fn string(start: usize, end: usize, escaped: bool) -> Self {
        Self::new(start, end, Self::STRING | if escaped { Self::FLAG } else { 0 })
    }

    /// A number, a literal, an object or an array. `newlines` if a CR or LF may occur in it as
    /// whitespace; `mixed` if an array at depth 3 of the document, as `[…]` in `{"a":{"b":[…]}}`,
    /// may hold an element that is not an object.
    #[inline(always)]
    pub(crate) fn other(start: usize, end: usize, newlines: bool, mixed: bool) -> Self {
        let newlines = if newlines { Self::FLAG } else { 0 };
        Self::new(start, end, newlines | if mixed { Self::MIXED } else { 0 })
    }

    #[inline(always)]
    pub(crate) const fn start(self) -> usize {
        (self.0.get() as u32 >> 2) as usize
    }

    #[inline(always)]
    pub(crate) const fn end(self) -> usize {
        (self.0.get() >> 34) as usize
    }

    #[inline(always)]
    pub(crate) const fn range(self) -> Range<usize> {
        self.start()..self.end()
    }

    /// The inside of a span that is a string.
    #[inline(always)]
    pub(crate) const fn text(self) -> Text {
        Text { start: self.start() + 1, end: self.end() - 1, escaped: self.is_escaped() }
    }

    #[inline(always)]
    pub(crate) const fn is_string(self) -> bool {
        self.0.get() & Self::STRING != 0
    }

    /// A string with a backslash in it.
    #[inline(always)]
    pub(crate) const fn is_escaped(self) -> bool {
        let both = Self::STRING | Self::FLAG;
        self.0.get() & both == both
    }

    /// Whether CR or LF may occur as whitespace.
    #[inline(always)]
    pub(crate) const fn has_newlines(self) -> bool {
        self.0.get() & (Self::STRING | Self::FLAG) == Self::FLAG
    }

    /// Whether an array at depth 3 of the document may hold an element that is not an object.
    #[inline(always)]
    pub(crate) const fn is_mixed(self) -> bool {
        self.0.get() & Self::MIXED != 0
    }

    /// Whether all of `values` are present and strings without escapes; one test, as for a single
    /// value.
    #[inline(always)]
    pub(crate) fn are_plain_strings<const N: usize>(values: [Option<Self>; N]) -> bool {
        let bits = values.map(|value| value.map_or(0, |value| value.0.get()));
        let (all, any) = bits.iter().fold((!0, 0), |(all, any), bits| (all & bits, any | bits));
        all & Self::STRING != 0 && any & Self::FLAG == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_places_and_flags_apart() {
        for (start, end) in [(0, 2), (1, 3), (17, 4000), (MOST_BYTES - 2, MOST_BYTES)] {
            for (newlines, mixed) in [(false, false), (false, true), (true, false), (true, true)] {
                let value = Span::other(start, end, newlines, mixed);
                assert_eq!(value.range(), start..end);
                assert_eq!((value.has_newlines(), value.is_mixed()), (newlines, mixed));
                assert!(!value.is_string() && !value.is_escaped());
            }
            for escaped in [false, true] {
                let string = Span::string(start, end, escaped);
                assert_eq!(string.range(), start..end);
                assert_eq!(string.text(), Text { start: start + 1, end: end - 1, escaped });
                assert!(string.is_string() && !string.has_newlines() && !string.is_mixed());
            }
        }
        assert_eq!(size_of::<Option<Span>>(), 8);
    }

    #[test]
    fn plain_strings_are_told_from_all_else() {
        let [plain, escaped] = [false, true].map(|escaped| Some(Span::string(3, 9, escaped)));
        let [number, object] = [false, true].map(|flag| Some(Span::other(3, 9, flag, flag)));
        assert!(Span::are_plain_strings([plain, plain]));
        for other in [None, escaped, number, object] {
            assert!(!Span::are_plain_strings([plain, other]));
            assert!(!Span::are_plain_strings([other, plain]));
        }
    }
}
