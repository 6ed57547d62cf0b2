//! Any bytes give a view or an error, and `serde_json` agrees on which and on every field.

use std::collections::BTreeMap;

use crate::{Fields, Kind, Message};
use bytes::Bytes;
use pondwire::error::ErrorKind;
use pondwire::limits::ParseOptions;
use pondwire::{ChannelEvent, Frame, Limits, PresenceMessage, ValidationError};
use serde_json::value::RawValue;

/// An object's members, the last duplicate of each. An object with a lone surrogate in a key has no
/// such map.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The results of `std` and `serde_json` for the same bytes.
struct Oracle<'a> {
    text: Result<&'a str, std::str::Utf8Error>,
    is_json: bool,
    members: Option<Members<'a>>,
}

pub fn check(frame: &[u8]) {
    let text = std::str::from_utf8(frame);
    let oracle = Oracle {
        text,
        is_json: serde_json::from_slice::<&RawValue>(frame).is_ok(),
        members: text.ok().and_then(|text| serde_json::from_str(text).ok()),
    };
    let deep = Limits::new().with_max_depth(frame.len());
    let lenient = ParseOptions::new().with_default_payload(true);
    for options in [ParseOptions::default(), deep.into(), lenient] {
        for kind in Kind::ALL {
            let verdict = kind.parse(frame, options);
            if let Ok(text) = text {
                assert_eq!(kind.parse_str(text, options), verdict);
            }
            let fields = verdict.as_ref().map(Message::fields).map_err(|error| *error);
            kind.parse_owned(Bytes::copy_from_slice(frame), options, |owned| {
                assert_eq!(owned, fields);
            });
            match &verdict {
                Ok(message) => is_a_message(&oracle, message),
                Err(error) => is_an_error(&oracle, frame, options.limits, error),
            }
        }
    }
    for kind in Kind::ALL {
        if let Err(error) = kind.parse(frame, ParseOptions::default()) {
            answers_itself(&error);
        }
        let limits = Limits::new().with_max_bytes(frame.len().wrapping_sub(1));
        let too_large = kind.parse(frame, limits.into()).is_err_and(|error| error.is_too_large());
        assert_eq!(too_large, !frame.is_empty());
    }
}

fn is_a_message(oracle: &Oracle<'_>, message: &Message<'_>) {
    assert!(oracle.is_json);
    let Some(members) = &oracle.members else { return };
    let Fields { action, event, channel_name, request_id, payload } = message.fields();
    let strings = [
        ("action", action),
        ("event", event),
        ("channelName", channel_name),
        ("requestId", request_id),
    ];
    for (key, ours) in strings {
        let theirs: String = serde_json::from_str(members[key].get()).unwrap();
        assert_eq!(ours, theirs, "{key}");
    }
    assert_eq!(payload.as_str(), members.get("payload").map_or("{}", |payload| payload.get()));
    if let Message::Channel(ChannelEvent::Presence(message)) = message {
        is_presence(message);
    }
}

fn is_presence(message: &PresenceMessage<'_>) {
    let payload = message.payload();
    let Ok(members) = payload.decode::<Members>() else { return };
    assert_eq!(message.changed().as_str(), members["changed"].get());
    let theirs: Vec<&RawValue> = serde_json::from_str(members["presence"].get()).unwrap();
    let theirs = theirs.into_iter().map(RawValue::get);
    assert!(message.presence().map(|item| item.as_str()).eq(theirs));
}

fn is_an_error(oracle: &Oracle<'_>, frame: &[u8], limits: Limits, error: &ValidationError) {
    let offset = error.offset();
    assert!(offset <= frame.len());
    assert!(!error.is_too_large());
    match error.kind() {
        ErrorKind::Utf8 => assert_eq!(oracle.text.unwrap_err().valid_up_to(), offset),
        ErrorKind::Json => assert!(oracle.text.is_ok() && !oracle.is_json, "{error}"),
        ErrorKind::Limit => {
            assert!(oracle.text.is_ok());
            let opening = |byte: &&u8| matches!(byte, b'{' | b'[');
            assert!(opening(&&frame[offset]));
            assert!(frame[..=offset].iter().filter(opening).count() > limits.max_depth);
        }
        _ => assert!(oracle.is_json, "{error}"),
    }
}

/// The answer to a bad frame is a valid frame, with the reason in it.
fn answers_itself(error: &ValidationError) {
    let text = error.to_string();
    assert_eq!(text, format!("{}: {}", error.path(), error.message()));
    let frame = Frame::invalid_message_as("r-1", error);
    let answer = ChannelEvent::parse(frame.json()).unwrap();
    assert_eq!(answer.payload().get("error").unwrap().as_str().unwrap(), text);
}
