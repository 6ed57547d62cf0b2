//! The state of a node in a cluster: who is in its channels on other nodes, and which nodes live.

mod asking;
mod channels;
mod effect;
mod evictions;
mod incoming;
mod kept;
mod local;
mod nodes;
mod outgoing;
mod state;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

pub use effect::{Channel, Effect, GetId, RemoteUser};
pub use nodes::{ClusterLimits, ClusterStats};

use super::{Topics, UserState};
use crate::limits::Limits;
use crate::payload::Payload;
use asking::Pace;
use channels::Channels;
use evictions::Evictions;
use nodes::Nodes;
use outgoing::Outgoing;
use state::{Entry, State};

/// Times that are longer count as this one, so that every moment can be told.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A heartbeat is due no sooner than this after the last.
const SHORTEST: Duration = Duration::from_millis(1);

/// How a [`Cluster`] behaves. The default is what every implementation does. Times count up to a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The names of topics.
    pub topics: Topics,
    /// How often this node says that it is alive. By default every 30 s.
    pub heartbeat_every: Duration,
    /// After how long without any message a node is taken for dead. By default 90 s.
    pub expire_after: Duration,
    /// How long [`Cluster::get_user`] waits. By default 0.5 s.
    pub get_timeout: Duration,
    /// How long nodes have to answer after a [`resync`](Cluster::resync), before whom they have not
    /// named is forgotten, how long a channel rests after each question, and how long what is told of
    /// an evicted user may be older than that. By default 5 s.
    pub answer_within: Duration,
    /// What other nodes may make this one keep.
    pub limits: ClusterLimits,
    /// What a message may measure. By default 16 MiB: a client's largest frame and its envelope, or
    /// the list of some 100,000 users.
    pub message_limits: Limits,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            topics: Topics::default(),
            heartbeat_every: Duration::from_secs(30),
            expire_after: Duration::from_secs(90),
            get_timeout: Duration::from_millis(500),
            answer_within: Duration::from_secs(5),
            limits: ClusterLimits::default(),
            message_limits: Limits { max_bytes: 16 << 20, ..Limits::default() },
        }
    }
}

/// One node's part in a cluster: its users in each channel, those of other nodes as they tell of
/// them, and the presence list of both. It does no I/O and knows no clock.
///
/// Tell it what happens here ([`join`](Self::join), [`leave`](Self::leave), …) and what a bus
/// received ([`receive`](Self::receive)), call [`tick`](Self::tick) when [`due`](Self::due) says, and
/// after each of these do what [`poll`](Self::poll) gives, until it gives nothing more. Events that
/// users send need it only on the side that receives them: publish them by
/// [`Origin::encode`](super::Origin::encode), as [`node_id`](Self::node_id), and never wait for a lock.
///
/// - A node is known by the id in its envelopes, `sourceNodeId`, alone. Any message of it is a sign
///   of life; after 90 s without one its users are dropped. If it comes back, it is asked for them
///   with our next heartbeat.
/// - A list of users (`STATE_RESPONSE`) is the truth about the node that sent it: who is not in it
///   is dropped. JavaScript nodes list those of others too, which is hearsay: whom a node has only
///   listed is dropped with the user that another node had by that id, and the others are asked again,
///   with the next heartbeat and after 90 s, when the node that listed a dead one's users has dropped
///   them itself. Until then they may come back as that node's.
/// - When messages were lost, [`resync`](Self::resync).
/// - Presence lists show a user once, as the node has it that told of it last.
///
/// A message may overtake the `USER_JOINED` of its user, on another connection or out of an answer:
/// a change of a user who is not known makes it known, but for the end of its presence.
///
/// # Evictions
///
/// An `EVICT_USER` goes for a user on every node. JavaScript nodes drop the user when they hear it; they
/// send no `USER_LEFT` when they evict, nor when they kick a user of their own and send `EVICT_USER`.
/// So does a cluster when it receives one, when it sends one
/// ([`evict_elsewhere`](Self::evict_elsewhere)), and when that one comes back by the bus:
///
/// - What other nodes told of the user is forgotten at once, and the presence list shows that it left.
///   A user of this node gets an [`Effect::Evict`], and stays until it [`leave`](Self::leave)s. A
///   `USER_LEFT` or `PRESENCE_REMOVED` that follows changes nothing.
/// - For [`answer_within`](ClusterOptions::answer_within) after that, a message may be older than the
///   eviction. A presence, assigns or a list, from whatever node, do not make the user known then; all
///   nodes are asked with the next heartbeat, in case it is there all the same.
/// - `USER_JOINED` makes the user known at any time: it came back. A node may have sent it just before
///   it heard of the eviction, and evicted the user in silence: if the join comes within that time, all
///   nodes are asked with the next heartbeat, and the user is forgotten if no node names it in time.
///
/// At most 4,096 evictions are remembered at a time, some 64 bytes each; the oldest goes first.
///
/// A `USER_REMOVE` changes nothing by itself: the node that obeys it sends `USER_LEFT`. A Python node
/// that evicts a user of its own sends only `PRESENCE_REMOVED`: the user is known here until that node's
/// next list.
///
/// | a node says | of a user that it did not name | that it listed | that it told of |
/// |---|---|---|---|
/// | `USER_JOINED` | known | known | new data |
/// | `PRESENCE_UPDATE`, `ASSIGNS_UPDATE` | known; evicted lately: nothing, ask | known | new data |
/// | `PRESENCE_REMOVED` | nothing | known, without presence | without presence |
/// | `STATE_RESPONSE` with it | listed; evicted lately: nothing, ask | new data | new data |
/// | `STATE_RESPONSE` without it | | forgotten | forgotten |
/// | `USER_LEFT`, or nothing for 90 s | forgotten of nodes that listed it, ask | forgotten, also of others that listed it, ask | the same |
/// | `EVICT_USER` | forgotten of every node | forgotten of every node | forgotten of every node |
/// | `USER_REMOVE`, `USER_GET_…`, `USER_MESSAGE` | nothing | nothing | nothing |
///
/// What other nodes make it keep is bounded by [`ClusterLimits`]; [`stats`](Self::stats) counts what
/// was refused. Its own users are the server's to limit.
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
/// while b.poll().is_some() {} // nobody listens yet
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
    /// To be asked with the next heartbeat, in every channel.
    ask_everywhere: bool,
    resync_wanted: bool,
    /// No resync before.
    next_resync: Instant,
    /// No channel is looked at before.
    next_portion: Instant,
    gets: HashMap<String, Get, ahash::RandomState>,
    next_get: u64,
    /// Channels that the last user left, and when: nobody would say so again if that got lost.
    left: VecDeque<(Channel, Instant)>,
}

