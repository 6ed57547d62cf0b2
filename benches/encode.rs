//! Messages into frames: relayed, typed, escaped, and shared.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pondwire::{ChannelEvent, Frame, Payload, PresenceEvent, ServerAction};
use support::frames;

const ID: &str = "6de7f22d-a688-49d1-af45-1c4a729d6cd0";
const CHANNEL: &str = "/chat/42";

fn payload(frame: &[u8]) -> Payload<'_> {
    ChannelEvent::parse(frame).expect("a message").payload()
}

fn relays(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for workload in ["tiny-chat", "chat-500", "telemetry-1k", "presence-100", "doc-64k"] {
        let frame = &frames(workload)[0];
        let payload = payload(frame);
        let size = payload.as_str().len();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("relay", size), &payload, |b, payload| {
            b.iter(|| Frame::broadcast(black_box(CHANNEL), "message", ID, *payload));
        });
        let typed: serde_json::Value = payload.decode().expect("JSON");
        group.bench_with_input(BenchmarkId::new("serialize", size), &typed, |b, typed| {
            b.iter(|| {
                Frame::serialize(ServerAction::Broadcast, black_box(CHANNEL), "message", ID, typed)
            });
        });
    }
    group.finish();
}

/// Frames whose event is a text in which `percent` of a hundred bytes must be escaped.
fn escapes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("escape");
    for size in [150, 1024, 65_536] {
        for percent in [0, 2, 10, 50] {
            // Spread out, so that the special bytes do not fall on the same places of every block.
            let special = |i: usize| i * 37 % 100 < percent;
            let byte = |i| if special(i) { ['"', '\\', '\n', '\t'][i % 4] } else { 'x' };
            let text: String = (0..size).map(byte).collect();
            group.throughput(Throughput::Bytes(size as u64));
            let name = |who| BenchmarkId::new(format!("{who}-{percent}%"), size);
            group.bench_with_input(name("frame"), &text, |b, text| {
                b.iter(|| Frame::broadcast(CHANNEL, black_box(text), ID, Payload::EMPTY));
            });
            group.bench_with_input(name("serde_json"), &text, |b, text| {
                b.iter(|| serde_json::to_vec(black_box(text)));
            });
        }
    }
    group.finish();
}

/// The same payload with and without the newlines that have to become spaces.
fn newlines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("newlines");
    for workload in ["tiny-chat", "chat-500", "presence-100", "doc-64k"] {
        let frame = &frames(workload)[0];
        let value: serde_json::Value = payload(frame).decode().expect("JSON");
        let with = serde_json::to_string_pretty(&value).expect("JSON");
        let without = with.replace('\n', " ");
        group.throughput(Throughput::Bytes(with.len() as u64));
        for (name, json) in [("with", &with), ("without", &without)] {
            let payload = Payload::from_json(json).expect("an object");
            group.bench_with_input(BenchmarkId::new(name, with.len()), &payload, |b, payload| {
                b.iter(|| Frame::broadcast(black_box(CHANNEL), "message", ID, *payload));
            });
        }
    }
    group.finish();
}

fn presence(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("presence");
    let frame = &frames("presence-1000")[0];
    let ChannelEvent::Presence(message) = ChannelEvent::parse(frame).expect("a message") else {
        panic!("a presence workload");
    };
    let users: Vec<Payload<'_>> = message.presence().collect();
    group.throughput(Throughput::Elements(users.len() as u64));
    group.bench_function("assemble-1000", |b| {
        b.iter(|| {
            let all = black_box(&users).iter().copied();
            Frame::presence(CHANNEL, PresenceEvent::Join, ID, all, users[0])
        });
    });
    group.finish();
}

fn sharing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("share");
    let frame = Frame::broadcast(CHANNEL, "message", ID, Payload::EMPTY);
    group.throughput(Throughput::Elements(1));
    group.bench_function("clone", |b| b.iter(|| black_box(&frame).clone()));
    group.bench_function("wire-bytes", |b| b.iter(|| black_box(&frame).wire_bytes()));
    group.finish();
}

criterion_group!(benches, relays, escapes, newlines, presence, sharing);
criterion_main!(benches);
