//! Compressed frames and messages, byte for byte against other inflaters and compressors.

use std::path::Path;
use std::sync::Barrier;

use pondwire::deflate::{DeflateOptions, Inflater};
use pondwire::{ClientMessage, Frame, Limits, ServerAction};
use pondwire_test_support::{Random, cases, from_hex, inflate, mutate, workload_frames};

const LIMIT: usize = 1 << 20;

/// The payload of a final, compressed, unmasked text frame.
fn unframe(frame: &[u8]) -> &[u8] {
    assert_eq!(frame[0], 0x80 | 0x40 | 0x01, "FIN, RSV1, text");
    let (length, at) = match frame[1] {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        127 => (u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize, 10),
        short => (usize::from(short), 2),
    };
    assert_eq!(frame.len(), at + length);
    &frame[at..]
}

fn text_frame(text: &str) -> Frame {
    let payload = serde_json::json!({ "text": text });
    Frame::serialize(ServerAction::Broadcast, "/c", "e", "r", &payload).unwrap()
}

/// Text that does not repeat itself.
fn noise(random: &mut Random, length: usize) -> String {
    (0..length).map(|_| char::from(b'#' + random.below(57) as u8)).collect()
}

#[test]
fn the_examples_of_rfc_7692() {
    let examples: [(&[u8], &[u8]); 7] = [
        // 7.2.3.1 one block, and the same put together from two fragments
        (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
        (&[[0xf2, 0x48, 0xcd].as_slice(), &[0xc9, 0xc9, 0x07, 0x00]].concat(), b"Hello"),
        // 7.2.3.3 a stored block
        (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
        // 7.2.3.4 a final block
        (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
        // 7.2.3.5 two blocks
        (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
        // 7.2.3.6 an empty message
        (&[0x00], b""),
        // Final blocks in a row.
        (&[[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00].as_slice(); 3].concat(), b""),
    ];
    let mut inflater = Inflater::new();
    for (payload, text) in &examples[..6] {
        assert_eq!(inflater.inflate(payload, LIMIT), Ok(*text));
        assert_eq!(inflate::message(payload, LIMIT).as_deref(), Some(*text));
    }
    let thrice = [examples[6].0, &[0]].concat();
    assert_eq!(inflater.inflate(&thrice, 15), Ok(&b"HelloHelloHello"[..]));
    // 7.2.3.2 needs the previous message: a context that this side did not agree to keep.
    let error = inflater.inflate(&[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT).unwrap_err();
    assert_eq!(error.close_code(), 1007);
}

#[test]
fn messages_as_python_compresses_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(root.join("tests/vectors/deflate.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let records = vectors["records"].as_array().unwrap();
    assert!(records.len() >= 140);
    let mut inflater = Inflater::new();
    for record in records {
        let file = format!("profiles/workloads/{}.ndjson", record["file"].as_str().unwrap());
        let workload = std::fs::read(root.join(file)).unwrap();
        let line = record["line"].as_u64().unwrap() as usize;
        let document = workload.split(|&byte| byte == b'\n').nth(line).unwrap();
        let payload = from_hex(record["payload_hex"].as_str().unwrap());
        assert_eq!(inflater.inflate(&payload, LIMIT), Ok(document), "{record}");
        assert_eq!(inflater.inflate(&payload, document.len()), Ok(document));
        let error = inflater.inflate(&payload, document.len() - 1).unwrap_err();
        assert!(error.is_too_large());
    }
}

#[test]
fn real_frames_come_back_byte_for_byte() {
    let mut inflater = Inflater::new();
    let mut compressed = 0;
    for received in workload_frames(LIMIT).iter().step_by(3) {
        let Ok(message) = ClientMessage::parse(received) else { continue };
        let frame = Frame::broadcast("/chat/42", message.event(), "r-1", message.payload());
        let Some(bytes) = frame.deflated() else {
            assert!(frame.json().len() < 256);
            continue;
        };
        compressed += 1;
        assert!(bytes.len() < frame.wire().len());
        let payload = unframe(bytes);
        assert_eq!(inflate::message(payload, LIMIT).as_deref(), Some(frame.json()));
        assert_eq!(inflater.inflate(payload, LIMIT), Ok(frame.json()));
    }
    assert!(compressed > 300, "{compressed}");
}

#[test]
fn random_frames_come_back_at_every_length_and_level() {
    let mut random = Random::from_env("random_frames_come_back");
    let mut inflater = Inflater::new();
    for case in 0..cases(3000) {
        let most = if case % 100 == 0 { 300_000 } else { 3000 };
        let mut text = String::new();
        let length = random.below(most);
        while text.len() < length {
            let piece = random.below(40);
            let repeats = 1 + random.below(20);
            text.push_str(&noise(&mut random, piece).repeat(repeats));
            text.push(*random.pick(&['"', '\\', '\n', 'é', '😀', '\0']));
        }
        let frame = text_frame(&text);
        let options = DeflateOptions::new()
            .with_level(random.below(12) as u8)
            .with_min_bytes(0)
            .with_max_bytes(usize::MAX);
        let Some(bytes) = frame.deflated_with(options) else {
            assert!(options.level == 0 || frame.json().len() < 200);
            continue;
        };
        let payload = unframe(bytes);
        assert_eq!(inflate::message(payload, LIMIT).as_deref(), Some(frame.json()));
        assert_eq!(inflater.inflate(payload, frame.json().len()), Ok(frame.json()));
    }
}

#[test]
fn the_head_has_the_shortest_form_at_every_length() {
    let mut random = Random::from_env("the_head_has_the_shortest_form");
    let mut forms = [0; 3];
    for length in (0..400).step_by(3).chain((60_000..100_000).step_by(2500)) {
        let frame = text_frame(&noise(&mut random, length));
        let options = DeflateOptions::new().with_min_bytes(0);
        let Some(bytes) = frame.deflated_with(options) else { continue };
        let payload = unframe(bytes);
        assert_eq!(
            bytes.len() - payload.len(),
            match payload.len() {
                0..=125 => 2,
                126..=0xFFFF => 4,
                _ => 10,
            }
        );
        forms[(bytes.len() - payload.len()) / 4] += 1;
        assert_eq!(inflate::message(payload, LIMIT).as_deref(), Some(frame.json()));
    }
    assert!(forms.iter().all(|&count| count > 0), "{forms:?}");
}

#[test]
fn frames_that_compression_does_not_shorten_are_sent_plain() {
    let short = text_frame(&"a".repeat(150));
    assert!((150..256).contains(&short.json().len()));
    assert_eq!(short.deflated(), None);
    let lower = DeflateOptions::new().with_min_bytes(0);
    assert_eq!(short.deflated_with(lower), None, "the first call decides");
    assert_eq!(short.deflated_bytes(), None);
    assert!(text_frame(&"a".repeat(150)).deflated_with(lower).is_some());

    let long = "the same again ".repeat(100);
    assert!(text_frame(&long).deflated().is_some());
    let nothing = DeflateOptions::new().with_level(0).with_min_bytes(0).with_max_bytes(usize::MAX);
    assert_eq!(text_frame(&long).deflated_with(nothing), None);

    // Two-byte characters, each once: the fixed code of level 1 has nine bits for most bytes.
    let distinct: String = (0x80..0x800).filter_map(char::from_u32).collect();
    let fastest = DeflateOptions::new().with_level(1).with_min_bytes(0).with_max_bytes(usize::MAX);
    assert_eq!(text_frame(&distinct).deflated_with(fastest), None);
}

#[test]
fn frames_above_max_bytes_are_sent_plain() {
    let frame_of = |len: usize| {
        let empty = text_frame("").json().len();
        text_frame(&"again ".repeat(len)[..len - empty])
    };
    let DeflateOptions { max_bytes, .. } = DeflateOptions::default();
    let (largest, larger) = (frame_of(max_bytes), frame_of(max_bytes + 1));
    assert_eq!((largest.json().len(), larger.json().len()), (max_bytes, max_bytes + 1));
    assert!(largest.deflated().is_some());
    assert_eq!(larger.deflated(), None);
    let any = DeflateOptions::new().with_max_bytes(usize::MAX);
    assert!(frame_of(max_bytes + 1).deflated_with(any).is_some());
}

#[test]
fn the_first_options_make_the_form_that_all_share() {
    let frame = text_frame(&"now is the time for all good men ".repeat(60));
    let smallest = DeflateOptions::new().with_level(9);
    let fastest = DeflateOptions::new().with_level(1);
    let first = frame.deflated_with(fastest).unwrap();
    for again in [frame.deflated_with(smallest), frame.deflated(), frame.clone().deflated()] {
        assert_eq!(again.map(<[u8]>::as_ptr), Some(first.as_ptr()));
    }
    let other = text_frame(&"now is the time for all good men ".repeat(60));
    assert!(other.deflated_with(smallest).unwrap().len() < first.len());

    let bytes = frame.deflated_bytes().unwrap();
    assert_eq!((bytes.as_ptr(), bytes.len()), (first.as_ptr(), first.len()));
    let expected = frame.json().to_vec();
    drop(frame);
    assert_eq!(inflate::message(unframe(&bytes), LIMIT), Some(expected));
}

#[test]
fn a_thousand_recipients_share_one_form() {
    let frame = text_frame(&"one for all, all for one ".repeat(200));
    let barrier = Barrier::new(8);
    let addresses: Vec<usize> = std::thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            (0..125).map(|_| frame.clone().deflated().unwrap().as_ptr() as usize).collect()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        let asked = threads.into_iter().flat_map(|thread| -> Vec<usize> { thread.join().unwrap() });
        asked.collect()
    });
    assert_eq!(addresses.len(), 1000);
    assert!(addresses.iter().all(|&address| address == addresses[0]));
}

/// A thread that ends may still publish, from the destructors of its thread-local values.
#[test]
fn frames_are_compressed_while_a_thread_ends() {
    struct Leaves(std::sync::mpsc::Sender<usize>);
    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.send(text_frame(&"bye ".repeat(200)).deflated().unwrap().len()).unwrap();
        }
    }
    thread_local! {
        static HELD: std::cell::OnceCell<Leaves> = const { std::cell::OnceCell::new() };
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        HELD.with(|held| assert!(held.set(Leaves(sender)).is_ok()));
        // Scratch memory created after this value is destroyed before it.
        text_frame(&"bye ".repeat(200)).deflated().unwrap().len()
    });
    assert_eq!(receiver.recv().unwrap(), thread.join().unwrap());
}

#[test]
fn every_prefix_of_a_compressed_frame() {
    let mut inflater = Inflater::new();
    let mut random = Random::from_env("every_prefix");
    for text in
        [&noise(&mut random, 450).repeat(2), "cut short, cut short, cut short, cut short, cut"]
    {
        for level in [1, 6, 9] {
            let frame = text_frame(text);
            let bytes = frame
                .deflated_with(
                    DeflateOptions::new()
                        .with_level(level)
                        .with_min_bytes(0)
                        .with_max_bytes(usize::MAX),
                )
                .unwrap();
            let payload = unframe(bytes);
            for end in 0..payload.len() {
                let expected = inflate::message(&payload[..end], LIMIT);
                match inflater.inflate(&payload[..end], LIMIT) {
                    Ok(message) => assert_eq!(expected.as_deref(), Some(message), "{end}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert_eq!(
                            (error.close_code(), &*text),
                            (1007, "Compressed data is truncated")
                        );
                    }
                }
            }
            assert!(inflater.inflate(payload, LIMIT).is_ok());
        }
    }
}

