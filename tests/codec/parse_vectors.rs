//! Every recorded case of the real implementations, judged by the rules of the protocol:
//! accepted exactly when JavaScript accepts, except for the rules that `Exception` names; refused
//! at the schema stage with Python's path, and its message but for the enum texts. The owned messages
//! deserialize from exactly the frames that the views parse.

use std::collections::BTreeMap;
use std::fmt::Debug;

use pondwire::error::ErrorKind;
use pondwire::{
    ChannelEvent, ClientMessage, Frame, PresenceMessage, ServerMessage, ValidationError, message,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use Exception::{Depth, LoneSurrogate};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    /// JavaScript has no depth limit; ours is 127 brackets, as Rust's.
    Depth,
    /// Half of a surrogate pair in `event`, `channelName` or `requestId`: no `str` can hold it.
    LoneSurrogate,
}

/// The message as JSON.
fn parse(kind: &str, frame: &[u8]) -> Result<String, ValidationError> {
    let json = match kind {
        "client" => serde_json::to_string(&ClientMessage::parse(frame)?),
        "server" => serde_json::to_string(&ServerMessage::parse(frame)?),
        "presence" => serde_json::to_string(&PresenceMessage::parse(frame)?),
        "channelEvent" => serde_json::to_string(&ChannelEvent::parse(frame)?),
        other => panic!("unknown parse {other}"),
    };
    Ok(json.unwrap())
}

/// The owned message as JSON, and its frame.
fn deserialize(kind: &str, frame: &[u8]) -> serde_json::Result<(String, Frame)> {
    fn both<T>(frame: &[u8]) -> serde_json::Result<(String, Frame)>
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
        Frame: for<'a> From<&'a T>,
    {
        let owned: T = serde_json::from_slice(frame)?;
        let json = serde_json::to_string(&owned)?;
        assert_eq!(serde_json::from_str::<T>(&json)?, owned);
        // Sources that do not lend text; `from_value` only for documents that a tree of values can hold.
        assert_eq!(serde_json::from_reader::<_, T>(frame)?, owned);
        if let Ok(value) = serde_json::from_slice::<Value>(frame) {
            serde_json::from_value::<T>(value)?;
        }
        Ok((json, Frame::from(&owned)))
    }
    match kind {
        "client" => both::<message::Client>(frame),
        "server" => both::<message::Server>(frame),
        "presence" => both::<message::Presence>(frame),
        "channelEvent" => both::<message::ChannelEvent>(frame),
        other => panic!("unknown parse {other}"),
    }
}

/// The owned message is accepted exactly when the view is, with the same fields, or the same error.
fn check_owned(id: &str, kind: &str, frame: &[u8], view: &Result<String, ValidationError>) {
    match (view, deserialize(kind, frame)) {
        (Ok(view), Ok((owned, sent))) => {
            // A frame has no raw newlines; those of a view are within its payload.
            assert_eq!(sent.as_str(), owned.replace(['\n', '\r'], " "), "{id}");
            if view.contains("\"action\":\"PRESENCE\"") {
                assert_eq!(presence_fields(&owned), presence_fields(view), "{id}");
            } else {
                assert_eq!(owned, *view, "{id}");
            }
        }
        (Err(error), Err(refused)) => match error.kind() {
            // `serde_json` reads one value, has it parsed, and only then checks for trailing bytes.
            ErrorKind::Utf8 | ErrorKind::Json => {}
            ErrorKind::Limit if !refused.is_data() => {}
            _ => assert!(refused.to_string().starts_with(&error.to_string()), "{id}: {refused}"),
        },
        (view, owned) => panic!("{id}: the view is {view:?}, the owned message {owned:?}"),
    }
}

/// The fields of an owned presence message, as text: of duplicate keys the last.
fn presence_fields(message: &str) -> [String; 5] {
    let fields: Fields = serde_json::from_str(message).unwrap();
    let payload: BTreeMap<String, &RawValue> = serde_json::from_str(fields.payload.get()).unwrap();
    let presence: Vec<&RawValue> = serde_json::from_str(payload["presence"].get()).unwrap();
    let presence: Vec<_> = presence.into_iter().map(RawValue::get).collect();
    let changed = payload["changed"].get().to_owned();
    [fields.event, fields.channel_name, fields.request_id, presence.join("\n, "), changed]
}

