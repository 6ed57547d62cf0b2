//! The channels in which this node has users, by topic, and when each is to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::effect::Channel;
use super::state::State;

#[derive(Default)]
pub(super) struct Channels {
    states: HashMap<Arc<str>, State, ahash::RandomState>,
    /// How many were opened so far.
    opened: u64,
    /// Exactly the [`timer`](super::asking::Asking::timer) of each.
    timers: BTreeSet<(Instant, Arc<str>)>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// That of the same endpoint and name: two channels may make the same topic of theirs.
    pub(super) fn get(&self, channel: &Channel) -> Option<&State> {
        self.states.get(channel.topic()).filter(|state| state.channel == *channel)
    }

    pub(super) fn get_mut(&mut self, channel: &Channel) -> Option<&mut State> {
        self.states.get_mut(channel.topic()).filter(|state| state.channel == *channel)
    }

    pub(super) fn by_topic(&self, topic: &str) -> Option<&Channel> {
        self.states.get(topic).map(|state| &state.channel)
    }

    pub(super) fn open(&mut self, channel: &Channel) {
        self.opened += 1;
        self.states.insert(Arc::clone(channel.topic()), State::new(channel, self.opened));
    }

    pub(super) fn remove(&mut self, channel: &Channel) -> Option<State> {
        let state = self.states.remove(channel.topic())?;
        if let Some(timer) = state.asking.timer {
            self.timers.remove(&(timer, Arc::clone(channel.topic())));
        }
        Some(state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &State> {
        self.states.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut State> {
        self.states.values_mut()
    }

    /// Brings a channel's timer up to date.
    pub(super) fn schedule(&mut self, channel: &Channel) {
        if let Some(state) = self.states.get_mut(channel.topic()) {
            reset(&mut self.timers, state);
        }
    }

    /// [`schedule`](Self::schedule) of all.
    pub(super) fn schedule_all(&mut self) {
        for state in self.states.values_mut() {
            reset(&mut self.timers, state);
        }
    }

    /// When the first is to be looked at.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Up to `max` of those that are to be looked at by `now`.
    pub(super) fn due(&self, now: Instant, max: usize) -> Vec<Channel> {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).take(max);
        due.filter_map(|(_, topic)| self.by_topic(topic).cloned()).collect()
    }
}

fn reset(timers: &mut BTreeSet<(Instant, Arc<str>)>, state: &mut State) {
    let (old, new) = (state.asking.timer, state.asking.next());
    if old == new {
        return;
    }
    state.asking.timer = new;
    let topic = state.channel.topic();
    if let Some(old) = old {
        timers.remove(&(old, Arc::clone(topic)));
    }
    timers.extend(new.map(|new| (new, Arc::clone(topic))));
}
