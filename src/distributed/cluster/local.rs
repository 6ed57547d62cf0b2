//! Changes on this node, and the messages that report them to the others.

use std::time::Instant;

use super::channel_state::{ChannelState, UserUpdate};
use super::effects::{Channel, Effect, GetId, Outgoing};
use super::nodes::NodeIndex;
use super::sync_requests::SyncKind;
use super::{Cluster, Get};
use crate::distributed::{AssignsChange, Envelope, Message, User};
use crate::payload::Payload;

/// The most [`get_user`](Cluster::get_user) requests that wait at a time.
const MAX_GETS: usize = 4096;

/// The most recently left channels that are remembered.
const MAX_LEFT: usize = 4096;

impl Cluster {
    /// A user joined a channel on this node; the other nodes are notified. Returns false, and changes
    /// nothing, when the user is in the channel already, or when another channel with the same topic
    /// has users here (channel `a` of endpoint `x:y` and channel `y:a` of endpoint `x` share one).
    pub fn join(
        &mut self,
        channel: &Channel,
        user_id: &str,
        assigns: Payload<'_>,
        now: Instant,
    ) -> bool {
        if self.channels.by_topic(channel.topic()).is_none() {
            self.outgoing.push(Effect::Subscribe(channel.clone()));
            self.channels.open(channel);
        }
        let Some(state) = self.channels.get_mut(channel) else { return false };
        if state.entry(NodeIndex::OWN, user_id).is_some() {
            return false;
        }
        let update = UserUpdate { assigns: Some(assigns), presence: Some(None), secondhand: false };
        state.apply(&mut self.nodes, NodeIndex::OWN, user_id, &update);
        let presence = Payload::EMPTY;
        let message = Message::UserJoined { user_id: user_id.into(), presence, assigns };
        self.outgoing.publish(channel, now, &message);
        true
    }

    /// The bus delivers a channel's topic from now on: asks the other nodes for their users there. Does
    /// nothing when this node has no user in the channel any more.
    pub fn subscribed(&mut self, topic: &str, now: Instant) {
        if let Some(channel) = self.channels.by_topic(topic) {
            let channel = channel.clone();
            self.send_state_request(&channel, SyncKind::ConfirmAll, now);
        }
    }

    /// Asks the other nodes for their users in a channel.
    pub(super) fn send_state_request(&mut self, channel: &Channel, kind: SyncKind, now: Instant) {
        let from_node = self.outgoing.node_id().to_owned().into();
        let id = self.outgoing.publish(channel, now, &Message::StateRequest { from_node });
        let timing = self.timing();
        if let Some(state) = self.channels.get_mut(channel) {
            state.sync.sent(id, kind, now, timing);
            self.channels.schedule(channel);
        }
    }

