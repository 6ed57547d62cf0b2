//! What time brings: heartbeats, nodes that die, questions that nobody answers.

use std::time::Instant;

use super::Cluster;
use super::effect::{Channel, Effect};
use super::nodes::NodeIndex;

impl Cluster {
    /// When [`tick`](Self::tick) has something to do next. Looks at every node and open question.
    #[must_use]
    pub fn due(&self) -> Instant {
        let gets = self.gets.values().map(|get| get.deadline).min();
        let doubt = self.doubts.front().map(|(_, until)| *until);
        let others = [self.nodes.next_expiry(), doubt, gets];
        others.into_iter().flatten().fold(self.next_heartbeat, Instant::min)
    }

    /// Does what is due by `now`: says that this node is alive, drops the users of nodes that were not
    /// heard for too long, asks where something is in doubt, gives up questions.
    pub fn tick(&mut self, now: Instant) {
        if self.next_heartbeat <= now {
            self.outgoing.publish_heartbeat(now);
            self.next_heartbeat = now + self.options.heartbeat_every;
            self.ask_in_doubt(now);
        }
        for node in self.nodes.expire(now) {
            self.bury(node);
        }
        while self.doubts.front().is_some_and(|(_, until)| *until <= now) {
            let Some((channel, _)) = self.doubts.pop_front() else { break };
            self.end_doubt(&channel);
        }
        let overdue = self.gets.extract_if(|_, get| get.deadline <= now).map(|(_, get)| get.id);
        let mut overdue: Vec<_> = overdue.collect();
        overdue.sort_unstable();
        for get in overdue {
            self.outgoing.push(Effect::User { get, user: None });
        }
    }

    /// At most once between two heartbeats, however much is in doubt.
    fn ask_in_doubt(&mut self, now: Instant) {
        let asked = self.channels.iter_mut().filter(|(_, state)| state.ask);
        let asked: Vec<Channel> = asked
            .map(|(channel, state)| {
                state.ask = false;
                channel.clone()
            })
            .collect();
        for channel in &asked {
            self.ask(channel, now);
        }
    }

    /// Drops the users of a dead node.
    fn bury(&mut self, node: NodeIndex) {
        let channels: Vec<Channel> = self.channels.keys().cloned().collect();
        for channel in &channels {
            let Some(state) = self.channels.get_mut(channel) else { continue };
            let users = state.users_of(node, |_| true);
            for user_id in &users {
                state.gone(&mut self.nodes, node, user_id);
            }
            self.show(channel, users.iter().map(|id| &**id));
        }
    }

    fn end_doubt(&mut self, channel: &Channel) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        if state.drop_unconfirmed(&mut self.nodes) {
            self.send_presence(channel);
        }
    }
}
