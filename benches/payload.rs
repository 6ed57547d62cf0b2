//! Reading a payload: one field, all fields, a typed decode.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pondwire::{ChannelEvent, Payload};
use serde::Deserialize;
use support::frames;

/// Payloads over four orders of magnitude.
const SIZES: [&str; 6] =
    ["tiny-chat", "chat-500", "telemetry-1k", "presence-10", "presence-100", "doc-64k"];

fn payload(frame: &[u8]) -> Payload<'_> {
    ChannelEvent::parse(frame).expect("a message").payload()
}

/// Decodes only the text, if there is one, as a chat server does that looks into a message.
#[derive(Deserialize)]
struct Peek {
    #[serde(default)]
    text: Option<String>,
}

fn sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload");
    for workload in SIZES {
        let frame = &frames(workload)[0];
        let payload = payload(frame);
        group.throughput(Throughput::Bytes(payload.as_str().len() as u64));
        let size = payload.as_str().len();
        group.bench_with_input(BenchmarkId::new("get-missing", size), &payload, |b, payload| {
            b.iter(|| black_box(payload).get("no such key").is_none());
        });
        group.bench_with_input(BenchmarkId::new("members", size), &payload, |b, payload| {
            b.iter(|| black_box(payload).members().count());
        });
        group.bench_with_input(BenchmarkId::new("decode-value", size), &payload, |b, payload| {
            b.iter(|| black_box(payload).decode::<serde_json::Value>().expect("JSON"));
        });
        group.bench_with_input(
            BenchmarkId::new("decode-owned-value", size),
            &payload,
            |b, payload| {
                b.iter(|| black_box(payload).decode::<serde_json::Value>().expect("JSON"));
            },
        );
        group.bench_with_input(BenchmarkId::new("decode-peek", size), &payload, |b, payload| {
            b.iter(|| black_box(payload).decode::<Peek>().expect("JSON").text);
        });
        group.bench_with_input(
            BenchmarkId::new("decode-owned-peek", size),
            &payload,
            |b, payload| {
                b.iter(|| black_box(payload).decode::<Peek>().expect("JSON").text);
            },
        );
    }
    group.finish();
}

criterion_group!(benches, sizes);
criterion_main!(benches);
