//! A validated span of JSON that nobody has decoded yet: navigate it, or decode it when asked.

mod decode;
mod iter;
mod owned;
mod value;

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, DeserializeOwned, Error as _};
use serde::ser::{Serialize, Serializer};

use crate::error::{Detail, Field, ValidationError};
use crate::limits::Limits;
use crate::scan::{self, RECURSION_LIMIT, Span};

pub use iter::{Elements, Members};
pub use owned::OwnedPayload;
pub use value::Value;

/// The payload of a message: one validated JSON object, still text.
///
/// It borrows the frame and is cheap to copy. Nothing of it has been converted; a field costs a
/// skip over what precedes it, [`decode`](Self::decode) what a decoder costs.
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
    deep: bool,
}

impl Payload<'static> {
    /// `{}`
    pub const EMPTY: Self = Self { json: "{}", newlines: false, deep: false };
}

impl<'a> Payload<'a> {
    /// Validates `json` as one JSON object within [`Limits::default`].
    ///
    /// Whitespace around the object is left out. Allocates nothing.
    ///
    /// # Errors
    /// As for a frame: path `wireMessage` for malformed JSON or an exceeded limit, `payload` for
    /// a value that is no object.
    pub fn from_json(json: &'a str) -> Result<Self, ValidationError> {
        Self::from_json_with(json, Limits::default())
    }

    /// [`from_json`](Self::from_json) within other limits.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_json_with(json: &'a str, limits: Limits) -> Result<Self, ValidationError> {
        limits.check_size(json.len())?;
        let root = scan::root(json, limits.max_depth)
            .map_err(|malformed| ValidationError::wire(malformed.detail, malformed.at))?;
        if json.as_bytes()[root.start] == b'{' {
            Ok(Self::from_span(json, root))
        } else {
            Err(ValidationError::at(Field::Named("payload"), Detail::ExpectedObject, root.start))
        }
    }

    /// The object that `span` of `text` is.
    #[inline(always)]
    pub(crate) fn from_span(text: &'a str, span: Span) -> Self {
        Self { json: &text[span.start..span.end], newlines: span.newlines, deep: span.deep }
    }

    /// An object that was a payload before, is on one line, and is `deep` if that was.
    pub(crate) const fn kept(json: &'a str, deep: bool) -> Self {
        Self { json, newlines: false, deep }
    }

    /// Whether it nests deeper than any decoder goes.
    pub(crate) const fn is_deep(&self) -> bool {
        self.deep
    }

    /// The object that `item` is, a part of this payload.
    pub(crate) fn part(self, item: Range<usize>) -> Self {
        let json = &self.json[item];
        let deep = self.deep && scan::root(json, RECURSION_LIMIT).is_err();
        Self { json, deep, ..self }
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

    /// The value of a member, or `None` when there is none.
    ///
    /// A key that is written with escapes is found too; of duplicates the last is meant. Skips
    /// over the whole object; allocates nothing.
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

    /// Decodes into a type that may borrow from the frame, with `serde_json`.
    ///
    /// Costs a full parse; allocates what `T` does. Prefer it for types with `&str` fields; for
    /// owned types [`decode_owned`](Self::decode_owned) is a little faster on large payloads.
    ///
    /// # Errors
    /// `T` does not fit, a `&str` field is written with an escape, a string holds half of a
    /// surrogate pair, or the payload nests deeper than 127 brackets, the message's own
    /// included, which only raised [`Limits`] admit: no decoder recurses further.
    ///
    /// ```
    /// # use pondwire::Payload;
    /// #[derive(serde::Deserialize)]
    /// struct Say<'a> { text: &'a str }
    ///
    /// let payload = Payload::from_json(r#"{"text":"hi"}"#).unwrap();
    /// assert_eq!(payload.decode::<Say>()?.text, "hi");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        self.refuse_deep()?;
        serde_json::from_str(self.json)
    }

    /// Decodes into a type that borrows nothing, with the engine that is fastest at this size:
    /// `serde_json` for small payloads, `simd-json` on a thread-local copy for large ones.
    ///
    /// Both give the same value and the same errors, with two exceptions: `serde_json` may get
    /// the last bit of a float wrong (with its feature `float_roundtrip` both are exact), and `-0`
    /// is an integer to `simd-json` alone. Allocates what `T` does; a thread keeps scratch memory
    /// of about 20 times its largest payload, of those up to 64 KiB.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_owned<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.refuse_deep()?;
        decode::owned(self.json)
    }

    /// Decoders recurse: only as deep as the default limit allows.
    fn refuse_deep(&self) -> Result<(), serde_json::Error> {
        if self.deep {
            Err(serde_json::Error::custom("nesting exceeds 127 levels"))
        } else {
            Ok(())
        }
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
