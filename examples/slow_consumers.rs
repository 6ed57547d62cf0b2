//! What happens to connections that never read, under each policy, while others read all:
//! `cargo run --release --example slow_consumers`.
//!
//! A room with one connection per policy that reads nothing, and 100 that read after every publish.
//! 100,000 frames are published, each the state of one of 50 things. At the end: what waits at each
//! connection, against its bounds, and what became of the rest.

use std::error::Error;

use pondwire::{
    ClientMessage, Frame, Membership, Outbox, OutboxOptions, OutboxReader, Policy, Room,
};

const FRAMES: usize = 100_000;
const THINGS: usize = 50;
const READERS: usize = 100;

const BOUNDS: OutboxOptions = OutboxOptions::new()
    .with_policy(Policy::DropOldest)
    .with_max_frames(1000)
    .with_max_bytes(100_000)
    .with_max_control_frames(64)
    .with_max_control_bytes(1 << 20);

fn main() -> Result<(), Box<dyn Error>> {
    let room = Room::new();
    let policies = [
        Policy::DropOldest,
        Policy::DropNewest,
        Policy::Conflate,
        Policy::Disconnect { max_age: None },
    ];
    let mut stalled = Vec::new();
    for policy in policies {
        stalled.push((policy, connect(&room, "stalled", policy)?));
    }
    let mut reading = Vec::new();
    for _ in 0..READERS {
        reading.push(connect(&room, "reading", Policy::Disconnect { max_age: None })?);
    }
    for number in 0..FRAMES {
        let thing = number % THINGS;
        let received = format!(
            r#"{{"action":"BROADCAST","channelName":"/chat/42","requestId":"r","event":"moved","payload":{{"thing":{thing},"to":{number}}}}}"#
        );
        let message = ClientMessage::parse(received.as_bytes())?;
        let frame = Frame::broadcast("/chat/42", message.event(), "b", message.payload());
        room.publish_keyed(thing as u64, &frame);
        for (_, reader) in &mut reading {
            while reader.try_batch().is_some() {}
        }
    }
    println!("{FRAMES} frames; at most {} wait, of {} bytes", BOUNDS.max_frames, BOUNDS.max_bytes);
    println!();
    println!(
        "| connection | waiting | bytes | oldest dropped | newest dropped | replaced | discarded | closed |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---|");
    for (policy, (_, reader)) in &mut stalled {
        // As a writer would find out that its connection was given up; the others stay as they are.
        if reader.closed().is_some() {
            assert!(reader.try_batch().is_none());
        }
        let stats = reader.stats();
        let closed = reader.closed().map_or_else(|| "no".to_owned(), |reason| reason.to_string());
        println!(
            "| {policy:?} | {} | {} | {} | {} | {} | {} | {closed} |",
            stats.queued_frames,
            stats.queued_bytes,
            stats.dropped_oldest,
            stats.dropped_newest,
            stats.conflated,
            stats.discarded,
        );
        assert!(stats.queued_frames <= BOUNDS.max_frames, "a bound that does not hold");
        assert!(stats.queued_bytes <= BOUNDS.max_bytes, "a bound that does not hold");
    }
    let missed: u64 =
        reading.iter().map(|(_, reader)| FRAMES as u64 - reader.stats().delivered).sum();
    println!("\nThe {READERS} connections that read missed {missed} frames.");
    assert_eq!(missed, 0, "a slow connection costs others something");
    Ok(())
}

fn connect(
    room: &Room,
    user: &str,
    policy: Policy,
) -> Result<(Membership, OutboxReader), Box<dyn Error>> {
    let (outbox, reader) = Outbox::new(BOUNDS.with_policy(policy));
    Ok((room.join(user, outbox)?, reader))
}
