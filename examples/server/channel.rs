//! One channel: who is a member, who of them is present, and what all of them are told.
//!
//! A broadcast goes to all members without a lock. Who comes and goes, and who is present, is kept
//! under one, so that everybody is told of these in the same order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::{HashMap, RandomState};
use parking_lot::{Mutex, MutexGuard};
use pondwire::cache::Change;
use pondwire::{Frame, LastValue, Membership, Outbox, Payload, PresenceRoster, Room, uuid};

/// A user, and the connection it has: they are the same here.
pub(crate) type UserId = Arc<str>;

/// A channel. It exists while it has members.
pub(crate) struct Channel {
    name: String,
    members: Room,
    /// Those whose presence is tracked, and who are told of it.
    tracked: Room,
    /// The last broadcast, for late joiners.
    last: LastValue,
    /// What events are told apart by, where only the last of each waits.
    events: RandomState,
    state: Mutex<State>,
}

struct State {
    seats: HashMap<UserId, Occupied>,
    roster: PresenceRoster,
}

struct Occupied {
    seat: Seat,
    outbox: Outbox,
    membership: Membership,
    tracked: Option<Membership>,
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
        let state = State { seats: HashMap::default(), roster: PresenceRoster::new(name) };
        let (members, tracked) = (Room::new(), Room::new());
        let (name, last, events) = (name.to_owned(), LastValue::new(), RandomState::new());
        Self { name, members, tracked, last, events, state: Mutex::new(state) }
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
        answer(outbox, Frame::acknowledge(&self.name, request_id));
        if let Some(occupied) = state.seats.get(user) {
            return occupied.seat.clone();
        }
        let seat = Seat { is_taken: Arc::new(AtomicBool::new(true)) };
        let occupied = Occupied {
            seat: seat.clone(),
            outbox: outbox.clone(),
            membership: join(&self.members, user, outbox),
            tracked: None,
        };
        state.seats.insert(Arc::clone(user), occupied);
        seat
    }

    /// Sends the frame of an event to all members, without a lock. Who conflates keeps the last of
    /// each event.
    pub(crate) fn broadcast(&self, event: &str, frame: &Frame) {
        // First kept, then sent: see `catch_up`.
        self.last.set(frame.clone());
        self.members.publish_keyed(self.events.hash_one(event), frame);
    }

    /// Lets somebody hear what members hear who is no member: it has no presence, and cannot be
    /// evicted.
    pub(crate) fn watch(&self, outbox: &Outbox) -> Membership {
        join(&self.members, "", outbox)
    }

    /// Gives a new member the channel's last broadcast, if there was one.
    ///
    /// The newest is the last that it gets, though nobody is locked out: one that was kept before
    /// the second look goes here, one that was kept after it is sent to a member whose outbox has
    /// this already. Those that came at the very moment may come twice.
    pub(crate) fn catch_up(&self, outbox: &Outbox) {
        let mut seen = None;
        loop {
            let last = self.last.get();
            match &last {
                Some(frame) if last != seen => outbox.push(frame.clone()),
                _ => return,
            };
            seen = last;
        }
    }

    /// One frame for all who are tracked; nobody else is told. The channel is locked meanwhile.
    fn tell_of(&self, change: Option<Change<'_>>) {
        if let Some(change) = change {
            self.tracked.publish(&change.frame(&uuid()));
        }
    }

    /// The channel as this user may change it; `None` when it is no member (any more).
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.seats.contains_key(user).then(|| Member { channel: self, user, state })
    }
}

/// Gives one client what it waits for: behind all that waits for it, so that answers keep the order
/// of what was asked, or before that where what waits may be dropped.
pub(crate) fn answer(outbox: &Outbox, frame: Frame) {
    // When too much waits the connection learns it from the outbox, and ends.
    if outbox.may_drop() {
        outbox.reply(frame)
    } else {
        outbox.push(frame)
    };
}

fn join(room: &Room, user: &str, outbox: &Outbox) -> Membership {
    room.join(user, outbox.clone()).expect("the rooms of a channel are never closed")
}

/// A member acting in its channel, which is locked meanwhile.
pub(crate) struct Member<'a> {
    channel: &'a Channel,
    user: &'a UserId,
    state: MutexGuard<'a, State>,
}

impl Member<'_> {
    pub(crate) fn is_present(&self) -> bool {
        self.state.roster.get(self.user).is_some()
    }

    /// The member's presence from now on: tells all who are tracked that it joined them, or that its
    /// presence changed.
    pub(crate) fn track(&mut self, presence: Payload<'_>) {
        let State { seats, roster } = &mut *self.state;
        let occupied = seats.get_mut(self.user).expect("a member has a seat");
        occupied
            .tracked
            .get_or_insert_with(|| join(&self.channel.tracked, self.user, &occupied.outbox));
        let change = match roster.get(self.user) {
            Some(_) => roster.update(self.user, presence),
            None => roster.join(self.user, presence),
        };
        self.channel.tell_of(change);
    }

    /// The member is present no longer: tells those who remain.
    pub(crate) fn untrack(&mut self) {
        if let Some(occupied) = self.state.seats.get_mut(self.user) {
            occupied.tracked = None;
        }
        self.channel.tell_of(self.state.roster.leave(self.user));
    }

    /// Ends the membership. No frame of the channel goes to the user after this.
    pub(crate) fn leave(mut self) {
        self.state.remove(self.channel, self.user);
    }

    /// Ends the membership of a user and tells it so, its last frame of the channel; `false` when
    /// there is no such member.
    pub(crate) fn evict(&mut self, user: &str, reason: &str) -> bool {
        let Some(outbox) = self.state.remove(self.channel, user) else { return false };
        answer(&outbox, Frame::evicted(&self.channel.name, &uuid(), reason));
        true
    }
}

impl State {
    /// Ends a membership; nothing of the channel goes into the outbox any more when this returns.
    fn remove(&mut self, channel: &Channel, user: &str) -> Option<Outbox> {
        let Occupied { seat, outbox, membership, tracked } = self.seats.remove(user)?;
        seat.is_taken.store(false, Ordering::Relaxed);
        membership.leave_and_wait().expect("nothing here is done while members are visited");
        // Presence is published under this lock, so none is on its way.
        drop(tracked);
        channel.tell_of(self.roster.leave(user));
        Some(outbox)
    }
}
