//! A frame is a correct WebSocket head and the requested document, and parses to the same fields.
//!
//! The input is `channelName FF event FF requestId FF payload`: FF occurs in no text, so seeds are
//! frames with other separators, and a mutation of one part leaves the others alone. A payload that
//! is not a JSON object is sent as a string in one.

use pondwire::{
    ChannelEvent, ClientAction, ClientMessage, Frame, Limits, Payload, PresenceEvent, ServerAction,
};
use serde_json::json;

/// The strings around a payload, and the limits in which their frame can be parsed again.
struct Header<'a> {
    channel_name: &'a str,
    event: &'a str,
    request_id: &'a str,
    limits: Limits,
}

pub fn check(data: &[u8]) {
    let mut parts = data.splitn(4, |&byte| byte == 0xFF).map(String::from_utf8_lossy);
    let [channel_name, event, request_id, json] =
        std::array::from_fn(|_| parts.next().unwrap_or_default());
    let wrapped = json!({ "text": json }).to_string();
    let payload = Payload::from_json(&json).or_else(|_| Payload::from_json(&wrapped)).unwrap();
    // Frames nest deeper than the payloads in them; the fast scan is for the default limit.
    let opening = payload.as_str().bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    let max_depth = if opening > 120 { 130 } else { 127 };
    let limits = Limits::new().with_max_depth(max_depth);
    let header =
        Header { channel_name: &channel_name, event: &event, request_id: &request_id, limits };

    plain(&header, payload);
    client(&header, payload);
    presence(&header, payload);
}

/// A payload as it is sent: raw newlines, which can only be whitespace, become spaces.
fn sent(payload: Payload<'_>) -> String {
    payload.as_str().replace(['\n', '\r'], " ")
}

/// The expected document, made with `serde_json`'s strings.
fn document(header: &Header<'_>, action: &str, event: &str, payload: &str) -> String {
    let Header { channel_name, request_id, .. } = header;
    let (event, channel_name, request_id) = (json!(event), json!(channel_name), json!(request_id));
    format!(
        r#"{{"action":"{action}","event":{event},"channelName":{channel_name},"requestId":{request_id},"payload":{payload}}}"#
    )
}

fn plain(header: &Header<'_>, payload: Payload<'_>) {
    let &Header { channel_name, event, request_id, limits } = header;
    let action = ServerAction::Broadcast;
    let frame = Frame::broadcast(channel_name, event, request_id, payload);
    is_ready_to_send(&frame, &document(header, action.as_str(), event, &sent(payload)));
    assert_eq!(Frame::serialize(action, channel_name, event, request_id, &payload).unwrap(), frame);

    let back = ChannelEvent::parse_with(frame.json(), limits).unwrap();
    assert_eq!((back.action(), back.event()), (action, event));
    assert_eq!((back.channel_name(), back.request_id()), (channel_name, request_id));
    assert_eq!(back.payload().as_str(), sent(payload));
    let relayed =
        Frame::broadcast(back.channel_name(), back.event(), back.request_id(), back.payload());
    assert_eq!(relayed, frame);
}

fn client(header: &Header<'_>, payload: Payload<'_>) {
    let &Header { channel_name, event, request_id, limits } = header;
    let action = ClientAction::ALL[payload.as_str().len() % ClientAction::ALL.len()];
    let frame = Frame::client(action, channel_name, event, request_id, payload);
    is_ready_to_send(&frame, &document(header, action.as_str(), event, &sent(payload)));
    let back = ClientMessage::parse_with(frame.json(), limits).unwrap();
    assert_eq!((back.action(), back.event()), (action, event));
    assert_eq!((back.channel_name(), back.request_id()), (channel_name, request_id));
    assert_eq!(back.payload().as_str(), sent(payload));
}

fn presence(header: &Header<'_>, changed: Payload<'_>) {
    let &Header { channel_name, request_id, limits, .. } = header;
    let event = PresenceEvent::ALL[request_id.len() % PresenceEvent::ALL.len()];
    // Sometimes so many that heads of all three lengths occur.
    let count = if channel_name.len() % 64 == 63 { 40 } else { channel_name.len() % 4 };
    let members = std::iter::repeat_n(changed, count);
    let frame = Frame::presence(channel_name, event, request_id, members, changed);
    let one = sent(changed);
    let list = vec![one.as_str(); count].join(",");
    let payload = format!(r#"{{"presence":[{list}],"changed":{one}}}"#);
    let action = ServerAction::Presence.as_str();
    is_ready_to_send(&frame, &document(header, action, event.as_str(), &payload));

    let back = ChannelEvent::parse_with(frame.json(), limits).unwrap();
    assert_eq!((back.channel_name(), back.request_id()), (channel_name, request_id));
    let ChannelEvent::Presence(back) = back else { panic!("{back:?} is a presence message") };
    assert_eq!(back.event(), event);
    assert_eq!(back.changed().as_str(), one);
    assert_eq!(back.presence().count(), count);
    assert!(back.presence().all(|member| member.as_str() == one));
}

/// All forms of the frame hold `document`, on one line, after the shortest head, as RFC 6455
/// requires.
fn is_ready_to_send(frame: &Frame, document: &str) {
    assert_eq!(frame.as_str(), document);
    assert!(!document.contains(['\n', '\r']));
    let (head, length) = match *frame.wire() {
        [0x81, 127, a, b, c, d, e, f, g, h, ..] => {
            (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        [0x81, 126, a, b, ..] => (4, u64::from(u16::from_be_bytes([a, b]))),
        [0x81, length @ 0..=125, ..] => (2, u64::from(length)),
        _ => panic!("no head of a text frame: {:?}", &frame.wire()[..10]),
    };
    let shortest = match document.len() {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    assert_eq!((head, length), (shortest, document.len() as u64));
    assert_eq!(&frame.wire()[head..], frame.json());
    assert_eq!(frame.json_bytes(), frame.json());
    assert_eq!(frame.sse(), format!("data: {document}\n\n").as_bytes());
}
