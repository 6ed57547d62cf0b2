//! permessage-deflate: a broadcast compressed for all its recipients, a received message inflated.

use std::hint::black_box;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use pondwire::deflate::{DeflateOptions, Inflater};
use pondwire::{Frame, Payload};

use crate::bench::{Contender, Plan, Row};
use crate::encode::{CHANNEL, REQUEST_ID};
use crate::payloads::{self, size_name};
use crate::report::Section;

const SIZES: [usize; 5] = [256, 512, 1024, 10_240, 65_536];

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

fn rows(
    plan: &Plan,
    kind: &str,
    sizes: &[usize],
    row: fn(&Plan, String, usize) -> Row,
) -> Vec<Row> {
    let names = sizes.iter().map(|&size| (format!("{kind} {}", size_name(size)), size));
    let wanted = names.filter(|(name, _)| plan.wants(name));
    wanted.map(|(name, size)| row(plan, name, size)).collect()
}

fn broadcast(size: usize) -> Frame {
    let json = payloads::json(size);
    let payload = Payload::from_json(&json).expect("an object");
    Frame::broadcast(CHANNEL, "message", REQUEST_ID, payload)
}

/// Compresses anew, as a library without prepared messages does for every recipient.
fn fresh(document: &[u8], level: u8) -> Vec<u8> {
    let mut stream = Compress::new(Compression::new(level.into()), false);
    let mut output = Vec::with_capacity(document.len() + 64);
    stream.compress_vec(document, &mut output, FlushCompress::Sync).expect("compresses");
    output.truncate(output.len() - TAIL.len());
    output
}

pub fn compress(plan: &Plan) -> Section {
    Section {
        title: "Deflate, ns per broadcast",
        size: "bytes",
        note: "The frame is made and compressed, once for all recipients; bytes are the payload's. \
               flate2 (zlib-rs too): a new `Compress` for the message, as libraries do that \
               compress for each recipient. Level 6 unless told otherwise.",
        rows: rows(plan, "deflate", &SIZES, compress_row),
    }
}

fn compress_row(plan: &Plan, name: String, size: usize) -> Row {
    let json = payloads::json(size);
    let payload = Payload::from_json(&json).expect("an object");
    let relay = || Frame::broadcast(CHANNEL, "message", REQUEST_ID, black_box(payload));
    let document = relay().json().to_vec();
    let at_level = |level| {
        move || {
            let frame = relay();
            let options = DeflateOptions::new().with_level(level);
            frame.deflated_with(options).is_some_and(|bytes| bytes.len() > 100).then_some(frame)
        }
    };
    let deflated = relay().deflated_bytes().expect("it shrinks");
    assert!(deflated.ends_with(&fresh(&document, 6)), "the same bytes");
    let size_at = |level: u8| fresh(&document, level).len();
    let sizes = [1, 3, 6, 9].map(|level| format!("{level}: {}", size_at(level)));
    eprintln!("  {} B at level {}", document.len(), sizes.join(", "));

    let contenders = vec![
        Contender::new("pondwire", at_level(6)),
        Contender::new("pondwire level 1", at_level(1)),
        Contender::new("pondwire level 3", at_level(3)),
        Contender::new("pondwire level 9", at_level(9)),
        Contender::new("fresh flate2", || fresh(black_box(&document), 6)),
    ];
    plan.race(name, 1, size, contenders)
}

/// The cost of a recipient: a reference to the frame for its queue, and a look-up of its bytes.
pub fn recipients(plan: &Plan) -> Section {
    Section {
        title: "Send a shared frame, ns per recipient",
        size: "bytes",
        note: "A clone of the frame in a queue of 1,000, each looked up and dropped. Compressed: \
               `deflated()`, made before; plain: `wire()`. flate2: compressed for the recipient, \
               with a new `Compress` and with one that is reset, as with a context per connection.",
        rows: rows(plan, "recipients of", &[1024, 10_240], recipients_row),
    }
}

fn recipients_row(plan: &Plan, name: String, size: usize) -> Row {
    const RECIPIENTS: usize = 1000;
    let frame = broadcast(size);
    assert!(frame.deflated().is_some());
    let document = frame.json().to_vec();
    let mut queue: Vec<Frame> = Vec::with_capacity(RECIPIENTS);
    let mut other: Vec<Frame> = Vec::with_capacity(RECIPIENTS);
    let mut reused = Compress::new(Compression::new(6), false);
    let mut output = Vec::with_capacity(document.len() + 64);
    let compressed = || {
        queue.extend((0..RECIPIENTS).map(|_| frame.clone()));
        queue
            .drain(..)
            .map(|frame| black_box(frame.deflated()).map_or(0, <[u8]>::len))
            .sum::<usize>()
    };
    let plain = || {
        other.extend((0..RECIPIENTS).map(|_| frame.clone()));
        other.drain(..).map(|frame| black_box(frame.wire()).len()).sum::<usize>()
    };
    let contenders = vec![
        Contender::new("plain", plain),
        Contender::new("compressed", compressed),
        Contender::new("fresh flate2", || -> usize {
            (0..RECIPIENTS).map(|_| fresh(black_box(&document), 6).len()).sum()
        }),
        Contender::new("reset flate2", || -> usize {
            let each = |_| {
                reused.reset();
                output.clear();
                let document = black_box(&document);
                reused
                    .compress_vec(document, &mut output, FlushCompress::Sync)
                    .expect("compresses");
                output.len()
            };
            (0..RECIPIENTS).map(each).sum()
        }),
    ];
    plan.race(name, RECIPIENTS, RECIPIENTS * size, contenders)
}

