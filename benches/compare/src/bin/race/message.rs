//! The messages of the race. All servers carry the same PondSocket message, including those that do
//! not look into it, so that all move the same bytes.

use crate::frame::{self, TEXT};

pub(crate) const PATH: &str = "/api/socket";
pub(crate) const CHANNEL: &str = "/chat/race";
pub(crate) const EVENT: &str = "say";

/// The least number of bytes in a payload.
pub(crate) const LEAST: usize = 32;

/// One broadcast, and the payload that every client must receive.
pub(crate) struct Message {
    /// The bytes of the JSON object that is relayed; no two messages have the same.
    pub(crate) payload: Vec<u8>,
    /// The frame that the publisher sends.
    pub(crate) wire: Vec<u8>,
}

impl Message {
    /// The `n`th message, with a payload of exactly `bytes` bytes.
    pub(crate) fn new(n: u64, bytes: usize) -> Self {
        // All numbers have one width, and the keys are in the order into which some servers sort
        // them.
        let start = format!("{{\"n\":{},\"text\":\"", 1_000_000_000 + n % 1_000_000_000);
        let text = bytes - start.len() - 2;
        let letters = (b'a'..=b'z').cycle().skip((n % 26) as usize).take(text);
        let payload = [start.into_bytes(), letters.collect(), b"\"}".to_vec()].concat();
        let wire = message("BROADCAST", EVENT, n, &payload);
        Self { payload, wire }
    }
}

/// The frame that asks to join.
pub(crate) fn join() -> Vec<u8> {
    message("JOIN_CHANNEL", "JOIN_CHANNEL", 0, b"{}")
}

fn message(action: &str, event: &str, n: u64, payload: &[u8]) -> Vec<u8> {
    // Request ids are as long as those that servers make.
    let head = format!(
        "{{\"action\":\"{action}\",\"event\":\"{event}\",\"channelName\":\"{CHANNEL}\",\
         \"requestId\":\"00000000-0000-4000-8000-{n:012}\",\"payload\":"
    );
    frame::masked(TEXT, &[head.as_bytes(), payload, b"}"].concat())
}

#[cfg(test)]
mod tests {
    use pondwire::ClientMessage;

    use super::*;

    #[test]
    fn a_message_is_valid_and_its_payload_as_long_as_asked() {
        for (n, bytes) in [(0, LEAST), (7, 64), (123_456_789, 4096), (1, 1 << 17)] {
            let Message { payload, wire } = Message::new(n, bytes);
            assert_eq!(payload.len(), bytes);
            let (head, len) = frame::client_frame(&wire).expect("a whole frame");
            assert_eq!(head + len, wire.len());
            assert!(frame::client_frame(&wire[..wire.len() - 1]).is_none());
            let mask: [u8; 4] = wire[head - 4..head].try_into().unwrap();
            let text: Vec<u8> = wire[head..]
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            let message = ClientMessage::parse(&text).unwrap();
            assert_eq!(message.payload().as_str().as_bytes(), payload);
            assert_eq!((message.channel_name(), message.event()), (CHANNEL, EVENT));
        }
    }

    #[test]
    fn no_two_messages_have_the_same_payload() {
        assert_ne!(Message::new(0, 64).payload, Message::new(26, 64).payload);
    }
}
