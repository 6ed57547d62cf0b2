//! Received messages.

use std::borrow::Cow;
use std::time::Instant;

use super::Cluster;
use super::channel_state::{StoredObject, UserUpdate};
use super::effects::{Channel, Effect, UserReply};
use super::nodes::{Heard, NodeIndex};
use crate::distributed::{AssignsChange, Envelope, Message, User, Users, endpoint_name};
use crate::error::ValidationError;
use crate::payload::Payload;
use crate::protocol::Recipients;

impl Cluster {
    /// Handles a message that the bus delivered by `topic`. Ignores messages about channels in which
    /// this node has no user, and those of unknown types. Of this node's own messages it only notes
    /// that the bus delivered them back.
    ///
    /// Costs [`Envelope::parse`], two look-ups and the work that the message causes; an event for this
    /// node's users makes two allocations, its frame and the sender's id.
    ///
    /// # Errors
    /// The bytes are not an envelope within the limits; see [`Envelope::parse`]. The error is counted in
    /// [`stats`](Self::stats); nothing else changes.
    pub fn receive(
        &mut self,
        topic: &str,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), ValidationError> {
        let envelope = match Envelope::parse_with(bytes, self.options.message_limits) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.nodes.stats.malformed += 1;
                return Err(error);
            }
        };
        let channel = self.channels.by_topic(topic).cloned();
        if envelope.source_node_id() == self.outgoing.node_id() {
            if let Some(channel) = channel {
                self.on_echo(&channel, &envelope, now);
            }
            return Ok(());
        }
        let node = match self.nodes.heard(envelope.source_node_id(), now) {
            Heard::Known(node) => Some(node),
            Heard::Returned(node) => {
                // Its users were dropped, and it may not know that.
                self.query_everywhere = true;
                Some(node)
            }
            Heard::Refused => None,
        };
        // A heartbeat needs nothing more; its topic belongs to no channel.
        let Some(channel) = channel else { return Ok(()) };
        if endpoint_name(envelope.endpoint_name()) != channel.endpoint_name() {
            return Ok(());
        }
        if let Ok(message) = envelope.accept(self.outgoing.node_id(), channel.name()) {
            self.apply(&channel, node, message, now);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        channel: &Channel,
        node: Option<NodeIndex>,
        message: &Message<'_>,
        now: Instant,
    ) {
        // Messages that change no stored state are handled for any node, also a refused one.
        match message {
            Message::UserMessage(message) => {
                // A server that keeps events for users that come back keeps those for any.
                let is_kept = self.channels.get(channel).is_some_and(|state| state.is_kept_open);
                let recipients = match &message.recipients {
                    // Few of a long list are on this node.
                    Recipients::Users(ids) if !is_kept => Recipients::users(
                        ids.iter().filter(|id| self.has_own(channel, id)).map(Cow::into_owned),
                    ),
                    all => all.clone().into_owned(),
                };
                self.outgoing.push(Effect::Deliver {
                    channel: channel.clone(),
                    frame: message.frame(channel.name()),
                    recipients,
                    from_user_id: (&*message.from_user_id).into(),
                });
            }
            Message::StateRequest { .. } => self.on_state_request(channel, now),
            Message::EvictUser { user_id, reason } => {
                if self.has_own(channel, user_id) {
                    let (user_id, reason) = ((&**user_id).into(), (&**reason).into());
                    self.outgoing.push(Effect::Evict { channel: channel.clone(), user_id, reason });
                }
                self.remove_evicted(channel, user_id, now);
            }
            Message::UserRemove { user_id } if self.has_own(channel, user_id) => {
                let user_id = (&**user_id).into();
                self.outgoing.push(Effect::Remove { channel: channel.clone(), user_id });
            }
            Message::UserGetRequest { user_id, request_id, .. } => {
                self.answer_get(channel, user_id, request_id, now);
            }
            _ => {}
        }
        let Some(node) = node else { return };
        match message {
            Message::StateRequest { .. } => {
                // The node has users here; the message about them may have come too early or got lost.
                if let Some(state) = self.channels.get_mut(channel) {
                    state.sync.add_requester(node);
                }
            }
            Message::StateResponse { users } => self.apply_list(channel, node, *users, now),
            Message::UserJoined { user_id, presence, assigns } => {
                let presence = Some(tracked(*presence));
                let update = UserUpdate { assigns: Some(*assigns), presence, secondhand: false };
                self.update_user(channel, node, user_id, &update);
                if let Some(state) = self.channels.get_mut(channel)
                    && self.evictions.is_recent(state.number, user_id, now)
                {
                    state.set_provisional(node, user_id);
                }
            }
            Message::UserLeft { user_id } => {
                if let Some(state) = self.channels.get_mut(channel) {
                    state.remove_departed(&mut self.nodes, node, user_id);
                }
                self.refresh_presence(channel, [&**user_id]);
            }
            Message::PresenceUpdate { user_id, presence } => {
                if self.may_predate_eviction(channel, node, user_id, now) {
                    return;
                }
                let update = UserUpdate {
                    assigns: None,
                    presence: Some(Some(*presence)),
                    secondhand: false,
                };
                self.update_user(channel, node, user_id, &update);
            }
            Message::PresenceRemoved { user_id } => {
                let state = self.channels.get(channel);
                if state.is_none_or(|state| state.entry(node, user_id).is_none()) {
                    // Some nodes send this after the user has left.
                    return;
                }
                let update = UserUpdate { assigns: None, presence: Some(None), secondhand: false };
                self.update_user(channel, node, user_id, &update);
            }
            Message::AssignsUpdate { user_id, change } => {
                if self.may_predate_eviction(channel, node, user_id, now) {
                    return;
                }
                self.change_assigns(channel, node, user_id, change);
            }
            Message::UserGetResponse { user_id, request_id, assigns, presence } => {
                let user = User { id: (&**user_id).into(), assigns: *assigns, presence: *presence };
                self.on_get_response(channel, node, request_id, &user);
            }
            _ => {}
        }
    }

    /// Whether a user of this node has that id.
    fn has_own(&self, channel: &Channel, user_id: &str) -> bool {
        let state = self.channels.get(channel);
        state.is_some_and(|state| state.entry(NodeIndex::OWN, user_id).is_some())
    }

    /// Removes a user that all nodes evict. Not all of them confirm that, and messages that they sent
    /// before may arrive later.
    pub(super) fn remove_evicted(&mut self, channel: &Channel, user_id: &str, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        self.evictions.remember(state.number, user_id, now + self.options.answer_within, now);
        state.remove_elsewhere(&mut self.nodes, user_id);
        self.refresh_presence(channel, [user_id]);
    }

    /// Whether a change may have been sent before the user's eviction: such a change does not make the
    /// user known, and the nodes are asked with the next heartbeat.
    fn may_predate_eviction(
        &mut self,
        channel: &Channel,
        node: NodeIndex,
        user_id: &str,
        now: Instant,
    ) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        let is_suspect = state.entry(node, user_id).is_none()
            && self.evictions.is_recent(state.number, user_id, now);
        if is_suspect {
            state.sync.mark();
        }
        is_suspect
    }

    fn update_user(
        &mut self,
        channel: &Channel,
        node: NodeIndex,
        user_id: &str,
        update: &UserUpdate<'_>,
    ) {
        if let Some(state) = self.channels.get_mut(channel) {
            state.apply(&mut self.nodes, node, user_id, update);
        }
        self.refresh_presence(channel, [user_id]);
    }

    /// Applies a node's list of users: its own users, or with JavaScript all users that it knows
    /// of.
    fn apply_list(&mut self, channel: &Channel, node: NodeIndex, users: Users<'_>, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        let before = state.last_change();
        let mut changed = false;
        for user in users.iter() {
            let known = state.entry(node, &user.id);
            if known.is_none() && self.evictions.is_recent(state.number, &user.id, now) {
                state.sync.mark();
                continue;
            }
            let presence = match known.is_some_and(|entry| entry.has_empty_presence()) {
                true => Some(user.presence),
                false => tracked(user.presence),
            };
            let assigns = Some(user.assigns);
            let update = UserUpdate { assigns, presence: Some(presence), secondhand: true };
            state.apply(&mut self.nodes, node, &user.id, &update);
            changed |= state.refresh_presence(&user.id);
        }
        for user_id in state.users_of(node, |entry| entry.evidence.is_older_than(before)) {
            state.remove(&mut self.nodes, node, &user_id);
            changed |= state.refresh_presence(&user_id);
        }
        if changed {
            self.push_presence(channel);
        }
    }

    fn change_assigns(
        &mut self,
        channel: &Channel,
        node: NodeIndex,
        user_id: &str,
        change: &AssignsChange<'_>,
    ) {
        let Some(state) = self.channels.get(channel) else { return };
        let merged;
        let assigns = match change {
            AssignsChange::All(assigns) => *assigns,
            AssignsChange::One { key, value } => {
                if !self.nodes.fits(node, key.len() + value.raw().len()) {
                    return;
                }
                let known = state.entry(node, user_id).map(|entry| &entry.assigns);
                merged = match known {
                    Some(assigns) => assigns.with(key, *value),
                    None => StoredObject::new(Payload::EMPTY).with(key, *value),
                };
                merged.payload()
            }
        };
        let update = UserUpdate { assigns: Some(assigns), presence: None, secondhand: false };
        self.update_user(channel, node, user_id, &update);
    }

    fn answer_get(&mut self, channel: &Channel, user_id: &str, request_id: &str, now: Instant) {
        let Some(state) = self.channels.get(channel) else { return };
        let Some(entry) = state.entry(NodeIndex::OWN, user_id) else { return };
        let user = super::user_of(user_id, entry);
        let message = Message::UserGetResponse {
            user_id: user_id.into(),
            request_id: request_id.into(),
            assigns: user.assigns,
            presence: user.presence,
        };
        self.outgoing.publish(channel, now, &message);
    }

    fn on_get_response(
        &mut self,
        channel: &Channel,
        node: NodeIndex,
        request_id: &str,
        user: &User<'_>,
    ) {
        let matches = |get: &super::Get| get.channel == *channel && *get.user_id == *user.id;
        if !self.gets.get(request_id).is_some_and(matches) {
            return;
        }
        let Some(get) = self.gets.remove(request_id) else { return };
        let reply = UserReply {
            node_id: self.nodes.id(node).unwrap_or_default().into(),
            assigns: user.assigns.as_str().into(),
            presence: user.presence.as_str().into(),
        };
        self.outgoing.push(Effect::User { get: get.id, user: Some(reply) });
    }
}

/// The presence of a join or a list, where `{}` stands for no presence.
fn tracked(presence: Payload<'_>) -> Option<Payload<'_>> {
    Some(presence).filter(|presence| presence.members().next().is_some())
}
