//! A node's view of its cluster: the users in its channels on other nodes, and which nodes are alive.

mod channel_state;
mod channels;
mod effects;
mod evictions;
mod incoming;
mod local;
mod nodes;
mod sync_requests;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

pub use effects::{Channel, Effect, GetId, UserReply};
pub use nodes::{ClusterLimits, ClusterStats};

use super::{Topics, User};
use crate::frame::Frame;
use crate::limits::Limits;
use crate::payload::Payload;
use channel_state::{ChannelState, Entry, StoredObject};
use channels::Channels;
use effects::Outgoing;
use evictions::Evictions;
use nodes::Nodes;
use sync_requests::SyncTiming;

/// Longer times count as this one, so that adding one to an `Instant` cannot overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest time between two heartbeats.
const SHORTEST: Duration = Duration::from_millis(1);

/// The settings of a [`Cluster`]. The defaults are those of every implementation. Times above a day
/// count as a day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The names of topics.
    pub topics: Topics,
    /// The time between two heartbeats. By default 30 s.
    pub heartbeat_every: Duration,
    /// The time without any message after which a node counts as dead. By default 90 s.
    pub expire_after: Duration,
    /// The time that [`Cluster::get_user`] waits for a reply. By default 0.5 s.
    pub get_timeout: Duration,
    /// The time that nodes have to answer after a [`resync`](Cluster::resync) before unconfirmed users
    /// are dropped; also the shortest time between two requests in a channel, and the time for which a
    /// message about an evicted user may have been sent before the eviction. By default 5 s.
    pub answer_within: Duration,
    /// Bounds on the state that other nodes can make this one store.
    pub limits: ClusterLimits,
    /// Limits on one message. By default 16 MiB, enough for the largest frame of a client in its
    /// envelope, or a list of some 100,000 users.
    pub message_limits: Limits,
    /// Whether only those users of this node see presence that have one themselves: then no
    /// [frame](Effect::Presence) is made in a channel where none has. By default false.
    pub presence_to_present: bool,
    /// Whether a frame with a presence list is made on [request](Cluster::presence_frame) only, for a server that sends
    /// fewer than there are changes: each is a copy of the list, and other nodes decide how many changes there are. By
    /// default false.
    pub presence_on_request: bool,
}

impl ClusterOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            topics: Topics::default(),
            heartbeat_every: Duration::from_secs(30),
            expire_after: Duration::from_secs(90),
            get_timeout: Duration::from_millis(500),
            answer_within: Duration::from_secs(5),
            limits: ClusterLimits::new(),
            message_limits: Limits::new().with_max_bytes(16 << 20),
            presence_to_present: false,
            presence_on_request: false,
        }
    }

    /// Sets [`topics`](Self::topics).
    #[must_use]
    pub fn with_topics(mut self, topics: Topics) -> Self {
        self.topics = topics;
        self
    }

    /// Sets [`heartbeat_every`](Self::heartbeat_every).
    #[must_use]
    pub fn with_heartbeat_every(mut self, heartbeat_every: Duration) -> Self {
        self.heartbeat_every = heartbeat_every;
        self
    }

    /// Sets [`expire_after`](Self::expire_after).
    #[must_use]
    pub fn with_expire_after(mut self, expire_after: Duration) -> Self {
        self.expire_after = expire_after;
        self
    }

    /// Sets [`get_timeout`](Self::get_timeout).
    #[must_use]
    pub fn with_get_timeout(mut self, get_timeout: Duration) -> Self {
        self.get_timeout = get_timeout;
        self
    }

    /// Sets [`answer_within`](Self::answer_within).
    #[must_use]
    pub fn with_answer_within(mut self, answer_within: Duration) -> Self {
        self.answer_within = answer_within;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(mut self, limits: ClusterLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`message_limits`](Self::message_limits).
    #[must_use]
    pub fn with_message_limits(mut self, message_limits: Limits) -> Self {
        self.message_limits = message_limits;
        self
    }

    /// Sets [`presence_to_present`](Self::presence_to_present).
    #[must_use]
    pub fn with_presence_to_present(mut self, presence_to_present: bool) -> Self {
        self.presence_to_present = presence_to_present;
        self
    }

    /// Sets [`presence_on_request`](Self::presence_on_request).
    #[must_use]
    pub fn with_presence_on_request(mut self, presence_on_request: bool) -> Self {
        self.presence_on_request = presence_on_request;
        self
    }
}

