//! The targets, and helpers of several of them: one interface to the four ways of parsing a frame.

pub mod targets;

use bytes::Bytes;
use pondwire::limits::ParseOptions;
use pondwire::{
    ChannelEvent, ClientMessage, Payload, PresenceMessage, ServerMessage, ValidationError,
};

/// The kind of message that a frame is parsed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Client,
    Server,
    Presence,
    ChannelEvent,
}

/// A view of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Client(ClientMessage<'a>),
    Channel(ChannelEvent<'a>),
}

/// The five fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    pub action: &'static str,
    pub event: &'a str,
    pub channel_name: &'a str,
    pub request_id: &'a str,
    pub payload: Payload<'a>,
}

/// The fields of a value that has an accessor for each.
macro_rules! fields {
    ($message:expr) => {
        Fields {
            action: $message.action().as_str(),
            event: $message.event(),
            channel_name: $message.channel_name(),
            request_id: $message.request_id(),
            payload: $message.payload(),
        }
    };
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Client, Self::Server, Self::Presence, Self::ChannelEvent];

    pub fn parse(
        self,
        frame: &[u8],
        options: ParseOptions,
    ) -> Result<Message<'_>, ValidationError> {
        let (server, presence) = (ChannelEvent::Server, ChannelEvent::Presence);
        Ok(match self {
            Self::Client => Message::Client(ClientMessage::parse_with(frame, options)?),
            Self::Server => Message::Channel(server(ServerMessage::parse_with(frame, options)?)),
            Self::Presence => {
                Message::Channel(presence(PresenceMessage::parse_with(frame, options)?))
            }
            Self::ChannelEvent => Message::Channel(ChannelEvent::parse_with(frame, options)?),
        })
    }

    pub fn parse_str(
        self,
        frame: &str,
        options: ParseOptions,
    ) -> Result<Message<'_>, ValidationError> {
        let (server, presence) = (ChannelEvent::Server, ChannelEvent::Presence);
        Ok(match self {
            Self::Client => Message::Client(ClientMessage::parse_str_with(frame, options)?),
            Self::Server => {
                Message::Channel(server(ServerMessage::parse_str_with(frame, options)?))
            }
            Self::Presence => {
                Message::Channel(presence(PresenceMessage::parse_str_with(frame, options)?))
            }
            Self::ChannelEvent => Message::Channel(ChannelEvent::parse_str_with(frame, options)?),
        })
    }

    /// Passes the owned message's fields, or the error, to `judge`.
    pub fn parse_owned(
        self,
        frame: Bytes,
        options: ParseOptions,
        judge: impl FnOnce(Result<Fields<'_>, ValidationError>),
    ) {
        let message = match self {
            Self::Client => match ClientMessage::parse_owned(frame, options) {
                Ok(message) => return judge(Ok(fields!(message))),
                Err(error) => return judge(Err(error)),
            },
            Self::Server => ServerMessage::parse_owned(frame, options),
            Self::Presence => PresenceMessage::parse_owned(frame, options),
            Self::ChannelEvent => ChannelEvent::parse_owned(frame, options),
        };
        match &message {
            Ok(message) => judge(Ok(fields!(message))),
            Err(error) => judge(Err(*error)),
        }
    }
}

impl Message<'_> {
    pub fn fields(&self) -> Fields<'_> {
        match self {
            Self::Client(message) => fields!(message),
            Self::Channel(message) => fields!(message),
        }
    }
}
