//! Recorded frames of real servers and clients: every frame parses, and those of the Python server are
//! reproduced byte for byte.

use std::collections::BTreeMap;

use pondwire::error::{ErrorKind, PondError};
use pondwire::{ChannelEvent, ClientMessage, Frame, PresenceEvent, ValidationError};
use pondwire_test_support::from_hex;
use serde_json::Value;

/// The reason why a recorded frame does not parse; each is counted exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    /// The record keeps only the first and last bytes of a long frame.
    Shortened,
    /// The Python server repeats `NaN` and `Infinity`, which are not JSON.
    NotANumber,
    /// The JavaScript and Go servers repeat a request id with half of a surrogate pair.
    LoneSurrogate,
    /// The Go server accepts and repeats a payload that is not an object.
    NoObject,
    /// The Go server repeats payloads nested deeper than 127 brackets.
    Depth,
}
use Exception::{Depth, LoneSurrogate, NoObject, NotANumber, Shortened};

fn records() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/frames.json")).unwrap();
    file["records"].as_array().unwrap().clone()
}

/// The text messages that clients received in one recorded step.
fn received(record: &Value) -> Vec<&str> {
    let clients = record["received"].as_object().into_iter().flat_map(|clients| clients.values());
    let messages = clients.filter_map(Value::as_array).flatten();
    messages.filter_map(|message| message["text"].as_str()).collect()
}

/// The documents of a message: the Go server sends several in one, on a line each.
fn documents(message: &str) -> impl Iterator<Item = &str> {
    message.split('\n').filter(|line| !line.trim().is_empty())
}

fn is_shortened(text: &str) -> bool {
    text.ends_with(" chars)")
}

fn exception(text: &str, error: &ValidationError) -> Exception {
    match error.kind() {
        ErrorKind::Json if text.contains("NaN") || text.contains("Infinity") => NotANumber,
        ErrorKind::Unicode => LoneSurrogate,
        ErrorKind::Limit => Depth,
        ErrorKind::Schema if error.to_string() == "payload: Expected object" => NoObject,
        _ => panic!("{error}: {text}"),
    }
}

#[test]
fn every_frame_sent_by_a_server_parses() {
    let (mut read, mut exceptions) = (0, BTreeMap::new());
    for record in records() {
        for text in received(&record).into_iter().flat_map(documents) {
            if is_shortened(text) {
                *exceptions.entry(Shortened).or_insert(0) += 1;
                continue;
            }
            match ChannelEvent::parse(text.as_bytes()) {
                Ok(event) => {
                    read += 1;
                    let Ok(expected) = serde_json::from_str::<Value>(text) else {
                        assert!(text.contains("\\ud800"), "{text}");
                        continue;
                    };
                    assert_eq!(event.action().as_str(), expected["action"]);
                    assert_eq!(event.event(), expected["event"]);
                    assert_eq!(event.channel_name(), expected["channelName"]);
                    assert_eq!(event.request_id(), expected["requestId"]);
                    assert_eq!(event.payload().decode::<Value>().unwrap(), expected["payload"]);
                }
                Err(error) => *exceptions.entry(exception(text, &error)).or_insert(0) += 1,
            }
        }
    }
    println!("every_frame_that_a_server_sent: {read} read, exceptions {exceptions:?}");
    assert!(read >= 200);
    let expected = [(Shortened, 5), (NotANumber, 2), (LoneSurrogate, 1), (NoObject, 3), (Depth, 1)];
    assert_eq!(exceptions.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn frames_sent_by_clients_are_judged_as_the_javascript_server_judged_them() {
    let (mut judged, mut exceptions) = (0, BTreeMap::new());
    for record in records().iter().filter(|record| record["server"] == "js_head") {
        let frame = match (record["sent"].as_str(), record["sent_binary_hex"].as_str()) {
            (Some(text), _) if is_shortened(text) => continue,
            (Some(text), _) => text.as_bytes().to_vec(),
            (None, Some(hex)) => from_hex(hex),
            (None, None) => continue,
        };
        // It answers invalid JSON and schema errors with status 500.
        let refused = received(record).iter().any(|text| {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            answer["event"] == "INVALID_MESSAGE" && answer["payload"]["status"] == 500
        });
        match ClientMessage::parse(&frame) {
            Ok(_) => assert!(!refused, "{record}"),
            Err(error) if refused => assert!(error.kind() != ErrorKind::Unicode, "{record}"),
            Err(error) => {
                let rule = exception(&String::from_utf8_lossy(&frame), &error);
                *exceptions.entry(rule).or_insert(0) += 1;
            }
        }
        judged += 1;
    }
    println!("frames_sent_by_clients: {judged} judged, exceptions {exceptions:?}");
    assert!(judged >= 40);
    assert_eq!(exceptions.into_iter().collect::<Vec<_>>(), [(LoneSurrogate, 1)]);
}

#[test]
fn frames_of_the_python_server_are_reproduced_byte_for_byte() {
    let mut same = 0;
    for record in records().iter().filter(|record| record["server"] == "python") {
        for text in received(record) {
            let Ok(event) = ChannelEvent::parse(text.as_bytes()) else { continue };
            let (channel, id) = (event.channel_name(), event.request_id());
            let again = Frame::new(event.action(), channel, event.event(), id, event.payload());
            assert_eq!(again.as_str(), text);
            if let ChannelEvent::Presence(presence) = &event {
                let all: Vec<_> = presence.presence().collect();
                let changed = presence.changed();
                let kind: PresenceEvent = presence.event();
                let again = Frame::presence(channel, kind, id, all.into_iter(), changed);
                assert_eq!(again.as_str(), text);
            }
            same += 1;
        }
    }
    println!("what_the_python_server_sends: {same} frames");
    assert!(same >= 50);
}

#[test]
fn every_recorded_server_sent_event_holds_a_message() {
    let mut events = 0;
    for record in records() {
        let Some(body) = record["body"].as_str() else { continue };
        for data in body.lines().filter_map(|line| line.strip_prefix("data:")) {
            if let Err(error) = ChannelEvent::parse(data.as_bytes()) {
                panic!("{error}: {data}");
            }
            events += 1;
        }
    }
    println!("every_recorded_server_sent_event: {events} events");
    assert!(events >= 4);
}

/// The Go server's frame for a failed handler, with all of its fields; ours adds `details`.
#[test]
fn a_failed_handler_gives_the_fields_of_the_go_servers_frame() {
    let records = records();
    let record = records.iter().find(|record| record["id"] == "frames/go/11").unwrap();
    let recorded: Value = serde_json::from_str(received(record)[0]).unwrap();
    let frame = Frame::error(&PondError::internal("/chat/42", "kaboom"), "d-3");
    let mut ours: Value = serde_json::from_str(frame.as_str()).unwrap();
    assert_eq!(ours["payload"].as_object_mut().unwrap().remove("details"), Some(Value::Null));
    assert_eq!(ours, recorded);
}
