//! Text that must be changed when it is encoded: strings with bytes to escape, payloads with
//! newlines to replace.

use std::hint::black_box;

use pondwire::{Frame, Payload};
use serde_json::value::RawValue;
use sonic_rs::LazyValue;

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID, envelope};
use crate::payloads::{self, size_name};
use crate::report::Section;

/// The bytes of text, and the number of bytes in a hundred that must be escaped.
const TEXTS: [(usize, usize); 8] =
    [(36, 0), (150, 0), (1024, 0), (65_536, 0), (150, 2), (1024, 2), (1024, 10), (1024, 50)];

pub fn escapes(plan: &Plan) -> Section {
    let rows = TEXTS
        .map(|(size, percent)| {
            (format!("escape {percent} % of {}", size_name(size)), size, percent)
        })
        .into_iter()
        .filter(|(name, ..)| plan.wants(name))
        .map(|(name, size, percent)| escape_row(plan, name, size, percent))
        .collect();
    Section {
        size: "bytes",
        title: "Escape, ns per broadcast",
        note: "A frame with the text as its event and `{}` as its payload; bytes are the text's. \
               serde_json and sonic-rs: the struct to a `Vec`. The floor: one allocation and a \
               copy of the document.",
        rows,
    }
}

fn escape_row(plan: &Plan, name: String, size: usize, percent: usize) -> Row {
    let text = payloads::text(size, percent);
    let raw_value = envelope(&text, serde_json::from_str::<&RawValue>("{}").expect("JSON"));
    let lazy_value = envelope(&text, sonic_rs::from_str::<LazyValue<'_>>("{}").expect("JSON"));
    let document = serde_json::to_vec(&raw_value).expect("encodes");

    let by_pondwire = || Frame::broadcast(CHANNEL, black_box(&text), REQUEST_ID, Payload::EMPTY);
    let by_serde_json = || serde_json::to_vec(black_box(&raw_value)).expect("encodes");
    let by_sonic_rs = || sonic_rs::to_vec(black_box(&lazy_value)).expect("encodes");
    assert_eq!(by_pondwire().json(), document);
    assert_eq!(by_sonic_rs(), document);

    let contenders = vec![
        Contender::new("pondwire", by_pondwire),
        Contender::new("serde_json", by_serde_json),
        Contender::new("sonic-rs", by_sonic_rs),
        Contender::new("alloc + memcpy", || black_box(&document).clone()),
    ];
    plan.race(name, 1, size, contenders)
}

pub fn newlines(plan: &Plan) -> Section {
    let rows = [150, 1024, 10_240, 65_536]
        .map(|size| (format!("newlines in {}", size_name(size)), size))
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, size)| newlines_row(plan, name, size))
        .collect();
    Section {
        size: "bytes",
        title: "Take newlines out, ns per broadcast",
        note: "`Frame::broadcast` of a payload that is written over many lines, which become \
               spaces, and of the same with spaces. The floor: one allocation and a copy of the \
               document.",
        rows,
    }
}

fn newlines_row(plan: &Plan, name: String, size: usize) -> Row {
    let lines = payloads::pretty(size);
    let spaces = lines.replace('\n', " ");
    let [with, without] =
        [&lines, &spaces].map(|json| Payload::from_json(json).expect("an object"));
    let relay = |payload| Frame::broadcast(CHANNEL, "message", REQUEST_ID, payload);
    let document = relay(without).json().to_vec();
    assert_eq!(relay(with).json(), document);

    let contenders = vec![
        Contender::new("with newlines", || relay(black_box(with))),
        Contender::new("without", || relay(black_box(without))),
        Contender::new("alloc + memcpy", || black_box(&document).clone()),
    ];
    plan.race(name, 1, lines.len(), contenders)
}
