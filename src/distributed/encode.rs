//! Encoding: one function walks a message twice, first to measure its length, then to write it.

use super::message::{AssignsChange, Message};
use super::origin::{Origin, PROTOCOL};
use crate::encode::{Output, Scratch, append_escaped, is_plain, put_payload};
use crate::payload::Payload;
use crate::protocol::Recipients;

/// Receives the parts of a document in order.
trait Sink {
    /// Text that is JSON already.
    fn raw(&mut self, text: &str);

    /// The content of a string, to be escaped.
    fn text(&mut self, text: &str);

    /// An object; raw newlines in it become spaces.
    fn object(&mut self, payload: Payload<'_>);

    /// Any value; raw newlines in it become spaces.
    fn value(&mut self, json: &str);
}

/// Adds up lengths, as if nothing in strings had to be escaped.
struct Measure {
    bytes: usize,
    /// Whether nothing has to be.
    plain: bool,
}

impl Sink for Measure {
    #[inline]
    fn raw(&mut self, text: &str) {
        self.bytes += text.len();
    }

    #[inline]
    fn text(&mut self, text: &str) {
        self.bytes += text.len();
        self.plain &= is_plain(text);
    }

    #[inline]
    fn object(&mut self, payload: Payload<'_>) {
        self.bytes += payload.as_str().len();
    }

    #[inline]
    fn value(&mut self, json: &str) {
        self.bytes += json.len();
    }
}

/// Writes to the end of a buffer.
struct Write<'a> {
    bytes: &'a mut Vec<u8>,
    /// Whether no string needs escaping.
    plain: bool,
}

impl Sink for Write<'_> {
    #[inline]
    fn raw(&mut self, text: &str) {
        self.bytes.put(text.as_bytes());
    }

    #[inline]
    fn text(&mut self, text: &str) {
        if self.plain {
            self.bytes.put(text.as_bytes());
        } else {
            append_escaped(self.bytes, text);
        }
    }

    #[inline]
    fn object(&mut self, payload: Payload<'_>) {
        put_payload(self.bytes, payload);
    }

    #[inline]
    fn value(&mut self, json: &str) {
        self.bytes.put_with_spaces(json.as_bytes());
    }
}

pub(super) fn envelope(
    origin: &Origin<'_>,
    message_id: &str,
    timestamp: u64,
    message: &Message<'_>,
) -> Vec<u8> {
    let mut digits = [0; DIGITS];
    let timestamp = decimal(timestamp, &mut digits);
    let mut measure = Measure { bytes: 0, plain: true };
    put_envelope(&mut measure, origin, message_id, timestamp, message);
    let plain = measure.plain;
    if plain {
        let mut bytes = Vec::with_capacity(measure.bytes);
        let mut write = Write { bytes: &mut bytes, plain };
        put_envelope(&mut write, origin, message_id, timestamp, message);
        debug_assert_eq!(bytes.len(), measure.bytes);
        bytes
    } else {
        let mut scratch = Scratch::for_escapes();
        let mut write = Write { bytes: &mut scratch.bytes, plain };
        put_envelope(&mut write, origin, message_id, timestamp, message);
        scratch.bytes.to_vec()
    }
}

/// The number of digits of `u64::MAX`.
const DIGITS: usize = 20;

fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &str {
    let mut at = DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&digits[at..]).expect("digits");
        }
    }
}

/// Writes a comma and a member whose value is a string.
macro_rules! string {
    ($sink:expr, $key:literal, $text:expr) => {
        $sink.raw(concat!(",\"", $key, "\":\""));
        $sink.text($text);
        $sink.raw("\"");
    };
}

/// Writes a comma and a member whose value is an object.
macro_rules! object {
    ($sink:expr, $key:literal, $payload:expr) => {
        $sink.raw(concat!(",\"", $key, "\":"));
        $sink.object($payload);
    };
}

