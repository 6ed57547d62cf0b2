//! Lazy navigation and typed decoding against `serde_json`'s tree of the same text.

use pondwire::{ChannelEvent, ClientMessage, Payload, Value as Lazy};
use pondwire_test_support::tree::same;
use pondwire_test_support::{Random, cases, mutate, workload_frames};
use serde::Deserialize;
use serde_json::Value;

/// The payload's text of a frame that is a message of either side.
fn payload_of(frame: &[u8]) -> Option<Payload<'_>> {
    match ClientMessage::parse(frame) {
        Ok(message) => Some(message.payload()),
        Err(_) => ChannelEvent::parse(frame).ok().map(|message| message.payload()),
    }
}

/// Follows a random path down the tree, as a pointer.
fn follow(random: &mut Random, root: Lazy<'_>, tree: &Value) {
    let (mut pointer, mut here) = (String::new(), tree);
    loop {
        let found = root.pointer(&pointer).unwrap_or_else(|| panic!("{pointer}"));
        same(found, here);
        assert_eq!(tree.pointer(&pointer), Some(here), "{pointer}");
        match here {
            Value::Array(elements) if !elements.is_empty() => {
                let index = random.below(elements.len());
                pointer += &format!("/{index}");
                here = &elements[index];
            }
            Value::Object(members) if !members.is_empty() => {
                let (key, value) = members.iter().nth(random.below(members.len())).unwrap();
                pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                here = value;
            }
            _ => break,
        }
    }
}

#[test]
fn every_workload_payload_reads_as_serde_json_reads_it() {
    let mut random = Random::from_env("every_workload_payload");
    let mut compared = 0;
    for frame in workload_frames(usize::MAX) {
        let payload = payload_of(&frame).expect("a message");
        let tree: Value = serde_json::from_str(payload.as_str()).unwrap();
        compared += same(payload.value(), &tree);
        follow(&mut random, payload.value(), &tree);
        assert_eq!(payload.decode::<Value>().unwrap(), tree);
    }
    println!("every_workload_payload: {compared} values");
    assert!(compared > 50_000);
}

#[test]
fn mutated_payloads_read_as_serde_json_reads_them() {
    let frames = workload_frames(1200);
    let mut random = Random::from_env("mutated_payloads");
    let (cases, mut compared) = (cases(60_000), 0);
    for _ in 0..cases {
        let frame = &frames[random.below(frames.len())];
        let mutated = mutate(&mut random, frame);
        let Some(payload) = payload_of(&mutated) else { continue };
        match serde_json::from_str::<Value>(payload.as_str()) {
            Ok(tree) => {
                compared += same(payload.value(), &tree);
                assert_eq!(payload.decode::<Value>().unwrap(), tree);
            }
            // Half of a surrogate pair, or a number beyond doubles: same verdict at any size.
            Err(error) => {
                let ours = payload.decode::<Value>().unwrap_err();
                assert_eq!(ours.to_string(), error.to_string());
                // Navigation goes on around it.
                assert!(payload.members().count() < 10_000);
            }
        }
    }
    println!("mutated_payloads: {compared} values");
    assert!(compared > cases / 2);
}

#[test]
fn pointers_follow_rfc_6901() {
    let payload = Payload::from_json(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8,"dup":1,"dup":{"x":2}}"#,
    )
    .unwrap();
    let number = |pointer: &str| payload.pointer(pointer).and_then(|value| value.as_i64());
    assert_eq!(payload.pointer("").unwrap().raw(), payload.as_str());
    assert_eq!(payload.pointer("/foo/0").unwrap().as_str().unwrap(), "bar");
    let expected = [
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
        ("/dup/x", 2),
    ];
    for (pointer, value) in expected {
        assert_eq!(number(pointer), Some(value), "{pointer}");
    }
    for nowhere in [
        "foo", "/foo/2", "/foo/-", "/foo/01", "/foo/+1", "/foo/ 1", "/m~2n", "/m~", "/x",
        "/foo/0/0",
    ] {
        assert!(payload.pointer(nowhere).is_none(), "{nowhere}");
    }
}

