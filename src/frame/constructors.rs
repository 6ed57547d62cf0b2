//! The frames of the protocol. Each is one allocation of the exact size.

#![allow(unsafe_code)]

use serde::Serialize;

use super::Frame;
use super::shared::{Builder, Shared};
use crate::encode::{
    Envelope, Output, presence_len, presence_list_len, put_payload, put_presence,
    put_presence_list, with_json,
};
use crate::error::{PondError, ValidationError};
use crate::message::{ChannelEvent, Client, Presence, Server};
use crate::payload::{OwnedPayload, Payload};
use crate::protocol::{ClientAction, PresenceEvent, ServerAction};

/// The channel of frames that are about the connection itself.
const GATEWAY: &str = "GATEWAY";

impl Frame {
    /// A server's message with a payload that is JSON already: a received one, or one from
    /// [`Payload::from_json`]. It is copied as it is, but for raw newlines, which can only be whitespace and become
    /// spaces.
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

    /// A server's message with a payload that is serialized now.
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
            // SAFETY: serialized JSON is UTF-8.
            unsafe { Self::build(&envelope, json.len(), |output| output.put_with_spaces(json)) }
        })
    }

    /// A client's message, as a bot or a test sends it. Clients must mask their frames, so use its
    /// [`json`](Self::json) and not its [`wire`](Self::wire) form.
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
    /// Give it a fresh `request_id`: with the id of the relayed message, the sender would take its
    /// own broadcast for the answer to its request.
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

    /// A change of presence: the presence of all users in the channel now, and the changed user's
    /// new value (the departed user's last value), all copied as by [`new`](Self::new). `presence` is walked
    /// twice: once to find the frame's length. A [`PresenceRoster`](crate::PresenceRoster) keeps such a list, and
    /// [`OwnedPayload::encode`](crate::payload::OwnedPayload::encode) makes a payload of a type that serializes.
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
        let payload_len = presence_len(presence.clone(), changed);
        // SAFETY: payloads are UTF-8.
        unsafe {
            Self::build(&envelope, payload_len, |output| put_presence(output, presence, changed))
        }
    }

    /// [`presence`](Self::presence) of a list that is JSON text already, with commas and without
    /// raw newlines, in pieces of `list_len` bytes in total.
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
        let payload_len = presence_list_len(list_len, changed);
        // SAFETY: the pieces are UTF-8.
        unsafe {
            Self::build(&envelope, payload_len, |output| put_presence_list(output, list, changed))
        }
    }

    /// The first frame of a connection, `CONNECT` / `CONNECTION`: carries the client's user id and
    /// connection id. The JavaScript clients send nothing before it; over SSE they need the
    /// connection id from it.
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
    /// first frame of that channel: clients drop earlier ones.
    #[must_use]
    pub fn acknowledge(channel_name: &str, request_id: &str) -> Self {
        Self::reply(channel_name, "ACKNOWLEDGE", request_id, Payload::EMPTY)
    }

    /// A join is declined: `SYSTEM` / `UNAUTHORIZED` with an HTTP-like code, such as those of
    /// [`status`](crate::error::status). Decline a join to an unknown channel with it too (404): no other
    /// form is understood by every client.
    #[must_use]
    pub fn unauthorized(channel_name: &str, request_id: &str, code: i64, message: &str) -> Self {
        let payload = Refusal { code, message };
        Self::infallible(ServerAction::System, channel_name, "UNAUTHORIZED", request_id, &payload)
    }

    /// An event names a channel that does not exist, or that the client has not joined: `SYSTEM` / `NOT_FOUND`. (A
    /// leave is always acknowledged.)
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

    /// The answer to an invalid frame: `ERROR` / `INVALID_MESSAGE`, with a fresh request id, since what is no message
    /// has none. The connection continues, unless [`ValidationError::is_too_large`]. Needs the feature `uuid`; without
    /// it give [`invalid_message_as`](Self::invalid_message_as) an id.
    #[cfg(feature = "uuid")]
    #[must_use]
    pub fn invalid_message(error: &ValidationError) -> Self {
        Self::invalid_message_as(&crate::protocol::uuid(), error)
    }

    /// [`invalid_message`](Self::invalid_message) with a given request id: that of a message which a check of
    /// [your own](ValidationError::new) refuses, or one that you make.
    #[must_use]
    pub fn invalid_message_as(request_id: &str, error: &ValidationError) -> Self {
        Self::refuse(request_id, if error.is_too_large() { 413 } else { 400 }, &error.to_string())
    }

    /// [`invalid_message_as`](Self::invalid_message_as) with a text that is made at run time, for a message that
    /// the server itself refuses: its payload does not decode, or its channel name is empty. `status` is a code like
    /// those of HTTP.
    ///
    /// ```
    /// use pondwire::Frame;
    ///
    /// assert_eq!(
    ///     Frame::refuse("r-1", 400, "payload: missing field `text`").as_str(),
    ///     r#"{"action":"ERROR","event":"INVALID_MESSAGE","channelName":"GATEWAY","requestId":"r-1","payload":{"error":"payload: missing field `text`","code":"INVALID_MESSAGE","message":"payload: missing field `text`","status":400}}"#,
    /// );
    /// ```
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

    /// A request failed: `SYSTEM` / `INTERNAL_ERROR` with the code, the message, whether a retry
    /// may help, and the details (`null` if there are none), in the error's channel or in `GATEWAY`
    /// if it has none. This is the form of the Python server and, except for `details`, of the Go
    /// server. `request_id` is that of the request.
    ///
    /// The error's causes are not sent: they may contain internal information. (The Python server
    /// sends the text of the cause in place of the message.)
    ///
    /// Clients do not accept it as the answer to a join: decline with
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
        let payload_len = payload.as_str().len();
        // SAFETY: a payload is UTF-8.
        unsafe { Self::build(&envelope, payload_len, |output| put_payload(output, payload)) }
    }

    /// A frame with a payload of strings, numbers and JSON values, which always serializes.
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

    /// Measures the document, allocates the frame and writes it.
    ///
    /// # Safety
    /// `payload` writes UTF-8.
    unsafe fn build(
        envelope: &Envelope<'_>,
        payload_len: usize,
        payload: impl FnOnce(&mut Builder),
    ) -> Self {
        // SAFETY: the envelope writes UTF-8, and so does `payload`.
        let mut builder = unsafe { Shared::builder(envelope.len(payload_len), payload_len) };
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

/// The payload of a refusal: the reason, for a client to read.
#[derive(Serialize)]
struct Refusal<'a> {
    code: i64,
    message: &'a str,
}
