//! The JSON scanner, and the choice of the CPU instructions that it uses.
//!
//! Most servers need nothing from this module: the best instructions are found when the first frame
//! is parsed.
//!
//! - [`Tier`] is a set of instructions to scan with: it reports the one in use, and selects another
//!   for tests and measurements.
//! - [`Algorithm`] is a way to scan with them; the best for each document is chosen.
//! - [`UnknownTier`] is the error for a name that is not a tier's.
//! - [`JsonType`] is the type of a JSON value, which
//!   [`Value::json_type`](crate::Value::json_type) returns.
//!
//! # Implementation
//!
//! The scanner turns the grammar of JSON into spans: one pass over the frame, no recursion, no
//! allocation.
//!
//! `document` validates every byte and reports the members of the root object; their meaning is the
//! business of [`view`](crate::view). `skip` walks text that `document` has accepted, and `text`
//! reads its strings.
//!
//! A scan by the CPU's vector instructions, which `arch` provides, begins with the quotes of the
//! document's compact start, unless finding them costs as much as walking over it: a short message is
//! often nothing else. One of three algorithms reads the rest, by the tier, the document's size and
//! whether it starts compactly: `blocks`, masks of 64 bytes; `tokens`, masks of 64 tokens; `walk`,
//! from token to token. The compact start and `walk` know the error of a malformed document, `tokens`
//! that of a string; else `blocks` and `tokens` know only that there is one, and `scalar`, resumed
//! shortly before, finds where and why. `scalar` is the oracle that the others are tested against: they share the
//! primitives of `lexeme` and nothing else.

pub(crate) mod skip;
pub(crate) mod text;

mod arch;
mod blocks;
mod depth;
mod escapes;
mod lexeme;
mod malformed;
mod scalar;
mod span;
mod swar;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;

pub use arch::{Algorithm, Tier, UnknownTier};
use blocks::BLOCK;
use lexeme::plain_text_end;
pub(crate) use malformed::{Fault, Malformed};
pub(crate) use span::{Span, Text};

use std::convert::Infallible;
use std::mem::MaybeUninit;

use crate::limits::MOST_BYTES;

/// The type of a JSON value, as its first byte shows.
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
    /// The type of the value that starts with `first`; any other byte than the ones below starts a
    /// number, in text that [`document`] accepts.
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

/// The deepest nesting that recursive decoders can safely handle.
pub(crate) const RECURSION_LIMIT: usize = 127;

/// The bytes around a key that [`Members`] compares.
pub(crate) const BEFORE: usize = 16;

/// The most ends of containers in containers that are kept: a presence payload has two.
pub(crate) const INNER_ENDS: usize = 4;

/// Receives the root object's members.
pub(crate) trait Members {
    /// The number of quotes in the members before the payload and in the payload's key. In a long
    /// document no more than these are searched ahead of the grammar, and never more than 64.
    const QUOTES_AHEAD: usize;

    /// A known key.
    type Key: Copy;

    /// Receives the next member, by its spans in the document.
    fn member(&mut self, key: Text, value: Span);

    /// The known key that `start` is in quotes and with a colon, as far as it goes, and its length.
    #[inline(always)]
    fn known_key(start: &[u8; BEFORE]) -> Option<(Self::Key, usize)> {
        let _ = start;
        None
    }

    /// Receives the next member, of a known key.
    fn known(&mut self, key: Self::Key, value: Span);

    /// Whether [`inner_end`](Self::inner_end) does something for the next member.
    #[inline(always)]
    fn wants_inner_ends(&self) -> bool {
        false
    }

    /// Receives where the objects and arrays end that are members or elements of a member of the root
    /// object: for each such member the first ones, in order and without gaps, or none. A walk that gives
    /// up, and tokens behind which the document goes on with spaces, may report some that the blocks report again.
    fn inner_end(&mut self, end: usize) {
        let _ = end;
    }

    /// Whether [`known_member`](Self::known_member) knows every key that [`member`](Self::member) does, if it is written
    /// without escapes.
    const KNOWS_BEFORE: bool = false;

