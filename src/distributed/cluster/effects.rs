//! The actions that a cluster asks its server to take, and the queue in which they wait.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::distributed::{Message, Origin, Topics, endpoint_name};
use crate::frame::Frame;
use crate::protocol::Recipients;

/// A channel of an endpoint, and its topic on the bus. Cheap to clone. Channels are equal when
/// endpoint, name and topic are.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel(Arc<Names>);

#[derive(PartialEq, Eq)]
struct Names {
    endpoint_name: Box<str>,
    name: Box<str>,
    topic: Arc<str>,
}

impl Channel {
    pub(super) fn new(topics: &Topics, endpoint: &str, name: &str) -> Self {
        Self(Arc::new(Names {
            endpoint_name: endpoint_name(endpoint).into(),
            name: name.into(),
            topic: topics.channel(endpoint, name).into(),
        }))
    }

    /// The endpoint's path without leading slashes.
    #[must_use]
    pub fn endpoint_name(&self) -> &str {
        &self.0.endpoint_name
    }

    /// The channel's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The channel's topic on the bus.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.0.topic
    }
}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few channels share a topic.
        self.0.topic.hash(state);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.topic).finish()
    }
}

/// Another node's answer about one of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserReply {
    /// The node that answered.
    pub node_id: Box<str>,
    /// The server's private data about the user, a JSON object.
    pub assigns: Box<str>,
    /// The data that every user may see, a JSON object; `{}` for a user without presence.
    pub presence: Box<str>,
}

/// Identifies the request of a [`Cluster::get_user`](super::Cluster::get_user).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GetId(pub(super) u64);

/// An action that the server must take for a [`Cluster`](super::Cluster); see
/// [`poll`](super::Cluster::poll).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Publish these bytes to that topic.
    Publish {
        /// The topic of a channel, or that for heartbeats.
        topic: Arc<str>,
        /// An encoded message.
        bytes: Vec<u8>,
    },
    /// The first user of this node joined: subscribe to the channel's topic. Once its messages
    /// arrive, call [`subscribed`](super::Cluster::subscribed) with the topic.
    Subscribe(Channel),
    /// The last user of this node left: unsubscribe from the channel's topic.
    Unsubscribe(Channel),
    /// An event of another node for the users of this one.
    Deliver {
        /// The channel.
        channel: Channel,
        /// The frame for them.
        frame: Frame,
        /// The recipients. A list holds only users of this node, unless the channel is
        /// [kept open](super::Cluster::keep_open): then it holds all, because users that are away may come back to
        /// this node.
        recipients: Recipients<'static>,
        /// The sender's id, for [`Recipients::AllExceptSender`].
        from_user_id: Box<str>,
    },
    /// The channel's presence list, which covers all nodes, changed: send this frame to the users of
    /// this node that see presence.
    ///
    /// Each change makes a frame with the whole list. A server with large channels may coalesce them:
    /// keep the last frame for a moment and send only that one.
    Presence {
        /// The channel.
        channel: Channel,
        /// The whole list, and the last change.
        frame: Frame,
    },
    /// The same with [`presence_on_request`](super::ClusterOptions::presence_on_request): take the frame from
    /// [`presence_frame`](super::Cluster::presence_frame) when it is to be sent.
    PresenceChanged(Channel),
    /// Another node evicts a user of this one: notify the user, then call
    /// [`leave`](super::Cluster::leave). The other nodes have removed it already.
    Evict {
        /// The channel.
        channel: Channel,
        /// The user's id.
        user_id: Box<str>,
        /// The reason; may be empty.
        reason: Box<str>,
    },
    /// Another node removes a user of this one: call [`leave`](super::Cluster::leave).
    Remove {
        /// The channel.
        channel: Channel,
        /// The user's id.
        user_id: Box<str>,
    },
    /// The answer to a [`get_user`](super::Cluster::get_user).
    User {
        /// The request.
        get: GetId,
        /// The reply; `None` when no node answered in time.
        user: Option<UserReply>,
    },
}

