//! Envelopes against a plain restatement of the rules over `serde_json`: every field missing, of every
//! type, duplicated, in any order; mutated bytes; a node's own messages; too large and too deep ones.

use std::borrow::Cow;

use pondwire::distributed::{
    AssignsChange, Envelope, HEARTBEAT, Ignored, Message, Origin, Topics, User, UserMessage, Users,
};
use pondwire::error::ErrorKind;
use pondwire::protocol::{DistributedMessageType, Recipients, UserIds};
use pondwire::{Limits, Payload, ValidationError};
use pondwire_test_support::{Random, cases, mutate};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The type that a member of an envelope must have.
#[derive(Clone, Copy)]
enum Rule {
    Exactly(&'static str),
    /// The integer 1.
    One,
    Unsigned,
    Text,
    /// A string, missing or null.
    TextOrNothing,
    /// An object, missing or null.
    ObjectOrNothing,
    /// `assigns` an object, or else `key` a string, or neither.
    AssignsOrKey,
    Users,
    Descriptor,
}

use Rule::{
    AssignsOrKey, Descriptor, Exactly, ObjectOrNothing, One, Text, TextOrNothing, Unsigned,
};

const HEAD: &[(&str, Rule)] = &[
    ("protocol", Exactly("pondsocket.distributed")),
    ("version", One),
    ("type", Text),
    ("messageId", Text),
    ("sourceNodeId", Text),
    ("endpointName", Text),
    ("channelName", Text),
    ("timestamp", Unsigned),
];

const BODIES: &[(&str, &[(&str, Rule)])] = &[
    ("STATE_REQUEST", &[("fromNode", TextOrNothing)]),
    ("STATE_RESPONSE", &[("users", Rule::Users)]),
    (
        "USER_JOINED",
        &[("userId", Text), ("presence", ObjectOrNothing), ("assigns", ObjectOrNothing)],
    ),
    ("USER_LEFT", &[("userId", Text)]),
    (
        "USER_MESSAGE",
        &[
            ("fromUserId", TextOrNothing),
            ("event", Text),
            ("payload", ObjectOrNothing),
            ("requestId", TextOrNothing),
            ("recipientDescriptor", Descriptor),
        ],
    ),
    ("PRESENCE_UPDATE", &[("userId", Text), ("presence", ObjectOrNothing)]),
    ("PRESENCE_REMOVED", &[("userId", Text)]),
    ("ASSIGNS_UPDATE", &[("userId", Text), ("assigns", AssignsOrKey)]),
    ("EVICT_USER", &[("userId", Text), ("reason", TextOrNothing)]),
    ("USER_REMOVE", &[("userId", Text)]),
    ("USER_GET_REQUEST", &[("userId", Text), ("requestId", Text), ("fromNode", TextOrNothing)]),
    (
        "USER_GET_RESPONSE",
        &[
            ("userId", Text),
            ("requestId", Text),
            ("assigns", ObjectOrNothing),
            ("presence", ObjectOrNothing),
        ],
    ),
    ("NODE_HEARTBEAT", &[("nodeId", TextOrNothing)]),
];

/// The path of the expected error, if the member breaks its rule.
fn breaks(object: &Map<String, Value>, key: &str, rule: Rule) -> Option<String> {
    let value = object.get(key);
    let some = value.filter(|value| !value.is_null());
    let wrong = |wrong: bool| wrong.then(|| key.to_owned());
    match rule {
        Exactly(text) => wrong(value.and_then(Value::as_str) != Some(text)),
        One => wrong(value.and_then(Value::as_u64) != Some(1)),
        Unsigned => wrong(value.and_then(Value::as_u64).is_none()),
        Text => wrong(!value.is_some_and(Value::is_string)),
        TextOrNothing => wrong(some.is_some_and(|value| !value.is_string())),
        ObjectOrNothing => wrong(some.is_some_and(|value| !value.is_object())),
        AssignsOrKey => match some {
            Some(assigns) => wrong(!assigns.is_object()),
            None => match object.get("key").filter(|key| !key.is_null()) {
                Some(key) => (!key.is_string()).then(|| "key".to_owned()),
                None => None,
            },
        },
        Descriptor => match value {
            Some(Value::String(name)) => wrong(!ChannelReceiverNames.contains(&&**name)),
            Some(Value::Array(ids)) => {
                let at = ids.iter().position(|id| !id.is_string())?;
                Some(format!("{key}.{at}"))
            }
            _ => wrong(true),
        },
        Rule::Users => match some {
            Some(Value::Array(users)) => {
                users.iter().enumerate().find_map(|(at, user)| broken_user(at, user))
            }
            Some(_) => wrong(true),
            None => None,
        },
    }
}

#[allow(non_upper_case_globals, reason = "a list of names")]
const ChannelReceiverNames: [&str; 2] = ["ALL_USERS", "ALL_EXCEPT_SENDER"];

fn broken_user(at: usize, user: &Value) -> Option<String> {
    let Some(user) = user.as_object() else { return Some(format!("users.{at}")) };
    let rules = [("id", Text), ("assigns", ObjectOrNothing), ("presence", ObjectOrNothing)];
    let broken = rules.into_iter().find_map(|(key, rule)| breaks(user, key, rule));
    broken.map(|key| format!("users.{at}.{key}"))
}

/// The path of the expected error; `None` for a valid envelope.
fn expected_error(document: &Value) -> Option<String> {
    let Some(object) = document.as_object() else { return Some("distributedMessage".to_owned()) };
    let broken =
        |rules: &[(&str, Rule)]| rules.iter().find_map(|(key, rule)| breaks(object, key, *rule));
    broken(HEAD).or_else(|| {
        let (_, body) = BODIES.iter().find(|(kind, _)| object["type"] == *kind)?;
        broken(body)
    })
}

/// Checks that both ways agree on these bytes. Returns whether they are an envelope.
fn judge(bytes: &[u8]) -> bool {
    let verdict = Envelope::parse(bytes);
    let shown = String::from_utf8_lossy(bytes);
    match &verdict {
        Ok(envelope) => {
            if let Ok(document) = serde_json::from_slice::<Value>(bytes) {
                assert_eq!(expected_error(&document), None, "{shown}");
                same_fields(envelope, document.as_object().unwrap(), &shown);
            }
            check_round_trip(envelope, &shown);
            true
        }
        Err(error) => {
            assert!(error.offset() <= bytes.len(), "{shown}");
            match error.kind() {
                ErrorKind::Schema => {
                    if let Ok(document) = serde_json::from_slice::<Value>(bytes) {
                        let path = error.path().to_string();
                        assert_eq!(expected_error(&document), Some(path), "{shown}");
                    }
                }
                // `serde_json` refuses it too.
                ErrorKind::Unicode => {
                    assert!(serde_json::from_slice::<Value>(bytes).is_err(), "{shown}");
                }
                ErrorKind::Limit => {}
                _ => assert!(serde_json::from_slice::<&RawValue>(bytes).is_err(), "{shown}"),
            }
            false
        }
    }
}

fn object_of(value: Option<&Value>) -> Value {
    value.filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}))
}

