//! The 13 messages from node to node.

use std::borrow::Cow;

use super::fields::Fields;
use super::key::Key;
use super::recipients::Recipients;
use super::users::Users;
use crate::error::ValidationError;
use crate::frame::Frame;
use crate::payload::{Payload, Value};
use crate::protocol::DistributedMessageType;

/// Who sends when no user does, in a [`UserMessage`].
pub const CHANNEL_SENDER: &str = "CHANNEL";

/// What a node tells the others about a channel: the body of an [`Envelope`](super::Envelope).
///
/// The same type is read and written. Reading borrows, and takes every shape that any
/// implementation sends. Go leaves out what is empty, so of a body only that must be there without
/// which it would say nothing, or something else:
///
/// | missing or `null` | is read as |
/// |---|---|
/// | `presence`, `assigns`, `payload` | `{}` |
/// | `assigns` of an `ASSIGNS_UPDATE` | `{}`: none are left; but where there is a `key`, that one changed |
/// | `users` | no users |
/// | `fromUserId` | [`CHANNEL_SENDER`] |
/// | `reason`, `fromNode`, `nodeId`, and `requestId` of a `USER_MESSAGE` | the empty string |
/// | `value` beside a `key` | `null` |
/// | `userId`, a listed user's `id` | an error: it is about nobody |
/// | `event` | an error: no implementation sends an event without a name, and Python reads none |
/// | `recipientDescriptor` | an error: what was meant for few must not reach all |
/// | `requestId` of a question for a user, or of its answer | an error: nobody waits for that |
///
/// Of another type than its own each is an error. Further keys are passed over. All of them are
/// written, empty or not: JavaScript and Python leave nothing out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Asks the others for the users they have in the channel.
    StateRequest {
        /// Who asks; may be empty. In JavaScript another id than the envelope's, never to be compared
        /// with it.
        from_node: Cow<'a, str>,
    },
    /// The users that the sending node has in the channel (JavaScript: that it knows of).
    StateResponse {
        /// Those users.
        users: Users<'a>,
    },
    /// A user joined on the sending node.
    UserJoined {
        /// Who joined.
        user_id: Cow<'a, str>,
        /// What everyone may see.
        presence: Payload<'a>,
        /// What the server keeps about the user.
        assigns: Payload<'a>,
    },
    /// A user left on the sending node.
    UserLeft {
        /// Who left.
        user_id: Cow<'a, str>,
    },
    /// An event for the users that other nodes hold.
    UserMessage(UserMessage<'a>),
    /// A user's presence appeared or changed.
    PresenceUpdate {
        /// Whose.
        user_id: Cow<'a, str>,
        /// The new one, all of it.
        presence: Payload<'a>,
    },
    /// A user's presence ended; the user may still be there.
    PresenceRemoved {
        /// Whose.
        user_id: Cow<'a, str>,
    },
    /// A user's assigns changed.
    AssignsUpdate {
        /// Whose.
        user_id: Cow<'a, str>,
        /// All of them or one.
        change: AssignsChange<'a>,
    },
    /// The node that holds the user shall evict it.
    EvictUser {
        /// Whom.
        user_id: Cow<'a, str>,
        /// Why, for the user to read; may be empty.
        reason: Cow<'a, str>,
    },
    /// The node that holds the user shall remove it.
    UserRemove {
        /// Whom.
        user_id: Cow<'a, str>,
    },
    /// Asks the node that holds a user for its data.
    UserGetRequest {
        /// Whose data.
        user_id: Cow<'a, str>,
        /// What the answer repeats.
        request_id: Cow<'a, str>,
        /// Who asks; see [`StateRequest`](Self::StateRequest).
        from_node: Cow<'a, str>,
    },
    /// The answer to a [`UserGetRequest`](Self::UserGetRequest).
    UserGetResponse {
        /// Whose data.
        user_id: Cow<'a, str>,
        /// The request's.
        request_id: Cow<'a, str>,
        /// What the server keeps about the user.
        assigns: Payload<'a>,
        /// What everyone may see.
        presence: Payload<'a>,
    },
    /// The sending node is alive.
    NodeHeartbeat {
        /// The node; may be empty, as the envelope names it too.
        node_id: Cow<'a, str>,
    },
}

