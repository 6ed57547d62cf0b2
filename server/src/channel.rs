//! One channel: its members, their presence, and the frames that go to all of them.
//!
//! A broadcast is appended to the room's log without a lock. Joins, leaves and changes of presence take a lock, so
//! that all members see them in the same order. If the server is a node of a cluster, the channel's
//! [`Link`] holds the presence of all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::{HashMap, RandomState};
use parking_lot::{Mutex, MutexGuard};
use pondwire::cache::{LastValue, RosterChange};
use pondwire::frame::Form;
use pondwire::outbox::Push;
use pondwire::protocol::Recipients;
use pondwire::room::{RoomOptions, Seat, SeatMembership};
use pondwire::{Frame, Membership, Outbox, Payload, PresenceRoster, Room, ServerAction, uuid};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::budget;
use crate::writers::MOST_SENT;

/// The most users in an answer to `users`.
const MOST_LISTED: usize = 1000;

/// An answer to `users` ends with the user whose assigns and presence bring it to this many bytes.
const MOST_LISTED_BYTES: usize = 1 << 20;

/// The audience of presence frames: the members whose presence is tracked.
const TRACKED: u32 = 1;

/// A client may send to any channel only while at most so many frames and bytes of the one that it last sent to
/// wait for the writers, and so many bytes for a writer's next round, counted for each member: so clients do
/// not fill the room's log, and other channels wait only some milliseconds for this one's round.
const MOST_UNREAD: usize = 512;
const MOST_UNREAD_BYTES: usize = 256 << 10;
const MOST_ROUND_BYTES: usize = 40 << 20;

/// Room for one message more of each client, and of other nodes: 40 bytes each while they wait.
const LOG: RoomOptions = RoomOptions::new().with_max_frames(1 << 16).with_max_bytes(256 << 20);

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
    /// The number of members whose presence is tracked.
    tracked: AtomicUsize,
    /// The number of members whose frames are compressed.
    deflating: AtomicUsize,
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
    is_tracked: bool,
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

/// A user's membership, for the user's session; others may end it.
#[derive(Clone)]
pub(crate) struct MemberToken {
    membership: Arc<SeatMembership>,
}

impl MemberToken {
    /// Returns `true` while the user is a member.
    pub(crate) fn is_member(&self) -> bool {
        !self.membership.has_left()
    }

    /// Sends an answer to this member alone, after what the channel was sent before; nothing once the
    /// membership has ended.
    /// Returns the work of preparing it, in the units of [`budget`].
    pub(crate) fn answer(&self, frame: Frame) -> usize {
        let seat = self.membership.seat();
        let work = prepare(&frame, deflates(seat));
        if self.membership.push(frame.clone()) == Push::DroppedNewest {
            seat.push(frame);
        }
        work
    }
}

/// Whether the frames of a connection are compressed.
pub(crate) fn deflates(seat: &Seat) -> bool {
    seat.form() == Form::Deflated
}

/// Compresses a frame now if some recipient `deflates`: not in a writer's round, for which all connections of
/// the writer wait. Returns the work, in the units of [`budget`].
pub(crate) fn prepare(frame: &Frame, deflates: bool) -> usize {
    if deflates {
        let _ = frame.deflated();
    }
    deflating_work(frame.json().len(), deflates)
}

const fn deflating_work(len: usize, deflates: bool) -> usize {
    if deflates { len * budget::DEFLATED } else { 0 }
}

impl Channel {
    pub(crate) fn new(name: &str, link: Option<Box<dyn Link>>) -> Self {
        let roster = PresenceRoster::new(name);
        let state = State { is_closed: false, members: HashMap::default(), roster };
        Self {
            name: name.to_owned(),
            members: Room::with_options(LOG),
            tracked: AtomicUsize::new(0),
            deflating: AtomicUsize::new(0),
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
    /// the channel is closed. The acknowledgement is the channel's first frame, because a client drops the
    /// channel's frames before it. A seat that has failed becomes no member, but its session may go on.
    pub(crate) fn join(
        self: &Arc<Self>,
        user: &UserId,
        seat: &Seat,
        request_id: &str,
        assigns: Payload<'_>,
    ) -> Option<Joined> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        let acknowledgement = Frame::acknowledge(&self.name, request_id);
        if let Some(entry) = state.members.get(user) {
            entry.token.answer(acknowledgement);
            return Some(Joined::Member(entry.token.clone()));
        }
        let joined = self.members.seat_audience(!TRACKED, user, seat, Some(acknowledgement));
        let Ok(membership) = joined else {
            return Some(Joined::Failed);
        };
        let token = MemberToken { membership: Arc::new(membership) };
        let entry = MemberEntry {
            token: token.clone(),
            is_tracked: false,
            assigns: assigns.as_str().into(),
        };
        state.members.insert(Arc::clone(user), entry);
        // Relaxed: only an estimate of work.
        self.deflating.fetch_add(deflates(seat).into(), Ordering::Relaxed);
        if let Some(link) = &self.link {
            link.join(self, user, assigns);
        }
        Some(Joined::Member(token))
    }

    /// Sends an event to its recipients, here and then on other nodes, without a lock and without waiting.
    /// Returns the work, in the units of [`budget`].
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
        let recipients = match recipients {
            Recipients::Users(ids) => ids.len(),
            _ => self.members.len(),
        };
        self.work_of(frame.json().len(), recipients)
    }

