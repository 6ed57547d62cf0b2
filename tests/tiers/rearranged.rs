//! Messages whose members come in any order, twice, between unknown ones, and spelt with escapes:
//! every scanner gives the verdict and the fields of the scalar one, and the presence lists of
//! serde_json's tree.

use pondwire::scan::Tier;
use pondwire::{ChannelEvent, Payload, PresenceMessage, message};
use pondwire_test_support::{Random, cases};
use serde_json::Value;

use super::{scanners, select, tier_lock};

/// A string literal of which some characters, or none, are escaped.
fn spelt(random: &mut Random, text: &str) -> String {
    let one_in = *random.pick(&[2, 9, 1 << 20, 1 << 20]);
    let escape = |character: char| match random.below(one_in) {
        0 => format!("\\u{:04x}", u32::from(character)),
        _ => character.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// A value, of which every second is a container of others.
fn value(random: &mut Random, depth: usize) -> String {
    let kinds = if depth == 0 { 4 } else { 8 };
    match random.below(kinds) {
        0 => random.below(1000).to_string(),
        1 => random.pick(&["true", "null", "-1.5e3", "{}", "[]"]).to_string(),
        2 | 3 => {
            let text = *random.pick(&["", "a", "PRESENCE", "}]", "a longer text, as people write"]);
            spelt(random, text)
        }
        4 | 5 => list(random, |random| value(random, depth - 1)),
        _ => {
            let count = random.below(4);
            object(random, (0..count).map(|key| (key.to_string(), None)).collect(), depth - 1)
        }
    }
}

fn separated(random: &mut Random, items: &[String], [open, close]: [&str; 2]) -> String {
    let space = *random.pick(&["", "", " ", "\n  "]);
    format!("{open}{space}{}{space}{close}", items.join(&format!("{space},{space}")))
}

fn list(random: &mut Random, mut item: impl FnMut(&mut Random) -> String) -> String {
    let items: Vec<String> = (0..random.below(4)).map(|_| item(random)).collect();
    separated(random, &items, ["[", "]"])
}

/// The members in any order; `None` is any value. Some occur twice, some have an unknown one before.
fn object(random: &mut Random, members: Vec<(String, Option<String>)>, depth: usize) -> String {
    let mut written = Vec::new();
    for (key, given) in members {
        let given = given.unwrap_or_else(|| value(random, depth));
        let place = |random: &mut Random, written: &[String]| random.below(written.len() + 1);
        let colon = *random.pick(&[":", ":", " : ", ":\n"]);
        let member = format!("{}{colon}{given}", spelt(random, &key));
        if random.below(8) == 0 {
            let other = format!("{}{colon}{}", spelt(random, "other"), value(random, depth));
            written.insert(place(random, &written), other);
        }
        if random.below(20) == 0 {
            written.insert(place(random, &written), member.clone());
        }
        written.insert(place(random, &written), member);
    }
    separated(random, &written, ["{", "}"])
}

fn presence_payload(random: &mut Random) -> String {
    let users = list(random, |random| {
        let count = random.below(3);
        let user = (0..count).map(|key| (format!("u{key}"), None)).collect();
        // Rarely an entry that is no object, which is refused.
        if random.below(60) == 0 { value(random, 1) } else { object(random, user, 2) }
    });
    let changed = object(random, vec![("id".into(), None)], 2);
    let members = vec![("presence".into(), Some(users)), ("changed".into(), Some(changed))];
    object(random, members, 2)
}

fn frame(random: &mut Random) -> String {
    let (action, event, payload) = match random.below(3) {
        0 => ("BROADCAST", "message", object(random, vec![("text".into(), None)], 4)),
        _ => ("PRESENCE", "JOIN", presence_payload(random)),
    };
    let text = |random: &mut Random, text: &str| Some(spelt(random, text));
    let members = vec![
        ("action".into(), text(random, action)),
        ("event".into(), text(random, event)),
        ("channelName".into(), text(random, "/chat/42")),
        ("requestId".into(), text(random, "r-1")),
        ("payload".into(), Some(payload)),
    ];
    object(random, members, 3)
}

#[test]
fn rearranged_messages_are_read_alike_by_every_scanner() {
    let mut random = Random::from_env("rearranged");
    let _lock = tier_lock();
    let chosen = Tier::current();
    let (mut presence, mut broadcasts, cases) = (0, 0, cases(6000));
    for _ in 0..cases {
        let frame = frame(&mut random);
        // Neither shares code with the scanners, nor with the decoding of payloads.
        assert!(Tier::Scalar.select());
        let expected =
            ChannelEvent::parse(frame.as_bytes()).map(|view| message::ChannelEvent::from(&view));
        let tree: Value = serde_json::from_str(&frame).unwrap();
        let tree_of =
            |payload: Payload<'_>| serde_json::from_str::<Value>(payload.as_str()).unwrap();
        for scanner in scanners() {
            select(scanner);
            let view = ChannelEvent::parse(frame.as_bytes());
            match (&expected, &view) {
                (Ok(expected), Ok(view)) => {
                    assert_eq!(message::ChannelEvent::from(view), *expected, "{scanner:?}");
                }
                (Err(_), Err(_)) => continue,
                _ => panic!("{scanner:?}: {expected:?}, {view:?}: {frame}"),
            }
            let Ok(view) = PresenceMessage::parse(frame.as_bytes()) else {
                broadcasts += 1;
                continue;
            };
            presence += 1;
            let users: Vec<Value> = view.presence().map(tree_of).collect();
            assert_eq!(tree["payload"]["presence"], Value::Array(users), "{scanner:?}: {frame}");
            let changed = tree_of(view.changed());
            assert_eq!(tree["payload"]["changed"], changed, "{scanner:?}: {frame}");
        }
    }
    assert!(chosen.select());
    println!("rearranged: {cases} cases, {presence} presence messages, {broadcasts} broadcasts");
    assert!(presence > cases && broadcasts > cases);
}

#[test]
fn containers_behind_a_payload_are_not_taken_for_its_own() {
    let payload = r#"{"changed":{},"presence":[{"C":[null],"D":""},{}]}"#;
    let action = r"\u0050RESENCE";
    let frame = format!(
        r#"{{"action":"{action}","event":"LEAVE","channelName":"","requestId":"","payload":{payload},"later":{{"a":{{}}}}}}"#
    );
    let _lock = tier_lock();
    let chosen = Tier::current();
    for scanner in scanners() {
        select(scanner);
        let message = PresenceMessage::parse(frame.as_bytes()).unwrap();
        let users: Vec<String> = message.presence().map(|user| user.to_string()).collect();
        assert_eq!(users, [r#"{"C":[null],"D":""}"#, "{}"], "{scanner:?}");
        assert_eq!(message.changed().as_str(), "{}", "{scanner:?}");
    }
    assert!(chosen.select());
}
