//! Navigating and decoding a payload gives what `serde_json` reads from the same text.

use std::collections::BTreeMap;
use std::fmt::Debug;

use pondwire::{Payload, Value as Lazy};
use pondwire_test_support::tree::same;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(payload) = Payload::from_json(text) else { return };
    decodes_alike::<BTreeMap<String, Option<f32>>>(payload);
    decodes_alike::<BTreeMap<i64, IgnoredAny>>(payload);
    decodes_alike::<BTreeMap<&str, (i128, u8)>>(payload);
    decodes_alike::<BTreeMap<String, &[u8]>>(payload);
    decodes_alike::<BTreeMap<char, &RawValue>>(payload);
    decodes_alike::<BTreeMap<String, Kind>>(payload);
    let ours = payload.decode::<Value>();
    match serde_json::from_str::<Value>(payload.as_str()) {
        Ok(tree) => {
            same(payload.value(), &tree);
            pointers(payload, payload.value(), &tree, &mut String::new());
            assert_eq!(ours.unwrap(), tree);
        }
        // Half of a surrogate pair, or a number beyond doubles: the verdict is the same, and
        // navigation goes on around it.
        Err(error) => {
            assert_eq!(ours.unwrap_err().to_string(), error.to_string());
            visit(payload.value());
        }
    }
}

#[expect(dead_code, reason = "only its `Debug` output is read")]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    A(Option<u64>),
    B { n: f64 },
    C,
}

/// A type gets the same value or the same error.
fn decodes_alike<'a, T: Deserialize<'a> + Debug>(payload: Payload<'a>) {
    let expected = serde_json::from_str::<T>(payload.as_str());
    assert_eq!(format!("{:?}", payload.decode::<T>()), format!("{expected:?}"));
}

/// The most siblings that are visited: each step of a pointer walks over all siblings before it, so
/// that the time would be quadratic in their number.
const SIBLINGS: usize = 16;

/// The pointer to a value leads to it; of many siblings, to the first ones.
fn pointers(root: Payload<'_>, here: Lazy<'_>, tree: &Value, pointer: &mut String) {
    assert_eq!(root.pointer(pointer), Some(here), "{pointer}");
    let length = pointer.len();
    match tree {
        Value::Array(elements) => {
            for (i, (element, tree)) in here.elements().zip(elements).enumerate().take(SIBLINGS) {
                *pointer += &format!("/{i}");
                pointers(root, element, tree, pointer);
                pointer.truncate(length);
            }
        }
        Value::Object(members) => {
            for (key, tree) in members.iter().take(SIBLINGS) {
                *pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
                pointers(root, here.get(key).unwrap(), tree, pointer);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Calls every accessor of every value; the test is only that they return.
fn visit(value: Lazy<'_>) {
    let _ = (value.json_type(), value.as_bool(), value.as_str());
    let _ = (value.as_i64(), value.as_u64(), value.as_f64());
    for (key, member) in value.members() {
        // A key with half of a surrogate pair is listed, but cannot be looked up.
        assert!(value.get(&key).is_some() || key.contains('\u{fffd}'));
        visit(member);
    }
    value.elements().for_each(visit);
}
