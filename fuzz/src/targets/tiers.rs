//! Every tier, with every algorithm, gives the views and errors of the scalar one, and skips to the same places.
//!
//! The input is copied into an allocation of its exact size, and once more at another alignment, so
//! that AddressSanitizer detects a read outside of it.

use crate::{Kind, Message};
use pondwire::scan::{Algorithm, Tier};
use pondwire::{Limits, Payload, ValidationError, Value};

pub fn check(data: &[u8]) {
    // A start at every place of a block of 64 bytes, as the input grows.
    for shift in [0, 1 + data.len() % 63] {
        let buffer: Box<[u8]> =
            std::iter::repeat_n(b'"', shift).chain(data.iter().copied()).collect();
        let frame = &buffer[shift..];
        assert!(Tier::Scalar.select());
        let expected = verdicts(frame);
        let others = Tier::ALL.iter().copied().filter(|tier| *tier != Tier::Scalar);
        for tier in others.filter(|tier| tier.is_supported()) {
            for &algorithm in Algorithm::ALL {
                assert!(tier.select_with(algorithm));
                assert_eq!(verdicts(frame), expected, "{tier} {algorithm}");
            }
            assert!(tier.select());
            assert_eq!(verdicts(frame), expected, "{tier}");
        }
    }
}

/// All results for a frame with the current tier.
#[derive(Debug, PartialEq)]
struct Verdicts<'a> {
    messages: Vec<Result<Seen<'a>, ValidationError>>,
    payload: Option<Result<Payload<'a>, ValidationError>>,
}

#[derive(Debug, PartialEq)]
struct Seen<'a> {
    message: Message<'a>,
    /// The text of every value in the payload.
    values: Vec<String>,
}

fn verdicts(frame: &[u8]) -> Verdicts<'_> {
    let shallow = Limits::new().with_max_depth(frame.len() % 6);
    let by_default = Kind::ALL.map(|kind| (kind, Limits::default()));
    let all = by_default.into_iter().chain([(Kind::ChannelEvent, shallow)]);
    let parse = |(kind, limits): (Kind, Limits)| {
        let message = kind.parse(frame, limits.into())?;
        let mut values = Vec::new();
        walk(message.fields().payload.value(), &mut values);
        if let Message::Channel(pondwire::ChannelEvent::Presence(message)) = &message {
            values.extend(message.presence().map(|item| item.to_string()));
        }
        Ok(Seen { message, values })
    };
    Verdicts {
        messages: all.map(parse).collect(),
        payload: std::str::from_utf8(frame).ok().map(Payload::from_json),
    }
}

fn walk(value: Value<'_>, values: &mut Vec<String>) {
    values.push(value.raw().to_owned());
    for (key, value) in value.members() {
        values.push(key.into_owned());
        walk(value, values);
    }
    for element in value.elements() {
        walk(element, values);
    }
}
