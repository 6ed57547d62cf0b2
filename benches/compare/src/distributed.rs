//! The messages between nodes: read, written, and turned into a frame for a node's own users.

use std::hint::black_box;

use pondwire::distributed::{Envelope, Message, Origin, UserMessage};
use pondwire::protocol::Recipients;
use pondwire::{ClientMessage, Frame, Payload};
use serde_json::json;
use serde_json::value::Value;

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::payloads::{self, size_name};
use crate::report::Section;

const SIZES: [usize; 3] = [149, 1024, 10_138];
const EVENT: &str = "message";
const MESSAGE_ID: &str = "477b1117-a3e4-4951-bdae-741e4ba3a679";
const TIMESTAMP: u64 = 1_795_410_477_577;
const ORIGIN: Origin<'_> =
    Origin { node_id: "node-a", endpoint_name: "api/socket", channel_name: CHANNEL };

fn user_message<'a>(payload: Payload<'a>) -> Message<'a> {
    Message::UserMessage(UserMessage {
        from_user_id: "u1".into(),
        event: EVENT.into(),
        payload,
        request_id: REQUEST_ID.into(),
        recipients: Recipients::AllExceptSender,
    })
}

fn payload(json: &str) -> Payload<'_> {
    Payload::from_json(json).expect("an object")
}

/// The published message for a payload of `size` bytes.
fn published(size: usize) -> Vec<u8> {
    ORIGIN.encode(MESSAGE_ID, TIMESTAMP, &user_message(payload(&payloads::json(size))))
}

