//! The five keys of a message, in the order and form in which they are sent, and the two of a presence
//! message's payload.

use super::escape::{Escaped, Inside};
use super::{Output, put_payload};
use crate::payload::Payload;

/// The four header strings; the payload follows.
pub(crate) struct Envelope<'a> {
    /// A wire string of the vocabulary: nothing in it needs escaping.
    action: &'a str,
    event: Inside<'a>,
    channel_name: Inside<'a>,
    request_id: Inside<'a>,
    escaped: Escaped,
}

const ACTION: &[u8] = br#"{"action":""#;
const EVENT: &[u8] = br#"","event":""#;
const CHANNEL_NAME: &[u8] = br#"","channelName":""#;
const REQUEST_ID: &[u8] = br#"","requestId":""#;
const PAYLOAD: &[u8] = br#"","payload":"#;
const END: &[u8] = b"}";

impl<'a> Envelope<'a> {
    pub(crate) fn new(
        action: &'a str,
        event: &'a str,
        channel_name: &'a str,
        request_id: &'a str,
    ) -> Self {
        let mut escaped = Escaped::default();
        Self {
            action,
            event: Inside::new(event, &mut escaped),
            channel_name: Inside::new(channel_name, &mut escaped),
            request_id: Inside::new(request_id, &mut escaped),
            escaped,
        }
    }

    /// The length of the whole document around a payload of `payload_len` bytes.
    pub(crate) const fn len(&self, payload_len: usize) -> usize {
        let keys = ACTION.len() + EVENT.len() + CHANNEL_NAME.len() + REQUEST_ID.len();
        let strings =
            self.action.len() + self.event.len() + self.channel_name.len() + self.request_id.len();
        keys + strings + PAYLOAD.len() + payload_len + END.len()
    }

    /// Writes the document; `payload` writes its payload.
    pub(crate) fn put<O: Output>(&self, output: &mut O, payload: impl FnOnce(&mut O)) {
        output.put(ACTION);
        output.put(self.action.as_bytes());
        output.put(EVENT);
        self.event.put(&self.escaped, output);
        output.put(CHANNEL_NAME);
        self.channel_name.put(&self.escaped, output);
        output.put(REQUEST_ID);
        self.request_id.put(&self.escaped, output);
        output.put(PAYLOAD);
        payload(output);
        output.put(END);
    }
}

const PRESENCE: &[u8] = br#"{"presence":["#;
const CHANGED: &[u8] = br#"],"changed":"#;

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
