//! Any bytes inflate within the limit, to what `miniz_oxide` makes of them, or not at all; as text
//! of a frame they come back from its compressed form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use pondwire::deflate::{DeflateOptions, Inflater};
use pondwire::{Frame, Payload};

thread_local! {
    /// Used again by every input, as a server's is.
    static INFLATER: std::cell::RefCell<Inflater> = std::cell::RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let [limit, level, payload @ ..] = input else { return };
    let limit = 1 << (limit % 17);
    INFLATER.with_borrow_mut(|inflater| {
        match inflater.inflate(payload, limit) {
            Ok(message) => {
                assert!(message.len() <= limit);
                let expected = reference(payload, limit);
                assert_eq!(expected.as_deref(), Some(message));
            }
            Err(error) if error.is_too_large() => {
                assert_eq!(error.close_code(), 1009);
                let unread = payload.len() > Inflater::max_payload(limit);
                assert!(unread || reference(payload, limit).is_none());
            }
            // `miniz_oxide` takes some incomplete codes that zlib refuses.
            Err(error) => assert_eq!(error.close_code(), 1007),
        }
        round_trip(inflater, payload, *level);
    });
});

/// The payload as text of a frame, there and back.
fn round_trip(inflater: &mut Inflater, text: &[u8], level: u8) {
    let json = serde_json::json!({ "text": String::from_utf8_lossy(text) }).to_string();
    let payload = Payload::from_json(&json).unwrap();
    let frame = Frame::broadcast("/c", "e", "r", payload);
    let options = DeflateOptions { level, min_bytes: 0 };
    let Some(bytes) = frame.deflated_with(options) else { return };
    assert!(bytes.len() < frame.wire().len() && bytes[0] == 0xC1);
    let head = [2, 4, 10][usize::from(bytes[1].saturating_sub(125))];
    assert_eq!(inflater.inflate(&bytes[head..], frame.json().len()), Ok(frame.json()));
}

/// An independent inflater.
fn reference(payload: &[u8], limit: usize) -> Option<Vec<u8>> {
    let input = [payload, b"\x00\x00\xff\xff\x03\x00"].concat();
    let mut output = vec![0; limit + 1];
    let (mut read, mut written) = (0, 0);
    while read < input.len() {
        let mut stream = DecompressorOxide::new();
        let room = &mut output[written..];
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, consumed, produced) = decompress(&mut stream, &input[read..], room, 0, flags);
        if status != TINFLStatus::Done {
            return None;
        }
        read += consumed;
        written += produced;
    }
    output.truncate(written);
    (written <= limit).then_some(output)
}
