//! What time brings: heartbeats, nodes that die, questions to be asked and those that nobody answers.

use std::time::{Duration, Instant};

use super::Cluster;
use super::asking::Wish;
use super::effect::{Channel, Effect};
use super::nodes::NodeIndex;
use crate::distributed::Message;

/// How many channels are looked at in one go, and how long the others have to wait then.
const PORTION: usize = 256;
const PAUSE: Duration = Duration::from_millis(10);

impl Cluster {
    /// When [`tick`](Self::tick) has something to do next. Looks at every node and open question.
    #[must_use]
    pub fn due(&self) -> Instant {
        let gets = self.gets.values().map(|get| get.deadline).min();
        let resync = self.resync_wanted.then_some(self.next_resync);
        let asking = self.channels.next().map(|at| at.max(self.next_portion));
        let others = [self.nodes.next_expiry(), resync, asking, gets];
        others.into_iter().flatten().fold(self.next_heartbeat, Instant::min)
    }

    /// Does what is due by `now`: says that this node is alive, drops the users of nodes that were not
    /// heard for too long, asks where something is in doubt, gives up questions.
    pub fn tick(&mut self, now: Instant) {
        if self.next_heartbeat <= now {
            self.outgoing.publish_heartbeat(now);
            self.next_heartbeat = now + self.options.heartbeat_every;
            self.ask_where_marked(now);
        }
        let dead = self.nodes.expire(now);
        if !dead.is_empty() {
            self.bury(&dead);
        }
        if self.resync_wanted && self.next_resync <= now {
            self.begin_resync(now);
        }
        if self.next_portion <= now {
            let due = self.channels.due(now, PORTION);
            if due.len() == PORTION {
                self.next_portion = now + PAUSE;
            }
            for channel in &due {
                self.look_at(channel, now);
            }
        }
        let overdue = self.gets.extract_if(|_, get| get.deadline <= now).map(|(_, get)| get.id);
        let mut overdue: Vec<_> = overdue.collect();
        overdue.sort_unstable();
        for get in overdue {
            self.outgoing.push(Effect::User { get, user: None });
        }
    }

    /// At most once between two heartbeats, however often it was marked.
    fn ask_where_marked(&mut self, now: Instant) {
        let everywhere = std::mem::take(&mut self.ask_everywhere);
        for state in self.channels.iter_mut() {
            let is_late = state.ask_late.take_if(|at| *at <= now).is_some();
            let is_marked = std::mem::take(&mut state.ask) | state.take_unknown_askers();
            if std::mem::take(&mut state.verify) {
                state.asking.wish(Wish::Verify, now);
            } else if is_marked | is_late | everywhere {
                state.asking.wish(Wish::Ask, now);
            }
            if std::mem::take(&mut state.ask_again) {
                state.ask_late.get_or_insert(now + self.options.expire_after);
            }
        }
        self.channels.schedule_all();
    }

    /// Wishes for what [`resync`](Self::resync) promises, and says what no channel is left to say.
    fn begin_resync(&mut self, now: Instant) {
        self.resync_wanted = false;
        let within = self.options.answer_within;
        self.next_resync = now + within + self.outgoing.up_to(within / 4);
        for state in self.channels.iter_mut() {
            state.asking.wish(Wish::Resync, now);
        }
        self.channels.schedule_all();
        self.forget_left(now);
        for (channel, _) in &self.left {
            if self.channels.get(channel).is_none() {
                let message = Message::StateResponse { users: (&[][..]).into() };
                self.outgoing.publish(channel, now, &message);
            }
        }
        self.outgoing.publish_heartbeat(now);
    }

    fn look_at(&mut self, channel: &Channel, now: Instant) {
        let pace = self.pace();
        let Some(state) = self.channels.get_mut(channel) else { return };
        let due = state.asking.take_due(now, pace);
        if due.forget {
            let (forgotten, is_shown) = state.drop_unconfirmed(&mut self.nodes);
            if forgotten {
                // By nodes that live: one may have heard the question too late.
                state.asking.wish(Wish::Ask, now);
            }
            if is_shown {
                self.send_presence(channel);
            }
        }
        if due.answer {
            self.answer(channel, now);
        }
        match due.ask {
            Some(wish) => self.ask(channel, wish, now),
            None => self.channels.schedule(channel),
        }
    }

    /// Drops the users of dead nodes, looking at every user once.
    fn bury(&mut self, dead: &[NodeIndex]) {
        let channels: Vec<Channel> = self.channels.iter().map(|s| s.channel.clone()).collect();
        for channel in &channels {
            let Some(state) = self.channels.get_mut(channel) else { continue };
            let users = state.users_of_nodes(|node| dead.binary_search(&node).is_ok());
            for (node, user_id) in &users {
                state.gone(&mut self.nodes, *node, user_id);
            }
            self.show(channel, users.iter().map(|(_, id)| &**id));
        }
    }
}
