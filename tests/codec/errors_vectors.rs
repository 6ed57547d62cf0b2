//! The recorded cases of errors, ids, typed payloads and types.
//!
//! A record's `call` is a Python expression. Few kinds occur, so the test evaluates them as written.
//! Python's `args` (the text at construction, stale after a change) has no counterpart.

use std::error::Error;
use std::fs;
use std::path::Path;

use pondwire::error::{BoxError, MultiError, PondError, add_error, status};
use pondwire::protocol::{
    Object, PondEvent, PondSchema, PresencePayload, PubSubBody, PubSubEvent, Recipients, UserData,
    decode_object, encode_object,
};

use pondwire_test_support::python_call::{evaluate, plain};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The reason why a record holds in another form here; that form is asserted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exception {
    /// Python refuses anything but an object; here `x` becomes `{"value":x}`, as in the Rust server.
    Wrapped,
    /// The error's text comes from Python's dataclasses or pydantic; here it comes from serde.
    OtherText,
    /// Events and schemas are types: at run time only the names of their fields exist.
    TypesNotValues,
    /// The feature for ids is off.
    #[cfg_attr(feature = "uuid", expect(dead_code))]
    FeatureOff,
}

#[test]
fn recorded_errors_and_types_hold() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/errors.json");
    let file: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let mut exceptions = Vec::new();
    let mut ran = 0;
    for record in file["records"].as_array().unwrap() {
        match record["call"].as_str() {
            Some(call) => check_call(record, call),
            None => exceptions.extend(check_by_name(record)),
        }
        ran += 1;
    }
    println!("errors: {ran} records ran; exceptions: {exceptions:?}");
    assert_eq!(ran, 60);
    let counted = |exception| exceptions.iter().filter(|other| **other == exception).count();
    let off = usize::from(!cfg!(feature = "uuid"));
    assert_eq!(counted(Exception::Wrapped), 2);
    assert_eq!(counted(Exception::OtherText), 2);
    assert_eq!(counted(Exception::TypesNotValues), 2);
    assert_eq!(exceptions.len(), 6 + off);
}

fn check_call(record: &Value, call: &str) {
    let id = record["id"].as_str().unwrap();
    match evaluate(id, call) {
        Ok(Some(error)) => check_error(&record["result"], &*error),
        Ok(None) => assert_eq!(record.get("result"), Some(&Value::Null), "{call}"),
        Err(invalid) => assert_eq!(record["raises"]["str"], invalid.to_string(), "{call}"),
    }
}

