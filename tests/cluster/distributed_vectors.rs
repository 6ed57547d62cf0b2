//! Every recorded envelope of real nodes, parsed and encoded again, and every recorded verdict of the
//! Python node. `Exception` names the rules that differ.

use std::collections::BTreeMap;

use pondwire::distributed::{Envelope, HEARTBEAT, Ignored, Message, Topics};
use serde_json::{Map, Value, json};

use Exception::{
    AbsentData, DescriptorRequired, EmptyMeansNobody, ExactTypes, ExtraKeys, PayloadIsObject,
    RequiredOfBody,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    /// A field that a node omitted is written as `{}` or `[]`.
    AbsentData,
    /// Keys that only one implementation has (`presenceEvent`) are not written again.
    ExtraKeys,
    /// All eight keys of an envelope, with exact types: Python takes `1.0` and `true` for the
    /// version and does not look at the timestamp.
    ExactTypes,
    /// Python takes a missing descriptor for all users.
    DescriptorRequired,
    /// Python takes `[]` for all users.
    EmptyMeansNobody,
    /// Python passes an array on as a payload; no client reads such a frame.
    PayloadIsObject,
    /// Python invents a string for one that is missing or of another type.
    RequiredOfBody,
}

fn records() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/distributed.json")).unwrap();
    file["records"].as_array().unwrap().clone()
}

fn of_kind(kind: &str) -> Vec<Value> {
    records().into_iter().filter(|record| record["kind"] == kind).collect()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_else(|| panic!("{key} of {}", record["id"]))
}

fn count(exceptions: &mut BTreeMap<Exception, usize>, rule: Exception) {
    *exceptions.entry(rule).or_insert(0) += 1;
}

/// Adds the members that a node may omit, with their defaults.
fn complete(mut recorded: Map<String, Value>) -> Map<String, Value> {
    let defaults: &[(&str, Value)] = match recorded["type"].as_str().unwrap() {
        "USER_MESSAGE" => &[("payload", json!({}))],
        "USER_JOINED" | "USER_GET_RESPONSE" => &[("presence", json!({})), ("assigns", json!({}))],
        "PRESENCE_UPDATE" => &[("presence", json!({}))],
        "STATE_RESPONSE" => &[("users", json!([]))],
        _ => &[],
    };
    for (key, value) in defaults {
        if recorded.get(*key).is_none_or(Value::is_null) {
            recorded.insert((*key).to_owned(), value.clone());
        }
    }
    recorded
}

#[test]
fn every_recorded_envelope_round_trips() {
    let (mut exceptions, mut kinds, mut exact) = (BTreeMap::new(), BTreeMap::new(), 0);
    let records = of_kind("envelope");
    for record in &records {
        let (id, bytes) = (text(record, "id"), text(record, "bytes"));
        let envelope = Envelope::parse(bytes.as_bytes()).unwrap_or_else(|e| panic!("{id}: {e}"));
        let message = envelope.message().unwrap_or_else(|| panic!("{id}: {}", envelope.kind()));
        assert_eq!(envelope.kind(), text(record, "type"), "{id}");
        *kinds.entry(message.kind()).or_insert(0) += 1;
        if let Some(topic) = record["topic"].as_str() {
            let topics = Topics::default();
            let own = match message {
                Message::NodeHeartbeat { .. } => topics.heartbeat(),
                _ => topics.channel(envelope.endpoint_name(), envelope.channel_name()),
            };
            assert_eq!(own, topic, "{id}");
        }
        let written =
            envelope.origin().encode(envelope.message_id(), envelope.timestamp(), message);
        assert_eq!(written.len(), written.capacity(), "{id}: measured exactly");
        assert_eq!(Envelope::parse(&written).as_ref(), Ok(&envelope), "{id}");
        if written == bytes.as_bytes() {
            exact += 1;
            continue;
        }
        assert_ne!(record["impl"], "python_0.0.7", "{id}: Python's, byte for byte");
        let recorded: Map<String, Value> = serde_json::from_str(bytes).unwrap();
        let mut completed = complete(recorded.clone());
        if completed != recorded {
            count(&mut exceptions, AbsentData);
        }
        if completed.remove("presenceEvent").is_some() {
            count(&mut exceptions, ExtraKeys);
        }
        assert_eq!(serde_json::from_slice::<Map<_, _>>(&written).unwrap(), completed, "{id}");
    }
    let summary = records.len();
    println!("{summary} envelopes, {exact} written byte for byte, exceptions {exceptions:?}");
    assert_eq!(exceptions, BTreeMap::from([(AbsentData, 2), (ExtraKeys, 2)]), "by rule");
    assert_eq!(kinds.len(), 13, "every type was recorded");
}

