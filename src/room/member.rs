//! One connection in a room.

use std::fmt;

use super::index::{Index, Place, UserId};
use crate::fanout::{InsideObserver, Observer, Subscription};
use crate::frame::Frame;
use crate::outbox::Outbox;
use crate::sync::Arc;

/// A connection that is a member of a room.
pub struct Member {
    outbox: Outbox,
    user_hash: u64,
    user_id: UserId,
}

impl Member {
    pub(super) fn new(place: &Place, outbox: Outbox) -> Self {
        Self { outbox, user_hash: place.user_hash, user_id: place.user_id.clone() }
    }

    /// Whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// Where its frames go.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether it is a connection of this user, whose id has this hash.
    #[inline]
    pub(super) fn is_of(&self, user_id: &str, hash: u64) -> bool {
        self.user_hash == hash && *self.user_id == *user_id
    }
}

/// What [`Room`](super::Room) does better, counting references together.
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

/// Keeps a connection in a room; dropping it is leaving.
///
/// Nothing that is published after it was dropped reaches the connection. A publish that is running
/// on another thread meanwhile may still push its frame; see
/// [`leave_and_wait`](Self::leave_and_wait).
#[must_use = "dropping it is leaving the room"]
pub struct Membership {
    subscription: Subscription,
    index: Arc<Index>,
    place: Place,
}

impl Membership {
    pub(super) const fn new(subscription: Subscription, index: Arc<Index>, place: Place) -> Self {
        Self { subscription, index, place }
    }

    /// Whose connection it is.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.place.user_id
    }

    /// Leaves, and waits until no publish to all members is running that could still push: nothing
    /// of the room comes into the outbox after this, but for frames to users by name that were
    /// looked up before.
    ///
    /// # Errors
    /// [`InsideObserver`] within [`Room::for_each`](super::Room::for_each) or an observer of any
    /// subject: it would wait for itself. The membership ends all the same.
    pub fn leave_and_wait(self) -> Result<(), InsideObserver> {
        self.index.remove(&self.place);
        self.subscription.unsubscribe_and_wait()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.index.remove(&self.place);
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("user_id", &self.place.user_id).finish_non_exhaustive()
    }
}
