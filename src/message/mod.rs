//! Messages that own their fields, to be built, changed, stored and sent.
//!
//! The views ([`ClientMessage`] and its siblings) borrow a received frame and only parsers create them;
//! an [`OwnedMessage`] owns such a frame. The types here are plain structs. There are three ways to
//! create one:
//!
//! - field by field;
//! - from a view, with `From`: one allocation for each string and for the payload's text; for presence,
//!   one for each entry of the list (an entry `{}`, 3 bytes in a frame, takes some 40 bytes);
//! - with `serde_json`. The view's parser validates the text, so the same keys, types, names and limits
//!   ([`Limits::default`](crate::Limits)) apply, and an error begins with the text of the
//!   [`ValidationError`](crate::ValidationError). It costs a copy of the text and a second pass.
//!
//! A [`Frame`](crate::Frame) converts `From` a reference to any of them, in one allocation. They
//! serialize like the views, with the keys in this crate's order.
//!
//! ```
//! use pondwire::message::Client;
//! use pondwire::payload::OwnedPayload;
//! use pondwire::{ClientAction, ClientMessage, Frame};
//!
//! let mut message = Client {
//!     action: ClientAction::Broadcast,
//!     event: "say".into(),
//!     channel_name: "/chat/42".into(),
//!     request_id: "r-1".into(),
//!     payload: OwnedPayload::from_json(r#"{"text":"hi"}"#)?,
//! };
//! let json = serde_json::to_string(&message)?;
//! assert_eq!(serde_json::from_str::<Client>(&json)?, message);
//! assert_eq!(Client::from(&ClientMessage::parse_str(&json)?), message);
//!
//! message.channel_name = "/chat/7".into();
//! assert_eq!(
//!     Frame::from(&message).as_str(),
//!     r#"{"action":"BROADCAST","event":"say","channelName":"/chat/7","requestId":"r-1","payload":{"text":"hi"}}"#,
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limitations: deserializing needs the JSON text of the message, so it works only with `serde_json`
//! (text, readers, [`serde_json::Value`]), and not within `#[serde(flatten)]` or an untagged enum. A
//! message that was parsed with larger [`Limits`](crate::Limits) may be refused when deserialized.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use crate::payload::OwnedPayload;
use crate::protocol::{ClientAction, PresenceEvent, PresencePayload, ServerAction};
use crate::view::{self, ClientMessage, OwnedMessage, PresenceMessage, ServerMessage};

/// A client's message; [`ClientMessage`] is its view.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The requested action.
    pub action: ClientAction,
    /// The name of the event; joins and leaves repeat the action in it.
    pub event: String,
    /// The channel's name.
    pub channel_name: String,
    /// The id that a reply repeats.
    pub request_id: String,
    /// The payload.
    pub payload: OwnedPayload,
}

/// A server's message, except presence; [`ServerMessage`] is its view.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The kind of message. [`Presence`](ServerAction::Presence), which no parser accepts here, can still
    /// be serialized, as by [`Frame::new`](crate::Frame::new).
    pub action: ServerAction,
    /// The name of the event.
    pub event: String,
    /// The channel's name.
    pub channel_name: String,
    /// The id of the request that it answers, or its own id.
    pub request_id: String,
    /// The payload.
    pub payload: OwnedPayload,
}