impl Default for ClusterOptions {
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

/// One node's part in a cluster: its own users in each channel, the users that other nodes report, and
/// the presence list of both. It does no I/O and reads no clock.
///
/// Report local changes ([`join`](Self::join), [`leave`](Self::leave), …) and received messages
/// ([`receive`](Self::receive)), call [`tick`](Self::tick) at the time that [`due`](Self::due) returns,
/// and after each of these take the actions that [`poll`](Self::poll) returns until it returns `None`.
/// Events that users send do not go through it on the sending side: publish them with
/// [`Origin::encode`](super::Origin::encode), as [`node_id`](Self::node_id), so they never wait for a
/// lock around the cluster.
///
/// - A node is identified by the `sourceNodeId` of its envelopes alone. Any message shows that it is
///   alive; after 90 s without one its users are dropped. If it comes back, it is asked for them with
///   this node's next heartbeat.
/// - A list of users (`STATE_RESPONSE`) is complete for its sender: users of the sender that are not in
///   it are dropped. JavaScript nodes also list users of other nodes, so a listed user is only
///   *secondhand*: it is dropped together with the user that another node had under that id. The nodes
///   are then asked with the next heartbeat, and again after 90 s, when a node that listed a dead node's
///   users has dropped them itself. Until then these may reappear as the listing node's users.
/// - When messages were lost, call [`resync`](Self::resync).
/// - A presence list shows each user once, with the presence that a node reported last.
///
/// A message may arrive before the `USER_JOINED` of its user, by another connection or in an answer: a
/// change of an unknown user makes the user known, unless it is the end of a presence.
///
/// # Evictions
///
/// An `EVICT_USER` concerns a user on every node. JavaScript nodes drop the user when they receive one;
/// they send no `USER_LEFT` when they evict, nor when they kick their own user and send `EVICT_USER`. A
/// cluster drops the user too: when it receives an `EVICT_USER`, when it sends one
/// ([`evict_elsewhere`](Self::evict_elsewhere)), and when the bus delivers that one back:
///
/// - The user is removed from all other nodes at once, and the presence list shows that it left. A user
///   of this node causes an [`Effect::Evict`] and stays until it [`leave`](Self::leave)s. A later
///   `USER_LEFT` or `PRESENCE_REMOVED` changes nothing.
/// - For [`answer_within`](ClusterOptions::answer_within) after that, a message may have been sent
///   before the eviction. During that time a presence, assigns or a list, from whatever node, do not
///   make the user known; all nodes are asked with the next heartbeat in case the user is there.
/// - `USER_JOINED` makes the user known at any time: it came back. But its node may have sent it just
///   before it received the eviction, and then evicted the user silently. So if the join arrives within
///   that time, all nodes are asked with the next heartbeat, and the user is dropped unless a node
///   confirms it in time.
///
/// At most 4,096 evictions are remembered at a time, some 64 bytes each; the oldest is forgotten first.
///
/// A `USER_REMOVE` changes nothing by itself: the user's node sends `USER_LEFT`. A Python node that
/// evicts a user of its own sends only `PRESENCE_REMOVED`: the user stays known here until that node's
/// next list.
///
/// | message of a node | unknown user of the node | listed user | reported user |
/// |---|---|---|---|
/// | `USER_JOINED` | known | known | new data |
/// | `PRESENCE_UPDATE`, `ASSIGNS_UPDATE` | known; if recently evicted: ignored, ask | known | new data |
/// | `PRESENCE_REMOVED` | ignored | known, without presence | without presence |
/// | `STATE_RESPONSE` with the user | listed; if recently evicted: ignored, ask | new data | new data |
/// | `STATE_RESPONSE` without it | | dropped | dropped |
/// | `USER_LEFT`, or silent for 90 s | dropped of nodes that listed it, ask | dropped, also of other nodes that listed it, ask | the same |
/// | `EVICT_USER` | dropped of every node | dropped of every node | dropped of every node |
/// | `USER_REMOVE`, `USER_GET_…`, `USER_MESSAGE` | ignored | ignored | ignored |
///
/// [`ClusterLimits`] bounds the state that other nodes can make it store; [`stats`](Self::stats) counts
/// refusals. The server must limit its own users.
///
/// ```
/// use std::time::Instant;
/// use pondwire::Payload;
/// use pondwire::distributed::{Cluster, ClusterOptions, Effect};
///
/// let now = Instant::now();
/// let node = |id| Cluster::new(id, ClusterOptions::default(), now, 1_795_410_477_000);
/// let (mut a, mut b) = (node("a"), node("b"));
/// let chat = a.channel("/api/socket", "/chat/42");
/// b.join(&chat, "bob", Payload::EMPTY, now);
/// while b.poll().is_some() {} // no other node is subscribed yet
///
/// a.join(&chat, "ann", Payload::EMPTY, now);
/// assert_eq!(a.poll(), Some(Effect::Subscribe(chat.clone())));
/// a.subscribed(chat.topic(), now); // asks the others
/// # let mut delivered = 0;
/// while let Some(effect) = a.poll() {
///     let Effect::Publish { topic, bytes } = effect else { continue };
///     b.receive(&topic, &bytes, now)?;
///     while let Some(Effect::Publish { topic, bytes }) = b.poll() {
///         a.receive(&topic, &bytes, now)?;
///         # delivered += 1;
///     }
/// }
/// # assert_eq!(delivered, 1);
/// let users: Vec<_> = a.users(&chat).collect();
/// assert_eq!(users.len(), 2);
/// for (node, user) in users {
///     assert_eq!(&*user.id, if node == Some(b.node_id()) { "bob" } else { "ann" });
/// }
/// # Ok::<(), pondwire::ValidationError>(())
/// ```
pub struct Cluster {
    options: ClusterOptions,
    nodes: Nodes,
    channels: Channels,
    evictions: Evictions,
    outgoing: Outgoing,
    next_heartbeat: Instant,
    /// Whether to query all channels with the next heartbeat.
    query_everywhere: bool,
    resync_wanted: bool,
    /// The time before which no resync begins.
    next_resync: Instant,
    /// The time before which no channel is serviced.
    next_service: Instant,
    gets: HashMap<String, Get, ahash::RandomState>,
    next_get: u64,
    /// Channels that this node's last user left, and when. If that message got lost, only a resync can
    /// repeat it.
    left: VecDeque<(Channel, Instant)>,
}

/// A [`get_user`](Cluster::get_user) that waits for its reply.
struct Get {
    id: GetId,
    user_id: Box<str>,
    channel: Channel,
    deadline: Instant,
}

impl Cluster {
    /// A node that knows no other yet. Its [`node_id`](Self::node_id) begins with `name`, of up to 200
    /// bytes, which should differ between nodes. `now` and `unix_ms` (milliseconds since 1970) are the
    /// same moment by two clocks; messages carry the latter. The first heartbeat is due at once.
    #[must_use]
    pub fn new(name: &str, options: ClusterOptions, now: Instant, unix_ms: u64) -> Self {
        let options = ClusterOptions {
            heartbeat_every: options.heartbeat_every.clamp(SHORTEST, LONGEST),
            expire_after: options.expire_after.min(LONGEST),
            get_timeout: options.get_timeout.min(LONGEST),
            answer_within: options.answer_within.clamp(SHORTEST, LONGEST),
            ..options
        };
        let heartbeat_topic = options.topics.heartbeat().into();
        Self {
            nodes: Nodes::new(options.limits, options.expire_after),
            outgoing: Outgoing::new(name, heartbeat_topic, now, unix_ms),
            options,
            channels: Channels::default(),
            evictions: Evictions::default(),
            next_heartbeat: now,
            query_everywhere: false,
            resync_wanted: false,
            next_resync: now,
            next_service: now,
            gets: HashMap::default(),
            next_get: 0,
            left: VecDeque::new(),
        }
    }

