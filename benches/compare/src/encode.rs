//! Encoding a broadcast whose payload is the raw text that a client sent.

use std::hint::black_box;

use pondsocket_common::{ServerAction, ServerMessage, message_to_json};
use pondwire::{ClientMessage, Frame};
use serde_json::value::{RawValue, Value};
use sonic_rs::LazyValue;

use crate::bench::{Contender, Plan, Row};
use crate::payloads::{self, size_name};
use crate::peers::envelope::{Action, Envelope};
use crate::report::Section;

pub const CHANNEL: &str = "/chat/42";
const EVENT: &str = "message";
pub const REQUEST_ID: &str = "2a86025d-97f2-4a45-aed9-e47663e86538";

pub fn section(plan: &Plan) -> Section {
    let rows = [149, 1024, 10_138]
        .map(|size| (format!("encode {}", size_name(size)), size))
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, size)| row(plan, name, size))
        .collect();
    Section {
        size: "bytes",
        title: "Encode, ns per broadcast",
        note: "Sizes are the payload's. pondwire: `Frame::broadcast` from a parsed message, the \
               WebSocket head included. serde_json and sonic-rs: the struct with the raw payload \
               to a `Vec`. pondsocket-common: its own message of `serde_json::Value`s, built \
               beforehand, to a `String`. The floor: one allocation and a copy of the document.",
        rows,
    }
}

fn row(plan: &Plan, name: String, size: usize) -> Row {
    let raw = payloads::json(size);
    let document =
        serde_json::to_string(&envelope(EVENT, json::<&RawValue>(&raw))).expect("encodes");
    let message = ClientMessage::parse(document.as_bytes()).expect("a client may send it");
    let raw_value = envelope(EVENT, json::<&RawValue>(&raw));
    let lazy_value = envelope(EVENT, sonic_rs::from_str::<LazyValue<'_>>(&raw).expect("JSON"));
    let upstream = ServerMessage {
        action: ServerAction::Broadcast,
        event: EVENT.to_owned(),
        channel_name: CHANNEL.to_owned(),
        request_id: REQUEST_ID.to_owned(),
        payload: json(&raw),
    };

    let by_pondwire =
        || Frame::broadcast(CHANNEL, EVENT, REQUEST_ID, black_box(&message).payload());
    let by_upstream = || message_to_json(black_box(&upstream)).expect("encodes");
    let by_serde_json = || serde_json::to_vec(black_box(&raw_value)).expect("encodes");
    let by_sonic_rs = || sonic_rs::to_vec(black_box(&lazy_value)).expect("encodes");

    let expected: Value = json(&document);
    assert_eq!(json::<Value>(&text(by_pondwire().json())), expected);
    assert_eq!(json::<Value>(&by_upstream()), expected);
    assert_eq!(text(&by_serde_json()), document);
    assert_eq!(text(&by_sonic_rs()), document);

    let contenders = vec![
        Contender::new("pondwire", by_pondwire),
        Contender::new("pondsocket-common", by_upstream),
        Contender::new("serde_json", by_serde_json),
        Contender::new("sonic-rs", by_sonic_rs),
        Contender::new("alloc + memcpy", || black_box(document.as_bytes()).to_vec()),
    ];
    plan.race(name, 1, size, contenders)
}

/// A broadcast.
pub fn envelope<P>(event: &str, payload: P) -> Envelope<'_, P> {
    Envelope {
        action: Action::Broadcast,
        event: event.into(),
        channel_name: CHANNEL.into(),
        request_id: REQUEST_ID.into(),
        payload,
    }
}

fn json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> T {
    serde_json::from_str(text).expect("JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
