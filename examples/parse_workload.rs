//! Parses a workload a number of times, and optionally does one more thing with each message.
//! `profiles/count` runs it under valgrind or an emulator, `profiles/flamegraph` under perf.
//!
//! ```text
//! parse_workload profiles/workloads/tiny-chat.ndjson 10         # parse
//! parse_workload profiles/workloads/tiny-chat.ndjson 10 walk    # parse with one algorithm for all
//! parse_workload profiles/workloads/tiny-chat.ndjson 10 serde_json  # parse with serde_json
//! parse_workload profiles/workloads/chat-500.ndjson 10 relay    # parse once, make frames
//! parse_workload profiles/workloads/doc-64k.ndjson 10 last      # parse once, get the last key
//! parse_workload profiles/workloads/doc-64k.ndjson 10 tree      # parse once, decode to a `Value`
//! parse_workload profiles/workloads/telemetry-1k.ndjson 10 typed  # or its numbers and users
//! ```

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::hint::black_box;

use pondwire::scan::{Algorithm, Tier};
use pondwire::{ChannelEvent, ClientMessage, Frame, Payload};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: parse_workload FILE TIMES [parse|blocks|tokens|walk|serde_json|relay|last|tree|typed]";
    let (file, times) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let (times, what) = (times.parse()?, arguments.next());
    let text = std::fs::read(file)?;
    let frames: Vec<_> =
        text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let done = match what.as_deref() {
        None | Some("parse") => parse(times, &frames),
        Some("serde_json") => repeat(times, &frames, |frame| parse_serde_json(frame)),
        Some("relay") => repeat(times, &payloads(&frames)?, relay),
        Some("last") => {
            let mut items = Vec::new();
            for payload in payloads(&frames)? {
                let (key, _) = payload.members().last().ok_or("an empty payload")?;
                items.push((payload, key.into_owned()));
            }
            repeat(times, &items, |(payload, key)| last(payload, key))
        }
        Some("tree") => repeat(times, &payloads(&frames)?, tree),
        Some("typed") => repeat(times, &payloads(&frames)?, typed),
        Some(name) => {
            let algorithm = Algorithm::ALL.iter().find(|algorithm| algorithm.as_str() == name);
            Tier::current().select_with(*algorithm.ok_or(usage)?);
            parse(times, &frames)
        }
    };
    println!("{done} frames done");
    Ok(())
}

/// Runs `what` on all items, `times` times; returns how often it succeeded.
fn repeat<T>(times: usize, items: &[T], what: impl Fn(&T) -> bool) -> usize {
    (0..times).map(|_| items.iter().filter(|item| what(black_box(item))).count()).sum()
}

fn parse(times: usize, frames: &[&[u8]]) -> usize {
    // Only the server sends presence; every other workload is of client messages.
    let client = ClientMessage::parse(frames[0]).is_ok();
    repeat(times, frames, if client { parse_client } else { parse_event })
}

fn payloads<'a>(frames: &[&'a [u8]]) -> Result<Vec<Payload<'a>>, Box<dyn Error>> {
    frames.iter().map(|frame| Ok(ChannelEvent::parse(frame)?.payload())).collect()
}

// `profiles/count` counts the instructions within the first two.

#[inline(never)]
fn parse_client(frame: &&[u8]) -> bool {
    ClientMessage::parse(frame).is_ok()
}

#[inline(never)]
fn parse_event(frame: &&[u8]) -> bool {
    ChannelEvent::parse(frame).is_ok()
}

/// The fields of every frame.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, rename = "action")]
    _action: Cow<'a, str>,
    #[serde(borrow, rename = "event")]
    _event: Cow<'a, str>,
    #[serde(borrow, rename = "channelName")]
    _channel_name: Cow<'a, str>,
    #[serde(borrow, rename = "requestId")]
    _request_id: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[inline(never)]
fn parse_serde_json(frame: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<Envelope<'_>>(frame);
    black_box(parsed).is_ok_and(|message| message.payload.get().starts_with('{'))
}

#[inline(never)]
fn relay(payload: &Payload<'_>) -> bool {
    const ID: &str = "6de7f22d-a688-49d1-af45-1c4a729d6cd0";
    !Frame::broadcast("/chat/42", "message", ID, *payload).wire().is_empty()
}

#[inline(never)]
fn last(payload: &Payload<'_>, key: &str) -> bool {
    payload.get(key).is_some()
}

#[inline(never)]
fn tree(payload: &Payload<'_>) -> bool {
    payload.decode::<serde_json::Value>().is_ok_and(|value| black_box(value).is_object())
}

#[inline(never)]
fn typed(payload: &Payload<'_>) -> bool {
    payload.decode::<Typed>().map(black_box).is_ok()
}

/// The fields of the numeric and the user workloads; all others are skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Typed {
    #[serde(rename = "seq")]
    _seq: u64,
    #[serde(rename = "t")]
    _at: u64,
    #[serde(rename = "points")]
    _points: Vec<Point>,
    #[serde(rename = "presence")]
    _presence: Vec<User>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "username")]
    _name: String,
    #[serde(rename = "online")]
    _online: bool,
    #[serde(rename = "lastSeen")]
    _last_seen: u64,
}

/// Coordinates, or a single one.
struct Point(Vec<f64>);

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Coordinates;
        impl<'de> Visitor<'de> for Coordinates {
            type Value = Point;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("coordinates")
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Point, E> {
                Ok(Point(vec![number]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Point, A::Error> {
                let mut point = Point(Vec::with_capacity(3));
                while let Some(number) = from.next_element()? {
                    point.0.push(number);
                }
                if point.0.is_empty() { Err(A::Error::custom("no coordinates")) } else { Ok(point) }
            }
        }
        from.deserialize_any(Coordinates)
    }
}