fn input(record: &Value) -> Vec<u8> {
    if let Some(text) = record["input_utf8"].as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = record["input_hex"].as_str().expect("an input");
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The deepest nesting of brackets outside strings, counted without a parser.
fn depth(frame: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for &byte in frame {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn check(record: &Value) -> Option<Exception> {
    let id = record["id"].as_str().unwrap();
    let frame = input(record);
    let kind = record["parse"].as_str().unwrap();
    let verdict = parse(kind, &frame);
    check_owned(id, kind, &frame, &verdict);
    let js_accepts = record["js"]["ok"] == true;
    let mut exception = None;
    match &verdict {
        Ok(value) => {
            assert!(js_accepts, "{id}: accepted, JavaScript refuses: {}", record["js"]);
            check_value(id, record, &frame, value);
        }
        Err(error) => {
            assert!(error.offset() <= frame.len(), "{id}: offset {}", error.offset());
            if js_accepts {
                let rule = match error.kind() {
                    ErrorKind::Limit if depth(&frame) > 127 => Depth,
                    ErrorKind::Unicode => LoneSurrogate,
                    _ => panic!("{id}: refused, JavaScript accepts: {error}"),
                };
                exception = Some(rule);
            }
            check_stage(id, record, error);
        }
    }
    exception
}

/// The five fields of a message, the payload as text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    action: String,
    event: String,
    channel_name: String,
    request_id: String,
    payload: Box<RawValue>,
}

/// The four strings as JavaScript reads them, the payload as `serde_json` reads the frame's.
fn check_value(id: &str, record: &Value, frame: &[u8], value: &str) {
    let ours: Fields = serde_json::from_str(value).unwrap();
    let recorded = record["js"]["value_json"].as_str().unwrap();
    let theirs: Fields = serde_json::from_str(recorded).unwrap();
    assert_eq!(ours.action, theirs.action, "{id}");
    assert_eq!(ours.event, theirs.event, "{id}");
    assert_eq!(ours.channel_name, theirs.channel_name, "{id}");
    assert_eq!(ours.request_id, theirs.request_id, "{id}");
    match serde_json::from_slice::<Value>(frame) {
        Ok(own) => {
            let payload: Value = serde_json::from_str(ours.payload.get()).unwrap();
            assert_eq!(payload, own["payload"], "{id}");
        }
        // Half of a surrogate pair, 1e400 and the like: serde_json cannot hold it. The raw text
        // must stand in the frame.
        Err(_) => assert!(String::from_utf8_lossy(frame).contains(ours.payload.get()), "{id}"),
    }
}

fn check_stage(id: &str, record: &Value, error: &ValidationError) {
    let python = &record["python"];
    let stage = python["stage"].as_str().unwrap_or("");
    match stage {
        "utf8" => assert_eq!(error.kind(), ErrorKind::Utf8, "{id}: {error}"),
        "schema" if error.kind() == ErrorKind::Schema => {
            assert_eq!(error.path().to_string(), python["error"]["path"], "{id}: {error}");
            let message = python["error"]["message"].as_str().unwrap();
            if !message.starts_with("Input should be") {
                assert_eq!(error.message().to_string(), message, "{id}");
            } else {
                assert!(error.message().to_string().starts_with("Expected one of ["), "{id}");
            }
        }
        "schema" => panic!("{id}: Python says {}, we say {error}", python["error"]),
        _ => {}
    }
    if record["js"]["stage"] == "json" {
        let kinds = [ErrorKind::Json, ErrorKind::Limit];
        assert!(kinds.contains(&error.kind()), "{id}: {error}");
    }
}

fn run(name: &str, records: &str, expected: &[(Exception, usize)]) {
    let file: Value = serde_json::from_str(records).unwrap();
    let records = file["records"].as_array().unwrap();
    let mut exceptions = BTreeMap::new();
    for record in records {
        if let Some(rule) = check(record) {
            *exceptions.entry(rule).or_insert(0) += 1;
        }
    }
    println!("{name}: {} records, exceptions {exceptions:?}", records.len());
    assert_eq!(exceptions.into_iter().collect::<Vec<_>>(), expected, "exceptions by rule");
}

#[test]
fn client() {
    run(
        "client",
        include_str!("../vectors/parse_client.json"),
        &[(Depth, 27), (LoneSurrogate, 14)],
    );
}

#[test]
fn server() {
    run("server", include_str!("../vectors/parse_server.json"), &[(LoneSurrogate, 1)]);
}

#[test]
fn presence() {
    run("presence", include_str!("../vectors/parse_presence.json"), &[(Depth, 4)]);
}

#[test]
fn channel_event() {
    run(
        "channelEvent",
        include_str!("../vectors/parse_channelEvent.json"),
        &[(Depth, 2), (LoneSurrogate, 1)],
    );
}
