//! The payload of a presence message, from parts that are serialized already.

use super::{Output, put_payload};
use crate::payload::Payload;

const PRESENCE: &[u8] = br#"{"presence":["#;
const CHANGED: &[u8] = br#"],"changed":"#;
const END: &[u8] = b"}";

/// The length of the payload that [`put_presence`] writes.
pub(crate) fn presence_len<'a>(
    presence: impl Iterator<Item = Payload<'a>>,
    changed: Payload<'_>,
) -> usize {
    let (items, bytes) = presence
        .fold((0_usize, 0), |(items, bytes), item| (items + 1, bytes + item.as_str().len()));
    let commas = items.saturating_sub(1);
    PRESENCE.len() + bytes + commas + CHANGED.len() + changed.as_str().len() + END.len()
}

/// Writes `{"presence":[…],"changed":…}` by copying.
pub(crate) fn put_presence<'a>(
    output: &mut impl Output,
    presence: impl Iterator<Item = Payload<'a>>,
    changed: Payload<'_>,
) {
    output.put(PRESENCE);
    for (i, item) in presence.enumerate() {
        if i > 0 {
            output.put(b",");
        }
        put_payload(output, item);
    }
    output.put(CHANGED);
    put_payload(output, changed);
    output.put(END);
}
