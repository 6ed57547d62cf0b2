//! The 13 messages from node to node.

use std::borrow::Cow;

use super::document::Document;
use super::key::Key;
use super::users::Users;
use crate::error::ValidationError;
use crate::frame::Frame;
use crate::payload::{Payload, Value};
use crate::protocol::{DistributedMessageType, Recipients};

/// The sender of a [`UserMessage`] that no user sent.
pub const CHANNEL_SENDER: &str = "CHANNEL";

/// A message from node to node about a channel: the body of an [`Envelope`](super::Envelope).
///
/// The same type is decoded and encoded. Decoding borrows, and accepts every shape that any
/// implementation sends. Go omits empty fields, so a field is required only where the message would
/// be meaningless or mean something else without it:
///
/// | missing or `null` | is read as |
/// |---|---|
/// | `presence`, `assigns`, `payload` | `{}` |
/// | `assigns` of an `ASSIGNS_UPDATE` | `{}`, all assigns removed; if there is a `key`, only that one changed |
/// | `users` | an empty list |
/// | `fromUserId` | [`CHANNEL_SENDER`] |
/// | `reason`, `fromNode`, `nodeId`, and `requestId` of a `USER_MESSAGE` | the empty string |
/// | `value` beside a `key` | `null` |
/// | `userId`, a listed user's `id` | an error: the message names no user |
/// | `event` | an error: no implementation sends an event without a name, and Python refuses one |
/// | `recipientDescriptor` | an error: a message for a few users must not reach all |
/// | `requestId` of a `USER_GET_REQUEST` or `USER_GET_RESPONSE` | an error: the reply would match no request |
///
/// A field of the wrong type is an error. Unknown keys are ignored. Encoding writes all fields, empty
/// or not, as JavaScript and Python do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks the other nodes for their users in the channel.
    StateRequest {
        /// The requesting node; may be empty. In JavaScript this id differs from the envelope's: do not
        /// compare the two.
        from_node: Cow<'a, str>,
    },
    /// The sending node's users in the channel (JavaScript: all users that it knows of).
    StateResponse {
        /// The users.
        users: Users<'a>,
    },
    /// A user joined on the sending node.
    UserJoined {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The data that every user may see.
        presence: Payload<'a>,
        /// The server's private data about the user.
        assigns: Payload<'a>,
    },
    /// A user left on the sending node.
    UserLeft {
        /// The user's id.
        user_id: Cow<'a, str>,
    },
    /// An event for the users of other nodes.
    UserMessage(UserMessage<'a>),
    /// A user's presence appeared or changed.
    PresenceUpdate {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The whole new presence.
        presence: Payload<'a>,
    },
    /// A user's presence ended; the user may stay in the channel.
    PresenceRemoved {
        /// The user's id.
        user_id: Cow<'a, str>,
    },
    /// A user's assigns changed.
    AssignsUpdate {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The new assigns, or one changed key.
        change: AssignsChange<'a>,
    },
    /// Tells the user's node to evict it.
    EvictUser {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The reason shown to the user; may be empty.
        reason: Cow<'a, str>,
    },
    /// Tells the user's node to remove it.
    UserRemove {
        /// The user's id.
        user_id: Cow<'a, str>,
    },
    /// Asks a user's node for the user's data.
    UserGetRequest {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The id that the response repeats.
        request_id: Cow<'a, str>,
        /// The requesting node; see [`StateRequest`](Self::StateRequest).
        from_node: Cow<'a, str>,
    },
    /// The answer to a [`UserGetRequest`](Self::UserGetRequest).
    UserGetResponse {
        /// The user's id.
        user_id: Cow<'a, str>,
        /// The request's id.
        request_id: Cow<'a, str>,
        /// The server's private data about the user.
        assigns: Payload<'a>,
        /// The data that every user may see.
        presence: Payload<'a>,
    },
    /// The sending node is alive.
    NodeHeartbeat {
        /// The node's id; may be empty, since the envelope has it too.
        node_id: Cow<'a, str>,
    },
}

/// An event for the users of a channel on other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMessage<'a> {
    /// The sending user's id; [`CHANNEL_SENDER`] when no user sent it.
    pub from_user_id: Cow<'a, str>,
    /// The name of the event; may be empty.
    pub event: Cow<'a, str>,
    /// The event's payload.
    pub payload: Payload<'a>,
    /// The id of the broadcast, the same on all nodes. May be empty; the frame's id is then empty too.
    pub request_id: Cow<'a, str>,
    /// The recipients.
    pub recipients: Recipients<'a>,
}

