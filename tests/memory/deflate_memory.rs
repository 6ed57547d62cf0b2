//! The memory that compressing and inflating take, counted; for decompression bombs above all.

use std::hint::black_box;

use flate2::{Compress, Compression, FlushCompress};
use pondwire::deflate::{DeflateOptions, InflateError, Inflater};
use pondwire::{Frame, Limits, ServerAction};
use pondwire_test_support::counting;

/// The result of `run`, the number of its allocations, and the most bytes they held at once.
fn measured<R>(run: impl FnOnce() -> R) -> (R, usize, usize) {
    let (count, live) = (counting::count(), counting::live());
    counting::reset_peak();
    let result = black_box(run());
    (result, counting::count() - count, (counting::peak() - live) as usize)
}

const LIMIT: usize = 1 << 20;

/// The bytes that an inflater holds besides its output.
const STATE: usize = 64 << 10;

fn text_frame(length: usize) -> Frame {
    let text: String = (0..length).map(|i| char::from(b'a' + (i * i / 7 % 23) as u8)).collect();
    let payload = serde_json::json!({ "text": text });
    Frame::serialize(ServerAction::Broadcast, "/c", "e", "r", &payload).unwrap()
}

/// A message of `length` equal bytes; `flush` ends each block of them.
fn zeros(length: usize, block: usize, flush: FlushCompress) -> Vec<u8> {
    let mut stream = Compress::new(Compression::best(), false);
    let mut compressed = vec![0; 1 << 20];
    stream.compress(&vec![0; block], &mut compressed, flush).unwrap();
    compressed.truncate(stream.total_out() as usize);
    let mut message = compressed.repeat(length / block);
    match flush {
        FlushCompress::Finish => message.push(0),
        _ => message.truncate(message.len() - 4),
    }
    message
}

#[test]
fn a_compressed_form_is_the_only_allocation() {
    // The thread's compressor and its output, of the largest document so far.
    assert!(text_frame(100_000).deflated().is_some());
    for length in [300, 1000, 10_000, 100_000] {
        for level in [1, 6, 9, 6] {
            let frame = text_frame(length);
            let options = DeflateOptions::new().with_level(level);
            let (size, count, peak) =
                measured(|| frame.deflated_with(options).map_or(0, <[u8]>::len));
            assert!(size > 0);
            assert_eq!((count, peak), (1, size), "{length} at level {level}");
            let (_, count, _) = measured(|| frame.clone().deflated().is_some());
            assert_eq!(count, 0, "once made, it is there");
            let (bytes, count, _) = measured(|| frame.deflated_bytes());
            assert_eq!((bytes.unwrap().len(), count), (size, 1));
        }
        let frame = text_frame(length);
        let stored =
            DeflateOptions::new().with_level(0).with_min_bytes(0).with_max_bytes(usize::MAX);
        let (none, count, _) = measured(|| frame.deflated_with(stored).is_none());
        assert_eq!((none, count), (true, 0), "no compressed form was made");
    }
}

#[test]
fn a_thread_does_not_keep_the_memory_of_a_large_frame() {
    let (_, _, peak) = measured(|| text_frame(300).deflated().is_some());
    assert!((200 << 10..400 << 10).contains(&peak), "a compressor: {peak}");
    let any = DeflateOptions::new().with_max_bytes(usize::MAX);
    assert!(text_frame(900_001).deflated_with(any).is_some());
    let frame = text_frame(900_000);
    let before = counting::live();
    let size = frame.deflated_with(any).unwrap().len();
    assert_eq!((counting::live() - before) as usize, size);
}

#[test]
fn inflating_allocates_nothing_once_the_output_has_grown() {
    let ((), count, peak) = measured(|| drop(Inflater::new()));
    assert!(count <= 2 && peak < STATE, "{count} allocations, {peak} bytes");
    let mut inflater = Inflater::new();
    let payloads = [300, 5000, 100_000].map(|length| zeros(length, length, FlushCompress::Sync));
    assert!(inflater.inflate(&payloads[2], LIMIT).is_ok());
    for payload in payloads {
        let (good, count, _) = measured(|| inflater.inflate(&payload, LIMIT).is_ok());
        assert_eq!((good, count), (true, 0));
        let (bad, count, _) = measured(|| inflater.inflate(&payload[1..], LIMIT).is_err());
        assert_eq!((bad, count), (true, 0));
        let (large, count, _) = measured(|| inflater.inflate(&payload, 299).is_err());
        assert_eq!((large, count), (true, 0));
    }
}

/// The verdict of a new inflater, within the memory that it may take.
fn bounded(payload: &[u8], limit: usize) -> Result<usize, InflateError> {
    let (result, _, peak) = measured(|| Inflater::new().inflate(payload, limit).map(<[u8]>::len));
    assert!(peak <= STATE + limit + limit / 4 + (16 << 10), "{peak} bytes for a limit of {limit}");
    result
}

