//! What is to be done, in order, and the ids and times that messages carry.

use std::collections::VecDeque;
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
    effects: VecDeque<Effect>,
}

impl Outgoing {
    pub(super) fn new(
        node_id: &str,
        heartbeat_topic: Arc<str>,
        started: Instant,
        started_ms: u64,
    ) -> Self {
        let node_id = node_id.into();
        Self { node_id, heartbeat_topic, started, started_ms, ids: 0, effects: VecDeque::new() }
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

    /// An id that no other message of any node has: its node, when that started, and a number.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{:x}-{:x}", self.node_id, self.started_ms, self.ids)
    }

    /// Any time up to `longest`, another one on each node and each time.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        let random = ahash::RandomState::with_seeds(1, 2, 3, self.ids).hash_one(&self.node_id);
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
        let (id, timestamp) = (self.fresh_id(), self.timestamp(now));
        let origin = Origin {
            node_id: &self.node_id,
            endpoint_name: channel.endpoint_name(),
            channel_name: channel.name(),
        };
        let bytes = origin.encode(&id, timestamp, message);
        self.push(Effect::Publish { topic: Arc::clone(channel.topic()), bytes });
        id
    }

    pub(super) fn publish_heartbeat(&mut self, now: Instant) {
        let (id, timestamp) = (self.fresh_id(), self.timestamp(now));
        let message = Message::NodeHeartbeat { node_id: (&*self.node_id).into() };
        let bytes = Origin::heartbeat(&self.node_id).encode(&id, timestamp, &message);
        self.push(Effect::Publish { topic: Arc::clone(&self.heartbeat_topic), bytes });
    }
}
