//! What a cluster wants its server to do.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::distributed::{Topics, endpoint_name};
use crate::frame::Frame;
use crate::protocol::ChannelReceivers;

/// A channel of an endpoint, and the topic that its nodes share. Cheap to clone; equal by endpoint,
/// name and topic.
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

    /// The topic of a bus to subscribe and publish to.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        &self.0.topic
    }
}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Two of one topic are rare.
        self.0.topic.hash(state);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.topic).finish()
    }
}

/// A user that another node holds, with its data as JSON objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUser {
    /// The node that answered.
    pub node_id: Box<str>,
    /// What that server keeps about the user.
    pub assigns: Box<str>,
    /// What everyone may see; `{}` for a user without presence.
    pub presence: Box<str>,
}

/// The question that a [`Cluster::get_user`](super::Cluster::get_user) asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GetId(pub(super) u64);

/// What a [`Cluster`](super::Cluster) wants done; see [`poll`](super::Cluster::poll).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Publish these bytes to that topic.
    Publish {
        /// The topic, of a channel or of heartbeats.
        topic: Arc<str>,
        /// An encoded message.
        bytes: Vec<u8>,
    },
    /// The first user of this node joined: subscribe to the channel's topic, and call
    /// [`subscribed`](super::Cluster::subscribed) with it once what others publish arrives.
    Subscribe(Channel),
    /// The last user of this node left: unsubscribe from the channel's topic.
    Unsubscribe(Channel),
    /// An event of another node for the users of this one.
    Deliver {
        /// Where.
        channel: Channel,
        /// The frame for them.
        frame: Frame,
        /// For whom of them it is: of a list, those whom this node has.
        receivers: ChannelReceivers<'static>,
        /// Who sent it, for all but the sender.
        from_user_id: Box<str>,
    },
    /// The presence list of the channel, of all nodes, changed: send this frame to the users of this
    /// node that see presence.
    ///
    /// Each message that changes it makes one, and each holds the whole list: a server with large
    /// channels that others change often may keep the last of a moment and send only that.
    Presence {
        /// Where.
        channel: Channel,
        /// Everyone who is there now, and what changed last.
        frame: Frame,
    },
    /// Another node evicts a user of this one: tell it, and then let it
    /// [`leave`](super::Cluster::leave). The others have forgotten it already.
    Evict {
        /// Where.
        channel: Channel,
        /// Whom.
        user_id: Box<str>,
        /// Why; may be empty.
        reason: Box<str>,
    },
    /// Another node removes a user of this one: let it [`leave`](super::Cluster::leave).
    Remove {
        /// Where.
        channel: Channel,
        /// Whom.
        user_id: Box<str>,
    },
    /// The answer to a [`get_user`](super::Cluster::get_user).
    User {
        /// The question.
        get: GetId,
        /// The user; `None` when no node answered in time.
        user: Option<RemoteUser>,
    },
}
