//! One channel: who is a member, who of them is present, and what all of them are told.
//!
//! A broadcast goes to all members without a lock. Who comes and goes, and who is present, is kept
//! under one, so that everybody is told of these in the same order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::HashMap;
use parking_lot::{Mutex, MutexGuard};
use pondwire::{Frame, Membership, Outbox, OwnedMessage, Payload, PresenceEvent, Room, uuid};

/// A user, and the connection it has: they are the same here.
pub(crate) type UserId = Arc<str>;

/// A channel. It exists while it has members.
pub(crate) struct Channel {
    name: String,
    members: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: HashMap<UserId, Occupied>,
    /// In the order in which they were tracked.
    present: Vec<Present>,
}

struct Occupied {
    seat: Seat,
    outbox: Outbox,
    membership: Membership,
}

/// A tracked member; the payload of `message` is its presence.
struct Present {
    user: UserId,
    message: OwnedMessage,
}

/// What a member holds of its membership, which others may end.
#[derive(Clone)]
pub(crate) struct Seat {
    is_taken: Arc<AtomicBool>,
}

impl Seat {
    /// Whether its user is still a member.
    pub(crate) fn is_taken(&self) -> bool {
        // Relaxed: who is evicted at this moment may have been too late or not.
        self.is_taken.load(Ordering::Relaxed)
    }
}

impl Channel {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), members: Room::new(), state: Mutex::default() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Makes the user a member and acknowledges it, again if it was one. The acknowledgement is
    /// the channel's first frame in the outbox: a client drops what comes before.
    pub(crate) fn join(&self, user: &UserId, outbox: &Outbox, request_id: &str) -> Seat {
        let mut state = self.state.lock();
        outbox.push(Frame::acknowledge(&self.name, request_id));
        if let Some(occupied) = state.seats.get(user) {
            return occupied.seat.clone();
        }
        let seat = Seat { is_taken: Arc::new(AtomicBool::new(true)) };
        let membership = self.members.join(user, outbox.clone());
        let membership = membership.expect("the room of a channel is never closed");
        let occupied = Occupied { seat: seat.clone(), outbox: outbox.clone(), membership };
        state.seats.insert(Arc::clone(user), occupied);
        seat
    }

    /// Sends the frame to all members, without a lock.
    pub(crate) fn broadcast(&self, frame: &Frame) {
        self.members.publish(frame);
    }

    /// The channel as this user may change it; `None` when it is no member (any more).
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.seats.contains_key(user).then(|| Member { channel: self, user, state })
    }
}

/// A member acting in its channel, which is locked meanwhile.
pub(crate) struct Member<'a> {
    channel: &'a Channel,
    user: &'a UserId,
    state: MutexGuard<'a, State>,
}

impl Member<'_> {
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

    /// Ends the membership of a user and tells it so, its last frame of the channel; `false` when
    /// there is no such member.
    pub(crate) fn evict(&mut self, user: &str, reason: &str) -> bool {
        let Some(outbox) = self.state.remove(self.channel, user) else { return false };
        outbox.push(Frame::evicted(&self.channel.name, &uuid(), reason));
        true
    }
}

impl State {
    fn position(&self, user: &str) -> Option<usize> {
        self.present.iter().position(|present| &*present.user == user)
    }

    /// Ends a membership; nothing of the channel goes into the outbox any more when this returns.
    fn remove(&mut self, channel: &Channel, user: &str) -> Option<Outbox> {
        let Occupied { seat, outbox, membership } = self.seats.remove(user)?;
        seat.is_taken.store(false, Ordering::Relaxed);
        membership.leave_and_wait().expect("nothing here is done while members are visited");
        self.untrack(channel, user);
        Some(outbox)
    }

    fn untrack(&mut self, channel: &Channel, user: &str) {
        if let Some(index) = self.position(user) {
            let last = self.present.remove(index);
            self.publish_presence(channel, PresenceEvent::Leave, last.message.payload());
        }
    }

    /// One frame for all who are present; nobody else is told.
    fn publish_presence(&self, channel: &Channel, event: PresenceEvent, changed: Payload<'_>) {
        let list = self.present.iter().map(|present| present.message.payload());
        let frame = Frame::presence(&channel.name, event, &uuid(), list, changed);
        channel.members.publish_to(&frame, self.present.iter().map(|present| &*present.user));
    }
}
