//! Frames byte for byte, and back through the views.

use std::collections::BTreeMap;

use bytes::Bytes;
use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::PresencePayload;
use pondwire::{
    ChannelEvent, ClientAction, ClientMessage, Frame, Limits, Payload, PresenceEvent, ServerAction,
    ValidationError, message,
};
use pondwire_test_support::{Random, cases, workload_frames};

fn payload(json: &str) -> Payload<'_> {
    Payload::from_json(json).unwrap()
}

#[test]
fn the_named_frames_byte_for_byte() {
    let error: ValidationError = ClientMessage::parse(b"nope").unwrap_err();
    let user = payload(r#"{"id":"u1"}"#);
    let frames = [
        (
            Frame::connect("r", "u", "c"),
            r#"{"action":"CONNECT","event":"CONNECTION","channelName":"GATEWAY","requestId":"r","payload":{"id":"u","connectionId":"c"}}"#,
        ),
        (
            Frame::acknowledge("/chat/42", "j"),
            r#"{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/chat/42","requestId":"j","payload":{}}"#,
        ),
        (
            Frame::unauthorized("/chat/42", "d", 403, "go away"),
            r#"{"action":"SYSTEM","event":"UNAUTHORIZED","channelName":"/chat/42","requestId":"d","payload":{"code":403,"message":"go away"}}"#,
        ),
        (
            Frame::error(&PondError::internal("/chat/42", "kaboom"), "d-3"),
            r#"{"action":"SYSTEM","event":"INTERNAL_ERROR","channelName":"/chat/42","requestId":"d-3","payload":{"code":500,"message":"kaboom","temporary":false,"details":null}}"#,
        ),
        (
            Frame::error(
                &PondError::new("a\nb", 1 << 40)
                    .unwrap()
                    .temporary()
                    .with_details(serde_json::json!({"in": ["x\r\n"]}))
                    .with_cause("password=1"),
                "\"",
            ),
            r#"{"action":"SYSTEM","event":"INTERNAL_ERROR","channelName":"GATEWAY","requestId":"\"","payload":{"code":1099511627776,"message":"a\nb","temporary":true,"details":{"in":["x\r\n"]}}}"#,
        ),
        (
            Frame::invalid_message_as(
                "r",
                &ValidationError::of_item("payload.tags", 2, "Expected string"),
            ),
            r#"{"action":"ERROR","event":"INVALID_MESSAGE","channelName":"GATEWAY","requestId":"r","payload":{"error":"payload.tags.2: Expected string","code":"INVALID_MESSAGE","message":"payload.tags.2: Expected string","status":400}}"#,
        ),
        (
            Frame::not_found("/x", "n", "no such channel"),
            r#"{"action":"SYSTEM","event":"NOT_FOUND","channelName":"/x","requestId":"n","payload":{"code":404,"message":"no such channel"}}"#,
        ),
        (
            Frame::exit_acknowledge("/chat/42", "l"),
            r#"{"action":"SYSTEM","event":"EXIT_ACKNOWLEDGE","channelName":"/chat/42","requestId":"l","payload":{}}"#,
        ),
        (
            Frame::evicted("/chat/42", "r", "say \"no\""),
            r#"{"action":"SYSTEM","event":"EVICTED","channelName":"/chat/42","requestId":"r","payload":{"reason":"say \"no\""}}"#,
        ),
        (
            Frame::invalid_message_as("r", &error),
            r#"{"action":"ERROR","event":"INVALID_MESSAGE","channelName":"GATEWAY","requestId":"r","payload":{"error":"wireMessage: Invalid JSON: invalid literal at byte 1","code":"INVALID_MESSAGE","message":"wireMessage: Invalid JSON: invalid literal at byte 1","status":400}}"#,
        ),
        (
            Frame::reply("/chat/42", "echo", "e-1", payload(r#"{"z":1,"a":1.0}"#)),
            r#"{"action":"SYSTEM","event":"echo","channelName":"/chat/42","requestId":"e-1","payload":{"z":1,"a":1.0}}"#,
        ),
        (
            Frame::broadcast("/chat/42", "say", "b", payload("{\"a\":\r\n\t[1e400]}")),
            "{\"action\":\"BROADCAST\",\"event\":\"say\",\"channelName\":\"/chat/42\",\"requestId\":\"b\",\"payload\":{\"a\":  \t[1e400]}}",
        ),
        (
            Frame::presence("/c", PresenceEvent::Leave, "p", [user, user].into_iter(), user),
            r#"{"action":"PRESENCE","event":"LEAVE","channelName":"/c","requestId":"p","payload":{"presence":[{"id":"u1"},{"id":"u1"}],"changed":{"id":"u1"}}}"#,
        ),
        (
            Frame::presence("/c", PresenceEvent::Leave, "p", std::iter::empty(), user),
            r#"{"action":"PRESENCE","event":"LEAVE","channelName":"/c","requestId":"p","payload":{"presence":[],"changed":{"id":"u1"}}}"#,
        ),
        (
            Frame::client(ClientAction::JoinChannel, "/c", "JOIN_CHANNEL", "j", Payload::EMPTY),
            r#"{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/c","requestId":"j","payload":{}}"#,
        ),
    ];
    for (frame, json) in &frames {
        assert_eq!(frame.as_str(), *json);
        let client = ClientMessage::parse(json.as_bytes()).is_ok();
        assert!(client || ChannelEvent::parse(json.as_bytes()).is_ok());
    }
}

#[cfg(feature = "uuid")]
#[test]
fn an_oversized_message_is_answered_with_413() {
    let limits = Limits::new().with_max_bytes(3);
    let error = ClientMessage::parse_with(b"four", limits).unwrap_err();
    assert!(Frame::invalid_message(&error).as_str().contains(r#""status":413"#));
    let ids: Vec<_> = (0..2).map(|_| Frame::invalid_message(&error).as_str().to_owned()).collect();
    assert_ne!(ids[0], ids[1], "each with a request id of its own");
}

/// An independent reader of RFC 6455 heads.
fn unframe(wire: &[u8]) -> &[u8] {
    assert_eq!(wire[0], 0x81, "one final text frame");
    let (length, at) = match wire[1] {
        126 => (usize::from(u16::from_be_bytes([wire[2], wire[3]])), 4),
        127 => (u64::from_be_bytes(wire[2..10].try_into().unwrap()) as usize, 10),
        short => (usize::from(short), 2),
    };
    assert_eq!(wire.len(), at + length);
    &wire[at..]
}

#[test]
fn every_form_holds_the_same_document_at_every_length() {
    let lengths = (0..400).chain(65_300..65_600).chain([1 << 20]);
    for length in lengths {
        let json = format!(r#"{{"t":"{}"}}"#, "x".repeat(length));
        let Ok(spliced) = Payload::from_json(&json) else {
            assert!(json.len() > 1 << 20);
            continue;
        };
        let frame = Frame::broadcast("/c", "e", "r", spliced);
        let document = frame.json();
        assert_eq!(unframe(frame.wire()), document);
        assert_eq!(frame.as_str().as_bytes(), document);
        assert_eq!(frame.json_bytes(), document);
        assert_eq!(frame.wire_bytes(), frame.wire());
        let sse = frame.sse();
        let data = sse.strip_prefix(b"data: ").unwrap().strip_suffix(b"\n\n").unwrap();
        assert_eq!(data, document);
        assert_eq!(frame.sse_bytes(), sse);
        assert!(!document.contains(&b'\n'));
    }
}

#[test]
fn bytes_share_the_memory_and_outlive_the_frame() {
    let frame = Frame::broadcast("/c", "e", "r", Payload::EMPTY);
    let (wire, json, sse) = (frame.wire_bytes(), frame.json_bytes(), frame.sse_bytes());
    assert_eq!(wire.as_ptr(), frame.wire().as_ptr());
    assert_eq!(json.as_ptr(), frame.json().as_ptr());
    assert_eq!(sse.as_ptr(), frame.sse().as_ptr());
    let expected = frame.as_str().to_owned();
    drop(frame);
    drop(wire);
    assert_eq!(json, expected);
    assert_eq!(sse, format!("data: {expected}\n\n"));
    assert_eq!(size_of::<Frame>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Frame>>(), size_of::<usize>());
}

fn text(random: &mut Random) -> String {
    let characters = ['a', '/', '"', '\\', '\n', '\0', '\u{1f}', '\u{7f}', 'é', '\u{2028}', '😀'];
    let most = *random.pick(&[40, 40, 40, 300]);
    (0..random.below(most)).map(|_| *random.pick(&characters)).collect()
}

#[test]
fn every_sent_frame_parses_back_to_the_same_message() {
    let mut random = Random::from_env("whatever_is_sent");
    let frames = workload_frames(1500);
    for _ in 0..cases(30_000) {
        let (channel, event, id) = (text(&mut random), text(&mut random), text(&mut random));
        let received = random.pick(&frames);
        let Ok(message) = ClientMessage::parse(received) else { continue };
        let frame = Frame::broadcast(&channel, &event, &id, message.payload());
        let back = ChannelEvent::parse(frame.json()).unwrap();
        assert_eq!(back.action(), ServerAction::Broadcast);
        assert_eq!(
            (back.event(), back.channel_name(), back.request_id()),
            (&*event, &*channel, &*id)
        );
        assert_eq!(back.payload(), message.payload(), "spliced byte for byte");
        let typed: serde_json::Value = message.payload().decode().unwrap();
        let again =
            Frame::serialize(ServerAction::Broadcast, &channel, &event, &id, &typed).unwrap();
        let back = ChannelEvent::parse(again.json()).unwrap();
        assert_eq!(back.payload().decode::<serde_json::Value>().unwrap(), typed);
        // A view serializes to the very bytes of a frame.
        assert_eq!(serde_json::to_string(&back).unwrap(), again.as_str());
    }
}

#[test]
fn every_built_message_parses_back_to_the_same_message() {
    let mut random = Random::from_env("built_messages");
    for _ in 0..cases(3000) {
        let mut text = || text(&mut random);
        let object = |text: String| OwnedPayload::encode(&BTreeMap::from([(text, 1)])).unwrap();
        let mut client = message::Client {
            action: ClientAction::Broadcast,
            event: text(),
            channel_name: text(),
            request_id: text(),
            payload: object(text()),
        };
        client.channel_name.push('7');
        let frame = Frame::from(&client);
        assert_eq!(message::Client::from(&ClientMessage::parse(frame.json()).unwrap()), client);
        let kept = ClientMessage::parse_owned(frame.json_bytes(), Limits::default()).unwrap();
        assert_eq!(message::Client::from(&kept), client);
        let server = message::Server {
            action: ServerAction::System,
            event: text(),
            channel_name: text(),
            request_id: text(),
            payload: OwnedPayload::default(),
        };
        let presence = message::Presence {
            event: PresenceEvent::Update,
            channel_name: text(),
            request_id: text(),
            payload: PresencePayload {
                presence: vec![object(text()), OwnedPayload::default()],
                changed: object(text()),
            },
        };
        for event in [server.into(), presence.into()] {
            let event: message::ChannelEvent = event;
            let frame = Frame::from(&event);
            let back = ChannelEvent::parse(frame.json()).unwrap();
            assert_eq!(message::ChannelEvent::from(&back), event);
            assert_eq!(serde_json::to_string(&event).unwrap(), frame.as_str());
            assert_eq!(
                serde_json::from_str::<message::ChannelEvent>(frame.as_str()).unwrap(),
                event
            );
        }
    }
}

#[test]
fn a_typed_payload_must_be_an_object() {
    for not_object in [serde_json::json!([1]), serde_json::json!("x"), serde_json::json!(null)] {
        let error =
            Frame::serialize(ServerAction::Broadcast, "/c", "e", "r", &not_object).unwrap_err();
        assert_eq!(error.to_string(), "a payload must be a JSON object");
    }
    let raw = serde_json::value::RawValue::from_string("{\"a\":\n1}".to_owned()).unwrap();
    let frame = Frame::serialize(ServerAction::Broadcast, "/c", "e", "r", &raw).unwrap();
    assert!(frame.as_str().ends_with("{\"a\": 1}}"), "no raw newline leaves");
}

#[test]
fn a_typed_payload_may_build_frames_while_it_serializes() {
    struct Nested;
    impl serde::Serialize for Nested {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let inner = Frame::connect("r", "u", "c");
            serializer.collect_map([("inner", inner.as_str())])
        }
    }
    let frame = Frame::serialize(ServerAction::System, "/c", "e", "r", &Nested).unwrap();
    let message = ChannelEvent::parse(frame.json()).unwrap();
    assert!(message.payload().get("inner").unwrap().as_str().unwrap().contains("CONNECTION"));
}

/// A thread that ends may still publish, from the destructors of its thread-local values.
#[test]
fn frames_are_built_and_payloads_decoded_while_a_thread_ends() {
    struct Leaves(std::sync::mpsc::Sender<(Frame, serde_json::Value)>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            let text = format!(r#"{{"fill":"{}"}}"#, "x".repeat(2000));
            let decoded = Payload::from_json(&text).unwrap().decode().unwrap();
            self.0.send((Frame::evicted("/c", "r", "bye"), decoded)).unwrap();
        }
    }
    thread_local! {
        static HELD: std::cell::OnceCell<Leaves> = const { std::cell::OnceCell::new() };
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        HELD.with(|held| assert!(held.set(Leaves(sender)).is_ok()));
        // Scratch memory created after this value is destroyed before it.
        Frame::connect("r", "u", "c")
    });
    let frame = thread.join().unwrap();
    assert!(frame.as_str().contains("CONNECTION"));
    let (frame, decoded) = receiver.recv().unwrap();
    assert!(frame.as_str().ends_with(r#""payload":{"reason":"bye"}}"#));
    assert_eq!(decoded["fill"].as_str().map(str::len), Some(2000));
}

#[test]
fn owned_messages_have_the_fields_of_the_view() {
    let mut random = Random::from_env("owned_messages");
    let frames = workload_frames(2000);
    for _ in 0..500 {
        let frame = random.pick(&frames);
        let mut buffer = b"garbage before".to_vec();
        buffer.extend_from_slice(frame);
        buffer.extend_from_slice(b"garbage behind");
        let buffer = Bytes::from(buffer).slice(14..14 + frame.len());
        let view = ChannelEvent::parse(frame);
        match ChannelEvent::parse_owned(buffer.clone(), Limits::default()) {
            Ok(owned) => {
                let view = view.unwrap();
                let detached = owned.clone().detach();
                assert_ne!(detached.frame().as_ptr(), buffer.as_ptr());
                assert_eq!(owned.frame().as_ptr(), buffer.as_ptr());
                assert_eq!(owned, detached);
                for message in [&owned, &detached] {
                    assert_eq!(message.action(), view.action());
                    assert_eq!(message.event(), view.event());
                    assert_eq!(message.channel_name(), view.channel_name());
                    assert_eq!(message.request_id(), view.request_id());
                    assert_eq!(message.payload(), view.payload());
                }
                let json = serde_json::to_string(&owned).unwrap();
                assert_eq!(json, serde_json::to_string(&view).unwrap());
            }
            Err(error) => assert_eq!(error, view.unwrap_err()),
        }
    }
    let escaped = br#"{"action":"BROADCAST","event":"\u0041","channelName":"\n","requestId":"r","payload":{}}"#;
    let owned = ClientMessage::parse_owned(Bytes::from_static(escaped), Limits::default()).unwrap();
    assert_eq!((owned.event(), owned.channel_name()), ("A", "\n"));
    let bad = ClientMessage::parse_owned(Bytes::from_static(b"{\"\xff\"}"), Limits::default());
    assert_eq!(bad.unwrap_err(), ClientMessage::parse(b"{\"\xff\"}").unwrap_err());
    fn is_send<T: Send + Sync + 'static>(_: &T) {}
    is_send(&owned);
}

/// Replacing the payload behind an envelope gives the same frame as encoding a new one.
#[test]
fn with_payload_equals_encoding_a_new_frame() {
    let names = ["", "/chat/42", "é\"\\\n\u{1}", &"long ".repeat(40)];
    // With heads of 2, 4 and 10 bytes.
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000));
    let payloads = ["{}", r#"{"a":[1,{"b":"\u00e9"}]}"#, "{\r\n\"a\" :\n1}", &large];
    for name in names {
        for from in payloads {
            let frame = Frame::broadcast(name, name, name, payload(from));
            assert_eq!(frame.payload_str(), from.replace(['\n', '\r'], " "));
            for to in payloads {
                let expected = Frame::broadcast(name, name, name, payload(to));
                let changed = frame.with_payload(payload(to));
                assert_eq!(changed.wire(), expected.wire());
                assert_eq!(changed.payload_str(), expected.payload_str());
                assert_eq!(changed.with_payload(payload(from)).wire(), frame.wire());
                let value: serde_json::Value = serde_json::from_str(to).unwrap();
                let typed = frame.with_serialized(&value).unwrap();
                assert_eq!(typed.payload_str(), value.to_string());
            }
            assert!(frame.with_serialized(&[1]).is_err(), "no object");
        }
    }
    let user = payload(r#"{"id":"u1"}"#);
    let users = [user; 3].into_iter();
    let presence = Frame::presence("/c", PresenceEvent::Update, "r", users, user);
    let found = Payload::from_json(presence.payload_str()).unwrap();
    assert_eq!(presence.with_payload(found).wire(), presence.wire());
    assert_eq!(Frame::connect("r", "u", "c").payload_str(), r#"{"id":"u","connectionId":"c"}"#);
}
