//! What handlers may send: JSON that is ready, or a value that is serialized.

use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::encode_object;
use pondwire::{Limits, Payload};
use serde::Serialize;

/// For JSON that this server or a handler has made, which may be larger than a client's.
pub(crate) const UNLIMITED: Limits =
    Limits::new().with_max_bytes(usize::MAX).with_max_depth(usize::MAX);

/// The content of a message: a [`Payload`], which is spliced in unchanged, an [`OwnedPayload`], a
/// [`serde_json::Value`], or [`Json`] of any value that serializes.
///
/// A payload on the wire is an object. Of a [`Json`] or a `Value` that is none, `null` is sent as `{}`, and any
/// other value `x` as `{"value":x}`.
pub trait Content {
    /// Calls `send` with the content as JSON.
    ///
    /// # Errors
    /// The value does not serialize: code 500.
    fn with<R>(self, send: impl FnOnce(Payload<'_>) -> R) -> Result<R, PondError>;
}

/// A value that is serialized when it is sent: one allocation, and one pass to check the text.
///
/// ```
/// use pondwire_server::{Content, Json};
///
/// #[derive(serde::Serialize)]
/// struct Score { home: u32, away: u32 }
///
/// let text = Json(&Score { home: 1, away: 0 }).with(|payload| payload.to_string())?;
/// assert_eq!(text, r#"{"home":1,"away":0}"#);
/// # Ok::<(), pondwire::error::PondError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl Content for Payload<'_> {
    #[inline]
    fn with<R>(self, send: impl FnOnce(Payload<'_>) -> R) -> Result<R, PondError> {
        Ok(send(self))
    }
}

impl Content for &OwnedPayload {
    fn with<R>(self, send: impl FnOnce(Payload<'_>) -> R) -> Result<R, PondError> {
        Ok(send(self.view()))
    }
}

impl Content for serde_json::Value {
    fn with<R>(self, send: impl FnOnce(Payload<'_>) -> R) -> Result<R, PondError> {
        Json(self).with(send)
    }
}

impl<T: Serialize> Content for Json<T> {
    fn with<R>(self, send: impl FnOnce(Payload<'_>) -> R) -> Result<R, PondError> {
        let json =
            encode_object(&self.0).map_err(|error| PondError::internal("", error.to_string()))?;
        let payload = Payload::from_json_with(&json, UNLIMITED);
        let payload = payload.map_err(|error| PondError::internal("", error.to_string()))?;
        Ok(send(payload))
    }
}

/// The object with a member more, in front, or instead of its own of this key. Values keep their text; keys are
/// written anew.
pub(crate) fn with_member(object: Payload<'_>, key: &str, value: &str) -> OwnedPayload {
    with_others(format!("{{{}:{}", quoted(key), quoted(value)), object, key)
}

/// The object without its members of this key. Values keep their text; keys are written anew.
pub(crate) fn without_member(object: Payload<'_>, key: &str) -> OwnedPayload {
    with_others("{".to_owned(), object, key)
}

/// The object that `json` begins, with the members of `object` that have other keys than `key`.
fn with_others(mut json: String, object: Payload<'_>, key: &str) -> OwnedPayload {
    for (found, value) in object.members().filter(|(found, _)| found != key) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&quoted(&found));
        json.push(':');
        json.push_str(value.raw());
    }
    json.push('}');
    let payload = Payload::from_json_with(&json, UNLIMITED);
    payload.expect("members of an object make an object").into()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use pondwire::Payload;

    use super::{with_member, without_member};

    #[test]
    fn a_member_is_added_or_replaced() {
        for (object, expected) in [
            ("{ }", r#"{"id":"7"}"#),
            (r#"{"a":1.10,"b\n":"\ud800"}"#, r#"{"id":"7","a":1.10,"b\n":"\ud800"}"#),
            (r#"{"id":{"id":1},"x":[ 1 ]}"#, r#"{"id":"7","x":[ 1 ]}"#),
        ] {
            let payload = Payload::from_json(object).unwrap();
            assert_eq!(with_member(payload, "id", "7").view().as_str(), expected);
        }
    }

    #[test]
    fn a_member_is_left_out() {
        for (object, expected) in [
            ("{ }", "{}"),
            (r#"{"id":{"id":1}}"#, "{}"),
            (r#"{"id":1,"a":1.10,"\u0069d":2,"b\n":[ 1 ]}"#, r#"{"a":1.10,"b\n":[ 1 ]}"#),
        ] {
            let payload = Payload::from_json(object).unwrap();
            assert_eq!(without_member(payload, "id").view().as_str(), expected);
        }
    }
}
