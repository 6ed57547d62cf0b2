//! The payload of a message: validated JSON that is navigated lazily or decoded on demand.
//!
//! - [`Payload`] is a message's payload, one JSON object, borrowed from the frame.
//! - [`OwnedPayload`] is a payload that owns its text, for messages that are built or stored.
//! - [`Value`] is one JSON value in a payload, with accessors that convert it on demand.
//! - [`Members`] and [`Elements`] iterate over an object and over an array.
//! - [`JsonType`] is the type of a value.
//!
//! # Implementation
//!
//! A payload is a span of text that the [scanner](crate::scan) has validated. Access to a field
//! skips over the text before it; nothing is indexed or cached.

mod decode;
mod iter;
mod number;
mod owned;
mod value;

use std::fmt;
use std::ops::Range;

use serde::de::Deserialize;
use serde::ser::{Serialize, Serializer};

use crate::error::{Detail, Field, ValidationError};
use crate::limits::Limits;
use crate::scan::{self, Span};

pub use iter::{Elements, Members};
pub use owned::OwnedPayload;
pub use value::Value;

pub use crate::scan::JsonType;

/// The payload of a message: one validated JSON object, still text.
///
/// It borrows the frame and is cheap to copy. No value in it has been converted; access to a field
/// costs a skip over the text before it, [`decode`](Self::decode) a full parse.
///
/// ```
/// use pondwire::Payload;
///
/// let payload = Payload::from_json(r#"{"text":"hi","user":{"id":7,"tags":["a","b"]}}"#)?;
/// assert_eq!(payload.get("text").unwrap().as_str().unwrap(), "hi");
/// assert_eq!(payload.pointer("/user/id").unwrap().as_i64(), Some(7));
/// let tags = payload.pointer("/user/tags").unwrap();
/// assert_eq!(tags.elements().filter_map(|tag| tag.as_str()).collect::<String>(), "ab");
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    json: &'a str,
    newlines: bool,
}

impl Payload<'static> {
    /// `{}`
    pub const EMPTY: Self = Self { json: "{}", newlines: false };
}

impl<'a> Payload<'a> {
    /// Validates `json` as one JSON object within [`Limits::default`].
    ///
    /// Whitespace around the object is left out. Allocates nothing.
    ///
    /// # Errors
    /// As for a frame: path `wireMessage` for malformed JSON or an exceeded limit, `payload` for
    /// a value that is not an object.
    pub fn from_json(json: &'a str) -> Result<Self, ValidationError> {
        Self::from_json_with(json, Limits::default())
    }

