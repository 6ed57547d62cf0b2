//! The workloads, as the benches read them.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fs;
use std::path::Path;

/// The workloads in the order of their mean frame size.
pub(crate) const WORKLOADS: [&str; 12] = [
    "tiny-chat",
    "tiny-JSorder",
    "chat-500",
    "py-spaced",
    "cjk-chat",
    "mixed-day",
    "escapes",
    "telemetry-1k",
    "presence-10",
    "presence-100",
    "doc-64k",
    "presence-1000",
];

/// The frames of a workload, one per line.
pub(crate) fn frames(workload: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/workloads");
    let text = fs::read(folder.join(workload).with_extension("ndjson")).expect("a workload");
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The total length of `frames`.
pub(crate) fn bytes(frames: &[Vec<u8>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}
