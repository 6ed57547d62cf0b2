//! The envelope around every message: read from bytes, judged, written.

use std::borrow::Cow;

use super::encode;
use super::fields::{Fields, Found};
use super::key::Key;
use super::message::Message;
use super::topic::HEARTBEAT;
use crate::error::ValidationError;
use crate::limits::Limits;
use crate::protocol::DistributedMessageType;

/// The protocol's name, in every envelope.
pub(super) const PROTOCOL: &str = "pondsocket.distributed";

/// A message of another node, and where it comes from: a borrowed view of validated bytes.
///
/// ```
/// use pondwire::distributed::{Envelope, Message};
///
/// let received = br#"{"protocol":"pondsocket.distributed","version":1,"type":"USER_LEFT","messageId":"m-1","sourceNodeId":"node-b","endpointName":"api/socket","channelName":"/chat/42","timestamp":1795410477886,"userId":"u2"}"#;
/// let envelope = Envelope::parse(received)?;
/// assert_eq!(envelope.source_node_id(), "node-b");
/// match envelope.accept("node-a", "/chat/42") {
///     Ok(Message::UserLeft { user_id }) => assert_eq!(user_id, "u2"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    message_id: Cow<'a, str>,
    source_node_id: Cow<'a, str>,
    endpoint_name: Cow<'a, str>,
    channel_name: Cow<'a, str>,
    timestamp: u64,
    /// The type's name, when it is none of the protocol's.
    message: Result<Message<'a>, Cow<'a, str>>,
}

/// Why a valid message is none of a node's business; see [`Envelope::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is the node's own, which a bus delivers to its sender too.
    OwnNode,
    /// It is about another channel than the one whose topic it came by.
    OtherChannel,
    /// Its type is none that this version of the protocol has.
    UnknownType,
}

impl<'a> Envelope<'a> {
    /// Validates a whole message within [`Limits::default`] and views it. Linear in its length;
    /// allocates nothing unless one of its strings, ids in lists aside, is written with escapes.
    ///
    /// All eight keys of an envelope must be there and of the right type, `version` being `1` and
    /// `timestamp` an integer of 64 bits without a sign. Of a body, what any implementation leaves
    /// out may be missing, as [`Message`] lists; a recipient descriptor may not, nor may it be an
    /// unknown word. Keys may come in any order, the last of each counts.
    ///
    /// # Errors
    /// The message is larger or deeper than the limits, no UTF-8, no JSON document, or no envelope:
    /// path `distributedMessage` for what is no object, else the first failing field in the order
    /// `protocol`, `version`, `type`, `messageId`, `sourceNodeId`, `endpointName`, `channelName`,
    /// `timestamp`, then the body's, of which [`Message`] has the order. An unknown type is no error:
    /// [`message`](Self::message) is `None` then.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ValidationError> {
        Self::parse_with(bytes, Limits::default())
    }

    /// [`parse`](Self::parse) within other limits: a large channel's state may want larger ones.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(bytes: &'a [u8], limits: Limits) -> Result<Self, ValidationError> {
        let mut found = Found::nothing_in(bytes);
        let fields = Fields::scan(&mut found, &limits)?;
        fields.constant(Key::Protocol, &[PROTOCOL])?;
        fields.one(Key::Version)?;
        let kind = fields.string(Key::Type)?;
        Ok(Self {
            message_id: fields.string(Key::MessageId)?,
            source_node_id: fields.string(Key::SourceNodeId)?,
            endpoint_name: fields.string(Key::EndpointName)?,
            channel_name: fields.string(Key::ChannelName)?,
            timestamp: fields.unsigned(Key::Timestamp)?,
            message: match DistributedMessageType::from_bytes(kind.as_bytes()) {
                Some(kind) => Ok(Message::from_fields(kind, &fields)?),
                None => Err(kind),
            },
        })
    }

    /// The message, if it is to be acted upon by the node `own_node_id`, which received it by the
    /// topic of `channel_name` ([`HEARTBEAT`] for heartbeats).
    ///
    /// # Errors
    /// Why it is to be passed over.
    pub fn accept(&self, own_node_id: &str, channel_name: &str) -> Result<&Message<'a>, Ignored> {
        if self.source_node_id == own_node_id {
            Err(Ignored::OwnNode)
        } else if self.channel_name != channel_name {
            Err(Ignored::OtherChannel)
        } else {
            self.message.as_ref().map_err(|_| Ignored::UnknownType)
        }
    }

    /// The message; `None` when its type is none of the protocol's.
    #[must_use]
    pub const fn message(&self) -> Option<&Message<'a>> {
        match &self.message {
            Ok(message) => Some(message),
            Err(_) => None,
        }
    }

    /// The name of the message's type, also of one that is none of the protocol's.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.message {
            Ok(message) => message.kind().as_str(),
            Err(kind) => kind,
        }
    }

    /// The message's own id.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// The node that sent it: the one id by which nodes are told apart.
    #[must_use]
    pub fn source_node_id(&self) -> &str {
        &self.source_node_id
    }

    /// The endpoint, without its leading slash.
    #[must_use]
    pub fn endpoint_name(&self) -> &str {
        &self.endpoint_name
    }

    /// The channel it is about.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// When it was sent by the sender's clock, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            node_id: &self.source_node_id,
            endpoint_name: &self.endpoint_name,
            channel_name: &self.channel_name,
        }
    }
}

/// Who sends, and for which channel: the part of an envelope that stays the same.
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
    /// The sending node. An empty id would not be told from others by Rust nodes.
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

    /// Writes a message, ready to be published: compact, its keys in the order of the Python node.
    /// Payloads are copied as they are, but that raw newlines become spaces. `timestamp` is in
    /// milliseconds since 1970, `message_id` a fresh id. One allocation of the exact size.
    #[must_use]
    pub fn encode(&self, message_id: &str, timestamp: u64, message: &Message<'_>) -> Vec<u8> {
        encode::envelope(self, message_id, timestamp, message)
    }
}