fn decoded(payload: Payload<'_>) -> Value {
    payload.decode().unwrap()
}

fn same_fields(envelope: &Envelope<'_>, object: &Map<String, Value>, shown: &str) {
    assert_eq!(object["messageId"], envelope.message_id(), "{shown}");
    assert_eq!(object["sourceNodeId"], envelope.source_node_id(), "{shown}");
    assert_eq!(object["endpointName"], envelope.endpoint_name(), "{shown}");
    assert_eq!(object["channelName"], envelope.channel_name(), "{shown}");
    assert_eq!(object["timestamp"], envelope.timestamp(), "{shown}");
    assert_eq!(object["type"], envelope.kind(), "{shown}");
    let known = DistributedMessageType::from_bytes(envelope.kind().as_bytes());
    assert_eq!(envelope.message().map(Message::kind), known, "{shown}");
    let is = |key: &str, text: &Cow<'_, str>| {
        let value = object.get(key).and_then(Value::as_str);
        assert_eq!(value.unwrap_or(if key == "fromUserId" { "CHANNEL" } else { "" }), text);
    };
    let holds = |key: &str, payload: &Payload<'_>| {
        assert_eq!(object_of(object.get(key)), decoded(*payload), "{key}: {shown}");
    };
    match envelope.message() {
        None => {}
        Some(Message::StateRequest { from_node }) => is("fromNode", from_node),
        Some(Message::StateResponse { users }) => same_users(*users, object.get("users")),
        Some(Message::UserJoined { user_id, presence, assigns }) => {
            is("userId", user_id);
            holds("presence", presence);
            holds("assigns", assigns);
        }
        Some(
            Message::UserLeft { user_id }
            | Message::PresenceRemoved { user_id }
            | Message::UserRemove { user_id },
        ) => is("userId", user_id),
        Some(Message::UserMessage(message)) => {
            is("fromUserId", &message.from_user_id);
            is("event", &message.event);
            is("requestId", &message.request_id);
            holds("payload", &message.payload);
            let theirs = object["recipientDescriptor"].to_string();
            let theirs: Recipients<'_> = serde_json::from_str(&theirs).unwrap();
            assert_eq!(message.recipients, theirs, "{shown}");
            let frame = message.frame(envelope.channel_name());
            let frame: Value = serde_json::from_str(frame.as_str()).unwrap();
            assert_eq!(frame["payload"], object_of(object.get("payload")), "{shown}");
        }
        Some(Message::PresenceUpdate { user_id, presence }) => {
            is("userId", user_id);
            holds("presence", presence);
        }
        Some(Message::AssignsUpdate { user_id, change }) => {
            is("userId", user_id);
            match change {
                AssignsChange::All(assigns) => holds("assigns", assigns),
                AssignsChange::One { key, value } => {
                    is("key", key);
                    let value: Value = serde_json::from_str(value.raw()).unwrap();
                    assert_eq!(object.get("value").unwrap_or(&Value::Null), &value, "{shown}");
                }
            }
        }
        Some(Message::EvictUser { user_id, reason }) => {
            is("userId", user_id);
            is("reason", reason);
        }
        Some(Message::UserGetRequest { user_id, request_id, from_node }) => {
            is("userId", user_id);
            is("requestId", request_id);
            is("fromNode", from_node);
        }
        Some(Message::UserGetResponse { user_id, request_id, assigns, presence }) => {
            is("userId", user_id);
            is("requestId", request_id);
            holds("assigns", assigns);
            holds("presence", presence);
        }
        Some(Message::NodeHeartbeat { node_id }) => is("nodeId", node_id),
    }
}

