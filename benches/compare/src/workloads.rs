//! The recorded frames of `profiles/workloads`, one per line.

use std::fs;
use std::path::Path;

use pondwire::{ChannelEvent, ClientMessage};

use crate::bench::{Contender, Plan, Row};

/// The sender of a frame, which decides which parser it is for.
#[derive(Clone, Copy)]
pub enum Side {
    Client,
    Server,
}

/// The readable bytes after a frame that some peers need.
pub const PADDING: usize = 64;

pub struct Line {
    /// With at least [`PADDING`] bytes of unused capacity.
    pub frame: Vec<u8>,
    pub side: Side,
}

pub struct Workload {
    pub name: String,
    pub lines: Vec<Line>,
}

impl Line {
    /// A frame that both could have sent counts as a client's.
    fn new(frame: &str) -> Self {
        let frame = frame.as_bytes();
        let side = if ClientMessage::parse(frame).is_ok() {
            Side::Client
        } else if ChannelEvent::parse(frame).is_ok() {
            Side::Server
        } else {
            panic!("no message: {}", String::from_utf8_lossy(frame));
        };
        Self::of(frame, side)
    }

    pub fn of(bytes: &[u8], side: Side) -> Self {
        let mut frame = Vec::with_capacity(bytes.len() + PADDING);
        frame.extend_from_slice(bytes);
        Self { frame, side }
    }
}

impl Workload {
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.frame.len()).sum()
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a workload is text");
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        Self { name, lines: text.lines().map(Line::new).collect() }
    }
}

/// All workloads, those of small messages first.
pub fn all() -> Vec<Workload> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/workloads");
    let mut workloads: Vec<Workload> = fs::read_dir(folder)
        .expect("the repository has workloads")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .map(|path| Workload::read(&path))
        .collect();
    workloads.sort_by_key(|workload| workload.bytes() / workload.lines.len());
    workloads
}

/// A row of the contenders that `contenders` makes of each workload's frames, for the workloads that `plan` wants; none
/// for a workload without contenders.
pub fn rows(
    plan: &Plan,
    contenders: impl for<'a> Fn(&'a [Line]) -> Vec<Contender<'a>>,
) -> Vec<Row> {
    let row = |workload: Workload| {
        let contenders = contenders(&workload.lines);
        let bytes = workload.bytes();
        let is_some = !contenders.is_empty();
        is_some.then(|| plan.race(workload.name, workload.lines.len(), bytes, contenders))
    };
    all().into_iter().filter(|workload| plan.wants(&workload.name)).filter_map(row).collect()
}