/// The effects that wait to be polled, and the ids and times of this node's messages.
pub(super) struct Outgoing {
    node_id: Box<str>,
    heartbeat_topic: Arc<str>,
    /// The moment of creation, by both clocks.
    started: Instant,
    started_ms: u64,
    /// The number of ids made so far.
    ids: u64,
    random: RandomState,
    effects: VecDeque<Effect>,
}

impl Outgoing {
    pub(super) fn new(
        name: &str,
        heartbeat_topic: Arc<str>,
        started: Instant,
        started_ms: u64,
    ) -> Self {
        let random = RandomState::new();
        // The random part distinguishes nodes that have the same name and start at the same moment.
        let node_id = format!("{name}-{started_ms:x}-{:08x}", random.hash_one(name) as u32);
        let (node_id, effects) = (node_id.into(), VecDeque::new());
        Self { node_id, heartbeat_topic, started, started_ms, ids: 0, random, effects }
    }

    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }

    pub(super) const fn heartbeat_topic(&self) -> &Arc<str> {
        &self.heartbeat_topic
    }

    pub(super) fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// A message id that is unique in the cluster: this node's id and a number.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{:x}", self.node_id, self.ids)
    }

    /// An id for clients: in the form of a UUID, it reveals nothing about nodes.
    pub(super) fn fresh_uuid(&mut self) -> String {
        self.ids += 1;
        let (high, low) = (self.random.hash_one(self.ids), self.random.hash_one(!self.ids));
        let (time, variant) = (high >> 32, 0x8000 | low >> 50);
        let (middle, version) = (high >> 16 & 0xffff, 0x4000 | high & 0x0fff);
        format!(
            "{time:08x}-{middle:04x}-{version:04x}-{variant:04x}-{:012x}",
            low & 0xffff_ffff_ffff
        )
    }

    /// A random time up to `longest`.
    pub(super) fn jitter(&self, longest: Duration) -> Duration {
        let random = self.random.hash_one(self.ids);
        longest.mul_f64(f64::from(random as u32) / f64::from(u32::MAX))
    }

    fn timestamp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Publishes a message to a channel; returns its id.
    pub(super) fn publish(
        &mut self,
        channel: &Channel,
        now: Instant,
        message: &Message<'_>,
    ) -> String {
        let (id, bytes) = self.encode(channel, now, message);
        self.push(Effect::Publish { topic: Arc::clone(channel.topic()), bytes });
        id
    }

    /// Publishes a message if it has at most `max` bytes; else does nothing and returns `false`.
    pub(super) fn publish_within(
        &mut self,
        max: usize,
        channel: &Channel,
        now: Instant,
        message: &Message<'_>,
    ) -> bool {
        let (_, bytes) = self.encode(channel, now, message);
        let fits = bytes.len() <= max;
        if fits {
            self.push(Effect::Publish { topic: Arc::clone(channel.topic()), bytes });
        }
        fits
    }

    fn encode(
        &mut self,
        channel: &Channel,
        now: Instant,
        message: &Message<'_>,
    ) -> (String, Vec<u8>) {
        let (id, timestamp) = (self.fresh_id(), self.timestamp(now));
        let origin = Origin {
            node_id: &self.node_id,
            endpoint_name: channel.endpoint_name(),
            channel_name: channel.name(),
        };
        let bytes = origin.encode(&id, timestamp, message);
        (id, bytes)
    }

    pub(super) fn publish_heartbeat(&mut self, now: Instant) {
        let (id, timestamp) = (self.fresh_id(), self.timestamp(now));
        let message = Message::NodeHeartbeat { node_id: (&*self.node_id).into() };
        let bytes = Origin::heartbeat(&self.node_id).encode(&id, timestamp, &message);
        self.push(Effect::Publish { topic: Arc::clone(&self.heartbeat_topic), bytes });
    }
}
