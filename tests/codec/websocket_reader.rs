//! The WebSocket reader, byte by byte and all at once: the frames that RFC 6455 allows and forbids.

use bytes::BytesMut;
use pondwire::websocket::{Event, MaxPayload, MessageKind, MessageReader, ReadError};

use pondwire_test_support::{Random, cases, mutate};

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const LIMITS: MaxPayload = MaxPayload { plain: 70_000, compressed: None };
const DEFLATING: MaxPayload = MaxPayload { plain: 70_000, compressed: Some(80_000) };

const FINAL: u8 = 0x80;
const RSV1: u8 = 0x40;
const MORE: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A masked frame whose length is written with `width` bytes of its own.
fn frame_with(first: u8, payload: &[u8], width: usize) -> Vec<u8> {
    let len = (payload.len() as u64).to_be_bytes();
    let mut frame = vec![first];
    match width {
        0 => frame.push(0x80 | len[7]),
        2 => frame.extend_from_slice(&[0x80 | 126, len[6], len[7]]),
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&len);
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let width = match payload.len() {
        0..126 => 0,
        126..0x1_0000 => 2,
        _ => 8,
    };
    frame_with(first, payload, width)
}

type Read = Vec<(Event, Vec<u8>)>;

/// The events of these bytes when they arrive in pieces of `step`, and the error at the end.
fn read_in(limits: MaxPayload, bytes: &[u8], step: usize) -> (Read, Option<ReadError>) {
    let mut reader = MessageReader::new(BytesMut::new(), limits);
    let mut read = Vec::new();
    for piece in bytes.chunks(step) {
        reader.buffer().extend_from_slice(piece);
        loop {
            match reader.next_event() {
                // Events without a message of their own; see `every_frame_is_an_event`.
                Ok(Some(Event::Pong | Event::Fragment)) => {}
                Ok(Some(event)) => read.push((event, reader.payload().to_vec())),
                Ok(None) => break,
                Err(fault) => {
                    assert_eq!(reader.next_event(), Ok(None), "nothing comes behind a fault");
                    return (read, Some(fault));
                }
            }
        }
    }
    (read, None)
}

/// The events and the error, which are the same for every size of the pieces.
fn read_with(limits: MaxPayload, bytes: &[u8]) -> (Read, Option<ReadError>) {
    let at_once = read_in(limits, bytes, bytes.len().max(1));
    for step in [1, 2, 3, 5, 7, 64] {
        assert_eq!(read_in(limits, bytes, step), at_once, "in steps of {step}");
    }
    at_once
}

fn read(bytes: &[u8]) -> (Read, Option<ReadError>) {
    read_with(LIMITS, bytes)
}

fn text(payload: &[u8]) -> (Event, Vec<u8>) {
    (Event::Message(MessageKind { is_text: true, is_compressed: false }), payload.to_vec())
}

#[test]
fn messages_of_all_lengths() {
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for len in [0, 1, 2, 3, 4, 5, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        sent.extend(frame(FINAL | TEXT, &payload));
        expected.push(text(&payload));
        sent.extend(frame(FINAL | BINARY, &payload));
        let kind = MessageKind { is_text: false, is_compressed: false };
        expected.push((Event::Message(kind), payload));
    }
    assert_eq!(read(&sent), (expected, None));
}

#[test]
fn every_frame_is_an_event() {
    let frames = [
        (MORE | TEXT, &b"ab"[..], Event::Fragment),
        (MORE, b"", Event::Fragment),
        (FINAL | PONG, b"p", Event::Pong),
        (MORE, b"c", Event::Fragment),
        (FINAL | PING, b"q", Event::Ping),
    ];
    let mut sent: Vec<u8> = frames.iter().flat_map(|(first, it, _)| frame(*first, it)).collect();
    sent.extend(frame(FINAL, b"d"));
    let mut reader = MessageReader::new(BytesMut::from(&sent[..]), LIMITS);
    for (_, payload, event) in frames {
        assert_eq!(reader.next_event(), Ok(Some(event)));
        assert_eq!(reader.payload(), payload);
    }
    assert_eq!(reader.next_event(), Ok(Some(text(b"abcd").0)));
    assert_eq!(reader.payload(), b"abcd");
    assert_eq!(reader.next_event(), Ok(None));
}

#[test]
fn bytes_received_with_the_handshake_are_read() {
    let sent = frame(FINAL | TEXT, b"early");
    let mut reader = MessageReader::new(BytesMut::from(&sent[..]), LIMITS);
    assert_eq!(reader.next_event(), Ok(Some(text(b"early").0)));
    assert_eq!(reader.payload(), b"early");
    assert_eq!(reader.next_event(), Ok(None));
}