fn check_error(expected: &Value, error: &(dyn Error + Send + Sync + 'static)) {
    assert_eq!(expected["str"], error.to_string());
    match expected["type"].as_str().expect("a type") {
        "PondError" => {
            let error: &PondError = error.downcast_ref().expect("a PondError");
            assert_eq!(expected["message"], error.message());
            assert_eq!(expected["code"], error.code());
            assert_eq!(expected["channel_name"], error.channel_name());
            assert_eq!(expected["temporary"], error.is_temporary());
            assert_eq!(expected["details"], json!(error.details()));
            assert_eq!(expected["cause"]["type"], expected["__cause__"]);
            assert_eq!(expected["cause"]["str"], json!(error.source().map(ToString::to_string)));
        }
        "MultiError" => {
            let error: &MultiError = error.downcast_ref().expect("a MultiError");
            let expected = expected["errors"].as_array().unwrap();
            assert_eq!(expected.len(), error.errors().len());
            for (expected, error) in expected.iter().zip(error.errors()) {
                check_error(expected, &**error);
            }
        }
        "ValueError" | "KeyError" => assert!(!error.is::<PondError>() && !error.is::<MultiError>()),
        other => panic!("an error of type {other}"),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dataclass {
    a: i32,
    b: Vec<Dataclass>,
}

#[derive(Serialize, Deserialize)]
struct Model {
    a: i32,
    b: String,
}

struct Chat;

impl PondEvent for Chat {
    const NAME: &'static str = "chat";
    type Payload = Object;
    type Response = Object;
}

struct Room;

impl PondSchema for Room {
    type Presence = Object;
    type Assigns = Object;
    type JoinParams = Object;
}

fn pub_sub(body: PubSubBody) -> PubSubEvent {
    let [endpoint, channel, pub_sub_id] = ["e", "c", "p"].map(str::to_owned);
    PubSubEvent { endpoint, channel, pub_sub_id, body }
}

fn encoded<T: Serialize>(value: &T) -> Value {
    serde_json::from_str(&encode_object(value).unwrap()).unwrap()
}

/// Checks a record without a call, whose name describes the operation.
fn check_by_name(record: &Value) -> Option<Exception> {
    let name = record["name"].as_str().unwrap();
    let result = &record["result"];
    let repr = || result["repr"].as_str().unwrap();
    match name {
        "add_error returns the same MultiError object" => {
            let multi: BoxError = MultiError::new(["a", "b", "x"].map(plain).into()).into();
            let before = std::ptr::from_ref(&*multi).cast::<()>();
            let after = add_error(Some(multi), Some(plain("z"))).unwrap();
            assert_eq!(std::ptr::from_ref(&*after).cast::<()>() == before, record["same"]);
            let multi: &MultiError = after.downcast_ref().unwrap();
            assert_eq!(multi.errors().len(), record["n"]);
            assert_eq!(multi.to_string(), *record["str"].as_str().unwrap());
        }
        "constants" => {
            let constants = json!({
                "STATUS_BAD_REQUEST": status::BAD_REQUEST,
                "STATUS_UNAUTHORIZED": status::UNAUTHORIZED,
                "STATUS_FORBIDDEN": status::FORBIDDEN,
                "STATUS_NOT_FOUND": status::NOT_FOUND,
                "STATUS_CONFLICT": status::CONFLICT,
                "STATUS_TOO_MANY_REQUESTS": status::TOO_MANY_REQUESTS,
                "STATUS_INTERNAL_SERVER_ERROR": status::INTERNAL_SERVER_ERROR,
                "STATUS_SERVICE_UNAVAILABLE": status::SERVICE_UNAVAILABLE,
                "STATUS_GATEWAY_TIMEOUT": status::GATEWAY_TIMEOUT,
            });
            assert_eq!(record["value"], constants);
        }
        "uuid" => return check_uuid(record),
        "to_pond_object None" => assert_eq!(*result, encoded(&())),
        "to_pond_object dataclass" => {
            let inner = Dataclass { a: 2, b: vec![] };
            assert_eq!(*result, encoded(&Dataclass { a: 1, b: vec![inner] }));
        }
        "to_pond_object pydantic" => {
            assert_eq!(*result, encoded(&Model { a: 1, b: "x".into() }));
        }
        "to_pond_object int" => {
            assert_eq!(record["raises"]["type"], "TypeError");
            assert_eq!(encoded(&1), json!({"value": 1}));
            return Some(Exception::Wrapped);
        }
        "to_pond_object list" => {
            assert_eq!(record["raises"]["type"], "TypeError");
            assert_eq!(encoded(&[1]), json!({"value": [1]}));
            return Some(Exception::Wrapped);
        }
        "from_pond_object no type" | "from_pond_object plain type" => {
            assert_eq!(*result, decode_object::<Value>(&result.to_string()).unwrap());
        }
        "from_pond_object None" => {
            assert_eq!(*result, json!(decode_object::<Option<Object>>("null").unwrap()));
        }
        "from_pond_object dataclass" => {
            let Dataclass { a, b } = decode_object(r#"{"a":1,"b":[]}"#).unwrap();
            assert_eq!(repr(), format!("DC(a={a}, b={})", json!(b)));
        }
        "from_pond_object dataclass extra key" => {
            assert_eq!(record["raises"]["type"], "TypeError");
            let error = decode_object::<Dataclass>(r#"{"a":1,"b":[],"z":1}"#).err().unwrap();
            assert!(error.to_string().starts_with("unknown field `z`"), "{error}");
            return Some(Exception::OtherText);
        }
        "from_pond_object pydantic" => {
            let Model { a, b } = decode_object(r#"{"a":3,"b":"x"}"#).unwrap();
            assert_eq!(repr(), format!("M(a={a}, b='{b}')"));
        }
        "from_pond_object pydantic bad" => {
            assert_eq!(record["raises"]["type"], "ValidationError");
            let error = decode_object::<Model>(r#"{"a":"x","b":"x"}"#).err().unwrap();
            assert!(error.to_string().starts_with("invalid type: string \"x\""), "{error}");
            return Some(Exception::OtherText);
        }
        "pond_event" => {
            assert!(repr().starts_with(&format!("PondEvent(name='{}',", Chat::NAME)));
            return Some(Exception::TypesNotValues);
        }
        "pond_schema" => {
            assert!(repr().starts_with(&format!("PondSchema(name='{}',", Room::NAME)));
            return Some(Exception::TypesNotValues);
        }
        "TypedPresencePayload" => {
            let json = r#"{"presence":[1],"changed":1}"#;
            let payload: PresencePayload<i32> = decode_object(json).unwrap();
            assert_eq!(encode_object(&payload).unwrap(), json);
            let PresencePayload { presence, changed } = payload;
            let shown = format!("TypedPresencePayload(changed={changed}, presence={presence:?})");
            assert_eq!(repr(), shown);
        }
        "UserData defaults" => {
            let UserData::<Object, Object> { id, assigns, presence } = UserData::new("u");
            let [assigns, presence] = [assigns, presence].map(Value::Object);
            let shown = format!("UserData(id='{id}', assigns={assigns}, presence={presence})");
            assert_eq!(repr(), shown);
        }
        "PubSubMessageEvent" => {
            let recipient = Recipients::AllUsers;
            let event = pub_sub(PubSubBody::Message { message: Object::new(), recipient });
            let body = "message={}, recipient='ALL_USERS', ";
            assert_eq!(repr(), shown(&event, name, body));
        }
        "PubSubGetPresenceCommand" => {
            assert_eq!(repr(), shown(&pub_sub(PubSubBody::GetPresence), name, ""));
        }
        other => panic!("{}: no rule for {other}", record["id"]),
    }
    None
}

/// The event in Python's notation.
fn shown(event: &PubSubEvent, class: &str, body: &str) -> String {
    let PubSubEvent { endpoint, channel, pub_sub_id, .. } = event;
    let kind = event.kind();
    format!(
        "{class}(endpoint='{endpoint}', channel='{channel}', pub_sub_id='{pub_sub_id}', {body}\
         event=<PubSubEvents.{kind}: '{kind}'>)"
    )
}

#[cfg(feature = "uuid")]
fn check_uuid(record: &Value) -> Option<Exception> {
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| pondwire::uuid()).collect();
    assert_eq!(ids.len() == 1000, record["distinct"]);
    let all_match = ids.iter().all(|id| {
        let groups: Vec<_> = id.split('-').map(str::len).collect();
        let lower_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f' | '-');
        let version_4 = id[14..].starts_with('4') && id[19..].starts_with(['8', '9', 'a', 'b']);
        groups == [8, 4, 4, 4, 12] && id.chars().all(lower_hex) && version_4
    });
    assert_eq!(all_match, record["all_match"]);
    None
}

#[cfg(not(feature = "uuid"))]
fn check_uuid(_: &Value) -> Option<Exception> {
    Some(Exception::FeatureOff)
}