/// An event for the users of a channel that other nodes hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMessage<'a> {
    /// Who sent it; [`CHANNEL_SENDER`] when it is no user's.
    pub from_user_id: Cow<'a, str>,
    /// The name of the event; may be empty.
    pub event: Cow<'a, str>,
    /// The event's payload.
    pub payload: Payload<'a>,
    /// The id of the broadcast, the same on all nodes; may be empty, and so is the frame's then.
    pub request_id: Cow<'a, str>,
    /// For whom it is.
    pub recipients: Recipients<'a>,
}

impl UserMessage<'_> {
    /// The frame for this node's users: `BROADCAST`, whatever the frame was that the sending node's
    /// users got, as every implementation has it. The payload is copied as it was received: one
    /// allocation, nothing is decoded.
    #[must_use]
    pub fn frame(&self, channel_name: &str) -> Frame {
        Frame::broadcast(channel_name, &self.event, &self.request_id, self.payload)
    }
}

/// What is new about a user's assigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignsChange<'a> {
    /// All of them, new.
    All(Payload<'a>),
    /// One, the others stay. JavaScript may send it, and every node reads it.
    One {
        /// Its name.
        key: Cow<'a, str>,
        /// What it is now.
        value: Value<'a>,
    },
}

impl<'a> AssignsChange<'a> {
    /// `assigns`, or else `key` and `value`, or else nothing is left; a key that is `null` counts as
    /// missing.
    fn from_fields(fields: &Fields<'a, '_>) -> Result<Self, ValidationError> {
        if let Some(assigns) = fields.object(Key::Assigns)? {
            return Ok(Self::All(assigns));
        }
        match fields.is_some(Key::Name) {
            true => Ok(Self::One { key: fields.string(Key::Name)?, value: fields.any(Key::Value) }),
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

    /// The body of a type, its fields checked in the order in which they are written.
    #[inline(always)]
    pub(super) fn from_fields(
        kind: DistributedMessageType,
        fields: &Fields<'a, '_>,
    ) -> Result<Self, ValidationError> {
        use DistributedMessageType as Type;
        let user_id = || fields.string(Key::UserId);
        Ok(match kind {
            Type::UserMessage => Self::UserMessage(UserMessage {
                from_user_id: fields.string_or(Key::FromUserId, CHANNEL_SENDER)?,
                event: fields.string(Key::Event)?,
                payload: fields.object_or_empty(Key::Payload)?,
                request_id: fields.string_or(Key::RequestId, "")?,
                recipients: fields.recipients()?,
            }),
            Type::StateRequest => {
                Self::StateRequest { from_node: fields.string_or(Key::FromNode, "")? }
            }
            Type::StateResponse => Self::StateResponse { users: fields.users()? },
            Type::UserJoined => Self::UserJoined {
                user_id: user_id()?,
                presence: fields.object_or_empty(Key::Presence)?,
                assigns: fields.object_or_empty(Key::Assigns)?,
            },
            Type::UserLeft => Self::UserLeft { user_id: user_id()? },
            Type::PresenceUpdate => Self::PresenceUpdate {
                user_id: user_id()?,
                presence: fields.object_or_empty(Key::Presence)?,
            },
            Type::PresenceRemoved => Self::PresenceRemoved { user_id: user_id()? },
            Type::AssignsUpdate => Self::AssignsUpdate {
                user_id: user_id()?,
                change: AssignsChange::from_fields(fields)?,
            },
            Type::EvictUser => {
                Self::EvictUser { user_id: user_id()?, reason: fields.string_or(Key::Reason, "")? }
            }
            Type::UserRemove => Self::UserRemove { user_id: user_id()? },
            Type::UserGetRequest => Self::UserGetRequest {
                user_id: user_id()?,
                request_id: fields.string(Key::RequestId)?,
                from_node: fields.string_or(Key::FromNode, "")?,
            },
            Type::UserGetResponse => Self::UserGetResponse {
                user_id: user_id()?,
                request_id: fields.string(Key::RequestId)?,
                assigns: fields.object_or_empty(Key::Assigns)?,
                presence: fields.object_or_empty(Key::Presence)?,
            },
            Type::NodeHeartbeat => {
                Self::NodeHeartbeat { node_id: fields.string_or(Key::NodeId, "")? }
            }
        })
    }
}
