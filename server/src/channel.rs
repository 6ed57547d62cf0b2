//! One channel: its members, their presence, and the frames that go to all of them.
//!
//! A broadcast goes to all members without a lock. Joins, leaves and presence change under one, so that
//! all members see these changes in the same order. Where the server is a node of a cluster, the channel's
//! [`Link`] has the presence of all nodes.

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

use crate::budget;

/// The most users that are listed when one asks for them.
const MOST_LISTED: usize = 1000;

/// Listing ends with the user whose assigns and presence make it so many bytes.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// A user, and the connection it has: they are the same here.
pub(crate) type UserId = Arc<str>;

/// A channel's tie to the same channel on the other nodes of a cluster. But for [`send`](Self::send) each
/// method may publish presence to those who are tracked here before it returns.
pub(crate) trait Link: Send + Sync {
    /// A user joined; `channel` is where the channel's members are.
    fn join(&self, channel: &Arc<Channel>, user: &str, assigns: Payload<'_>);

    fn leave(&self, user: &str);

    fn set_presence(&self, user: &str, presence: Payload<'_>);

    fn remove_presence(&self, user: &str);

    fn set_assigns(&self, user: &str, assigns: Payload<'_>);

    /// Has a user evicted by the node that the user is on; `false` when no node has such a user.
    fn evict(&self, user: &str, reason: &str) -> bool;

    /// Sends an event of a user of this node to the other nodes, without waiting for them.
    fn send(
        &self,
        sender: &str,
        event: &str,
        payload: Payload<'_>,
        request_id: &str,
        receivers: &Recipients<'_>,
    );

    /// Visits the id, the assigns and the presence of everyone in the channel, on all nodes.
    fn for_each_user(&self, visit: &mut dyn FnMut(&str, &str, Option<&str>));
}

/// A channel. It exists while it has members.
pub(crate) struct Channel {
    name: String,
    members: Room,
    /// The members whose presence is tracked; presence frames go to them.
    tracked: Room,
    /// The last broadcast, for late joiners.
    last: LastValue,
    /// Hashes the names of events to the keys of a conflating outbox.
    events: RandomState,
    /// The bytes of the last presence frame.
    presence_len: AtomicUsize,
    /// The same channel on other nodes.
    link: Option<Box<dyn Link>>,
    state: Mutex<State>,
}

struct State {
    /// Another channel of its name may have been opened since.
    is_closed: bool,
    members: HashMap<UserId, MemberEntry>,
    /// The presence of this node's users; unused with a link, which has that of all nodes.
    roster: PresenceRoster,
}

struct MemberEntry {
    token: MemberToken,
    outbox: Outbox,
    membership: Membership,
    tracked: Option<Membership>,
    /// The object that the server keeps about the user, as JSON.
    assigns: Box<str>,
}

/// The payload of the answer to `users`.
#[derive(Default, Serialize)]
struct Users {
    assigns: BTreeMap<String, Box<RawValue>>,
    /// Of the users that are present.
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

/// Tells a member whether its membership goes on, which others may end.
#[derive(Clone)]
pub(crate) struct MemberToken {
    is_member: Arc<AtomicBool>,
}

impl MemberToken {
    /// Whether its user is still a member.
    pub(crate) fn is_member(&self) -> bool {
        // Relaxed: an eviction at this very moment may come before this or after it.
        self.is_member.load(Ordering::Relaxed)
    }
}

impl Channel {
    pub(crate) fn new(name: &str, link: Option<Box<dyn Link>>) -> Self {
        let roster = PresenceRoster::new(name);
        let state = State { is_closed: false, members: HashMap::default(), roster };
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

    /// Closes the channel to new members if it has none; `true` if it is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        // A task that holds the lock mostly acts for a member, so this rarely waits.
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
    ) -> Option<MemberToken> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        answer(outbox, Frame::acknowledge(&self.name, request_id));
        if let Some(entry) = state.members.get(user) {
            return Some(entry.token.clone());
        }
        let token = MemberToken { is_member: Arc::new(AtomicBool::new(true)) };
        let entry = MemberEntry {
            token: token.clone(),
            outbox: outbox.clone(),
            membership: join(&self.members, user, outbox),
            tracked: None,
            assigns: assigns.as_str().into(),
        };
        state.members.insert(Arc::clone(user), entry);
        if let Some(link) = &self.link {
            link.join(self, user, assigns);
        }
        Some(token)
    }

    /// Sends an event of a user to its receivers, here and then on other nodes, without a lock and
    /// without waiting for them. Returns the number of outboxes that it looked for.
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

    /// Sends the frame of an event to the receivers among the members. Of an event that goes to all,
    /// a conflating outbox keeps the last frame.
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

    /// Adds a listener that is not a member: it has no presence, and cannot be evicted.
    pub(crate) fn watch(&self, name: &str, outbox: &Outbox) -> Membership {
        join(&self.members, name, outbox)
    }

    /// Sends a new member the channel's last broadcast, if there was one.
    ///
    /// The newest broadcast is the last that the member gets, though publishers are not locked out: one
    /// that was kept before the second look is sent here, and one that was kept after it is sent to a
    /// member whose outbox has this one already. A broadcast at this very moment may come twice.
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

    /// Publishes a change of presence, as one frame. The channel is locked meanwhile.
    fn publish_change(&self, change: Option<RosterChange<'_>>) {
        if let Some(change) = change {
            self.publish_presence(&change.frame(&uuid()));
        }
    }

    /// Sends a presence frame to all members that are tracked.
    pub(crate) fn publish_presence(&self, presence: &Frame) {
        // Relaxed: a measure of work, nothing depends on it.
        self.presence_len.store(presence.json().len(), Ordering::Relaxed);
        self.tracked.publish(presence);
    }

    /// The work of publishing a change of presence, in the units of [`budget`].
    pub(crate) fn presence_work(&self) -> usize {
        self.presence_len.load(Ordering::Relaxed) + self.tracked.len() * budget::PUSH
    }

    /// The channel as this user may change it; `None` when the user is not a member (any more).
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.members.contains_key(user).then(|| Member { channel: self, user, state })
    }

    /// Ends the membership of a user on behalf of another node; with a reason, the user gets `EVICTED`.
    #[cfg(feature = "redis")]
    pub(crate) fn remove(&self, user: &str, reason: Option<&str>) {
        let outbox = self.state.lock().remove(self, user);
        if let (Some(outbox), Some(reason)) = (outbox, reason) {
            answer(&outbox, Frame::evicted(&self.name, &uuid(), reason));
        }
    }
}

/// Sends an answer to one client: behind the frames that wait for it, so that answers keep the order of
/// their requests, or before these where they may be dropped.
pub(crate) fn answer(outbox: &Outbox, frame: Frame) {
    // When too much waits the outbox closes, which ends the connection.
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
    /// Whether the list of all who are present here takes one more presence, within so many bytes.
    pub(crate) fn has_room_for(&self, presence: Payload<'_>, bytes: usize) -> bool {
        self.state.roster.list_len() + presence.as_str().len() <= bytes
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.members.get(self.user).is_some_and(|entry| entry.tracked.is_some())
    }

    /// Sets the member's presence and publishes that it joined those who are present, or that its
    /// presence changed.
    pub(crate) fn track(&mut self, presence: Payload<'_>) {
        let State { members, roster, .. } = &mut *self.state;
        let entry = members.get_mut(self.user).expect("a member has an entry");
        entry.tracked.get_or_insert_with(|| join(&self.channel.tracked, self.user, &entry.outbox));
        if let Some(link) = &self.channel.link {
            return link.set_presence(self.user, presence);
        }
        let change = match roster.get(self.user) {
            Some(_) => roster.update(self.user, presence),
            None => roster.join(self.user, presence),
        };
        self.channel.publish_change(change);
    }

    /// Ends the member's presence, and publishes that to those who remain.
    pub(crate) fn untrack(&mut self) {
        if let Some(entry) = self.state.members.get_mut(self.user) {
            entry.tracked = None;
        }
        match &self.channel.link {
            Some(link) => link.remove_presence(self.user),
            None => self.channel.publish_change(self.state.roster.leave(self.user)),
        }
    }

    /// Sets what the server keeps about the member.
    pub(crate) fn assign(&mut self, assigns: Payload<'_>) {
        if let Some(entry) = self.state.members.get_mut(self.user) {
            entry.assigns = assigns.as_str().into();
        }
        if let Some(link) = &self.channel.link {
            link.set_assigns(self.user, assigns);
        }
    }

    /// The answer to `users`: the users of the channel on all nodes, as many as are listed.
    pub(crate) fn users(&self, request_id: &str) -> Frame {
        let mut users = Users::default();
        match &self.channel.link {
            Some(link) => {
                link.for_each_user(&mut |id, assigns, presence| users.add(id, assigns, presence));
            }
            None => {
                for (id, entry) in &self.state.members {
                    users.add(id, &entry.assigns, self.state.roster.get(id));
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

    /// Ends the membership of a user, whose last frame of the channel is `EVICTED`, or has the user's node
    /// do it; `false` when no node has such a member.
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
        let MemberEntry { token, outbox, membership, tracked, .. } = self.members.remove(user)?;
        token.is_member.store(false, Ordering::Relaxed);
        // Presence is published under this lock, or the link's, so none is on its way after this.
        drop(tracked);
        match &channel.link {
            Some(link) => link.leave(user),
            None => channel.publish_change(self.roster.leave(user)),
        }
        // Last: the channel must not be found empty before the other nodes know of the leave.
        membership.leave_and_wait().expect("no member is visited meanwhile");
        Some(outbox)
    }
}
