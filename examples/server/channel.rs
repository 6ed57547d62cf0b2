//! One channel: who is a member, who of them is present, and what all of them are told.
//!
//! A broadcast goes to all members without a lock. Who comes and goes, and who is present, is kept
//! under one, so that everybody is told of these in the same order. Where the server is a node of a
//! cluster, its [`Link`] knows who is present on all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ahash::{HashMap, RandomState};
use parking_lot::{Mutex, MutexGuard};
use pondwire::cache::{LastValue, RosterChange};
use pondwire::protocol::Recipients;
use pondwire::{Frame, Membership, Outbox, Payload, PresenceRoster, Room, ServerAction, uuid};
use serde::Serialize;
use serde_json::value::RawValue;

use super::budget;
use super::node::Link;

/// The most users that are listed when one asks for them.
const MOST_LISTED: usize = 1000;

/// Listing ends with the user whose assigns and presence make it so many bytes.
const MOST_LISTED_BYTES: usize = 1 << 20;

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
    /// The bytes of the last presence frame.
    presence_len: AtomicUsize,
    /// The same channel on other nodes.
    link: Option<Link>,
    state: Mutex<State>,
}

struct State {
    /// Another channel of its name may have been opened since.
    is_closed: bool,
    seats: HashMap<UserId, Occupied>,
    /// Without a link, who is present.
    roster: PresenceRoster,
}

struct Occupied {
    seat: Seat,
    outbox: Outbox,
    membership: Membership,
    tracked: Option<Membership>,
    /// What the server keeps about the user, as JSON.
    assigns: Box<str>,
}

/// All users of a channel, as one is told of them.
#[derive(Default, Serialize)]
struct Users {
    assigns: BTreeMap<String, Box<RawValue>>,
    /// Of those that are present.
    presence: BTreeMap<String, Box<RawValue>>,
    #[serde(skip)]
    bytes: usize,
}