fn same_users(users: Users<'_>, theirs: Option<&Value>) {
    let theirs = theirs.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    assert_eq!(users.iter().count(), theirs.len());
    for (user, theirs) in users.iter().zip(theirs) {
        assert_eq!(theirs["id"], *user.id);
        assert_eq!(object_of(theirs.get("assigns")), decoded(user.assigns));
        assert_eq!(object_of(theirs.get("presence")), decoded(user.presence));
    }
}

/// Encoding a parsed envelope gives the same envelope again, of the measured size and on one line.
fn check_round_trip(envelope: &Envelope<'_>, shown: &str) {
    let Some(message) = envelope.message() else { return };
    let (id, timestamp) = (envelope.message_id(), envelope.timestamp());
    let written = envelope.origin().encode(id, timestamp, message);
    assert_eq!(written.len(), written.capacity(), "{shown}");
    assert!(!written.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "{shown}");
    let limits = Limits::new().with_max_bytes(usize::MAX);
    let again = Envelope::parse_with(&written, limits);
    let again = again.unwrap_or_else(|error| panic!("{error}: {shown}"));
    let message = again.message().unwrap_or_else(|| panic!("{shown}"));
    let twice = again.origin().encode(id, timestamp, message);
    assert_eq!(twice, written, "{shown}");
}