pub fn inflate(plan: &Plan) -> Section {
    Section {
        title: "Inflate, ns per message",
        size: "bytes",
        note: "A message as `Frame::deflated` makes it. flate2: `Decompress` into a buffer that \
               has room for all of it, kept and reset, or new.",
        rows: rows(plan, "inflate", &SIZES, inflate_row),
    }
}

fn inflate_row(plan: &Plan, name: String, size: usize) -> Row {
    let frame = broadcast(size);
    let payload = fresh(frame.json(), 6);
    let with_tail = [&payload[..], &TAIL].concat();
    let expected = frame.json().len();
    let mut inflater = Inflater::new();
    let mut kept = Decompress::new(false);
    let (mut output, mut other) = (Vec::new(), Vec::new());
    let contenders = vec![
        Contender::checked("pondwire", &expected, || {
            inflater.inflate(black_box(&payload), 1 << 20).ok().map(<[u8]>::len)
        }),
        Contender::checked("reset flate2", &expected, || {
            kept.reset(false);
            decompress(&mut kept, black_box(&with_tail), expected, &mut output)
        }),
        Contender::checked("fresh flate2", &expected, || {
            let mut stream = Decompress::new(false);
            decompress(&mut stream, black_box(&with_tail), expected, &mut other)
        }),
    ];
    plan.race(name, 1, size, contenders)
}

fn decompress(
    stream: &mut Decompress,
    input: &[u8],
    size: usize,
    output: &mut Vec<u8>,
) -> Option<usize> {
    output.clear();
    output.reserve(size + 1);
    stream.decompress_vec(input, output, FlushDecompress::Sync).ok()?;
    Some(output.len())
}

/// The cost of inflating messages that are made to be expensive.
pub fn bombs(plan: &Plan) -> Section {
    let most = Inflater::max_payload(LIMIT);
    let gigabyte = zeros(1 << 20).repeat(1024);
    let bombs: [(&str, Vec<u8>); 5] = [
        ("1 GiB of zeros", gigabyte[..gigabyte.len() - TAIL.len()].to_vec()),
        ("empty stored blocks", [&[0, 0, 0, 0xFF, 0xFF].repeat(most / 5 - 1)[..], &[0]].concat()),
        ("empty final blocks", [&[3, 0].repeat(most / 2 - 1)[..], &[0]].concat()),
        ("tables for nothing", tables(most)),
        ("an honest 1 MiB", {
            let frame = broadcast(LIMIT - 200);
            fresh(frame.json(), 6)
        }),
    ];
    let rows = bombs
        .into_iter()
        .filter(|(name, _)| plan.wants(name))
        .map(|(name, payload)| {
            let mut inflater = Inflater::new();
            let error = inflater.inflate(&payload, LIMIT).err();
            assert!(error.is_none_or(|error| error.is_too_large()), "{name}: {error:?}");
            let contenders = vec![Contender::new("pondwire", || {
                inflater.inflate(black_box(&payload), LIMIT).map_or(0, <[u8]>::len)
            })];
            plan.race(name.to_owned(), 1, payload.len(), contenders)
        })
        .collect();
    Section {
        title: "Bombs, ns per message",
        size: "bytes",
        note: "Inflated within a limit of 1 MiB, beside an honest message of that size; bytes are \
               those received.",
        rows,
    }
}

const LIMIT: usize = 1 << 20;

/// A compressed run of zeros: a flushed part of a stream, which may be repeated.
fn zeros(length: usize) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut output = Vec::with_capacity(length);
    stream.compress_vec(&vec![0; length], &mut output, FlushCompress::Full).expect("compresses");
    output
}

/// Blocks that hold nothing but the description of a code which fills a decoder's whole table.
fn tables(most: usize) -> Vec<u8> {
    let mut bits = String::new();
    // Numbers are written lowest bit first, codes highest bit first.
    let number = |value: usize, count: usize| -> String {
        format!("{value:0count$b}").chars().rev().take(count).collect()
    };
    bits += &(number(0b100, 3) + &number(0, 5) + &number(0, 5) + &number(14, 4));
    // The code of the code lengths: 3 bits for 1 to 4 and 18, 4 bits for 5 to 10.
    for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
        bits += &number(
            match symbol {
                1..=4 | 18 => 3,
                5..=10 => 4,
                _ => 0,
            },
            3,
        );
    }
    let code = |length: usize| match length {
        1..=4 => format!("{:03b}", length - 1),
        _ => format!("{:04b}", length + 5),
    };
    // 246 literals without a code, by two runs of zeros; then lengths 1 to 10 and 10 again.
    bits += &("100".to_owned() + &number(138 - 11, 7) + "100" + &number(108 - 11, 7));
    (1..=10).chain([10, 1]).for_each(|length| bits += &code(length));
    bits += "1111111111";
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    let eight = bits.repeat(8);
    let blocks: Vec<u8> = eight.as_bytes().chunks(8).map(byte).collect();
    let mut payload = blocks.repeat(most / blocks.len() - 1);
    payload.push(0);
    payload
}