    const fn timing(&self) -> SyncTiming {
        SyncTiming {
            answer_within: self.options.answer_within,
            expire_after: self.options.expire_after,
        }
    }

    /// A channel of an endpoint, for the other methods. Two or three allocations.
    #[must_use]
    pub fn channel(&self, endpoint: &str, name: &str) -> Channel {
        Channel::new(&self.options.topics, endpoint, name)
    }

    /// The channel of a topic, if this node has users there, or [keeps](Self::keep_open) it open.
    #[must_use]
    pub fn channel_of(&self, topic: &str) -> Option<&Channel> {
        self.channels.by_topic(topic)
    }

    /// The id of this node in envelopes: its name and a part that differs at every start. A node that
    /// came back under its old id would keep its former users alive on other nodes for ever.
    #[must_use]
    pub fn node_id(&self) -> &str {
        self.outgoing.node_id()
    }

    /// The topic for heartbeats of other nodes; subscribe to it from the start.
    #[must_use]
    pub fn heartbeat_topic(&self) -> &str {
        self.outgoing.heartbeat_topic()
    }

    /// The next action to take, in order. Actions wait here without a bound.
    pub fn poll(&mut self) -> Option<Effect> {
        self.outgoing.pop()
    }

    /// All users of a channel in which this node has users, in no particular order. Each item is the
    /// user's node, `None` for this one, and the user. A user on several nodes appears several times.
    pub fn users(&self, channel: &Channel) -> impl Iterator<Item = (Option<&str>, User<'_>)> {
        let entries = self.channels.get(channel).into_iter().flat_map(ChannelState::entries);
        entries.map(|(id, entry)| (self.nodes.id(entry.node), user_of(id, entry)))
    }

