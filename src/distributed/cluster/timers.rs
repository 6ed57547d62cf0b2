//! Timed work: heartbeats, expired nodes, due requests and unanswered ones.

use std::time::{Duration, Instant};

use super::Cluster;
use super::effects::{Channel, Effect};
use super::nodes::NodeIndex;
use super::sync_requests::SyncKind;
use crate::distributed::Message;

/// The most channels serviced in one tick.
const CHANNELS_PER_TICK: usize = 256;

/// The pause after a tick that serviced that many channels.
const PAUSE: Duration = Duration::from_millis(10);

impl Cluster {
    /// The time at which [`tick`](Self::tick) must be called next. Looks at every node and every open
    /// [`get_user`](Self::get_user).
    #[must_use]
    pub fn due(&self) -> Instant {
        let gets = self.gets.values().map(|get| get.deadline).min();
        let resync = self.resync_wanted.then_some(self.next_resync);
        let channels = self.channels.next().map(|at| at.max(self.next_service));
        let others = [self.nodes.next_expiry(), resync, channels, gets];
        others.into_iter().flatten().fold(self.next_heartbeat, Instant::min)
    }

    /// Does the work that is due at `now`: sends heartbeats, drops the users of nodes that were silent
    /// for too long, synchronises channels, and gives up unanswered [`get_user`](Self::get_user)s.
    pub fn tick(&mut self, now: Instant) {
        if self.next_heartbeat <= now {
            self.outgoing.publish_heartbeat(now);
            self.next_heartbeat = now + self.options.heartbeat_every;
            self.request_where_marked(now);
        }
        let dead = self.nodes.expire(now);
        if !dead.is_empty() {
            self.drop_nodes(&dead);
        }
        if self.resync_wanted && self.next_resync <= now {
            self.begin_resync(now);
        }
        if self.next_service <= now {
            let due = self.channels.due(now, CHANNELS_PER_TICK);
            if due.len() == CHANNELS_PER_TICK {
                self.next_service = now + PAUSE;
            }
            for channel in &due {
                self.service_channel(channel, now);
            }
        }
        let overdue = self.gets.extract_if(|_, get| get.deadline <= now).map(|(_, get)| get.id);
        let mut overdue: Vec<_> = overdue.collect();
        overdue.sort_unstable();
        for get in overdue {
            self.outgoing.push(Effect::User { get, user: None });
        }
    }

    /// Turns the channels' marks into requests, at most one in each channel between two heartbeats.
    fn request_where_marked(&mut self, now: Instant) {
        let timing = self.timing();
        let everywhere = std::mem::take(&mut self.query_everywhere);
        for state in self.channels.iter_mut() {
            let unknown = state.take_unknown_requesters();
            state.sync.on_heartbeat(everywhere || unknown, now, timing);
        }
        self.channels.schedule_all();
    }

    /// Requests the synchronisation that [`resync`](Self::resync) promises, and announces again that
    /// the channels that this node has left are empty.
    fn begin_resync(&mut self, now: Instant) {
        self.resync_wanted = false;
        let within = self.options.answer_within;
        self.next_resync = now + within + self.outgoing.jitter(within / 4);
        for state in self.channels.iter_mut() {
            state.sync.request(SyncKind::Resync, now);
        }
        self.channels.schedule_all();
        self.prune_left(now);
        for (channel, _) in &self.left {
            if self.channels.get(channel).is_none() {
                let message = Message::StateResponse { users: (&[][..]).into() };
                self.outgoing.publish(channel, now, &message);
            }
        }
        self.outgoing.publish_heartbeat(now);
    }

    /// Does the work that is due in one channel.
    fn service_channel(&mut self, channel: &Channel, now: Instant) {
        let timing = self.timing();
        let Some(state) = self.channels.get_mut(channel) else { return };
        let due = state.sync.service(now, timing);
        if due.drop_unconfirmed {
            let (dropped, changed) = state.drop_unconfirmed(&mut self.nodes);
            if dropped {
                // Their node may be alive and have received the request too late.
                state.sync.request(SyncKind::Query, now);
            }
            if changed {
                self.push_presence(channel);
            }
        }
        if due.answer {
            self.send_state(channel, now);
        }
        match due.request {
            Some(kind) => self.send_state_request(channel, kind, now),
            None => self.channels.schedule(channel),
        }
    }

    /// Drops the users of dead nodes. Looks at every user once.
    fn drop_nodes(&mut self, dead: &[NodeIndex]) {
        let channels: Vec<Channel> = self.channels.iter().map(|s| s.channel.clone()).collect();
        for channel in &channels {
            let Some(state) = self.channels.get_mut(channel) else { continue };
            let users = state.users_of_nodes(|node| dead.binary_search(&node).is_ok());
            for (node, user_id) in &users {
                state.remove_departed(&mut self.nodes, *node, user_id);
            }
            self.refresh_presence(channel, users.iter().map(|(_, id)| &**id));
        }
    }
}
