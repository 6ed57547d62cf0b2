//! One connection in a room.

use std::fmt;
use std::sync::Arc as StdArc;

use super::Shared;
use super::index::{IndexKey, UserId};
use crate::fanout::{InsideObserver, Observer, Subscription};
use crate::frame::Frame;
use crate::outbox::Outbox;

/// A connection that is a member of a room.
pub struct Member {
    outbox: Outbox,
    user_hash: u64,
    user_id: UserId,
    audience: u32,
}

impl Member {
    pub(super) const fn new(
        user_id: UserId,
        user_hash: u64,
        outbox: Outbox,
        audience: u32,
    ) -> Self {
        Self { outbox, user_hash, user_id, audience }
    }

    /// The id of the user whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The connection's outbox.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether a frame to these audiences goes to it.
    #[inline]
    pub(super) const fn is_in(&self, audience: u32) -> bool {
        self.audience & audience != 0
    }

    /// Whether it is a connection of the user with this id and hash.
    #[inline]
    pub(super) fn is_of(&self, user_id: &str, hash: u64) -> bool {
        self.user_hash == hash && *self.user_id == *user_id
    }
}

/// Takes one reference at a time; [`Room`](super::Room) counts the references of all members at
/// once.
impl Observer<Frame> for Member {
    fn notify(&self, frame: &Frame) {
        self.outbox.push(frame.clone());
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("user_id", &self.user_id)
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

/// Keeps a connection in a room; dropping it leaves the room.
///
/// Frames that are published after it was dropped do not reach the connection. A publish that is
/// running on another thread meanwhile may still push its frame; see
/// [`leave_and_wait`](Self::leave_and_wait).
#[must_use = "dropping it leaves the room"]
pub struct Membership {
    subscription: Subscription,
    room: StdArc<Shared>,
    user_id: UserId,
    key: IndexKey,
}

impl Membership {
    pub(super) const fn new(
        subscription: Subscription,
        room: StdArc<Shared>,
        user_id: UserId,
        key: IndexKey,
    ) -> Self {
        Self { subscription, room, user_id, key }
    }

    /// The id of the user whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Leaves, and waits until no publish to all members that is running could still push. After
    /// this no frame of the room enters the outbox, except frames to users by name whose look-up
    /// came before.
    ///
    /// # Errors
    /// [`InsideObserver`] when called within [`Room::for_each`](super::Room::for_each) or an
    /// observer of any subject, because the call would wait for itself. The membership ends all the
    /// same.
    pub fn leave_and_wait(self) -> Result<(), InsideObserver> {
        self.room.index.remove(self.key);
        self.subscription.unsubscribe_and_wait()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.room.index.remove(self.key);
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
