//! Events and channels with typed payloads.
//!
//! A payload on the wire is always a JSON object. A value that does not serialize to an object is wrapped
//! in one, as in the Rust server: `null` becomes `{}`, any other value `x` becomes `{"value":x}`.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::{Error, from_str};

/// A named event, with the types of its payload and of its reply.
///
/// ```
/// use pondwire::protocol::PondEvent;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Say { text: String }
///
/// struct Chat;
/// impl PondEvent for Chat {
///     const NAME: &'static str = "chat";
///     type Payload = Say;
///     type Response = u64;
/// }
///
/// let said = Chat::decode_payload(r#"{"text":"hi"}"#)?;
/// assert_eq!((Chat::NAME, said.text.as_str()), ("chat", "hi"));
/// assert_eq!(Chat::encode_response(&7)?, r#"{"value":7}"#);
/// assert_eq!(Chat::decode_response(r#"{"value":7}"#)?, 7);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait PondEvent {
    /// The name of the event, `event` on the wire.
    const NAME: &'static str;

    /// The type of the payload.
    type Payload: Serialize + DeserializeOwned;

    /// The type of the reply's payload; `()` for an event without a reply.
    type Response: Serialize + DeserializeOwned;

    /// Reads a payload; see [`decode_object`].
    ///
    /// # Errors
    ///
    /// When the text is not JSON or not a payload of this event.
    fn decode_payload(json: &str) -> Result<Self::Payload, Error> {
        decode_object(json)
    }

    /// Writes a payload; see [`encode_object`].
    ///
    /// # Errors
    ///
    /// When the payload's own `Serialize` fails.
    fn encode_payload(payload: &Self::Payload) -> Result<String, Error> {
        encode_object(payload)
    }

    /// Reads the payload of a reply; see [`decode_object`].
    ///
    /// # Errors
    ///
    /// When the text is not JSON or not a reply to this event.
    fn decode_response(json: &str) -> Result<Self::Response, Error> {
        decode_object(json)
    }

    /// Writes the payload of a reply; see [`encode_object`].
    ///
    /// # Errors
    ///
    /// When the response's own `Serialize` fails.
    fn encode_response(response: &Self::Response) -> Result<String, Error> {
        encode_object(response)
    }
}

/// A kind of channel, with the types of its users' presence, assigns and join parameters. Use
/// [`Object`](super::Object) for data of any shape.
///
/// ```
/// use pondwire::protocol::{Object, PondSchema, UserData};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Seen { status: String }
/// #[derive(Serialize, Deserialize)]
/// struct Ticket { token: String }
///
/// struct Room;
/// impl PondSchema for Room {
///     type Presence = Seen;
///     type Assigns = Object;
///     type JoinParams = Ticket;
/// }
///
/// assert_eq!(Room::decode_join_params(r#"{"token":"t"}"#)?.token, "t");
/// let user: UserData<<Room as PondSchema>::Assigns, Option<Seen>> = UserData::new("ann");
/// assert!(user.presence.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
pub trait PondSchema {
    /// A name for logs and registries; never on the wire.
    const NAME: &'static str = "";

    /// The presence: data that every user of the channel may see.
    type Presence: Serialize + DeserializeOwned;

    /// The assigns: the server's private data about a user.
    type Assigns: Serialize + DeserializeOwned;

    /// The parameters of a join.
    type JoinParams: Serialize + DeserializeOwned;

    /// Reads the payload of a join; see [`decode_object`].
    ///
    /// # Errors
    ///
    /// When the text is not JSON or not such parameters.
    fn decode_join_params(json: &str) -> Result<Self::JoinParams, Error> {
        decode_object(json)
    }

    /// Writes the payload of a join; see [`encode_object`].
    ///
    /// # Errors
    ///
    /// When the parameters' own `Serialize` fails.
    fn encode_join_params(params: &Self::JoinParams) -> Result<String, Error> {
        encode_object(params)
    }

    /// Reads one user's presence; see [`decode_object`].
    ///
    /// # Errors
    ///
    /// When the text is not JSON or not such a presence.
    fn decode_presence(json: &str) -> Result<Self::Presence, Error> {
        decode_object(json)
    }

    /// Writes one user's presence; see [`encode_object`].
    ///
    /// # Errors
    ///
    /// When the presence's own `Serialize` fails.
    fn encode_presence(presence: &Self::Presence) -> Result<String, Error> {
        encode_object(presence)
    }

