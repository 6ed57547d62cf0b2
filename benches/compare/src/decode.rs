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
    let structs =
        payloads::SIZES.into_iter().filter_map(|size| row::<Document>(plan, "struct", size));
    let values = payloads::SIZES.into_iter().filter_map(|size| row::<Value>(plan, "Value", size));
    Section {
        size: "bytes",
        title: "Decode a payload, ns",
        note: "Text in, a struct with owned fields or a `serde_json::Value` out. pondwire's \
               payload is validated already; the others do it as they go. simd-json: tape with \
               reused buffers, on a copy.",
        rows: structs.chain(values).collect(),
    }
}

fn row<T>(plan: &Plan, into: &str, size: usize) -> Option<Row>
where
    T: DeserializeOwned + PartialEq + Debug,
{
    let name = format!("{into} {}", size_name(size));
    if !plan.wants(&name) {
        return None;
    }
    let json = payloads::json(size);
    let payload = Payload::from_json(&json).expect("an object");
    let expected: T = serde_json::from_str(&json).expect("JSON");
    let mut scratch = Scratch::default();
    let contenders = vec![
        Contender::checked("decode_owned", &expected, || black_box(payload).decode_owned().ok()),
        Contender::checked("decode", &expected, || black_box(payload).decode().ok()),
        Contender::checked("serde_json", &expected, || serde_json::from_str(black_box(&json)).ok()),
        Contender::checked("simd-json", &expected, || {
            scratch.decode(black_box(json.as_bytes())).ok()
        }),
        Contender::checked("sonic-rs", &expected, || sonic_rs::from_str(black_box(&json)).ok()),
    ];
    Some(plan.race(name, 1, size, contenders))
}
