//! What other nodes say.

use std::borrow::Cow;
use std::time::Instant;

use super::Cluster;
use super::effect::{Channel, Effect, RemoteUser};
use super::kept::Kept;
use super::nodes::{Heard, NodeIndex};
use super::state::News;
use crate::distributed::{AssignsChange, Envelope, Message, UserState, Users, endpoint_name};
use crate::error::ValidationError;
use crate::payload::Payload;
use crate::protocol::ChannelReceivers;

impl Cluster {
    /// A message came by a topic of the bus. What is not for this node is passed over: one about a
    /// channel in which it has nobody, an unknown type. Of its own it takes that they came back.
    ///
    /// Costs what [`Envelope::parse`] does, two look-ups, and what the message brings: an event for
    /// the users of this node its frame and the sender's id, one allocation each.
    ///
    /// # Errors
    /// It is no envelope within the limits; see [`Envelope::parse`]. It is counted, and nothing else
    /// happens.
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
                self.heard_own(&channel, &envelope, now);
            }
            return Ok(());
        }
        let node = match self.nodes.heard(envelope.source_node_id(), now) {
            Heard::Known(node) => Some(node),
            Heard::Returned(node) => {
                // Whom it has was not kept, and it may not know.
                self.ask_everywhere = true;
                Some(node)
            }
            Heard::Refused => None,
        };
        // A heartbeat has said all by its envelope; its topic is no channel's.
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
        // What needs nothing to be kept goes for any node.
        match message {
            Message::UserMessage(message) => {
                let receivers = match message.recipients.to_receivers() {
                    // Of a long list few are here.
                    ChannelReceivers::Users(ids) => ChannelReceivers::users(
                        ids.into_iter().filter(|id| self.has(channel, id)).map(Cow::into_owned),
                    ),
                    all => all.into_owned(),
                };
                self.outgoing.push(Effect::Deliver {
                    channel: channel.clone(),
                    frame: message.frame(channel.name()),
                    receivers,
                    from_user_id: (&*message.from_user_id).into(),
                });
            }
            Message::StateRequest { .. } => self.was_asked(channel, now),
            Message::EvictUser { user_id, reason } => {
                if self.has(channel, user_id) {
                    let (user_id, reason) = ((&**user_id).into(), (&**reason).into());
                    self.outgoing.push(Effect::Evict { channel: channel.clone(), user_id, reason });
                }
                self.forget_evicted(channel, user_id, now);
            }
            Message::UserRemove { user_id } if self.has(channel, user_id) => {
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
                // Whom it has may have been told too early, or got lost.
                if let Some(state) = self.channels.get_mut(channel) {
                    state.askers.insert(node);
                }
            }
            Message::StateResponse { users } => self.learn(channel, node, *users, now),
            Message::UserJoined { user_id, presence, assigns } => {
                let presence = Some(tracked(*presence));
                let news = News { assigns: Some(*assigns), presence, hearsay: false };
                self.tell(channel, node, user_id, &news);
                if let Some(state) = self.channels.get_mut(channel)
                    && self.evictions.is_recent(state.number, user_id, now)
                {
                    state.set_provisional(node, user_id);
                }
            }
            Message::UserLeft { user_id } => {
                if let Some(state) = self.channels.get_mut(channel) {
                    state.gone(&mut self.nodes, node, user_id);
                }
                self.show(channel, [&**user_id]);
            }
            Message::PresenceUpdate { user_id, presence } => {
                if self.is_outdated(channel, node, user_id, now) {
                    return;
                }
                let news = News { assigns: None, presence: Some(Some(*presence)), hearsay: false };
                self.tell(channel, node, user_id, &news);
            }
            Message::PresenceRemoved { user_id } => {
                let state = self.channels.get(channel);
                if state.is_none_or(|state| state.entry(node, user_id).is_none()) {
                    // Nobody who is there: some tell it after their user has left.
                    return;
                }
                let news = News { assigns: None, presence: Some(None), hearsay: false };
                self.tell(channel, node, user_id, &news);
            }
            Message::AssignsUpdate { user_id, change } => {
                if self.is_outdated(channel, node, user_id, now) {
                    return;
                }
                self.change_assigns(channel, node, user_id, change);
            }
            Message::UserGetResponse { user_id, request_id, assigns, presence } => {
                let user =
                    UserState { id: (&**user_id).into(), assigns: *assigns, presence: *presence };
                self.got(channel, node, request_id, &user);
            }
            _ => {}
        }
    }

    /// Whether this node has the user.
    fn has(&self, channel: &Channel, user_id: &str) -> bool {
        let state = self.channels.get(channel);
        state.is_some_and(|state| state.entry(NodeIndex::OWN, user_id).is_some())
    }

    /// A user is evicted, by whichever nodes have it: not all of them say so, and what they sent before
    /// they heard of it may come later.
    pub(super) fn forget_evicted(&mut self, channel: &Channel, user_id: &str, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        self.evictions.remember(state.number, user_id, now + self.options.answer_within, now);
        state.forget_elsewhere(&mut self.nodes, user_id);
        self.show(channel, [user_id]);
    }

    /// Whether a change may be older than the user's eviction: such a one makes nobody known, and the
    /// others are to be asked.
    fn is_outdated(
        &mut self,
        channel: &Channel,
        node: NodeIndex,
        user_id: &str,
        now: Instant,
    ) -> bool {
        let Some(state) = self.channels.get_mut(channel) else { return false };
        let is_outdated = state.entry(node, user_id).is_none()
            && self.evictions.is_recent(state.number, user_id, now);
        state.ask |= is_outdated;
        is_outdated
    }

    fn tell(&mut self, channel: &Channel, node: NodeIndex, user_id: &str, news: &News<'_>) {
        if let Some(state) = self.channels.get_mut(channel) {
            state.tell(&mut self.nodes, node, user_id, news);
        }
        self.show(channel, [user_id]);
    }

    /// All users that a node has, or in JavaScript that it knows of.
    fn learn(&mut self, channel: &Channel, node: NodeIndex, users: Users<'_>, now: Instant) {
        let Some(state) = self.channels.get_mut(channel) else { return };
        let before = state.last_change();
        let mut changed = false;
        for user in users.iter() {
            let known = state.entry(node, &user.id);
            if known.is_none() && self.evictions.is_recent(state.number, &user.id, now) {
                state.ask = true;
                continue;
            }
            let presence = match known.is_some_and(|entry| entry.is_tracked_as_empty()) {
                true => Some(user.presence),
                false => tracked(user.presence),
            };
            let assigns = Some(user.assigns);
            let news = News { assigns, presence: Some(presence), hearsay: true };
            state.tell(&mut self.nodes, node, &user.id, &news);
            changed |= state.show(&user.id);
        }
        for user_id in state.users_of(node, |entry| entry.is_older_than(before)) {
            state.forget(&mut self.nodes, node, &user_id);
            changed |= state.show(&user_id);
        }
        if changed {
            self.send_presence(channel);
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
                    None => Kept::new(Payload::EMPTY).with(key, *value),
                };
                merged.payload()
            }
        };
        let news = News { assigns: Some(assigns), presence: None, hearsay: false };
        self.tell(channel, node, user_id, &news);
    }

    fn answer_get(&mut self, channel: &Channel, user_id: &str, request_id: &str, now: Instant) {
        let Some(state) = self.channels.get(channel) else { return };
        let Some(entry) = state.entry(NodeIndex::OWN, user_id) else { return };
        let user = super::user_state(user_id, entry);
        let message = Message::UserGetResponse {
            user_id: user_id.into(),
            request_id: request_id.into(),
            assigns: user.assigns,
            presence: user.presence,
        };
        self.outgoing.publish(channel, now, &message);
    }

    fn got(&mut self, channel: &Channel, node: NodeIndex, request_id: &str, user: &UserState<'_>) {
        let asked = |get: &super::Get| get.channel == *channel && *get.user_id == *user.id;
        if !self.gets.get(request_id).is_some_and(asked) {
            return;
        }
        let Some(get) = self.gets.remove(request_id) else { return };
        let user = RemoteUser {
            node_id: self.nodes.id(node).unwrap_or_default().into(),
            assigns: user.assigns.as_str().into(),
            presence: user.presence.as_str().into(),
        };
        self.outgoing.push(Effect::User { get: get.id, user: Some(user) });
    }
}

/// A presence of `{}` is none, where there is no other way to say so.
fn tracked(presence: Payload<'_>) -> Option<Payload<'_>> {
    Some(presence).filter(|presence| presence.members().next().is_some())
}
