//! The context of an event's handler.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::{PathMatch, PondEvent, PondSchema, Recipients, decode_object};
use pondwire::{ClientMessage, Frame, Payload};
use serde::Deserialize;

use crate::caller::{Actor, Caller, Held, HeldPayload, Place, failure};
use crate::content::{Content, Json};
use crate::handle::Channel;
use crate::users::Users;

/// An event that a member of a channel sent.
///
/// A plain handler borrows it from the buffer that it was received in. An asynchronous one owns an `Event<'static>`;
/// it may keep it, and use it after its end.
pub struct Event<'a> {
    caller: Held<'a, Arc<Caller>>,
    place: Held<'a, Place>,
    name: Cow<'a, str>,
    request_id: Cow<'a, str>,
    payload: HeldPayload<'a>,
    params: Params<'a>,
}

/// The parameters that a pattern found in a name.
pub(crate) enum Params<'a> {
    None,
    /// A reference, because a match is large.
    Borrowed(&'a dyn Found),
    Owned(Box<[(Box<str>, Box<str>)]>),
}

/// A match whose own lifetime does not matter.
pub(crate) trait Found: Sync {
    fn get(&self, name: &str) -> Option<&str>;

    fn to_owned(&self) -> Box<[(Box<str>, Box<str>)]>;
}

impl Found for PathMatch<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.param(name).or_else(|| self.wildcard().filter(|_| name == "*"))
    }

    fn to_owned(&self) -> Box<[(Box<str>, Box<str>)]> {
        let wildcard = self.wildcard().map(|value| ("*", value));
        let params = self.params().chain(wildcard);
        params.map(|(name, value)| (name.into(), value.into())).collect()
    }
}

impl<'a> Params<'a> {
    #[inline]
    pub(crate) fn of(found: &'a Option<PathMatch<'_>>) -> Self {
        found.as_ref().map_or(Self::None, |found| Self::Borrowed(found))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Borrowed(found) => found.get(name),
            Self::Owned(params) => {
                params.iter().find_map(|(found, value)| (**found == *name).then_some(&**value))
            }
        }
    }

    pub(crate) fn into_owned(self) -> Params<'static> {
        match self {
            Self::None => Params::None,
            Self::Borrowed(found) => Params::Owned(found.to_owned()),
            Self::Owned(params) => Params::Owned(params),
        }
    }
}

impl<'a> Event<'a> {
    #[inline]
    pub(crate) fn new(
        caller: &'a Arc<Caller>,
        place: &'a Place,
        message: &'a ClientMessage<'_>,
        params: Params<'a>,
    ) -> Self {
        Self {
            caller: Held::Borrowed(caller),
            place: Held::Borrowed(place),
            name: Cow::Borrowed(message.event()),
            request_id: Cow::Borrowed(message.request_id()),
            payload: HeldPayload::Borrowed(message.payload()),
            params,
        }
    }