impl Users {
    fn add(&mut self, id: &str, assigns: &str, presence: Option<&str>) {
        if self.assigns.len() == MOST_LISTED || self.bytes >= MOST_LISTED_BYTES {
            return;
        }
        self.bytes += assigns.len() + presence.map_or(0, str::len);
        let raw = |json: &str| RawValue::from_string(json.to_owned()).ok();
        self.assigns.extend(raw(assigns).map(|assigns| (id.to_owned(), assigns)));
        self.presence.extend(presence.and_then(raw).map(|presence| (id.to_owned(), presence)));
    }
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
    pub(crate) fn new(name: &str, link: Option<Link>) -> Self {
        let roster = PresenceRoster::new(name);
        let state = State { is_closed: false, seats: HashMap::default(), roster };
        let (members, tracked) = (Room::new(), Room::new());
        Self {
            name: name.to_owned(),
            members,
            tracked,
            last: LastValue::new(),
            events: RandomState::new(),
            presence_len: AtomicUsize::new(0),
            link,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lets nobody in any more if nobody is left; whether that is so.
    pub(crate) fn close_if_empty(&self) -> bool {
        // Who acts in the channel is in it, so that nobody is waited for here as a rule.
        if !self.members.is_empty() {
            return false;
        }
        let mut state = self.state.lock();
        state.is_closed = self.members.is_empty();
        state.is_closed
    }

    /// Makes the user a member and acknowledges it, again if it was one; `None` when the channel is
    /// closed. The acknowledgement is the channel's first frame in the outbox: a client drops what
    /// comes before.
    pub(crate) fn join(
        self: &Arc<Self>,
        user: &UserId,
        outbox: &Outbox,
        request_id: &str,
        assigns: Payload<'_>,
    ) -> Option<Seat> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        answer(outbox, Frame::acknowledge(&self.name, request_id));
        if let Some(occupied) = state.seats.get(user) {
            return Some(occupied.seat.clone());
        }
        let seat = Seat { is_taken: Arc::new(AtomicBool::new(true)) };
        let occupied = Occupied {
            seat: seat.clone(),
            outbox: outbox.clone(),
            membership: join(&self.members, user, outbox),
            tracked: None,
            assigns: assigns.as_str().into(),
        };
        state.seats.insert(Arc::clone(user), occupied);
        if let Some(link) = &self.link {
            link.join(self, user, assigns);
        }
        Some(seat)
    }

    /// Sends an event of a user to those whom it is for, here and then on other nodes, without a
    /// lock and without waiting for them. Returns how many outboxes it looked for.
    pub(crate) fn send(
        &self,
        sender: &UserId,
        event: &str,
        payload: Payload<'_>,
        receivers: &Recipients<'_>,
    ) -> usize {
        let request_id = uuid();
        let frame = Frame::broadcast(&self.name, event, &request_id, payload);
        self.deliver(sender, event, &frame, receivers);
        if let Some(link) = &self.link {
            link.send(sender, event, payload, &request_id, receivers);
        }
        match receivers {
            Recipients::Users(ids) => ids.len(),
            _ => self.members.len(),
        }
    }

    /// Sends the frame of an event to those members whom it is for. Who conflates keeps the last of
    /// each event that goes to all.
    pub(crate) fn deliver(
        &self,
        sender: &str,
        event: &str,
        frame: &Frame,
        receivers: &Recipients<'_>,
    ) {
        if let Recipients::AllUsers = receivers {
            // First kept, then sent: see `catch_up`.
            self.last.set(frame.clone());
            self.members.publish_keyed(self.events.hash_one(event), frame);
        } else {
            self.members.send(frame, receivers, sender);
        }
    }

    /// Lets somebody hear what members hear who is no member: it has no presence, and cannot be
    /// evicted.
    pub(crate) fn watch(&self, name: &str, outbox: &Outbox) -> Membership {
        join(&self.members, name, outbox)
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
    fn tell_of(&self, change: Option<RosterChange<'_>>) {
        if let Some(change) = change {
            self.show(&change.frame(&uuid()));
        }
    }

    /// Tells all who are tracked of who is present.
    pub(crate) fn show(&self, presence: &Frame) {
        // Relaxed: a measure of work, nothing depends on it.
        self.presence_len.store(presence.json().len(), Ordering::Relaxed);
        self.tracked.publish(presence);
    }

    /// What it takes to tell all who are tracked of a change, in the units of [`budget`].
    pub(crate) fn presence_work(&self) -> usize {
        self.presence_len.load(Ordering::Relaxed) + self.tracked.len() * budget::PUSH
    }

    /// The channel as this user may change it; `None` when it is no member (any more).
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.seats.contains_key(user).then(|| Member { channel: self, user, state })
    }

    /// Ends the membership of a user, as only another node can want it, and tells it so if there is
    /// a reason.
    #[cfg(feature = "redis")]
    pub(crate) fn expel(&self, user: &str, reason: Option<&str>) {
        let outbox = self.state.lock().remove(self, user);
        if let (Some(outbox), Some(reason)) = (outbox, reason) {
            answer(&outbox, Frame::evicted(&self.name, &uuid(), reason));
        }
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
    /// Whether the list of all who are present here may have this one too, within so many bytes.
    pub(crate) fn has_room_for(&self, presence: Payload<'_>, bytes: usize) -> bool {
        self.state.roster.list_len() + presence.as_str().len() <= bytes
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.seats.get(self.user).is_some_and(|occupied| occupied.tracked.is_some())
    }

    /// The member's presence from now on: tells all who are tracked that it joined them, or that its
    /// presence changed.
    pub(crate) fn track(&mut self, presence: Payload<'_>) {
        let State { seats, roster, .. } = &mut *self.state;
        let occupied = seats.get_mut(self.user).expect("a member has a seat");
        occupied
            .tracked
            .get_or_insert_with(|| join(&self.channel.tracked, self.user, &occupied.outbox));
        if let Some(link) = &self.channel.link {
            return link.set_presence(self.user, presence);
        }
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
        match &self.channel.link {
            Some(link) => link.remove_presence(self.user),
            None => self.channel.tell_of(self.state.roster.leave(self.user)),
        }
    }

    /// What the server keeps about the member from now on.
    pub(crate) fn assign(&mut self, assigns: Payload<'_>) {
        if let Some(occupied) = self.state.seats.get_mut(self.user) {
            occupied.assigns = assigns.as_str().into();
        }
        if let Some(link) = &self.channel.link {
            link.set_assigns(self.user, assigns);
        }
    }

    /// The answer to who asks for the users of the channel, on all nodes.
    pub(crate) fn users(&self, request_id: &str) -> Frame {
        let mut users = Users::default();
        match &self.channel.link {
            Some(link) => {
                link.for_each_user(|id, assigns, presence| users.add(id, assigns, presence));
            }
            None => {
                for (id, occupied) in &self.state.seats {
                    users.add(id, &occupied.assigns, self.state.roster.get(id));
                }
            }
        }
        let name = &self.channel.name;
        Frame::serialize(ServerAction::System, name, "users", request_id, &users)
            .expect("a struct of texts is an object")
    }

    /// Ends the membership. No frame of the channel goes to the user after this.
    pub(crate) fn leave(mut self) {
        self.state.remove(self.channel, self.user);
    }

    /// Ends the membership of a user and tells it so, its last frame of the channel, or has the node
    /// do it that has the user; `false` when no node has such a member.
    pub(crate) fn evict(&mut self, user: &str, reason: &str) -> bool {
        match self.state.remove(self.channel, user) {
            Some(outbox) => {
                answer(&outbox, Frame::evicted(&self.channel.name, &uuid(), reason));
                true
            }
            None => self.channel.link.as_ref().is_some_and(|link| link.evict(user, reason)),
        }
    }
}

impl State {
    /// Ends a membership; nothing of the channel goes into the outbox any more when this returns.
    fn remove(&mut self, channel: &Channel, user: &str) -> Option<Outbox> {
        let Occupied { seat, outbox, membership, tracked, .. } = self.seats.remove(user)?;
        seat.is_taken.store(false, Ordering::Relaxed);
        // Presence is published under this lock, or the link's, so none is on its way after this.
        drop(tracked);
        match &channel.link {
            Some(link) => link.leave(user),
            None => channel.tell_of(self.roster.leave(user)),
        }
        // Last: nobody may find the channel empty before the other nodes are told.
        membership.leave_and_wait().expect("nothing here is done while members are visited");
        Some(outbox)
    }
}
