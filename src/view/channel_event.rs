//! Any frame of a server: a plain message or a presence message.

use bytes::Bytes;

use super::document::{Document, Found, Kind, parse_methods};
use super::fields::Fields;
use super::message::ServerMessage;
use super::owned::OwnedMessage;
use super::presence::PresenceMessage;
use crate::error::ValidationError;
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::ServerAction;

/// Any frame that a server sends, distinguished by its action.
///
/// ```
/// use pondwire::ChannelEvent;
///
/// let frame = br#"{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/chat/42","requestId":"r-1","payload":{}}"#;
/// assert!(matches!(ChannelEvent::parse(frame)?, ChannelEvent::Server(_)));
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEvent<'a> {
    /// Any action but `PRESENCE`.
    Server(ServerMessage<'a>),
    /// `PRESENCE`.
    Presence(PresenceMessage<'a>),
}

const EVENT: Kind = Kind { name: "channelEvent", actions: ServerAction::NAMES };

impl<'a> ChannelEvent<'a> {
    parse_methods!(
        ServerAction,
        "its `action` is missing, or it is refused as [`PresenceMessage::parse`] does when its \
         action is `PRESENCE`, else as [`ServerMessage::parse`] does."
    );

    /// Whether the message is one of presence; an error if it has no action.
    #[inline(always)]
    fn is_presence(document: &Document<'_, '_>) -> Result<bool, ValidationError> {
        let checked = document.check_root().and_then(|()| document.is_presence());
        checked.map_err(|refusal| document.error(refusal, &EVENT))
    }

    fn from_document(document: &Document<'a, '_>) -> Result<Self, ValidationError> {
        if Self::is_presence(document)? {
            let fields = PresenceMessage::fields(document)?;
            return Ok(Self::Presence(PresenceMessage::new(document.text, fields)));
        }
        ServerMessage::from_document(document).map(Self::Server)
    }

    fn owned_fields(document: &Document<'_, '_>) -> Result<Fields<ServerAction>, ValidationError> {
        if Self::is_presence(document)? {
            return Ok(PresenceMessage::fields(document)?.fields);
        }
        ServerMessage::owned_fields(document)
    }

    /// The action.
    #[must_use]
    pub const fn action(&self) -> ServerAction {
        match self {
            Self::Server(message) => message.action(),
            Self::Presence(message) => message.action(),
        }
    }

    /// The name of the event; may be empty.
    #[must_use]
    pub fn event(&self) -> &str {
        match self {
            Self::Server(message) => message.event(),
            Self::Presence(message) => message.event().as_str(),
        }
    }

    /// The channel that the message belongs to; may be empty.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        match self {
            Self::Server(message) => message.channel_name(),
            Self::Presence(message) => message.channel_name(),
        }
    }

    /// The id of the request that it answers, or its own id; may be empty.
    #[must_use]
    pub fn request_id(&self) -> &str {
        match self {
            Self::Server(message) => message.request_id(),
            Self::Presence(message) => message.request_id(),
        }
    }

    /// The payload, validated and not decoded.
    #[must_use]
    pub fn payload(&self) -> Payload<'a> {
        match self {
            Self::Server(message) => message.payload(),
            Self::Presence(message) => message.payload(),
        }
    }
}
