//! Parses a workload a number of times: what `profiles/count` runs under valgrind.
//!
//! ```text
//! parse_workload profiles/workloads/tiny-chat.ndjson 10
//! ```

use std::error::Error;
use std::hint::black_box;

use pondwire::{ChannelEvent, ClientMessage};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: parse_workload FILE TIMES";
    let (file, times) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let text = std::fs::read(file)?;
    let frames: Vec<_> =
        text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    // Presence goes to clients only, all else may come from one.
    let parse = if ClientMessage::parse(frames[0]).is_ok() { parse_client } else { parse_event };
    let mut parsed = 0;
    for _ in 0..times.parse()? {
        parsed += frames.iter().filter(|frame| parse(black_box(frame))).count();
    }
    println!("{parsed} frames parsed");
    Ok(())
}

// `profiles/count` counts what happens within these two.

#[inline(never)]
fn parse_client(frame: &[u8]) -> bool {
    ClientMessage::parse(frame).is_ok()
}

#[inline(never)]
fn parse_event(frame: &[u8]) -> bool {
    ChannelEvent::parse(frame).is_ok()
}