    /// [`from_json`](Self::from_json) within other limits.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_json_with(json: &'a str, limits: Limits) -> Result<Self, ValidationError> {
        limits.check_size(json.len())?;
        let root =
            scan::root(json, limits.max_depth).map_err(|malformed| malformed.error(&limits))?;
        if json.as_bytes()[root.start()] == b'{' {
            Ok(Self::from_span(json, root))
        } else {
            Err(ValidationError::at(Field::Named("payload"), Detail::ExpectedObject, root.start()))
        }
    }

    /// The object at `span` of `text`.
    #[inline(always)]
    pub(crate) fn from_span(text: &'a str, span: Span) -> Self {
        Self { json: &text[span.range()], newlines: span.has_newlines() }
    }

    /// An object that was validated as a payload and has no raw newlines.
    pub(crate) const fn from_stored(json: &'a str) -> Self {
        Self { json, newlines: false }
    }

    /// The object at `item`, a part of this payload.
    pub(crate) fn part(self, item: Range<usize>) -> Self {
        Self { json: &self.json[item], ..self }
    }

    /// The raw JSON, from `{` to `}`, as it was received.
    #[must_use]
    #[inline]
    pub const fn as_str(&self) -> &'a str {
        self.json
    }

    /// Whether raw CR or LF occur as whitespace; a frame turns them into spaces.
    pub(crate) const fn has_newlines(&self) -> bool {
        self.newlines
    }

    /// The whole object as a lazily held value.
    #[must_use]
    #[inline]
    pub const fn value(&self) -> Value<'a> {
        Value::new(self.json)
    }

    /// The value of a member, or `None` if there is none.
    ///
    /// Finds keys that are written with escapes too; of duplicates the last counts. Skips over the
    /// whole object; allocates nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.value().get(key)
    }

    /// The value that an RFC 6901 JSON pointer leads to: `/user/tags/0`; `""` is the object
    /// itself. See [`Value::pointer`].
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<Value<'a>> {
        self.value().pointer(pointer)
    }

    /// The members as they are written, duplicates included.
    #[must_use]
    pub fn members(&self) -> Members<'a> {
        self.value().members()
    }

    /// Decodes into a type that may borrow from the frame: the value, or the error, that
    /// `serde_json::from_str` gives for the payload's text, in less time.
    ///
    /// The text is validated already, so decoding checks none of it again and skips what `T` ignores.
    /// `serde_json` itself decodes from the beginning whatever is not read here exactly as it would: all errors,
    /// `RawValue`, keys that are read as booleans or decimals, and a few others. So `T`'s `Deserialize` may see an error
    /// where `serde_json` gives none, and is then run again. Allocates what `T` does, and one string for those that are
    /// written with escapes. The result for each field depends on its text and type alone, not on the size of the
    /// payload or on other fields.
    ///
    /// # Numbers
    /// - Into `f64`: the nearest double, ties to even. `-0` and `-0.0` are negative zero. A number
    ///   that rounds beyond the largest double (`1e400`) is an error.
    /// - Into `f32`: likewise the nearest single; `1e39` is an error. A negative integer that fits 64 bits only without
    ///   its sign is rounded to a double first.
    /// - Into an integer type: a number written without fraction and exponent that fits. `1.0`,
    ///   `1e2`, `256` into `u8` and `-1` into `u64` are errors. `-0` is an error too, except into
    ///   `i128`, where it is 0.
    /// - Into a type that accepts any number (`deserialize_any`), such as `serde_json::Value`: a
    ///   `u64` if it is written as an integer and fits, else an `i64` likewise, else the nearest
    ///   double. `-0` and integers beyond 64 bits become doubles.
    /// - Inside untagged, internally tagged and flattened types, which `serde` buffers as such
    ///   numbers first: an `f32` is rounded from the double, to infinity beyond its range; `i128`
    ///   and `u128` are errors.
    ///
    /// If any crate in the build enables `serde_json/arbitrary_precision`, a type that accepts any
    /// number receives the text instead of a double: `serde_json::Value` and `serde_json::Number`
    /// keep all digits, and `1e400` is no error. Buffered `f32` and `f64` fields then refuse every
    /// number but integers of 64 bits. All other rules stay.
    ///
    /// # Errors
    /// `T` does not fit; a `&str` field is written with an escape; a key or a string holds half of
    /// a surrogate pair (not if it is ignored or read as bytes); or `T` reads through more than 127
    /// nested brackets of the payload, which only raised [`Limits`] admit. The message itself is valid, so this is no
    /// [`ValidationError`]; a server answers the client with [`Frame::refuse`](crate::Frame::refuse), the request's id
    /// and the error's text, whose line and column count from the payload's `{`.
    ///
    /// ```
    /// # use pondwire::Payload;
    /// #[derive(serde::Deserialize)]
    /// struct Say<'a> { text: &'a str, at: f64 }
    ///
    /// let payload = Payload::from_json(r#"{"text":"hi","at":122.416294033786585}"#).unwrap();
    /// let say: Say = payload.decode()?;
    /// assert_eq!((say.text, say.at), ("hi", 122.416_294_033_786_59));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        self.value().decode()
    }
}

impl PartialEq for Payload<'_> {
    /// Compares the text, byte for byte: `{"a":1}` is not `{"a": 1}`.
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Payload<'_> {}

impl fmt::Debug for Payload<'_> {
    /// The first 128 bytes or so, and the length when there are more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value(), f)
    }
}

impl fmt::Display for Payload<'_> {
    /// The raw JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json)
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}
