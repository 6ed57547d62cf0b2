//! The wanted topics, and those requested from Redis.

use std::sync::Arc;

use ahash::{HashMap, HashSet};

/// One change to request from Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

/// Holds only the wanted topics and those still to be unsubscribed, however often they change.
#[derive(Default)]
pub(crate) struct Topics {
    entries: HashMap<Arc<str>, Entry>,
    /// Exactly the topics whose `wanted` and `asked` differ.
    changed: HashSet<Arc<str>>,
}

#[derive(Default)]
struct Entry {
    wanted: bool,
    /// The topic was requested over the present connection.
    asked: bool,
    /// Redis has confirmed the subscription.
    confirmed: bool,
    /// The confirmation was announced to the receiver.
    announced: bool,
}

/// The state of a subscription after a call that subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// The topic was wanted already.
    Old,
    /// Redis will confirm it.
    New,
    /// The subscription is still in force: the earlier unsubscription has not been sent.
    InForce,
}

impl Topics {
    pub(crate) fn subscribe(&mut self, topic: &Arc<str>) -> Subscribed {
        let entry = self.entries.entry(Arc::clone(topic)).or_default();
        if std::mem::replace(&mut entry.wanted, true) {
            return Subscribed::Old;
        }
        entry.announced = entry.confirmed;
        if entry.asked {
            self.changed.remove(topic);
        } else {
            self.changed.insert(Arc::clone(topic));
        }
        if entry.confirmed { Subscribed::InForce } else { Subscribed::New }
    }

    /// Stops wanting the topic; `false` if it was not wanted.
    pub(crate) fn unsubscribe(&mut self, topic: &str) -> bool {
        let Some(entry) = self.entries.get_mut(topic) else { return false };
        if !std::mem::replace(&mut entry.wanted, false) {
            return false;
        }
        if entry.asked {
            let topic = self.shared(topic);
            self.changed.extend(topic);
        } else {
            self.changed.remove(topic);
            self.entries.remove(topic);
        }
        true
    }

    /// The connection is gone: all topics must be requested again.
    pub(crate) fn forget_asked(&mut self) {
        self.entries.retain(|_, entry| {
            entry.asked = false;
            entry.confirmed = false;
            entry.wanted
        });
        self.changed = self.entries.keys().cloned().collect();
    }

    /// Makes each topic be announced again when it is next confirmed.
    pub(crate) fn forget_announced(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.announced = false);
    }

    /// Takes up to `max` changes, which count as requested from now on.
    pub(crate) fn take_changes(&mut self, max: usize) -> Vec<Change> {
        let topics: Vec<Arc<str>> = self.changed.iter().take(max).cloned().collect();
        let changes = topics.into_iter().filter_map(|topic| {
            self.changed.remove(&topic);
            let entry = self.entries.get_mut(&topic)?;
            entry.asked = entry.wanted;
            if entry.wanted {
                return Some(Change::Subscribe(topic));
            }
            self.entries.remove(&topic);
            Some(Change::Unsubscribe(topic))
        });
        changes.collect()
    }

    /// Redis confirmed a subscription. Returns the topic if the confirmation must be announced.
    pub(crate) fn confirm(&mut self, topic: &str) -> Option<Arc<str>> {
        let entry = self.entries.get_mut(topic)?;
        entry.confirmed = entry.asked;
        if !entry.wanted || !entry.asked || std::mem::replace(&mut entry.announced, true) {
            return None;
        }
        self.shared(topic)
    }

    /// The name of a topic that is wanted or still to be unsubscribed, without a copy.
    pub(crate) fn shared(&self, topic: &str) -> Option<Arc<str>> {
        self.entries.get_key_value(topic).map(|(topic, _)| Arc::clone(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "a:*?[x]";

    #[test]
    fn wanted_topics_are_requested_and_announced_once() {
        let mut topics = Topics::default();
        assert_eq!(topics.subscribe(&TOPIC.into()), Subscribed::New);
        assert_eq!(topics.subscribe(&TOPIC.into()), Subscribed::Old);
        assert_eq!(topics.confirm(TOPIC), None, "it was not requested");
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC.into())]);
        assert_eq!(topics.take_changes(9), []);
        assert_eq!(topics.confirm(TOPIC), Some(TOPIC.into()));
        assert_eq!(topics.confirm(TOPIC), None);

        topics.forget_asked();
        assert_eq!(topics.take_changes(9), [Change::Subscribe(TOPIC.into())]);
        assert_eq!(topics.confirm(TOPIC), None, "it was announced before");

        topics.forget_asked();
        topics.forget_announced();
        topics.take_changes(9);
        assert_eq!(topics.confirm(TOPIC), Some(TOPIC.into()));
    }

    #[test]
    fn changes_that_cancel_out_request_nothing() {
        let mut topics = Topics::default();
        topics.subscribe(&TOPIC.into());
        assert!(topics.unsubscribe(TOPIC));
        assert!(!topics.unsubscribe(TOPIC));
        assert_eq!(topics.take_changes(9), []);

        topics.subscribe(&TOPIC.into());
        topics.take_changes(9);
        topics.unsubscribe(TOPIC);
        assert_eq!(topics.confirm(TOPIC), None);
        assert_eq!(topics.subscribe(&TOPIC.into()), Subscribed::InForce);
        assert_eq!(topics.take_changes(9), []);

        topics.unsubscribe(TOPIC);
        assert_eq!(topics.take_changes(9), [Change::Unsubscribe(TOPIC.into())]);
        assert!(topics.entries.is_empty());
    }

    #[test]
    fn unsubscribed_topics_leave_nothing_behind() {
        let mut topics = Topics::default();
        for i in 0..1000 {
            let topic = Arc::from(i.to_string());
            topics.subscribe(&topic);
            topics.unsubscribe(&topic);
        }
        assert!(topics.entries.is_empty() && topics.changed.is_empty());
        topics.subscribe(&TOPIC.into());
        topics.take_changes(9);
        topics.unsubscribe(TOPIC);
        topics.forget_asked();
        assert!(topics.entries.is_empty() && topics.changed.is_empty());
    }

    #[test]
    fn changes_are_taken_in_batches() {
        let mut topics = Topics::default();
        for i in 0..10 {
            topics.subscribe(&i.to_string().into());
        }
        let batches: Vec<usize> = (0..4).map(|_| topics.take_changes(4).len()).collect();
        assert_eq!(batches, [4, 4, 2, 0]);
    }
}