    /// Receives the next member if `before`, the bytes before its value, ends with a known key of
    /// `length` bytes in quotes and a colon; otherwise does nothing and returns `false`.
    #[inline(always)]
    fn known_member(&mut self, before: &[u8; BEFORE], length: usize, value: Span) -> bool {
        let _ = (before, length, value);
        false
    }
}

/// Receives members and ignores them.
struct Ignored;

impl Members for Ignored {
    const QUOTES_AHEAD: usize = 18;

    type Key = Infallible;

    fn member(&mut self, _: Text, _: Span) {}

    fn known(&mut self, key: Infallible, _: Span) {
        match key {}
    }
}

/// Validates `bytes`, at most [`MOST_BYTES`], as one JSON document in UTF-8 of at most `max_depth`
/// nested brackets, passes each member of a root object to `members` in order, duplicates included,
/// and returns the text and the root's span, which does not tell whether it is a string. `text` is
/// the same bytes if they are known to be UTF-8 already.
///
/// Members of a document that turns out to be malformed may have been reported before the error.
#[inline(always)]
pub(crate) fn document<'a>(
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    document_by(arch::Detected::current(), bytes, text, max_depth, members)
}

/// [`document`] with a given tier.
#[inline(always)]
fn document_by<'a>(
    tier: arch::Detected,
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    debug_assert!(bytes.len() <= MOST_BYTES);
    let mut prefix = blocks::Prefix::NONE;
    // Beyond this limit depths do not fit the blocks' types.
    if (1..=RECURSION_LIMIT).contains(&max_depth)
        && tier.begins_by_quotes(bytes.len())
        && let Some(ascii) = arch::prefix(tier, bytes, max_depth, &mut prefix, members)
        && let Some(root) = prefix.root
    {
        let text = match text.or(ascii) {
            Some(text) => text,
            None => utf8_text(tier, bytes)?,
        };
        return Ok((text, root));
    }
    behind_prefix(tier, bytes, text, &mut prefix, max_depth, members)
}

/// [`document`] after its `prefix`. Not inlined, so that the callers, which parse mostly short
/// documents, stay small enough to be inlined themselves: a view that is returned is a view that
/// is copied.
#[inline(never)]
fn behind_prefix<'a>(
    tier: arch::Detected,
    bytes: &'a [u8],
    text: Option<&'a str>,
    prefix: &mut blocks::Prefix,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    if !(1..=RECURSION_LIMIT).contains(&max_depth) {
        return by_scalar(tier, bytes, text, max_depth, members);
    }
    let mut text = text;
    if text.is_none() && !prefix.is_ascii() {
        // Bytes that are not UTF-8 are the error, whatever else is one.
        text = Some(utf8_text(tier, bytes)?);
    }
    if let Some(malformed) = prefix.flaw() {
        return Err(in_utf8(tier, bytes, text, true, malformed));
    }
    let mut ascii = None;
    match tier.algorithm(bytes) {
        Algorithm::Walk => match arch::walk(tier, bytes, max_depth, prefix, members) {
            Some(Ok(known)) => ascii = known,
            None => {}
            Some(Err(malformed)) => {
                return Err(in_utf8(tier, bytes, text, prefix.is_ascii(), malformed));
            }
        },
        Algorithm::Tokens => match arch::tokens(tier, bytes, max_depth, prefix, members) {
            Some(Ok(known)) => {
                if let Some(malformed) = prefix.flaw() {
                    return Err(in_utf8(tier, bytes, text, prefix.is_ascii(), malformed));
                }
                ascii = known;
            }
            Some(Err(Some(site))) => {
                if let Some(malformed) = explain(tier, &site, bytes, text, max_depth) {
                    return Err(malformed);
                }
            }
            // The blocks find the site.
            Some(Err(None)) | None => {}
        },
        Algorithm::Blocks => {}
    }
    if let Some(root) = prefix.root {
        return Ok((text_of(tier, text.or(ascii), bytes)?, root));
    }
    let mut outline = blocks::Outline::new();
    match arch::outline(tier, bytes, prefix, max_depth, &mut outline) {
        Some(Ok(ascii)) => {
            let text = text_of(tier, text.or(ascii), bytes)?;
            let root = outline.root(bytes);
            let is_object = bytes[root.start()] == b'{';
            if !is_object || outline.members(bytes, root.start(), prefix, members).is_some() {
                return Ok((text, root));
            }
            debug_assert!(false, "the outline of a valid document has all its members");
        }
        Some(Err(site)) => {
            if let Some(malformed) = explain(tier, &site, bytes, text, max_depth) {
                return Err(malformed);
            }
        }
        None => {}
    }
    by_scalar(tier, bytes, text, max_depth, members)
}

