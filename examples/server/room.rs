//! One channel: who is a member, who of them is present, and what all of them are told.
//!
//! One lock and a loop over the members' outboxes. All frames of the channel are put into the
//! outboxes under the lock, so every member sees them in the same order.

use std::sync::Arc;

use ahash::HashMap;
use parking_lot::{Mutex, MutexGuard};
use pondwire::{Frame, OwnedMessage, Payload, PresenceEvent, uuid};

use super::outbox::Outbox;

/// A user, and the connection it has: they are the same here.
pub(crate) type UserId = Arc<str>;

/// A channel.
pub(crate) struct Room {
    name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    members: HashMap<UserId, Outbox>,
    /// In the order in which they were tracked.
    present: Vec<Present>,
}

/// A tracked member; the payload of `message` is its presence.
struct Present {
    user: UserId,
    message: OwnedMessage,
}

impl Room {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }

    /// Makes the user a member and acknowledges it, again if it was one. The acknowledgement is
    /// the channel's first frame in the outbox: a client drops what comes before.
    pub(crate) fn join(&self, user: &UserId, outbox: &Outbox, request_id: &str) {
        let mut state = self.state.lock();
        outbox.send(Frame::acknowledge(&self.name, request_id));
        state.members.insert(Arc::clone(user), outbox.clone());
    }

    /// The room as this user may use it; `None` when it is no member (any more).
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.members.contains_key(user).then(|| Member { channel: &self.name, user, state })
    }
}

/// A member acting in its room, which is locked meanwhile.
pub(crate) struct Member<'a> {
    channel: &'a str,
    user: &'a UserId,
    state: MutexGuard<'a, State>,
}

impl Member<'_> {
    /// Sends the frame to all members, this one included.
    pub(crate) fn broadcast(&self, frame: &Frame) {
        for outbox in self.state.members.values() {
            outbox.send(frame.clone());
        }
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.position(self.user).is_some()
    }

    /// The payload of `message` is the member's presence from now on: tells all who are present
    /// that it joined them, or that its presence changed.
    pub(crate) fn track(&mut self, message: OwnedMessage) {
        let (index, event) = match self.state.position(self.user) {
            Some(index) => {
                self.state.present[index].message = message;
                (index, PresenceEvent::Update)
            }
            None => {
                let user = Arc::clone(self.user);
                self.state.present.push(Present { user, message });
                (self.state.present.len() - 1, PresenceEvent::Join)
            }
        };
        let changed = self.state.present[index].message.payload();
        self.state.publish_presence(self.channel, event, changed);
    }

    /// The member is present no longer: tells those who remain.
    pub(crate) fn untrack(&mut self) {
        self.state.untrack(self.channel, self.user);
    }

    /// Ends the membership. No frame of the channel goes to the user after this.
    pub(crate) fn leave(mut self) {
        self.state.remove(self.channel, self.user);
    }

    /// Tells a member that it is evicted and ends its membership; `false` when there is no such
    /// member.
    pub(crate) fn evict(&mut self, user: &str, reason: &str) -> bool {
        let Some(outbox) = self.state.members.get(user) else { return false };
        outbox.send(Frame::evicted(self.channel, &uuid(), reason));
        self.state.remove(self.channel, user);
        true
    }
}

impl State {
    fn position(&self, user: &str) -> Option<usize> {
        self.present.iter().position(|present| &*present.user == user)
    }

    fn remove(&mut self, channel: &str, user: &str) {
        self.members.remove(user);
        self.untrack(channel, user);
    }

    fn untrack(&mut self, channel: &str, user: &str) {
        if let Some(index) = self.position(user) {
            let last = self.present.remove(index);
            self.publish_presence(channel, PresenceEvent::Leave, last.message.payload());
        }
    }

    /// One frame for all who are present; nobody else is told.
    fn publish_presence(&self, channel: &str, event: PresenceEvent, changed: Payload<'_>) {
        let list = self.present.iter().map(|present| present.message.payload());
        let frame = Frame::presence(channel, event, &uuid(), list, changed);
        for present in &self.present {
            if let Some(outbox) = self.members.get(&present.user) {
                outbox.send(frame.clone());
            }
        }
    }
}