/// The short messages between nodes: a heartbeat and a change of presence.
fn short() -> [(&'static str, Vec<u8>); 2] {
    let heartbeat = Message::NodeHeartbeat { node_id: "node-a".into() };
    let presence = payload(r#"{"status":"away","name":"ann"}"#);
    let update = Message::PresenceUpdate { user_id: "u1".into(), presence };
    [
        ("heartbeat", Origin::heartbeat("node-a").encode(MESSAGE_ID, TIMESTAMP, &heartbeat)),
        ("presence update", ORIGIN.encode(MESSAGE_ID, TIMESTAMP, &update)),
    ]
}

fn rows(plan: &Plan, what: &str, row: impl Fn(String, usize) -> Row) -> Vec<Row> {
    let named = SIZES.map(|size| (format!("{what} {}", size_name(size)), size));
    let wanted = named.into_iter().filter(|(name, _)| plan.wants(name));
    wanted.map(|(name, size)| row(name, size)).collect()
}

pub fn decode(plan: &Plan) -> Section {
    let mut rows = rows(plan, "receive", |name, size| decode_row(plan, name, &published(size)));
    for (name, bytes) in short() {
        if plan.wants(name) {
            rows.push(decode_row(plan, name.to_owned(), &bytes));
        }
    }
    Section {
        title: "Receive a message of another node, ns",
        size: "bytes",
        note: "A message with a payload of that size, a heartbeat, a change of presence. pondwire: \
               `Envelope::parse`, all fields checked. serde_json: to a `Value`, as the existing \
               Rust implementation does, and the same fields checked.",
        rows,
    }
}

fn decode_row(plan: &Plan, name: String, bytes: &[u8]) -> Row {
    let by_pondwire = || Envelope::parse(black_box(bytes)).expect("an envelope");
    let by_serde_json = || {
        let value: Value = serde_json::from_slice(black_box(bytes)).expect("JSON");
        assert!(is_envelope(&value));
        value
    };
    assert_eq!(by_serde_json()["type"], by_pondwire().kind());
    let contenders =
        vec![Contender::new("pondwire", by_pondwire), Contender::new("serde_json", by_serde_json)];
    plan.race(name, 1, bytes.len(), contenders)
}

fn is_envelope(value: &Value) -> bool {
    let strings = ["type", "messageId", "sourceNodeId", "endpointName", "channelName"];
    value["protocol"] == "pondsocket.distributed"
        && value["version"] == 1
        && value["timestamp"].is_u64()
        && strings.iter().all(|key| value[key].is_string())
        && match value["type"].as_str() {
            Some("USER_MESSAGE") => {
                ["fromUserId", "event", "requestId"].iter().all(|key| value[key].is_string())
                    && value["payload"].is_object()
                    && value["recipientDescriptor"] == "ALL_EXCEPT_SENDER"
            }
            Some("PRESENCE_UPDATE") => value["userId"].is_string() && value["presence"].is_object(),
            _ => value["nodeId"].is_string(),
        }
}

pub fn encode(plan: &Plan) -> Section {
    Section {
        title: "Write a message for other nodes, ns",
        size: "bytes",
        note: "Sizes are the payload's. pondwire: `Origin::encode` with the received payload. \
               serde_json: `json!` with the decoded payload, then `to_string`, as the existing \
               Rust implementation does. The floor: one allocation and a copy of the document.",
        rows: rows(plan, "publish", |name, size| encode_row(plan, name, size)),
    }
}

fn encode_row(plan: &Plan, name: String, size: usize) -> Row {
    let raw = payloads::json(size);
    let message = user_message(payload(&raw));
    let decoded: Value = serde_json::from_str(&raw).expect("JSON");
    let by_pondwire = || ORIGIN.encode(MESSAGE_ID, TIMESTAMP, black_box(&message));
    let by_serde_json = || {
        let value = json!({
            "protocol": "pondsocket.distributed",
            "version": 1,
            "type": "USER_MESSAGE",
            "messageId": MESSAGE_ID,
            "sourceNodeId": ORIGIN.node_id,
            "endpointName": ORIGIN.endpoint_name,
            "channelName": ORIGIN.channel_name,
            "timestamp": TIMESTAMP,
            "fromUserId": "u1",
            "event": EVENT,
            "payload": black_box(&decoded),
            "requestId": REQUEST_ID,
            "recipientDescriptor": "ALL_EXCEPT_SENDER",
        });
        value.to_string()
    };
    let document = by_pondwire();
    let value = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
    assert_eq!(value(&document), value(by_serde_json().as_bytes()));
    let contenders = vec![
        Contender::new("pondwire", by_pondwire),
        Contender::new("serde_json", by_serde_json),
        Contender::new("alloc + memcpy", || black_box(&document).clone()),
    ];
    plan.race(name, 1, size, contenders)
}

pub fn relay(plan: &Plan) -> Section {
    Section {
        title: "A message in, a frame for this node's users out, ns",
        size: "bytes",
        note: "Sizes are the payload's. Local: `ClientMessage::parse` of what a client sent and \
               `Frame::broadcast`. Remote: `Envelope::parse` of what another node published, \
               `accept` and `UserMessage::frame`.",
        rows: rows(plan, "relay", |name, size| relay_row(plan, name, size)),
    }
}

fn relay_row(plan: &Plan, name: String, size: usize) -> Row {
    let raw = payloads::json(size);
    let sent = format!(
        r#"{{"action":"BROADCAST","channelName":"{CHANNEL}","requestId":"{REQUEST_ID}","event":"{EVENT}","payload":{raw}}}"#
    );
    let published = published(size);
    let local = || {
        let message = ClientMessage::parse(black_box(sent.as_bytes())).expect("a message");
        Frame::broadcast(message.channel_name(), message.event(), REQUEST_ID, message.payload())
    };
    let remote = || {
        let envelope = Envelope::parse(black_box(&published)).expect("an envelope");
        match envelope.accept("node-b", CHANNEL) {
            Ok(Message::UserMessage(message)) => message.frame(envelope.channel_name()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(local(), remote());
    let contenders = vec![Contender::new("local", local), Contender::new("remote", remote)];
    plan.race(name, 1, size, contenders)
}
