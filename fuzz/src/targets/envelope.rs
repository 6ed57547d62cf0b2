//! Any bytes give a message between nodes or an error; a message can be written and read again, its
//! event becomes a valid frame, and `serde_json` agrees on the envelope's fields.

use std::time::{Duration, Instant};

use pondwire::distributed::{
    Cluster, ClusterLimits, ClusterOptions, Effect, Envelope, Ignored, Message,
};
use pondwire::error::ErrorKind;
use pondwire::{ChannelEvent, Limits, Payload};
use serde_json::Value;
use serde_json::value::RawValue;

/// The written message may be longer than the read one: data that a body lacks is written as `{}`.
const ANY_SIZE: Limits = Limits::new().with_max_bytes(usize::MAX).with_max_depth(127);

pub fn check(bytes: &[u8]) {
    let is_json = serde_json::from_slice::<&RawValue>(bytes).is_ok();
    match Envelope::parse(bytes) {
        Ok(envelope) => {
            assert!(is_json);
            if let Ok(document) = serde_json::from_slice::<Value>(bytes) {
                same_fields(&envelope, &document);
            }
            written_again(&envelope);
            acted_upon(bytes, &envelope);
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
}

/// A node handles the message twice, within bounds, and keeps nothing once its own user has left.
fn acted_upon(bytes: &[u8], envelope: &Envelope<'_>) {
    let limits = ClusterLimits::new().with_nodes(1).with_users_per_node(2).with_bytes(600);
    let options = ClusterOptions::new().with_limits(limits);
    let now = Instant::now();
    let mut cluster = Cluster::new("own", options, now, 0);
    let channel = cluster.channel(envelope.endpoint_name(), envelope.channel_name());
    cluster.join(&channel, "u1", Payload::EMPTY, now);
    for _ in 0..2 {
        cluster.receive(channel.topic(), bytes, now).unwrap();
        let stats = cluster.stats();
        assert!(stats.nodes <= 1 && stats.users <= 2 && stats.bytes <= 600, "{stats:?}");
    }
    cluster.resync(now);
    cluster.tick(now + Duration::from_secs(60));
    assert!(cluster.leave(&channel, "u1", now));
    while let Some(effect) = cluster.poll() {
        if let Effect::Publish { bytes, .. } = effect {
            assert!(Envelope::parse_with(&bytes, ANY_SIZE).unwrap().message().is_some());
        }
    }
    let stats = cluster.stats();
    assert_eq!((stats.users, stats.bytes), (0, 0));
}

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
        let owned = message.recipients.clone().into_owned();
        for user in ["", "u1", &message.from_user_id] {
            let sender = &message.from_user_id;
            assert_eq!(owned.includes(user, sender), message.recipients.includes(user, sender));
        }
    }
}
