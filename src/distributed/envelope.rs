//! The envelope around every received message.

use std::borrow::Cow;

use super::document::{Document, Found};
use super::key::Key;
use super::message::Message;
use super::origin::{Origin, PROTOCOL};
use crate::error::ValidationError;
use crate::limits::Limits;
use crate::protocol::DistributedMessageType;

/// A message of another node with its origin: a borrowed view of validated bytes.
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
    /// The type's name, if this version of the protocol does not know it.
    message: Result<Message<'a>, Cow<'a, str>>,
}

/// The reason why a node does not act on a valid message; see [`Envelope::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The node sent it itself; a bus delivers messages to their sender too.
    OwnNode,
    /// It names another channel than the one whose topic delivered it.
    OtherChannel,
    /// This version of the protocol does not know its type.
    UnknownType,
}

impl<'a> Envelope<'a> {
    /// Validates a whole message within [`Limits::default`] and views it. Takes time linear in its
    /// length. Allocates only for strings that are written with escapes, except ids in lists.
    ///
    /// All eight keys of an envelope are required and must have the right type: `version` is `1`,
    /// `timestamp` an unsigned 64-bit integer. Keys of the body that some implementation leaves out
    /// may be missing, as [`Message`] lists; a recipient descriptor is required, and an unknown word
    /// in it is refused. Keys may come in any order; the last duplicate counts.
    ///
    /// # Errors
    /// The message exceeds the limits, is not UTF-8, not a JSON document or not an envelope. The path
    /// is `distributedMessage` for a root that is not an object, else the first failing field in the
    /// order `protocol`, `version`, `type`, `messageId`, `sourceNodeId`, `endpointName`,
    /// `channelName`, `timestamp`, then the body's fields in the order of [`Message`]. An unknown type
    /// is not an error: [`message`](Self::message) is then `None`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ValidationError> {
        Self::parse_with(bytes, Limits::default())
    }

    /// [`parse`](Self::parse) within other limits: the state of a large channel may need larger ones.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(bytes: &'a [u8], limits: Limits) -> Result<Self, ValidationError> {
        let mut found = Found::new(bytes);
        let document = Document::scan(&mut found, &limits)?;
        document.constant(Key::Protocol, &[PROTOCOL])?;
        document.one(Key::Version)?;
        let kind = document.string(Key::Type)?;
        Ok(Self {
            message_id: document.string(Key::MessageId)?,
            source_node_id: document.string(Key::SourceNodeId)?,
            endpoint_name: document.string(Key::EndpointName)?,
            channel_name: document.string(Key::ChannelName)?,
            timestamp: document.unsigned(Key::Timestamp)?,
            message: match DistributedMessageType::from_bytes(kind.as_bytes()) {
                Some(kind) => Ok(Message::from_document(kind, &document)?),
                None => Err(kind),
            },
        })
    }

    /// The message, if the node `own_node_id` is to act on it. `channel_name` is the channel whose
    /// topic delivered it ([`HEARTBEAT`](super::HEARTBEAT) for heartbeats).
    ///
    /// # Errors
    /// The reason to ignore the message.
    pub fn accept(&self, own_node_id: &str, channel_name: &str) -> Result<&Message<'a>, Ignored> {
        if self.source_node_id == own_node_id {
            Err(Ignored::OwnNode)
        } else if self.channel_name != channel_name {
            Err(Ignored::OtherChannel)
        } else {
            self.message.as_ref().map_err(|_| Ignored::UnknownType)
        }
    }

    /// The message; `None` if this version of the protocol does not know its type.
    #[must_use]
    pub const fn message(&self) -> Option<&Message<'a>> {
        match &self.message {
            Ok(message) => Some(message),
            Err(_) => None,
        }
    }

    /// The name of the message's type, also of an unknown one.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.message {
            Ok(message) => message.kind().as_str(),
            Err(kind) => kind,
        }
    }

    /// The message's id.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// The id of the sending node; nodes are identified by this id alone.
    #[must_use]
    pub fn source_node_id(&self) -> &str {
        &self.source_node_id
    }

    /// The endpoint, without its leading slash.
    #[must_use]
    pub fn endpoint_name(&self) -> &str {
        &self.endpoint_name
    }

    /// The name of the channel that the message is about.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// The time of sending by the sender's clock, in milliseconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The sending node and the channel.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            node_id: &self.source_node_id,
            endpoint_name: &self.endpoint_name,
            channel_name: &self.channel_name,
        }
    }
}
