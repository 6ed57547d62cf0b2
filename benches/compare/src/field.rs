//! Reading one field of a large payload, the last one.

use std::hint::black_box;

use pondwire::Payload;
use serde::Deserialize;
use serde_json::Value;
use sonic_rs::JsonValueTrait;

use crate::bench::{Contender, Plan};
use crate::payloads::{self, LAST, size_name};
use crate::report::Section;

#[derive(Deserialize)]
struct Last {
    last: u64,
}

pub fn section(plan: &Plan) -> Section {
    const SIZE: usize = 65_536;
    let name = format!("last of {}", size_name(SIZE));
    let json = payloads::json(SIZE);
    let payload = Payload::from_json(&json).expect("an object");
    let get = |payload: Payload<'_>| payload.get("last")?.as_u64();
    let rows = plan.wants(&name).then(|| {
        let contenders = vec![
            Contender::checked("get", &LAST, || get(black_box(payload))),
            Contender::checked("validate + get", &LAST, || {
                get(Payload::from_json(black_box(&json)).ok()?)
            }),
            Contender::checked("sonic-rs get", &LAST, || {
                sonic_rs::get(black_box(json.as_str()), ["last"]).ok()?.as_u64()
            }),
            Contender::checked("serde_json struct", &LAST, || {
                serde_json::from_str(black_box(&json)).ok().map(|Last { last }| last)
            }),
            Contender::checked("serde_json Value", &LAST, || {
                serde_json::from_str::<Value>(black_box(&json)).ok()?["last"].as_u64()
            }),
        ];
        plan.race(name, 1, SIZE, contenders)
    });
    Section {
        size: "bytes",
        title: "Get one field of a payload, ns",
        note: "The value of the last key. `get`: `Payload::get`, on a payload that parsing has \
               validated; `validate + get`: both, from text. sonic-rs: the checked `get`, which \
               need not read on behind what it finds. serde_json: a struct that ignores the \
               rest, and a whole `Value`.",
        rows: rows.into_iter().collect(),
    }
}
