//! Any frame of a server: a plain message or a presence one.

use bytes::Bytes;

use super::envelope::Document;
use super::message::ServerMessage;
use super::owned::OwnedMessage;
use super::presence::PresenceMessage;
use crate::error::ValidationError;
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::ServerAction;

/// Any frame that a server sends, told apart by its action.
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

impl<'a> ChannelEvent<'a> {
    /// Validates a whole frame within [`Limits::default`](crate::Limits) and views it. Linear in
    /// its length; allocates nothing unless a header string has an escape.
    ///
    /// # Errors
    /// The frame is larger or deeper than the limits, no UTF-8, no JSON document, its `action`
    /// is missing, or it is refused as [`PresenceMessage::parse`] does when its action is
    /// `PRESENCE`, else as [`ServerMessage::parse`] does.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ValidationError> {
        Self::parse_with(frame, ParseOptions::default())
    }

    /// [`parse`](Self::parse) with other [`Limits`](crate::Limits) or [`ParseOptions`].
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(
        frame: &'a [u8],
        options: impl Into<ParseOptions>,
    ) -> Result<Self, ValidationError> {
        Self::from_document(&Document::scan(frame, None, &options.into())?)
    }

    /// [`parse`](Self::parse) for text that is known to be UTF-8: not checked twice.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_str(frame: &'a str) -> Result<Self, ValidationError> {
        Self::parse_str_with(frame, ParseOptions::default())
    }

    /// [`parse_str`](Self::parse_str) with other [`Limits`](crate::Limits) or [`ParseOptions`].
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_str_with(
        frame: &'a str,
        options: impl Into<ParseOptions>,
    ) -> Result<Self, ValidationError> {
        let document = Document::scan(frame.as_bytes(), Some(frame), &options.into())?;
        Self::from_document(&document)
    }

    fn from_document(document: &Document<'a>) -> Result<Self, ValidationError> {
        document.check_root("channelEvent")?;
        if document.is_presence()? {
            let fields = PresenceMessage::fields(document)?;
            return Ok(Self::Presence(PresenceMessage::new(document.text, fields)));
        }
        let fields = ServerMessage::fields(document)?;
        Ok(Self::Server(ServerMessage::new(document.text, &fields)))
    }

    /// A view that owns its frame; see [`OwnedMessage`].
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_owned(
        frame: Bytes,
        options: impl Into<ParseOptions>,
    ) -> Result<OwnedMessage<ServerAction>, ValidationError> {
        OwnedMessage::parse(frame, &options.into(), |document| {
            document.check_root("channelEvent")?;
            if document.is_presence()? {
                return Ok(PresenceMessage::fields(document)?.fields);
            }
            ServerMessage::fields(document)
        })
    }

    /// What is told.
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

    /// The channel it is about; may be empty.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        match self {
            Self::Server(message) => message.channel_name(),
            Self::Presence(message) => message.channel_name(),
        }
    }

    /// The id of the request it answers, or the message's own; may be empty.
    #[must_use]
    pub fn request_id(&self) -> &str {
        match self {
            Self::Server(message) => message.request_id(),
            Self::Presence(message) => message.request_id(),
        }
    }

    /// The payload, validated and not decoded.
    #[must_use]
    pub const fn payload(&self) -> Payload<'a> {
        match self {
            Self::Server(message) => message.payload(),
            Self::Presence(message) => message.payload(),
        }
    }
}
