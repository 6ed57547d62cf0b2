//! The context of a leave's handler.

use std::fmt;
use std::sync::Arc;

use pondwire::Payload;
use pondwire::error::PondError;

use crate::channel::{Departure, LeaveReason, OpenChannel};
use crate::content::Content;
use crate::handle::Channel;

/// A user that is no longer in a channel. If it was tracked, its leave has been sent to the other
/// tracked members.
pub struct Leave<'a> {
    channel: &'a Arc<OpenChannel>,
    departure: &'a Departure,
}

impl<'a> Leave<'a> {
    pub(crate) const fn new(channel: &'a Arc<OpenChannel>, departure: &'a Departure) -> Self {
        Self { channel, departure }
    }

    /// The id of the user that left.
    #[must_use]
    pub fn user_id(&self) -> &str {
        &self.departure.user
    }

    /// The reason.
    #[must_use]
    pub const fn reason(&self) -> &LeaveReason {
        &self.departure.reason
    }

    /// The server's data about the user.
    #[must_use]
    pub fn assigns(&self) -> Payload<'_> {
        self.departure.assigns.as_ref().map_or(Payload::EMPTY, |assigns| assigns.view())
    }

    /// The user's last presence as JSON; `None` if it was not tracked.
    #[must_use]
    pub fn presence(&self) -> Option<&str> {
        self.departure.presence.as_deref()
    }

    /// The channel's name.
    #[must_use]
    pub fn channel_name(&self) -> &str {
        self.channel.name()
    }

    /// The channel, which may be empty now.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Channel::new(Arc::clone(self.channel))
    }

    /// Sends an event to the remaining members; see [`Channel::broadcast`].
    ///
    /// # Errors
    /// The content does not serialize: code 500.
    pub fn broadcast(&self, event: &str, content: impl Content) -> Result<(), PondError> {
        self.channel().broadcast(event, content)
    }
}

impl fmt::Debug for Leave<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leave")
            .field("channel_name", &self.channel_name())
            .field("user_id", &self.user_id())
            .field("reason", self.reason())
            .finish()
    }
}