    pub(crate) fn into_owned(self) -> Event<'static> {
        Event {
            caller: self.caller.into_owned(),
            place: self.place.into_owned(),
            name: self.name.into_owned().into(),
            request_id: self.request_id.into_owned().into(),
            payload: self.payload.into_owned(),
            params: self.params.into_owned(),
        }
    }

    #[inline]
    fn actor(&self) -> Actor<'_> {
        Actor { caller: &self.caller, place: &self.place }
    }

    /// The event's name.
    #[must_use]
    #[inline]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A parameter of the handler's pattern, percent-decoded; `*` is the part that the asterisk stands for.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// The payload: validated, and not decoded.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> Payload<'_> {
        self.payload.view()
    }

    /// Decodes the payload; see [`decode_object`].
    ///
    /// # Errors
    /// The payload is no `T`: code 400.
    pub fn decode<'de, T: Deserialize<'de>>(&'de self) -> Result<T, PondError> {
        decoded(self.payload(), self.channel_name())
    }

    /// The id that a reply repeats.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The sender's id: each connection is a user of its own.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.caller.id
    }

    /// The name of the channel.
    #[must_use]
    #[inline]
    pub fn channel_name(&self) -> &str {
        self.place.channel.name()
    }

    /// The channel, to use it outside of this handler.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Channel::new(Arc::clone(&self.place.channel))
    }

    /// Whether the sender is still a member.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.place.token.is_member()
    }

    /// Answers the sender: the same event name and request id, `SYSTEM`.
    ///
    /// # Errors
    /// The content does not serialize: code 500.
    pub fn reply(&self, content: impl Content) -> Result<(), PondError> {
        self.actor().reply(&self.name, &self.request_id, content)
    }

    /// Sends the sender another event, `SYSTEM` with a request id of its own.
    ///
    /// # Errors
    /// The content does not serialize: code 500.
    pub fn send(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.actor().reply(event, &pondwire::uuid(), content)
    }

    /// Refuses the message as invalid, with a status such as 400 or 429: `ERROR` / `INVALID_MESSAGE`.
    pub fn refuse(&self, status: u16, text: &str) {
        let frame = Frame::refuse(&self.request_id, status.into(), text);
        self.place.answer(&self.caller, frame);
    }

    /// Answers an error that the handler returned.
    pub(crate) fn fail(&self, error: PondError) {
        self.place.answer(&self.caller, failure(self.channel_name(), &self.request_id, error));
    }

    /// Answers an error after the event itself was given away.
    pub(crate) fn answerer(&self) -> impl FnOnce(PondError) + Send + use<> {
        let (caller, place) = (Arc::clone(&self.caller), Place::clone(&self.place));
        let request_id: Box<str> = self.request_id.as_ref().into();
        move |error| place.answer(&caller, failure(place.channel.name(), &request_id, error))
    }

    /// Sends an event to all members of the channel, the sender included. A relay is
    /// `event.broadcast(event.name(), event.payload())`: the payload is copied once, into the frame that all share.
    ///
    /// # Errors
    /// The content does not serialize: code 500.
    #[inline]
    pub fn broadcast(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.actor().send(event, content, &Recipients::AllUsers)
    }

    /// [`broadcast`](Self::broadcast) to all members but the sender.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.actor().send(event, content, &Recipients::AllExceptSender)
    }

    /// [`broadcast`](Self::broadcast) to the members with these ids; ids of other users are ignored. Each id costs a
    /// look-up, so bound how many a client may name.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to<'u, U: Into<Cow<'u, str>>>(
        &self,
        users: impl IntoIterator<Item = U>,
        event: &str,
        content: impl Content,
    ) -> Result<(), PondError> {
        self.actor().send(event, content, &Recipients::users(users.into_iter().map(Into::into)))
    }

    /// [`broadcast`](Self::broadcast) of a typed event.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn emit<E: PondEvent>(&self, payload: &E::Payload) -> Result<(), PondError> {
        self.broadcast(E::NAME, Json(payload))
    }

    /// Sets the sender's presence, of at most 4 KiB, whether or not it was tracked before. All tracked members are
    /// sent the list of all, as it is given here: nothing secret belongs in it, and others learn the sender's
    /// [`user_id`](Self::user_id) only if that does.
    ///
    /// # Errors
    /// The presence, or the list with it, is too large: code 400. The sender is no member any more: 404. The content
    /// does not serialize: 500. It is larger than the one before, and there is no memory for it: 503; see
    /// [`Options::memory_bytes`](crate::Options::memory_bytes).
    pub fn track(&self, presence: impl Content) -> Result<(), PondError> {
        self.actor().track(presence, false)
    }

    /// [`track`](Self::track) for a sender that is tracked.
    ///
    /// # Errors
    /// As [`track`](Self::track), and 400 if the sender is not tracked.
    pub fn update(&self, presence: impl Content) -> Result<(), PondError> {
        self.actor().track(presence, true)
    }

    /// Ends the sender's presence.
    ///
    /// # Errors
    /// The sender is not tracked: code 400; it is no member any more: 404.
    pub fn untrack(&self) -> Result<(), PondError> {
        self.actor().untrack()
    }

    /// The server's data about the sender in this channel.
    #[must_use]
    pub fn assigns(&self) -> Arc<OwnedPayload> {
        self.place.token.assigns().unwrap_or_default()
    }

    /// Decodes the server's data about the sender in a channel of this kind.
    ///
    /// # Errors
    /// They are others: code 500, since a client cannot set them.
    pub fn assigns_of<S: PondSchema>(&self) -> Result<S::Assigns, PondError> {
        let assigns = S::decode_assigns(self.assigns().view().as_str());
        assigns.map_err(|error| PondError::internal("", format!("assigns: {error}")))
    }

    /// Adds members to the server's data about the sender, or sets them.
    ///
    /// # Errors
    /// The sender is no member any more: code 404. The content does not serialize: 500. The data would be larger than
    /// 64 KiB: 400. It grows, and there is no memory for it: 503.
    pub fn assign(&self, content: impl Content) -> Result<(), PondError> {
        self.actor().assign(content, false)
    }

    /// Replaces the server's data about the sender.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn set_assigns(&self, content: impl Content) -> Result<(), PondError> {
        self.actor().assign(content, true)
    }

    /// Puts the sender into a class of recipients, 0 to 30; see
    /// [`on_outgoing`](crate::ChannelHandlers::on_outgoing).
    ///
    /// # Errors
    /// There is no such class: code 500. The sender is no member any more: 404.
    pub fn set_class(&self, class: u32) -> Result<(), PondError> {
        self.actor().set_class(class)
    }

    /// Removes a user from the channel, on any node, after an `EVICTED` with the reason.
    ///
    /// # Errors
    /// No node has such a user: code 404.
    pub fn evict(&self, user_id: &str, reason: &str) -> Result<(), PondError> {
        let error = || PondError::not_found(self.channel_name(), "No such user");
        self.actor().evict(user_id, reason).then_some(()).ok_or_else(error)
    }

    /// The users of the channel on all nodes. The sender pays for the list as if it had sent it, since a short
    /// request makes a long answer.
    #[must_use]
    pub fn users(&self) -> Users {
        let users = self.place.channel.users();
        self.charge(users.json_len());
        users
    }

    /// Charges the sender with this number of bytes, as if it had sent them: for work that a short message
    /// causes. They count against its byte rate and its share of the server's time.
    pub fn charge(&self, bytes: usize) {
        self.caller.charge_bytes(bytes);
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("channel_name", &self.channel_name())
            .field("name", &self.name)
            .field("payload", &self.payload())
            .finish_non_exhaustive()
    }
}

/// Decodes what a client sent.
pub(crate) fn decoded<'a, T: Deserialize<'a>>(
    payload: Payload<'a>,
    channel: &str,
) -> Result<T, PondError> {
    decode_object(payload.as_str())
        .map_err(|error| PondError::bad_request(channel, format!("payload: {error}")))
}
