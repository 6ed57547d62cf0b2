//! Any bytes give a message between nodes or an error; a message can be written and read again, its
//! event becomes a good frame, and `serde_json` agrees on the envelope's fields.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondwire::distributed::{Envelope, Ignored, Message};
use pondwire::{ChannelEvent, ErrorKind, Limits};
use serde_json::Value;
use serde_json::value::RawValue;

/// What is written may be longer than what was read: a body that lacks data gets it as `{}`.
const ANY_SIZE: Limits = Limits { max_bytes: usize::MAX, max_depth: 127 };

fuzz_target!(|bytes: &[u8]| {
    let is_json = serde_json::from_slice::<&RawValue>(bytes).is_ok();
    match Envelope::parse(bytes) {
        Ok(envelope) => {
            assert!(is_json);
            if let Ok(document) = serde_json::from_slice::<Value>(bytes) {
                same_fields(&envelope, &document);
            }
            written_again(&envelope);
        }
        Err(error) => {
            assert!(error.offset() <= bytes.len());
            match error.kind() {
                ErrorKind::Utf8 => assert!(std::str::from_utf8(bytes).is_err()),
                ErrorKind::Json => assert!(!is_json),
                ErrorKind::Limit => {}
                _ => assert!(is_json, "{error}"),
            }
        }
    }
});

fn same_fields(envelope: &Envelope<'_>, document: &Value) {
    assert_eq!(document["protocol"], "pondsocket.distributed");
    assert_eq!(document["version"].as_u64(), Some(1));
    assert_eq!(document["type"], envelope.kind());
    assert_eq!(document["messageId"], envelope.message_id());
    assert_eq!(document["sourceNodeId"], envelope.source_node_id());
    assert_eq!(document["endpointName"], envelope.endpoint_name());
    assert_eq!(document["channelName"], envelope.channel_name());
    assert_eq!(document["timestamp"].as_u64(), Some(envelope.timestamp()));
    let (own, channel) = (envelope.source_node_id(), envelope.channel_name());
    assert_eq!(envelope.accept(own, channel), Err(Ignored::OwnNode));
    let other = format!("{own}x");
    assert_eq!(envelope.accept(&other, channel).ok(), envelope.message());
}

fn written_again(envelope: &Envelope<'_>) {
    let Some(message) = envelope.message() else { return };
    let (id, timestamp) = (envelope.message_id(), envelope.timestamp());
    let written = envelope.origin().encode(id, timestamp, message);
    assert_eq!(written.len(), written.capacity());
    assert!(!written.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    let again = Envelope::parse_with(&written, ANY_SIZE).unwrap();
    let read = again.message().unwrap();
    assert_eq!(read.kind(), message.kind());
    assert_eq!(again.origin().encode(id, timestamp, read), written);
    if let Message::UserMessage(message) = message {
        let frame = message.frame(envelope.channel_name());
        let parsed = ChannelEvent::parse_with(frame.json(), ANY_SIZE).unwrap();
        assert_eq!(parsed.request_id(), message.request_id);
        let receivers = message.recipients.to_receivers();
        for user in ["", "u1", &message.from_user_id] {
            let sender = &message.from_user_id;
            assert_eq!(receivers.includes(user, sender), message.recipients.includes(user, sender));
        }
    }
}
