//! The two plain messages: a client's and a server's.

use std::borrow::Cow;

use bytes::Bytes;

use super::document::{Document, Fields, parse_methods};
use super::owned::OwnedMessage;
use crate::error::ValidationError;
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::{ClientAction, ServerAction};
use crate::scan::{Text, text};

/// The text of a field that was checked to hold no lone surrogate.
#[inline(always)]
pub(super) fn field_text(frame: &str, field: Text) -> Cow<'_, str> {
    text::unescape_lossy(&frame[field.start..field.end], field.escaped)
}

/// The methods that every view has, over a `fields(Document) -> Result<Fields<Action>, _>`.
macro_rules! message {
    (
        $(#[$meta:meta])*
        $name:ident, $action:ty, $root:literal, $read:expr, $names:expr
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            action: $action,
            event: Cow<'a, str>,
            channel_name: Cow<'a, str>,
            request_id: Cow<'a, str>,
            payload: Payload<'a>,
        }

        impl<'a> $name<'a> {
            parse_methods!(
                $action,
                "not a message of this kind: the first failing field in the order `event`, \
                 `requestId`, `channelName`, `payload`, `action`."
            );

            #[inline(always)]
            fn from_document(document: &Document<'a>) -> Result<Self, ValidationError> {
                document.check_root($root)?;
                Ok(Self::new(document.text, &Self::fields(document)?))
            }

            fn owned_fields(document: &Document<'_>) -> Result<Fields<$action>, ValidationError> {
                document.check_root($root)?;
                Self::fields(document)
            }

            #[inline(always)]
            pub(super) fn fields(
                document: &Document<'_>,
            ) -> Result<Fields<$action>, ValidationError> {
                Ok(Fields {
                    event: document.event()?,
                    request_id: document.request_id()?,
                    channel_name: document.channel_name()?,
                    payload: document.payload()?,
                    action: document.action($read, $names)?,
                })
            }

            #[inline(always)]
            pub(super) fn new(frame: &'a str, fields: &Fields<$action>) -> Self {
                Self {
                    action: fields.action,
                    event: field_text(frame, fields.event),
                    channel_name: field_text(frame, fields.channel_name),
                    request_id: field_text(frame, fields.request_id),
                    payload: fields
                        .payload
                        .map_or(Payload::EMPTY, |span| Payload::from_span(frame, span)),
                }
            }

            /// The action.
            #[must_use]
            pub const fn action(&self) -> $action {
                self.action
            }

            /// The name of the event; may be empty.
            #[must_use]
            pub fn event(&self) -> &str {
                &self.event
            }

            /// The channel that the message belongs to; may be empty.
            #[must_use]
            pub fn channel_name(&self) -> &str {
                &self.channel_name
            }

            /// The id that a reply repeats; may be empty.
            #[must_use]
            pub fn request_id(&self) -> &str {
                &self.request_id
            }

            /// The payload, validated and not decoded.
            #[must_use]
            pub const fn payload(&self) -> Payload<'a> {
                self.payload
            }
        }
    };
}

message! {
    /// A client's message: a borrowed view of a validated frame.
    ///
    /// ```
    /// use pondwire::{ClientAction, ClientMessage};
    ///
    /// let frame = br#"{"action":"BROADCAST","channelName":"/chat/42","requestId":"r-1","event":"say","payload":{"text":"hi"}}"#;
    /// let message = ClientMessage::parse(frame)?;
    /// assert_eq!(message.action(), ClientAction::Broadcast);
    /// assert_eq!((message.event(), message.channel_name()), ("say", "/chat/42"));
    /// assert_eq!(message.payload().get("text").unwrap().as_str().unwrap(), "hi");
    /// # Ok::<(), pondwire::ValidationError>(())
    /// ```
    ClientMessage, ClientAction, "clientMessage", ClientAction::from_bytes, ClientAction::NAMES
}

/// The actions of a plain server message: all but `PRESENCE`, in table order.
const SERVER_NAMES: &[&str] = ServerAction::NAMES.split_at(4).0;

fn server_action(word: &[u8]) -> Option<ServerAction> {
    ServerAction::from_bytes(word).filter(|action| *action != ServerAction::Presence)
}

message! {
    /// A server's message, except presence: a borrowed view of a validated frame.
    ///
    /// `PRESENCE` is refused here; [`ChannelEvent`](crate::ChannelEvent) accepts both.
    ServerMessage, ServerAction, "serverMessage", server_action, SERVER_NAMES
}