impl UserMessage<'_> {
    /// The frame for this node's users. Its action is always `BROADCAST`, as in every implementation,
    /// whatever frame the sending node's users got. The payload is copied verbatim: one allocation,
    /// nothing is decoded.
    #[must_use]
    pub fn frame(&self, channel_name: &str) -> Frame {
        Frame::broadcast(channel_name, &self.event, &self.request_id, self.payload)
    }
}

/// A change of a user's assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignsChange<'a> {
    /// The whole new assigns.
    All(Payload<'a>),
    /// One key; the others stay. JavaScript may send this form, and every node reads it.
    One {
        /// The key.
        key: Cow<'a, str>,
        /// Its new value.
        value: Value<'a>,
    },
}

impl<'a> AssignsChange<'a> {
    /// Reads `assigns` if present, else `key` and `value`, else an empty object. A `key` of `null` counts
    /// as missing.
    fn from_document(document: &Document<'a, '_>) -> Result<Self, ValidationError> {
        if let Some(assigns) = document.object(Key::Assigns)? {
            return Ok(Self::All(assigns));
        }
        match document.is_some(Key::Name) {
            true => {
                Ok(Self::One { key: document.string(Key::Name)?, value: document.any(Key::Value) })
            }
            false => Ok(Self::All(Payload::EMPTY)),
        }
    }
}

impl<'a> Message<'a> {
    /// The wire's `type`.
    #[must_use]
    pub const fn kind(&self) -> DistributedMessageType {
        use DistributedMessageType as Type;
        match self {
            Self::StateRequest { .. } => Type::StateRequest,
            Self::StateResponse { .. } => Type::StateResponse,
            Self::UserJoined { .. } => Type::UserJoined,
            Self::UserLeft { .. } => Type::UserLeft,
            Self::UserMessage(_) => Type::UserMessage,
            Self::PresenceUpdate { .. } => Type::PresenceUpdate,
            Self::PresenceRemoved { .. } => Type::PresenceRemoved,
            Self::AssignsUpdate { .. } => Type::AssignsUpdate,
            Self::EvictUser { .. } => Type::EvictUser,
            Self::UserRemove { .. } => Type::UserRemove,
            Self::UserGetRequest { .. } => Type::UserGetRequest,
            Self::UserGetResponse { .. } => Type::UserGetResponse,
            Self::NodeHeartbeat { .. } => Type::NodeHeartbeat,
        }
    }

    /// Reads the body of a type, checking its fields in the order in which they are written.
    #[inline(always)]
    pub(super) fn from_document(
        kind: DistributedMessageType,
        document: &Document<'a, '_>,
    ) -> Result<Self, ValidationError> {
        use DistributedMessageType as Type;
        let user_id = || document.string(Key::UserId);
        Ok(match kind {
            Type::UserMessage => Self::UserMessage(UserMessage {
                from_user_id: document.string_or(Key::FromUserId, CHANNEL_SENDER)?,
                event: document.string(Key::Event)?,
                payload: document.object_or_empty(Key::Payload)?,
                request_id: document.string_or(Key::RequestId, "")?,
                recipients: document.recipients()?,
            }),
            Type::StateRequest => {
                Self::StateRequest { from_node: document.string_or(Key::FromNode, "")? }
            }
            Type::StateResponse => Self::StateResponse { users: document.users()? },
            Type::UserJoined => Self::UserJoined {
                user_id: user_id()?,
                presence: document.object_or_empty(Key::Presence)?,
                assigns: document.object_or_empty(Key::Assigns)?,
            },
            Type::UserLeft => Self::UserLeft { user_id: user_id()? },
            Type::PresenceUpdate => Self::PresenceUpdate {
                user_id: user_id()?,
                presence: document.object_or_empty(Key::Presence)?,
            },
            Type::PresenceRemoved => Self::PresenceRemoved { user_id: user_id()? },
            Type::AssignsUpdate => Self::AssignsUpdate {
                user_id: user_id()?,
                change: AssignsChange::from_document(document)?,
            },
            Type::EvictUser => Self::EvictUser {
                user_id: user_id()?,
                reason: document.string_or(Key::Reason, "")?,
            },
            Type::UserRemove => Self::UserRemove { user_id: user_id()? },
            Type::UserGetRequest => Self::UserGetRequest {
                user_id: user_id()?,
                request_id: document.string(Key::RequestId)?,
                from_node: document.string_or(Key::FromNode, "")?,
            },
            Type::UserGetResponse => Self::UserGetResponse {
                user_id: user_id()?,
                request_id: document.string(Key::RequestId)?,
                assigns: document.object_or_empty(Key::Assigns)?,
                presence: document.object_or_empty(Key::Presence)?,
            },
            Type::NodeHeartbeat => {
                Self::NodeHeartbeat { node_id: document.string_or(Key::NodeId, "")? }
            }
        })
    }
}
