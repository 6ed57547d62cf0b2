//! Shows what happens to connections that never read, under each policy, while others read everything:
//! `cargo run --release --example slow_consumers`.
//!
//! A room with one connection per policy that reads nothing, and 100 that read after every publish. 100,000
//! frames are published, each the state of one of 50 things. At the end it prints the frames queued for
//! each connection, against its bounds, and the fate of the rest.

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
        // A writer would notice in the same way that its connection was closed; the other connections stay
        // as they are.
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
        assert!(stats.queued_frames <= BOUNDS.max_frames, "a bound was exceeded");
        assert!(stats.queued_bytes <= BOUNDS.max_bytes, "a bound was exceeded");
    }
    let missed: u64 =
        reading.iter().map(|(_, reader)| FRAMES as u64 - reader.stats().delivered).sum();
    println!("\nThe {READERS} connections that read missed {missed} frames.");
    assert_eq!(missed, 0, "a slow connection made others miss frames");
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
