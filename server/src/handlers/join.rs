//! The context of a join's handler.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use pondwire::error::PondError;
use pondwire::payload::{JsonType, OwnedPayload};
use pondwire::protocol::{PondSchema, Recipients};
use pondwire::{ClientMessage, Frame, Payload};
use serde::Deserialize;

use super::event::{Params, decoded};
use crate::caller::{
    Actor, Caller, Held, HeldPayload, Place, checked_class, failure, merged, user_id_of,
};
use crate::channel::{Channels, Hooks, Joined, Newcomer, OpenChannel, Returning};
use crate::content::{Content, without_member};
use crate::handle::Channel;
use crate::trace;

/// A client that asks to join a channel. A handler that neither accepts nor declines it declines with 403.
///
/// [`accept`](Self::accept) makes the client a member at once: the acknowledgement is the first frame that it gets
/// of the channel, and what the handler sends or broadcasts then comes after it.
pub struct Join<'a> {
    caller: Held<'a, Arc<Caller>>,
    channels: Held<'a, Arc<Channels>>,
    hooks: Arc<dyn Hooks>,
    answer: Arc<JoinAnswer>,
    channel_name: Cow<'a, str>,
    request_id: Cow<'a, str>,
    /// Without `resume`.
    payload: HeldPayload<'a>,
    /// What `resume` said, in a channel that keeps broadcasts.
    returning: Option<Returning>,
    params: Params<'a>,
    class: AtomicU32,
}

/// The parameter by which a client asks for what it missed.
const RESUME: &str = "resume";

/// Whether the client says by that parameter what it saw before: also in vain, where nothing is kept, if the secret of
/// a connection is in it.
fn has_position(params: Payload<'_>, keeps_history: bool) -> bool {
    params.members().filter(|(key, _)| key == RESUME).any(|(_, resume)| {
        resume.json_type() == JsonType::Object
            && (keeps_history || resume.get("connectionId").is_some())
    })
}

/// What the client says by that parameter of what it saw before; nothing if it is no object, but the application's.
fn returning(params: Payload<'_>, caller: &Caller) -> Option<Returning> {
    let resume = params.get(RESUME).filter(|resume| resume.json_type() == JsonType::Object)?;
    let text = |key| resume.get(key).and_then(|value| value.as_str());
    Some(Returning {
        after: text("after").map(|id| id.as_ref().into()),
        former_user: text("connectionId").map(|id| user_id_of(&id)),
        connection_id: Arc::clone(&caller.connection_id),
    })
}

/// The decision about a join, which the session takes once the handler has ended.
#[derive(Default)]
pub(crate) struct JoinAnswer(Mutex<Decision>);

#[derive(Default)]
pub(crate) enum Decision {
    #[default]
    Open,
    Accepted(Place),
    /// The client has its answer, or is gone.
    Done,
}

impl JoinAnswer {
    /// Takes the decision; one that is made later is refused.
    pub(crate) fn take(&self) -> Decision {
        std::mem::replace(&mut self.0.lock(), Decision::Done)
    }

    /// The channel in which the client was accepted.
    pub(crate) fn channel(&self) -> Option<Arc<OpenChannel>> {
        match &*self.0.lock() {
            Decision::Accepted(place) => Some(Arc::clone(&place.channel)),
            _ => None,
        }
    }
}

/// Answers a join whose handler has ended.
pub(crate) struct JoinAnswerer {
    caller: Arc<Caller>,
    answer: Arc<JoinAnswer>,
    channel_name: Box<str>,
    request_id: Box<str>,
}

impl JoinAnswerer {
    /// Declines the join if the handler did not answer it. An error after it was accepted is answered as an event's.
    pub(crate) fn finish(&self, result: Result<(), PondError>) {
        let Self { caller, answer, channel_name, request_id } = self;
        let mut decision = answer.0.lock();
        match (&*decision, result) {
            (Decision::Accepted(place), Err(error)) => {
                place.answer(caller, failure(channel_name, request_id, error));
            }
            (Decision::Open, result) => {
                let error = result.err();
                let (code, text) = error
                    .as_ref()
                    .map_or((403, "Join declined"), |error| (error.code(), error.message()));
                trace::event!(DEBUG, channel = channel_name, code, text, "join declined");
                caller.reply(Frame::unauthorized(channel_name, request_id, code, text));
                *decision = Decision::Done;
            }
            _ => {}
        }
    }
}

/// What a session knows of a join.
pub(crate) struct JoinRequest<'a> {
    pub(crate) caller: &'a Arc<Caller>,
    pub(crate) channels: &'a Arc<Channels>,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) params: Params<'a>,
}

