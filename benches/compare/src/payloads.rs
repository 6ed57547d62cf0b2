//! Payloads of an exact size, with the same kind of content at every size.

use serde::{Deserialize, Serialize};

/// The sizes that the decode section runs.
pub const SIZES: [usize; 6] = [100, 300, 1024, 4096, 16_384, 65_536];

/// The typed form of the payload that [`json`] makes.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
pub struct Document {
    items: Vec<Item>,
    text: String,
    last: u64,
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Item {
    id: u64,
    name: String,
    score: f64,
    online: bool,
    tags: Vec<String>,
}

/// The value of the last key, `last`.
pub const LAST: u64 = 1_790_000_001_926;

/// A JSON object of `size` bytes: as many records as fit, text to fill the rest, and the key
/// `last`.
pub fn json(size: usize) -> String {
    let tail = |text: &str| format!(r#"],"text":"{text}","last":{LAST}}}"#);
    let room = size - tail("").len();
    let mut json = r#"{"items":["#.to_owned();
    for id in 10_000.. {
        let comma = if id == 10_000 { "" } else { "," };
        let (score, online) = (id % 100, id % 3 == 0);
        let item = format!(
            r#"{comma}{{"id":{id},"name":"user {id}","score":{score}.25,"online":{online},"tags":["red","blue"]}}"#
        );
        if json.len() + item.len() > room {
            break;
        }
        json.push_str(&item);
    }
    let fill = "the quick brown fox ".chars().cycle().take(room - json.len());
    json + &tail(&fill.collect::<String>())
}

/// A JSON object of at least `size` bytes: an array of doubles with all their digits, as tracks of positions are.
pub fn doubles(size: usize) -> String {
    let mut json = r#"{"points":["#.to_owned();
    for place in 0.. {
        let comma = if place == 0 { "" } else { "," };
        // Irrational, so that no digit is saved.
        let degrees = f64::from(place).sqrt() * std::f64::consts::PI - 90.0;
        json.push_str(&format!("{comma}{degrees}"));
        if json.len() + 2 >= size {
            break;
        }
    }
    json + "]}"
}

/// [`json`] over many lines, as people and some serializers write it; of at least `size` bytes.
pub fn pretty(size: usize) -> String {
    let pretty = |compact: usize| {
        let value: serde_json::Value = serde_json::from_str(&json(compact)).expect("JSON");
        serde_json::to_string_pretty(&value).expect("encodes")
    };
    (60..).step_by(16).map(pretty).find(|json| json.len() >= size).expect("there are larger ones")
}

/// English text of `size` bytes, in which `percent` of a hundred bytes, spread at random, must be
/// escaped.
pub fn text(size: usize, percent: usize) -> String {
    let plain = "the quick brown fox jumps over the lazy dog ".chars().cycle();
    let mut state = 1_u64;
    let mut below = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    let one = |plain| match below(100) < percent {
        true => ['"', '\\', '\n', '\t'][below(4)],
        false => plain,
    };
    plain.take(size).map(one).collect()
}

/// `100 B`, `4 KB`, `9.9 KB`.
pub fn size_name(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        _ if size.is_multiple_of(1024) => format!("{} KB", size / 1024),
        _ => format!("{:.1} KB", size as f64 / 1024.0),
    }
}
