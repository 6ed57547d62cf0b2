//! One channel: its members, their presence, and the frames that go to all of them; and the table of the open
//! channels of an endpoint.
//!
//! A broadcast is appended to the room's log without a lock. Joins, leaves and changes of presence take a lock, so
//! that all members see them in the same order. If the server is a node of a cluster, the channel's
//! [`Link`] holds the presence of all nodes.
//!
//! Lock order: a part of the table, then a channel, then the node, then the pace of presence frames; the list of
//! channels that nobody is in comes last. No code locks the table while it holds a channel's lock, and no handler runs
//! under any of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};
use parking_lot::{Mutex, MutexGuard};
use pondwire::cache::{ClassFrame, CoalescedRoster, PresenceRoster};
use pondwire::error::PondError;
use pondwire::frame::Form;
use pondwire::outbox::Push;
use pondwire::payload::OwnedPayload;
use pondwire::protocol::Recipients;
use pondwire::room::{HistoryBudget, Resume, Resumed, RoomOptions, Seat, SeatMembership};
use pondwire::{Frame, Membership, Outbox, Payload, Room, ServerMessage, uuid};
use serde::Serialize;
use smallvec::SmallVec;
use tokio::runtime::Handle;

use crate::budget::{self, InUse};
use crate::content::{UNLIMITED, with_member};
use crate::last::LastBroadcast;
use crate::memory::{Memory, UserMemory};
use crate::table::Table;
use crate::trace;
use crate::users::Users;
use crate::writers::MOST_SENT;

/// The audience of presence frames: the members whose presence is tracked.
const TRACKED: u32 = 1;

/// The number of classes of recipients: one bit of an audience each.
pub(crate) const CLASSES: u32 = 31;

/// A client may send to any channel only while at most so many frames and bytes of the one that it last sent to
/// wait for the writers, and so many bytes for a writer's next round, counted for each member: so clients do
/// not fill the room's log, and other channels wait only some milliseconds for this one's round. While there are none,
/// a round may be larger, because sends cost less the more they send; then the first frame of another channel waits
/// for it.
const MOST_UNREAD: usize = 512;
const MOST_UNREAD_BYTES: usize = 256 << 10;
const MOST_ROUND_BYTES: usize = 40 << 20;
const MOST_ROUND_BYTES_ALONE: usize = 160 << 20;

/// The bytes of a broadcast, counted for each member, from which on its sender waits for the writers' backlog, too.
const LARGE_ROUND_BYTES: usize = 64 << 10;

/// Room for one message more of each client, and of other nodes: 40 bytes each while they wait.
const LOG: RoomOptions = RoomOptions::new().with_max_frames(1 << 16).with_max_bytes(256 << 20);

/// The time that a channel waits for each byte of a presence frame before it sends the next: a member gets at most
/// a megabyte of them per second.
const PACE_OF_PRESENCE: Duration = Duration::from_micros(1);

/// The most bytes of a presence frame besides its list: the changed presence, and the names.
#[cfg(feature = "redis")]
const MOST_BESIDE_LIST: usize = 64 << 10;

/// The channels that are visited for a count before other tasks have their turn.
const VISITED_AT_ONCE: usize = 256;

/// The most channels of an endpoint that are kept for members that come back while nobody is in them. Then those that
/// have waited longest are closed.
const MOST_UNATTENDED: usize = 10_000;

/// The id of a user. Each connection is a user of its own here.
pub(crate) type UserId = Arc<str>;

/// The server's data about a user; `None` for `{}`.
pub(crate) type Assigns = Option<Arc<OwnedPayload>>;

/// Connects a channel with the same channel on the other nodes of a cluster. Every method except
/// [`send`](Self::send) and [`is_connected`](Self::is_connected) may publish presence to the users tracked
/// here before it returns.
pub(crate) trait Link: Send + Sync {
    /// Reports that a user joined; `channel` holds this node's members.
    fn join(&self, channel: &Arc<OpenChannel>, user: &str, assigns: Payload<'_>);

    fn leave(&self, user: &str);

    /// Reports that the channel is closed here. One that [keeps broadcasts](OpenChannel::keeps_history) may have been
    /// open without users.
    fn close(&self);

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

    /// Whether the connection by which the other nodes' broadcasts come works, as far as this node knows.
    fn is_connected(&self) -> bool;

    /// The length of the presence list of all nodes, in bytes.
    fn presence_len(&self) -> usize;

    /// A user's presence as JSON, on whatever node.
    fn presence(&self, user: &str) -> Option<Box<str>>;

    /// Sends the presence list of all nodes now, if it has [changed](OpenChannel::presence_changed) since it was sent.
    fn publish_presence(&self, here: &Arc<OpenChannel>);

    /// Visits the id, the assigns and the presence of everyone in the channel, on all nodes, until `visit` returns
    /// `false`.
    fn for_each_user(&self, visit: &mut dyn FnMut(&str, Payload<'_>, Option<&str>) -> bool);
}

/// What the application's handlers want to know of a channel. No lock is held during a call.
pub(crate) trait Hooks: Send + Sync {
    /// Whether broadcasts differ between classes of recipients.
    fn transforms(&self) -> bool;

    /// The form of a broadcast for a class.
    fn outgoing(&self, class: u32, event: &str, frame: &Frame) -> ClassFrame;

    /// What is kept for members that come back; `None` for nothing.
    fn history(&self) -> Option<History>;

    /// The member of a broadcast's payload that its id is added as.
    fn id_key(&self) -> Option<&str>;

    /// Whether [`left`](Self::left) wants to be called.
    fn sees_leaves(&self) -> bool;

    /// A member has left.
    fn left(&self, channel: &Arc<OpenChannel>, departure: &Departure);
}

/// The bounds of what a channel keeps for members that come back.
#[derive(Clone, Copy)]
pub(crate) struct History {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

/// A member that has left.
pub(crate) struct Departure {
    pub(crate) user: UserId,
    pub(crate) assigns: Assigns,
    /// The last presence, as JSON.
    pub(crate) presence: Option<Box<str>>,
    pub(crate) reason: LeaveReason,
}

/// The reason why a user is no longer in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// The client left the channel.
    Left,
    /// The connection has ended.
    Disconnected,
    /// The user was evicted, for this reason; it may be empty.
    Evicted(String),
    /// Another node of the cluster removed the user.
    Removed,
    /// The channel was closed.
    Closed,
}

/// Makes the link of a channel from the channel's name.
pub(crate) type MakeLink = Box<dyn Fn(&str) -> Box<dyn Link> + Send + Sync>;

/// Finds the handlers of a channel by its name; `None` if there is no such channel.
pub(crate) type FindHooks = Box<dyn Fn(&str) -> Option<Arc<dyn Hooks>> + Send + Sync>;

/// The options that all channels share.
#[derive(Clone)]
pub(crate) struct ChannelOptions {
    /// The largest presence list, in bytes.
    pub(crate) presence_bytes: usize,
    /// The least time between two presence frames.
    pub(crate) presence_interval: Duration,
    /// The bound on what all keep for members that come back.
    pub(crate) history: HistoryBudget,
    /// The bound on what all take besides.
    pub(crate) memory: Arc<Memory>,
    pub(crate) in_use: InUse,
}

/// The channels that nobody is in, those that have waited longest first.
#[derive(Default)]
struct Unattended {
    waiting: BTreeMap<u64, Weak<OpenChannel>>,
    /// The number of those that ever waited.
    count: u64,
}

/// The open channels of an endpoint, by name. A channel is open while it has members, and one that keeps broadcasts
/// for as long after as it keeps them.
pub(crate) struct Channels {
    table: Table<OpenChannel>,
    /// The number of channels in the table.
    open: AtomicUsize,
    /// `None` if the server is not a node of a cluster.
    make_link: Option<MakeLink>,
    find_hooks: FindHooks,
    options: ChannelOptions,
    runtime: Handle,
    /// The presence frames that were not sent because their lists were too long.
    lists_too_long: AtomicU64,
    unattended: Mutex<Unattended>,
    /// The joins of clients that came back without a hole, and with one.
    resumed: AtomicU64,
    holes: AtomicU64,
}

impl Channels {
    /// A table without channels, on the current tokio runtime.
    pub(crate) fn new(
        make_link: Option<MakeLink>,
        find_hooks: FindHooks,
        options: ChannelOptions,
    ) -> Self {
        let runtime = Handle::current();
        Self {
            table: Table::new(),
            open: AtomicUsize::new(0),
            make_link,
            find_hooks,
            options,
            runtime,
            lists_too_long: AtomicU64::new(0),
            unattended: Mutex::default(),
            resumed: AtomicU64::new(0),
            holes: AtomicU64::new(0),
        }
    }

    /// Drops what is older than its channel keeps it, also where nothing happens, and closes the channels that nobody
    /// has come back to; `age` is the shortest that a channel has.
    pub(crate) fn forget_regularly(self: &Arc<Self>, age: Duration) {
        let pause = (age / 4).clamp(Duration::from_millis(10), Duration::from_secs(10));
        let channels = Arc::downgrade(self);
        self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(channels) = channels.upgrade() else { return };
                for channel in channels.open().iter().filter(|channel| channel.keeps_history()) {
                    channel.members.trim_history();
                    channel.close_if_empty();
                }
            }
        });
    }