#[test]
fn the_frame_equals_what_users_of_another_node_received() {
    let mut frames = 0;
    let received = of_kind("client_frame_during_that_script");
    for record in of_kind("envelope") {
        let envelope = Envelope::parse(text(&record, "bytes").as_bytes()).unwrap();
        let Some(Message::UserMessage(message)) = envelope.message() else { continue };
        let frame = message.frame(envelope.channel_name());
        for other in received.iter().filter(|other| other["impl"] == record["impl"]) {
            let theirs: Value = serde_json::from_str(text(other, "frame")).unwrap();
            if theirs["requestId"] != *message.request_id || theirs["action"] != "BROADCAST" {
                continue;
            }
            let ours: Value = serde_json::from_str(frame.as_str()).unwrap();
            for key in ["action", "event", "channelName", "requestId", "payload"] {
                assert_eq!(ours[key], theirs[key], "{}", other["id"]);
            }
            if record["impl"] == "python_0.0.7" {
                assert_eq!(frame.as_str(), text(other, "frame"), "byte for byte");
            }
            frames += 1;
        }
    }
    println!("{frames} frames of users");
    assert!(frames > 10);
}

/// Python's verdict on an envelope against this crate's.
#[test]
fn verdicts_equal_pythons_except_for_the_named_rules() {
    let mut exceptions = BTreeMap::new();
    for record in of_kind("envelope_decode") {
        let (name, input) = (text(&record, "name"), text(&record, "input"));
        let verdict = Envelope::parse(input.as_bytes());
        let theirs = &record["event"];
        let Ok(envelope) = &verdict else {
            if record["envelope_ok"] == false || record.get("decode_raises").is_some() {
                continue;
            }
            let rule = match verdict.unwrap_err().path().to_string().as_str() {
                "version" | "timestamp" => ExactTypes,
                "recipientDescriptor" => DescriptorRequired,
                "payload" => PayloadIsObject,
                "requestId" | "userId" => RequiredOfBody,
                path => panic!("{name}: refused for {path}"),
            };
            count(&mut exceptions, rule);
            continue;
        };
        assert_eq!(record["envelope_ok"], true, "{name}: Python refuses");
        let Some(message) = envelope.message() else {
            assert!(theirs.is_null(), "{name}");
            assert_eq!(envelope.accept("own", "/c"), Err(Ignored::UnknownType));
            continue;
        };
        match message {
            Message::UserMessage(message) if theirs.is_object() => {
                assert_eq!(theirs["event"], *message.event, "{name}");
                assert_eq!(theirs["fromUserId"], *message.from_user_id, "{name}");
                assert_eq!(theirs["payload"], message.payload.decode::<Value>().unwrap(), "{name}");
                if !message.request_id.is_empty() {
                    assert_eq!(theirs["requestId"], *message.request_id, "{name}");
                }
                if !message.recipients.includes("anyone", "u") {
                    assert_eq!(theirs["recipientDescriptor"], "ALL_USERS", "{name}");
                    count(&mut exceptions, EmptyMeansNobody);
                }
            }
            Message::PresenceUpdate { user_id, presence } => {
                assert_eq!(theirs["userId"], **user_id, "{name}");
                let presence: Value = presence.decode().unwrap();
                assert_eq!(theirs["payload"]["changed"], presence, "{name}");
            }
            Message::AssignsUpdate { user_id, .. }
            | Message::EvictUser { user_id, .. }
            | Message::UserRemove { user_id } => {
                assert_eq!(theirs["payload"]["userId"], **user_id, "{name}");
            }
            _ => {}
        }
    }
    println!("exceptions {exceptions:?}");
    let expected = [
        (ExactTypes, 3),
        (DescriptorRequired, 2),
        (EmptyMeansNobody, 1),
        (PayloadIsObject, 1),
        (RequiredOfBody, 2),
    ];
    assert_eq!(exceptions, BTreeMap::from(expected), "exceptions by rule");
}

#[test]
fn topics_equal_those_of_every_node() {
    for record in of_kind("topics") {
        let topics = Topics::default();
        assert_eq!(topics.channel("/api/socket", "/chat/42"), text(&record, "channel"));
        assert_eq!(topics.heartbeat(), text(&record, "heartbeat"));
        if let Some(channel) = record["channel_ns"].as_str() {
            assert_eq!(Topics::new("p", "ns").channel("api/socket", "/chat/42"), channel);
        }
    }
    assert!(Topics::default().heartbeat().ends_with(HEARTBEAT));
}

/// The other records are not messages between nodes: they are of the codec for events within a Python or
/// Rust server, which are never sent.
#[test]
fn no_kind_of_record_is_overlooked() {
    let mut kinds = BTreeMap::new();
    for record in records() {
        *kinds.entry(text(&record, "kind").to_owned()).or_insert(0) += 1;
    }
    let judged = ["envelope", "envelope_decode", "client_frame_during_that_script", "topics"];
    let others = ["pubsub_decode", "pubsub_encode"];
    assert!(kinds.keys().all(|kind| judged.contains(&&**kind) || others.contains(&&**kind)));
    println!("{kinds:?}");
}
