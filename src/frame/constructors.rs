//! The frames of the protocol. All are one allocation of the exact size.

use serde::Serialize;

use super::Frame;
use super::serialize::with_json;
use super::shared::{Builder, Shared};
use crate::encode::{
    Envelope, Output, presence_len, presence_list_len, put_payload, put_presence, put_presence_list,
};
use crate::error::{PondError, ValidationError};
use crate::message::{ChannelEvent, Client, Presence, Server};
use crate::payload::{OwnedPayload, Payload};
use crate::protocol::{ClientAction, PresenceEvent, ServerAction};

/// The channel of frames that are about the connection itself.
const GATEWAY: &str = "GATEWAY";

impl Frame {
    /// Any message of a server with a payload that is JSON already: one received, which is
    /// spliced in as it is, or one from [`Payload::from_json`].
    ///
    /// Raw newlines in the payload, which can only be whitespace, become spaces.
    #[must_use]
    pub fn new(
        action: ServerAction,
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: Payload<'_>,
    ) -> Self {
        Self::splice(action.as_str(), channel_name, event, request_id, payload)
    }

    /// Any message of a server with a payload yet to be serialized.
    ///
    /// ```
    /// use pondwire::{Frame, ServerAction};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Score { home: u32, away: u32 }
    ///
    /// let score = Score { home: 1, away: 0 };
    /// let frame = Frame::serialize(ServerAction::Broadcast, "/game/7", "score", "r-1", &score)?;
    /// assert!(frame.as_str().ends_with(r#""payload":{"home":1,"away":0}}"#));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// `payload` does not serialize, or not as a JSON object.
    pub fn serialize<T: Serialize + ?Sized>(
        action: ServerAction,
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: &T,
    ) -> Result<Self, serde_json::Error> {
        with_json(payload, |json| {
            let envelope = Envelope::new(action.as_str(), event, channel_name, request_id);
            Self::build(&envelope, json.len(), |output| output.put_with_spaces(json))
        })
    }

    /// A message of a client, as a bot or a test sends it. Clients must mask what they send, so
    /// its [`json`](Self::json) is of use, its [`wire`](Self::wire) form is not.
    #[must_use]
    pub fn client(
        action: ClientAction,
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: Payload<'_>,
    ) -> Self {
        Self::splice(action.as_str(), channel_name, event, request_id, payload)
    }

    /// An event for the members of a channel: `BROADCAST`.
    ///
    /// Give it a fresh `request_id`: with that of the message it relays, the sender's pending
    /// request would be answered by its own broadcast.
    #[must_use]
    pub fn broadcast(
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: Payload<'_>,
    ) -> Self {
        Self::new(ServerAction::Broadcast, channel_name, event, request_id, payload)
    }

    /// The answer to a client's event: `SYSTEM` with the same event name and request id.
    #[must_use]
    pub fn reply(channel_name: &str, event: &str, request_id: &str, payload: Payload<'_>) -> Self {
        Self::new(ServerAction::System, channel_name, event, request_id, payload)
    }

