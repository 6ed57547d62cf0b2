//! One channel: its members, their presence, and the frames that go to all of them.
//!
//! A broadcast goes to all members without a lock. Joins, leaves and changes of presence take a lock, so
//! that all members see them in the same order. If the server is a node of a cluster, the channel's
//! [`Link`] holds the presence of all nodes.

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

/// The most users in an answer to `users`.
const MOST_LISTED: usize = 1000;

/// An answer to `users` ends with the user whose assigns and presence bring it to this many bytes.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// The id of a user. Each connection is a user of its own here.
pub(crate) type UserId = Arc<str>;

/// Connects a channel with the same channel on the other nodes of a cluster. Every method except
/// [`send`](Self::send) may publish presence to the users tracked here before it returns.
pub(crate) trait Link: Send + Sync {
    /// Reports that a user joined; `channel` holds this node's members.
    fn join(&self, channel: &Arc<Channel>, user: &str, assigns: Payload<'_>);

    fn leave(&self, user: &str);

    fn set_presence(&self, user: &str, presence: Payload<'_>);

    fn remove_presence(&self, user: &str);

    fn set_assigns(&self, user: &str, assigns: Payload<'_>);

    /// Asks the node that has this user to evict it; `false` if no node has such a user.
    fn evict(&self, user: &str, reason: &str) -> bool;

    /// Sends an event from a user of this node to the other nodes, without waiting for them.
    fn send(
        &self,
        sender: &str,
        event: &str,
        payload: Payload<'_>,
        request_id: &str,
        recipients: &Recipients<'_>,
    );

    /// Visits the id, the assigns and the presence of everyone in the channel, on all nodes.
    fn for_each_user(&self, visit: &mut dyn FnMut(&str, &str, Option<&str>));
}

/// A channel. It exists while it has members.
pub(crate) struct Channel {
    name: String,
    members: Room,
    /// The members whose presence is tracked. Only these receive presence frames.
    tracked: Room,
    /// The last broadcast, for late joiners.
    last: LastValue,
    /// Hashes event names to the keys by which an outbox conflates.
    events: RandomState,
    /// The length of the last presence frame in bytes.
    presence_len: AtomicUsize,
    /// The same channel on other nodes.
    link: Option<Box<dyn Link>>,
    state: Mutex<State>,
}

struct State {
    /// If `true`, another channel of this name may have been opened since.
    is_closed: bool,
    members: HashMap<UserId, MemberEntry>,
    /// The presence of this node's users; unused with a link, which holds the presence of all nodes.
    roster: PresenceRoster,
}

struct MemberEntry {
    token: MemberToken,
    outbox: Outbox,
    membership: Membership,
    tracked: Option<Membership>,
    /// The data that the server keeps about the user: a JSON object.
    assigns: Box<str>,
}

/// The payload of the answer to `users`.
#[derive(Default, Serialize)]
struct Users {
    assigns: BTreeMap<String, Box<RawValue>>,
    /// The presence of the users that are tracked.
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

/// Shows a session whether its membership still exists; others may end it.
#[derive(Clone)]
pub(crate) struct MemberToken {
    is_member: Arc<AtomicBool>,
}

impl MemberToken {
    /// Returns `true` while the user is a member.
    pub(crate) fn is_member(&self) -> bool {
        // Relaxed: a concurrent eviction may come before or after this.
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

    /// Closes the channel to new members if it has no member; returns `true` if the channel is closed.
    pub(crate) fn close_if_empty(&self) -> bool {
        // A task that holds the lock mostly acts for a member, so this rarely waits.
        if !self.members.is_empty() {
            return false;
        }
        let mut state = self.state.lock();
        state.is_closed = self.members.is_empty();
        state.is_closed
    }

    /// Makes the user a member and acknowledges the join, even if the user was a member already; `None` if
    /// the channel is closed. The acknowledgement is the channel's first frame in the outbox, because a
    /// client drops the channel's frames before it.
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

    /// Sends an event to its recipients, here and then on other nodes, without a lock and without waiting.
    /// Returns the number of outboxes that it looked up.
    pub(crate) fn send(
        &self,
        sender: &UserId,
        event: &str,
        payload: Payload<'_>,
        recipients: &Recipients<'_>,
    ) -> usize {
        let request_id = uuid();
        let frame = Frame::broadcast(&self.name, event, &request_id, payload);
        self.deliver(sender, event, &frame, recipients);
        if let Some(link) = &self.link {
            link.send(sender, event, payload, &request_id, recipients);
        }
        match recipients {
            Recipients::Users(ids) => ids.len(),
            _ => self.members.len(),
        }
    }

    /// Sends the frame of an event to the recipients among the members. An event for all members is
    /// conflated by its name in outboxes with that policy.
    pub(crate) fn deliver(
        &self,
        sender: &str,
        event: &str,
        frame: &Frame,
        recipients: &Recipients<'_>,
    ) {
        if let Recipients::AllUsers = recipients {
            // Stored before it is sent; `catch_up` depends on this order.
            self.last.set(frame.clone());
            self.members.publish_keyed(self.events.hash_one(event), frame);
        } else {
            self.members.send(frame, recipients, sender);
        }
    }

    /// Adds a listener that is not a member: it has no presence, and cannot be evicted.
    pub(crate) fn watch(&self, name: &str, outbox: &Outbox) -> Membership {
        join(&self.members, name, outbox)
    }

    /// Sends a new member the channel's last broadcast, if there was one.
    ///
    /// The newest broadcast is the last one that the member gets, although publishers are not locked out: a
    /// broadcast stored before the second `get` is sent here, and one stored after it is published to an
    /// outbox that already holds this one. A concurrent broadcast may arrive twice.
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

    /// Publishes a change of presence as one frame. The caller holds the channel's lock.
    fn publish_change(&self, change: Option<RosterChange<'_>>) {
        if let Some(change) = change {
            self.publish_presence(&change.frame(&uuid()));
        }
    }

    /// Sends a presence frame to all tracked members.
    pub(crate) fn publish_presence(&self, presence: &Frame) {
        // Relaxed: only an estimate of work.
        self.presence_len.store(presence.json().len(), Ordering::Relaxed);
        self.tracked.publish(presence);
    }

    /// The work of publishing a change of presence, in the units of [`budget`].
    pub(crate) fn presence_work(&self) -> usize {
        self.presence_len.load(Ordering::Relaxed) + self.tracked.len() * budget::PUSH
    }

    /// Locks the channel for changes by this user; `None` if the user is not a member, or no longer one.
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.members.contains_key(user).then(|| Member { channel: self, user, state })
    }

    /// Ends the membership of a user on behalf of another node; with a reason, the user is sent `EVICTED`.
    #[cfg(feature = "redis")]
    pub(crate) fn remove(&self, user: &str, reason: Option<&str>) {
        let outbox = self.state.lock().remove(self, user);
        if let (Some(outbox), Some(reason)) = (outbox, reason) {
            answer(&outbox, Frame::evicted(&self.name, &uuid(), reason));
        }
    }
}

/// Sends an answer to one client: after its queued frames, so that answers keep the order of their
/// requests; ahead of them if its outbox may drop frames.
pub(crate) fn answer(outbox: &Outbox, frame: Frame) {
    // A full outbox closes, which ends the connection.
    if outbox.may_drop() {
        outbox.reply(frame)
    } else {
        outbox.push(frame)
    };
}

fn join(room: &Room, user: &str, outbox: &Outbox) -> Membership {
    room.join(user, outbox.clone()).expect("the rooms of a channel are never closed")
}

/// A member acting in its channel. Holds the channel's lock.
pub(crate) struct Member<'a> {
    channel: &'a Channel,
    user: &'a UserId,
    state: MutexGuard<'a, State>,
}

impl Member<'_> {
    /// Returns `true` if the list of all users present here stays within `bytes` bytes with this presence
    /// added.
    pub(crate) fn has_room_for(&self, presence: Payload<'_>, bytes: usize) -> bool {
        self.state.roster.list_len() + presence.as_str().len() <= bytes
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.members.get(self.user).is_some_and(|entry| entry.tracked.is_some())
    }

    /// Sets the member's presence, and publishes it as a join or, if the member was tracked already, as an
    /// update.
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

    /// Ends the member's presence, and publishes the leave to the members still tracked.
    pub(crate) fn untrack(&mut self) {
        if let Some(entry) = self.state.members.get_mut(self.user) {
            entry.tracked = None;
        }
        match &self.channel.link {
            Some(link) => link.remove_presence(self.user),
            None => self.channel.publish_change(self.state.roster.leave(self.user)),
        }
    }

    /// Sets the member's assigns.
    pub(crate) fn assign(&mut self, assigns: Payload<'_>) {
        if let Some(entry) = self.state.members.get_mut(self.user) {
            entry.assigns = assigns.as_str().into();
        }
        if let Some(link) = &self.channel.link {
            link.set_assigns(self.user, assigns);
        }
    }

    /// The answer to `users`: the users of the channel on all nodes, up to [`MOST_LISTED`] and
    /// [`MOST_LISTED_BYTES`].
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

    /// Ends the membership of a user, who gets `EVICTED` as the channel's last frame, or asks the user's
    /// node to do so; `false` if no node has such a member.
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
    /// Ends a membership. After this returns, no frame of the channel enters the outbox.
    fn remove(&mut self, channel: &Channel, user: &str) -> Option<Outbox> {
        let MemberEntry { token, outbox, membership, tracked, .. } = self.members.remove(user)?;
        token.is_member.store(false, Ordering::Relaxed);
        // Presence is published under this lock or the link's, so no publication is in progress after this.
        drop(tracked);
        match &channel.link {
            Some(link) => link.leave(user),
            None => channel.publish_change(self.roster.leave(user)),
        }
        // Last, because the channel must not appear empty before the other nodes are notified of the leave.
        membership.leave_and_wait().expect("this is not called while members are visited");
        Some(outbox)
    }
}
