//! Why bytes are not one JSON document. An error that fits two registers costs a refused frame nothing on its way
//! out; its text and its path are added at the end.

use crate::error::{Detail, ValidationError};
use crate::limits::Limits;

/// The reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TooLarge,
    TooDeep,
    NotUtf8,
    UnexpectedEnd,
    TrailingData,
    ControlCharacter,
    InvalidEscape,
    InvalidLiteral,
    ExpectedDigit,
    ExpectedValue,
    ExpectedKey,
    ExpectedColon,
    ExpectedCommaOrBrace,
    ExpectedCommaOrBracket,
}

/// The error of bytes that are not one JSON document within the limits: the reason, and where it shows, at
/// most at the input's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(super) at: usize,
    fault: Fault,
}

impl Malformed {
    #[inline(always)]
    pub(crate) const fn new(fault: Fault, at: usize) -> Self {
        Self { at, fault }
    }

    /// The error of a frame that was scanned within `limits`.
    #[cold]
    #[inline(never)]
    pub(crate) const fn error(self, limits: &Limits) -> ValidationError {
        let reason = match self.fault {
            Fault::TooLarge => return limits.too_large(),
            Fault::TooDeep => {
                let limit = limits.max_depth;
                return ValidationError::wire(Detail::TooDeep { limit }, self.at);
            }
            Fault::NotUtf8 => return ValidationError::wire(Detail::Utf8, self.at),
            Fault::UnexpectedEnd => "unexpected end",
            Fault::TrailingData => "trailing data",
            Fault::ControlCharacter => "control character in a string",
            Fault::InvalidEscape => "invalid escape",
            Fault::InvalidLiteral => "invalid literal",
            Fault::ExpectedDigit => "expected a digit",
            Fault::ExpectedValue => "expected a value",
            Fault::ExpectedKey => "expected a key",
            Fault::ExpectedColon => "expected ':'",
            Fault::ExpectedCommaOrBrace => "expected ',' or '}'",
            Fault::ExpectedCommaOrBracket => "expected ',' or ']'",
        };
        ValidationError::wire(Detail::Json(reason), self.at)
    }
}