/// The error that the scalar scanner finds when it resumes shortly before `site`; `None` if it
/// finds none from there.
#[cold]
fn explain(
    tier: arch::Detected,
    site: &blocks::ErrorSite,
    bytes: &[u8],
    text: Option<&str>,
    max_depth: usize,
) -> Option<Malformed> {
    if text.is_none()
        && !ends_in_ascii(bytes, site.ascii_until)
        && let Err(malformed) = utf8_text(tier, bytes)
    {
        return Some(malformed);
    }
    scalar::resume(bytes, site, max_depth).err()
}

/// The error of a document in which the scanner found `malformed`: bytes that are not UTF-8 come
/// first, wherever they are. `ascii` tells that all bytes before the error are ASCII.
#[cold]
fn in_utf8(
    tier: arch::Detected,
    bytes: &[u8],
    text: Option<&str>,
    ascii: bool,
    malformed: Malformed,
) -> Malformed {
    if text.is_some() || ascii && ends_in_ascii(bytes, malformed.at) {
        return malformed;
    }
    utf8_text(tier, bytes).err().unwrap_or(malformed)
}

/// Whether the bytes from `at` on are ASCII; not if these are all or most of many, since the check of
/// UTF-8 is faster then.
fn ends_in_ascii(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).is_none_or(|rest| rest.len() < bytes.len().max(256) / 2 && rest.is_ascii())
}

#[inline(always)]
fn by_scalar<'a>(
    tier: arch::Detected,
    bytes: &'a [u8],
    text: Option<&'a str>,
    max_depth: usize,
    members: &mut impl Members,
) -> Result<(&'a str, Span), Malformed> {
    arch::without_tier(move || {
        let text = text_of(tier, text, bytes)?;
        scalar::document(bytes, max_depth, members).map(|root| (text, root))
    })
}

/// [`document`] for text when only the root's span is needed.
pub(crate) fn root(text: &str, max_depth: usize) -> Result<Span, Malformed> {
    document(text.as_bytes(), Some(text), max_depth, &mut Ignored).map(|(_, root)| root)
}

/// The number of bytes at the start of `bytes` that are plain text of a string: without quotes, backslashes and control
/// characters. It is all of them, if they are all plain.
#[inline]
pub(crate) fn plain_start(bytes: &[u8]) -> usize {
    // To load a short text as a block it would have to be copied.
    if bytes.len() < BLOCK {
        return plain_text_end(bytes, 0);
    }
    arch::plain_blocks(arch::Detected::current(), bytes)
}

/// Appends `text`, escaped as in a string.
pub(crate) fn append_escaped(output: &mut Vec<u8>, text: &[u8]) {
    arch::append_escaped(arch::Detected::current(), text, output);
}

/// Copies `from`, valid JSON, into `to`, with a space for each CR and LF, and returns the written
/// bytes. Control characters that valid JSON never holds are copied differently by the tiers.
///
/// # Panics
/// The lengths differ.
#[inline]
pub(crate) fn copy_with_spaces<'a>(from: &[u8], to: &'a mut [MaybeUninit<u8>]) -> &'a mut [u8] {
    arch::copy_with_spaces(arch::Detected::current(), from, to)
}

/// `bytes` as text; `known` is that text if it was validated before.
#[inline(always)]
fn text_of<'a>(
    tier: arch::Detected,
    known: Option<&'a str>,
    bytes: &'a [u8],
) -> Result<&'a str, Malformed> {
    match known {
        Some(text) => Ok(text),
        None => utf8_text(tier, bytes),
    }
}

#[inline(never)]
fn utf8_text(tier: arch::Detected, bytes: &[u8]) -> Result<&str, Malformed> {
    arch::check_utf8(tier, bytes).map_err(|at| Malformed::new(Fault::NotUtf8, at))
}