#[test]
fn fragments_with_control_frames_between_them() {
    let sent = [
        frame(TEXT, b"He"),
        frame(FINAL | PING, b"a"),
        frame(MORE, b""),
        frame(FINAL | PONG, b"unasked"),
        frame(MORE, b"ll"),
        frame(FINAL | PING, &[7; 125]),
        frame(FINAL | MORE, b"o"),
        frame(BINARY, b""),
        frame(FINAL | MORE, b""),
        frame(FINAL | TEXT, b"next"),
    ]
    .concat();
    let binary = Event::Message(MessageKind { is_text: false, is_compressed: false });
    let expected = vec![
        (Event::Ping, b"a".to_vec()),
        (Event::Ping, vec![7; 125]),
        text(b"Hello"),
        (binary, Vec::new()),
        text(b"next"),
    ];
    assert_eq!(read(&sent), (expected, None));
}

#[test]
fn a_close_frame_is_the_last() {
    for (payload, code) in [
        (&b""[..], None),
        (b"\x03\xE8", Some(1000)),
        (b"\x03\xE8bye \xC3\xA9", Some(1000)),
        (b"\x03\xF6", Some(1014)),
        (b"\x0B\xB8", Some(3000)),
        (b"\x13\x87", Some(4999)),
    ] {
        let rest = [frame(FINAL | TEXT, b"no"), b"\xFF\xFF".to_vec()].concat();
        let sent = [frame(FINAL | CLOSE, payload), rest].concat();
        assert_eq!(read(&sent), (vec![(Event::Close(code), payload.to_vec())], None));
    }
    // Between fragments, too.
    let sent = [frame(TEXT, b"He"), frame(FINAL | CLOSE, b"")].concat();
    assert_eq!(read(&sent), (vec![(Event::Close(None), Vec::new())], None));
}

#[test]
fn invalid_close_frames_are_refused() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        let sent = frame(FINAL | CLOSE, &code.to_be_bytes());
        assert_eq!(read(&sent), (Vec::new(), Some(ReadError::Protocol)), "{code}");
    }
    assert_eq!(read(&frame(FINAL | CLOSE, b"\x03")), (Vec::new(), Some(ReadError::Protocol)));
    assert_eq!(
        read(&frame(FINAL | CLOSE, b"\x03\xE8\xFF")),
        (Vec::new(), Some(ReadError::NotUtf8))
    );
    let codes =
        [ReadError::Protocol, ReadError::NotUtf8, ReadError::TooLarge].map(ReadError::close_code);
    assert_eq!(codes, [1002, 1007, 1009]);
}

#[test]
fn frames_that_violate_the_protocol_are_refused() {
    let masked = |first: u8, second: u8| [&[first, second][..], &[0; 20]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not masked", b"\x81\x02hi".to_vec()),
        ("not masked, a ping", b"\x89\x00".to_vec()),
        ("RSV1 that was not agreed on", frame(FINAL | RSV1 | TEXT, b"x")),
        ("RSV2", frame(FINAL | 0x20 | TEXT, b"x")),
        ("RSV3", frame(FINAL | 0x10 | TEXT, b"x")),
        ("RSV3 of a ping", frame(FINAL | 0x10 | PING, b"x")),
        ("a fragmented ping", frame(PING, b"x")),
        ("a fragmented close", frame(CLOSE, b"")),
        ("a long ping", frame(FINAL | PING, &[0; 126])),
        ("a long close", frame(FINAL | CLOSE, &[0; 126])),
        ("nothing to continue", frame(FINAL | MORE, b"x")),
        ("nothing to continue, more to come", frame(MORE, b"x")),
        ("a message within another", [frame(TEXT, b"x"), frame(FINAL | TEXT, b"y")].concat()),
        ("a fragment within another", [frame(TEXT, b"x"), frame(BINARY, b"y")].concat()),
        (
            "nothing to continue any more",
            [frame(TEXT, b"x"), frame(FINAL | MORE, b"y"), frame(MORE, b"z")].concat(),
        ),
        ("a length of 125 in two bytes", frame_with(FINAL | TEXT, &[0; 125], 2)),
        ("a length of 1 in eight bytes", frame_with(FINAL | TEXT, &[0; 1], 8)),
        ("a length of 65,535 in eight bytes", frame_with(FINAL | TEXT, &[0; 65_535], 8)),
        ("a length of 64 bits", [&[FINAL | TEXT, 0x80 | 127, 0x80][..], &[0; 11]].concat()),
    ];
    for (what, sent) in cases {
        let (events, fault) = read(&sent);
        assert_eq!(fault, Some(ReadError::Protocol), "{what}");
        assert!(events.len() <= 1, "{what}");
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        let sent = masked(FINAL | opcode, 0x80);
        assert_eq!(read(&sent), (Vec::new(), Some(ReadError::Protocol)), "opcode {opcode}");
    }
}

