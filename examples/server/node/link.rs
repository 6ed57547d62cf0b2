//! A channel's tie to the same channel on other nodes.

use std::sync::Arc;

use bytestring::ByteString;
use pondwire::distributed::{self, Message, Origin, UserMessage};
use pondwire::protocol::Recipients;
use pondwire::{Payload, uuid};

use super::{Channel, Node, unix_ms};

/// Tells other nodes what happens in a channel here, and knows what happened there. But for
/// [`send`](Self::send) each takes the node's lock, and tells those who are tracked here of presence
/// before it returns.
pub(crate) struct Link {
    node: Arc<Node>,
    channel: distributed::Channel,
    topic: ByteString,
}

impl Link {
    pub(super) fn new(node: Arc<Node>, channel: distributed::Channel) -> Self {
        let topic = ByteString::from(&**channel.topic());
        Self { node, channel, topic }
    }

    /// A user joined, and `here` is where the channel's members are.
    pub(crate) fn join(&self, here: &Arc<Channel>, user: &str, assigns: Payload<'_>) {
        self.node.change(|state, now| {
            // The one of this name that was open before may just be closing.
            state.channels.insert(self.channel.clone(), Arc::clone(here));
            state.cluster.join(&self.channel, user, assigns, now);
        });
    }

    pub(crate) fn leave(&self, user: &str) {
        self.node.change(|state, now| {
            state.cluster.leave(&self.channel, user, now);
        });
    }

    pub(crate) fn set_presence(&self, user: &str, presence: Payload<'_>) {
        self.node.change(|state, now| {
            state.cluster.set_presence(&self.channel, user, presence, now);
        });
    }

    pub(crate) fn remove_presence(&self, user: &str) {
        self.node.change(|state, now| {
            state.cluster.remove_presence(&self.channel, user, now);
        });
    }

    pub(crate) fn set_assigns(&self, user: &str, assigns: Payload<'_>) {
        self.node.change(|state, now| {
            state.cluster.set_assigns(&self.channel, user, assigns, now);
        });
    }

    /// Has a user evicted by the node that has it; `false` when none is known to.
    pub(crate) fn evict(&self, user: &str, reason: &str) -> bool {
        let mut known = false;
        self.node.change(|state, now| {
            known = state.cluster.user(&self.channel, user).is_some();
            if known {
                state.cluster.evict_elsewhere(&self.channel, user, reason, now);
            }
        });
        known
    }

    /// Puts an event of a user of this node into the queue for the others; takes no lock but the
    /// queue's.
    pub(crate) fn send(
        &self,
        sender: &str,
        event: &str,
        payload: Payload<'_>,
        request_id: &str,
        receivers: &Recipients<'_>,
    ) {
        // An empty list is nobody, but some implementations take it for all.
        if matches!(receivers, Recipients::Users(ids) if ids.is_empty()) {
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
            recipients: receivers.as_ref(),
        });
        let envelope = origin.encode(&uuid(), unix_ms(), &message);
        self.node.publish(self.topic.clone(), envelope);
    }

    /// The id, the assigns and the presence of everyone in the channel, on whatever node.
    pub(crate) fn for_each_user(&self, mut visit: impl FnMut(&str, &str, Option<&str>)) {
        let state = self.node.state.lock();
        for (_, user) in state.cluster.users(&self.channel) {
            let presence = Some(user.presence).filter(|it| it.members().next().is_some());
            visit(&user.id, user.assigns.as_str(), presence.map(|it| it.as_str()));
        }
    }
}
