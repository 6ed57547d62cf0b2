//! The sender's side of an envelope, and the encoder's entry.

use super::encode;
use super::message::Message;
use super::topic::HEARTBEAT;

/// The protocol's name, in every envelope.
pub(super) const PROTOCOL: &str = "pondsocket.distributed";

/// The sending node and the channel: the part of an envelope that does not change between messages.
///
/// ```
/// use pondwire::distributed::{Message, Origin};
///
/// let origin = Origin { node_id: "node-b", endpoint_name: "api/socket", channel_name: "/chat/42" };
/// let bytes = origin.encode("m-1", 1_795_410_477_886, &Message::UserLeft { user_id: "u2".into() });
/// assert_eq!(
///     std::str::from_utf8(&bytes)?,
///     r#"{"protocol":"pondsocket.distributed","version":1,"type":"USER_LEFT","messageId":"m-1","sourceNodeId":"node-b","endpointName":"api/socket","channelName":"/chat/42","timestamp":1795410477886,"userId":"u2"}"#,
/// );
/// # Ok::<(), std::str::Utf8Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The sending node. Must not be empty: Rust nodes cannot tell an empty
    /// id from others.
    pub node_id: &'a str,
    /// The endpoint's path without leading slashes; see [`endpoint_name`](super::endpoint_name).
    pub endpoint_name: &'a str,
    /// The channel's name.
    pub channel_name: &'a str,
}

impl<'a> Origin<'a> {
    /// The origin of a node's heartbeats.
    #[must_use]
    pub const fn heartbeat(node_id: &'a str) -> Self {
        Self { node_id, endpoint_name: HEARTBEAT, channel_name: HEARTBEAT }
    }

    /// Encodes a message as the bytes to publish: compact JSON, with the keys in the order of the
    /// Python node. Payloads are copied verbatim, except that raw newlines become spaces. `timestamp`
    /// is in milliseconds since 1970; `message_id` must be a fresh id. One allocation of the exact
    /// size.
    #[must_use]
    pub fn encode(&self, message_id: &str, timestamp: u64, message: &Message<'_>) -> Vec<u8> {
        encode::envelope(self, message_id, timestamp, message)
    }
}
