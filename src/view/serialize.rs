//! Views as serde values: the five keys in the order in which this crate writes them.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{ChannelEvent, ClientMessage, OwnedMessage, PresenceMessage, ServerMessage};
use crate::payload::Payload;
use crate::protocol::{ClientAction, ServerAction};

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
