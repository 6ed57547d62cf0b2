//! JSON grammar to spans: one pass over the frame, no recursion, no allocation.
//!
//! `document` validates every byte and reports the members of the root object; what they mean
//! is the business of [`view`](crate::view). `skip` walks text that `document` has accepted,
//! and `text` reads its strings.
//!
//! `scalar` is one way to scan and the judge of all others. `blocks` is the other, 64 bytes at a
//! time, on what `arch` makes of the CPU's vector instructions: it says whether a document is
//! malformed, `scalar` then says where and why.

pub(crate) mod skip;
pub(crate) mod text;

mod arch;
mod blocks;
mod containers;
mod scalar;
#[cfg(test)]
mod tests;
mod word;

pub use arch::{Tier, UnknownTier};
pub(crate) use blocks::Specials;
pub(crate) use scalar::plain_text_end;

use std::mem::MaybeUninit;

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
    /// A CR or LF may occur as whitespace.
    pub(crate) newlines: bool,
    /// An array at depth 3, as `[…]` in `{"a":{"b":[…]}}`, may hold something that is no object.
    pub(crate) mixed: bool,
}

impl Span {
    /// No value.
    pub(crate) const NOWHERE: Self = Self::plain(0, 0);

    /// A string without escapes.
    #[inline(always)]
    const fn plain(start: usize, end: usize) -> Self {
        Self { start, end, escaped: false, newlines: false, mixed: false }
    }

    /// The inside of a span that is a string.
    pub(crate) const fn text(self) -> Text {
        Text { start: self.start + 1, end: self.end - 1, escaped: self.escaped }
    }
}

/// Where the bytes stop being one JSON document, and why: always [`Detail::Utf8`],
/// [`Detail::Json`] or [`Detail::TooDeep`]. `at` is at most the length of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) detail: Detail,
    pub(crate) at: usize,
}

/// Up to this many nested brackets any recursive decoder may be trusted with a document.
pub(crate) const RECURSION_LIMIT: usize = 127;

/// Who is told of the members of a root object.
pub(crate) trait Members {
    /// How many quotes the strings in front of the payload have, and the payload's key. Where more
    /// follows, no more are looked for ahead; 64 are all that ever are.
    const QUOTES_AHEAD: usize;

    /// The next member, with its place in the document.
    fn member(&mut self, key: Text, value: Span);
}

/// Nobody.
struct Ignored;

impl Members for Ignored {
    const QUOTES_AHEAD: usize = 18;

    fn member(&mut self, _: Text, _: Span) {}
}

/// Validates `bytes` as one JSON document in UTF-8 of at most `max_depth` nested brackets, tells
/// `members` each member of a root object in order, duplicates included, and returns the text and
/// the root's span. `text` is the same bytes when they are known to be UTF-8 already.
///
/// Members of a document that turns out malformed may have been reported too.
#[inline(always)]
pub(crate) fn document<'a>(
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    document_by(arch::Detected::current(), bytes, text, max_depth, members)
}

/// [`document`] with a tier of one's choice.
#[inline(always)]
fn document_by<'a>(
    tier: arch::Detected,
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    // Beyond these limits depths and places do not fit the masks' own.
    if !(1..=RECURSION_LIMIT).contains(&max_depth) || u32::try_from(bytes.len()).is_err() {
        return by_scalar(bytes, text, max_depth, members);
    }
    let Some((prefix, ascii)) = arch::prefix(tier, bytes, max_depth, members) else {
        return by_scalar(bytes, text, max_depth, members);
    };
    if prefix.complete {
        let text = text_of(text.or(ascii), bytes)?;
        return Ok((text, Span::plain(0, bytes.len())));
    }
    let mut outline = blocks::Outline::new();
    match arch::outline(tier, bytes, &prefix, max_depth, &mut outline) {
        Some(Ok(ascii)) => {
            let text = text_of(text.or(ascii), bytes)?;
            let root = outline.root(bytes);
            let is_object = bytes[root.start] == b'{';
            if !is_object || outline.members(bytes, root.start, &prefix, members).is_some() {
                return Ok((text, root));
            }
            debug_assert!(false, "the outline of a valid document has all its members");
        }
        Some(Err(stopped)) => {
            if let Some(malformed) = explain(&stopped, bytes, text, max_depth) {
                return Err(malformed);
            }
        }
        None => {}
    }
    by_scalar(bytes, text, max_depth, members)
}

/// What is wrong, told by the scalar scanner from shortly before; `None` if it sees nothing wrong
/// from there.
#[cold]
fn explain(
    stopped: &blocks::Stopped,
    bytes: &[u8],
    text: Option<&str>,
    max_depth: usize,
) -> Option<Malformed> {
    if text.is_none()
        && let Err(malformed) = utf8(bytes)
    {
        return Some(malformed);
    }
    scalar::resume(bytes, stopped, max_depth).err()
}

#[inline(always)]
fn by_scalar<'a>(
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    arch::beside_tiers(move || {
        let text = text_of(text, bytes)?;
        scalar::document(bytes, max_depth, members).map(|root| (text, root))
    })
}

/// [`document`] for text, of which only the root is asked for.
pub(crate) fn root(text: &str, max_depth: usize) -> Result<Span, Malformed> {
    document(text.as_bytes(), Some(text), max_depth, &mut Ignored).map(|(_, root)| root)
}

/// Tells `each` in order of the bytes to escape in every block of 64 bytes of text; the last may
/// be shorter.
#[inline]
pub(crate) fn each_specials(bytes: &[u8], mut each: impl FnMut(Specials)) {
    if !arch::each_specials(arch::Detected::current(), bytes, &mut each) {
        scalar::each_specials(bytes, each);
    }
}

/// Copies `from`, valid JSON, into `to`, with a space for each CR and LF, and returns what is written
/// there. Of control characters that JSON never holds, the tiers make different things.
///
/// # Panics
/// The lengths differ.
#[inline]
pub(crate) fn copy_with_spaces<'a>(from: &[u8], to: &'a mut [MaybeUninit<u8>]) -> &'a mut [u8] {
    arch::copy_with_spaces(arch::Detected::current(), from, to)
}

/// `bytes` as text, which `known` is if there is one.
#[inline(always)]
fn text_of<'a>(known: Option<&'a str>, bytes: &'a [u8]) -> Result<&'a str, Malformed> {
    match known {
        Some(text) => Ok(text),
        None => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    simdutf8::basic::from_utf8(bytes).or_else(|_| {
        // The fast check has no position; std's, which has, is the judge.
        std::str::from_utf8(bytes)
            .map_err(|error| Malformed { detail: Detail::Utf8, at: error.valid_up_to() })
    })
}