/// A change of a channel's presence; [`PresenceMessage`] is its view. Its action is
/// [`ServerAction::Presence`].
///
/// ```
/// use pondwire::message::Presence;
/// use pondwire::payload::OwnedPayload;
/// use pondwire::protocol::PresencePayload;
/// use pondwire::{Frame, PresenceEvent};
///
/// let ann = OwnedPayload::from_json(r#"{"name":"Ann"}"#)?;
/// let mut message = Presence {
///     event: PresenceEvent::Join,
///     channel_name: "/chat/42".into(),
///     request_id: "r-1".into(),
///     payload: PresencePayload { presence: vec![], changed: ann.clone() },
/// };
/// message.payload.presence.push(ann);
/// assert_eq!(
///     Frame::from(&message).as_str(),
///     r#"{"action":"PRESENCE","event":"JOIN","channelName":"/chat/42","requestId":"r-1","payload":{"presence":[{"name":"Ann"}],"changed":{"name":"Ann"}}}"#,
/// );
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The kind of change.
    pub event: PresenceEvent,
    /// The channel's name.
    pub channel_name: String,
    /// The message's id.
    pub request_id: String,
    /// All presences, and the one that changed. Other keys of a received payload are dropped.
    pub payload: PresencePayload<OwnedPayload>,
}

/// Any message of a server, distinguished by its action; [`ChannelEvent`](crate::ChannelEvent) is its
/// view.
///
/// ```
/// use pondwire::message::ChannelEvent;
///
/// let json = r#"{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/chat/42","requestId":"r-1","payload":{}}"#;
/// let event: ChannelEvent = serde_json::from_str(json)?;
/// assert!(matches!(&event, ChannelEvent::Server(message) if message.event == "ACKNOWLEDGE"));
/// assert_eq!(serde_json::to_string(&event)?, json);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum ChannelEvent {
    /// Any action but `PRESENCE`.
    Server(Server),
    /// `PRESENCE`.
    Presence(Presence),
}

macro_rules! from_view {
    ($view:ty => $name:ident) => {
        impl From<&$view> for $name {
            fn from(message: &$view) -> Self {
                Self {
                    action: message.action(),
                    event: message.event().into(),
                    channel_name: message.channel_name().into(),
                    request_id: message.request_id().into(),
                    payload: message.payload().into(),
                }
            }
        }
    };
}

from_view!(ClientMessage<'_> => Client);
from_view!(OwnedMessage<ClientAction> => Client);
from_view!(ServerMessage<'_> => Server);

impl From<&PresenceMessage<'_>> for Presence {
    fn from(message: &PresenceMessage<'_>) -> Self {
        Self {
            event: message.event(),
            channel_name: message.channel_name().into(),
            request_id: message.request_id().into(),
            payload: PresencePayload {
                presence: message.presence().map(OwnedPayload::from).collect(),
                changed: message.changed().into(),
            },
        }
    }
}

impl From<&view::ChannelEvent<'_>> for ChannelEvent {
    fn from(event: &view::ChannelEvent<'_>) -> Self {
        match event {
            view::ChannelEvent::Server(message) => Self::Server(message.into()),
            view::ChannelEvent::Presence(message) => Self::Presence(message.into()),
        }
    }
}

impl From<Server> for ChannelEvent {
    fn from(message: Server) -> Self {
        Self::Server(message)
    }
}

impl From<Presence> for ChannelEvent {
    fn from(message: Presence) -> Self {
        Self::Presence(message)
    }
}

impl Serialize for Presence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Presence", 5)?;
        fields.serialize_field("action", &ServerAction::Presence)?;
        fields.serialize_field("event", &self.event)?;
        fields.serialize_field("channelName", &self.channel_name)?;
        fields.serialize_field("requestId", &self.request_id)?;
        fields.serialize_field("payload", &self.payload)?;
        fields.end()
    }
}

macro_rules! deserialize_by_parser {
    ($view:ty => $name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            /// Fails where the parser of the view fails.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let json = Box::<RawValue>::deserialize(deserializer)?;
                let message = <$view>::parse_str(json.get()).map_err(D::Error::custom)?;
                Ok(Self::from(&message))
            }
        }
    };
}

deserialize_by_parser!(ClientMessage<'_> => Client);
deserialize_by_parser!(ServerMessage<'_> => Server);
deserialize_by_parser!(PresenceMessage<'_> => Presence);
deserialize_by_parser!(view::ChannelEvent<'_> => ChannelEvent);