    pub(crate) fn resumed(&self) -> (u64, u64) {
        (self.resumed.load(Ordering::Relaxed), self.holes.load(Ordering::Relaxed))
    }

    /// Makes the user a member of the channel, which is opened if needed; see [`OpenChannel::join`]. `None` if there is
    /// no memory to open it. The table is unlocked during the join, so that a busy channel does not delay the others.
    pub(crate) fn join(
        self: &Arc<Self>,
        channel: &str,
        hooks: &Arc<dyn Hooks>,
        newcomer: &Newcomer<'_>,
    ) -> Option<(Arc<OpenChannel>, Joined)> {
        loop {
            let found =
                self.find_or_open(channel, hooks, || self.options.memory.admits_channel())?;
            found.prepare_missed(newcomer);
            // If it has been closed since, a new one is opened.
            if let Some(joined) = found.join(newcomer) {
                return Some((found, joined));
            }
        }
    }

    /// The open channel of this name, opened if there is none and it `may_open`.
    fn find_or_open(
        self: &Arc<Self>,
        name: &str,
        hooks: &Arc<dyn Hooks>,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Arc<OpenChannel>> {
        let mut table = self.table.lock(name);
        if let Some(channel) = table.get(name) {
            return Some(Arc::clone(channel));
        }
        if !may_open() {
            return None;
        }
        let opened = Arc::new(OpenChannel::new(name, self, Arc::clone(hooks)));
        table.insert(Arc::clone(&opened.name), Arc::clone(&opened));
        // Relaxed: a moment later is soon enough.
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(opened)
    }

    /// The open channel of this name, or one that is not open and so has no members here.
    pub(crate) fn find(self: &Arc<Self>, name: &str) -> Option<Arc<OpenChannel>> {
        if let Some(channel) = self.table.lock(name).get(name) {
            return Some(Arc::clone(channel));
        }
        let closed = OpenChannel::new(name, self, (self.find_hooks)(name)?);
        closed.state.lock().is_closed = true;
        closed.is_closed.store(true, Ordering::Relaxed);
        Some(Arc::new(closed))
    }

    pub(crate) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The open ones.
    pub(crate) fn open(&self) -> Vec<Arc<OpenChannel>> {
        let mut open = Vec::with_capacity(self.len());
        self.table.parts().iter().for_each(|part| open.extend(part.lock().values().cloned()));
        open
    }

    /// Adds a channel that nobody is in; returns its number among these.
    fn wait(&self, channel: &Arc<OpenChannel>) -> u64 {
        let mut unattended = self.unattended.lock();
        let number = unattended.count;
        unattended.count += 1;
        unattended.waiting.insert(number, Arc::downgrade(channel));
        number
    }

    /// Takes the channel that has waited longest, if too many wait.
    fn take_longest(&self) -> Option<(u64, Weak<OpenChannel>)> {
        let waiting = &mut self.unattended.lock().waiting;
        if waiting.len() > MOST_UNATTENDED { waiting.pop_first() } else { None }
    }

    /// The bytes in the logs of all channels that the writers have not taken. Lets other tasks run meanwhile.
    pub(crate) async fn unread_bytes(&self) -> usize {
        let (mut bytes, mut visited) = (0, 0);
        for part in self.table.parts() {
            {
                let part = part.lock();
                bytes += part.values().map(|channel| channel.members.unread().1).sum::<usize>();
                visited += part.len();
            }
            if visited >= VISITED_AT_ONCE {
                visited = 0;
                tokio::task::yield_now().await;
            }
        }
        bytes
    }

    pub(crate) fn lists_too_long(&self) -> u64 {
        self.lists_too_long.load(Ordering::Relaxed)
    }
}

/// A channel. It exists while it has members, and a little longer if it keeps broadcasts for them.
pub(crate) struct OpenChannel {
    name: Arc<str>,
    members: Room,
    /// What is kept for members that come back.
    history: Option<History>,
    /// The member of a broadcast's payload that its id is added as.
    id_key: Option<Box<str>>,
    /// The number of members whose presence is tracked.
    tracked: AtomicUsize,
    /// The number of members whose frames are compressed.
    deflating: AtomicUsize,
    /// The last broadcast, for late joiners.
    last: LastBroadcast,
    /// Hashes event names to the keys by which an outbox conflates.
    events: RandomState,
    /// The length of the last presence frame in bytes.
    presence_len: AtomicUsize,
    /// The bytes of the last broadcast, counted for each recipient.
    last_round: AtomicUsize,
    /// The same channel on other nodes.
    link: Option<Box<dyn Link>>,
    /// Whether this node has been subscribed to them since the channel's first join.
    is_subscribed: AtomicBool,
    home: Weak<Channels>,
    hooks: Arc<dyn Hooks>,
    /// The numbers of members by class; `None` if classes make no difference.
    classes: Option<Box<Classes>>,
    options: ChannelOptions,
    runtime: Handle,
    /// Set once another channel of this name may have been opened; never without the lock of `state`.
    is_closed: AtomicBool,
    state: Mutex<State>,
    pace: Mutex<Pace>,
}

struct Classes {
    members: [AtomicU32; CLASSES as usize],
    /// The number of broadcasts that had been kept when the first member came into a class; [`NEVER`] if none has yet.
    /// Used only where broadcasts are kept.
    since: [AtomicU64; CLASSES as usize],
    /// Held while a broadcast is published to several classes and while a member changes its class, so that each
    /// member gets it once.
    publishing: Mutex<()>,
}

/// No member has come into a class.
const NEVER: u64 = u64::MAX;

impl Classes {
    /// A class that has members, or keeps broadcasts for some that may come back, and is none of those.
    fn undecided(&self, decided: u32) -> Option<u32> {
        (0..CLASSES).find(|&class| {
            // Relaxed: exact while `publishing` is held.
            let members = self.members[class as usize].load(Ordering::Relaxed);
            let is_kept = self.since[class as usize].load(Ordering::Relaxed) != NEVER;
            (members > 0 || is_kept) && class_bit(class) & decided == 0
        })
    }