/// A valid envelope of every type and shape.
fn envelopes() -> Vec<Map<String, Value>> {
    let user = json!({"id": "u\u{1}é", "assigns": {"role": "host"}, "presence": {"s": [1]}});
    let bodies = [
        json!({"type": "STATE_REQUEST", "fromNode": "f538bb4a"}),
        json!({"type": "STATE_RESPONSE", "users": [user, {"id": "u2"}, {"id": "\"", "presence": null}]}),
        json!({"type": "STATE_RESPONSE"}),
        json!({"type": "USER_JOINED", "userId": "u1", "presence": {}, "assigns": {"a": 1}}),
        json!({"type": "USER_LEFT", "userId": "u1"}),
        json!({"type": "USER_MESSAGE", "fromUserId": "u1", "event": "say", "payload": {"text": "x\n"},
            "requestId": "r-1", "recipientDescriptor": ["u1", "u\\2", ""]}),
        json!({"type": "USER_MESSAGE", "event": "say", "recipientDescriptor": "ALL_EXCEPT_SENDER"}),
        json!({"type": "PRESENCE_UPDATE", "userId": "u1", "presence": {"status": "away"},
            "presenceEvent": "UPDATE", "presenceList": [{}]}),
        json!({"type": "PRESENCE_REMOVED", "userId": "u1"}),
        json!({"type": "ASSIGNS_UPDATE", "userId": "u1", "assigns": {"a": 1}, "key": null}),
        json!({"type": "ASSIGNS_UPDATE", "userId": "u1", "key": "a", "value": [1, {"b": null}]}),
        json!({"type": "EVICT_USER", "userId": "u1", "reason": "spam"}),
        json!({"type": "USER_REMOVE", "userId": "u1"}),
        json!({"type": "USER_GET_REQUEST", "userId": "u1", "requestId": "r", "fromNode": "b"}),
        json!({"type": "USER_GET_RESPONSE", "userId": "u1", "requestId": "r", "assigns": null,
            "presence": {"status": "away"}}),
        json!({"type": "NODE_HEARTBEAT", "nodeId": "a"}),
        json!({"type": "NEWER_THAN_THIS", "anything": [1]}),
    ];
    let complete = |body: Value| {
        let mut envelope = json!({
            "protocol": "pondsocket.distributed", "version": 1, "messageId": "m-1",
            "sourceNodeId": "node-a", "endpointName": "api/socket", "channelName": "/chat/42",
            "timestamp": 1_795_410_477_886_u64,
        });
        let object = envelope.as_object_mut().unwrap();
        object.extend(body.as_object().unwrap().clone());
        object.clone()
    };
    bodies.into_iter().map(complete).collect()
}

fn bytes_of(envelope: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(envelope).unwrap()
}

/// A value of each type, and values that are almost valid for a member.
fn values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("1"),
        json!("pondsocket.distributed"),
        json!("PONDSOCKET.DISTRIBUTED"),
        json!("ALL_USERS"),
        json!("all_users"),
        json!("CHANNEL"),
        json!([]),
        json!([1]),
        json!(["u1", null]),
        json!({}),
        json!({"a": 1}),
        json!([{}]),
        json!([{"id": 1}]),
        json!([{"id": "u1"}, []]),
        json!([{"id": "u1", "presence": []}]),
        json!([{"id": "u1", "assigns": "x"}]),
        json!([{"id": "u1", "assigns": null, "presence": {}}]),
    ];
    values.extend(DistributedMessageType::NAMES.iter().map(|name| json!(name)));
    values
}

#[test]
fn every_field_missing_and_of_every_type() {
    let (mut envelopes_seen, mut refused) = (0, 0);
    for envelope in envelopes() {
        assert!(judge(&bytes_of(&envelope)));
        let mut keys: Vec<String> = envelope.keys().cloned().collect();
        keys.extend(["key", "value", "userId", "users", "payload"].map(str::to_owned));
        for key in keys {
            let mut without = envelope.clone();
            without.remove(&key);
            let mut others = vec![without];
            others.extend(values().into_iter().map(|value| {
                let mut other = envelope.clone();
                other.insert(key.clone(), value);
                other
            }));
            for other in others {
                match judge(&bytes_of(&other)) {
                    true => envelopes_seen += 1,
                    false => refused += 1,
                }
            }
        }
    }
    println!("{envelopes_seen} envelopes, {refused} refused");
    assert!(envelopes_seen > 1000 && refused > 3000);
}

