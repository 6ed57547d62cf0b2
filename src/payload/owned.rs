//! A payload that owns its text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Payload;
use crate::error::ValidationError;
use crate::limits::Limits;

/// A [`Payload`] that owns its text: one validated JSON object, for messages that are built or
/// stored. Use its [`view`](Self::view) to navigate and decode it.
///
/// The text is kept unchanged, which preserves numbers of any size, the order of keys and lone
/// surrogates; a tree of values would lose them. To change a value in it, decode it, change the
/// result and [`encode`](Self::encode) that.
///
/// Limitations: it deserializes only with `serde_json` (text, readers, [`serde_json::Value`]), and
/// not within `#[serde(flatten)]` or an untagged enum, where there is no JSON text.
///
/// ```
/// use pondwire::payload::OwnedPayload;
/// use pondwire::protocol::Object;
///
/// let payload = OwnedPayload::from_json(r#"{"text":"hi"}"#)?;
/// let mut object: Object = payload.view().decode()?;
/// object.insert("at".into(), 7.into());
/// let payload = OwnedPayload::encode(&object)?;
/// assert_eq!(payload.view().get("at").unwrap().as_u64(), Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OwnedPayload {
    json: Box<str>,
    newlines: bool,
}

impl OwnedPayload {
    /// Validates `json` as one JSON object within [`Limits::default`], and copies it without the
    /// whitespace around it.
    ///
    /// # Errors
    /// As [`Payload::from_json`].
    pub fn from_json(json: &str) -> Result<Self, ValidationError> {
        Payload::from_json(json).map(Self::from)
    }

    /// Serializes `payload`. Allocates its text, once or twice.
    ///
    /// # Errors
    /// `payload` does not serialize, or not as a JSON object.
    pub fn encode<T: Serialize + ?Sized>(payload: &T) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_string(payload)?;
        let limits = Limits { max_bytes: usize::MAX, max_depth: usize::MAX };
        let Payload { newlines, .. } = Payload::from_json_with(&json, limits)
            .map_err(|_| serde_json::Error::custom("a payload must be a JSON object"))?;
        Ok(Self { json: json.into(), newlines })
    }

    /// The payload as a borrowed [`Payload`].
    #[must_use]
    #[inline]
    pub const fn view(&self) -> Payload<'_> {
        Payload { json: &self.json, newlines: self.newlines }
    }
}

impl Default for OwnedPayload {
    /// `{}`
    fn default() -> Self {
        Payload::EMPTY.into()
    }
}

impl From<Payload<'_>> for OwnedPayload {
    fn from(payload: Payload<'_>) -> Self {
        Self { json: payload.json.into(), newlines: payload.newlines }
    }
}

impl PartialEq for OwnedPayload {
    /// Compares the text, byte for byte: `{"a":1}` is not `{"a": 1}`.
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for OwnedPayload {}

impl fmt::Debug for OwnedPayload {
    /// The first 128 bytes or so, and the length when there are more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.view(), f)
    }
}

impl Serialize for OwnedPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OwnedPayload {
    /// Refuses the same input as [`from_json`](Self::from_json).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(json.get()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_text_stays_as_it_was_given() {
        let text = "{\"b\":1e400,\n\"a\":[\"\\ud800\",12345678901234567890123]}";
        for payload in [
            OwnedPayload::from_json(&format!(" {text}\r\n")).unwrap(),
            serde_json::from_str(&format!(" {text}\r\n")).unwrap(),
            serde_json::from_reader(text.as_bytes()).unwrap(),
            Payload::from_json(text).unwrap().into(),
        ] {
            assert_eq!(payload.view().as_str(), text);
            assert!(payload.view().has_newlines());
            assert_eq!(serde_json::to_string(&payload).unwrap(), text);
            assert_eq!(format!("{payload:?}"), format!("{:?}", payload.view()));
        }
        assert_eq!(OwnedPayload::default().view(), Payload::EMPTY);
    }

    #[test]
    fn only_an_object_is_a_payload() {
        for json in ["[]", "null", "7", "\"{}\"", "[{}]"] {
            let expected = Payload::from_json(json).unwrap_err();
            assert_eq!(OwnedPayload::from_json(json), Err(expected));
            let error = serde_json::from_str::<OwnedPayload>(json).unwrap_err().to_string();
            assert!(error.starts_with("payload: Expected object"), "{json}: {error}");
            let value: Value = serde_json::from_str(json).unwrap();
            assert!(OwnedPayload::encode(&value).is_err(), "{json}");
            assert!(serde_json::from_value::<OwnedPayload>(value).is_err(), "{json}");
        }
        for json in ["", "{", "{}x", "{\"a\":01}", "{\"a\":NaN}"] {
            assert!(serde_json::from_str::<OwnedPayload>(json).is_err(), "{json}");
            assert!(OwnedPayload::from_json(json).is_err(), "{json}");
        }
        let value = json!({"a": {"b": [1, 2.5, null]}});
        let payload: OwnedPayload = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(payload, OwnedPayload::encode(&value).unwrap());
        assert_eq!(payload.view().decode::<Value>().unwrap(), value);
    }

    /// A type with such a payload as a field.
    #[derive(Deserialize)]
    struct Holder {
        list: Vec<OwnedPayload>,
    }

    #[test]
    fn deep_objects_are_refused_or_never_decoded() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let holder: Holder =
            serde_json::from_str(&format!("{{\"list\":[{}]}}", nested(120))).unwrap();
        assert!(holder.list[0].view().decode::<Value>().is_ok());
        let deep = nested(100_000);
        assert!(OwnedPayload::from_json(&deep).is_err());
        assert!(serde_json::from_str::<OwnedPayload>(&deep).is_err());
        let raw: &RawValue = serde_json::from_str(&deep).unwrap();
        let encoded = OwnedPayload::encode(raw).unwrap();
        assert!(encoded.view().decode::<Value>().is_err());
        assert!(OwnedPayload::from(encoded.view()).view().decode::<Value>().is_err());
    }
}
