//! Decoding a payload into a value of the application.

use std::fmt::Debug;
use std::hint::black_box;

use pondwire::Payload;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bench::{Contender, Plan, Row};
use crate::payloads::{self, Document, size_name};
use crate::peers::Scratch;
use crate::report::Section;

pub fn section(plan: &Plan) -> Section {
    let sizes = || payloads::SIZES.into_iter();
    let structs = sizes().filter_map(|size| row::<Document>(plan, "struct", size, payloads::json));
    let values = sizes().filter_map(|size| row::<Value>(plan, "Value", size, payloads::json));
    let doubles = sizes().filter(|size| *size >= 1024);
    let doubles =
        doubles.filter_map(|size| row::<Points>(plan, "doubles", size, payloads::doubles));
    Section {
        size: "bytes",
        title: "Decode a payload, ns",
        note: "Text in, a struct with owned fields or a `serde_json::Value` out. doubles: an array \
               of doubles with all their digits. pondwire's \
               payload is validated already; the others do it as they go. simd-json: tape with \
               reused buffers, on a copy.",
        rows: structs.chain(values).chain(doubles).collect(),
    }
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Points {
    points: Vec<f64>,
}

fn row<T>(plan: &Plan, into: &str, size: usize, json: fn(usize) -> String) -> Option<Row>
where
    T: DeserializeOwned + PartialEq + Debug,
{
    let name = format!("{into} {}", size_name(size));
    if !plan.wants(&name) {
        return None;
    }
    let json = json(size);
    let size = json.len();
    let payload = Payload::from_json(&json).expect("an object");
    let expected: T = serde_json::from_str(&json).expect("JSON");
    let mut scratch = Scratch::default();
    let contenders = vec![
        Contender::checked("pondwire", &expected, || black_box(payload).decode().ok()),
        Contender::checked("serde_json", &expected, || serde_json::from_str(black_box(&json)).ok()),
        Contender::checked("simd-json", &expected, || {
            scratch.decode(black_box(json.as_bytes())).ok()
        }),
        Contender::checked("sonic-rs", &expected, || sonic_rs::from_str(black_box(&json)).ok()),
    ];
    Some(plan.race(name, 1, size, contenders))
}