impl<'a> Join<'a> {
    pub(crate) fn new(
        request: JoinRequest<'a>,
        message: &'a ClientMessage<'_>,
        answer: Arc<JoinAnswer>,
    ) -> Self {
        let JoinRequest { caller, channels, hooks, params } = request;
        let (sent, keeps_history) = (message.payload(), hooks.history().is_some());
        let returning = if keeps_history { returning(sent, caller) } else { None };
        let payload = if has_position(sent, keeps_history) {
            HeldPayload::Owned(without_member(sent, RESUME))
        } else {
            HeldPayload::Borrowed(sent)
        };
        Self {
            caller: Held::Borrowed(caller),
            channels: Held::Borrowed(channels),
            hooks,
            answer,
            channel_name: Cow::Borrowed(message.channel_name()),
            request_id: Cow::Borrowed(message.request_id()),
            payload,
            returning,
            params,
            class: AtomicU32::new(0),
        }
    }

    pub(crate) fn into_owned(self) -> Join<'static> {
        Join {
            caller: self.caller.into_owned(),
            channels: self.channels.into_owned(),
            hooks: self.hooks,
            answer: self.answer,
            channel_name: self.channel_name.into_owned().into(),
            request_id: self.request_id.into_owned().into(),
            payload: self.payload.into_owned(),
            returning: self.returning,
            params: self.params.into_owned(),
            class: self.class,
        }
    }

    pub(crate) fn answerer(&self) -> JoinAnswerer {
        JoinAnswerer {
            caller: Arc::clone(&self.caller),
            answer: Arc::clone(&self.answer),
            channel_name: self.channel_name.as_ref().into(),
            request_id: self.request_id.as_ref().into(),
        }
    }

    /// The channel's name.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        &self.channel_name
    }

    /// The channel, to use it outside of this handler; `None` after the server's end.
    #[must_use]
    pub fn channel(&self) -> Option<Channel> {
        Some(Channel::new(self.channels.find(&self.channel_name)?))
    }

    /// A parameter of the channel's pattern, percent-decoded; `*` is the part that the asterisk stands for.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The client's id: each connection is a user of its own.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.caller.id
    }

    /// The id that the answer repeats.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The parameters that the client joins with: validated, and not decoded. In a channel with a
    /// [history](crate::ChannelHandlers::history) they come without `resume`, and in any other if it is an object with a
    /// `connectionId`, which is a secret of the client.
    #[must_use]
    pub const fn payload(&self) -> Payload<'_> {
        self.payload.view()
    }

    /// Decodes the parameters; see [`decode_object`](pondwire::protocol::decode_object).
    ///
    /// # Errors
    /// They are no `T`: code 400.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, PondError> {
        decoded(self.payload(), self.channel_name())
    }

    /// Decodes the parameters that a channel of this kind is joined with.
    ///
    /// # Errors
    /// They are others: code 400.
    pub fn params_of<S: PondSchema>(&self) -> Result<S::JoinParams, PondError> {
        S::decode_join_params(self.payload().as_str()).map_err(|error| {
            PondError::bad_request(self.channel_name(), format!("payload: {error}"))
        })
    }

    /// The data that the connection was accepted with.
    #[must_use]
    pub fn connection_assigns(&self) -> Arc<OwnedPayload> {
        self.caller.assigns.clone().unwrap_or_default()
    }

    /// Puts the client into a class of recipients, 0 to 30, before it is accepted; see
    /// [`on_outgoing`](crate::ChannelHandlers::on_outgoing).
    ///
    /// # Errors
    /// There is no such class: code 500.
    pub fn set_class(&self, class: u32) -> Result<(), PondError> {
        self.class.store(checked_class(class)?, Ordering::Relaxed);
        match self.place() {
            Some(place) => Actor { caller: &self.caller, place: &place }.set_class(class),
            None => Ok(()),
        }
    }

    /// Accepts the join. The data of the connection become the member's assigns. A client that comes back to a channel
    /// with a [history](crate::ChannelHandlers::history) gets what it missed after the acknowledgement.
    ///
    /// # Errors
    /// The join was answered already: code 409. The connection has failed, or there is no memory for another member:
    /// 503; see [`Options::memory_bytes`](crate::Options::memory_bytes).
    pub fn accept(&self) -> Result<(), PondError> {
        self.accept_with(Payload::EMPTY)
    }

    /// Accepts the join with the server's data about the member, besides those of the connection. A client that is a
    /// member already stays one as it is.
    ///
    /// # Errors
    /// As [`accept`](Self::accept). The content does not serialize: code 500. With the connection's data it is larger
    /// than 64 KiB: 400.
    pub fn accept_with(&self, assigns: impl Content) -> Result<(), PondError> {
        let assigns = assigns.with(|assigns| merged(&self.caller.assigns, assigns))??;
        let mut decision = self.answer.0.lock();
        if !matches!(*decision, Decision::Open) {
            return Err(self.answered());
        }
        let newcomer = Newcomer {
            user: &self.caller.id,
            seat: &self.caller.seat,
            request_id: &self.request_id,
            assigns,
            class: self.class.load(Ordering::Relaxed),
            returning: self.returning.as_ref(),
        };
        let joined = self.channels.join(&self.channel_name, &self.hooks, &newcomer);
        let Some((channel, joined)) = joined else {
            let text = "No memory for another channel";
            return Err(PondError::unavailable(self.channel_name(), text));
        };
        let refused = match joined {
            Joined::Member { token, missed } => {
                self.caller.charge_bytes(missed);
                *decision = Decision::Accepted(Place { channel, token });
                return Ok(());
            }
            Joined::Failed => {
                *decision = Decision::Done;
                "The connection has failed"
            }
            Joined::NoMemory => "No memory for another member",
        };
        channel.close_if_empty();
        Err(PondError::unavailable(self.channel_name(), refused))
    }

    /// Declines the join with a code like those of HTTP and a text for the client; does nothing if the join was
    /// answered already. Returning an error from the handler does the same with its code and message, which is
    /// shorter in a handler that returns a `Result`:
    ///
    /// ```
    /// use pondwire::error::PondError;
    /// # let mut pond = pondwire_server::PondServer::new();
    /// # pond.endpoint("/api/socket", |connect| connect.accept())
    /// .channel("/chat/:id", |join| {
    ///     if join.payload().get("name").is_none() {
    ///         return Err(PondError::bad_request("", "A name is needed"));
    ///     }
    ///     join.accept()
    /// });
    /// ```
    pub fn decline(&self, code: u16, text: &str) {
        let mut decision = self.answer.0.lock();
        if matches!(*decision, Decision::Open) {
            *decision = Decision::Done;
            self.reply_declined(code.into(), text);
        }
    }

    fn reply_declined(&self, code: i64, text: &str) {
        let Self { channel_name, request_id, .. } = self;
        trace::event!(DEBUG, channel = &**channel_name, code, text, "join declined");
        self.caller.reply(Frame::unauthorized(channel_name, request_id, code, text));
    }

    fn answered(&self) -> PondError {
        PondError::conflict(self.channel_name(), "The join has been answered")
    }

    /// The place that the client was accepted at.
    fn place(&self) -> Option<Place> {
        match &*self.answer.0.lock() {
            Decision::Accepted(place) => Some(place.clone()),
            _ => None,
        }
    }

    fn as_member<T>(
        &self,
        act: impl FnOnce(Actor<'_>) -> Result<T, PondError>,
    ) -> Result<T, PondError> {
        let place = self.place();
        let place =
            place.ok_or_else(|| PondError::conflict(self.channel_name(), "Not accepted yet"))?;
        act(Actor { caller: &self.caller, place: &place })
    }

    /// Sends the new member an event, `SYSTEM` with the join's request id.
    ///
    /// # Errors
    /// The join is not accepted: code 409. The content does not serialize: 500.
    pub fn reply(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.as_member(|member| member.reply(event, &self.request_id, content))
    }

    /// Sends an event to all members, the new one included.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn broadcast(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.as_member(|member| member.send(event, content, &Recipients::AllUsers))
    }

    /// Sends an event to all members but the new one.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn broadcast_from(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.as_member(|member| member.send(event, content, &Recipients::AllExceptSender))
    }

    /// Sets the new member's presence; see [`Event::track`](super::Event::track).
    ///
    /// # Errors
    /// The join is not accepted: code 409; and as [`Event::track`](super::Event::track).
    pub fn track(&self, presence: impl Content) -> Result<(), PondError> {
        self.as_member(|member| member.track(presence, false))
    }

    /// Sends the new member the channel's last broadcast to all, if there was one: for channels in which each
    /// event replaces the one before. A broadcast that is published at the same moment may arrive twice, but it is
    /// then the last. Nothing is sent if there was no room for it in
    /// [`Options::last_broadcast_bytes`](crate::Options::last_broadcast_bytes).
    ///
    /// # Errors
    /// The join is not accepted: code 409.
    pub fn catch_up(&self) -> Result<(), PondError> {
        self.as_member(|member| {
            let class = self.class.load(Ordering::Relaxed);
            member.place.channel.catch_up(&member.place.token, class);
            Ok(())
        })
    }
}

impl fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join")
            .field("channel_name", &self.channel_name)
            .field("payload", &self.payload())
            .finish_non_exhaustive()
    }
}
