//! What happens on this node, and what the others are told of it.

use std::time::Instant;

use super::asking::Wish;
use super::effect::{Channel, Effect, GetId};
use super::nodes::NodeIndex;
use super::outgoing::Outgoing;
use super::state::News;
use super::{Cluster, Get};
use crate::distributed::{AssignsChange, Envelope, Message, UserState};
use crate::payload::Payload;

/// Questions that may wait at once.
const MAX_GETS: usize = 4096;

/// Channels that were left lately and are remembered.
const MAX_LEFT: usize = 4096;

impl Cluster {
    /// A user joined a channel on this node: the others are told. False, and nothing happens, when it
    /// is there already, or another channel of the same topic has users here (`a` of an endpoint `x:y`
    /// and `y:a` of one `x`).
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
        let news = News { assigns: Some(assigns), presence: Some(None), hearsay: false };
        state.tell(&mut self.nodes, NodeIndex::OWN, user_id, &news);
        let presence = Payload::EMPTY;
        let message = Message::UserJoined { user_id: user_id.into(), presence, assigns };
        self.outgoing.publish(channel, now, &message);
        true
    }

    /// The bus delivers a channel's topic from now on: asks the other nodes whom they have there.
    /// Nothing happens when this node has nobody there any more.
    pub fn subscribed(&mut self, topic: &str, now: Instant) {
        if let Some(channel) = self.channels.by_topic(topic) {
            let channel = channel.clone();
            self.ask(&channel, Wish::Doubt, now);
        }
    }

    /// Asks the other nodes whom they have.
    pub(super) fn ask(&mut self, channel: &Channel, wish: Wish, now: Instant) {
        let from_node = self.outgoing.node_id().to_owned().into();
        let id = self.outgoing.publish(channel, now, &Message::StateRequest { from_node });
        let pace = self.pace();
        if let Some(state) = self.channels.get_mut(channel) {
            state.asking.asked(id, wish, now, pace);
            self.channels.schedule(channel);
        }
    }

    /// A user left a channel on this node, evicted or not: the others are told. False when it was not
    /// there.
    pub fn leave(&mut self, channel: &Channel, user_id: &str, now: Instant) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        let Some(entry) = state.entry(NodeIndex::OWN, user_id) else { return false };
        let had_presence = entry.presence.is_some();
        state.gone(&mut self.nodes, NodeIndex::OWN, user_id);
        if had_presence {
            // Some nodes end a presence for nothing else.
            let message = Message::PresenceRemoved { user_id: user_id.into() };
            self.outgoing.publish(channel, now, &message);
        }
        self.outgoing.publish(channel, now, &Message::UserLeft { user_id: user_id.into() });
        self.show(channel, [user_id]);
        if self.channels.get(channel).is_some_and(|state| state.local == 0) {
            self.drop_channel(channel, now);
        }
        true
    }

    fn drop_channel(&mut self, channel: &Channel, now: Instant) {
        if let Some(state) = self.channels.remove(channel) {
            state.release(&mut self.nodes);
        }
        self.outgoing.push(Effect::Unsubscribe(channel.clone()));
        self.forget_left(now);
        if self.left.len() == MAX_LEFT {
            self.left.pop_front();
        }
        self.left.push_back((channel.clone(), now));
    }

    /// Nodes that heard nothing for so long have dropped our users anyway, some a little late.
    pub(super) fn forget_left(&mut self, now: Instant) {
        let kept = 2 * self.options.expire_after;
        self.left.retain(|(_, when)| now.saturating_duration_since(*when) < kept);
    }

    /// Gives a user of this node another presence. False when it is not there.
    pub fn set_presence(
        &mut self,
        channel: &Channel,
        user_id: &str,
        presence: Payload<'_>,
        now: Instant,
    ) -> bool {
        let news = News { assigns: None, presence: Some(Some(presence)), hearsay: false };
        let message = Message::PresenceUpdate { user_id: user_id.into(), presence };
        self.tell_own(channel, user_id, &news, &message, now)
    }

    /// Ends the presence of a user of this node. False when it is not there or has none.
    pub fn remove_presence(&mut self, channel: &Channel, user_id: &str, now: Instant) -> bool {
        let state = self.channels.get(channel);
        let entry = state.and_then(|state| state.entry(NodeIndex::OWN, user_id));
        if entry.is_none_or(|entry| entry.presence.is_none()) {
            return false;
        }
        let news = News { assigns: None, presence: Some(None), hearsay: false };
        let message = Message::PresenceRemoved { user_id: user_id.into() };
        self.tell_own(channel, user_id, &news, &message, now)
    }

    /// Gives a user of this node other assigns, all of them. False when it is not there.
    pub fn set_assigns(
        &mut self,
        channel: &Channel,
        user_id: &str,
        assigns: Payload<'_>,
        now: Instant,
    ) -> bool {
        let news = News { assigns: Some(assigns), presence: None, hearsay: false };
        let change = AssignsChange::All(assigns);
        let message = Message::AssignsUpdate { user_id: user_id.into(), change };
        self.tell_own(channel, user_id, &news, &message, now)
    }

    fn tell_own(
        &mut self,
        channel: &Channel,
        user_id: &str,
        news: &News<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        if state.entry(NodeIndex::OWN, user_id).is_none() {
            return false;
        }
        state.tell(&mut self.nodes, NodeIndex::OWN, user_id, news);
        self.outgoing.publish(channel, now, message);
        self.show(channel, [user_id]);
        true
    }

    /// Asks the nodes that have a user to evict it, giving it a `reason` to read. As not all of them
    /// confirm that, the user is forgotten at once, and again when the bus brings the message back: other
    /// nodes sent what came between before they heard it. If this node has a user of that id, it stays;
    /// the others, which forget it too, are told of it again.
    pub fn evict_elsewhere(
        &mut self,
        channel: &Channel,
        user_id: &str,
        reason: &str,
        now: Instant,
    ) {
        let message = Message::EvictUser { user_id: user_id.into(), reason: reason.into() };
        self.outgoing.publish(channel, now, &message);
        self.forget_evicted(channel, user_id, now);
        let state = self.channels.get(channel);
        if let Some(own) = state.and_then(|state| state.entry(NodeIndex::OWN, user_id)) {
            let user = super::user_state(user_id, own);
            tell_all_of(&mut self.outgoing, channel, &user, now);
        }
    }

    /// Asks the node that has a user to remove it, which says that it left.
    pub fn remove_elsewhere(&mut self, channel: &Channel, user_id: &str, now: Instant) {
        let message = Message::UserRemove { user_id: user_id.into() };
        self.outgoing.publish(channel, now, &message);
    }

    /// Asks the node that has a user what it knows of it; [`Effect::User`] has the answer, or none
    /// after [`get_timeout`](super::ClusterOptions::get_timeout). The answer comes by the channel's
    /// topic: to a node that has users there. This node does not answer itself: whom it has,
    /// [`user`](Self::user) tells.
    ///
    /// `None` when 4,096 questions wait already.
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

    /// Messages were lost, ours or theirs: [`tick`](Self::tick), due soon, tells the others whom this
    /// node has and asks whom they have, in every channel. Whom none has named [in
    /// time](super::ClusterOptions::answer_within) is forgotten then: counted from when the question
    /// itself comes back by its topic, as all before it may be older than the loss. A question that
    /// does not come back is asked again, after twice the time each time, up to
    /// [`expire_after`](super::ClusterOptions::expire_after). (So a bus must bring a node its own
    /// messages.)
    ///
    /// Call it whenever the bus says that it has its subscription again, or that it dropped anything,
    /// either way: it costs nothing. However often it is called, all this is done once in
    /// `answer_within` and up to a quarter more, in portions of 256 channels.
    pub fn resync(&mut self, now: Instant) {
        self.resync_wanted = true;
        self.next_resync = self.next_resync.max(now);
    }

    /// A message of this very node came back: all that others sent before it has come.
    pub(super) fn heard_own(&mut self, channel: &Channel, envelope: &Envelope<'_>, now: Instant) {
        let pace = self.pace();
        let Some(state) = self.channels.get_mut(channel) else { return };
        match state.asking.came_back(envelope.message_id(), now, pace) {
            None | Some(Wish::Ask) => {}
            Some(Wish::Verify) => state.doubt(|entry| entry.provisional),
            Some(Wish::Doubt | Wish::Resync) => state.doubt(|_| true),
        }
        self.channels.schedule(channel);
        if let Some(Message::EvictUser { user_id, .. }) = envelope.message()
            && envelope.endpoint_name() == channel.endpoint_name()
            && envelope.channel_name() == channel.name()
        {
            self.forget_evicted(channel, user_id, now);
        }
    }

    /// Somebody asks whom this node has: is told at once, or 0.1 s after the last time.
    pub(super) fn was_asked(&mut self, channel: &Channel, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        if state.asking.was_asked(now) {
            self.answer(channel, now);
        }
        self.channels.schedule(channel);
    }

    /// Tells whom this node has in a channel: as a list, or one by one where that would be larger than
    /// what a node takes.
    pub(super) fn answer(&mut self, channel: &Channel, now: Instant) {
        let Some(state) = self.channels.get(channel) else { return };
        let own = state.entries().filter(|(_, entry)| entry.node == NodeIndex::OWN);
        let users: Vec<_> = own.map(|(id, entry)| super::user_state(id, entry)).collect();
        let list = Message::StateResponse { users: users[..].into() };
        let max = self.options.message_limits.max_bytes;
        if self.outgoing.publish_within(max, channel, now, &list) {
            return;
        }
        for user in &users {
            tell_all_of(&mut self.outgoing, channel, user, now);
        }
    }

    /// Brings the presence list of a channel up to date with these users, and sends it if it changed.
    pub(super) fn show<'u>(
        &mut self,
        channel: &Channel,
        user_ids: impl IntoIterator<Item = &'u str>,
    ) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        let changed = user_ids.into_iter().fold(false, |changed, id| state.show(id) | changed);
        if changed {
            self.send_presence(channel);
        }
    }

    pub(super) fn send_presence(&mut self, channel: &Channel) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        if state.local == 0 {
            return;
        }
        if let Some(frame) = state.roster.frame(&self.outgoing.fresh_uuid()) {
            self.outgoing.push(Effect::Presence { channel: channel.clone(), frame });
        }
    }
}

/// Tells everything of a user of this node.
fn tell_all_of(outgoing: &mut Outgoing, channel: &Channel, user: &UserState<'_>, now: Instant) {
    let (presence, assigns) = (user.presence, user.assigns);
    let joined = Message::UserJoined { user_id: (&*user.id).into(), presence, assigns };
    outgoing.publish(channel, now, &joined);
    if presence.as_str() != Payload::EMPTY.as_str() {
        // Some nodes read no presence in the other.
        let update = Message::PresenceUpdate { user_id: (&*user.id).into(), presence };
        outgoing.publish(channel, now, &update);
    }
}
