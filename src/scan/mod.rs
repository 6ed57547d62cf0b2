//! JSON grammar to spans: one pass over the frame, no recursion, no allocation.
//!
//! [`document`] validates every byte and reports the members of the root object; what they mean
//! is the business of [`view`](crate::view). [`skip`] walks text that [`document`] has accepted,
//! and [`text`] reads its strings.

pub(crate) mod skip;
pub(crate) mod text;

mod containers;
mod scalar;
mod word;

pub(crate) use scalar::plain_text_end;

use crate::error::Detail;

/// The type of a JSON value, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonType {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl JsonType {
    /// The type of the value that starts with `first`; anything but an opening byte is a number,
    /// which only text that [`document`] refuses would make wrong.
    pub(crate) const fn of(first: u8) -> Self {
        match first {
            b'{' => Self::Object,
            b'[' => Self::Array,
            b'"' => Self::String,
            b't' | b'f' => Self::Bool,
            b'n' => Self::Null,
            _ => Self::Number,
        }
    }
}

/// The inside of a string: the bytes between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// A backslash occurs: the bytes are not yet the string.
    pub(crate) escaped: bool,
}

/// A value: all its bytes, quotes and brackets included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// See [`Text::escaped`]; only ever set for a string.
    pub(crate) escaped: bool,
    /// A CR or LF occurs as whitespace.
    pub(crate) newlines: bool,
    /// Nested deeper than [`RECURSION_LIMIT`], the brackets around it counted.
    pub(crate) deep: bool,
}

impl Span {
    /// The inside of a span that is a string.
    pub(crate) const fn text(self) -> Text {
        Text { start: self.start + 1, end: self.end - 1, escaped: self.escaped }
    }
}

/// Where the bytes stop being one JSON document, and why: always [`Detail::Json`] or
/// [`Detail::TooDeep`]. `at` is at most the length of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) detail: Detail,
    pub(crate) at: usize,
}

/// Up to this many nested brackets any recursive decoder may be trusted with a document.
pub(crate) const RECURSION_LIMIT: usize = 127;

/// One way to scan a document: scalar, or an instruction set's own.
pub(crate) trait Scanner {
    /// Validates `bytes` as one JSON document of at most `max_depth` nested brackets, calls
    /// `member` for each member of a root object in order, duplicates included, and returns the
    /// root's span. `bytes` must be UTF-8; the scanner looks at ASCII only and every span it
    /// reports begins and ends on a character boundary.
    ///
    /// Members of a document that turns out malformed have been reported too.
    fn document(
        bytes: &[u8],
        max_depth: usize,
        member: impl FnMut(Text, Span),
    ) -> Result<Span, Malformed>;
}

/// Scans with the best scanner of this machine; see [`Scanner::document`].
pub(crate) fn document(
    text: &str,
    max_depth: usize,
    member: impl FnMut(Text, Span),
) -> Result<Span, Malformed> {
    scalar::Scalar::document(text.as_bytes(), max_depth, member)
}
