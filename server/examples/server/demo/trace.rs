//! The steps of a broadcast, timed for the demo page.

use std::hint::black_box;
use std::time::Instant;

use pondwire::error::PondError;
use pondwire::{ClientAction, ClientMessage, Frame, uuid};
use pondwire_server::{Event, Json};
use serde::Serialize;

/// The event that the members receive.
const SENT: &str = "say";

/// How often a step is repeated at most.
const MAX_RUNS: usize = 100;

/// The bytes that the runs of a step read together, unless the message alone is longer.
const RUN_BYTES: usize = 64 << 10;

/// The answer to the sender.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    message_bytes: usize,
    frame_bytes: usize,
    /// The runs of which `parse_ns` and `encode_ns` are the mean.
    runs: usize,
    parse_ns: u128,
    encode_ns: u128,
    /// Compressing it, once.
    compress_ns: u128,
    /// `None` if compressing does not make it shorter.
    compressed_bytes: Option<usize>,
    /// The broadcast itself, once: encoding, compressing if some member has agreed on that, the append to the
    /// channel's log, and a push to the queue of each listener.
    broadcast_ns: u128,
    /// The members and listeners of the channel on this node.
    recipients: usize,
}

/// The work of compressing a byte, in bytes that a client may send.
const COMPRESSED: usize = 16;

/// Sends the payload to all members as the event `say`, and answers how long each step took. Parsing and encoding
/// are repeated, because one run is too short for a clock.
pub(crate) fn trace(event: &Event<'_>) -> Result<(), PondError> {
    let (channel, payload) = (event.channel_name(), event.payload());
    let began = Instant::now();
    event.broadcast(SENT, payload)?;
    let broadcast_ns = began.elapsed().as_nanos();

    let message =
        Frame::client(ClientAction::Broadcast, channel, event.name(), event.request_id(), payload);
    let frame = Frame::broadcast(channel, SENT, &uuid(), payload);
    let runs = (RUN_BYTES / message.json().len()).clamp(1, MAX_RUNS);
    event.charge((2 * runs + COMPRESSED) * message.json().len());
    let began = Instant::now();
    let compressed_bytes = frame.deflated().map(<[u8]>::len);
    let compress_ns = began.elapsed().as_nanos();
    event.reply(Json(Trace {
        message_bytes: message.json().len(),
        frame_bytes: frame.wire().len(),
        runs,
        parse_ns: mean_ns(runs, || ClientMessage::parse(message.json())),
        encode_ns: mean_ns(runs, || Frame::broadcast(channel, SENT, &uuid(), payload)),
        compress_ns,
        compressed_bytes,
        broadcast_ns,
        recipients: event.channel().len(),
    }))
}

/// The mean time of so many calls in nanoseconds.
fn mean_ns<T>(runs: usize, step: impl Fn() -> T) -> u128 {
    let began = Instant::now();
    for _ in 0..runs {
        black_box(step());
    }
    began.elapsed().as_nanos() / runs as u128
}
