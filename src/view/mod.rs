//! Received messages as borrowed views of validated frames.
//!
//! - [`ClientMessage`] is a client's message: what a server parses.
//! - [`ChannelEvent`] is any message of a server: what a client parses.
//! - [`ServerMessage`] is a server's message other than presence.
//! - [`PresenceMessage`] is a change of presence, with the presence of all users.
//! - [`OwnedMessage`] is a view that owns its frame, for another task or later use.
//!
//! A view borrows the frame it was parsed from, and keeps the places of its fields, 8 bytes each.
//! Parsing validates all of the frame, the payload included, and allocates nothing unless one of
//! `event`, `channelName` and `requestId` is written with escapes.
//!
//! # Implementation
//!
//! [`scan`](crate::scan) validates the JSON; this module has the rules of the envelope, by which a
//! JSON document is a message.

mod channel_event;
mod document;
mod fields;
mod key;
mod message;
mod owned;
mod presence;

pub use channel_event::ChannelEvent;
pub use message::{ClientMessage, ServerMessage};
pub use owned::OwnedMessage;
pub use presence::PresenceMessage;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::payload::Payload;
use crate::protocol::{ClientAction, ServerAction};

/// Serializes the five keys in the order in which this crate writes them.
fn fields<S: Serializer>(
    serializer: S,
    action: &str,
    event: &str,
    channel_name: &str,
    request_id: &str,
    payload: Payload<'_>,
) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Message", 5)?;
    fields.serialize_field("action", action)?;
    fields.serialize_field("event", event)?;
    fields.serialize_field("channelName", channel_name)?;
    fields.serialize_field("requestId", request_id)?;
    fields.serialize_field("payload", &payload)?;
    fields.end()
}

macro_rules! serialize_view {
    ($name:ty, $message:ident => $event:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $message = self;
                let (channel_name, request_id) = (self.channel_name(), self.request_id());
                let action = self.action().as_str();
                fields(serializer, action, $event, channel_name, request_id, self.payload())
            }
        }
    };
}

serialize_view!(ClientMessage<'_>, message => message.event());
serialize_view!(ServerMessage<'_>, message => message.event());
serialize_view!(PresenceMessage<'_>, message => message.event().as_str());
serialize_view!(ChannelEvent<'_>, message => message.event());
serialize_view!(OwnedMessage<ClientAction>, message => message.event());
serialize_view!(OwnedMessage<ServerAction>, message => message.event());
