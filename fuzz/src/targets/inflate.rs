//! Any bytes inflate within the limit to the output of `miniz_oxide`, or not at all; as the text of
//! a frame they are restored from its compressed form.

use pondwire::deflate::{DeflateOptions, Inflater};
use pondwire::{Frame, Payload};
use pondwire_test_support::inflate;

thread_local! {
    /// Every input uses this inflater again, as in a server.
    static INFLATER: std::cell::RefCell<Inflater> = std::cell::RefCell::default();
}

pub fn check(input: &[u8]) {
    let [limit, level, payload @ ..] = input else { return };
    let limit = 1 << (limit % 17);
    INFLATER.with_borrow_mut(|inflater| {
        match inflater.inflate(payload, limit) {
            Ok(message) => {
                assert!(message.len() <= limit);
                let expected = inflate::message(payload, limit);
                assert_eq!(expected.as_deref(), Some(message));
            }
            Err(error) if error.is_too_large() => {
                assert_eq!(error.close_code(), 1009);
                let unread = payload.len() > Inflater::max_payload(limit);
                assert!(unread || inflate::message(payload, limit).is_none());
            }
            // `miniz_oxide` takes some incomplete codes that zlib refuses.
            Err(error) => assert_eq!(error.close_code(), 1007),
        }
        round_trip(inflater, payload, *level);
    });
}

/// The payload as text of a frame, there and back.
fn round_trip(inflater: &mut Inflater, text: &[u8], level: u8) {
    let json = serde_json::json!({ "text": String::from_utf8_lossy(text) }).to_string();
    let payload = Payload::from_json(&json).unwrap();
    let frame = Frame::broadcast("/c", "e", "r", payload);
    let options =
        DeflateOptions::new().with_level(level).with_min_bytes(0).with_max_bytes(usize::MAX);
    let Some(bytes) = frame.deflated_with(options) else { return };
    assert!(bytes.len() < frame.wire().len() && bytes[0] == 0xC1);
    let head = [2, 4, 10][usize::from(bytes[1].saturating_sub(125))];
    assert_eq!(inflater.inflate(&bytes[head..], frame.json().len()), Ok(frame.json()));
}