    /// The number of broadcasts that were kept before those that are made for this class, too; `publishing` is held.
    fn kept_before(&self, class: u32, room: &Room) -> u64 {
        let since = &self.since[class as usize];
        if since.load(Ordering::Relaxed) == NEVER {
            since.store(room.kept(), Ordering::Relaxed);
        }
        since.load(Ordering::Relaxed)
    }
}

struct State {
    /// If `true`, another channel of this name may have been opened since.
    is_closed: bool,
    /// When the last member left a channel that keeps broadcasts, and its number among the unattended ones.
    empty: Option<(Instant, u64)>,
    members: HashMap<UserId, MemberEntry>,
    /// The presence of this node's users; unused with a link, which holds the presence of all nodes.
    roster: CoalescedRoster,
}

/// When presence frames may be sent.
#[derive(Default)]
struct Pace {
    /// No presence frame is sent before.
    quiet_until: Option<Instant>,
    /// Whether the list of a link has changed since it was sent.
    #[cfg(feature = "redis")]
    is_outdated: bool,
    /// Whether a task waits to send what is held back.
    is_scheduled: bool,
}

struct MemberEntry {
    token: MemberToken,
    is_tracked: bool,
    /// The length of its presence.
    presence_len: usize,
    class: u32,
}

/// What a user joins with.
pub(crate) struct Newcomer<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) seat: &'a Seat,
    pub(crate) request_id: &'a str,
    pub(crate) assigns: Assigns,
    pub(crate) class: u32,
    /// `None` if the client did not ask for what it missed.
    pub(crate) returning: Option<&'a Returning>,
}

/// What a client says of itself that comes back, or will want to.
pub(crate) struct Returning {
    /// The last broadcast that it saw.
    pub(crate) after: Option<Box<str>>,
    /// The user that it was, proven by the id of its connection.
    pub(crate) former_user: Option<UserId>,
    /// The secret id of its connection of today.
    pub(crate) connection_id: Arc<str>,
}

impl Returning {
    fn resume(&self, not_before: u64) -> Resume<'_> {
        Resume {
            after: self.after.as_deref(),
            former_user: self.former_user.as_deref(),
            not_before,
        }
    }

    /// The event that ends what the client missed; `resumed` is `None` if it was a member all the time.
    fn answer(&self, channel: &str, request_id: &str, resumed: Option<&Resumed>) -> Frame {
        let missed = resumed.map_or(Some(0), |it| it.missed.map(|missed| missed.frames));
        let position = resumed.and_then(|resumed| resumed.position.as_deref());
        let resume = Position { after: position, connection_id: &self.connection_id };
        let (complete, missed) = (missed.is_some(), missed.unwrap_or_default());
        let payload = OwnedPayload::encode(&ResumePayload { resume, complete, missed });
        let payload = payload.expect("an object of strings and numbers serializes");
        Frame::reply(channel, RESUME, request_id, payload.view())
    }
}

/// The event that answers a client which comes back.
const RESUME: &str = "RESUME";

#[derive(Serialize)]
struct ResumePayload<'a> {
    /// What the client joins with the next time.
    resume: Position<'a>,
    complete: bool,
    missed: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Position<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
    connection_id: &'a str,
}

/// A user's membership, for the user's session; others may end it.
#[derive(Clone)]
pub(crate) struct MemberToken {
    shared: Arc<TokenState>,
}

struct TokenState {
    membership: SeatMembership,
    assigns: Mutex<(Assigns, UserMemory)>,
}

impl MemberToken {
    /// Returns `true` while the user is a member.
    #[inline]
    pub(crate) fn is_member(&self) -> bool {
        !self.shared.membership.has_left()
    }

    /// Sends an answer to this member alone, after what the channel was sent before; nothing once the
    /// membership has ended.
    /// Returns the work of preparing it, in the units of [`budget`].
    pub(crate) fn answer(&self, frame: Frame) -> usize {
        let seat = self.shared.membership.seat();
        let work = prepare(&frame, deflates(seat));
        if self.shared.membership.push(frame.clone()) == Push::DroppedNewest {
            seat.push(frame);
        }
        work
    }

    pub(crate) fn assigns(&self) -> Assigns {
        self.shared.assigns.lock().0.clone()
    }
}