#[inline(always)]
fn put_envelope<S: Sink>(
    sink: &mut S,
    origin: &Origin<'_>,
    message_id: &str,
    timestamp: &str,
    message: &Message<'_>,
) {
    sink.raw("{\"protocol\":\"");
    sink.raw(PROTOCOL);
    sink.raw("\",\"version\":1,\"type\":\"");
    sink.raw(message.kind().as_str());
    sink.raw("\"");
    string!(sink, "messageId", message_id);
    string!(sink, "sourceNodeId", origin.node_id);
    string!(sink, "endpointName", origin.endpoint_name);
    string!(sink, "channelName", origin.channel_name);
    sink.raw(",\"timestamp\":");
    sink.raw(timestamp);
    put_body(sink, message);
    sink.raw("}");
}

#[inline(always)]
fn put_body<S: Sink>(sink: &mut S, message: &Message<'_>) {
    match message {
        Message::StateRequest { from_node } => {
            string!(sink, "fromNode", from_node);
        }
        Message::StateResponse { users } => {
            sink.raw(",\"users\":[");
            for (i, user) in users.iter().enumerate() {
                sink.raw(if i == 0 { "{\"id\":\"" } else { ",{\"id\":\"" });
                sink.text(&user.id);
                sink.raw("\"");
                object!(sink, "assigns", user.assigns);
                object!(sink, "presence", user.presence);
                sink.raw("}");
            }
            sink.raw("]");
        }
        Message::UserJoined { user_id, presence, assigns } => {
            string!(sink, "userId", user_id);
            object!(sink, "presence", *presence);
            object!(sink, "assigns", *assigns);
        }
        Message::UserMessage(message) => {
            string!(sink, "fromUserId", &message.from_user_id);
            string!(sink, "event", &message.event);
            object!(sink, "payload", message.payload);
            string!(sink, "requestId", &message.request_id);
            put_recipients(sink, &message.recipients);
        }
        Message::PresenceUpdate { user_id, presence } => {
            string!(sink, "userId", user_id);
            object!(sink, "presence", *presence);
        }
        Message::AssignsUpdate { user_id, change } => {
            string!(sink, "userId", user_id);
            match change {
                AssignsChange::All(assigns) => {
                    object!(sink, "assigns", *assigns);
                }
                AssignsChange::One { key, value } => {
                    string!(sink, "key", key);
                    sink.raw(",\"value\":");
                    sink.value(value.raw());
                }
            }
        }
        Message::EvictUser { user_id, reason } => {
            string!(sink, "userId", user_id);
            string!(sink, "reason", reason);
        }
        Message::UserLeft { user_id }
        | Message::PresenceRemoved { user_id }
        | Message::UserRemove { user_id } => {
            string!(sink, "userId", user_id);
        }
        Message::UserGetRequest { user_id, request_id, from_node } => {
            string!(sink, "userId", user_id);
            string!(sink, "requestId", request_id);
            string!(sink, "fromNode", from_node);
        }
        Message::UserGetResponse { user_id, request_id, assigns, presence } => {
            string!(sink, "userId", user_id);
            string!(sink, "requestId", request_id);
            object!(sink, "assigns", *assigns);
            object!(sink, "presence", *presence);
        }
        Message::NodeHeartbeat { node_id } => {
            string!(sink, "nodeId", node_id);
        }
    }
}

fn put_recipients<S: Sink>(sink: &mut S, recipients: &Recipients<'_>) {
    sink.raw(",\"recipientDescriptor\":");
    match recipients {
        Recipients::AllUsers => sink.raw("\"ALL_USERS\""),
        Recipients::AllExceptSender => sink.raw("\"ALL_EXCEPT_SENDER\""),
        Recipients::Users(ids) => {
            sink.raw("[");
            for (i, id) in ids.iter().enumerate() {
                sink.raw(if i == 0 { "\"" } else { ",\"" });
                sink.text(&id);
                sink.raw("\"");
            }
            sink.raw("]");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, decimal};

    #[test]
    fn decimal_matches_std() {
        for number in [0, 1, 9, 10, 1_795_410_477_886, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; DIGITS]), number.to_string());
        }
    }
}