#[test]
fn a_head_is_judged_before_the_payload_arrives() {
    let too_large = [&[FINAL | TEXT, 0x80 | 127][..], &70_001_u64.to_be_bytes()].concat();
    assert_eq!(read(&too_large), (Vec::new(), Some(ReadError::TooLarge)));
    let huge = [&[FINAL | TEXT, 0x80 | 127][..], &((1_u64 << 63) - 1).to_be_bytes()].concat();
    assert_eq!(read(&huge), (Vec::new(), Some(ReadError::TooLarge)));
    assert_eq!(read(&[FINAL | TEXT, 0x02]), (Vec::new(), Some(ReadError::Protocol)), "no mask");
    assert_eq!(
        read(&[FINAL | PING, 0x80 | 126]),
        (Vec::new(), Some(ReadError::Protocol)),
        "too long"
    );
}

#[test]
fn fragments_are_limited_together() {
    let half = vec![b'x'; 35_000];
    let whole = [frame(TEXT, &half), frame(FINAL | PING, b"p"), frame(FINAL | MORE, &half)];
    let expected = vec![(Event::Ping, b"p".to_vec()), text(&[&half[..], &half].concat())];
    assert_eq!(read(&whole.concat()), (expected, None));

    let (full, one) = (frame(TEXT, &[b'x'; 70_000]), frame(MORE, b"x"));
    let empty = [frame(MORE, b""), frame(FINAL | MORE, b"")].concat();
    assert_eq!(read(&[&full[..], &one[..6]].concat()), (Vec::new(), Some(ReadError::TooLarge)));
    assert_eq!(read(&[&full[..], &empty].concat()), (vec![text(&[b'x'; 70_000])], None));

    // Fragments without end and without bytes cost no memory.
    let mut reader = MessageReader::new(BytesMut::new(), LIMITS);
    reader.buffer().extend_from_slice(&frame(TEXT, b""));
    for _ in 0..10_000 {
        reader.buffer().extend_from_slice(&frame(MORE, b"").repeat(10));
        while let Some(event) = reader.next_event().unwrap() {
            assert_eq!(event, Event::Fragment);
        }
    }
    assert!(reader.buffer().capacity() < 64 << 10);
}

#[test]
fn compressed_messages_need_the_negotiated_extension() {
    let kind = MessageKind { is_text: true, is_compressed: true };
    let long = vec![7; 80_000];
    let sent = [
        frame(FINAL | RSV1 | TEXT, b"abc"),
        frame(RSV1 | TEXT, b"a"),
        frame(FINAL | PING, b""),
        frame(FINAL | MORE, b"b"),
        frame(FINAL | TEXT, b"plain"),
        frame(RSV1 | BINARY, &long[..60_000]),
        frame(FINAL | MORE, &long[60_000..]),
    ];
    let expected = vec![
        (Event::Message(kind), b"abc".to_vec()),
        (Event::Ping, Vec::new()),
        (Event::Message(kind), b"ab".to_vec()),
        text(b"plain"),
        (Event::Message(MessageKind { is_text: false, is_compressed: true }), long),
    ];
    assert_eq!(read_with(DEFLATING, &sent.concat()), (expected, None));

    for (what, sent, fault) in [
        ("RSV1 of a ping", frame(FINAL | RSV1 | PING, b""), ReadError::Protocol),
        ("RSV1 of a close", frame(FINAL | RSV1 | CLOSE, b""), ReadError::Protocol),
        (
            "RSV1 of a second fragment",
            [frame(RSV1 | TEXT, b"a"), frame(FINAL | RSV1 | MORE, b"b")].concat(),
            ReadError::Protocol,
        ),
        ("RSV1 and RSV2", frame(FINAL | RSV1 | 0x20 | TEXT, b"a"), ReadError::Protocol),
        ("too large, compressed", frame(FINAL | RSV1 | TEXT, &[7; 80_001]), ReadError::TooLarge),
        ("too large, not compressed", frame(FINAL | TEXT, &[7; 70_001]), ReadError::TooLarge),
        (
            "too large together",
            [frame(RSV1 | TEXT, &[7; 80_000]), frame(FINAL | MORE, b"b")].concat(),
            ReadError::TooLarge,
        ),
    ] {
        assert_eq!(read_with(DEFLATING, &sent), (Vec::new(), Some(fault)), "{what}");
    }
}

#[test]
fn the_memory_of_large_messages_is_freed() {
    let mut reader = MessageReader::new(BytesMut::new(), LIMITS);
    for sent in [
        frame(FINAL | TEXT, &[7; 70_000]),
        [frame(TEXT, &[7; 65_000]), frame(FINAL | MORE, &[7; 5_000])].concat(),
    ] {
        reader.buffer().extend_from_slice(&sent);
        let whole = loop {
            match reader.next_event().unwrap() {
                Some(Event::Fragment) => {}
                other => break other,
            }
        };
        assert!(matches!(whole, Some(Event::Message(_))));
        assert_eq!(reader.payload(), [7; 70_000]);
        assert_eq!(reader.next_event(), Ok(None));
        assert_eq!(reader.payload(), b"");
        assert!(reader.buffer().capacity() <= 64 << 10);
    }
}

