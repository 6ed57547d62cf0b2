//! Clusters that exchange messages: the effect of each message, the bounds on what is stored, and
//! agreement of all nodes in the end, whatever messages were lost or duplicated and whichever nodes
//! died.

mod bounds;
mod distributed;
mod distributed_vectors;
mod evictions;
mod rules;
mod simulation;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pondwire::Payload;
use pondwire::distributed::{
    AssignsChange, Channel, Cluster, ClusterOptions, Effect, Envelope, Message, Origin, User,
};
use pondwire::protocol::DistributedMessageType as Type;

const STARTED_MS: u64 = 1_795_410_477_000;

fn payload(json: &str) -> Payload<'_> {
    Payload::from_json(json).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node with one channel, driven by hand.
struct Node {
    cluster: Cluster,
    chat: Channel,
    now: Instant,
}

impl Node {
    fn new(id: &str) -> Self {
        Self::with(id, ClusterOptions::default())
    }

    fn with(id: &str, options: ClusterOptions) -> Self {
        let now = Instant::now();
        let cluster = Cluster::new(id, options, now, STARTED_MS);
        let chat = cluster.channel("/api/socket", "/chat/42");
        Self { cluster, chat, now }
    }

    /// A node with these users, and no pending effects.
    fn joined(id: &str, users: &[&str]) -> Self {
        let mut node = Self::new(id);
        for user in users {
            assert!(node.cluster.join(&node.chat, user, Payload::EMPTY, node.now));
        }
        node.effects();
        node
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.cluster.poll()).collect()
    }

    /// The types of the published messages, and the other effects.
    fn published(&mut self) -> (Vec<Type>, Vec<Effect>) {
        let (mut types, mut others) = (Vec::new(), Vec::new());
        for effect in self.effects() {
            match effect {
                Effect::Publish { bytes, .. } => {
                    types.push(Envelope::parse(&bytes).unwrap().message().unwrap().kind());
                }
                other => others.push(other),
            }
        }
        (types, others)
    }

    /// Receives a message of another node.
    fn receive(&mut self, node_id: &str, message: &Message<'_>) {
        let origin =
            Origin { node_id, endpoint_name: "api/socket", channel_name: self.chat.name() };
        let bytes = origin.encode("m", STARTED_MS, message);
        self.cluster.receive(self.chat.topic(), &bytes, self.now).unwrap();
    }

    fn receive_joined(&mut self, node_id: &str, user_id: &str, presence: &str) {
        let (presence, assigns) = (payload(presence), Payload::EMPTY);
        let message = Message::UserJoined { user_id: user_id.into(), presence, assigns };
        self.receive(node_id, &message);
    }

    fn receive_left(&mut self, node_id: &str, user_id: &str) {
        self.receive(node_id, &Message::UserLeft { user_id: user_id.into() });
    }

    fn receive_evicted(&mut self, node_id: &str, user_id: &str) {
        self.receive(
            node_id,
            &Message::EvictUser { user_id: user_id.into(), reason: "spam".into() },
        );
    }

    fn receive_presence(&mut self, node_id: &str, user_id: &str, presence: &str) {
        let presence = payload(presence);
        self.receive(node_id, &Message::PresenceUpdate { user_id: user_id.into(), presence });
    }

    fn receive_assigns(&mut self, node_id: &str, user_id: &str, assigns: &str) {
        let change = AssignsChange::All(payload(assigns));
        self.receive(node_id, &Message::AssignsUpdate { user_id: user_id.into(), change });
    }

    /// Receives a list of users, each with its presence.
    fn receive_state(&mut self, node_id: &str, users: &[(&str, &str)]) {
        let users: Vec<_> = users
            .iter()
            .map(|(id, presence)| User {
                id: (*id).into(),
                assigns: Payload::EMPTY,
                presence: payload(presence),
            })
            .collect();
        self.receive(node_id, &Message::StateResponse { users: users[..].into() });
    }

    fn receive_heartbeat(&mut self, node_id: &str) {
        let message = Message::NodeHeartbeat { node_id: node_id.into() };
        let bytes = Origin::heartbeat(node_id).encode("m", STARTED_MS, &message);
        let topic = self.cluster.heartbeat_topic().to_owned();
        self.cluster.receive(&topic, &bytes, self.now).unwrap();
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.cluster.tick(self.now);
    }

    /// Delivers the node's own messages back to it, as a bus does; returns their types.
    fn loop_back(&mut self) -> Vec<Type> {
        let mut types = Vec::new();
        for effect in self.effects() {
            if let Effect::Publish { topic, bytes } = effect {
                types.push(Envelope::parse(&bytes).unwrap().message().unwrap().kind());
                self.cluster.receive(&topic, &bytes, self.now).unwrap();
            }
        }
        types
    }

    /// Reports a loss of messages, and does the work that is due at once.
    fn resync(&mut self) {
        self.cluster.resync(self.now);
        self.advance(Duration::ZERO);
    }

    /// All users of the channel, each with its node.
    fn users(&self) -> BTreeSet<(String, String)> {
        let users = self.cluster.users(&self.chat);
        users.map(|(node, user)| (node.unwrap_or("own").to_owned(), user.id.into_owned())).collect()
    }

    fn presence(&self) -> Vec<&str> {
        self.cluster.presence(&self.chat).collect()
    }
}

fn set(users: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    users.iter().map(|(node, user)| ((*node).to_owned(), (*user).to_owned())).collect()
}
