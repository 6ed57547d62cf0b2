//! The two plain messages: what a client sends and what a server sends.

use std::borrow::Cow;

use bytes::Bytes;

use super::envelope::{Document, Fields};
use super::owned::OwnedMessage;
use super::parse::parse_methods;
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
                "no message of this kind: the first failing field in the order `event`, \
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

            /// What is asked for or told.
            #[must_use]
            pub const fn action(&self) -> $action {
                self.action
            }

            /// The name of the event; may be empty.
            #[must_use]
            pub fn event(&self) -> &str {
                &self.event
            }

            /// The channel it is about; may be empty.
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
    /// What a client sends: a borrowed view of a validated frame.
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

/// What a plain server message may be: every action but `PRESENCE`, in table order.
const SERVER_NAMES: &[&str] = ServerAction::NAMES.split_at(4).0;

fn server_action(word: &[u8]) -> Option<ServerAction> {
    ServerAction::from_bytes(word).filter(|action| *action != ServerAction::Presence)
}

message! {
    /// What a server sends, presence aside: a borrowed view of a validated frame.
    ///
    /// `PRESENCE` is refused here; [`ChannelEvent`](crate::ChannelEvent) takes both.
    ServerMessage, ServerAction, "serverMessage", server_action, SERVER_NAMES
}
