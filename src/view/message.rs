//! The two plain messages: a client's and a server's.

use std::fmt;

use bytes::Bytes;

use super::document::{Document, Found, Kind, Refusal, parse_methods};
use super::fields::{Fields, Places};
use super::key::Key;
use super::owned::OwnedMessage;
use crate::error::ValidationError;
use crate::limits::ParseOptions;
use crate::payload::Payload;
use crate::protocol::{ClientAction, ServerAction};

/// The methods that every view has, over a `fields(Document) -> Result<Fields<Action>, _>`.
macro_rules! message {
    (
        $(#[$meta:meta])*
        $name:ident, $action:ty, $read:expr, $kind:expr
    ) => {
        $(#[$meta])*
        #[derive(Clone)]
        pub struct $name<'a> {
            frame: &'a str,
            fields: Fields<$action>,
        }

        impl<'a> $name<'a> {
            parse_methods!(
                $action,
                "not a message of this kind: the first failing field in the order `event`, \
                 `requestId`, `channelName`, `payload`, `action`."
            );

            #[inline(always)]
            pub(super) fn from_document(
                document: &Document<'a, '_>,
            ) -> Result<Self, ValidationError> {
                // Both write to the result's place: nothing is copied.
                match document.usual($read) {
                    Some(fields) => Ok(Self { frame: document.text, fields }),
                    None => Self::unusual(document),
                }
            }

            /// A message that is refused or has escapes.
            #[cold]
            #[inline(never)]
            fn unusual(document: &Document<'a, '_>) -> Result<Self, ValidationError> {
                if document.is_usual_but_action() {
                    return Err(document.error(Refusal::Unknown(Key::Action), &$kind));
                }
                match Self::fields(document) {
                    Ok(fields) => Ok(Self { frame: document.text, fields }),
                    Err(refusal) => Err(document.error(refusal, &$kind)),
                }
            }

            pub(super) fn owned_fields(
                document: &Document<'_, '_>,
            ) -> Result<Fields<$action>, ValidationError> {
                Self::fields(document).map_err(|refusal| document.error(refusal, &$kind))
            }

            #[inline(always)]
            fn fields(document: &Document<'_, '_>) -> Result<Fields<$action>, Refusal> {
                document.check_root()?;
                let event = document.event()?;
                let request_id = document.request_id()?;
                let channel_name = document.channel_name()?;
                let payload = document.payload()?;
                let action = document.action($read, $kind.actions)?;
                let places = Places { event, channel_name, request_id, payload };
                Ok(Fields::new(document.text, action, places))
            }

            /// The action.
            #[must_use]
            pub const fn action(&self) -> $action {
                self.fields.action
            }

            /// The name of the event; may be empty.
            #[must_use]
            #[inline]
            pub fn event(&self) -> &str {
                self.fields.event(self.frame)
            }

            /// The channel that the message belongs to; may be empty.
            #[must_use]
            #[inline]
            pub fn channel_name(&self) -> &str {
                self.fields.channel_name(self.frame)
            }

            /// The id that a reply repeats; may be empty.
            #[must_use]
            #[inline]
            pub fn request_id(&self) -> &str {
                self.fields.request_id(self.frame)
            }

            /// The payload, validated and not decoded.
            #[must_use]
            #[inline]
            pub fn payload(&self) -> Payload<'a> {
                self.fields.payload(self.frame)
            }
        }

        impl PartialEq for $name<'_> {
            /// Compares the five fields, the payload by its text.
            fn eq(&self, other: &Self) -> bool {
                self.fields.equals(self.frame, &other.fields, other.frame)
            }
        }

        impl Eq for $name<'_> {}

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.fields.debug(self.frame, stringify!($name), f)
            }
        }
    };
}

message! {
    /// A client's message: a borrowed view of a validated frame.
    ///
    /// The payload borrows from the frame. The other fields borrow from the message, which keeps those that were written
    /// with escapes. If a key occurs more than once in the frame, its last value counts, as in JavaScript and Python; of
    /// the others only the JSON is checked.
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
    ClientMessage, ClientAction, ClientAction::from_bytes, CLIENT
}

const CLIENT: Kind = Kind { name: "clientMessage", actions: ClientAction::NAMES };

/// A plain server message has all actions but `PRESENCE`, in table order.
const SERVER: Kind = Kind { name: "serverMessage", actions: ServerAction::NAMES.split_at(4).0 };

fn server_action(word: &[u8]) -> Option<ServerAction> {
    ServerAction::from_bytes(word).filter(|action| *action != ServerAction::Presence)
}

message! {
    /// A server's message, except presence: a borrowed view of a validated frame.
    ///
    /// `PRESENCE` is refused here; [`ChannelEvent`](crate::ChannelEvent) accepts both.
    ServerMessage, ServerAction, server_action, SERVER
}
