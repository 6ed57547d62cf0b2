//! One JSON value, kept as its text and converted on demand.

use std::borrow::Cow;
use std::fmt;

use serde::de::Deserialize;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::decode;
use super::iter::{Elements, Members};
use super::number;
use crate::scan::{JsonType, text};

/// A JSON value inside a [`Payload`](super::Payload), not decoded: its text, and accessors that
/// convert on demand. Each returns `Some` exactly where [`decode`](Self::decode) into the same type
/// succeeds, with the same value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    json: &'a str,
}

impl<'a> Value<'a> {
    /// `json` must be a whole value of a validated document, without whitespace around it.
    pub(crate) const fn new(json: &'a str) -> Self {
        Self { json }
    }

    /// The value's text as it is in the frame; strings include their quotes.
    #[must_use]
    pub const fn raw(&self) -> &'a str {
        self.json
    }

    /// The value's type, from its first byte.
    #[must_use]
    pub fn json_type(&self) -> JsonType {
        JsonType::of(self.json.as_bytes().first().copied().unwrap_or_default())
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.json_type() == JsonType::Null
    }

    /// `true` or `false`.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.json {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A string, borrowed from the frame unless it is written with escapes (one allocation). `None`
    /// also for a string with a lone surrogate.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        if self.json_type() != JsonType::String {
            return None;
        }
        let inside = self.json.strip_prefix('"')?.strip_suffix('"')?;
        text::unescape(inside, inside.as_bytes().contains(&b'\\'))
    }

    /// A number written as an integer (no fraction, no exponent, not `-0`) that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if self.json == "-0" { None } else { self.json.parse().ok() }
    }

    /// A number written as an integer (no sign, fraction or exponent) that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.json.parse().ok()
    }

    /// A number, rounded to the nearest double (`-0` is negative zero); `None` for one beyond their
    /// range.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if self.json_type() != JsonType::Number {
            return None;
        }
        number::double(self.json)
    }

    /// Decodes this value alone into a type that may borrow from the frame: the value, or the error, that
    /// `serde_json::from_str` gives for its text.
    ///
    /// The result is the one that [`Payload::decode`](super::Payload::decode) gives for a field of
    /// this type, by the same [rules for numbers](super::Payload#numbers): a double is the
    /// nearest one to the text, an integer must be written as an integer and fit. Costs a parse of
    /// the value; allocates what `T` does.
    ///
    /// # Errors
    /// As [`Payload::decode`](super::Payload::decode), with two differences: line and column of an
    /// error count from the value's first byte, nested brackets from the value's own.
    ///
    /// ```
    /// # use pondwire::Payload;
    /// #[derive(serde::Deserialize)]
    /// struct Point { x: f64, y: f64 }
    ///
    /// let payload = Payload::from_json(r#"{"id":7,"path":[{"x":1,"y":0.1},{"x":2,"y":1e400}]}"#)?;
    /// let mut path = payload.get("path").unwrap().elements();
    /// let Point { x, y } = path.next().unwrap().decode()?;
    /// assert_eq!((x, y), (1.0, 0.1));
    /// assert!(path.next().unwrap().decode::<Point>().is_err(), "no double is as large");
    /// assert_eq!(payload.get("id").unwrap().decode::<u8>()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        decode::decode(self.json)
    }

    /// The value of an object's member; see [`Payload::get`](super::Payload::get).
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members().find_last(key)
    }

    /// An array's element, from 0. Skips over those before it.
    #[must_use]
    pub fn index(&self, index: usize) -> Option<Value<'a>> {
        self.elements().nth(index)
    }

    /// The value that an RFC 6901 JSON pointer leads to: `/user/tags/0`, with `~1` for `/` and
    /// `~0` for `~` in a key. `""` is the value itself; a pointer that is neither empty nor
    /// starts with `/`, or an index with leading zeros, leads nowhere. Allocates only to compare a
    /// token that has `~` with a key that has escapes.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<Value<'a>> {
        if pointer.is_empty() {
            return Some(*self);
        }
        let mut value = *self;
        for token in pointer.strip_prefix('/')?.split('/') {
            value = match value.json_type() {
                JsonType::Object => value.members().find_last_token(token)?,
                JsonType::Array => {
                    let canonical = token == "0" || !token.starts_with(['0', '+']);
                    value.index(token.parse().ok().filter(|_| canonical)?)?
                }
                _ => return None,
            };
        }
        Some(value)
    }

    /// An object's members as they are written, duplicates included; nothing for other types.
    #[must_use]
    pub fn members(&self) -> Members<'a> {
        Members::new(self.json)
    }

    /// An array's elements; nothing for other types.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        Elements::new(self.json)
    }
}

impl fmt::Debug for Value<'_> {
    /// The first 128 bytes or so, and the length when there are more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 128;
        if self.json.len() <= SHOWN {
            return f.write_str(self.json);
        }
        let shown = text::excerpt(self.json, SHOWN);
        write!(f, "{shown}… ({} bytes)", self.json.len())
    }
}

impl Serialize for Value<'_> {
    /// Serializes the same text with `serde_json`, which validates it once more.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.json).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}