    /// A change of presence: everyone who is there now, and the new value of who changed (the
    /// last one of who left), all copied as they are. `presence` is walked twice.
    ///
    /// ```
    /// use pondwire::{Frame, Payload, PresenceEvent};
    ///
    /// let user = Payload::from_json(r#"{"id":"u1"}"#)?;
    /// let frame = Frame::presence("/chat/42", PresenceEvent::Join, "r-1", [user].into_iter(), user);
    /// assert!(frame.as_str().ends_with(r#""payload":{"presence":[{"id":"u1"}],"changed":{"id":"u1"}}}"#));
    /// # Ok::<(), pondwire::ValidationError>(())
    /// ```
    #[must_use]
    pub fn presence<'a>(
        channel_name: &str,
        event: PresenceEvent,
        request_id: &str,
        presence: impl Iterator<Item = Payload<'a>> + Clone,
        changed: Payload<'_>,
    ) -> Self {
        let action = ServerAction::Presence.as_str();
        let envelope = Envelope::new(action, event.as_str(), channel_name, request_id);
        Self::build(&envelope, presence_len(presence.clone(), changed), |output| {
            put_presence(output, presence, changed);
        })
    }

    /// [`presence`](Self::presence) of a list that is text already, commas and all but newlines, in
    /// pieces of `list_len` bytes together.
    pub(crate) fn presence_of_list<'a>(
        channel_name: &str,
        event: PresenceEvent,
        request_id: &str,
        list: impl Iterator<Item = &'a str>,
        list_len: usize,
        changed: &str,
    ) -> Self {
        let action = ServerAction::Presence.as_str();
        let envelope = Envelope::new(action, event.as_str(), channel_name, request_id);
        Self::build(&envelope, presence_list_len(list_len, changed), |output| {
            put_presence_list(output, list, changed);
        })
    }

    /// The first frame of a connection, `CONNECT` / `CONNECTION`: tells a client who it is. The
    /// JavaScript clients send nothing before it; over SSE they need the connection's id from it.
    #[must_use]
    pub fn connect(request_id: &str, user_id: &str, connection_id: &str) -> Self {
        #[derive(Serialize)]
        struct Connection<'a> {
            id: &'a str,
            #[serde(rename = "connectionId")]
            connection_id: &'a str,
        }
        let payload = Connection { id: user_id, connection_id };
        Self::infallible(ServerAction::Connect, GATEWAY, "CONNECTION", request_id, &payload)
    }

    /// A join is accepted: `SYSTEM` / `ACKNOWLEDGE` with the join's request id. It must be the
    /// first frame of that channel, clients drop what comes before.
    #[must_use]
    pub fn acknowledge(channel_name: &str, request_id: &str) -> Self {
        Self::reply(channel_name, "ACKNOWLEDGE", request_id, Payload::EMPTY)
    }

    /// A join is declined: `SYSTEM` / `UNAUTHORIZED` with an HTTP-like code, such as those of
    /// [`status`](crate::error::status). For an unknown channel too (404): it is the only form that every
    /// client understands.
    #[must_use]
    pub fn unauthorized(channel_name: &str, request_id: &str, code: i64, message: &str) -> Self {
        let payload = Refusal { code, message };
        Self::infallible(ServerAction::System, channel_name, "UNAUTHORIZED", request_id, &payload)
    }

    /// A message other than a join is for a channel that is not there: `SYSTEM` / `NOT_FOUND`.
    #[must_use]
    pub fn not_found(channel_name: &str, request_id: &str, message: &str) -> Self {
        let payload = Refusal { code: 404, message };
        Self::infallible(ServerAction::System, channel_name, "NOT_FOUND", request_id, &payload)
    }

    /// A channel was left: `SYSTEM` / `EXIT_ACKNOWLEDGE`.
    #[must_use]
    pub fn exit_acknowledge(channel_name: &str, request_id: &str) -> Self {
        Self::reply(channel_name, "EXIT_ACKNOWLEDGE", request_id, Payload::EMPTY)
    }

    /// A user is removed from a channel: `SYSTEM` / `EVICTED`, sent before the removal.
    #[must_use]
    pub fn evicted(channel_name: &str, request_id: &str, reason: &str) -> Self {
        #[derive(Serialize)]
        struct Eviction<'a> {
            reason: &'a str,
        }
        let payload = Eviction { reason };
        Self::infallible(ServerAction::System, channel_name, "EVICTED", request_id, &payload)
    }

    /// The answer to a frame that is no message: `ERROR` / `INVALID_MESSAGE`, with a request id
    /// of its own. The connection goes on; see [`ValidationError::is_too_large`] for when not.
    #[cfg(feature = "uuid")]
    #[must_use]
    pub fn invalid_message(error: &ValidationError) -> Self {
        Self::invalid_message_as(&crate::uuid(), error)
    }

    /// [`invalid_message`](Self::invalid_message) with a given request id.
    #[must_use]
    pub fn invalid_message_as(request_id: &str, error: &ValidationError) -> Self {
        Self::refuse(request_id, if error.is_too_large() { 413 } else { 400 }, &error.to_string())
    }

    /// As [`invalid_message_as`](Self::invalid_message_as) for a refusal that is not the codec's:
    /// an empty channel name, a channel not joined.
    #[must_use]
    pub fn refuse(request_id: &str, status: i64, message: &str) -> Self {
        #[derive(Serialize)]
        struct Invalid<'a> {
            error: &'a str,
            code: &'static str,
            message: &'a str,
            status: i64,
        }
        let payload = Invalid { error: message, code: "INVALID_MESSAGE", message, status };
        Self::infallible(ServerAction::Error, GATEWAY, "INVALID_MESSAGE", request_id, &payload)
    }

    /// A request failed: `SYSTEM` / `INTERNAL_ERROR` with the code, the message, whether trying
    /// again may help, and the details (`null` without any), in the error's channel or `GATEWAY`
    /// when it is about none; the form of the Python server, and but for `details` of the Go one.
    /// `request_id` is that of the request.
    ///
    /// The error's causes are not told: they may name what is no client's business. (The Python
    /// server sends the text of the cause in place of the message.)
    ///
    /// Clients do not take it for the answer to a join: decline with
    /// [`unauthorized`](Self::unauthorized), whatever the code.
    ///
    /// ```
    /// use pondwire::error::PondError;
    /// use pondwire::Frame;
    ///
    /// let error = PondError::too_many_requests("/chat/42", "slow down").with_details(250);
    /// assert_eq!(
    ///     Frame::error(&error, "r-1").as_str(),
    ///     r#"{"action":"SYSTEM","event":"INTERNAL_ERROR","channelName":"/chat/42","requestId":"r-1","payload":{"code":429,"message":"slow down","temporary":true,"details":250}}"#,
    /// );
    /// let declined = Frame::unauthorized(error.channel_name(), "r-1", error.code(), error.message());
    /// assert!(declined.as_str().ends_with(r#""payload":{"code":429,"message":"slow down"}}"#));
    /// ```
    #[must_use]
    pub fn error(error: &PondError, request_id: &str) -> Self {
        #[derive(Serialize)]
        struct Failure<'a> {
            code: i64,
            message: &'a str,
            temporary: bool,
            details: Option<&'a serde_json::Value>,
        }
        let payload = Failure {
            code: error.code(),
            message: error.message(),
            temporary: error.is_temporary(),
            details: error.details(),
        };
        let channel = if error.channel_name().is_empty() { GATEWAY } else { error.channel_name() };
        Self::infallible(ServerAction::System, channel, "INTERNAL_ERROR", request_id, &payload)
    }

    fn splice(
        action: &str,
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: Payload<'_>,
    ) -> Self {
        let envelope = Envelope::new(action, event, channel_name, request_id);
        Self::build(&envelope, payload.as_str().len(), |output| put_payload(output, payload))
    }

    /// For payloads of strings, numbers and JSON values, which always serialize.
    fn infallible<T: Serialize>(
        action: ServerAction,
        channel_name: &str,
        event: &str,
        request_id: &str,
        payload: &T,
    ) -> Self {
        Self::serialize(action, channel_name, event, request_id, payload)
            .expect("a struct of strings, numbers and JSON is a JSON object")
    }

    /// Measures, allocates, writes.
    fn build(
        envelope: &Envelope<'_>,
        payload_len: usize,
        payload: impl FnOnce(&mut Builder),
    ) -> Self {
        let mut builder = Shared::builder(envelope.len(payload_len), payload_len);
        envelope.put(&mut builder, payload);
        Self { shared: builder.finish() }
    }
}

impl From<&Client> for Frame {
    /// As [`Frame::client`].
    fn from(message: &Client) -> Self {
        let Client { action, event, channel_name, request_id, payload } = message;
        Self::client(*action, channel_name, event, request_id, payload.view())
    }
}

impl From<&Server> for Frame {
    /// As [`Frame::new`].
    fn from(message: &Server) -> Self {
        let Server { action, event, channel_name, request_id, payload } = message;
        Self::new(*action, channel_name, event, request_id, payload.view())
    }
}

impl From<&Presence> for Frame {
    /// As [`Frame::presence`].
    fn from(message: &Presence) -> Self {
        let Presence { event, channel_name, request_id, payload } = message;
        let presence = payload.presence.iter().map(OwnedPayload::view);
        Self::presence(channel_name, *event, request_id, presence, payload.changed.view())
    }
}

impl From<&ChannelEvent> for Frame {
    fn from(event: &ChannelEvent) -> Self {
        match event {
            ChannelEvent::Server(message) => message.into(),
            ChannelEvent::Presence(message) => message.into(),
        }
    }
}

/// Why something was refused, for a client to read.
#[derive(Serialize)]
struct Refusal<'a> {
    code: i64,
    message: &'a str,
}