    /// A user left a channel on this node, evicted or not; the other nodes are notified. Returns false
    /// when the user was not in the channel.
    pub fn leave(&mut self, channel: &Channel, user_id: &str, now: Instant) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        let Some(entry) = state.entry(NodeIndex::OWN, user_id) else { return false };
        let had_presence = entry.presence.is_some();
        state.remove_departed(&mut self.nodes, NodeIndex::OWN, user_id);
        if had_presence {
            // Some nodes end a presence only on this message.
            let message = Message::PresenceRemoved { user_id: user_id.into() };
            self.outgoing.publish(channel, now, &message);
        }
        self.outgoing.publish(channel, now, &Message::UserLeft { user_id: user_id.into() });
        self.refresh_presence(channel, [user_id]);
        self.drop_if_unused(channel, now);
        true
    }

    /// Keeps a channel in which this node has users, and its subscription, when the last of them has left: until
    /// [`let_close`](Self::let_close).
    pub fn keep_open(&mut self, channel: &Channel) {
        if let Some(state) = self.channels.get_mut(channel) {
            state.is_kept_open = true;
        }
    }

    /// Ends the effect of [`keep_open`](Self::keep_open): if no user is left, drops the channel and
    /// its subscription.
    pub fn let_close(&mut self, channel: &Channel, now: Instant) {
        if let Some(state) = self.channels.get_mut(channel) {
            state.is_kept_open = false;
            self.drop_if_unused(channel, now);
        }
    }

    fn drop_if_unused(&mut self, channel: &Channel, now: Instant) {
        let is_unused = |state: &ChannelState| state.local == 0 && !state.is_kept_open;
        if self.channels.get(channel).is_some_and(is_unused) {
            self.drop_channel(channel, now);
        }
    }

    fn drop_channel(&mut self, channel: &Channel, now: Instant) {
        if let Some(state) = self.channels.remove(channel) {
            state.release(&mut self.nodes);
        }
        self.outgoing.push(Effect::Unsubscribe(channel.clone()));
        self.prune_left(now);
        if self.left.len() == MAX_LEFT {
            self.left.pop_front();
        }
        self.left.push_back((channel.clone(), now));
    }

    /// Forgets the channels that were left so long ago that every node has expired this one's users
    /// there anyway, some a little late.
    pub(super) fn prune_left(&mut self, now: Instant) {
        let kept = 2 * self.options.expire_after;
        self.left.retain(|(_, when)| now.saturating_duration_since(*when) < kept);
    }

    /// Sets the presence of a user of this node. Returns false when the user is not in the channel.
    pub fn set_presence(
        &mut self,
        channel: &Channel,
        user_id: &str,
        presence: Payload<'_>,
        now: Instant,
    ) -> bool {
        let update =
            UserUpdate { assigns: None, presence: Some(Some(presence)), secondhand: false };
        let message = Message::PresenceUpdate { user_id: user_id.into(), presence };
        self.update_own(channel, user_id, &update, &message, now)
    }

    /// Ends the presence of a user of this node. Returns false when the user is not in the channel or
    /// has no presence.
    pub fn remove_presence(&mut self, channel: &Channel, user_id: &str, now: Instant) -> bool {
        let state = self.channels.get(channel);
        let entry = state.and_then(|state| state.entry(NodeIndex::OWN, user_id));
        if entry.is_none_or(|entry| entry.presence.is_none()) {
            return false;
        }
        let update = UserUpdate { assigns: None, presence: Some(None), secondhand: false };
        let message = Message::PresenceRemoved { user_id: user_id.into() };
        self.update_own(channel, user_id, &update, &message, now)
    }

    /// Replaces the assigns of a user of this node. Returns false when the user is not in the channel.
    pub fn set_assigns(
        &mut self,
        channel: &Channel,
        user_id: &str,
        assigns: Payload<'_>,
        now: Instant,
    ) -> bool {
        let update = UserUpdate { assigns: Some(assigns), presence: None, secondhand: false };
        let change = AssignsChange::All(assigns);
        let message = Message::AssignsUpdate { user_id: user_id.into(), change };
        self.update_own(channel, user_id, &update, &message, now)
    }

    fn update_own(
        &mut self,
        channel: &Channel,
        user_id: &str,
        update: &UserUpdate<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        if state.entry(NodeIndex::OWN, user_id).is_none() {
            return false;
        }
        state.apply(&mut self.nodes, NodeIndex::OWN, user_id, update);
        self.outgoing.publish(channel, now, message);
        self.refresh_presence(channel, [user_id]);
        true
    }

    /// Asks the other nodes to evict a user, with a `reason` for the user. Not all nodes confirm an
    /// eviction, so this node removes their user at once, and again when the bus delivers the message
    /// back: what arrived in between was sent before the eviction was known. A user of this node with
    /// that id stays. Because the other nodes remove that user too, it is announced to them again.
    pub fn evict_elsewhere(
        &mut self,
        channel: &Channel,
        user_id: &str,
        reason: &str,
        now: Instant,
    ) {
        let message = Message::EvictUser { user_id: user_id.into(), reason: reason.into() };
        self.outgoing.publish(channel, now, &message);
        self.remove_evicted(channel, user_id, now);
        let state = self.channels.get(channel);
        if let Some(own) = state.and_then(|state| state.entry(NodeIndex::OWN, user_id)) {
            let user = super::user_of(user_id, own);
            announce(&mut self.outgoing, channel, &user, now);
        }
    }

    /// Asks a user's node to remove it; that node then reports that the user left.
    pub fn remove_elsewhere(&mut self, channel: &Channel, user_id: &str, now: Instant) {
        let message = Message::UserRemove { user_id: user_id.into() };
        self.outgoing.publish(channel, now, &message);
    }

    /// Asks a user's node for the user's data. [`Effect::User`] returns the reply, or `None` after
    /// [`get_timeout`](super::ClusterOptions::get_timeout). The reply comes by the channel's topic, so
    /// this node must have users there. This node does not reply to itself: see
    /// [`user`](Self::user) for its own users.
    ///
    /// Returns `None` when 4,096 requests wait already.
    pub fn get_user(&mut self, channel: &Channel, user_id: &str, now: Instant) -> Option<GetId> {
        if self.gets.len() >= MAX_GETS {
            return None;
        }
        self.next_get += 1;
        let id = GetId(self.next_get);
        let request_id = self.outgoing.fresh_id();
        let message = Message::UserGetRequest {
            user_id: user_id.into(),
            request_id: (&*request_id).into(),
            from_node: self.outgoing.node_id().to_owned().into(),
        };
        self.outgoing.publish(channel, now, &message);
        let deadline = now + self.options.get_timeout;
        let get = Get { id, user_id: user_id.into(), channel: channel.clone(), deadline };
        self.gets.insert(request_id, get);
        Some(id)
    }

    /// Call it when messages were lost, this node's or others'. The next [`tick`](Self::tick), due
    /// soon, sends this node's users and asks for those of the others, in every channel. Users that no
    /// node confirms [in time](super::ClusterOptions::answer_within) are then dropped. The time counts
    /// from when the bus delivers the request itself back, since every message before that may be older
    /// than the loss; a bus must therefore deliver a node its own messages. A request that does not come
    /// back is repeated, each time after twice the time, up to
    /// [`expire_after`](super::ClusterOptions::expire_after).
    ///
    /// Call it whenever the bus reports that it has resubscribed or dropped a message in either
    /// direction: the call itself costs nothing. However often it is called, all this happens at most
    /// once in `answer_within` plus up to a quarter of that, in portions of 256 channels.
    pub fn resync(&mut self, now: Instant) {
        self.resync_wanted = true;
        self.next_resync = self.next_resync.max(now);
    }

    /// The bus delivered a message of this node back: everything that others sent before it has
    /// arrived.
    pub(super) fn on_echo(&mut self, channel: &Channel, envelope: &Envelope<'_>, now: Instant) {
        let timing = self.timing();
        let Some(state) = self.channels.get_mut(channel) else { return };
        if let Some(kind) = state.sync.echoed(envelope.message_id(), now, timing) {
            state.mark_unconfirmed(kind);
        }
        self.channels.schedule(channel);
        if let Some(Message::EvictUser { user_id, .. }) = envelope.message()
            && envelope.endpoint_name() == channel.endpoint_name()
            && envelope.channel_name() == channel.name()
        {
            self.remove_evicted(channel, user_id, now);
        }
    }

    /// A node asks for this node's users: answers at once, or 0.1 s after the last answer.
    pub(super) fn on_state_request(&mut self, channel: &Channel, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        if state.sync.answer_now(now) {
            self.send_state(channel, now);
        }
        self.channels.schedule(channel);
    }

    /// Sends this node's users in a channel: as a list, or one by one if the list would exceed the
    /// message limit.
    pub(super) fn send_state(&mut self, channel: &Channel, now: Instant) {
        let Some(state) = self.channels.get(channel) else { return };
        let own = state.entries().filter(|(_, entry)| entry.node == NodeIndex::OWN);
        let users: Vec<_> = own.map(|(id, entry)| super::user_of(id, entry)).collect();
        let list = Message::StateResponse { users: users[..].into() };
        let max = self.options.message_limits.max_bytes;
        if self.outgoing.publish_within(max, channel, now, &list) {
            return;
        }
        for user in &users {
            announce(&mut self.outgoing, channel, user, now);
        }
    }

    /// Brings the presence list of a channel up to date with these users, and pushes the effect if it
    /// changed.
    pub(super) fn refresh_presence<'u>(
        &mut self,
        channel: &Channel,
        user_ids: impl IntoIterator<Item = &'u str>,
    ) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        let changed =
            user_ids.into_iter().fold(false, |changed, id| state.refresh_presence(id) | changed);
        if changed {
            self.push_presence(channel);
        }
    }

    pub(super) fn push_presence(&mut self, channel: &Channel) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        let seeing = if self.options.presence_to_present { state.present } else { state.local };
        if seeing == 0 {
            return;
        }
        if self.options.presence_on_request {
            self.outgoing.push(Effect::PresenceChanged(channel.clone()));
        } else if let Some(frame) = state.roster.frame(&self.outgoing.fresh_uuid()) {
            self.outgoing.push(Effect::Presence { channel: channel.clone(), frame });
        }
    }
}

/// Publishes all data of a user of this node.
fn announce(outgoing: &mut Outgoing, channel: &Channel, user: &User<'_>, now: Instant) {
    let (presence, assigns) = (user.presence, user.assigns);
    let joined = Message::UserJoined { user_id: (&*user.id).into(), presence, assigns };
    outgoing.publish(channel, now, &joined);
    if presence.as_str() != Payload::EMPTY.as_str() {
        // Some nodes ignore the presence in a join.
        let update = Message::PresenceUpdate { user_id: (&*user.id).into(), presence };
        outgoing.publish(channel, now, &update);
    }
}
