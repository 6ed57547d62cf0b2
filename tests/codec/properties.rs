//! The scanner against `serde_json`, and the views against every small change of real frames.

use std::collections::BTreeMap;

use pondwire::error::ErrorKind;
use pondwire::{
    ChannelEvent, ClientMessage, Frame, PresenceMessage, ServerMessage, ValidationError, message,
};
use pondwire_test_support::{Random, cases, mutate, vector_inputs, workload_frames};
use serde_json::value::RawValue;

/// `serde_json`'s verdict: the root's members with their raw text, the last duplicate of each.
fn members(frame: &[u8]) -> Option<BTreeMap<String, Box<RawValue>>> {
    let text = std::str::from_utf8(frame).ok()?;
    serde_json::from_str(text).ok()
}

/// Whether `serde_json` accepts the frame as one JSON document of any kind.
fn is_json(frame: &[u8]) -> bool {
    std::str::from_utf8(frame).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// The view and `serde_json` agree on validity and, for a message, on the payload's span.
/// Returns whether the frame was a message.
fn agree(frame: &[u8]) -> bool {
    let verdict = ClientMessage::parse(frame);
    if let Err(error) = &verdict {
        assert!(error.offset() <= frame.len());
    }
    match &verdict {
        Err(error) if error.kind() == ErrorKind::Utf8 => {
            let valid_up_to = std::str::from_utf8(frame).unwrap_err().valid_up_to();
            assert_eq!(error.offset(), valid_up_to);
        }
        Err(error) if error.kind() == ErrorKind::Json => {
            assert!(!is_json(frame), "{error}: {}", String::from_utf8_lossy(frame));
        }
        // Only this crate has the depth limit.
        Err(error) if error.kind() == ErrorKind::Limit => {}
        Err(_) => assert!(is_json(frame), "{}", String::from_utf8_lossy(frame)),
        Ok(message) => {
            // Only a lone surrogate in another key can make this fail.
            if let Some(members) = members(frame) {
                let payload = members["payload"].get();
                assert_eq!(message.payload().as_str(), payload);
                let event: String = serde_json::from_str(members["event"].get()).unwrap();
                assert_eq!(message.event(), event);
            } else {
                assert!(is_json(frame), "{}", String::from_utf8_lossy(frame));
            }
        }
    }
    verdict.is_ok()
}

#[test]
fn mutated_frames_are_judged_as_serde_json_judges_them() {
    let frames = workload_frames(2000);
    let mut random = Random::from_env("mutated_frames");
    let (mut valid, cases) = (0, cases(150_000));
    for _ in 0..cases {
        let frame = &frames[random.below(frames.len())];
        valid += usize::from(agree(&mutate(&mut random, frame)));
    }
    println!("mutated_frames: {cases} cases, {valid} still messages");
    assert!(valid > cases / 20 && valid < cases, "mutations of both kinds occur");
}

type Parse = fn(&[u8]) -> Result<(), ValidationError>;

const PARSES: [Parse; 4] = [
    |frame| ClientMessage::parse(frame).map(drop),
    |frame| ServerMessage::parse(frame).map(drop),
    |frame| PresenceMessage::parse(frame).map(drop),
    |frame| ChannelEvent::parse(frame).map(drop),
];

fn parses_or_gives_a_position(frame: &[u8]) {
    for parse in PARSES {
        if let Err(error) = parse(frame) {
            assert!(error.offset() <= frame.len(), "{error}");
        }
    }
}

/// The owned message deserializes exactly when the view parses, and equals it.
macro_rules! owned_agrees {
    ($owned:ty, $view:ty, $frame:expr) => {
        match (serde_json::from_slice::<$owned>($frame), <$view>::parse($frame)) {
            (Ok(owned), Ok(view)) => {
                assert_eq!(owned, <$owned>::from(&view));
                let sent = Frame::from(&owned);
                let back: $owned = serde_json::from_str(sent.as_str()).unwrap();
                assert_eq!(Frame::from(&back), sent);
                true
            }
            (Err(refused), Err(error)) => {
                if matches!(error.kind(), ErrorKind::Schema | ErrorKind::Unicode) {
                    assert!(refused.to_string().starts_with(&error.to_string()), "{refused}");
                }
                false
            }
            (owned, view) => panic!("{owned:?}, {view:?}: {}", String::from_utf8_lossy($frame)),
        }
    };
}

#[test]
fn mutated_frames_deserialize_exactly_when_they_parse() {
    let mut frames = workload_frames(1000);
    frames.extend(vector_inputs().into_iter().filter(|frame| frame.len() < 1000));
    // As many of these as of all others: they are rare, and have rules of their own.
    let presence: Vec<_> =
        frames.iter().filter(|frame| PresenceMessage::parse(frame).is_ok()).cloned().collect();
    let mut random = Random::from_env("mutated_owned");
    let (mut valid, cases) = ([0; 4], cases(40_000));
    for _ in 0..cases {
        let frames = [&frames, &presence][random.below(2)];
        let frame = &frames[random.below(frames.len())];
        let frame = mutate(&mut random, frame);
        let accepted = [
            owned_agrees!(message::Client, ClientMessage<'_>, &frame),
            owned_agrees!(message::Server, ServerMessage<'_>, &frame),
            owned_agrees!(message::Presence, PresenceMessage<'_>, &frame),
            owned_agrees!(message::ChannelEvent, ChannelEvent<'_>, &frame),
        ];
        for (valid, accepted) in valid.iter_mut().zip(accepted) {
            *valid += usize::from(accepted);
        }
    }
    println!("mutated_owned: {cases} cases, {valid:?} still messages");
    assert!(valid.iter().all(|valid| *valid > cases / 100), "mutations of both kinds occur");
}

#[test]
fn every_prefix_of_every_vector_parses_or_gives_a_position() {
    let mut prefixes = 0_usize;
    for input in vector_inputs() {
        // For the few very long ones only the start and the end: prefixes of 64 KB of `x` are alike.
        let ends = (0..input.len().min(3000)).chain(input.len().saturating_sub(300)..=input.len());
        for end in ends {
            let prefix = &input[..end];
            parses_or_gives_a_position(prefix);
            prefixes += 1;
        }
    }
    println!("every_prefix: {prefixes} prefixes");
    assert!(prefixes > 200_000);
}

#[test]
fn every_single_byte_change_of_twenty_frames() {
    let frames = workload_frames(400);
    let mut changes = 0_usize;
    for frame in frames.iter().step_by(frames.len() / 20).take(20) {
        let mut changed = frame.clone();
        for at in 0..frame.len() {
            for byte in 0..=255 {
                changed[at] = byte;
                agree(&changed);
                changes += 1;
            }
            changed[at] = frame[at];
        }
    }
    println!("every_single_byte_change: {changes} changes");
    assert!(changes > 20 * 100 * 256);
}

#[test]
fn every_workload_frame_is_a_message() {
    for frame in workload_frames(usize::MAX) {
        let client = ClientMessage::parse(&frame).is_ok();
        assert!(client || ChannelEvent::parse(&frame).is_ok());
    }
}
