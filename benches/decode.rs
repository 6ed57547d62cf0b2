//! Parsing whole frames into views: the time for a workload, and the throughput in bytes and in
//! messages.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pondwire::{ChannelEvent, ClientMessage};
use support::{WORKLOADS, bytes, frames};

/// Parses as the receiver of the frame would; presence goes to clients only.
fn parse(frame: &[u8]) -> bool {
    ClientMessage::parse(black_box(frame)).is_ok()
}

fn parse_presence(frame: &[u8]) -> bool {
    ChannelEvent::parse(black_box(frame)).is_ok()
}

fn workloads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for workload in WORKLOADS {
        let frames = frames(workload);
        let parse = if frames.iter().all(|frame| parse(frame)) { parse } else { parse_presence };
        assert!(frames.iter().all(|frame| parse(frame)), "{workload} holds messages");
        let all =
            Throughput::ElementsAndBytes { elements: frames.len() as u64, bytes: bytes(&frames) };
        group.throughput(all);
        group.bench_function(workload, |bencher| {
            bencher.iter(|| frames.iter().filter(|frame| parse(frame)).count());
        });
    }
    group.finish();
}

/// The cost of refusing a frame for its last bytes, to be compared with the cost of accepting it.
fn refusals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refuse");
    for workload in ["tiny-chat", "mixed-day", "doc-64k"] {
        let mut frames = frames(workload);
        for (name, spoil) in SPOILED {
            frames.iter_mut().for_each(spoil);
            assert!(!frames.iter().any(|frame| parse(frame)), "{workload} is spoiled");
            group.throughput(Throughput::Elements(frames.len() as u64));
            group.bench_function(BenchmarkId::new(name, workload), |bencher| {
                bencher.iter(|| frames.iter().filter(|frame| parse(frame)).count());
            });
        }
    }
    group.finish();
}

/// A way to make a frame malformed at its end.
type Spoil = fn(&mut Vec<u8>);

const SPOILED: [(&str, Spoil); 2] = [
    ("truncated", |frame| frame.truncate(frame.len() - 1)),
    ("control-character", |frame| frame.extend_from_slice(b",\"x\":\"\x01\"}")),
];

criterion_group!(benches, workloads, refusals);
criterion_main!(benches);