    /// Reads one user's assigns; see [`decode_object`].
    ///
    /// # Errors
    ///
    /// When the text is not JSON or not such assigns.
    fn decode_assigns(json: &str) -> Result<Self::Assigns, Error> {
        decode_object(json)
    }

    /// Writes one user's assigns; see [`encode_object`].
    ///
    /// # Errors
    ///
    /// When the assigns' own `Serialize` fails.
    fn encode_assigns(assigns: &Self::Assigns) -> Result<String, Error> {
        encode_object(assigns)
    }
}

/// Writes a value as the JSON object that a payload must be: an object unchanged, `null` as `{}`, any
/// other value as `{"value":…}`. Allocates one string, or two if the value is wrapped.
///
/// # Errors
///
/// When the value's own `Serialize` fails.
pub fn encode_object<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let json = serde_json::to_string(value)?;
    Ok(match json.as_str() {
        "null" => "{}".to_owned(),
        object if object.starts_with('{') => json,
        other => format!("{{\"value\":{other}}}"),
    })
}

/// Decodes the output of [`encode_object`].
///
/// First tries to decode the object itself. If `T` refuses it, `{}` is read as `null` and `{"value":x}`
/// as `x`, unless `x` is an object; if that fails too, the error is that of the first attempt.
///
/// # Errors
///
/// When the text is not JSON, nested deeper than 127 levels, or not a `T`.
pub fn decode_object<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, Error> {
    from_str(json).or_else(|error| {
        let wrapped = if error.is_data() { unwrapped(json) } else { None };
        wrapped.and_then(|value| from_str(value).ok()).ok_or(error)
    })
}

/// The wrapped value, if [`encode_object`] can have written the object.
fn unwrapped(json: &str) -> Option<&str> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        value: Option<&'a serde_json::value::RawValue>,
    }
    let wrapped: Wrapped<'_> = from_str(json).ok()?;
    let value = wrapped.value.map_or("null", serde_json::value::RawValue::get);
    (!value.starts_with('{')).then_some(value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use serde_json::{Value, json};

    use super::{decode_object, encode_object};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Point {
        x: i32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Empty,
        Dot(Point),
    }

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &str) {
        assert_eq!(encode_object(value).unwrap(), json);
        assert_eq!(decode_object::<T>(json).unwrap(), *value, "{json}");
    }

    #[test]
    fn a_payload_is_an_object_whatever_its_type() {
        round_trip(&Point { x: 1 }, r#"{"x":1}"#);
        round_trip(&BTreeMap::from([("value".to_owned(), 1)]), r#"{"value":1}"#);
        round_trip(&json!({"value": 1}), r#"{"value":1}"#);
        round_trip(&json!({}), "{}");
        round_trip(&(), "{}");
        round_trip(&7, r#"{"value":7}"#);
        round_trip(&false, r#"{"value":false}"#);
        round_trip(&"{\"a\"".to_owned(), r#"{"value":"{\"a\""}"#);
        round_trip(&vec![1, 2], r#"{"value":[1,2]}"#);
        round_trip(&Some(7), r#"{"value":7}"#);
        round_trip(&None::<i32>, "{}");
        round_trip(&None::<Point>, "{}");
        round_trip(&Some(Point { x: 1 }), r#"{"x":1}"#);
        round_trip(&Shape::Empty, r#"{"value":"Empty"}"#);
        round_trip(&Shape::Dot(Point { x: 1 }), r#"{"Dot":{"x":1}}"#);
    }

    #[test]
    fn an_object_is_not_taken_for_what_it_contains() {
        for json in [r#"{"value":{"x":1}}"#, r#"{"value":{}}"#, "{}"] {
            let error = decode_object::<Point>(json).unwrap_err();
            assert!(error.to_string().starts_with("missing field `x`"), "{json}: {error}");
        }
        for json in [r#"{"value":1,"other":2}"#, r#"{"value":1,"value":2}"#, r#"{"other":1}"#] {
            assert!(decode_object::<i32>(json).is_err(), "{json}");
        }
        for json in ["", "{", r#"{"value":1"#, r#"{"value":1}{}"#, r#"{"value":1}x"#] {
            assert!(decode_object::<i32>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn deep_text_is_refused_without_recursing_into_it() {
        let deep = format!("{{\"value\":{}", "[".repeat(1 << 20));
        assert!(decode_object::<Value>(&deep).is_err());
        assert!(decode_object::<i32>(&deep).is_err());
    }
}