/// Go omits empty fields: which fields of each body may be missing and which may not. A missing field is
/// read as its empty value, and written again for nodes that require it.
#[test]
fn empty_fields_may_be_missing() {
    let bodies = [
        (json!({"type": "STATE_REQUEST", "fromNode": ""}), ""),
        (json!({"type": "STATE_RESPONSE", "users": []}), ""),
        (json!({"type": "USER_JOINED", "userId": "u", "presence": {}, "assigns": {}}), "userId"),
        (json!({"type": "USER_LEFT", "userId": "u"}), "userId"),
        (
            json!({"type": "USER_MESSAGE", "fromUserId": "CHANNEL", "event": "say", "payload": {},
                "requestId": "", "recipientDescriptor": "ALL_USERS"}),
            "event recipientDescriptor",
        ),
        (json!({"type": "PRESENCE_UPDATE", "userId": "u", "presence": {}}), "userId"),
        (json!({"type": "PRESENCE_REMOVED", "userId": "u"}), "userId"),
        (json!({"type": "ASSIGNS_UPDATE", "userId": "u", "assigns": {}}), "userId"),
        (json!({"type": "EVICT_USER", "userId": "u", "reason": ""}), "userId"),
        (json!({"type": "USER_REMOVE", "userId": "u"}), "userId"),
        (
            json!({"type": "USER_GET_REQUEST", "userId": "u", "requestId": "r", "fromNode": ""}),
            "userId requestId",
        ),
        (
            json!({"type": "USER_GET_RESPONSE", "userId": "u", "requestId": "r", "assigns": {},
                "presence": {}}),
            "userId requestId",
        ),
        (json!({"type": "NODE_HEARTBEAT", "nodeId": ""}), ""),
    ];
    assert_eq!(bodies.len(), DistributedMessageType::ALL.len());
    for (body, required) in bodies {
        let body = body.as_object().unwrap();
        let mut whole = envelopes()[0].clone();
        whole.remove("fromNode");
        whole.extend(body.clone());
        let bytes = bytes_of(&whole);
        let expected = Envelope::parse(&bytes).unwrap();
        let mut least = whole.clone();
        for key in body.keys().filter(|key| *key != "type") {
            let mut without = whole.clone();
            without.remove(key);
            let bytes = bytes_of(&without);
            if required.split(' ').any(|name| name == key) {
                let error = Envelope::parse(&bytes).unwrap_err();
                assert_eq!(error.to_string(), format!("{key}: Missing required field"));
                continue;
            }
            assert_eq!(Envelope::parse(&bytes).as_ref(), Ok(&expected), "without {key}");
            without.insert(key.clone(), Value::Null);
            let bytes = bytes_of(&without);
            assert_eq!(Envelope::parse(&bytes).as_ref(), Ok(&expected), "{key} is null");
            least.remove(key);
        }
        let bytes = bytes_of(&least);
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope, expected);
        let message = envelope.message().unwrap();
        let written =
            envelope.origin().encode(envelope.message_id(), envelope.timestamp(), message);
        let written: Map<String, Value> = serde_json::from_slice(&written).unwrap();
        assert_eq!(written, whole, "nothing is left out");
        if let Message::UserMessage(message) = message {
            let frame: Value = serde_json::from_str(message.frame("/chat/42").as_str()).unwrap();
            assert_eq!(frame["requestId"], "", "clients want one");
        }
    }
}

/// The error for each field of the envelope itself.
#[test]
fn errors_name_the_first_failing_field() {
    let good = &envelopes()[3];
    let error = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut changed = good.clone();
        change(&mut changed);
        Envelope::parse(&bytes_of(&changed)).unwrap_err().to_string()
    };
    for (key, _) in HEAD {
        let missing = error(&|envelope| drop(envelope.remove(*key)));
        assert_eq!(missing, format!("{key}: Missing required field"));
    }
    let wrong = |key: &'static str, value: Value| {
        error(&move |envelope| drop(envelope.insert(key.to_owned(), value.clone())))
    };
    let protocol = "protocol: Expected one of [pondsocket.distributed]";
    assert_eq!(wrong("protocol", json!("pondsocket")), protocol);
    assert_eq!(wrong("version", json!(2)), "version: Expected one of [1]");
    assert_eq!(wrong("version", json!(1.0)), "version: Expected one of [1]");
    assert_eq!(wrong("timestamp", json!(-1)), "timestamp: Expected unsigned integer");
    assert_eq!(wrong("sourceNodeId", json!(7)), "sourceNodeId: Expected string");
    assert_eq!(wrong("presence", json!([])), "presence: Expected object");
    let message = &envelopes()[5];
    let descriptor = |value: Value| {
        let mut changed = message.clone();
        changed.insert("recipientDescriptor".to_owned(), value);
        Envelope::parse(&bytes_of(&changed)).unwrap_err().to_string()
    };
    let expected = "recipientDescriptor: Expected one of [ALL_USERS, ALL_EXCEPT_SENDER, array]";
    assert_eq!(descriptor(json!("NOBODY")), expected);
    assert_eq!(descriptor(json!(null)), expected);
    assert_eq!(descriptor(json!(["a", 1])), "recipientDescriptor.1: Expected string");
    let state = br#"{"protocol":"pondsocket.distributed","version":1,"type":"STATE_RESPONSE","messageId":"","sourceNodeId":"","endpointName":"","channelName":"","timestamp":0,"users":[{"id":"a"},{"id":"\ud800"}]}"#;
    let error = Envelope::parse(state).unwrap_err();
    assert_eq!(error.to_string(), "users.1.id: Expected valid Unicode");
    assert_eq!(&state[error.offset()..][..8], br#""\ud800""#);
}

