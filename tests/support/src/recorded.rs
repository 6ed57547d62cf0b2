//! Real frames and recorded cases of this repository.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of the repository.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The frames of every workload of at most `max_len` bytes.
pub fn workload_frames(max_len: usize) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(folder("profiles/workloads"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let text = fs::read(file).unwrap();
        let lines = text.split(|&byte| byte == b'\n');
        frames.extend(
            lines.filter(|line| !line.is_empty() && line.len() <= max_len).map(<[u8]>::to_vec),
        );
    }
    assert!(frames.len() > 1000, "workloads are there");
    frames
}

/// The inputs of all recorded parse cases.
pub fn vector_inputs() -> Vec<Vec<u8>> {
    let folder = folder("tests/vectors");
    let mut inputs = Vec::new();
    for name in ["client", "server", "presence", "channelEvent"] {
        let text = fs::read(folder.join(format!("parse_{name}.json"))).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&text).unwrap();
        inputs.extend(file["records"].as_array().unwrap().iter().map(input));
    }
    assert!(inputs.len() > 1000, "vectors are there");
    inputs
}

/// The exact bytes of a recorded frame.
pub fn input(record: &serde_json::Value) -> Vec<u8> {
    match record["input_utf8"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => from_hex(record["input_hex"].as_str().expect("an input")),
    }
}

pub fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}
