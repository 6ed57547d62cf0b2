//! The channels in which this node has users, by topic, and their timers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::channel_state::ChannelState;
use super::effects::Channel;

#[derive(Default)]
pub(super) struct Channels {
    states: HashMap<Arc<str>, ChannelState, ahash::RandomState>,
    /// The number of channels opened so far.
    opened: u64,
    /// Exactly the [`timer`](super::sync_requests::StateSync::timer) of each channel.
    timers: BTreeSet<(Instant, Arc<str>)>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The state of this very channel: two channels of different endpoints may share a topic.
    pub(super) fn get(&self, channel: &Channel) -> Option<&ChannelState> {
        self.states.get(channel.topic()).filter(|state| state.channel == *channel)
    }

    pub(super) fn get_mut(&mut self, channel: &Channel) -> Option<&mut ChannelState> {
        self.states.get_mut(channel.topic()).filter(|state| state.channel == *channel)
    }

    pub(super) fn by_topic(&self, topic: &str) -> Option<&Channel> {
        self.states.get(topic).map(|state| &state.channel)
    }

    pub(super) fn open(&mut self, channel: &Channel) {
        self.opened += 1;
        self.states.insert(Arc::clone(channel.topic()), ChannelState::new(channel, self.opened));
    }

    pub(super) fn remove(&mut self, channel: &Channel) -> Option<ChannelState> {
        let state = self.states.remove(channel.topic())?;
        if let Some(timer) = state.sync.timer {
            self.timers.remove(&(timer, Arc::clone(channel.topic())));
        }
        Some(state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ChannelState> {
        self.states.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ChannelState> {
        self.states.values_mut()
    }

    /// Brings a channel's timer up to date.
    pub(super) fn schedule(&mut self, channel: &Channel) {
        if let Some(state) = self.states.get_mut(channel.topic()) {
            reset(&mut self.timers, state);
        }
    }

    /// Brings all timers up to date.
    pub(super) fn schedule_all(&mut self) {
        for state in self.states.values_mut() {
            reset(&mut self.timers, state);
        }
    }

    /// The time of the earliest timer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Up to `max` channels whose timers have expired.
    pub(super) fn due(&self, now: Instant, max: usize) -> Vec<Channel> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).take(max);
        due.filter_map(|(_, topic)| self.by_topic(topic).cloned()).collect()
    }
}

fn reset(timers: &mut BTreeSet<(Instant, Arc<str>)>, state: &mut ChannelState) {
    let (old, new) = (state.sync.timer, state.sync.next());
    if old == new {
        return;
    }
    state.sync.timer = new;
    let topic = state.channel.topic();
    if let Some(old) = old {
        timers.remove(&(old, Arc::clone(topic)));
    }
    timers.extend(new.map(|new| (new, Arc::clone(topic))));
}
