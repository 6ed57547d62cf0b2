//! What is to be done, in order, and the ids and times that messages carry.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::effect::{Channel, Effect};
use crate::distributed::{Message, Origin};

pub(super) struct Outgoing {
    node_id: Box<str>,
    heartbeat_topic: Arc<str>,
    /// When the cluster was made, by both clocks.
    started: Instant,
    started_ms: u64,
    /// Ids so far.
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
        // Two nodes of one name may start at the same moment.
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

    pub(super) fn next(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// An id that no other message of any node has: its node, as it was started, and a number.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{:x}", self.node_id, self.ids)
    }

    /// An id for the eyes of users: of the form of a UUID, and tells nothing of nodes.
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

    /// Any time up to `longest`, another one on each node and each time.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        let random = self.random.hash_one(self.ids);
        longest.mul_f64(f64::from(random as u32) / f64::from(u32::MAX))
    }

    fn timestamp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Returns the message's id.
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

    /// The same where that makes no more than `max` bytes; else nothing, and `false`.
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