    /// The work of sending a frame to so many members.
    fn work_of(&self, len: usize, members: usize) -> usize {
        len + deflating_work(len, self.deflates()) + members * budget::PUSH
    }

    /// Whether frames are compressed for some member.
    fn deflates(&self) -> bool {
        self.deflating.load(Ordering::Relaxed) > 0
    }

    /// Whether more than allowed waits for the writers.
    pub(crate) fn is_ahead(&self) -> bool {
        let (frames, bytes) = self.members.unread();
        let round = bytes.min(MOST_SENT).saturating_mul(self.members.len());
        frames > MOST_UNREAD || bytes > MOST_UNREAD_BYTES || round > MOST_ROUND_BYTES
    }

    /// Waits until the writers have read enough. Cancel-safe.
    #[cfg(feature = "redis")]
    pub(crate) async fn caught_up(&self) {
        while self.is_ahead() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
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
        prepare(frame, self.deflates());
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
        let joined = self.members.join_audience(!TRACKED, name, outbox.clone());
        joined.expect("the room of a channel is never closed")
    }

    /// Sends a new member the channel's last broadcast, if there was one.
    ///
    /// The newest broadcast is the last one that the member gets, although publishers are not locked out: a
    /// broadcast stored before the second `get` is sent here, and one stored after it is published to a log
    /// that already holds this one. A concurrent broadcast may arrive twice.
    pub(crate) fn catch_up(&self, member: &MemberToken) {
        let mut seen = None;
        loop {
            let last = self.last.get();
            match &last {
                Some(frame) if last != seen => member.answer(frame.clone()),
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
        prepare(presence, self.deflates());
        self.members.publish_to_audience(TRACKED, presence);
    }

    /// The work of publishing a change of presence, in the units of [`budget`].
    pub(crate) fn presence_work(&self) -> usize {
        let tracked = self.tracked.load(Ordering::Relaxed);
        self.work_of(self.presence_len.load(Ordering::Relaxed), tracked)
    }

    /// Locks the channel for changes by this user; `None` if the user is not a member, or no longer one.
    pub(crate) fn member<'a>(&'a self, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.members.contains_key(user).then(|| Member { channel: self, user, state })
    }

    /// Ends the membership of a user on behalf of another node; with a reason, the user is sent `EVICTED`.
    #[cfg(feature = "redis")]
    pub(crate) fn remove(&self, user: &str, reason: Option<&str>) {
        let last = reason.map(|reason| Frame::evicted(&self.name, &uuid(), reason));
        self.state.lock().remove(self, user, last);
    }
}

/// The outcome of a join.
pub(crate) enum Joined {
    Member(MemberToken),
    /// The connection has failed.
    Failed,
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
        self.state.members.get(self.user).is_some_and(|entry| entry.is_tracked)
    }

    /// Sets the member's presence, and publishes it as a join or, if the member was tracked already, as an
    /// update.
    pub(crate) fn track(&mut self, presence: Payload<'_>) {
        let State { members, roster, .. } = &mut *self.state;
        let entry = members.get_mut(self.user).expect("a member has an entry");
        entry.set_tracked(self.channel, true);
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
            entry.set_tracked(self.channel, false);
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

    /// Ends the membership with a last frame, after which none of the channel goes to the user.
    pub(crate) fn leave(mut self, last: Option<Frame>) {
        self.state.remove(self.channel, self.user, last);
    }

    /// Ends the membership of a user, who gets `EVICTED` as the channel's last frame, or asks the user's
    /// node to do so; `false` if no node has such a member.
    pub(crate) fn evict(&mut self, user: &str, reason: &str) -> bool {
        let last = Frame::evicted(&self.channel.name, &uuid(), reason);
        self.state.remove(self.channel, user, Some(last))
            || self.channel.link.as_ref().is_some_and(|link| link.evict(user, reason))
    }
}

impl MemberEntry {
    fn set_tracked(&mut self, channel: &Channel, is_tracked: bool) {
        if self.is_tracked == is_tracked {
            return;
        }
        self.is_tracked = is_tracked;
        let audience = if is_tracked { u32::MAX } else { !TRACKED };
        // A connection that has failed is sent nothing in any case.
        let _ = self.token.membership.set_audience(audience);
        // Relaxed: only an estimate of work.
        match is_tracked {
            true => channel.tracked.fetch_add(1, Ordering::Relaxed),
            false => channel.tracked.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

impl State {
    /// Ends a membership with a last frame, after which none of the channel goes to the user; `false` if
    /// there was none.
    fn remove(&mut self, channel: &Channel, user: &str, last: Option<Frame>) -> bool {
        let Some(mut entry) = self.members.remove(user) else { return false };
        // Before the presence of this user ends, which the others are told.
        entry.set_tracked(channel, false);
        match &channel.link {
            Some(link) => link.leave(user),
            None => channel.publish_change(self.roster.leave(user)),
        }
        let membership = &entry.token.membership;
        channel.deflating.fetch_sub(deflates(membership.seat()).into(), Ordering::Relaxed);
        // Last, because the channel must not appear empty before the other nodes are notified of the leave.
        membership.leave(last);
        true
    }
}