#[test]
fn any_bytes_give_events_or_an_error() {
    // The first bytes decide whether a frame is valid: all pairs of these are tried, followed by
    // bytes that complete some of the frames.
    for limits in [LIMITS, DEFLATING] {
        for pair in 0..=u16::MAX {
            let [first, second] = pair.to_be_bytes();
            let sent = [&[first, second][..], &[first ^ 0x5A; 200]].concat();
            let at_once = read_in(limits, &sent, sent.len());
            assert_eq!(read_in(limits, &sent, 17), at_once);
            for (event, payload) in at_once.0 {
                assert!(payload.len() <= 200, "{event:?}");
            }
        }
    }
}

/// Messages in fragments of any length, with control frames anywhere between them, and the events that
/// must result.
fn script(random: &mut Random) -> (Vec<u8>, Read) {
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..random.below(6) {
        let payload: Vec<u8> = (0..random.below(400)).map(|_| random.next() as u8).collect();
        let is_text = random.below(2) == 0;
        let is_compressed = random.below(3) == 0;
        let mut first = if is_text { TEXT } else { BINARY } | if is_compressed { RSV1 } else { 0 };
        let mut rest = &payload[..];
        loop {
            while random.below(3) == 0 {
                let ping = vec![random.next() as u8; random.below(126)];
                sent.extend(frame(FINAL | PING, &ping));
                expected.push((Event::Ping, ping));
                sent.extend(frame(FINAL | PONG, b"?"));
            }
            let (fragment, later) = rest.split_at(random.below(rest.len() + 1));
            let is_last = later.is_empty() && random.below(2) == 0;
            sent.extend(frame(first | if is_last { FINAL } else { 0 }, fragment));
            if is_last {
                break;
            }
            (first, rest) = (MORE, later);
        }
        expected.push((Event::Message(MessageKind { is_text, is_compressed }), payload));
    }
    (sent, expected)
}

#[test]
fn random_messages_and_damaged_ones_read_the_same_in_all_steps() {
    let mut random = Random::from_env("websocket_reader");
    for _ in 0..cases(20_000) {
        let (sent, expected) = script(&mut random);
        let step = 1 + random.below(300);
        assert_eq!(read_in(DEFLATING, &sent, step), (expected, None));

        // Damaged in any way, it reads the same in all steps, and no payload is invented.
        let damaged = mutate(&mut random, &sent);
        let at_once = read_in(DEFLATING, &damaged, damaged.len().max(1));
        assert_eq!(read_in(DEFLATING, &damaged, step), at_once);
        let read: usize = at_once.0.iter().map(|(_, payload)| payload.len()).sum();
        assert!(read <= damaged.len());
    }
}

#[test]
fn without_a_limit_no_length_is_too_large() {
    let limits = MaxPayload { plain: usize::MAX, compressed: None };
    // As large as the address space of 32-bit pointers; with the head, larger.
    for len in [u64::from(u32::MAX) - 8, u64::from(u32::MAX)] {
        let mut head = vec![FINAL | TEXT, 0x80 | 127];
        head.extend_from_slice(&len.to_be_bytes());
        head.extend_from_slice(&MASK);
        head.extend_from_slice(b"the start");
        assert_eq!(read_with(limits, &head), (vec![], None), "{len}");
    }
    let mut head = vec![FINAL | TEXT, 0x80 | 127];
    head.extend_from_slice(&(1_u64 << 32).to_be_bytes());
    let fault = (usize::BITS == 32).then_some(ReadError::TooLarge);
    assert_eq!(read_with(limits, &head), (vec![], fault));
}

#[test]
fn emptying_the_buffer_loses_bytes_and_nothing_else() {
    let mut reader = MessageReader::new(BytesMut::new(), LIMITS);
    reader.buffer().extend_from_slice(&[frame(TEXT, b"He"), frame(FINAL | MORE, b"l")].concat());
    assert_eq!(reader.next_event(), Ok(Some(Event::Fragment)));
    assert_eq!(reader.payload(), b"He");
    reader.buffer().clear();
    assert_eq!(reader.payload(), b"", "the buffer has taken its place");
    assert_eq!(reader.next_event(), Ok(None));
    reader.buffer().extend_from_slice(&frame(FINAL | MORE, b"y"));
    assert_eq!(reader.next_event(), Ok(Some(text(b"Hey").0)));
    reader.buffer().clear();
    assert_eq!(reader.payload(), b"");
    assert_eq!(reader.next_event(), Ok(None));
}
