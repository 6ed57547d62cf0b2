//! A user's data as it is kept: JSON without raw newlines.

use std::borrow::Cow;

use crate::payload::{Payload, Value};
use crate::scan::skip::Items;
use crate::scan::text;

/// An object that was validated once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    json: Box<str>,
}

impl Kept {
    pub(super) fn new(payload: Payload<'_>) -> Self {
        let json = payload.as_str();
        let json: Box<str> = match payload.has_newlines() {
            true => json.replace(['\n', '\r'], " ").into(),
            false => json.into(),
        };
        Self { json }
    }

    pub(super) fn payload(&self) -> Payload<'_> {
        Payload::kept(&self.json)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.json
    }

    pub(super) const fn len(&self) -> usize {
        self.json.len()
    }

    /// The same object with another value for `key`, which comes last then.
    pub(super) fn with(&self, key: &str, value: Value<'_>) -> Self {
        let json = &*self.json;
        let mut merged = String::with_capacity(json.len() + key.len() + value.raw().len() + 8);
        merged.push('{');
        for (name, start, end) in Items::new(json.as_bytes()) {
            let Some(name) = name else { continue };
            let inside = &json[name.start..name.end];
            if text::unescape(inside, name.escaped).is_some_and(|name| name == key) {
                continue;
            }
            // As it is written, half of a surrogate pair included.
            merged.extend(["\"", inside, "\":", &json[start..end], ","]);
        }
        let name = serde_json::to_string(key).expect("a string serializes");
        let value: Cow<'_, str> = match value.raw().contains(['\n', '\r']) {
            true => value.raw().replace(['\n', '\r'], " ").into(),
            false => value.raw().into(),
        };
        merged.extend([&*name, ":", &value, "}"]);
        Self { json: merged.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_changes_and_the_others_stay() {
        let kept =
            Kept::new(Payload::from_json("{\"a\":1,\n\"\\u0062\":{\"c\":[2]},\"\":0}").unwrap());
        let value = Payload::from_json("{\"v\":[3,\r\n4]}").unwrap();
        let value = value.get("v").unwrap();
        let with = |key| kept.with(key, value).as_str().to_owned();
        assert_eq!(with("b"), "{\"a\":1,\"\":0,\"b\":[3,  4]}");
        assert_eq!(with("a\""), "{\"a\":1,\"\\u0062\":{\"c\":[2]},\"\":0,\"a\\\"\":[3,  4]}");
        let empty = Kept::new(Payload::EMPTY).with("k", value);
        assert_eq!(empty.as_str(), "{\"k\":[3,  4]}");
    }
}