#[test]
fn accept_filters_messages_that_are_not_for_the_node() {
    let bytes = bytes_of(&envelopes()[4]);
    let envelope = Envelope::parse(&bytes).unwrap();
    let left = Message::UserLeft { user_id: "u1".into() };
    assert_eq!(envelope.accept("node-b", "/chat/42"), Ok(&left));
    assert_eq!(envelope.accept("node-a", "/chat/42"), Err(Ignored::OwnNode));
    assert_eq!(envelope.accept("node-a", "/chat/4"), Err(Ignored::OwnNode));
    assert_eq!(envelope.accept("node-b", "/chat/4"), Err(Ignored::OtherChannel));
    assert_eq!(envelope.accept("", "/chat/42"), Ok(&left));
    let unknown = bytes_of(envelopes().last().unwrap());
    let unknown = Envelope::parse(&unknown).unwrap();
    assert_eq!(unknown.accept("node-b", "/chat/42"), Err(Ignored::UnknownType));
    assert_eq!((unknown.message(), unknown.kind()), (None, "NEWER_THAN_THIS"));
}

#[test]
fn too_large_and_too_deep() {
    let bytes = bytes_of(&envelopes()[5]);
    let within = |max_bytes, max_depth| {
        Envelope::parse_with(
            &bytes,
            Limits::new().with_max_bytes(max_bytes).with_max_depth(max_depth),
        )
        .map(|_| ())
    };
    assert_eq!(within(bytes.len(), 2), Ok(()));
    assert!(within(bytes.len() - 1, 2).unwrap_err().is_too_large());
    assert_eq!(within(bytes.len(), 1).unwrap_err().kind(), ErrorKind::Limit);
    let mut large = envelopes()[5].clone();
    large.insert("event".to_owned(), json!("x".repeat(1 << 20)));
    assert!(Envelope::parse(&bytes_of(&large)).unwrap_err().is_too_large());
    for bracket in ["[", "{\"a\":", "{\"payload\":{\"a\":["] {
        let error = Envelope::parse(bracket.repeat(100_000).as_bytes()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit), "{error}");
    }
}

/// Keys in any order and duplicated, written with escapes, spread over lines.
#[test]
fn order_escapes_and_whitespace_do_not_matter() {
    let mut random = Random::from_env("order_escapes_and_whitespace_do_not_matter");
    for _ in 0..cases(20_000) {
        let envelope = random.pick(&envelopes()).clone();
        let mut members: Vec<(String, String)> = envelope
            .iter()
            .map(|(key, value)| (json!(key).to_string(), value.to_string()))
            .collect();
        for at in (1..members.len()).rev() {
            members.swap(at, random.below(at + 1));
        }
        if random.below(2) == 0 {
            let (key, _) = random.pick(&members).clone();
            let value = random.pick(&values()).to_string();
            members.insert(random.below(members.len() + 1), (key, value));
        }
        if random.below(2) == 0 {
            let at = random.below(members.len());
            let name = &members[at].0;
            members[at].0 = format!("\"\\u{:04x}{}", name.as_bytes()[1], &name[2..]);
        }
        let space = *random.pick(&["", " ", "\n", "\r\n\t "]);
        let body: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{space}{key}{space}:{space}{value}{space}"))
            .collect();
        judge(format!("{space}{{{}}}{space}", body.join(",")).as_bytes());
    }
}