#[test]
fn bombs_are_refused_within_the_limit() {
    let gigabyte = 1 << 30;
    let bombs = [
        ("one stream", zeros(gigabyte, 1 << 20, FlushCompress::Full)),
        ("a stream after the other", zeros(gigabyte, 1 << 20, FlushCompress::Finish)),
        ("one block", zeros(1 << 26, 1 << 26, FlushCompress::Sync)),
    ];
    for (name, bomb) in &bombs {
        assert!(bomb.len() < Inflater::max_payload(LIMIT), "{name}: inflated, not refused unread");
        for limit in [LIMIT, LIMIT / 16, LIMIT - 1] {
            let error = bounded(bomb, limit).unwrap_err();
            assert_eq!(error.to_string(), format!("Message exceeds {limit} bytes"), "{name}");
            assert!(error.is_too_large() && error.close_code() == 1009, "{name}");
        }
        for limit in [0, 1, 100] {
            assert!(bounded(bomb, limit).unwrap_err().is_too_large());
        }
    }
    // Other messages are not affected: the same inflater continues.
    let mut inflater = Inflater::new();
    for (_, bomb) in &bombs {
        assert!(inflater.inflate(bomb, LIMIT).is_err());
        let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(inflater.inflate(&hello, LIMIT), Ok(&b"Hello"[..]));
    }
}

/// A bomb in a bomb is data: a message is inflated once.
#[test]
fn nested_compression_is_data() {
    let inner = zeros(1 << 30, 1 << 20, FlushCompress::Full);
    let mut stream = Compress::new(Compression::best(), false);
    let mut outer = vec![0; 1 << 20];
    stream.compress(&inner, &mut outer, FlushCompress::Sync).unwrap();
    outer.truncate(stream.total_out() as usize - 4);
    assert!(outer.len() < inner.len() / 10);
    let mut inflater = Inflater::new();
    assert_eq!(inflater.inflate(&outer, 2 << 20), Ok(&inner[..]));
    assert_eq!(bounded(&outer, 2 << 20), Ok(inner.len()));
}

#[test]
fn a_message_of_just_the_limit_is_within_it() {
    for size in [1, 100, 16 << 10, (16 << 10) + 1, 64 << 10, 100_000, LIMIT] {
        let payload = zeros(size, size, FlushCompress::Sync);
        assert_eq!(bounded(&payload, size), Ok(size));
        assert_eq!(bounded(&payload, size - 1).unwrap_err().close_code(), 1009);
        assert_eq!(bounded(&payload, usize::MAX / 2), Ok(size), "no limit to speak of");
        assert_eq!(bounded(&payload, usize::MAX >> 1), Ok(size));
    }
    let payload = zeros(1000, 1000, FlushCompress::Sync);
    assert_eq!(Inflater::new().inflate(&payload, usize::MAX).map(<[u8]>::len), Ok(1000));
}

#[test]
fn empty_blocks_are_limited() {
    let limit = Limits::default().max_bytes;
    let most = Inflater::max_payload(limit);
    // Empty blocks: stored ones, fixed ones (four of ten bits each), and final ones.
    let nothing: [&[u8]; 3] = [&[0, 0, 0, 0xff, 0xff], &[2, 8, 0x20, 0x80, 0], &[3, 0]];
    for block in nothing {
        let mut payload = block.repeat(most / block.len() - 1);
        payload.push(0);
        assert_eq!(bounded(&payload, limit), Ok(0), "{block:?}");
        payload.extend_from_slice(&payload.clone());
        assert!(bounded(&payload, limit).unwrap_err().is_too_large(), "unread");
    }
    let one = [0, 1, 0, 0xfe, 0xff, b'x'];
    let mut payload = one.repeat(most / one.len() - 1);
    payload.push(0);
    assert_eq!(bounded(&payload, limit), Ok(most / one.len() - 1));
    assert!(bounded(&payload, 1000).unwrap_err().is_too_large());
}

/// The output of any compressor for any message within the limit is accepted.
#[test]
fn no_honest_message_is_too_long() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 0x80
    })
    .take(LIMIT)
    .collect();
    for size in [0, 1, 10, 1000, LIMIT] {
        for level in 0..=9 {
            let mut stream = Compress::new(Compression::new(level), false);
            let mut payload = vec![0; 2 * size + 100];
            stream.compress(&noise[..size], &mut payload, FlushCompress::Sync).unwrap();
            payload.truncate(stream.total_out() as usize - 4);
            assert!(payload.len() <= Inflater::max_payload(size), "{size} at level {level}");
            assert_eq!(bounded(&payload, size), Ok(size));
        }
    }
}
