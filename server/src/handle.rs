//! A channel as code outside of its handlers uses it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use pondwire::error::PondError;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::{PondEvent, Recipients, SystemSender};
use pondwire::{Membership, Outbox, Payload, uuid};

use crate::caller::{merged, owned};
use crate::channel::OpenChannel;
use crate::content::{Content, Json};
use crate::users::Users;

/// A channel, by its name: for an HTTP route, a timer or a consumer of a queue as well as for a handler. Cheap to
/// clone.
///
/// It stays valid while nobody is in the channel: a broadcast then reaches only the members on other nodes. No
/// method waits or needs a tokio runtime; each takes a lock for a moment, except that a broadcast to all members
/// takes none but while the channel has no members.
#[derive(Clone)]
pub struct Channel {
    open: Arc<OpenChannel>,
}

impl Channel {
    pub(crate) const fn new(open: Arc<OpenChannel>) -> Self {
        Self { open }
    }

    /// The channel's name, such as `/chat/42`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.open.name()
    }

    /// Another channel of the same endpoint; `None` if no pattern matches the name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Self> {
        Some(Self::new(self.open.home()?.find(name)?))
    }

    /// Sends an event to all members, on all nodes.
    ///
    /// The work is that of one frame, whatever the number of members. A producer that may be faster than the
    /// network should call [`ready`](Self::ready) first.
    ///
    /// # Errors
    /// The content does not serialize: code 500.
    pub fn broadcast(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.send(event, content, &Recipients::AllUsers)
    }

    /// Sends an event to the members with these ids. Ids of other users are ignored.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to<'u, U: Into<Cow<'u, str>>>(
        &self,
        users: impl IntoIterator<Item = U>,
        event: &str,
        content: impl Content,
    ) -> Result<(), PondError> {
        self.send(event, content, &Recipients::users(users.into_iter().map(Into::into)))
    }

    /// Sends a typed event to all members.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn emit<E: PondEvent>(&self, payload: &E::Payload) -> Result<(), PondError> {
        self.broadcast(E::NAME, Json(payload))
    }

    fn send(
        &self,
        event: &str,
        content: impl Content,
        recipients: &Recipients<'_>,
    ) -> Result<(), PondError> {
        let sender = SystemSender::Channel.as_str();
        let open = self.open.current();
        content.with(|payload| open.send(sender, event, payload, recipients))?;
        Ok(())
    }

    /// Waits as long as more than some hundred frames or kilobytes wait for the writers. The server waits in the
    /// same way before it reads on from a client. Cancel-safe.
    pub async fn ready(&self) {
        self.open.current().caught_up().await;
    }

    /// The number of members and [listeners](Self::listen) on this node.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.current().len()
    }

    /// Whether nobody is in the channel on this node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The users on all nodes. Copies what each user has; at most 1,000 users and about 1 MiB.
    #[must_use]
    pub fn users(&self) -> Users {
        self.open.current().users()
    }

    /// The presence of a user on any node; `None` if the user is not tracked.
    #[must_use]
    pub fn presence(&self, user_id: &str) -> Option<OwnedPayload> {
        OwnedPayload::from_json(&self.open.current().presence_of(user_id)?).ok()
    }

    /// The server's data about a user of this node; `None` if there is no such user.
    #[must_use]
    pub fn assigns(&self, user_id: &str) -> Option<OwnedPayload> {
        let assigns = self.open.current().assigns_of(user_id)?;
        Some(assigns.map_or_else(OwnedPayload::default, |assigns| (*assigns).clone()))
    }

    /// Adds members to the server's data about a user of this node, or sets them; `false` if there is no such user.
    ///
    /// # Errors
    /// The content does not serialize: code 500. The data would be larger than 64 KiB: 400. It grows,
    /// and there is no memory for it: 503.
    pub fn assign(&self, user_id: &str, content: impl Content) -> Result<bool, PondError> {
        self.set(user_id, content, false)
    }

    /// Replaces the server's data about a user of this node; `false` if there is no such user.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn set_assigns(&self, user_id: &str, content: impl Content) -> Result<bool, PondError> {
        self.set(user_id, content, true)
    }

    fn set(&self, user_id: &str, content: impl Content, whole: bool) -> Result<bool, PondError> {
        let open = self.open.current();
        content.with(|payload: Payload<'_>| {
            let change = |old: &_| if whole { owned(payload) } else { merged(old, payload) };
            open.set_assigns(user_id, change)
        })?
    }

    /// Removes a user from the channel, on any node, after an `EVICTED` with the reason; `false` if no node has
    /// such a user.
    #[allow(clippy::must_use_candidate, reason = "mostly of no interest")]
    pub fn evict(&self, user_id: &str, reason: &str) -> bool {
        self.open.current().evict(user_id, reason)
    }

    /// Evicts all users of this node. The channel stays usable: a later join opens it again.
    pub fn close(&self, reason: &str) {
        self.open.current().close(reason);
    }

    /// Lets an outbox receive what is broadcast to all members or to all but one, without being a member: for a
    /// bot, or a bridge to another system. The listener keeps the channel open until it is dropped. It gets no
    /// presence and belongs to no class of recipients. `None` after the server's end.
    #[must_use]
    pub fn listen(&self, outbox: &Outbox) -> Option<Listener> {
        loop {
            let open = self.open.reopened()?;
            // If it has been closed since, a new one is opened.
            if let Some(membership) = open.listen(&uuid(), outbox) {
                return Some(Listener { membership: Some(membership), open });
            }
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Keeps an outbox [listening](Channel::listen) to a channel until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the listening"]
pub struct Listener {
    membership: Option<Membership>,
    open: Arc<OpenChannel>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.membership.take());
        self.open.close_if_empty();
    }
}

impl fmt::Debug for OpenChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenChannel").field("name", &self.name()).finish_non_exhaustive()
    }
}