#[test]
fn mutated_bytes() {
    let mut random = Random::from_env("mutated_bytes");
    let originals: Vec<Vec<u8>> = envelopes().iter().map(bytes_of).collect();
    let mut accepted = 0;
    let cases = cases(100_000);
    for _ in 0..cases {
        let original = random.pick(&originals);
        let bytes = mutate(&mut random, original);
        accepted += usize::from(judge(&bytes));
    }
    println!("{accepted} of {cases} are envelopes");
    for original in &originals {
        (0..original.len()).for_each(|end| assert!(!judge(&original[..end])));
    }
}

#[test]
fn encoded_messages_parse_to_the_same() -> Result<(), ValidationError> {
    let spread = Payload::from_json("{\"a\":\n[1,\r\n2]}")?;
    let ids = [Cow::Borrowed("a\"b"), Cow::Borrowed("é\n")];
    let users = [
        User { id: "u\u{0}".into(), assigns: spread, presence: Payload::EMPTY },
        User { id: "".into(), assigns: Payload::EMPTY, presence: spread },
    ];
    let mut messages = vec![
        Message::StateRequest { from_node: "\\".into() },
        Message::StateResponse { users: users[..].into() },
        Message::StateResponse { users: Users::from(&[][..]) },
        Message::UserJoined { user_id: "u".into(), presence: spread, assigns: spread },
        Message::UserLeft { user_id: "u".repeat(500).into() },
        Message::PresenceUpdate { user_id: "u".into(), presence: spread },
        Message::PresenceRemoved { user_id: "\u{1f}".repeat(500).into() },
        Message::AssignsUpdate { user_id: "u".into(), change: AssignsChange::All(spread) },
        Message::AssignsUpdate {
            user_id: "u".into(),
            change: AssignsChange::One { key: "a".into(), value: spread.get("a").unwrap() },
        },
        Message::EvictUser { user_id: "u".into(), reason: "\t".into() },
        Message::UserRemove { user_id: "u".into() },
        Message::UserGetRequest {
            user_id: "u".into(),
            request_id: "r".into(),
            from_node: "n".into(),
        },
        Message::UserGetResponse {
            user_id: "u".into(),
            request_id: "r".into(),
            assigns: spread,
            presence: Payload::EMPTY,
        },
        Message::NodeHeartbeat { node_id: "n".into() },
    ];
    let all_recipients = [
        Recipients::AllUsers,
        Recipients::AllExceptSender,
        Recipients::Users(ids[..].into()),
        Recipients::Users(UserIds::default()),
        Recipients::users(ids.to_vec()),
    ];
    for recipients in all_recipients {
        messages.push(Message::UserMessage(UserMessage {
            from_user_id: "u".into(),
            event: "e\"".into(),
            payload: spread,
            request_id: "".into(),
            recipients,
        }));
    }
    let origins = [
        Origin { node_id: "n\"", endpoint_name: "", channel_name: "/c\n" },
        Origin::heartbeat("n"),
    ];
    for origin in origins {
        for message in &messages {
            for (id, timestamp) in [("m", 0), ("é\\", u64::MAX)] {
                let written = origin.encode(id, timestamp, message);
                assert!(judge(&written));
                let read = Envelope::parse(&written)?;
                assert_eq!((read.message_id(), read.timestamp()), (id, timestamp));
                assert_eq!(read.origin(), origin);
                let again = read.message().expect("a known type");
                assert_eq!(origin.encode(id, timestamp, again), written);
                assert_eq!(again.kind(), message.kind());
            }
        }
    }
    Ok(())
}

#[test]
fn topics_strip_leading_slashes_of_endpoints_only() {
    let topics = Topics::default();
    for endpoint in ["api/:version/socket", "/api/:version/socket", "//api/:version/socket"] {
        let topic = topics.channel(endpoint, "//chat/*?[x]");
        assert_eq!(topic, "pondsocket:v1:default:api/:version/socket://chat/*?[x]");
    }
    assert_eq!(topics.heartbeat(), format!("pondsocket:v1:default:{HEARTBEAT}"));
}