#[test]
fn keys_are_found_however_they_are_written() {
    let payload =
        Payload::from_json(r#"{"\u0074ext":"a","t\u0065xt":"b","\ud83d\ude00":1,"\ud800":2}"#)
            .unwrap();
    assert_eq!(payload.get("text").unwrap().as_str().unwrap(), "b", "last wins");
    assert_eq!(payload.get("😀").unwrap().as_i64(), Some(1));
    let keys: Vec<_> = payload.members().map(|(key, _)| key.into_owned()).collect();
    assert_eq!(keys, ["text", "text", "😀", "\u{fffd}"]);
    assert!(payload.get("\u{fffd}").is_none(), "half a pair is no key that can be asked for");
}

#[test]
fn numbers_convert_only_when_they_fit() {
    let payload = Payload::from_json(
        r#"{"a":[9223372036854775807,-9223372036854775808,18446744073709551615,18446744073709551616,-0,1.0,1e2,1e400,-1e-400,"1",0]}"#,
    )
    .unwrap();
    let values: Vec<_> = payload.get("a").unwrap().elements().collect();
    let i64s: Vec<_> = values.iter().map(Lazy::as_i64).collect();
    let i64_expected =
        [Some(i64::MAX), Some(i64::MIN), None, None, None, None, None, None, None, None, Some(0)];
    assert_eq!(i64s, i64_expected);
    assert_eq!(values[2].as_u64(), Some(u64::MAX));
    assert_eq!(values[3].as_u64(), None);
    assert_eq!(values[3].as_f64(), Some(18_446_744_073_709_551_616.0));
    assert_eq!(values[4].as_f64().map(f64::is_sign_negative), Some(true));
    assert_eq!(values[6].as_f64(), Some(100.0));
    assert_eq!(values[7].as_f64(), None, "beyond the range of doubles");
    assert_eq!(values[9].as_f64(), None, "a string");
}

#[derive(Debug, Deserialize, PartialEq)]
struct Typed {
    id: u64,
    name: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    delta: i32,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    filler: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    None,
    Some(u8),
}

/// One verdict, one value and one error text at every size.
#[test]
fn typed_decoding_does_not_depend_on_the_size() {
    let heads = [
        r#""id":1,"name":"x""#,
        r#""id":1,"id":2,"name":"x""#,
        r#""id":1.5,"name":"x""#,
        r#""id":-1,"name":"x""#,
        r#""id":18446744073709551615,"name":"x""#,
        r#""id":18446744073709551616,"name":"x""#,
        r#""id":1,"name":null"#,
        r#""id":1,"name":"\ud83d\ude00\n""#,
        r#""id":1,"name":"\ud800""#,
        r#""id":1,"name":"x","score":1"#,
        r#""id":1,"name":"x","score":-0.0,"delta":-1"#,
        r#""id":1,"name":"x","score":18446744073709551617"#,
        r#""id":1,"name":"x","score":1e400"#,
        r#""id":1,"name":"x","score":0.1,"delta":2147483648"#,
        r#""id":1,"name":"x","delta":3.0"#,
        r#""id":1,"name":"x","tags":["a","\u0062"],"kind":{"some":3}"#,
        r#""id":1,"name":"x","kind":"none""#,
        r#""id":1,"name":"x","kind":{"some":300}"#,
        r#""id":1,"name":"x","unknown":[[{}]]"#,
        r#""name":"x""#,
    ];
    let mut verdicts = [0, 0];
    for head in heads {
        for filler in [0, 10, 1000, 100_000] {
            let text = format!(r#"{{{head},"filler":"{}"}}"#, "7".repeat(filler));
            let payload = Payload::from_json(&text).unwrap();
            let expected = serde_json::from_str::<Typed>(&text);
            let ours = payload.decode::<Typed>();
            verdicts[usize::from(expected.is_ok())] += 1;
            match (ours, expected) {
                (Ok(ours), Ok(expected)) => assert_eq!(ours, expected, "{head}"),
                (Err(ours), Err(expected)) => assert_eq!(ours.to_string(), expected.to_string()),
                (ours, expected) => panic!("{head} {filler}: {ours:?}, serde_json {expected:?}"),
            }
        }
    }
    assert!(verdicts.iter().all(|&count| count > 10), "{verdicts:?}");
}

#[test]
fn decoding_may_nest() {
    /// Decodes a payload of its own while it is decoded.
    struct Nested(i64);
    impl<'de> Deserialize<'de> for Nested {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let value = Value::deserialize(from)?;
            let text = format!(r#"{{"a":7,"fill":"{}"}}"#, "7".repeat(2000));
            let inner = Payload::from_json(&text).unwrap().decode::<Value>().unwrap();
            assert!(value["fill"].is_string());
            Ok(Self(inner["a"].as_i64().unwrap()))
        }
    }
    let text = format!(r#"{{"fill":"{}"}}"#, "x".repeat(2000));
    assert_eq!(Payload::from_json(&text).unwrap().decode::<Nested>().unwrap().0, 7);
}

#[test]
fn debug_output_is_short() {
    let text = format!(r#"{{"text":"{}"}}"#, "é".repeat(1 << 18));
    let payload = Payload::from_json(&text).unwrap();
    assert!(format!("{payload:?}").len() < 200);
    assert!(format!("{payload:?}").ends_with("bytes)"));
    assert_eq!(payload.to_string(), text);
}

#[test]
fn only_objects_are_payloads() {
    for (text, error) in [
        ("[1]", "payload: Expected object"),
        (" 7", "payload: Expected object"),
        ("{", "wireMessage: Invalid JSON: unexpected end at byte 1"),
        ("{} {}", "wireMessage: Invalid JSON: trailing data at byte 3"),
    ] {
        assert_eq!(Payload::from_json(text).unwrap_err().to_string(), error);
    }
    assert_eq!(Payload::from_json(" \n{\"a\":1}\t").unwrap().as_str(), "{\"a\":1}");
}
