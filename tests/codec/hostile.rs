//! Hostile input: each gives an error or a view, in little time and on a small stack.

use std::thread;

use pondwire::protocol::Pattern;
use pondwire::{
    ChannelEvent, ClientMessage, Limits, Payload, PresenceMessage, ValidationError, message,
};
use serde::de::IgnoredAny;

const STACK: usize = 64 * 1024;

/// Runs on a thread whose stack would overflow with any recursion over the input.
fn on_small_stack<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

fn with_payload(payload: &str) -> String {
    format!(
        r#"{{"action":"BROADCAST","event":"e","channelName":"/c","requestId":"r","payload":{payload}}}"#
    )
}

const BIG: Limits = Limits::new().with_max_bytes(1 << 26).with_max_depth(1 << 24);

fn parse(frame: &str, limits: Limits) -> Result<usize, ValidationError> {
    ClientMessage::parse_with(frame.as_bytes(), limits)
        .map(|message| message.payload().as_str().len())
}

#[test]
fn nesting_is_refused_at_the_limit_and_costs_no_stack_above_it() {
    let nested = |depth: usize| {
        with_payload(&format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 2), "]".repeat(depth - 2)))
    };
    on_small_stack(|| {
        assert!(parse(&nested(127), Limits::default()).is_ok());
        let frame = nested(128);
        let error = parse(&frame, Limits::default()).unwrap_err();
        // The envelope's and the payload's brace are two, so the 126th of the rest is the 128th.
        let at = frame.find('[').unwrap() + 125;
        let text = format!("wireMessage: Nesting exceeds 127 levels at byte {at}");
        assert_eq!((error.to_string(), error.offset()), (text, at));
        assert!(parse(&nested(5000), Limits::default()).is_err());
        let deep = nested(1_000_000);
        assert_eq!(parse(&deep, BIG).unwrap(), deep.len() - with_payload("").len());
        let message = ClientMessage::parse_with(deep.as_bytes(), BIG).unwrap();
        let mut value = message.payload().get("a").unwrap();
        for _ in 0..50 {
            value = value.index(0).unwrap();
        }
        assert!(message.payload().decode::<serde_json::Value>().is_err());
        assert!(value.decode::<serde_json::Value>().is_err());
        // A value that is not read costs no stack.
        assert!(message.payload().decode::<IgnoredAny>().is_ok());
        assert!(serde_json::to_string(&message).is_ok());
        assert!(format!("{message:?}").len() < 1000);
    });
}

