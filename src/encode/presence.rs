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
    presence_list_len(bytes + commas, changed.as_str())
}

/// The length of the payload that [`put_presence_list`] writes around `list_len` bytes.
pub(crate) const fn presence_list_len(list_len: usize, changed: &str) -> usize {
    PRESENCE.len() + list_len + CHANGED.len() + changed.len() + END.len()
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

/// [`put_presence`] of a list in pieces that include its commas and have no raw newline.
pub(crate) fn put_presence_list<'a>(
    output: &mut impl Output,
    list: impl Iterator<Item = &'a str>,
    changed: &str,
) {
    output.put(PRESENCE);
    list.for_each(|piece| output.put(piece.as_bytes()));
    output.put(CHANGED);
    output.put(changed.as_bytes());
    output.put(END);
}