/// The message of a frame that this server has made, which may be larger than any message of a client.
pub(crate) fn message_of(frame: &Frame) -> Option<ServerMessage<'_>> {
    ServerMessage::parse_with(frame.json(), UNLIMITED).ok()
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

/// The bit of a class in an audience.
const fn class_bit(class: u32) -> u32 {
    2 << class
}

/// The reason why a presence was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untracked {
    NoMember,
    NotTracked,
    ListTooLong,
    NoMemory,
}

impl OpenChannel {
    fn new(name: &str, home: &Arc<Channels>, hooks: Arc<dyn Hooks>) -> Self {
        let roster = CoalescedRoster::new(PresenceRoster::new(name), Duration::ZERO);
        let (is_closed, empty, members) = Default::default();
        let state = State { is_closed, empty, members, roster };
        let classes = || {
            Box::new(Classes {
                members: [const { AtomicU32::new(0) }; CLASSES as usize],
                since: [const { AtomicU64::new(NEVER) }; CLASSES as usize],
                publishing: Mutex::new(()),
            })
        };
        let history = hooks.history();
        let members = match history {
            Some(History { frames, bytes, age }) => {
                let options = LOG.with_history(frames, bytes, age);
                Room::with_history_budget(options, &home.options.history)
            }
            None => Room::with_options(LOG),
        };
        Self {
            name: name.into(),
            members,
            history,
            id_key: hooks.id_key().map(Into::into),
            tracked: AtomicUsize::new(0),
            deflating: AtomicUsize::new(0),
            last: LastBroadcast::new(Arc::clone(&home.options.memory)),
            events: RandomState::new(),
            presence_len: AtomicUsize::new(0),
            last_round: AtomicUsize::new(0),
            link: home.make_link.as_ref().map(|make_link| make_link(name)),
            is_subscribed: AtomicBool::new(false),
            home: Arc::downgrade(home),
            classes: hooks.transforms().then(classes),
            hooks,
            options: home.options.clone(),
            runtime: home.runtime.clone(),
            is_closed: AtomicBool::new(false),
            state: Mutex::new(state),
            pace: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The table that the channel is in; `None` after the server's end.
    pub(crate) fn home(&self) -> Option<Arc<Channels>> {
        self.home.upgrade()
    }

    /// The channel of this name that is open now; this one if it is, or if none is.
    pub(crate) fn current(self: &Arc<Self>) -> Arc<Self> {
        // Relaxed: a channel that is being closed has no members.
        if self.is_closed.load(Ordering::Relaxed)
            && let Some(home) = self.home.upgrade()
            && let Some(open) = home.table.lock(&self.name).get(&self.name)
        {
            return Arc::clone(open);
        }
        Arc::clone(self)
    }

    /// The open channel of this name, opened if there is none; `None` after the server's end.
    pub(crate) fn reopened(&self) -> Option<Arc<Self>> {
        self.home.upgrade()?.find_or_open(&self.name, &self.hooks, || true)
    }

    /// Whether broadcasts are kept for members that come back.
    pub(crate) const fn keeps_history(&self) -> bool {
        self.history.is_some()
    }

    /// Forgets the broadcasts that are kept, because some may be missing.
    #[cfg(feature = "redis")]
    pub(crate) fn clear_history(&self) {
        self.members.clear_history();
    }

    /// The broadcasts of other nodes come from now on. Some may be missing before.
    #[cfg(feature = "redis")]
    pub(crate) fn subscribed(&self) {
        self.clear_history();
        // After what was kept before is gone.
        self.is_subscribed.store(true, Ordering::Release);
    }

    /// Whether broadcasts of other nodes may be missing now.
    fn is_cut_off(&self) -> bool {
        let hears =
            |link: &dyn Link| self.is_subscribed.load(Ordering::Acquire) && link.is_connected();
        self.link.as_ref().is_some_and(|link| !hears(&**link))
    }

    /// Closes the channel and removes it from the table if it has no members, and no broadcasts for any that may come
    /// back. A newer channel of the same name is left alone.
    pub(crate) fn close_if_empty(self: &Arc<Self>) {
        let Some(home) = self.home.upgrade() else { return };
        self.close_unless(&home, |state| self.may_be_wanted(&home, state));
        while let Some((number, longest)) = home.take_longest() {
            if let Some(longest) = longest.upgrade() {
                // Somebody may have been there since.
                longest.close_unless(&home, |state| {
                    state.empty.is_none_or(|(_, waiting)| waiting != number)
                });
            }
        }
    }

    fn close_unless(self: &Arc<Self>, home: &Channels, is_wanted: impl FnOnce(&mut State) -> bool) {
        let mut table = home.table.lock(&self.name);
        let is_this = table.get(&self.name).is_some_and(|found| Arc::ptr_eq(found, self));
        // A task that holds the lock mostly acts for a member, so this rarely waits.
        if is_this && self.members.is_empty() {
            let mut state = self.state.lock();
            if !self.members.is_empty() || is_wanted(&mut state) {
                return;
            }
            state.is_closed = true;
            self.is_closed.store(true, Ordering::Relaxed);
            if let Some(link) = &self.link {
                link.close();
            }
            table.remove(&self.name);
            home.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether an empty channel stays open for members that may come back.
    fn may_be_wanted(self: &Arc<Self>, home: &Channels, state: &mut State) -> bool {
        let Some(history) = &self.history else { return false };
        let is_kept = !self.members.is_history_empty()
            && state.empty.is_none_or(|(since, _)| since.elapsed() <= history.age);
        if !is_kept {
            self.attended(state);
        } else if state.empty.is_none() {
            state.empty = Some((Instant::now(), home.wait(self)));
        }
        is_kept
    }

    /// Counts the channel out of those that nobody is in.
    fn attended(&self, state: &mut State) {
        if let Some((_, number)) = state.empty.take()
            && let Some(home) = self.home.upgrade()
        {
            home.unattended.lock().waiting.remove(&number);
        }
    }

    /// Compresses the frames that a member which comes back will be sent, if its connection wants them so.
    fn prepare_missed(&self, newcomer: &Newcomer<'_>) {
        if let Some(returning) = &newcomer.returning
            && deflates(newcomer.seat)
            && self.keeps_history()
        {
            let audience = self.audience(false, newcomer.class);
            let missed = self.members.missed(newcomer.user, audience, &returning.resume(0));
            for frame in missed.iter().flatten() {
                prepare(frame, true);
            }
        }
    }

    /// Makes the user a member and acknowledges the join, even if the user was a member already; `None` if
    /// the channel is closed. The acknowledgement is the channel's first frame, because a client drops the
    /// channel's frames before it. A seat that has failed becomes no member, but its session may go on.
    fn join(self: &Arc<Self>, newcomer: &Newcomer<'_>) -> Option<Joined> {
        self.note_use();
        let Newcomer { user, seat, request_id, assigns, class, returning } = newcomer;
        let returning = returning.filter(|_| self.keeps_history());
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        let acknowledgement = Frame::acknowledge(&self.name, request_id);
        if let Some(entry) = state.members.get(*user) {
            entry.token.answer(acknowledgement);
            if let Some(returning) = returning {
                entry.token.answer(returning.answer(&self.name, request_id, None));
            }
            return Some(Joined::Member { token: entry.token.clone(), missed: 0 });
        }
        if !self.options.memory.admits_member() {
            return Some(Joined::NoMemory);
        }
        let _publishing = self.classes.as_ref().map(|classes| classes.publishing.lock());
        let audience = self.audience(false, *class);
        let mut missed = 0;
        let joined = match returning {
            None => self.members.seat_audience(audience, user, seat, Some(acknowledgement)),
            Some(returning) => {
                let kept_before = self.kept_before(*class);
                // To tell of a hole, whatever the client has seen.
                let not_before = if self.is_cut_off() { u64::MAX } else { kept_before };
                let resume = returning.resume(not_before);
                let last = |resumed: &Resumed| {
                    let answer = returning.answer(&self.name, request_id, Some(resumed));
                    prepare(&answer, deflates(seat));
                    Some(answer)
                };
                let first = Some(acknowledgement);
                let joined = self.members.seat_after(user, seat, audience, &resume, first, last);
                joined.map(|(membership, resumed)| {
                    missed = resumed.missed.map_or(0, |missed| missed.bytes);
                    if returning.after.is_some() {
                        self.count_resumed(&resumed);
                    }
                    membership
                })
            }
        };
        let Ok(membership) = joined else {
            return Some(Joined::Failed);
        };
        self.attended(&mut state);
        let memory = Arc::clone(&self.options.memory);
        let memory = UserMemory::of_member(memory, self.bytes_of(assigns));
        let assigns_here = Mutex::new((assigns.clone(), memory));
        let token =
            MemberToken { shared: Arc::new(TokenState { membership, assigns: assigns_here }) };
        let (token_here, is_tracked, presence_len) = (token.clone(), false, 0);
        let entry = MemberEntry { token: token_here, is_tracked, presence_len, class: *class };
        state.members.insert(Arc::clone(user), entry);
        self.count_class(*class, 1);
        // Relaxed: only an estimate of work.
        self.deflating.fetch_add(deflates(seat).into(), Ordering::Relaxed);
        if let Some(link) = &self.link {
            link.join(self, user, view(assigns));
        }
        Some(Joined::Member { token, missed })
    }

    fn count_resumed(&self, resumed: &Resumed) {
        let Some(home) = self.home.upgrade() else { return };
        let counter = if resumed.missed.is_some() { &home.resumed } else { &home.holes };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of broadcasts that were kept before those that are made for this class, too. The classes'
    /// `publishing` is held, if there are classes.
    fn kept_before(&self, class: u32) -> u64 {
        self.classes.as_ref().map_or(0, |classes| classes.kept_before(class, &self.members))
    }

    fn audience(&self, is_tracked: bool, class: u32) -> u32 {
        let tracked = if is_tracked { TRACKED } else { 0 };
        match &self.classes {
            Some(_) => tracked | class_bit(class),
            // Without classes, all members that are tracked, or are not, are one group of the writers'.
            None => tracked | !TRACKED,
        }
    }

    fn count_class(&self, class: u32, by: i32) {
        if let Some(classes) = &self.classes {
            // Relaxed: changed and read under `publishing`, or an upper bound.
            classes.members[class as usize].fetch_add(by as u32, Ordering::Relaxed);
            if by > 0 && self.keeps_history() {
                classes.kept_before(class, &self.members);
            }
        }
    }

    /// Sends an event to its recipients, here and then on other nodes, without a lock and without waiting.
    /// Returns the work, in the units of [`budget`].
    pub(crate) fn send(
        &self,
        sender: &str,
        event: &str,
        payload: Payload<'_>,
        recipients: &Recipients<'_>,
    ) -> usize {
        let request_id = uuid();
        let with_id = self.id_key.as_ref().map(|key| with_member(payload, key, &request_id));
        let payload = with_id.as_ref().map_or(payload, OwnedPayload::view);
        let frame = Frame::broadcast(&self.name, event, &request_id, payload);
        self.deliver(sender, event, &frame, recipients);
        if let Some(link) = &self.link {
            link.send(sender, event, payload, &request_id, recipients);
        }
        let recipients = match recipients {
            Recipients::Users(ids) => ids.len(),
            _ => self.members.len(),
        };
        let len = frame.json().len();
        // Relaxed: any of several broadcasts at once may count.
        self.last_round.store(len.saturating_mul(recipients), Ordering::Relaxed);
        self.work_of(len, recipients)
    }

    /// Whether the last broadcast was so large that its sender waits for the writers' backlog.
    pub(crate) fn has_large_rounds(&self) -> bool {
        self.last_round.load(Ordering::Relaxed) >= LARGE_ROUND_BYTES
    }

    /// The work of sending a frame to so many members.
    fn work_of(&self, len: usize, members: usize) -> usize {
        len + deflating_work(len, self.deflates()) + members * budget::PUSH
    }

    /// Whether frames are compressed for some member.
    fn deflates(&self) -> bool {
        self.deflating.load(Ordering::Relaxed) > 0
    }

    /// Is told of each message to the channel.
    pub(crate) fn note_use(&self) {
        self.options.in_use.note(self);
    }

    /// Whether more than allowed waits for the writers.
    pub(crate) fn is_ahead(&self) -> bool {
        let (frames, bytes) = self.members.unread();
        let round = bytes.min(MOST_SENT).saturating_mul(self.members.len());
        let is_long = |round| round > MOST_ROUND_BYTES_ALONE || self.options.in_use.is_shared();
        frames > MOST_UNREAD
            || bytes > MOST_UNREAD_BYTES
            || round > MOST_ROUND_BYTES && is_long(round)
    }

    /// Waits until the writers have read enough. Cancel-safe.
    pub(crate) async fn caught_up(&self) {
        while self.is_ahead() {
            tokio::time::sleep(Duration::from_millis(1)).await;
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
        self.note_use();
        if let Recipients::AllUsers = recipients {
            // Stored before it is sent; `catch_up` depends on this order.
            self.last.set(frame);
        }
        if let Some(classes) = &self.classes {
            return self.deliver_by_class(classes, sender, event, frame, recipients);
        }
        prepare(frame, self.deflates());
        if let Recipients::AllUsers = recipients {
            self.members.publish_keyed(self.events.hash_one(event), frame);
        } else {
            self.members.send(frame, recipients, sender);
        }
    }

    /// The same where classes of recipients may get different frames. A class is asked for while it has members.
    fn deliver_by_class(
        &self,
        classes: &Classes,
        sender: &str,
        event: &str,
        frame: &Frame,
        recipients: &Recipients<'_>,
    ) {
        let (mut decided, mut shared) = (0, 0);
        let mut replaced = SmallVec::<[(u32, Frame); 4]>::new();
        let named = match recipients {
            Recipients::Users(ids) => Some(ids),
            _ => None,
        };
        let (state, _publishing) = loop {
            while let Some(class) = classes.undecided(decided) {
                decided |= class_bit(class);
                match self.hooks.outgoing(class, event, frame) {
                    ClassFrame::Shared => shared |= class_bit(class),
                    ClassFrame::Replaced(frame) => replaced.push((class_bit(class), frame)),
                    ClassFrame::Suppressed => {}
                }
            }
            // The classes of the users that are named, before `publishing`: a join locks in this order.
            let state = named.map(|_| self.state.lock());
            let publishing = classes.publishing.lock();
            // Since the handler was called, some member may have come into another class.
            if classes.undecided(decided).is_none() {
                break (state, publishing);
            }
        };
        let frames = (shared != 0).then(|| (shared, frame.clone())).into_iter().chain(replaced);
        for (bits, frame) in frames {
            prepare(&frame, self.deflates());
            if let (Some(ids), Some(state)) = (named, &state) {
                let ids: SmallVec<[_; 8]> = ids.iter().collect();
                let is_in = |id: &str| {
                    state.members.get(id).is_some_and(|entry| class_bit(entry.class) & bits != 0)
                };
                // Kept for those that are away, too, in the form of whatever class they come back to.
                let ids = ids.iter().map(AsRef::as_ref);
                self.members.publish_to_selected(bits, &frame, ids, is_in);
                continue;
            }
            let (key, except) = match recipients {
                Recipients::AllUsers => (Some(self.events.hash_one(event)), None),
                _ => (None, Some(sender)),
            };
            self.members.publish_selected(bits, key, except, &frame);
        }
    }

    /// Adds a listener that is not a member: it has no presence, and cannot be evicted. `None` if the channel is
    /// closed.
    pub(crate) fn listen(&self, name: &str, outbox: &Outbox) -> Option<Membership> {
        let mut state = self.state.lock();
        let joined = self.members.join_audience(!TRACKED, name, outbox.clone());
        self.attended(&mut state);
        joined.ok().filter(|_| !state.is_closed)
    }

    /// Sends a new member the channel's last broadcast, if there was one and it is kept.
    ///
    /// The newest broadcast is the last one that the member gets, although publishers are not locked out: a
    /// broadcast stored before the second `get` is sent here, and one stored after it is published to a log
    /// that already holds this one. A concurrent broadcast may arrive twice.
    pub(crate) fn catch_up(&self, member: &MemberToken, class: u32) {
        let mut seen = None;
        loop {
            let last = self.last.get();
            match &last {
                Some(frame) if last != seen => {
                    if let Some(form) = self.for_class(class, frame) {
                        prepare(&form, deflates(member.shared.membership.seat()));
                        self.last.send(frame, || {
                            member.answer(form);
                        });
                    }
                }
                _ => return,
            }
            seen = last;
        }
    }

    /// The form of an earlier broadcast for a class.
    fn for_class(&self, class: u32, frame: &Frame) -> Option<Frame> {
        if self.classes.is_none() {
            return Some(frame.clone());
        }
        let message = message_of(frame)?;
        match self.hooks.outgoing(class, message.event(), frame) {
            ClassFrame::Shared => Some(frame.clone()),
            ClassFrame::Replaced(frame) => Some(frame),
            ClassFrame::Suppressed => None,
        }
    }

    /// Sends the tracked members the changes of presence, now or as soon as the [`Pace`] allows.
    fn publish_changes(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        let mut pace = self.pace.lock();
        if self.must_wait(&mut pace, now) {
            return;
        }
        if let Some(frame) = state.roster.take(now, &uuid()) {
            self.publish_now(&mut pace, &frame, now);
        }
    }

    /// The presence list of all nodes has changed, and has `len` bytes: sends all tracked members the frame that `make`
    /// makes, or has it sent later. The node is locked.
    #[cfg(feature = "redis")]
    pub(crate) fn presence_changed(
        self: &Arc<Self>,
        len: usize,
        make: impl FnOnce() -> Option<Frame>,
    ) {
        self.pace.lock().is_outdated = true;
        self.publish_outdated(len, make);
    }

    /// The same if the list has changed since it was sent.
    ///
    /// A list that nodes with other bounds made too long is not sent, or it would cut off every tracked member.
    #[cfg(feature = "redis")]
    pub(crate) fn publish_outdated(
        self: &Arc<Self>,
        len: usize,
        make: impl FnOnce() -> Option<Frame>,
    ) {
        let now = Instant::now();
        let mut pace = self.pace.lock();
        if !pace.is_outdated || self.must_wait(&mut pace, now) {
            return;
        }
        pace.is_outdated = false;
        // Of a list that is too long no frame is made.
        let most = self.options.presence_bytes + MOST_BESIDE_LIST;
        let frame = if len <= most { make() } else { None };
        let is_too_long = frame.as_ref().map_or(len, |frame| frame.json().len()) > most;
        if let Some(frame) = frame.filter(|_| !is_too_long) {
            self.publish_now(&mut pace, &frame, now);
        }
        if is_too_long && let Some(home) = self.home.upgrade() {
            home.lists_too_long.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether no presence frame may be sent yet; a task will send it then.
    fn must_wait(self: &Arc<Self>, pace: &mut Pace, now: Instant) -> bool {
        let Some(until) = pace.quiet_until.filter(|until| now < *until) else { return false };
        if !pace.is_scheduled {
            pace.is_scheduled = true;
            let channel = Arc::downgrade(self);
            self.runtime.spawn(async move {
                tokio::time::sleep_until(until.into()).await;
                if let Some(channel) = channel.upgrade() {
                    channel.publish_held();
                }
            });
        }
        true
    }

    /// Sends what was held back.
    fn publish_held(self: &Arc<Self>) {
        if let Some(link) = &self.link {
            self.pace.lock().is_scheduled = false;
            return link.publish_presence(self);
        }
        let mut state = self.state.lock();
        let now = Instant::now();
        let mut pace = self.pace.lock();
        pace.is_scheduled = false;
        if let Some(frame) = state.roster.take(now, &uuid()) {
            self.publish_now(&mut pace, &frame, now);
        }
    }

    fn publish_now(&self, pace: &mut Pace, presence: &Frame, now: Instant) {
        let len = presence.json().len();
        // Relaxed: only an estimate of work.
        self.presence_len.store(len, Ordering::Relaxed);
        prepare(presence, self.deflates());
        self.members.publish_passing(TRACKED, presence);
        let interval = self.options.presence_interval;
        if !interval.is_zero() {
            let for_len = PACE_OF_PRESENCE * u32::try_from(len).unwrap_or(u32::MAX);
            pace.quiet_until = Some(now + interval.max(for_len));
        }
    }

    /// The work of publishing a change of presence, in the units of [`budget`].
    pub(crate) fn presence_work(&self) -> usize {
        let tracked = self.tracked.load(Ordering::Relaxed);
        self.work_of(self.presence_len.load(Ordering::Relaxed), tracked)
    }

    /// Locks the channel for changes by this user; `None` if the user is not a member, or no longer one.
    pub(crate) fn member<'a>(self: &'a Arc<Self>, user: &'a UserId) -> Option<Member<'a>> {
        let state = self.state.lock();
        state.members.contains_key(user).then(|| Member { channel: self, user, state })
    }

    /// The assigns of a user of this node.
    pub(crate) fn assigns_of(&self, user: &str) -> Option<Assigns> {
        self.state.lock().members.get(user).map(|entry| entry.token.assigns())
    }

    /// Sets the assigns of a user of this node, from those that it has now; `false` if there is no such user.
    ///
    /// # Errors
    /// Those of `change`; or the assigns grow and there is no memory for it: code 503. Nothing is set then.
    pub(crate) fn set_assigns(
        &self,
        user: &str,
        change: impl FnOnce(&Assigns) -> Result<Assigns, PondError>,
    ) -> Result<bool, PondError> {
        let state = self.state.lock();
        let Some(entry) = state.members.get(user) else { return Ok(false) };
        let mut held = entry.token.shared.assigns.lock();
        let (assigns, memory) = &mut *held;
        let changed = change(assigns)?;
        if !memory.set_assigns(self.bytes_of(&changed)) {
            return Err(PondError::unavailable(self.name(), "No memory for these assigns"));
        }
        *assigns = changed;
        if let Some(link) = &self.link {
            link.set_assigns(user, view(assigns));
        }
        Ok(true)
    }

    /// The bytes of what is assigned to a member. A node keeps them once more, for the other nodes.
    fn bytes_of(&self, assigns: &Assigns) -> usize {
        let copies = if self.link.is_some() { 2 } else { 1 };
        copies * assigns_len(assigns)
    }

    /// The presence of a user as JSON, on whatever node.
    pub(crate) fn presence_of(&self, user: &str) -> Option<Box<str>> {
        match &self.link {
            Some(link) => link.presence(user),
            None => self.state.lock().roster.roster().get(user).map(Into::into),
        }
    }

    /// The users of the channel on all nodes. What is long is copied under the lock, and nothing is serialized.
    pub(crate) fn users(&self) -> Users {
        let mut users = Users::default();
        match &self.link {
            Some(link) => link.for_each_user(&mut |id, assigns, presence| {
                let assigns = Some(assigns).filter(|it| it.as_str() != "{}");
                users.add(id, assigns.map(|it| Arc::new(it.into())), presence)
            }),
            None => {
                let state = self.state.lock();
                for (id, entry) in &state.members {
                    if !users.add(id, entry.token.assigns(), state.roster.roster().get(id)) {
                        break;
                    }
                }
            }
        }
        users
    }

    /// The number of connections here: members and listeners.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Ends the membership of a user of this node with a last frame, and calls the handler of leaves; `false` if
    /// there is no such member here.
    pub(crate) fn remove(
        self: &Arc<Self>,
        user: &str,
        last: Option<Frame>,
        reason: LeaveReason,
    ) -> bool {
        let departure = self.state.lock().remove(self, user, last, reason);
        let Some(departure) = departure else { return false };
        trace::event!(DEBUG, channel = self.name(), user, reason = ?departure.reason, "left");
        self.close_if_empty();
        if self.hooks.sees_leaves() {
            self.hooks.left(self, &departure);
        }
        true
    }

    /// Ends the membership of a user, who gets `EVICTED` as the channel's last frame, or asks the user's
    /// node to do so; `false` if no node has such a member.
    pub(crate) fn evict(self: &Arc<Self>, user: &str, reason: &str) -> bool {
        let last = Frame::evicted(&self.name, &uuid(), reason);
        self.remove(user, Some(last), LeaveReason::Evicted(reason.to_owned()))
            || self.link.as_ref().is_some_and(|link| link.evict(user, reason))
    }

    /// Evicts all users of this node.
    pub(crate) fn close(self: &Arc<Self>, reason: &str) {
        let users: Vec<UserId> = self.state.lock().members.keys().cloned().collect();
        for user in users {
            let last = Frame::evicted(&self.name, &uuid(), reason);
            self.remove(&user, Some(last), LeaveReason::Closed);
        }
    }
}

/// The bytes of assigns, where they are kept once.
pub(crate) fn assigns_len(assigns: &Assigns) -> usize {
    assigns.as_ref().map_or(0, |assigns| assigns.view().as_str().len())
}

fn view(assigns: &Assigns) -> Payload<'_> {
    assigns.as_ref().map_or(Payload::EMPTY, |assigns| assigns.view())
}

/// The outcome of a join.
pub(crate) enum Joined {
    Member {
        token: MemberToken,
        /// The bytes that the member had missed, and is sent.
        missed: usize,
    },
    /// The connection has failed.
    Failed,
    /// There is no memory for another member.
    NoMemory,
}

/// A member acting in its channel. Holds the channel's lock.
pub(crate) struct Member<'a> {
    channel: &'a Arc<OpenChannel>,
    user: &'a UserId,
    state: MutexGuard<'a, State>,
}

impl Member<'_> {
    /// Whether the list of all users present stays within the bound with this presence of the member.
    fn has_room_for(&self, presence: Payload<'_>) -> bool {
        let (listed, replaced) = match &self.channel.link {
            Some(link) => (link.presence_len(), link.presence(self.user).map_or(0, |it| it.len())),
            None => {
                let roster = self.state.roster.roster();
                (roster.list_len(), roster.get(self.user).map_or(0, str::len))
            }
        };
        let others = listed.saturating_sub(replaced);
        others + presence.as_str().len() <= self.channel.options.presence_bytes
    }

    pub(crate) fn is_present(&self) -> bool {
        self.state.members.get(self.user).is_some_and(|entry| entry.is_tracked)
    }

    /// Sets the member's presence, and publishes it as a join or, if the member was tracked already, as an
    /// update.
    pub(crate) fn track(&mut self, presence: Payload<'_>) -> Result<(), Untracked> {
        if !self.has_room_for(presence) {
            return Err(Untracked::ListTooLong);
        }
        let State { members, roster, .. } = &mut *self.state;
        let entry = members.get_mut(self.user).ok_or(Untracked::NoMember)?;
        let len = presence.as_str().len();
        if len > entry.presence_len && !self.channel.options.memory.admits_presence() {
            return Err(Untracked::NoMemory);
        }
        entry.set_tracked(self.channel, true);
        entry.set_presence_len(self.channel, len);
        if let Some(link) = &self.channel.link {
            link.set_presence(self.user, presence);
            return Ok(());
        }
        let now = Instant::now();
        if roster.roster().get(self.user).is_some() {
            roster.update(self.user, presence, now);
        } else {
            roster.join(self.user, presence, now);
        }
        self.channel.publish_changes(&mut self.state);
        Ok(())
    }

    /// Ends the member's presence, and publishes the leave to the members still tracked.
    pub(crate) fn untrack(&mut self) -> Result<(), Untracked> {
        if !self.is_present() {
            return Err(Untracked::NotTracked);
        }
        if let Some(entry) = self.state.members.get_mut(self.user) {
            entry.set_tracked(self.channel, false);
        }
        match &self.channel.link {
            Some(link) => link.remove_presence(self.user),
            None => {
                self.state.roster.leave(self.user, Instant::now());
                self.channel.publish_changes(&mut self.state);
            }
        }
        Ok(())
    }

    /// Puts the member into another class of recipients.
    pub(crate) fn set_class(&mut self, class: u32) {
        let channel = self.channel;
        let Some(classes) = &channel.classes else { return };
        let Some(entry) = self.state.members.get_mut(self.user) else { return };
        let _publishing = classes.publishing.lock();
        channel.count_class(entry.class, -1);
        entry.class = class;
        channel.count_class(class, 1);
        entry.set_audience(channel);
    }
}

impl MemberEntry {
    fn set_tracked(&mut self, channel: &OpenChannel, is_tracked: bool) {
        if self.is_tracked == is_tracked {
            return;
        }
        self.is_tracked = is_tracked;
        if !is_tracked {
            self.set_presence_len(channel, 0);
        }
        self.set_audience(channel);
        // Relaxed: only an estimate of work.
        match is_tracked {
            true => channel.tracked.fetch_add(1, Ordering::Relaxed),
            false => channel.tracked.fetch_sub(1, Ordering::Relaxed),
        };
    }

    fn set_presence_len(&mut self, channel: &OpenChannel, len: usize) {
        channel.options.memory.change_presence(self.presence_len, len);
        self.presence_len = len;
    }

    fn set_audience(&self, channel: &OpenChannel) {
        let audience = channel.audience(self.is_tracked, self.class);
        // A connection that has failed is sent nothing in any case.
        let _ = self.token.shared.membership.set_audience(audience);
    }
}

impl State {
    /// Ends a membership with a last frame, after which none of the channel goes to the user; `None` if
    /// there was none.
    fn remove(
        &mut self,
        channel: &Arc<OpenChannel>,
        user: &str,
        last: Option<Frame>,
        reason: LeaveReason,
    ) -> Option<Departure> {
        let (user, mut entry) = self.members.remove_entry(user)?;
        let mut presence = None;
        if channel.hooks.sees_leaves() {
            presence = match &channel.link {
                Some(link) => link.presence(&user),
                None => self.roster.roster().get(&user).map(Into::into),
            };
        }
        // Before the presence of this user ends, which the others are told.
        entry.set_tracked(channel, false);
        match &channel.link {
            Some(link) => link.leave(&user),
            None => {
                if self.roster.leave(&user, Instant::now()) {
                    channel.publish_changes(self);
                }
            }
        }
        let membership = &entry.token.shared.membership;
        channel.count_class(entry.class, -1);
        channel.deflating.fetch_sub(deflates(membership.seat()).into(), Ordering::Relaxed);
        // Last, because the channel must not appear empty before the other nodes are notified of the leave.
        membership.leave(last);
        Some(Departure { user, assigns: entry.token.assigns(), presence, reason })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::mpsc::channel as queue;
    use std::task::{Context, Waker};
    use std::thread;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::{Channels, VISITED_AT_ONCE};
    use crate::{Options, PondServer, Server};

    /// A server, and its table with so many channels.
    fn with_channels(count: usize) -> (Server, Arc<Channels>) {
        let mut pond = PondServer::new();
        pond.endpoint("/", |connect| connect.accept()).channel("/chat/:id", |join| join.accept());
        let server = pond.start(Options::default()).unwrap();
        let any = server.endpoint().channel("/chat/any").unwrap();
        let channels = any.home().unwrap();
        for id in 0..count {
            channels.find_or_open(&format!("/chat/{id}"), &any.hooks, || true).unwrap();
        }
        (server, channels)
    }

    #[tokio::test]
    async fn channels_are_counted_in_pieces() {
        let (_server, channels) = with_channels(8 * VISITED_AT_ONCE);
        assert_eq!(channels.open().len(), 8 * VISITED_AT_ONCE);
        let mut counting = pin!(channels.unread_bytes());
        let mut pauses = 0;
        while counting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            assert!(!channels.table.parts().iter().any(Mutex::is_locked));
            pauses += 1;
        }
        assert!(pauses > 3, "{pauses}");
    }

    #[tokio::test]
    async fn a_scrape_waits_for_no_table() {
        let (server, channels) = with_channels(3);
        let locked: Vec<_> = channels.table.parts().iter().map(Mutex::lock).collect();
        let (scraped, page) = queue();
        let scraping = thread::spawn(move || scraped.send(server.metrics()));
        let page = page.recv_timeout(Duration::from_secs(60)).expect("a page while all is locked");
        assert!(page.contains("\npondwire_channels 3\n"), "{page}");
        drop(locked);
        scraping.join().unwrap().unwrap();
    }
}