#[test]
fn owned_messages_and_patterns_cost_no_stack() {
    let deep = with_payload(&format!("{}1{}", r#"{"a":"#.repeat(1_000_000), "}".repeat(1_000_000)));
    let open = r#"{"payload":"#.repeat(1_000_000);
    let (slashes, encoded) = ("/a".repeat(1 << 20), "/%2F".repeat(1 << 20));
    on_small_stack(|| {
        let error = serde_json::from_str::<message::Client>(&deep).unwrap_err();
        assert!(error.to_string().starts_with("wireMessage: Message exceeds 1048576 bytes"));
        assert!(serde_json::from_str::<message::ChannelEvent>(&open).is_err());
        let pattern = Pattern::new(&slashes).unwrap();
        assert!(pattern.matches(&slashes).is_some() && pattern.matches(&encoded).is_none());
        let pattern = Pattern::new("/:a/*/:b").unwrap();
        let found = pattern.matches(&encoded).unwrap();
        assert_eq!((found.param("a"), found.param("b")), (Some("/"), Some("/")));
        let wildcard = found.wildcard().unwrap();
        assert!(wildcard.len() == 2 * (1 << 20) - 5 && wildcard.bytes().all(|byte| byte == b'/'));
    });
}

#[test]
fn a_shallow_part_of_a_deep_payload_decodes() {
    #[derive(serde::Deserialize)]
    struct OnlyC {
        c: u8,
    }
    let deep = format!("{}{}", "[".repeat(150), "]".repeat(150));
    let frame = format!(
        r#"{{"action":"PRESENCE","event":"JOIN","channelName":"","requestId":"","payload":{{"presence":[{{"a":{deep}}},{{"b":2}}],"changed":{{"id":1}}}}}}"#
    );
    let limits = Limits::new().with_max_depth(500);
    let message = PresenceMessage::parse_with(frame.as_bytes(), limits).unwrap();
    let decodes = |payload: Payload<'_>| payload.decode::<serde_json::Value>().is_ok();
    assert!(decodes(message.changed()));
    assert_eq!(message.presence().map(decodes).collect::<Vec<_>>(), [false, true]);
    // A value may have 127 levels of brackets of its own, wherever it stands; an ignored value any number.
    for (depth, reads) in [(127, true), (128, false)] {
        let array = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let json = format!(r#"{{"a":{array},"b":{deep},"c":1}}"#);
        let payload = Payload::from_json_with(&json, limits).unwrap();
        let value = payload.get("a").unwrap();
        assert_eq!(value.decode::<serde_json::Value>().is_ok(), reads, "{depth}");
        assert_eq!(payload.decode::<OnlyC>().unwrap().c, 1);
    }
}

#[test]
fn unclosed_brackets_are_refused_where_they_exceed_the_limit() {
    for open in ["[", "{\"a\":", "[{\"a\":[", "{\"payload\":["] {
        let frame = open.repeat((1 << 20) / open.len());
        let error = on_small_stack(|| parse(&frame, Limits::default()).unwrap_err());
        assert!(error.to_string().contains("Nesting exceeds 127"), "{error}");
        let error = on_small_stack(|| parse(&frame, BIG).unwrap_err());
        assert_eq!(error.offset(), frame.len(), "{error}");
    }
}

#[test]
fn large_single_tokens_are_read_once() {
    let mib = 1 << 20;
    let tokens = [
        format!(r#"{{"a":"{}"}}"#, r"\n".repeat(mib / 2)),
        format!(r#"{{"a":"{}"}}"#, r"\ud800".repeat(mib / 6)),
        format!(r#"{{"{}":1}}"#, r"\u0061".repeat(mib / 6)),
        format!(r#"{{"a":{}}}"#, "9".repeat(mib)),
        format!(r#"{{"a":-0.{}e+{}}}"#, "0".repeat(mib / 2), "9".repeat(mib / 2)),
        format!(r#"{{"a":0.{}1e{}}}"#, "0".repeat(mib / 2), mib / 2),
        format!(r#"{{"a":9007199254740993{}1e-{}}}"#, "0".repeat(mib / 2), mib / 2 + 1),
        format!(r#"{{"a":{}1}}"#, " \n\r\t".repeat(mib / 4)),
        format!(r#"{{"a":[{}1]}}"#, "1,".repeat(mib / 2)),
        format!(r#"{{"a":[{}[]]}}"#, "{},".repeat(mib / 3)),
    ];
    for payload in tokens {
        on_small_stack(|| {
            assert_eq!(parse(&with_payload(&payload), BIG).unwrap(), payload.len());
            if let Some(value) = Payload::from_json_with(&payload, BIG).unwrap().get("a") {
                let number = value.decode::<f64>().ok();
                assert_eq!(number.map(f64::to_bits), value.as_f64().map(f64::to_bits));
            }
            let payload = Payload::from_json(&payload[..payload.len().min(mib)]);
            // Cut to a MiB it is malformed, but never worse than that.
            if let Ok(payload) = payload {
                assert!(payload.get("zzz").is_none());
            }
        });
    }
}

#[test]
fn a_hundred_thousand_keys() {
    let keys: Vec<String> = (0..100_000).map(|i| format!(r#""key{i}":{i}"#)).collect();
    let payload = format!("{{{}}}", keys.join(","));
    on_small_stack(|| {
        let frame = with_payload(&payload);
        let message = ClientMessage::parse_with(frame.as_bytes(), BIG).unwrap();
        assert_eq!(message.payload().get("key99999").unwrap().as_i64(), Some(99_999));
        assert_eq!(message.payload().members().count(), 100_000);
    });
    // The same as unknown keys of the envelope, and as duplicates of one field.
    let frame = format!(r#"{{{},"event":7}}"#, keys.join(","));
    let error = on_small_stack(|| parse(&frame, BIG).unwrap_err());
    assert_eq!(error.to_string(), "event: Expected string");
    let frame = format!(r#"{{{}"event":"x"}}"#, r#""event":"y","#.repeat(100_000));
    let error = on_small_stack(|| parse(&frame, BIG).unwrap_err());
    assert_eq!(error.to_string(), "requestId: Missing required field");
}

#[test]
fn size_is_checked_first_and_inclusively() {
    let mib = 1 << 20;
    let empty = with_payload(r#"{"v":""}"#).len();
    let exact = with_payload(&format!(r#"{{"v":"{}"}}"#, "x".repeat(mib - empty)));
    assert_eq!(exact.len(), mib);
    assert!(ClientMessage::parse(exact.as_bytes()).is_ok());
    let over = with_payload(&format!(r#"{{"v":"{}"}}"#, "x".repeat(mib - empty + 1)));
    let error = ClientMessage::parse(over.as_bytes()).unwrap_err();
    assert!(error.is_too_large());
    assert_eq!(error.to_string(), "wireMessage: Message exceeds 1048576 bytes");
    assert!(ClientMessage::parse(&vec![0xFF; mib + 1]).unwrap_err().is_too_large());
    assert!(ChannelEvent::parse_str(&over).unwrap_err().is_too_large());
}

#[test]
fn a_hundred_thousand_presence_entries_with_the_last_one_invalid() {
    let presence = format!(
        r#"{{"action":"PRESENCE","event":"JOIN","channelName":"","requestId":"","payload":{{"changed":{{}},"presence":[{}null]}}}}"#,
        "{},".repeat(100_000),
    );
    on_small_stack(|| {
        let error = ChannelEvent::parse(presence.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "payload.presence.100000: Expected object");
        assert_eq!(&presence[error.offset()..][..4], "null");
    });
}