#[test]
fn any_bytes_give_a_message_or_an_error() {
    let mut random = Random::from_env("any_bytes_give_a_message");
    let mut inflater = Inflater::new();
    let seeds: Vec<Vec<u8>> = (0..40)
        .filter_map(|i| {
            let frame = text_frame(&noise(&mut random, 20 + i * 10).repeat(1 + i % 3));
            let options = DeflateOptions::new()
                .with_level((i % 10) as u8)
                .with_min_bytes(0)
                .with_max_bytes(usize::MAX);
            frame.deflated_with(options).map(|bytes| unframe(bytes).to_vec())
        })
        .collect();
    let (mut good, mut bad, mut stricter) = (0, 0, 0);
    let cases = cases(60_000);
    for case in 0..cases {
        let payload: Vec<u8> = match case % 3 {
            0 => (0..random.below(80)).map(|_| random.next() as u8).collect(),
            _ => mutate(&mut random, &seeds[case % seeds.len()]),
        };
        let limit = *[0, 1, 100, 2000].get(case % 7).unwrap_or(&(1 << 16));
        let expected = inflate::message(&payload, limit);
        match inflater.inflate(&payload, limit) {
            Ok(message) => {
                assert_eq!(expected.as_deref(), Some(message), "{}", payload.escape_ascii());
                good += 1;
            }
            // `miniz_oxide` takes some incomplete codes that zlib, and so this, refuses.
            Err(error) => {
                assert!(!error.is_too_large() || expected.is_none());
                stricter += usize::from(expected.is_some());
                bad += 1;
            }
        }
    }
    assert!(good > cases / 1200 && bad > cases / 60, "{good} good, {bad} bad");
    assert!(stricter * 100 < bad, "{stricter} of {bad} refused alone");
    // None of them left state in the inflater, which may move to another thread.
    fn is_send<T: Send + 'static>(_: &T) {}
    is_send(&inflater);
    let limits = Limits::default();
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflater.inflate(&hello, limits.max_bytes), Ok(&b"Hello"[..]));
}