    /// A user of a channel: this node's user of that id, or else the one reported last.
    #[must_use]
    pub fn user(&self, channel: &Channel, user_id: &str) -> Option<User<'_>> {
        let (id, entry) = self.channels.get(channel)?.best(user_id)?;
        Some(user_of(id, entry))
    }

    /// The presence of every user of a channel as JSON, over all nodes, each user once, in the order of
    /// appearance.
    pub fn presence(&self, channel: &Channel) -> impl Iterator<Item = &str> {
        self.channels.get(channel).into_iter().flat_map(|state| state.roster.iter())
    }

    /// The length of the channel's presence list in a frame, in bytes, over all nodes.
    #[must_use]
    pub fn presence_len(&self, channel: &Channel) -> usize {
        self.channels.get(channel).map_or(0, |state| state.roster.list_len())
    }

    /// The frame with a channel's presence list, over all nodes, and its last change; `None` before the first change.
    /// Kept until the list changes; making it costs a copy of the list.
    pub fn presence_frame(&mut self, channel: &Channel) -> Option<Frame> {
        let id = self.outgoing.fresh_uuid();
        self.channels.get_mut(channel)?.roster.frame(&id)
    }

    /// The ids of the live other nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.alive()
    }

    /// The amount of state that is stored, and the number of refusals.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        self.nodes.stats
    }
}

fn user_of<'a>(id: &'a str, entry: &'a Entry) -> User<'a> {
    User {
        id: id.into(),
        assigns: entry.assigns.payload(),
        presence: entry.presence.as_ref().map_or(Payload::EMPTY, StoredObject::payload),
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("node_id", &self.outgoing.node_id())
            .field("channels", &self.channels.len())
            .field("stats", &self.nodes.stats)
            .finish()
    }
}
