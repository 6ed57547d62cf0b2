//! Lazy navigation against `serde_json`'s tree of the same text.

use pondwire::Value as Lazy;
use pondwire::payload::JsonType;
use serde_json::Value;

/// Walks both at once. Returns how many values were compared.
pub fn same(lazy: Lazy<'_>, tree: &Value) -> usize {
    assert_eq!(lazy.is_null(), tree.is_null());
    assert_eq!(lazy.as_bool(), tree.as_bool());
    assert_eq!(lazy.as_bool(), lazy.decode().ok());
    assert_eq!(lazy.as_str().as_deref(), tree.as_str());
    assert_eq!(lazy.as_str(), lazy.decode::<String>().ok().map(Into::into));
    let mut compared = 1;
    match tree {
        Value::Number(number) => {
            assert_eq!(lazy.json_type(), JsonType::Number);
            // The tree's own accessors read `-0` as 0 where it keeps the text of numbers.
            assert_eq!(lazy.as_i64(), lazy.decode().ok(), "{lazy:?}");
            assert_eq!(lazy.as_u64(), lazy.decode().ok(), "{lazy:?}");
            assert_eq!(lazy.as_i64(), number.as_i64().filter(|_| lazy.raw() != "-0"), "{lazy:?}");
            assert_eq!(lazy.as_u64(), number.as_u64(), "{lazy:?}");
            let bits = lazy.as_f64().map(f64::to_bits);
            assert_eq!(bits, number.as_f64().map(f64::to_bits), "{lazy:?}");
            assert_eq!(bits, lazy.decode().ok().map(f64::to_bits), "{lazy:?}");
        }
        Value::Array(elements) => {
            assert_eq!(lazy.elements().count(), elements.len());
            for (i, (element, expected)) in lazy.elements().zip(elements).enumerate() {
                compared += same(element, expected);
                if i < 3 {
                    assert_eq!(lazy.index(i), Some(element));
                }
            }
            assert!(lazy.index(elements.len()).is_none());
        }
        Value::Object(members) => {
            for (key, _) in lazy.members() {
                assert!(members.contains_key(&*key), "{key}");
            }
            for (key, expected) in members {
                compared += same(lazy.get(key).unwrap(), expected);
            }
            // A fuzzer finds this very key.
            let absent = "no such key";
            assert_eq!(lazy.get(absent).is_some(), members.contains_key(absent));
        }
        _ => {}
    }
    compared
}
