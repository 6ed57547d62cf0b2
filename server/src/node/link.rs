//! Links of channels through this node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pondwire::distributed::{self, Message, Origin, UserMessage};
use pondwire::protocol::Recipients;
use pondwire::{Payload, uuid};

use super::{Node, unix_ms};
use crate::channel::{Link, OpenChannel};

impl Node {
    /// The link of an endpoint's channel, by their names.
    pub(crate) fn link(self: &Arc<Self>, endpoint: &str, channel: &str) -> Box<dyn Link> {
        let channel = self.state.lock().cluster.channel(endpoint, channel);
        Box::new(NodeLink { node: Arc::clone(self), channel })
    }
}

/// A [`Link`] through this node. Every method except `send` and `is_connected` takes the node's lock.
struct NodeLink {
    node: Arc<Node>,
    channel: distributed::Channel,
}

impl Link for NodeLink {
    fn join(&self, channel: &Arc<OpenChannel>, user: &str, assigns: Payload<'_>) {
        self.node.change(|state, now| {
            // Replaces the previous channel of this name, which may still be closing.
            state.channels.insert(self.channel.clone(), Arc::clone(channel));
            state.cluster.join(&self.channel, user, assigns, now);
            if channel.keeps_history() {
                state.cluster.keep_open(&self.channel);
            }
        });
    }

    fn close(&self) {
        self.node.change(|state, now| {
            state.cluster.let_close(&self.channel, now);
        });
    }

    fn leave(&self, user: &str) {
        self.node.change(|state, now| {
            state.cluster.leave(&self.channel, user, now);
        });
    }

    fn set_presence(&self, user: &str, presence: Payload<'_>) {
        self.node.change(|state, now| {
            state.cluster.set_presence(&self.channel, user, presence, now);
        });
    }

    fn remove_presence(&self, user: &str) {
        self.node.change(|state, now| {
            state.cluster.remove_presence(&self.channel, user, now);
        });
    }

    fn set_assigns(&self, user: &str, assigns: Payload<'_>) {
        self.node.change(|state, now| {
            state.cluster.set_assigns(&self.channel, user, assigns, now);
        });
    }

    fn evict(&self, user: &str, reason: &str) -> bool {
        let mut known = false;
        self.node.change(|state, now| {
            known = state.cluster.user(&self.channel, user).is_some();
            if known {
                state.cluster.evict_elsewhere(&self.channel, user, reason, now);
            }
        });
        known
    }

    /// Puts the event into the bus's queue. Takes no lock but the queue's.
    fn send(
        &self,
        sender: &str,
        event: &str,
        payload: Payload<'_>,
        request_id: &str,
        recipients: &Recipients<'_>,
    ) {
        // An empty list means no user, but some implementations send to all then.
        if matches!(recipients, Recipients::Users(ids) if ids.is_empty()) {
            return;
        }
        let origin = Origin {
            node_id: &self.node.id,
            endpoint_name: self.channel.endpoint_name(),
            channel_name: self.channel.name(),
        };
        let message = Message::UserMessage(UserMessage {
            from_user_id: sender.into(),
            event: event.into(),
            payload,
            request_id: request_id.into(),
            recipients: recipients.as_ref(),
        });
        let envelope = origin.encode(&uuid(), unix_ms(), &message);
        self.node.publish(Arc::clone(self.channel.topic()), envelope);
    }

    fn is_connected(&self) -> bool {
        let number = self.node.bus_number(self.channel.topic());
        !self.node.is_cut_off[number].load(Ordering::Acquire)
    }

    fn presence_len(&self) -> usize {
        self.node.state.lock().cluster.presence_len(&self.channel)
    }

    fn presence(&self, user: &str) -> Option<Box<str>> {
        let state = self.node.state.lock();
        let user = state.cluster.user(&self.channel, user)?;
        is_present(&user.presence).then(|| user.presence.as_str().into())
    }

    fn publish_presence(&self, here: &Arc<OpenChannel>) {
        let cluster = &mut self.node.state.lock().cluster;
        let len = cluster.presence_len(&self.channel);
        here.publish_outdated(len, || cluster.presence_frame(&self.channel));
    }

    fn for_each_user(&self, visit: &mut dyn FnMut(&str, Payload<'_>, Option<&str>) -> bool) {
        let state = self.node.state.lock();
        for (_, user) in state.cluster.users(&self.channel) {
            let presence = is_present(&user.presence).then(|| user.presence.as_str());
            if !visit(&user.id, user.assigns, presence) {
                return;
            }
        }
    }
}

/// A user without a presence has an empty one in the messages of nodes.
fn is_present(presence: &Payload<'_>) -> bool {
    presence.members().next().is_some()
}
