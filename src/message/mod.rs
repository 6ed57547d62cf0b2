//! Messages that own what they hold: to be built, changed, stored and sent.
//!
//! The views ([`ClientMessage`] and its siblings) borrow a received frame and
//! only parsers make them; an [`OwnedMessage`] keeps such a frame. The types
//! here are plain structs. There are three ways to make one:
//!
//! - field by field;
//! - from a view, by `From`: one allocation for each string and for the payload's text, for presence
//!   one for each entry of the list (some 40 bytes for an entry `{}`, which takes 3 in a frame);
//! - with `serde_json`. The parser of the view does the work, so the same keys, types, words and
//!   limits ([`Limits::default`](crate::Limits)) hold, and the error begins with the text of its
//!   [`ValidationError`](crate::ValidationError). It costs a copy of the text and a second pass.
//!
//! A [`Frame`](crate::Frame) is made `From` a reference to any of them, in one allocation. They
//! serialize as the views do, with the keys in the order in which this crate writes them.
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
//! Limitations: deserializing needs the JSON text of the message, so it works with `serde_json`
//! alone (text, readers, [`serde_json::Value`]), and not within `#[serde(flatten)]` or an untagged
//! enum. A message that was parsed with other [`Limits`](crate::Limits) may be larger or deeper than
//! what deserializes.

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
    /// What is asked for.
    pub action: ClientAction,
    /// The name of the event; joins and leaves repeat the action in it.
    pub event: String,
    /// The channel it is about.
    pub channel_name: String,
    /// The id that a reply repeats.
    pub request_id: String,
    /// The payload.
    pub payload: OwnedPayload,
}

/// A server's message, presence aside; [`ServerMessage`] is its view.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// What is told. With [`Presence`](ServerAction::Presence), which no parser takes here, it is
    /// still written, as by [`Frame::new`](crate::Frame::new).
    pub action: ServerAction,
    /// The name of the event.
    pub event: String,
    /// The channel it is about.
    pub channel_name: String,
    /// The id of the request it answers, or the message's own.
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
    /// What happened.
    pub event: PresenceEvent,
    /// The channel it is about.
    pub channel_name: String,
    /// The message's id.
    pub request_id: String,
    /// Who is there, and what changed; other keys of a received payload are left out.
    pub payload: PresencePayload<OwnedPayload>,
}

/// Any message of a server, told apart by its action;
/// [`ChannelEvent`](crate::ChannelEvent) is its view.
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
            /// Refuses what the parser of the view refuses.
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