/// A question that waits for its answer.
struct Get {
    id: GetId,
    user_id: Box<str>,
    channel: Channel,
    deadline: Instant,
}

impl Cluster {
    /// A node alone. Its [`node_id`](Self::node_id) begins with `name`, which should be another one on
    /// every node, of up to 200 bytes; `now` and `unix_ms`, milliseconds since 1970, are the same
    /// moment by two clocks: messages carry the second. The first heartbeat is due at once.
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
            ask_everywhere: false,
            resync_wanted: false,
            next_resync: now,
            next_portion: now,
            gets: HashMap::default(),
            next_get: 0,
            left: VecDeque::new(),
        }
    }

    fn pace(&self) -> Pace {
        let answer_within = self.options.answer_within;
        Pace { answer_within, longest: self.options.expire_after.max(answer_within) }
    }

    /// A channel of an endpoint, to be named to the other methods. Two allocations or three.
    #[must_use]
    pub fn channel(&self, endpoint: &str, name: &str) -> Channel {
        Channel::new(&self.options.topics, endpoint, name)
    }

    /// The id of this node in envelopes: its name, and what makes it another one at every start. A node
    /// that comes back under an old id would stand for the users that it had, whom nobody would ever
    /// drop.
    #[must_use]
    pub fn node_id(&self) -> &str {
        self.outgoing.node_id()
    }

    /// The topic to subscribe to from the start, for the life signs of other nodes.
    #[must_use]
    pub fn heartbeat_topic(&self) -> &str {
        self.outgoing.heartbeat_topic()
    }

    /// The next thing to do, in the order in which it came up. They wait here without a bound.
    pub fn poll(&mut self) -> Option<Effect> {
        self.outgoing.next()
    }

    /// Everyone in a channel in which this node has users, by no order: the node that has the user,
    /// `None` for this one, and what it told. A user whom several nodes have comes several times.
    pub fn users(&self, channel: &Channel) -> impl Iterator<Item = (Option<&str>, UserState<'_>)> {
        let entries = self.channels.get(channel).into_iter().flat_map(State::entries);
        entries.map(|(id, entry)| (self.nodes.id(entry.node), user_state(id, entry)))
    }

    /// What is known of a user of a channel: by this node, or by the one that told of it last.
    #[must_use]
    pub fn user(&self, channel: &Channel, user_id: &str) -> Option<UserState<'_>> {
        let (id, entry) = self.channels.get(channel)?.best(user_id)?;
        Some(user_state(id, entry))
    }

    /// Everyone's presence in a channel as JSON, of all nodes, each user once, in the order in which
    /// they appeared here.
    pub fn presence(&self, channel: &Channel) -> impl Iterator<Item = &str> {
        self.channels.get(channel).into_iter().flat_map(|state| state.roster.iter())
    }

    /// The ids of the other nodes that are alive.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.alive()
    }

    /// What is known and what was refused.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        self.nodes.stats
    }
}

fn user_state<'a>(id: &'a str, entry: &'a Entry) -> UserState<'a> {
    UserState {
        id: id.into(),
        assigns: entry.assigns.payload(),
        presence: entry.presence.as_ref().map_or(Payload::EMPTY, kept::Kept::payload),
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
